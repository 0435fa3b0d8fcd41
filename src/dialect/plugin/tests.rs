use std::ffi::OsString;

use super::flags::Asked;
use super::*;
use crate::address::Host;
use crate::config::{Listen, LogLevel, LogTarget};
use crate::mux;
use crate::protocol::{InboundSettings, OutboundSettings};
use crate::transport::{ClientCarrier, ServerCarrier, grpc};

fn launch(options: &str) -> Launch {
    let options = options.to_owned();
    let environment = Environment::read(|name| {
        let value = match name {
            "SS_REMOTE_HOST" => "192.0.2.1",
            "SS_REMOTE_PORT" => "443",
            "SS_LOCAL_HOST" => "127.0.0.1",
            "SS_LOCAL_PORT" => "10001",
            _ => &options,
        };
        Some(OsString::from(value))
    });
    Launch {
        environment,
        ..Launch::default()
    }
}

fn flags(text: &str) -> Launch {
    let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
    let Ok(Asked::Run(flags)) = Asked::read(&words) else {
        panic!("flags");
    };
    Launch {
        flags,
        ..Launch::default()
    }
}

fn config(launch: &Launch) -> Config {
    let loaded = load(launch);
    assert_eq!(loaded.errors, []);
    let config = loaded.config.expect("there are no errors");
    assert_eq!(config.mistakes(), []);
    config
}

fn errors(launch: &Launch) -> Vec<String> {
    let loaded = load(launch);
    assert!(loaded.config.is_none());
    loaded.errors.iter().map(ToString::to_string).collect()
}

/// Where all goes, and what shares connections.
fn out(config: &Config) -> (String, Option<usize>) {
    let outbound = &config.outbounds[0];
    let OutboundSettings::Freedom(freedom) = &outbound.protocol else {
        panic!("{outbound:?}");
    };
    let (host, port) = (freedom.redirect.host.as_ref(), freedom.redirect.port);
    let mux = outbound.mux.as_ref().and_then(|mux| mux.concurrency);
    let to = format!("{}:{}", host.expect("a host"), port.expect("a port"));
    (to, mux)
}

fn door(config: &Config) -> &Host {
    let InboundSettings::Dokodemo(door) = &config.inbounds[0].protocol else {
        panic!("{config:?}");
    };
    &door.to.as_ref().expect("a target").host
}

#[test]
fn a_client_listens_where_ss_local_connects_to() {
    let config = config(&launch(""));
    assert_eq!(out(&config), ("192.0.2.1:443".to_owned(), Some(1)));
    let inbound = &config.inbounds[0];
    assert_eq!(inbound.listen, Listen::Ip("127.0.0.1".parse().unwrap()));
    assert_eq!(inbound.ports, [10001.into()]);
    assert_eq!(inbound.transport, Default::default());
    let transport = &config.outbounds[0].transport;
    assert_eq!(transport.security, None);
    let ClientCarrier::Ws(ws) = &transport.carrier else {
        panic!("{transport:?}");
    };
    assert_eq!(ws.path, "/");
    assert_eq!(ws.host.as_ref().unwrap(), "cloudfront.com");
    assert_eq!(config.log.level, LogLevel::Warning);
}

#[test]
fn a_server_has_its_ends_the_other_way_round() {
    let config = config(&launch("server;path=ray"));
    assert_eq!(out(&config), ("127.0.0.1:10001".to_owned(), None));
    assert_eq!(door(&config), &mux::destination().host);
    let inbound = &config.inbounds[0];
    assert_eq!(inbound.listen, Listen::Ip("192.0.2.1".parse().unwrap()));
    assert_eq!(inbound.ports, [443.into()]);
    let ServerCarrier::Ws(ws) = &inbound.transport.carrier else {
        panic!("{inbound:?}");
    };
    assert_eq!((&*ws.path, &ws.host), ("/ray", &None));
}

#[test]
fn flags_say_what_they_mean_and_the_environment_goes_before_them() {
    let server = flags("-server -localAddr 0.0.0.0|:: -localPort 80 -remotePort 8388 -mux=0");
    let read = config(&server);
    assert_eq!(out(&read), ("127.0.0.1:8388".to_owned(), None));
    assert_eq!(door(&read).to_string(), "127.0.0.1");
    let places: Vec<_> = read
        .inbounds
        .iter()
        .map(|i| (&i.listen, i.ports[0]))
        .collect();
    assert_eq!(
        places,
        [(&Listen::Ip("0.0.0.0".parse().unwrap()), 80.into())]
    );

    let bare = config(&flags(""));
    assert_eq!(out(&bare), ("127.0.0.1:1080".to_owned(), Some(1)));
    assert_eq!(bare.inbounds[0].ports, [1984.into()]);

    let both = Launch {
        flags: flags("-host a.example -mux 3 -localPort 5").flags,
        ..launch("host=b.example")
    };
    let read = config(&both);
    assert_eq!(out(&read).1, Some(3));
    assert_eq!(read.inbounds[0].ports, [10001.into()]);
    assert!(format!("{read:?}").contains("b.example"));
}

#[test]
fn several_addresses_are_each_listened_on() {
    let mut server = launch("server;mux=0");
    let mut listen = |text: &str| -> Vec<String> {
        let name = "SS_REMOTE_HOST";
        server.environment.0.insert(name, text.into());
        let config = config(&server);
        let all = config.inbounds.iter().map(|inbound| match &inbound.listen {
            Listen::Ip(ip) => ip.to_string(),
            other => panic!("{other:?}"),
        });
        all.collect()
    };
    assert_eq!(listen("127.0.0.1|::1"), ["127.0.0.1", "::1"]);
    assert_eq!(listen("::|0.0.0.0"), ["::"]);
    assert_eq!(listen("localhost"), ["127.0.0.1"]);
}

#[test]
fn mux_is_how_many_share_a_connection() {
    let mux = |options: &str| out(&config(&launch(options))).1;
    assert_eq!(mux("mux"), Some(1));
    assert_eq!(mux("mux=8"), Some(8));
    assert_eq!(mux("mux=0"), None);
    assert_eq!(mux("mux=5000"), Some(1024));
    assert_eq!(mux("mode=grpc"), None);
}

#[test]
fn grpc_is_told_by_its_service() {
    let read = config(&launch("mode=grpc;serviceName=a"));
    let ClientCarrier::Grpc(client) = &read.outbounds[0].transport.carrier else {
        panic!("{read:?}");
    };
    assert_eq!(client.paths, grpc::Paths::new("a"));
    let read = config(&launch("server;mode=grpc"));
    let ServerCarrier::Grpc(server) = &read.inbounds[0].transport.carrier else {
        panic!("{read:?}");
    };
    assert_eq!(server.paths, grpc::Paths::new("GunService"));
    assert_eq!(door(&read).to_string(), "127.0.0.1");
}

#[test]
fn certificates_are_files_or_bare_base64() {
    let at = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/certs/");
    let server = format!("server;tls;cert={at}server.crt;key={at}server.key");
    let read = config(&launch(&server));
    let tls = read.inbounds[0].transport.security.as_ref();
    assert_eq!(tls.expect("TLS").certificates.len(), 1);

    let pem = std::fs::read_to_string(format!("{at}server.crt")).unwrap();
    let lines: Vec<&str> = pem
        .lines()
        .take_while(|line| !line.contains("END"))
        .collect();
    let raw: String = lines
        .into_iter()
        .filter(|line| !line.contains("BEGIN"))
        .collect();
    let raw = raw.replace('=', r"\=");
    let read = config(&launch(&format!("tls;host=a.example;certRaw={raw}")));
    let tls = read.outbounds[0].transport.security.as_ref().expect("TLS");
    assert_eq!(tls.authorities.0.len(), 1);
    assert_eq!(tls.server_name, Some(Host::Domain("a.example".to_owned())));
}

#[test]
fn without_a_certificate_that_of_acme_sh_is_looked_for() {
    let home = tempfile::tempdir().unwrap();
    let mut server = launch("server;tls;host=a.example");
    let said = errors(&server);
    assert!(said[0].starts_with("cert: this is missing"), "{said:?}");

    server.home = Some(home.path().to_owned());
    let place = home.path().join(".acme.sh/a.example");
    let said = errors(&server);
    let expected = format!(
        "cert: cannot read {}/fullchain.cer: there is no such file; it is acme.sh's for this `host`, `cert=FILE` names \
         another",
        place.display()
    );
    assert_eq!(said, [expected]);

    std::fs::create_dir_all(&place).unwrap();
    let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/certs/");
    std::fs::copy(format!("{certs}server.crt"), place.join("fullchain.cer")).unwrap();
    std::fs::copy(format!("{certs}server.key"), place.join("a.example.key")).unwrap();
    config(&server);
}

#[test]
fn the_log_is_v2ray_plugin_s() {
    let log = |options: &str| config(&launch(options)).log;
    assert_eq!(log("loglevel=Debug").level, LogLevel::Debug);
    assert_eq!(log("").access, LogTarget::Console);
    let none = log("loglevel=none");
    assert_eq!(
        (none.access, none.error),
        (LogTarget::None, LogTarget::None)
    );
}

#[test]
fn every_mistake_is_named_at_once() {
    let said = errors(&launch(
        "server;tsl;tls=false;mux=-1;loglevel=warn;path=/a?b;fwmark=x;host=a;host=b;localPort=0",
    ));
    assert_eq!(
        said,
        [
            "SS_PLUGIN_OPTIONS: tsl: no option has this name, did you mean `tls`?",
            "SS_PLUGIN_OPTIONS: tls: `false` is no value of a switch: it is on when it is there, expected `tls`, or \
             nothing where it is to be off",
            "SS_PLUGIN_OPTIONS: host: this is given twice, with different values",
            "SS_PLUGIN_OPTIONS: localPort: 0 is not a port, expected 1 to 65535",
            "SS_PLUGIN_OPTIONS: mux: `-1` is not a number, expected 0 (none) or how many connections share one",
            "SS_PLUGIN_OPTIONS: fwmark: `x` is not a mark, expected 0 (none) to 4294967295",
            "SS_PLUGIN_OPTIONS: loglevel: `warn` is no level, expected `debug`, `info`, `warning`, `error` or `none`",
            "cert: this is missing, and there is no home that acme.sh could have a file in, expected `cert=FILE`",
        ]
    );
    let said = errors(&launch("server;path=/a?b"));
    assert_eq!(
        said,
        [
            "SS_PLUGIN_OPTIONS: path: a server never finds a query in a path, no request would get through, expected `/a`"
        ]
    );
    let said = errors(&flags("-mode quic"));
    assert_eq!(
        said,
        [
            "-mode: `quic` is not built, expected `websocket` with `tls`, or `grpc` with `tls`, at both ends"
        ]
    );
    let said = errors(&launch("mode=websockets"));
    assert!(said[0].ends_with("did you mean `websocket`?"), "{said:?}");
    assert_eq!(errors(&launch("tls;;")).len(), 1);
}

#[test]
fn an_environment_with_gaps_is_a_mistake() {
    let mut gaps = launch("server");
    gaps.environment.0.remove("SS_LOCAL_PORT");
    gaps.environment.0.insert("SS_REMOTE_HOST", "a b".into());
    let said = errors(&gaps);
    assert_eq!(
        said[0],
        "SS_LOCAL_PORT: missing beside SS_REMOTE_HOST, SS_REMOTE_PORT, SS_LOCAL_HOST, SS_PLUGIN_OPTIONS: a Shadowsocks \
         program sets all of them when it starts a plugin"
    );
    assert!(said[1].starts_with("SS_REMOTE_HOST: `a b` is no address to listen on"));
}

#[test]
fn what_has_no_effect_is_said() {
    let warnings = |options: &str| -> Vec<String> {
        let loaded = load(&launch(options));
        assert_eq!(loaded.errors, []);
        loaded.warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        warnings("mode=grpc;path=/a;mux=4"),
        [
            "SS_PLUGIN_OPTIONS: path: this has no effect with `mode=grpc`",
            "SS_PLUGIN_OPTIONS: mux: this has no effect with `mode=grpc`",
        ]
    );
    assert_eq!(
        warnings("key=/a;cert=/b").len(),
        3,
        "of a client, and without TLS"
    );
    assert_eq!(warnings("__android_vpn;fastOpen;fast-open"), [""; 0]);
}
