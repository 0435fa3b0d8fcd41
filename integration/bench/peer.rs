//! The programs that are compared, each as client (SOCKS in, VMess out) and as server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Result, Role, proc};

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Program {
    Mobula(PathBuf),
    SingBox(PathBuf),
    V2ray(PathBuf),
    Shoes(PathBuf),
}

/// One running program; ends when it is dropped.
pub(crate) struct Peer {
    child: Child,
    _config: TempDir,
}

/// A client and a server of it, running; one of them is the program that is measured.
pub(crate) struct Network {
    pub(crate) client: Peer,
    pub(crate) server: Peer,
    pub(crate) socks: u16,
}

impl Program {
    /// mobula, and of the others those that are here.
    pub(crate) fn installed(mobula: &Path) -> Vec<Self> {
        let mut programs = vec![Self::Mobula(mobula.to_owned())];
        programs.extend(find("SING_BOX", &fetched("sing-box"), "sing-box").map(Self::SingBox));
        programs.extend(find("V2RAY", "/usr/bin/v2ray", "v2ray").map(Self::V2ray));
        programs.extend(find("SHOES", "", "shoes").map(Self::Shoes));
        programs
    }

    /// What stands at the other end of everything that is measured: sing-box, or V2Ray 4.45.
    pub(crate) fn other_end(v2ray: bool) -> Result<Self> {
        let found = if v2ray {
            find("V2RAY_4_45", &fetched("v2ray-4.45"), "v2ray-4.45").map(Self::V2ray)
        } else {
            find("SING_BOX", &fetched("sing-box"), "sing-box").map(Self::SingBox)
        };
        found.ok_or_else(|| "the other end is missing, `integration/test peers` fetches it".into())
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Mobula(_) => "mobula",
            Self::SingBox(_) => "sing-box",
            Self::V2ray(_) => "v2ray",
            Self::Shoes(_) => "shoes",
        }
    }

    async fn start(&self, config: &Value, port: u16) -> Result<Peer> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("config.json");
        std::fs::write(&file, serde_json::to_vec_pretty(config)?)?;
        let mut command = match self {
            Self::Mobula(path) => {
                let mut command = Command::new(path);
                command.args(["run", "-c"]).arg(&file);
                command
            }
            Self::SingBox(path) => {
                let mut command = Command::new(path);
                command.args(["run", "-c"]).arg(&file);
                command
            }
            Self::V2ray(path) => {
                let mut command = Command::new(path);
                command.arg("-config").arg(&file);
                command
            }
            Self::Shoes(path) => {
                let mut command = Command::new(path);
                command.arg(&file);
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let peer = Peer {
            child: child.spawn()?,
            _config: dir,
        };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if begin.elapsed() > Duration::from_secs(10) {
                return Err(format!("{} does not listen", self.name()).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(peer)
    }

    fn server_config(&self, port: u16) -> Value {
        match self {
            Self::Mobula(_) | Self::V2ray(_) => json!({
                "log": {"loglevel": "none", "access": "none"},
                "inbounds": [{
                    "listen": "127.0.0.1", "port": port, "protocol": "vmess",
                    "settings": {"clients": [{"id": ID, "alterId": 0}]},
                    "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
                }],
                "outbounds": [{"protocol": "freedom"}],
            }),
            Self::SingBox(_) => json!({
                "log": {"disabled": true},
                "inbounds": [{
                    "type": "vmess", "listen": "127.0.0.1", "listen_port": port,
                    "users": [{"uuid": ID, "alterId": 0}],
                    "transport": {"type": "ws", "path": "/ray"},
                }],
                "outbounds": [{"type": "direct"}],
            }),
            Self::Shoes(_) => json!([{
                "address": format!("127.0.0.1:{port}"),
                "protocol": {
                    "type": "ws",
                    "targets": [{
                        "matching_path": "/ray",
                        "protocol": {"type": "vmess", "cipher": "any", "user_id": ID},
                    }],
                },
            }]),
        }
    }

    fn client_config(&self, socks: u16, server: u16, cipher: &str) -> Value {
        match self {
            Self::Mobula(_) | Self::V2ray(_) => json!({
                "log": {"loglevel": "none", "access": "none"},
                "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
                "outbounds": [{
                    "protocol": "vmess",
                    "settings": {"vnext": [{
                        "address": "127.0.0.1", "port": server,
                        "users": [{"id": ID, "alterId": 0, "security": cipher}],
                    }]},
                    "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
                }],
            }),
            Self::SingBox(_) => json!({
                "log": {"disabled": true},
                "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
                "outbounds": [{
                    "type": "vmess", "server": "127.0.0.1", "server_port": server, "uuid": ID,
                    "security": cipher, "transport": {"type": "ws", "path": "/ray"},
                }],
            }),
            Self::Shoes(_) => json!([{
                "address": format!("127.0.0.1:{socks}"),
                "protocol": {"type": "socks"},
                "rules": [{
                    "masks": ["0.0.0.0/0"], "action": "allow",
                    "client_chain": [{
                        "address": format!("127.0.0.1:{server}"),
                        "protocol": {
                            "type": "ws", "matching_path": "/ray",
                            "protocol": {"type": "vmess", "cipher": cipher, "user_id": ID},
                        },
                    }],
                }],
            }]),
        }
    }
}

impl Network {
    /// `program` in `role`, and `other` at the other end.
    pub(crate) async fn start(
        program: &Program,
        role: Role,
        other: &Program,
        cipher: &str,
    ) -> Result<Self> {
        let (client, server) = match role {
            Role::Server => (other, program),
            Role::Client => (program, other),
        };
        let (port, socks) = (free_port()?, free_port()?);
        Ok(Self {
            server: server.start(&server.server_config(port), port).await?,
            client: client
                .start(&client.client_config(socks, port, cipher), socks)
                .await?,
            socks,
        })
    }
}

impl Peer {
    pub(crate) fn cpu(&self) -> Result<Duration> {
        proc::cpu(self.child.id())
    }

    pub(crate) fn rss(&self) -> Result<u64> {
        proc::rss(self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where `integration/test peers` puts what it fetches.
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
