//! What the programs are told: VMess over WebSocket, or Shadowsocks over TCP, as server and as client with a SOCKS inbound.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Result;
use super::program::Kind;

/// What the tunnel of one measure is like.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) protocol: Protocol,
    pub(crate) cipher: &'static str,
    pub(crate) tls: Option<Arc<Certificate>>,
    /// Whether the first bytes travel inside the WebSocket request.
    pub(crate) early_data: bool,
    /// Where the client finds the server.
    pub(crate) host: &'static str,
    /// Ids the server knows, and those the client uses in turn.
    pub(crate) known: Vec<String>,
    pub(crate) used: Vec<String>,
}

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Over WebSocket.
    Vmess,
    /// Of 2022 with AES-128-GCM, over TCP.
    Shadowsocks,
}

/// A certificate that nobody vouches for.
pub(crate) struct Certificate {
    _dir: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Default for Shape {
    fn default() -> Self {
        let id = "b831381d-6324-4d53-ad4f-8cda48b30811".to_owned();
        Self {
            protocol: Protocol::Vmess,
            cipher: "aes-128-gcm",
            tls: None,
            early_data: false,
            host: "127.0.0.1",
            known: vec![id.clone()],
            used: vec![id],
        }
    }
}

impl Certificate {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let dir = tempfile::tempdir()?;
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Arc::new(Self {
            _dir: dir,
            certificate,
            key,
        }))
    }
}

impl Shape {
    pub(crate) fn server(&self, kind: Kind, port: u16) -> Value {
        match kind {
            Kind::Mobula if self.protocol == Protocol::Shadowsocks => json!({
                "log": {"loglevel": "none", "access": "none"},
                "inbounds": [{
                    "listen": "0.0.0.0", "port": port, "protocol": "shadowsocks",
                    "settings": {"method": METHOD, "password": KEY},
                }],
                "outbounds": [{"protocol": "freedom"}],
            }),
            Kind::SingBox if self.protocol == Protocol::Shadowsocks => json!({
                "log": {"disabled": true},
                "inbounds": [{
                    "type": "shadowsocks", "listen": "0.0.0.0", "listen_port": port,
                    "method": METHOD, "password": KEY,
                }],
                "outbounds": [{"type": "direct"}],
            }),
            Kind::Mobula | Kind::V2ray => {
                let clients = self.known.iter().map(|id| json!({"id": id, "alterId": 0}));
                json!({
                    "log": {"loglevel": "none", "access": "none"},
                    "inbounds": [{
                        "listen": "0.0.0.0", "port": port, "protocol": "vmess",
                        "settings": {"clients": clients.collect::<Value>()},
                        "streamSettings": self.stream(true),
                    }],
                    "outbounds": [{"protocol": "freedom"}],
                })
            }
            Kind::SingBox => {
                let users = self
                    .known
                    .iter()
                    .map(|id| json!({"uuid": id, "alterId": 0}));
                json!({
                    "log": {"disabled": true},
                    "inbounds": [{
                        "type": "vmess", "listen": "0.0.0.0", "listen_port": port,
                        "users": users.collect::<Value>(),
                        "transport": self.transport(),
                        "tls": self.tls.as_ref().map(|tls| json!({
                            "enabled": true, "certificate_path": tls.certificate, "key_path": tls.key,
                        })),
                    }],
                    "outbounds": [{"type": "direct"}],
                })
            }
            Kind::Shoes => {
                let ws = json!({
                    "type": "ws",
                    "targets": [{
                        "matching_path": "/ray",
                        "protocol": {"type": "vmess", "cipher": "any", "user_id": self.known[0]},
                    }],
                });
                let protocol = match &self.tls {
                    None => ws,
                    Some(tls) => json!({
                        "type": "tls",
                        "sni_targets": {
                            NAME: {"cert": tls.certificate, "key": tls.key, "protocol": ws},
                        },
                    }),
                };
                json!([{"address": format!("0.0.0.0:{port}"), "protocol": protocol}])
            }
            Kind::Floor => Value::Null,
        }
    }

    pub(crate) fn client(&self, kind: Kind, socks: u16, server: u16) -> Value {
        match kind {
            Kind::Mobula if self.protocol == Protocol::Shadowsocks => json!({
                "log": {"loglevel": "none", "access": "none"},
                "inbounds": [{
                    "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                    "settings": {"udp": true},
                }],
                "outbounds": [{
                    "protocol": "shadowsocks",
                    "settings": {"servers": [{
                        "address": self.host, "port": server, "method": METHOD, "password": KEY,
                    }]},
                }],
            }),
            Kind::SingBox if self.protocol == Protocol::Shadowsocks => json!({
                "log": {"disabled": true},
                "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
                "outbounds": [{
                    "type": "shadowsocks", "server": self.host, "server_port": server,
                    "method": METHOD, "password": KEY,
                }],
            }),
            Kind::Mobula | Kind::V2ray => {
                let users = self
                    .used
                    .iter()
                    .map(|id| json!({"id": id, "alterId": 0, "security": self.cipher}));
                json!({
                    "log": {"loglevel": "none", "access": "none"},
                    "inbounds": [{
                        "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                        "settings": {"udp": true},
                    }],
                    "outbounds": [{
                        "protocol": "vmess",
                        "settings": {"vnext": [{
                            "address": self.host, "port": server, "users": users.collect::<Value>(),
                        }]},
                        "streamSettings": self.stream(false),
                    }],
                })
            }
            Kind::SingBox => json!({
                "log": {"disabled": true},
                "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
                "outbounds": [{
                    "type": "vmess", "server": self.host, "server_port": server,
                    "uuid": self.used[0], "security": self.cipher,
                    "transport": self.transport(),
                    "tls": self.tls.as_ref().map(|_| json!({
                        "enabled": true, "server_name": NAME, "insecure": true,
                    })),
                }],
            }),
            Kind::Shoes => {
                let ws = json!({
                    "type": "ws", "matching_path": "/ray",
                    // By itself it says no host, and Go's servers refuse that.
                    "matching_headers": {"Host": NAME},
                    "protocol": {"type": "vmess", "cipher": self.cipher, "user_id": self.used[0]},
                });
                let protocol = match &self.tls {
                    None => ws,
                    Some(_) => json!({
                        "type": "tls", "verify": false, "sni_hostname": NAME, "protocol": ws,
                    }),
                };
                json!([{
                    "address": format!("127.0.0.1:{socks}"),
                    "protocol": {"type": "socks", "udp_enabled": true},
                    "rules": [{
                        "masks": ["0.0.0.0/0"], "action": "allow",
                        "client_chain": [{
                            "address": format!("{}:{server}", self.host), "protocol": protocol,
                        }],
                    }],
                }])
            }
            Kind::Floor => Value::Null,
        }
    }

    /// `streamSettings` of V2Ray.
    fn stream(&self, server: bool) -> Value {
        let mut ws = json!({"path": "/ray"});
        if self.early_data {
            ws["maxEarlyData"] = json!(EARLY_DATA);
            ws["earlyDataHeaderName"] = json!(EARLY_HEADER);
        }
        let mut stream = json!({"network": "ws", "wsSettings": ws});
        if let Some(tls) = &self.tls {
            stream["security"] = json!("tls");
            stream["tlsSettings"] = if server {
                json!({"certificates": [{"certificateFile": tls.certificate, "keyFile": tls.key}]})
            } else {
                json!({"serverName": NAME, "allowInsecure": true})
            };
        }
        stream
    }

    /// `transport` of sing-box.
    fn transport(&self) -> Value {
        let mut ws = json!({"type": "ws", "path": "/ray"});
        if self.early_data {
            ws["max_early_data"] = json!(EARLY_DATA);
            ws["early_data_header_name"] = json!(EARLY_HEADER);
        }
        ws
    }
}

const METHOD: &str = "2022-blake3-aes-128-gcm";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODw==";

/// The name in the certificate.
const NAME: &str = "bench.test";

const EARLY_DATA: u32 = 2048;
const EARLY_HEADER: &str = "Sec-WebSocket-Protocol";
