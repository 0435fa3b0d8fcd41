//! What `mobula run` does without a config: client and server in one process, to be tried at once.
//!
//! ```text
//! curl ─▶ socks, http ─▶ vmess over ws ─▶ 127.0.0.1 ─▶ vmess over ws, /ray ─▶ freedom
//! ```

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::{self, Format, Input, Loaded};

/// Ports that are free and an id that is new.
pub(super) struct Example {
    socks: u16,
    http: u16,
    vmess: u16,
    id: Uuid,
}

impl Example {
    pub(super) fn new() -> Self {
        let [socks, http, vmess] = free_ports([10808, 10809, 10810]);
        Self {
            socks,
            http,
            vmess,
            id: Uuid::new_v4(),
        }
    }

    pub(super) fn load(&self) -> Loaded {
        let text = Input::Text {
            name: "the example".to_owned(),
            text: self.config().to_string(),
        };
        config::load(&[text], Format::V4)
    }

    fn config(&self) -> Value {
        let id = self.id.to_string();
        let stream = json!({"network": "ws", "wsSettings": {"path": PATH}});
        json!({
            "log": {"access": "none", "loglevel": "warning"},
            "inbounds": [
                {"tag": "socks", "listen": LOOPBACK, "port": self.socks, "protocol": "socks", "settings": {"udp": true}},
                {"tag": "http", "listen": LOOPBACK, "port": self.http, "protocol": "http"},
                {
                    "tag": "server", "listen": LOOPBACK, "port": self.vmess, "protocol": "vmess",
                    "settings": {"clients": [{"id": id}]}, "streamSettings": stream
                }
            ],
            "outbounds": [
                {
                    "tag": "proxy", "protocol": "vmess",
                    "settings": {"vnext": [{"address": LOOPBACK, "port": self.vmess, "users": [{"id": id}]}]},
                    "streamSettings": stream
                },
                {"tag": "direct", "protocol": "freedom"}
            ],
            // Else the server's sessions would go to the first outbound, and so back to itself.
            "routing": {"rules": [{"type": "field", "inboundTag": ["server"], "outboundTag": "direct"}]}
        })
    }

    /// The link that V2Ray's graphical clients take: base64 of a JSON object.
    fn link(&self) -> String {
        let link = json!({
            "v": "2", "ps": "mobula", "add": LOOPBACK, "port": self.vmess.to_string(),
            "id": self.id.to_string(), "aid": "0", "scy": "auto", "net": "ws", "type": "none",
            "host": "", "path": PATH, "tls": ""
        });
        format!("vmess://{}", STANDARD.encode(link.to_string()))
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            socks,
            http,
            vmess,
            id,
        } = self;
        writeln!(
            f,
            "There is no config, so this is an example, on loopback only:"
        )?;
        writeln!(f)?;
        writeln!(f, "  socks5://{LOOPBACK}:{socks}  http://{LOOPBACK}:{http}")?;
        writeln!(
            f,
            "    -> VMess over WebSocket -> ws://{LOOPBACK}:{vmess}{PATH} -> the internet"
        )?;
        writeln!(f, "  id {id}, new at each start")?;
        writeln!(f)?;
        writeln!(f, "{}", self.link())?;
        writeln!(f)?;
        writeln!(
            f,
            "curl -x socks5h://{LOOPBACK}:{socks} https://example.com/"
        )?;
        writeln!(f)?;
        write!(f, "For a config of your own: mobula run -c config.json")
    }
}

/// Each port that is wished for, or one that the system chooses where it is taken. They are released
/// before they are listened on, all at once so that no two are the same.
fn free_ports<const N: usize>(wished: [u16; N]) -> [u16; N] {
    let held = wished.map(|port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .ok()
    });
    std::array::from_fn(|i| {
        let address = held[i].as_ref().and_then(|l| l.local_addr().ok());
        address.map_or(wished[i], |a| a.port())
    })
}

const LOOPBACK: &str = "127.0.0.1";
const PATH: &str = "/ray";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Network;
    use crate::routing::{HealthTables, Pick, RouteInput, Router};
    use crate::session::Source;

    #[test]
    fn the_link_is_base64_of_json() {
        let example = Example::new();
        let link = example.link();
        let json = STANDARD
            .decode(link.strip_prefix("vmess://").unwrap())
            .unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["id"], example.id.to_string());
        assert_eq!(
            (&json["net"], &json["path"]),
            (&json!("ws"), &json!("/ray"))
        );
    }

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let [other, another] = free_ports([port, port]);
        assert!(other != port && another != port && other != another);
    }

    #[test]
    fn the_example_loads_and_its_server_does_not_go_back_to_itself() {
        let loaded = Example::new().load();
        assert_eq!(loaded.errors, []);
        assert_eq!(loaded.warnings, []);
        let config = loaded.config.unwrap();
        let to = "example.com:443".parse().unwrap();
        let router = Router::new(config.routing, &HealthTables::default());
        let pick = |inbound| {
            let facts = RouteInput {
                inbound: Some(inbound),
                source: Source::Unix,
                network: Network::Tcp,
                to: &to,
                named: None,
                user: None,
                protocol: None,
                attributes: None,
            };
            router.pick(&facts, None)
        };
        let Pick::Outbound(tag) = pick("server") else {
            panic!("{:?}", pick("server"));
        };
        assert_eq!(&**tag, "direct");
        assert!(matches!(pick("socks"), Pick::Default));
    }
}
