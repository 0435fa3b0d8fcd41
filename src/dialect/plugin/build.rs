//! From options to what V2Ray's own parts make of them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use http::header::HeaderValue;

use super::options::Options;
use super::security;
use crate::address::{Destination, Host};
use crate::config::{Config, Inbound, Listen, Log, LogLevel, LogTarget, Outbound};
use crate::dialect::names::Names;
use crate::dns::Strategy;
use crate::mux;
use crate::protocol::{InboundSettings, OutboundSettings, dokodemo, freedom};
use crate::report::{Place, did_you_mean, either};
use crate::transport::tcp::{FastOpen, SockOpt};
use crate::transport::{self, ClientCarrier, ServerCarrier, grpc, ws};

/// v2ray-plugin's default for `host`.
const HOST: &str = "cloudfront.com";

/// The config, complete if nothing was reported.
pub(super) fn config(options: &mut Options, home: Option<&Path>) -> Option<Config> {
    if options.is_on("__android_vpn") && cfg!(target_os = "android") {
        options.error(
            "__android_vpn",
            "sockets that go past Android's VPN are not built, and without them traffic would go round in a circle: \
             leave it out and exclude this program from the VPN",
        );
    }
    let is_server = options.is_on("server");
    let ends = Ends::read(options, is_server);
    let mode = read_mode(options)?;
    let host = options.text("host").unwrap_or(HOST).to_owned();
    let mux = read_mux(options, mode);
    let sockopt = read_sockopt(options);
    let log = read_log(options);
    let parts = match is_server {
        true => server(options, &ends, mode, &host, mux.is_some(), sockopt, home),
        false => client(options, &ends, mode, &host, mux, sockopt),
    };
    let (inbounds, outbound) = parts?;
    Some(Config {
        log,
        inbounds,
        outbounds: vec![outbound],
        ..Config::default()
    })
}

/// In front of ss-local: what comes goes to the server, whatever it is.
fn client(
    options: &mut Options,
    ends: &Ends,
    mode: Mode,
    host: &str,
    mux: Option<mux::Settings>,
    sockopt: SockOpt,
) -> Option<(Vec<Inbound>, Outbound)> {
    if options.some("key").is_some() {
        options.warn("key", "only a server has a key, this has no effect");
    }
    let security = security::client(options, host);
    let carrier = match mode {
        Mode::WebSocket => ClientCarrier::Ws(ws::ClientSettings {
            path: path(options),
            host: read_host(options, host)?,
            ..ws::ClientSettings::default()
        }),
        Mode::Grpc => ClientCarrier::Grpc(grpc::ClientSettings {
            paths: service(options),
            ..grpc::ClientSettings::default()
        }),
    };
    let transport = transport::ClientSettings {
        fragment: None,
        sockopt,
        security,
        carrier,
    };
    // The server looks at no target; v2ray-plugin names this one.
    let door = Host::Ip(Ipv4Addr::LOCALHOST.into());
    let plain = transport::ServerSettings::default();
    Some((ends.inbounds(&door, &plain), ends.outbound(transport, mux)))
}

/// In front of ss-server: what comes goes there, whatever it is.
fn server(
    options: &mut Options,
    ends: &Ends,
    mode: Mode,
    host: &str,
    mux: bool,
    sockopt: SockOpt,
    home: Option<&Path>,
) -> Option<(Vec<Inbound>, Outbound)> {
    let security = match options.is_on("tls") {
        true => Some(security::server(options, host, home)?),
        false => {
            security::warn_without_tls(options);
            None
        }
    };
    let carrier = match mode {
        Mode::WebSocket => {
            let path = path(options);
            if let Some((before, _)) = path.split_once('?') {
                let text = format!(
                    "a server never finds a query in a path, no request would get through, expected `{before}`"
                );
                options.error("path", &text);
            }
            ServerCarrier::Ws(ws::ServerSettings {
                path,
                ..ws::ServerSettings::default()
            })
        }
        Mode::Grpc => ServerCarrier::Grpc(grpc::ServerSettings {
            paths: service(options),
            ..grpc::ServerSettings::default()
        }),
    };
    let transport = transport::ServerSettings {
        sockopt,
        security,
        carrier,
        ..transport::ServerSettings::default()
    };
    // Sessions of a mux are found by this name; without one all is a single session.
    let door = match mux {
        true => mux::destination().host,
        false => Host::Ip(Ipv4Addr::LOCALHOST.into()),
    };
    let to_shadowsocks = ends.outbound(transport::ClientSettings::default(), None);
    Some((ends.inbounds(&door, &transport), to_shadowsocks))
}

/// Where it listens, and where all goes.
struct Ends {
    listen: Vec<IpAddr>,
    port: u16,
    to: Destination,
}

impl Ends {
    /// SIP003 speaks of the client: a server listens on the remote address, and leads to the local one. Flags say what
    /// they mean.
    fn read(options: &mut Options, is_server: bool) -> Self {
        let local = ["localAddr", "localPort"];
        let remote = ["remoteAddr", "remotePort"];
        let (here, there) = match is_server && options.from_host {
            true => (remote, local),
            false => (local, remote),
        };
        let port_of = |options: &mut Options, name| {
            let default = match name {
                "localPort" => 1984,
                _ => 1080,
            };
            let port = options.parsed(name, default, "a port, expected 1 to 65535");
            if port == 0 {
                options.error(name, "0 is not a port, expected 1 to 65535");
            }
            port
        };
        let port = port_of(options, here[1]);
        let listen = read_listen(options, here[0]);
        let there_port = port_of(options, there[1]);
        let to = options.text(there[0]).unwrap_or("127.0.0.1").to_owned();
        let host = Host::parse(&to).unwrap_or_else(|e| {
            let text = format!(
                "`{}` is neither an address nor a name: {e}",
                to.escape_debug()
            );
            options.error(there[0], &text);
            Host::Ip(Ipv4Addr::LOCALHOST.into())
        });
        Self {
            listen,
            port,
            to: Destination::new(host, there_port),
        }
    }

    fn inbounds(&self, door: &Host, transport: &transport::ServerSettings) -> Vec<Inbound> {
        let inbound = |ip: &IpAddr| Inbound {
            at: Place::default(),
            name: "plugin".to_owned(),
            tag: None,
            listen: Listen::Ip(*ip),
            ports: vec![self.port.into()],
            transport: transport.clone(),
            protocol: InboundSettings::Dokodemo(dokodemo::InboundSettings {
                to: Some(Destination::new(door.clone(), 0)),
                ..dokodemo::InboundSettings::default()
            }),
            sniffing: None,
            limits: Default::default(),
            beside: Vec::new(),
        };
        self.listen.iter().map(inbound).collect()
    }

    fn outbound(
        &self,
        transport: transport::ClientSettings,
        mux: Option<mux::Settings>,
    ) -> Outbound {
        let redirect = freedom::Redirect {
            host: Some(self.to.host.clone()),
            port: Some(self.to.port),
        };
        Outbound {
            at: Place::default(),
            name: "plugin".to_owned(),
            tag: None,
            transport,
            protocol: OutboundSettings::Freedom(freedom::OutboundSettings {
                redirect,
                ..freedom::OutboundSettings::default()
            }),
            through: None,
            strategy: Strategy::AsIs,
            must_resolve: false,
            mux,
            plugin_mux: None,
        }
    }
}

/// One address or several with `|` between them, as ss-server names those of its config.
fn read_listen(options: &mut Options, name: &'static str) -> Vec<IpAddr> {
    let text = options.text(name).unwrap_or("127.0.0.1").to_owned();
    let mut names = Names::of_system();
    let mut listen: Vec<IpAddr> = Vec::new();
    for part in text.split('|') {
        let ip = match Host::parse(part) {
            Ok(Host::Ip(ip)) => Ok(ip),
            Ok(Host::Domain(name)) => names.find(&name),
            Err(e) => Err(e.to_string()),
        };
        match ip {
            // Either of `0.0.0.0` and `::` is every address of both families.
            Ok(ip) if listen.iter().any(|other| same_place(*other, ip)) => {}
            Ok(ip) => listen.push(ip),
            Err(e) => {
                let text = format!("`{}` is no address to listen on: {e}", part.escape_debug());
                options.error(name, &text);
            }
        }
    }
    listen
}

fn same_place(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() && other.is_unspecified()
}

/// What carries the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    WebSocket,
    Grpc,
}

fn read_mode(options: &mut Options) -> Option<Mode> {
    let text = options.text("mode").unwrap_or("websocket").to_owned();
    let mode = match &*text {
        "websocket" => Mode::WebSocket,
        "grpc" => Mode::Grpc,
        "quic" => {
            options.error(
                "mode",
                "`quic` is not built, expected `websocket` with `tls`, or `grpc` with `tls`, at both ends",
            );
            return None;
        }
        other => {
            const MODES: [&str; 2] = ["websocket", "grpc"];
            let text = format!(
                "`{}` is no mode, expected {}{}",
                other.escape_debug(),
                either(&MODES),
                did_you_mean(other, MODES.into_iter())
            );
            options.error("mode", &text);
            return None;
        }
    };
    let elsewhere: &[&'static str] = match mode {
        Mode::WebSocket => &["serviceName"],
        Mode::Grpc => &["path", "mux"],
    };
    for name in elsewhere
        .iter()
        .filter(|name| options.is_on(name))
        .collect::<Vec<_>>()
    {
        let text = format!("this has no effect with `mode={text}`");
        options.warn(name, &text);
    }
    Some(mode)
}

/// How many share a connection; `None` where each has its own. gRPC shares connections by itself.
fn read_mux(options: &mut Options, mode: Mode) -> Option<mux::Settings> {
    let n: u32 = options.parsed(
        "mux",
        1,
        "a number, expected 0 (none) or how many connections share one",
    );
    let shares = n > 0 && mode == Mode::WebSocket;
    shares.then(|| mux::Settings::plugin(n))
}

fn path(options: &Options) -> String {
    let path = options.text("path").unwrap_or_default();
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}

fn service(options: &Options) -> grpc::Paths {
    grpc::Paths::new(options.text("serviceName").unwrap_or("GunService"))
}

/// The `Host` of a request; an empty one is the server's address, as in V2Ray.
fn read_host(options: &mut Options, host: &str) -> Option<Option<HeaderValue>> {
    if host.is_empty() {
        return Some(None);
    }
    let value = HeaderValue::from_str(host).ok();
    if value.is_none() {
        let text = format!("`{}` cannot stand in a header", host.escape_debug());
        options.error("host", &text);
    }
    value.map(Some)
}

fn read_sockopt(options: &mut Options) -> SockOpt {
    let mark: u32 = options.parsed("fwmark", 0, "a mark, expected 0 (none) to 4294967295");
    SockOpt {
        fast_open: match options.is_on("fastOpen") {
            true => FastOpen::On(FastOpen::QUEUE),
            false => FastOpen::Default,
        },
        mark: Some(mark).filter(|mark| *mark != 0),
        ..SockOpt::default()
    }
}

fn read_log(options: &mut Options) -> Log {
    const LEVELS: [(&str, LogLevel); 5] = [
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warning", LogLevel::Warning),
        ("error", LogLevel::Error),
        ("none", LogLevel::None),
    ];
    let text = options.some("loglevel").unwrap_or("warning").to_owned();
    let found = LEVELS
        .iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name));
    let level = found.map(|(_, level)| *level);
    if level.is_none() {
        let names = LEVELS.map(|(name, _)| name);
        let text = format!(
            "`{}` is no level, expected {}{}",
            text.escape_debug(),
            either(&names),
            did_you_mean(&text, names.into_iter())
        );
        options.error("loglevel", &text);
    }
    let target = match level {
        Some(LogLevel::None) => LogTarget::None,
        _ => LogTarget::Console,
    };
    Log {
        access: target.clone(),
        error: target,
        level: level.unwrap_or_default(),
        ..Log::default()
    }
}
