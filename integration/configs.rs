//! Configs for either end of a tunnel, in the words of the program that plays it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{DEFAULT_VERSIONS, ServerConfig, SupportedProtocolVersion};

use crate::peers::{Peer, Stage, root};
use crate::traffic;

/// What both ends of a tunnel agree on, and how the client uses it.
#[derive(Clone, Debug)]
pub struct Vmess {
    pub protocol: Protocol,
    pub security: &'static str,
    /// A request for this path comes first; plain TCP without.
    pub path: Option<&'static str>,
    /// What the request is for.
    pub carrier: Carrier,
    pub early: Early,
    pub tls: Option<Certificate>,
    pub global_padding: bool,
    pub authenticated_length: bool,
    /// Further keys of the client's outbound, in its own words.
    pub outbound: Value,
}

/// What is spoken: VLESS and Trojan have all that VMess has, but what is about seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Vmess,
    Vless,
    Trojan,
}

/// What begins with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Ws,
    HttpUpgrade,
    /// Plain TCP with a head of HTTP in front.
    HttpHeader,
    /// The path without its slash is the name of the service.
    Grpc,
    /// For [`SERVER_NAME`].
    H2,
}

impl Carrier {
    /// What `network` calls it.
    pub fn network(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::HttpUpgrade => "httpupgrade",
            Self::HttpHeader => "tcp",
            Self::Grpc => "grpc",
            Self::H2 => "http",
        }
    }

    /// The key of its settings.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Ws => "wsSettings",
            Self::HttpUpgrade => "httpupgradeSettings",
            Self::HttpHeader => "tcpSettings",
            Self::Grpc => "grpcSettings",
            Self::H2 => "httpSettings",
        }
    }

    /// Those, with a path in them.
    pub fn at(self, path: Option<String>) -> Value {
        match self {
            Self::HttpHeader => json!({"header": {"type": "http", "request": {"path": [path]}}}),
            Self::Grpc => json!({"serviceName": path.map(|path| path[1..].to_owned())}),
            Self::H2 => json!({"path": path, "host": [SERVER_NAME]}),
            _ => json!({"path": path}),
        }
    }
}

/// Where the first bytes travel in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    No,
    Path,
    Header(&'static str),
    /// `?ed=` in the client's path.
    Query,
}

/// A certificate for `mobula.test`, and who vouches for it.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

pub const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";
pub const PASSWORD: &str = "a word, or two";
pub const SERVER_NAME: &str = "mobula.test";
const MAX_EARLY_DATA: u32 = 2048;

impl Vmess {
    pub fn tcp() -> Self {
        Self {
            protocol: Protocol::Vmess,
            security: "auto",
            path: None,
            carrier: Carrier::Ws,
            early: Early::No,
            tls: None,
            global_padding: false,
            authenticated_length: false,
            outbound: json!({}),
        }
    }

    pub fn ws() -> Self {
        Self {
            path: Some("/ray"),
            ..Self::tcp()
        }
    }

    pub fn httpupgrade() -> Self {
        Self {
            carrier: Carrier::HttpUpgrade,
            ..Self::ws()
        }
    }

    pub fn http_header() -> Self {
        Self {
            carrier: Carrier::HttpHeader,
            ..Self::ws()
        }
    }

    pub fn grpc() -> Self {
        Self {
            carrier: Carrier::Grpc,
            ..Self::ws()
        }
    }

    pub fn h2() -> Self {
        Self {
            carrier: Carrier::H2,
            ..Self::ws()
        }
    }

    /// With these keys in the client's outbound.
    pub fn ws_with(outbound: Value) -> Self {
        Self {
            outbound,
            ..Self::ws()
        }
    }

    pub fn ws_sealed(security: &'static str) -> Self {
        Self {
            security,
            ..Self::ws()
        }
    }

    pub fn ws_early(early: Early) -> Self {
        Self {
            early,
            ..Self::ws()
        }
    }

    pub fn wss(stage: &Stage) -> Self {
        Self {
            tls: Some(Certificate::new(stage)),
            ..Self::ws()
        }
    }

    /// The same with early data.
    pub fn with_early(self, early: Early) -> Self {
        Self { early, ..self }
    }

    /// The same over TLS.
    pub fn over_tls(self, stage: &Stage) -> Self {
        let tls = Some(Certificate::new(stage));
        Self { tls, ..self }
    }

    /// The same with VLESS.
    pub fn vless(self) -> Self {
        Self {
            protocol: Protocol::Vless,
            ..self
        }
    }

    /// The same with Trojan.
    pub fn trojan(self) -> Self {
        Self {
            protocol: Protocol::Trojan,
            ..self
        }
    }

    /// What a user shows in sing-box's and mihomo's words.
    fn key(&self) -> Value {
        match self.protocol {
            Protocol::Vmess | Protocol::Vless => json!({"uuid": ID}),
            Protocol::Trojan => json!({"password": PASSWORD}),
        }
    }

    fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::Trojan => "trojan",
            Protocol::Vmess => "vmess",
            Protocol::Vless => "vless",
        }
    }

    /// Adds what VMess alone knows.
    fn add_vmess(&self, object: &mut Value, keys: &Value) {
        if self.protocol == Protocol::Vmess {
            add(object, keys);
        }
    }

    /// VMess in, freedom out.
    pub fn server(&self, peer: Peer, port: u16) -> Value {
        if peer == Peer::Mihomo {
            let mut listener = json!({
                "name": "in", "type": self.name(), "listen": "127.0.0.1", "port": port,
                "users": [{"username": "a"}],
            });
            add(&mut listener["users"][0], &self.key());
            self.add_vmess(&mut listener["users"][0], &json!({"alterId": 0}));
            if let Some(path) = self.path {
                match self.carrier {
                    Carrier::Grpc => listener["grpc-service-name"] = json!(&path[1..]),
                    _ => listener["ws-path"] = json!(path),
                }
            }
            if let Some(tls) = &self.tls {
                listener["certificate"] = json!(tls.chain);
                listener["private-key"] = json!(tls.key);
            }
            return json!({"mode": "direct", "ipv6": false, "listeners": [listener]});
        }
        if !peer.reads_v2ray_json() {
            let mut inbound = json!({
                "type": self.name(), "listen": "127.0.0.1", "listen_port": port,
                "users": [self.key()],
            });
            self.add_vmess(&mut inbound["users"][0], &json!({"alterId": 0}));
            if let Some(transport) = self.sing_transport() {
                inbound["transport"] = transport;
            }
            if let Some(tls) = &self.tls {
                inbound["tls"] = json!({
                    "enabled": true, "certificate_path": tls.chain, "key_path": tls.key,
                });
            }
            return json!({"inbounds": [inbound], "outbounds": [{"type": "direct"}]});
        }
        let mut stream = self.v2ray_stream();
        if let Some(tls) = &self.tls {
            stream["tlsSettings"] = json!({
                "certificates": [{"certificateFile": tls.chain, "keyFile": tls.key}],
            });
        }
        let mut settings = json!({"clients": [{"id": ID, "email": "a@mobula.test"}]});
        match self.protocol {
            Protocol::Vmess => settings["clients"][0]["alterId"] = json!(0),
            Protocol::Vless => settings["decryption"] = json!("none"),
            Protocol::Trojan => {
                settings["clients"][0] = json!({"password": PASSWORD, "email": "a@mobula.test"});
            }
        }
        with_policy(
            peer,
            json!({
                "log": {"loglevel": "info", "access": "access.log"},
                "inbounds": [{
                    "listen": "127.0.0.1", "port": port, "protocol": self.name(),
                    "settings": settings,
                    "streamSettings": stream,
                }],
                "outbounds": [{"protocol": "freedom"}],
            }),
        )
    }

    /// SOCKS in, VMess out.
    pub fn client(&self, peer: Peer, socks: u16, server: u16) -> Value {
        if peer == Peer::Mihomo {
            let mut proxy = json!({
                "name": "out", "type": self.name(), "server": "127.0.0.1", "port": server,
                "udp": true,
            });
            add(&mut proxy, &self.key());
            let vmess = json!({
                "alterId": 0, "cipher": self.security, "global-padding": self.global_padding,
            });
            self.add_vmess(&mut proxy, &vmess);
            match (self.path, self.carrier) {
                (Some(path), Carrier::Grpc) => {
                    proxy["network"] = json!("grpc");
                    proxy["grpc-opts"] = json!({"grpc-service-name": &path[1..]});
                }
                (Some(path), Carrier::H2) => {
                    proxy["network"] = json!("h2");
                    proxy["h2-opts"] = json!({"path": path, "host": [SERVER_NAME]});
                }
                (Some(path), Carrier::HttpHeader) => {
                    proxy["network"] = json!("http");
                    proxy["http-opts"] = json!({"method": "GET", "path": [path]});
                }
                _ => {}
            }
            if self.begins_with_upgrade() {
                proxy["network"] = json!("ws");
                proxy["ws-opts"] = json!({
                    "path": self.client_path(),
                    "v2ray-http-upgrade": self.carrier == Carrier::HttpUpgrade,
                });
                if let Early::Header(name) = self.early {
                    proxy["ws-opts"]["max-early-data"] = json!(MAX_EARLY_DATA);
                    proxy["ws-opts"]["early-data-header-name"] = json!(name);
                }
            }
            if self.tls.is_some() {
                proxy["tls"] = json!(true);
                // Trojan has a word of its own for it.
                proxy["servername"] = json!(SERVER_NAME);
                proxy["sni"] = json!(SERVER_NAME);
                proxy["skip-cert-verify"] = json!(true);
            }
            add(&mut proxy, &self.outbound);
            return json!({
                "socks-port": socks, "bind-address": "127.0.0.1", "ipv6": false,
                "proxies": [proxy], "rules": ["MATCH,out"],
            });
        }
        if !peer.reads_v2ray_json() {
            let mut outbound = json!({
                "type": self.name(), "server": "127.0.0.1", "server_port": server,
            });
            add(&mut outbound, &self.key());
            let vmess = json!({
                "security": self.security, "alter_id": 0,
                "global_padding": self.global_padding,
                "authenticated_length": self.authenticated_length,
            });
            self.add_vmess(&mut outbound, &vmess);
            if let Some(transport) = self.sing_transport() {
                outbound["transport"] = transport;
            }
            if let Some(tls) = &self.tls {
                outbound["tls"] = json!({
                    "enabled": true, "server_name": SERVER_NAME, "certificate_path": tls.authority,
                });
            }
            add(&mut outbound, &self.outbound);
            return json!({
                "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
                "outbounds": [outbound],
            });
        }
        let mut stream = self.v2ray_stream();
        if self.path.is_some() {
            let at = self.carrier.at(self.client_path());
            add(&mut stream[self.carrier.settings()], &at);
        }
        if let Some(tls) = &self.tls {
            stream["tlsSettings"] = json!({
                "serverName": SERVER_NAME, "disableSystemRoot": true,
                "certificates": [{"usage": "verify", "certificateFile": tls.authority}],
            });
        }
        let mut user = match self.protocol {
            Protocol::Vmess => json!({"id": ID, "alterId": 0, "security": self.security}),
            Protocol::Vless => json!({"id": ID, "encryption": "none"}),
            Protocol::Trojan => json!({"password": PASSWORD}),
        };
        if self.authenticated_length {
            user["experiments"] = json!("AuthenticatedLength");
        }
        let mut to = json!({"address": "127.0.0.1", "port": server});
        let settings = match self.protocol {
            Protocol::Trojan => {
                add(&mut to, &user);
                json!({"servers": [to]})
            }
            Protocol::Vmess | Protocol::Vless => {
                to["users"] = json!([user]);
                json!({"vnext": [to]})
            }
        };
        let mut outbound = json!({
            "protocol": self.name(),
            "settings": settings,
            "streamSettings": stream,
        });
        add(&mut outbound, &self.outbound);
        with_policy(
            peer,
            json!({
                "log": {"loglevel": "info"},
                "inbounds": [{
                    "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                    "settings": {"auth": "noauth", "udp": true, "ip": "127.0.0.1"},
                }],
                "outbounds": [outbound],
            }),
        )
    }

    fn begins_with_upgrade(&self) -> bool {
        self.path.is_some() && matches!(self.carrier, Carrier::Ws | Carrier::HttpUpgrade)
    }

    fn client_path(&self) -> Option<String> {
        let path = self.path?;
        Some(match self.early {
            Early::Query => format!("{path}?ed={MAX_EARLY_DATA}"),
            _ => path.to_owned(),
        })
    }

    fn v2ray_stream(&self) -> Value {
        let carrier = self.path.map(|_| self.carrier);
        let mut stream = json!({
            "network": carrier.map_or("tcp", Carrier::network),
            "security": if self.tls.is_some() { "tls" } else { "none" },
        });
        if let Some(carrier) = carrier {
            let settings = &mut stream[carrier.settings()];
            *settings = carrier.at(self.path.map(str::to_owned));
            if let Early::Path | Early::Header(_) = self.early {
                settings["maxEarlyData"] = json!(MAX_EARLY_DATA);
            }
            if let Early::Header(name) = self.early {
                settings["earlyDataHeaderName"] = json!(name);
            }
        }
        stream
    }

    fn sing_transport(&self) -> Option<Value> {
        let path = self.path?;
        let mut transport = match self.carrier {
            Carrier::Grpc => json!({"type": "grpc", "service_name": &path[1..]}),
            Carrier::H2 => json!({"type": "http", "path": path, "host": [SERVER_NAME]}),
            Carrier::HttpHeader => json!({"type": "http", "path": path, "method": "GET"}),
            Carrier::Ws | Carrier::HttpUpgrade => {
                json!({"type": self.carrier.network(), "path": path})
            }
        };
        if let Early::Path | Early::Header(_) = self.early {
            transport["max_early_data"] = json!(MAX_EARLY_DATA);
        }
        if let Early::Header(name) = self.early {
            transport["early_data_header_name"] = json!(name);
        }
        Some(transport)
    }
}

fn add(outbound: &mut Value, keys: &Value) {
    for (key, value) in keys.as_object().expect("keys of an outbound") {
        outbound[key] = value.clone();
    }
}

/// V2Ray gives the other direction one second once one has ended, which a busy machine may exceed.
fn with_policy(peer: Peer, mut config: Value) -> Value {
    if peer.reads_v2ray_json() {
        config["policy"] = json!({"levels": {"0": {"uplinkOnly": 5, "downlinkOnly": 5}}});
    }
    config
}

impl Certificate {
    /// An authority and a leaf, in the test's folder.
    pub fn new(stage: &Stage) -> Self {
        Self::with_names(stage, &[SERVER_NAME, "localhost"])
    }

    pub fn with_names(stage: &Stage, names: &[&str]) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key"))
                .expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names)
            .and_then(|leaf| leaf.signed_by(&key, &authority))
            .expect("a certificate");
        Self {
            chain: stage.write("cert.pem", leaf.pem()),
            key: stage.write("key.pem", key.serialize_pem()),
            authority: stage.write("authority.pem", authority.pem()),
        }
    }

    /// Shows it to TLS clients; `alpn` are the protocols it agrees to.
    pub fn acceptor(&self, alpn: &[&str]) -> TlsAcceptor {
        self.acceptor_of(DEFAULT_VERSIONS, alpn)
    }

    /// The same, of these versions of TLS.
    pub fn acceptor_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> TlsAcceptor {
        let chain = CertificateDer::pem_file_iter(&self.chain).expect("a chain");
        let chain = chain.collect::<Result<_, _>>().expect("a chain");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .and_then(|config| {
                let config = config.with_no_client_auth();
                config.with_single_cert(chain, key)
            });
        let mut config = config.expect("they belong together");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A `freedom` outbound with this tag, whose targets say it in a line, wherever a session wants to go.
pub async fn saying(tag: &str) -> Value {
    let redirect = traffic::says(tag).await.to_string();
    json!({"tag": tag, "protocol": "freedom", "settings": {"redirect": redirect}})
}

/// Two programs sent everything by the same outbounds, in lines that end in ` by TAG`, and each outbound had its share.
pub fn decided_alike(ours: &[String], theirs: &[String], tags: &[&str]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs);
    }
    for tag in tags {
        let end = format!(" by {tag}");
        let went = ours.iter().any(|line| line.ends_with(&end));
        assert!(went, "nothing went{end}");
    }
}

/// nginx in the foreground with one `server` block.
pub fn nginx(stage: &Stage, server: &str) -> PathBuf {
    let dir = stage.path("");
    let at = |name: &str| Path::new(&dir).join(name).display().to_string();
    let text = format!(
        "daemon off; pid {pid}; error_log stderr info; worker_processes 1;\n\
         {user}\
         events {{ worker_connections 512; }}\n\
         http {{\n access_log {access};\n client_body_temp_path {tmp};\n proxy_temp_path {tmp};\n\
         fastcgi_temp_path {tmp};\n uwsgi_temp_path {tmp};\n scgi_temp_path {tmp};\n\
         server {{\n{server}\n}}\n}}\n",
        pid = at("nginx.pid"),
        access = at("nginx-access.log"),
        tmp = at("nginx-tmp"),
        // Without it a master that root starts hands its workers to `nobody`, who may not come here.
        user = if we_are_root() { "user root;\n" } else { "" },
    );
    stage.write("nginx.conf", text)
}

/// The first nginx block of docs/nginx.md, for the server on `port`.
pub fn documented_location(port: u16) -> String {
    documented(port, "location /ray {", "http://127.0.0.1:10000;")
}

/// The same for gRPC.
pub fn documented_grpc_location(port: u16) -> String {
    documented(port, "location /ray/ {", "grpc://127.0.0.1:10000;")
}

fn documented(port: u16, begins: &str, passes: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/nginx.md")).expect("docs/nginx.md");
    let block = text
        .split("```nginx\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.starts_with(begins))
        .expect("docs/nginx.md shows this location");
    assert!(block.contains(passes));
    block.replace("127.0.0.1:10000", &format!("127.0.0.1:{port}"))
}

fn we_are_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
