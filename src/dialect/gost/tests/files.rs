//! Files, beside command lines and in their place, and what is printed as one.

use super::*;

pub(super) const FILE: &str = "\
services:
- name: service-0
  addr: :8080
  handler:
    type: http
    chain: chain-0
  listener:
    type: tcp
chains:
- name: chain-0
  hops:
  - name: hop-0
    nodes:
    - name: node-0
      addr: :8443
      connector:
        type: http
      dialer:
        type: wss
        metadata:
          keepAlive: true
          ttl: 15s
          header:
            foo: bar
            baz: 123
";

#[test]
fn a_file_says_the_same() {
    let loaded = of_file(FILE);
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    let ClientCarrier::Ws(ws) = &config.outbounds[2].transport.carrier else {
        panic!("{config:?}")
    };
    assert_eq!(ws.headers["baz"], "123");
    assert_eq!(ws.heartbeat.unwrap().as_secs(), 15);
}

#[test]
fn accounts_that_nobody_asks_for_are_told() {
    for part in ["listener:\n    type: tcp", "dialer:\n        type: wss"] {
        let pad = if part.starts_with('l') {
            "    "
        } else {
            "        "
        };
        let with = format!("{part}\n{pad}auth: {{username: u, password: sesame}}\n");
        let text = FILE.replace(part, with.trim_end());
        let said = errors(&of_file(&text)).join("\n");
        assert!(said.contains("`auth` is not built here"), "{text}\n{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[test]
fn notes_in_a_file_are_no_mistakes() {
    let text = FILE.replace(
        "  addr: :8080\n",
        "  addr: :8080\n  labels: {a: b}\n  status: {createTime: 1}\n  metadata: {enableStats: true}\n",
    );
    assert_eq!(errors(&of_file(&text)), [""; 0]);
}

#[test]
fn a_mistake_in_a_file_has_its_line() {
    let told = |from: &str, to: &str| errors(&of_file(&FILE.replace(from, to))).join("\n");
    let text = told("type: wss", "type: wsss");
    assert_eq!(
        text,
        "gost.yml:19:15: chains[0].hops[0].nodes[0].dialer.type: there is no `wsss`, expected `tcp`, `udp`, `tls`, `ws`, \
         `wss`, `mws`, `mwss`, `rtcp` or `rudp`, did you mean `wss`?"
    );
    let text = told("keepAlive: true", "keepAlife: true");
    assert!(
        text.starts_with("gost.yml:21:22: chains[0].hops[0].nodes[0].dialer.metadata.keepAlife: "),
        "{text}"
    );
    let text = told("chain: chain-0", "chain: chain-1");
    assert!(text.contains("there is no chain `chain-1`"), "{text}");
    let text = told("hops:", "hops: [");
    assert!(text.starts_with("gost.yml:"), "{text}");
}

/// As a page of gost's documentation has it, which gost itself refuses.
#[test]
fn tabs_stand_for_blanks() {
    let lines = [
        "services:",
        "- name: service-0",
        "  addr: :8443",
        "  handler:",
        "    type: auto",
        "  listener:",
        "    type: wss",
    ];
    for (indent, tabs) in [
        ("", ["\tmetadata:", "\t  path: /tabs"]),
        ("    ", ["\t\tmetadata:", "\t\t  path: /tabs"]),
    ] {
        let lines = lines.iter().map(|line| format!("{indent}{line}"));
        let all: Vec<String> = lines.chain(tabs.map(str::to_owned)).collect();
        let loaded = of_file(&all.join("\n"));
        assert_eq!(errors(&loaded), [""; 0]);
        assert_eq!(path(&loaded.config.unwrap().inbounds[0]), "/tabs");
    }
    let broken = of_file("services:\n- name: a\n\t\t: b\n  addr: [");
    assert!(
        errors(&broken)[0].contains("line 3 is indented with a tab"),
        "{:?}",
        errors(&broken)
    );
}

#[test]
fn what_is_printed_means_the_same() {
    let args = launch(
        "-L http+ws://u:p:w@:8080?path=/a%20b&bypass=10.0.0.0/8 -L wss://:1/:2 -F relayless://x:1",
    );
    assert!(print(&args, Form::Yaml).is_ok(), "it is not judged here");
    for line in [
        "-L http://:1?admission=10.0.0.1",
        "-L http://:1?handler.limiter.in=1MB",
        "-L http://:1?climiter=5",
        "-L :1 -F http://a.test:1?interface=eth0",
        "-L :1 -F http://a.test:1?dialer.so_mark=1",
    ] {
        let told = print(&launch(line), Form::Yaml).unwrap_err()[0].to_string();
        assert!(told.contains("would be lost in what is printed"), "{told}");
    }
    let args = launch(
        "-L http+ws://u:p:w@:8080?path=/a%20b -L wss://:1/:2 -F wss://a.test:1,b.test:2?strategy=rand&host=x",
    );
    let expected = load(&args).config.unwrap();
    for form in [Form::Yaml, Form::Json] {
        let text = print(&args, form).unwrap();
        let loaded = of_file(&text);
        assert_eq!(errors(&loaded), [""; 0], "{text}");
        let config = loaded.config.unwrap();
        assert_eq!(format!("{config:?}"), format!("{expected:?}"), "{text}");
    }
}

#[test]
fn files_and_urls_stand_beside_each_other() {
    let both = |files: [&str; 2]| {
        let name = |text: &str| ("f.yml".to_owned(), text.to_owned());
        load(&Launch {
            services: vec!["http://:1".to_owned()],
            files: files.map(name).into(),
            ..Launch::default()
        })
    };
    // One alone is a list of one, and hides nothing.
    let alone = "services: {name: a, addr: ':2', handler: {type: http}}\nlog: {level: error}";
    let loaded = both([alone, "Services:\n- addr: ':3'\nLOG: {level: debug}"]);
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config.inbounds.len(), 3);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert!(errors(&both([alone, "services: what"])).len() == 1);

    // What `<<` brings stands behind what the map says itself, before it or after it.
    let merged = "services:\n- &a {addr: ':2', handler: {type: http}}\n- {<<: *a, ADDR: ':3'}\n- {addr: ':4', <<: *a}";
    let config = of_file(merged).config.unwrap();
    let ports: Vec<u16> = config.inbounds.iter().map(|x| x.ports[0].from).collect();
    assert_eq!(ports, [2, 3, 4]);
    let twice = of_file("services:\n- {addr: ':2', Addr: ':3'}");
    assert_eq!(errors(&twice), ["gost.yml:2:22: `Addr` is there twice"]);
}

#[test]
fn an_address_that_is_a_colon_is_any() {
    let loaded = of_file(&FILE.replacen("addr: :8080", "addr: :", 1));
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config.inbounds[0].ports[0].from, 0);
}

#[test]
fn printed_keys_stand_where_gost_looks_for_them() {
    let args = launch(
        "-L wss://12:0x1f@:1?path=/x&cert=c.pem&key=k.pem&handler.retries=2&tls.minVersion=VersionTLS13 \
         -F mwss://true:null@a.test:443?mux.version=2&secure=true&pin=00&header=A:%20b",
    );
    let text = print(&args, Form::Yaml).unwrap();
    let expected = "\
services:
- name: service-0
  addr: \":1\"
  handler:
    type: auto
    auth:
      username: \"12\"
      password: \"0x1f\"
    chain: chain-0
    retries: 2
    metadata:
      path: /x
  listener:
    type: wss
    metadata:
      path: /x
    tls:
      certFile: c.pem
      keyFile: k.pem
      options:
        minVersion: VersionTLS13
chains:
- name: chain-0
  hops:
  - name: hop-0
    nodes:
    - name: node-0
      addr: \"a.test:443\"
      connector:
        type: http
        auth:
          username: \"true\"
          password: \"null\"
        metadata:
          mux.version: \"2\"
      dialer:
        type: mwss
        metadata:
          mux.version: \"2\"
          header:
            A: b
        tls:
          secure: true
          pin: \"00\"
";
    assert_eq!(text, expected);
}

#[test]
fn a_mistake_in_json_has_its_line_as_one_in_yaml_has() {
    let text = "{\"services\": [\n  {\"addr\": \":1\", \"handler\": {\"chian\": \"c\"}}]}";
    let launch = Launch {
        files: vec![("gost.json".to_owned(), text.to_owned())],
        ..Launch::default()
    };
    let told = errors(&load(&launch));
    let begin = "gost.json:2:39: services[0].handler.chian: ";
    assert!(told[0].starts_with(begin), "{told:?}");
}

#[test]
fn what_gost_itself_prints_is_read() {
    // A span is of nanoseconds there, and a hop has the keys of its nodes.
    let text = r#"{"services": [{"name": "s", "addr": ":1", "handler": {"type": "auto", "chain": "c"}, "listener": {"type": "tcp"}}],
        "chains": [{"name": "c", "hops": [{"name": "h", "metadata": {"path": "/y", "secure": "true", "auth": "dTpw"},
        "selector": {"strategy": "fifo", "maxFails": -1, "failTimeout": 20000000000},
        "nodes": [{"name": "a", "addr": "a:1", "connector": {"type": "http", "auth": {"username": "u", "password": "p"}}, "dialer": {"type": "wss"}},
                  {"name": "b", "addr": "b:1", "connector": {"type": "http", "auth": {"username": "u", "password": "p"}}, "dialer": {"type": "wss"}}]}]}]}"#;
    let loaded = of_file(text);
    assert_eq!(errors(&loaded), [""; 0]);
    let failing = loaded.config.unwrap().routing.balancers[0].failing.unwrap();
    assert_eq!((failing.max_fails, failing.timeout.as_secs()), (1, 20));
}

#[test]
fn keys_of_tls_are_told_of_where_none_is_spoken() {
    for (args, expected) in [
        (
            "-L ws://:1?certFile=a&keyFile=b",
            &["certFile", "keyFile"][..],
        ),
        (
            "-L http://:1 -F http+ws://a:1?secure=true&serverName=b",
            &["secure"],
        ),
        ("-L http://:1 -F http+ws://a:1?serverName=b", &[]),
    ] {
        let loaded = load(&launch(args));
        assert_eq!(errors(&loaded), [""; 0], "{args}");
        let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, key) in told.iter().zip(expected) {
            let text = format!("`{key}` says nothing here: `ws` speaks no TLS");
            assert!(told.contains(&text), "{told}");
        }
    }
}

#[test]
fn what_a_file_says_in_vain_is_an_error() {
    let listener = |keys: &str| {
        format!(
            "services:\n- addr: ':1'\n  handler: {{type: http}}\n  listener: {{type: wss, {keys}}}"
        )
    };
    let with = |part: &str| format!("services:\n- addr: ':1'\n{part}");
    for (text, expected) in [
        (
            FILE.replace("name: service-0", "name: service-0\n  bypass: x y"),
            "`x y` is not built",
        ),
        (
            FILE.replace(
                "type: http\n    chain",
                "type: http\n    tls: {}\n    chain",
            ),
            "`tls` is not built here",
        ),
        (
            FILE.replace("hops:", "metadata: {a: b}\n  hops:"),
            "`metadata` is not built here",
        ),
        (
            FILE.replace("    nodes:", "    metadata: {patth: b}\n    nodes:"),
            "`patth` is not built here",
        ),
        (
            FILE.replace("    nodes:", "    selector: {stratgy: rr}\n    nodes:"),
            "did you mean `strategy`?",
        ),
        (
            FILE.replace("    nodes:", "    selector: {failTimeout: 10}\n    nodes:"),
            "so many nanoseconds",
        ),
        (
            format!("{FILE}- name: chain-0\n  hops: []"),
            "there are two of the name `chain-0`",
        ),
        (
            format!(
                "{FILE}- name: other\n  hops:\n  - nodes:\n    - {{addr: 'a:1', connector: {{type: bogus}}}}"
            ),
            "the connector `bogus` is not built",
        ),
        (
            listener("tls: {options: {alpn: [h2]}}"),
            "ALPN is not chosen here",
        ),
        (
            listener("tls: {options: {minVersio: x}}"),
            "expected `minVersion` or `maxVersion`",
        ),
        (with("tls: {certFil: x}"), "did you mean `certFile`?"),
        (with("log: {levle: debug}"), "did you mean `level`?"),
        (
            with("log: {level: loud}"),
            "`loud` is unknown, expected `trace`",
        ),
        (with("log: {format: xml}"), "`xml` is unknown"),
        (
            with("log: {rotation: {maxSize: 1}}"),
            "not turned over here",
        ),
        (
            with("authers: [{name: a, auths: []}, {name: a, auths: []}]"),
            "there are two of the name `a`",
        ),
        (
            listener("metadata: {limiter: x}"),
            "`limiter` is not built here",
        ),
        (
            with("  bypass: a.test\n  handler: {type: http, metadata: {sniffing: true}}"),
            "what clients ask for and not what is inside",
        ),
    ] {
        let told = errors(&of_file(&text)).join("\n");
        assert!(told.contains(expected), "{expected}: {told}\n{text}");
    }
    let log = of_file(&with("log: {level: warn, output: /x/y.log, format: json}"));
    let log = log.config.unwrap().log;
    assert_eq!(log.level, LogLevel::Warning);
    assert_eq!(log.error, LogTarget::File("/x/y.log".into()));
}

/// Who prints a command line with `-D` runs the file as loudly.
#[test]
fn the_flag_for_debugging_is_printed() {
    let launch = Launch {
        debug: true,
        ..launch("-L :1")
    };
    assert_eq!(load(&launch).config.unwrap().log.level, LogLevel::Debug);
    let printed = print(&launch, Form::Yaml).unwrap();
    assert!(printed.contains("log:\n  level: debug\n"), "{printed}");
}
