//! The programs that tests start: mobula itself, the real V2Rays, sing-box, mihomo, nginx, haproxy, python.
//!
//! `integration/test` installs them. One that is missing fails the test that wants it. Every child
//! belongs to a [`Stage`] and dies with it; a test that fails prints what its children logged.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::netns::Machine;

/// Who plays a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Mobula,
    V2ray434,
    V2ray445,
    SingBox,
    Mihomo,
}

impl Peer {
    /// `MOBULA_STAND_IN=v2ray445` (or `v2ray434`, `singbox`) puts another program in mobula's place:
    /// a test that this one passes as well asks for nothing peculiar.
    pub fn or_stand_in(self) -> Self {
        match (self, std::env::var("MOBULA_STAND_IN").as_deref()) {
            (Self::Mobula, Ok("v2ray434")) => Self::V2ray434,
            (Self::Mobula, Ok("v2ray445")) => Self::V2ray445,
            (Self::Mobula, Ok("singbox")) => Self::SingBox,
            _ => self,
        }
    }

    /// Whether its config is V2Ray's.
    pub fn reads_v2ray_json(self) -> bool {
        !matches!(self.or_stand_in(), Self::SingBox | Self::Mihomo)
    }

    /// The program, told to run `config`.
    pub fn command(self, config: &Path) -> Command {
        let mut command = match self.or_stand_in() {
            Self::Mobula => mobula(),
            Self::V2ray434 => system("v2ray"),
            Self::V2ray445 => Command::new(fetched("v2ray-4.45")),
            Self::SingBox => Command::new(fetched("sing-box")),
            Self::Mihomo => Command::new(fetched("mihomo")),
        };
        match self.or_stand_in() {
            Self::Mobula | Self::SingBox => command.args([OsStr::new("run"), OsStr::new("-c")]),
            Self::V2ray434 | Self::V2ray445 => command.arg("-config"),
            Self::Mihomo => {
                // It keeps things of its own beside its config.
                let dir = config.parent().unwrap_or(config);
                command.arg("-d").arg(dir).arg("-f")
            }
        };
        command.arg(config);
        command
    }
}

/// The program under test.
pub fn mobula() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mobula"))
}

/// Puts the program under test at another path. Another process writes it: what this one has open for writing, children of other
/// tests have as well until they are programs of their own, and meanwhile nobody can run it.
pub fn copy_of_mobula(to: &Path) {
    let mut copy = Command::new("cp");
    let copied = copy.arg(mobula().get_program()).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp works");
}

/// Python with the packages of the tests.
pub fn python() -> Command {
    Command::new(fetched("python"))
}

/// A program of Debian's; some stand where only root's PATH looks.
pub fn system(program: &str) -> Command {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| panic!("{program} is missing, {HOW_TO_GET}")))
}

/// A program that was fetched into the build folder.
pub fn fetched(program: &str) -> PathBuf {
    let path = root().join("build/peers/bin").join(program);
    assert!(path.exists(), "{program} is missing, {HOW_TO_GET}");
    path
}

/// The folder with V2Ray's `geoip.dat` and `geosite.dat`; they came with the program.
pub fn geodata() -> PathBuf {
    let program = fetched("v2ray-4.45").canonicalize();
    let program = program.expect("a link to the program");
    program.parent().expect("it is in a folder").to_owned()
}

/// The same command, for a process that may have `descriptors` of them at a time and cannot raise that.
pub fn with_descriptors(descriptors: usize, command: &Command) -> Command {
    let mut limited = system("sh");
    let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    limited.arg("-c").arg(script);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

/// The top of the package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const HOW_TO_GET: &str = "`integration/test peers` installs it";

/// One test's folder and its children.
pub struct Stage {
    dir: TempDir,
    children: Vec<Running>,
}

/// A child that runs.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Stage {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("mobula-").expect("a folder for the test");
        Self {
            dir,
            children: Vec::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the test's folder is ours");
        path
    }

    /// What stands in a file of the test's folder, lines of a log that were said before the call among it. It holds the
    /// thread up: whoever asks again and again takes [`Self::read_so_far`].
    pub fn read(&self, name: &str) -> String {
        thread::sleep(LATE_LINES);
        self.read_so_far(name)
    }

    /// What stands there already.
    pub fn read_so_far(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Starts `peer` with `config` and waits until it listens on `ports`; gives its index.
    pub async fn run(&mut self, peer: Peer, name: &str, config: &Value, ports: &[u16]) -> usize {
        self.run_believing(None, peer, name, config, ports).await
    }

    /// As `run`; the program believes `authority` alone, where there is one.
    pub async fn run_believing(
        &mut self,
        authority: Option<&Path>,
        peer: Peer,
        name: &str,
        config: &Value,
        ports: &[u16],
    ) -> usize {
        let path = self.write(&format!("{name}.json"), format!("{config:#}"));
        let mut command = peer.command(&path);
        command.envs(authority.map(|authority| ("SSL_CERT_FILE", authority)));
        let index = self.start(name, &mut command, ports).await;
        for port in ports.iter().filter(|port| takes_datagrams(config, **port)) {
            self.until_listening(index, *port, || receiving(*port))
                .await;
        }
        index
    }

    /// As `run`, on a machine of the test's own.
    pub async fn run_on(
        &mut self,
        machine: &Machine,
        peer: Peer,
        name: &str,
        config: &Value,
        ports: &[u16],
    ) -> usize {
        let path = self.write(&format!("{name}.json"), format!("{config:#}"));
        let mut command = machine.dress(peer.command(&path));
        let index = self.start(name, &mut command, &[]).await;
        for port in ports {
            // A thread's own table; until `ip` is inside, that of the child is everybody's.
            let listens = || machine.within(|| listening_in("/proc/thread-self/net", *port));
            self.until_listening(index, *port, listens).await;
        }
        index
    }

    /// Starts any program and waits until it listens on `ports`; gives its index.
    pub async fn start(&mut self, name: &str, command: &mut Command, ports: &[u16]) -> usize {
        let deadline = Instant::now() + START_LIMIT;
        let mut index = self.spawn(name, command);
        for port in ports {
            while !self.listens(index, *port, || listening(*port)).await {
                // A program that takes any port may have been given this one in the meantime.
                let log = self.log(index);
                let again = log.contains("in use") && Instant::now() < deadline;
                assert!(again, "{name} ended before it listened: {log}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                index = self.spawn(name, command);
            }
        }
        index
    }

    fn spawn(&mut self, name: &str, command: &mut Command) -> usize {
        let log = self.path(&format!("{name}.log"));
        let file = File::create(&log).expect("the test's folder is ours");
        let child = command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle of the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}, {HOW_TO_GET}"));
        self.children.push(Running {
            name: name.to_owned(),
            child,
            log,
        });
        self.children.len() - 1
    }

    async fn until_listening(&mut self, index: usize, port: u16, listens: impl Fn() -> bool) {
        let listens = self.listens(index, port, listens).await;
        assert!(listens, "{} ended early", self.children[index].name);
    }

    /// Waits until a child listens; false where it ended before.
    async fn listens(&mut self, index: usize, port: u16, listens: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + START_LIMIT;
        while !listens() {
            let running = &mut self.children[index];
            if let Ok(Some(_)) = running.child.try_wait() {
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "{} does not listen on port {port}",
                running.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    pub fn child(&mut self, index: usize) -> &mut Running {
        &mut self.children[index]
    }

    /// What a child wrote to its standard output and error, what was said before the call among it: lines that come close
    /// together are written together, a little later. As [`Self::read`], not for who asks again and again.
    pub fn log(&self, index: usize) -> String {
        thread::sleep(LATE_LINES);
        self.log_so_far(index)
    }

    /// What it wrote already.
    pub fn log_so_far(&self, index: usize) -> String {
        let bytes = fs::read(&self.children[index].log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `file` of the test's folder holds `text`; gives the whole file.
    pub async fn until_file_has(&self, file: &str, text: &str) -> String {
        self.until_line_has(file, &[text]).await
    }

    /// Waits until one line of `file` holds all of `texts`; gives the whole file.
    pub async fn until_line_has(&self, file: &str, texts: &[&str]) -> String {
        let deadline = Instant::now() + LOG_LIMIT;
        loop {
            let content = self.read_so_far(file);
            let has_all = |line: &str| texts.iter().all(|text| line.contains(text));
            if content.lines().any(has_all) {
                return content;
            }
            assert!(
                Instant::now() < deadline,
                "a line with {texts:?} never came to {file}:\n{content}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Running {
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill works");
    }

    /// Waits for the end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs after {limit:?}",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// CPU time of all its threads.
    pub fn cpu(&self) -> Duration {
        let mut nanos = 0;
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        for task in tasks.expect("the child runs").flatten() {
            // A thread may have ended since the folder was listed.
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let first = stat.split_whitespace().next();
            nanos += first.and_then(|first| first.parse().ok()).unwrap_or(0);
        }
        Duration::from_nanos(nanos)
    }

    /// CPU time of the processes that it has started and that have ended.
    pub fn cpu_of_children(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the child runs");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(13).take(2);
        let ticks = ticks.map(|field| field.parse::<u64>().expect("a number"));
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Processes that it has started and that are there, ended ones too that nobody has asked about.
    pub fn children(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.expect("the child runs").flatten();
        tasks
            .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default())
            .map(|children| children.split_whitespace().count())
            .sum()
    }

    /// Files and sockets that it has open.
    pub fn open_files(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("the child runs").count()
    }

    /// How many it may have open.
    pub fn open_files_limit(&self) -> u64 {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id()));
        limits
            .expect("the child runs")
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .expect("Linux says it")
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        status
            .expect("the child runs")
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .expect("Linux says VmRSS")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for running in &mut self.children {
            // nginx and haproxy take their workers along on SIGTERM, but not on SIGKILL.
            if running.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                running.signal("TERM");
                let patience = Instant::now() + Duration::from_millis(300);
                while Instant::now() < patience
                    && running.child.try_wait().is_ok_and(|ended| ended.is_none())
                {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            let _ = running.child.kill();
            let _ = running.child.wait();
            if thread::panicking() {
                let log = fs::read(&running.log).unwrap_or_default();
                let from = log.len().saturating_sub(8 * 1024);
                let tail = String::from_utf8_lossy(&log[from..]);
                eprintln!("---- {}\n{tail}", running.name);
            }
        }
    }
}

/// A port that nobody has.
///
/// A connection through it is left behind in TIME_WAIT: the system then gives the port to no connection, and
/// yet to the child that asks for this one.
///
/// UDP had it free, too: some inbounds listen for datagrams on the same port.
pub fn free_port() -> u16 {
    let (listener, here) = loop {
        let listener = listener();
        let here = listener.local_addr().expect("a listener has an address");
        let any = (Ipv4Addr::UNSPECIFIED, here.port());
        if std::net::UdpSocket::bind(any).is_ok() && give(here.port()) {
            break (listener, here);
        }
    };
    let near = TcpStream::connect(here).expect("loopback connects");
    let (far, _) = listener.accept().expect("loopback connects");
    drop(far);
    drop(near);
    here.port()
}

/// A listener for the test itself, on a port that [`free_port`] has given to nobody.
pub fn listen() -> tokio::net::TcpListener {
    let listener = listener();
    listener.set_nonblocking(true).expect("a socket");
    tokio::net::TcpListener::from_std(listener).expect("a runtime")
}

/// Who asks for any port may get one in TIME_WAIT. As long as it does not listen there it is in nobody's way.
pub fn listener() -> TcpListener {
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("loopback has ports");
        let here = socket.local_addr().expect("it is bound").as_socket();
        let free = here.is_some_and(|here| !is_given(here.port()));
        if free && socket.listen(1024).is_ok() {
            return socket.into();
        }
    }
}

/// Holds `port` for this process until it ends; false where it is given already. The soak test runs beside the others in a
/// process of its own, so the system keeps the list: a name in its abstract space belongs to whoever has bound it.
fn give(port: u16) -> bool {
    static GIVEN: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let name = UnixDatagram::bind_addr(&name_of(port));
    let given = name.is_ok();
    GIVEN
        .lock()
        .expect("nobody panics with the lock")
        .extend(name);
    given
}

fn is_given(port: u16) -> bool {
    UnixDatagram::bind_addr(&name_of(port)).is_err()
}

fn name_of(port: u16) -> UnixAddr {
    UnixAddr::from_abstract_name(format!("mobula-test-port-{port}")).expect("a short name")
}

/// Whether somebody listens on `port`, by the table of this thread's network, so that nobody is disturbed.
pub fn listening(port: u16) -> bool {
    listening_in("/proc/thread-self/net", port)
}

/// Whether somebody has bound `port` for datagrams: V2Ray listens there a moment after it listens for connections, and what
/// is sent in between is lost.
fn receiving(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["udp", "udp6"].iter().any(|table| {
        fs::read_to_string(format!("/proc/thread-self/net/{table}")).is_ok_and(|text| {
            let mut rows = text.lines().skip(1);
            rows.any(|line| {
                let local = line.split_whitespace().nth(1);
                local.is_some_and(|local| local.ends_with(&wanted))
            })
        })
    })
}

/// Whether an inbound of V2Ray's form asks for datagrams on `port`.
fn takes_datagrams(config: &Value, port: u16) -> bool {
    let inbounds = config["inbounds"].as_array().into_iter().flatten();
    let mut here = inbounds.filter(|inbound| inbound["port"] == port);
    here.any(|inbound| {
        let network = inbound["settings"]["network"].as_str();
        network.is_some_and(|network| network.split(',').any(|one| one == "udp"))
    })
}

fn listening_in(tables: &str, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        fs::read_to_string(format!("{tables}/{table}")).is_ok_and(|text| {
            text.lines().skip(1).any(|line| {
                let mut columns = line.split_whitespace().skip(1);
                let local = columns.next().unwrap_or_default();
                local.ends_with(&wanted) && columns.nth(1) == Some("0A")
            })
        })
    })
}

/// How many connections to `port` there are.
pub fn connections(port: u16) -> usize {
    let wanted = format!(":{port:04X}");
    let text = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    let rows = text.lines().skip(1).filter(|line| {
        let mut columns = line.split_whitespace().skip(2);
        let remote = columns.next().unwrap_or_default();
        remote.ends_with(&wanted) && columns.next() == Some("01")
    });
    rows.count()
}

const START_LIMIT: Duration = Duration::from_secs(20);
const LOG_LIMIT: Duration = Duration::from_secs(10);

/// Ten times of what a line of the log may wait for the next.
const LATE_LINES: Duration = Duration::from_millis(50);
