//! The programs that are compared: where they are and how they are started.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Result, proc};

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    name: &'static str,
    /// How many it may use, if not all.
    cores: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mobula,
    SingBox,
    V2ray,
    Shoes,
    /// GOST, of which no package carries a binary: `GOST` names one.
    Gost,
    /// In front of another.
    Nginx,
    /// Not a proxy: the relay of [`super::floor`].
    Floor,
}

/// One running program; ends when it is dropped.
pub(crate) struct Peer {
    child: Child,
    dir: TempDir,
}

impl Program {
    /// mobula, and of the others those that are here.
    pub(crate) fn installed(mobula: &Path) -> Vec<Self> {
        let of = |kind: Kind| move |path| Self::new(kind, path);
        let mut programs = vec![of(Kind::Mobula)(mobula.to_owned())];
        let before = std::env::var_os("BEFORE").map(PathBuf::from);
        programs.extend(before.map(|path| of(Kind::Mobula)(path).called("before")));
        programs.extend(find("SING_BOX", &fetched("sing-box"), "sing-box").map(of(Kind::SingBox)));
        programs.extend(find("V2RAY", "/usr/bin/v2ray", "v2ray").map(of(Kind::V2ray)));
        programs.extend(find("SHOES", &fetched("shoes"), "shoes").map(of(Kind::Shoes)));
        let gost = std::env::var_os("GOST").map(PathBuf::from);
        programs.extend(gost.map(of(Kind::Gost)));
        programs
    }

    /// What stands at the other end of what is measured.
    pub(crate) fn sing_box() -> Result<Self> {
        let path = find("SING_BOX", &fetched("sing-box"), "sing-box");
        Self::needed(Kind::SingBox, path)
    }

    /// The last V2Ray 4, which writes chunks of 2 KiB.
    pub(crate) fn v2ray_4_45() -> Result<Self> {
        let path = find("V2RAY_4_45", &fetched("v2ray-4.45"), "v2ray-4.45");
        Self::needed(Kind::V2ray, path)
    }

    /// Who ends TLS in front of a program that does not.
    pub(crate) fn nginx() -> Result<Self> {
        let path = find("NGINX", "/usr/sbin/nginx", "nginx").ok_or("nginx is missing")?;
        Ok(Self::new(Kind::Nginx, path))
    }

    /// This very program: some of its parts are processes of their own.
    pub(crate) fn floor() -> Result<Self> {
        Ok(Self::new(Kind::Floor, std::env::current_exe()?))
    }

    fn needed(kind: Kind, path: Option<PathBuf>) -> Result<Self> {
        let path =
            path.ok_or("the other end is missing, `integration/test peers` fetches it".to_owned())?;
        Ok(Self::new(kind, path))
    }

    fn new(kind: Kind, path: PathBuf) -> Self {
        Self {
            kind,
            path,
            name: kind.name(),
            cores: None,
        }
    }

    /// On the first so many cores alone.
    pub(crate) fn on_cores(&self, cores: usize) -> Self {
        Self {
            cores: Some(cores),
            ..self.clone()
        }
    }

    /// The column of its figures.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn called(&self, name: &'static str) -> Self {
        let this = self.clone();
        Self { name, ..this }
    }

    /// Starts it with `config` and waits until it accepts on `port`.
    pub(crate) async fn start(&self, config: &Value, port: u16) -> Result<Peer> {
        let mut peer = self.spawn(config)?;
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = peer.child.try_wait()? {
                return Err(format!("{}: {status}: {}", self.name(), peer.log()).into());
            }
            if begin.elapsed() > START_LIMIT {
                return Err(format!("{} does not listen: {}", self.name(), peer.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(peer)
    }

    /// Starts it with `config` and does not wait.
    pub(crate) fn spawn(&self, config: &Value) -> Result<Peer> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("config.json");
        match config {
            Value::String(text) => std::fs::write(&file, text)?,
            config => std::fs::write(&file, serde_json::to_vec_pretty(config)?)?,
        }
        let mut command = match self.cores {
            None => Command::new(&self.path),
            Some(cores) => {
                let mut command = Command::new("taskset");
                command
                    .args(["-c", &format!("0-{}", cores - 1)])
                    .arg(&self.path);
                command
            }
        };
        match self.kind {
            // GOST's file, that both are told alike.
            Kind::Mobula if config.get("services").is_some() => {
                command.args(["gost", "-C"]).arg(&file)
            }
            Kind::Mobula | Kind::SingBox => command.args(["run", "-c"]).arg(&file),
            Kind::V2ray => command.arg("-config").arg(&file),
            Kind::Shoes => command.arg("--no-reload").arg(&file),
            Kind::Gost => command.arg("-C").arg(&file),
            Kind::Nginx => command.arg("-c").arg(&file),
            Kind::Floor => command.args([super::floor::ARGUMENT, &config.to_string()]),
        };
        Peer::spawn(&mut command, dir)
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mobula => "mobula",
            Self::SingBox => "sing-box",
            Self::V2ray => "v2ray",
            Self::Shoes => "shoes",
            Self::Gost => "gost",
            Self::Nginx => "nginx",
            Self::Floor => "floor",
        }
    }
}

impl Peer {
    pub(crate) fn spawn(command: &mut Command, dir: TempDir) -> Result<Self> {
        let log = File::create(dir.path().join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, dir })
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        proc::cpu(self.child.id())
    }

    /// With the processes that it has started.
    pub(crate) fn family(&self) -> Result<proc::Family> {
        proc::Family::of(self.child.id())
    }

    pub(crate) fn rss(&self) -> Result<u64> {
        proc::rss(self.child.id())
    }

    /// The end of what it wrote.
    fn log(&self) -> String {
        let text = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        let from = text.len().saturating_sub(2000);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx takes its workers along when it is asked to end, and leaves them when it is killed.
        let asked = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let asked_at = Instant::now();
        while asked.is_ok() && asked_at.elapsed() < END_LIMIT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a program may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(2);

const START_LIMIT: Duration = Duration::from_secs(10);

/// Where `integration/test peers` and `integration/bench/run --install-shoes` put what they fetch.
fn fetched(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/build/peers/bin/{name}")
}

/// A program: where the environment says, at its usual place, or on the `PATH`.
fn find(variable: &str, usual: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(name));
    let places = named
        .into_iter()
        .chain([PathBuf::from(usual)])
        .chain(on_path);
    places.into_iter().find(|place| place.is_file())
}
