//! GOST's files, for GOST and for mobula: `relay` over one of its carriers.

use serde_json::{Value, json};

use super::Certificate;

/// What carries `relay`, as GOST calls it; with a certificate where it has TLS.
pub(crate) struct Carrier<'c> {
    pub(crate) name: &'static str,
    pub(crate) tls: Option<&'c Certificate>,
}

impl Carrier<'_> {
    pub(crate) fn server(&self, port: u16) -> Value {
        let mut listener = json!({"type": self.name});
        if let Some(tls) = self.tls {
            listener["tls"] = json!({"certFile": tls.certificate, "keyFile": tls.key});
        }
        json!({
            "log": {"level": "fatal"},
            "services": [{
                "name": "server", "addr": format!("127.0.0.1:{port}"),
                "handler": {"type": "relay"}, "listener": listener,
            }],
        })
    }

    /// As in GOST's own commands, nobody vouches for the server.
    pub(crate) fn client(&self, socks: u16, server: u16) -> Value {
        json!({
            "log": {"level": "fatal"},
            "services": [{
                "name": "client", "addr": format!("127.0.0.1:{socks}"),
                "handler": {"type": "socks5", "chain": "chain"}, "listener": {"type": "tcp"},
            }],
            "chains": [{"name": "chain", "hops": [{"name": "hop", "nodes": [{
                "name": "node", "addr": format!("127.0.0.1:{server}"),
                "connector": {"type": "relay"}, "dialer": {"type": self.name},
            }]}]}],
        })
    }
}
