//! What the programs are told: a tunnel of some protocol over some transport, as server and as client with a SOCKS inbound.

pub(crate) mod gost;
pub(crate) mod nginx;
mod shoes;
mod sing_box;
mod v2ray;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::Result;
use super::program::Kind;

/// What the tunnel of one measure is like.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) protocol: Protocol,
    pub(crate) transport: Transport,
    /// Of VMess.
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
    Vmess,
    Vless,
    Trojan,
    /// Of 2022 with AES-128-GCM.
    Shadowsocks,
}

/// What carries it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Ws,
    HttpUpgrade,
    Grpc,
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
            transport: Transport::Ws,
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
            Kind::Mobula | Kind::V2ray => v2ray::server(self, port),
            Kind::SingBox => sing_box::server(self, port),
            Kind::Shoes => shoes::server(self, port),
            Kind::Gost | Kind::Nginx | Kind::Floor => Value::Null,
        }
    }

    pub(crate) fn client(&self, kind: Kind, socks: u16, server: u16) -> Value {
        match kind {
            Kind::Mobula | Kind::V2ray => v2ray::client(self, socks, server),
            Kind::SingBox => sing_box::client(self, socks, server),
            Kind::Shoes => shoes::client(self, socks, server),
            Kind::Gost | Kind::Nginx | Kind::Floor => Value::Null,
        }
    }
}

/// Of Shadowsocks.
const METHOD: &str = "2022-blake3-aes-128-gcm";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODw==";

const PATH: &str = "/ray";

/// Of gRPC.
const SERVICE: &str = "ray";

/// The name in the certificate.
const NAME: &str = "bench.test";

const EARLY_DATA: u32 = 2048;
const EARLY_HEADER: &str = "Sec-WebSocket-Protocol";
