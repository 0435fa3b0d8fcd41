//! What `mobula run` does without a config: client and server in one process, to be tried at once.
//!
//! ```text
//! curl ─▶ socks, http ─▶ vmess over ws ─▶ 127.0.0.1 ─▶ vmess over ws, /ray ─▶ freedom
//! ```

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use ipnet::IpNet;
use uuid::Uuid;

use crate::config::{Config, Inbound, Listen, Log, LogTarget, Outbound};
use crate::dialect::links::{self, Form};
use crate::dns::Strategy;
use crate::matching::{Networks, geodata, parse_network};
use crate::protocol::freedom::{Action, FinalRule, FinalRules};
use crate::protocol::servers::ServerSettings;
use crate::protocol::{InboundSettings, OutboundSettings, freedom, http, socks, vmess};
use crate::report::Place;
use crate::routing::{self, Conditions, Rule, Target};
use crate::transport::{self, ClientCarrier, ServerCarrier, ws};

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

    pub(super) fn config(&self) -> Config {
        let client = self.client();
        let freedom = OutboundSettings::Freedom(freedom::OutboundSettings {
            rules: nothing_private(),
            ..freedom::OutboundSettings::default()
        });
        Config {
            log: Log {
                access: LogTarget::None,
                ..Log::default()
            },
            inbounds: self.inbounds(),
            outbounds: vec![client, outbound("direct", freedom)],
            routing: self.routing(),
            ..Config::default()
        }
    }

    fn client(&self) -> Outbound {
        Outbound {
            transport: transport::ClientSettings {
                carrier: ClientCarrier::Ws(ws::ClientSettings {
                    path: PATH.to_owned(),
                    ..ws::ClientSettings::default()
                }),
                ..transport::ClientSettings::default()
            },
            ..outbound("proxy", OutboundSettings::Vmess(self.vmess_outbound()))
        }
    }

    fn inbounds(&self) -> Vec<Inbound> {
        let socks = InboundSettings::Socks(socks::InboundSettings {
            udp: true,
            ..socks::InboundSettings::default()
        });
        let http = InboundSettings::Http(http::InboundSettings::default());
        let user = vmess::UserSettings {
            id: self.id.into(),
            ..vmess::UserSettings::default()
        };
        let vmess = InboundSettings::Vmess(vmess::InboundSettings {
            users: vec![user],
            ..Default::default()
        });
        let carrier = ServerCarrier::Ws(ws::ServerSettings {
            path: PATH.to_owned(),
            ..ws::ServerSettings::default()
        });
        let server = Inbound {
            transport: transport::ServerSettings {
                carrier,
                ..transport::ServerSettings::default()
            },
            ..inbound("server", self.vmess, vmess)
        };
        vec![
            inbound("socks", self.socks, socks),
            inbound("http", self.http, http),
            server,
        ]
    }

    fn vmess_outbound(&self) -> vmess::OutboundSettings {
        let account = vmess::AccountSettings {
            id: self.id.into(),
            ..vmess::AccountSettings::default()
        };
        let server = ServerSettings {
            to: SocketAddr::new(LOOPBACK.into(), self.vmess).into(),
            accounts: vec![account],
        };
        vmess::OutboundSettings {
            servers: vec![server],
        }
    }

    /// Without a rule the server's sessions would go to the first outbound, and so back to itself.
    fn routing(&self) -> routing::Settings {
        let rule = Rule {
            tag: String::new(),
            conditions: Conditions {
                inbounds: vec!["server".to_owned()].into(),
                ..Conditions::default()
            },
            target: Target::Outbound("direct".into()).into(),
        };
        routing::Settings {
            rules: vec![rule],
            ..routing::Settings::default()
        }
    }

    /// The link that V2Ray's graphical clients take.
    fn link(&self) -> String {
        let client = Outbound {
            tag: Some("mobula".into()),
            ..self.client()
        };
        let written = links::write(&client, Form::Json);
        let link = written
            .ok()
            .and_then(|written| written.links.into_iter().next());
        link.expect("there are links for VMess, and it has one server")
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

/// What `init` writes for a server, but for this machine itself: whoever may come in here is on it.
fn nothing_private() -> FinalRules {
    let itself = ["127.0.0.0/8", "::1/128"].map(parse_network);
    let of = |action, networks: &mut dyn Iterator<Item = IpNet>| FinalRule {
        ips: Some(Networks {
            inside: networks.collect(),
            outside: Vec::new(),
        }),
        ..FinalRule::of_all(action)
    };
    let rules = [
        of(Action::Allow, &mut itself.into_iter().flatten()),
        of(Action::Block, &mut geodata::private().into_iter()),
        FinalRule::of_all(Action::Allow),
    ];
    FinalRules(rules.into())
}

/// On this machine alone.
fn inbound(tag: &str, port: u16, protocol: InboundSettings) -> Inbound {
    Inbound {
        at: Place::default(),
        name: format!("the example's {tag}"),
        tag: Some(tag.into()),
        listen: Listen::Ip(LOOPBACK.into()),
        ports: vec![port.into()],
        transport: transport::ServerSettings::default(),
        protocol,
        sniffing: None,
        limits: Default::default(),
        beside: Vec::new(),
    }
}

fn outbound(tag: &str, protocol: OutboundSettings) -> Outbound {
    Outbound {
        at: Place::default(),
        name: format!("the example's {tag}"),
        tag: Some(tag.into()),
        transport: transport::ClientSettings::default(),
        protocol,
        through: None,
        strategy: Strategy::AsIs,
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    }
}

/// Each port that is wished for, or one that the system chooses where it is taken. They are released
/// before they are listened on, all at once so that no two are the same.
pub(super) fn free_ports<const N: usize>(wished: [u16; N]) -> [u16; N] {
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

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PATH: &str = "/ray";

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use crate::address::Network;
    use crate::routing::{HealthTables, Pick, Program, RouteInput, Router};
    use crate::session::Source;

    #[test]
    fn the_link_is_base64_of_json() {
        let example = Example::new();
        let link = example.link();
        let json = STANDARD
            .decode(link.strip_prefix("vmess://").unwrap())
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
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
    fn its_server_does_not_go_back_to_itself() {
        let config = Example::new().config();
        let router = Router::new(config.routing, &HealthTables::default());
        let to = "example.com:443".parse().unwrap();
        let pick = |inbound| {
            let input = RouteInput {
                inbound: Some(inbound),
                source: Source::Unix,
                local: Source::Unix,
                vless_route: 0,
                program: Program::Unasked,
                network: Network::Tcp,
                to: &to,
                named: None,
                resolves_named: false,
                user: None,
                protocol: None,
                attributes: None,
            };
            router.pick(&input, None)
        };
        assert!(matches!(pick("server"), Pick::Outbound(tag) if &**tag == "direct"));
        assert!(matches!(pick("socks"), Pick::Default));
    }
}
