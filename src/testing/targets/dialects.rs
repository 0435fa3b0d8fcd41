//! Texts: configs, links, command lines and messages about nodes.

/// GOST's command line and files, as far as no file is named in them: a service, a hop and a file, each a part between
/// zeros. What is printed is read again.
pub fn gost_config(data: &[u8]) {
    use crate::dialect::gost::{Form, Launch, load_with, print};
    use crate::dialect::names::Names;
    use std::io;

    let text = String::from_utf8_lossy(&data[..data.len().min(4096)]);
    // A file it names could be a device that never ends.
    if ["cert", "key", "ca"]
        .iter()
        .any(|word| text.to_ascii_lowercase().contains(word))
    {
        return;
    }
    let mut parts = text.split('\0').map(str::to_owned);
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let launch = Launch {
        services: next().into_iter().collect(),
        hops: next().into_iter().collect(),
        files: next()
            .map(|text| ("fuzz".to_owned(), text))
            .into_iter()
            .collect(),
        ..Launch::default()
    };
    // Names are the network's matter.
    let nobody = || Names::asked_of(|_| Err(io::ErrorKind::NotFound.into()));
    let loaded = load_with(&launch, nobody());
    assert_eq!(loaded.config.is_none(), !loaded.errors.is_empty());
    let (Some(config), Ok(text)) = (loaded.config, print(&launch, Form::Yaml)) else {
        return;
    };
    let again = Launch {
        files: vec![("fuzz".to_owned(), text)],
        ..Launch::default()
    };
    let again = load_with(&again, nobody());
    assert_eq!(again.config, Some(config));
}

/// A config, as far as no file is named in it: errors or settings, and never a panic.
pub fn json_config(data: &[u8]) {
    use crate::dialect::v2ray::{Format, Input, load};

    let text = String::from_utf8_lossy(data);
    // A file it names could be a device that never ends.
    if text.contains("File") {
        return;
    }
    for format in [Format::V4, Format::V5] {
        let input = Input::Text {
            name: "fuzz".to_owned(),
            text: text.clone().into_owned(),
        };
        let loaded = load(&[input], format);
        assert_eq!(loaded.config.is_none(), !loaded.errors.is_empty());
    }
}

/// Share links: what is made of one is written as one that means the same, and read as a config's outbound.
pub fn share_links(data: &[u8]) {
    use crate::dialect::links::{Form, links_in, read, write};
    use crate::dialect::v2ray::write_outbound;

    let text = String::from_utf8_lossy(&data[..data.len().min(4096)]);
    for link in links_in(&text) {
        let Ok(link) = read(&link) else { continue };
        assert!(write_outbound(&link.outbound).is_some());
        for form in [Form::Json, Form::Url] {
            let written = write(&link.outbound, form).expect("there are links for it");
            let again = read(&written.links[0]);
            let again = again.expect("what was written can be read");
            let rewritten = write(&again.outbound, form).expect("there are links for it");
            assert_eq!(rewritten.links, written.links);
        }
    }
}

/// Requests of MiaoSpeed's fronts, and their signatures: what is signed is taken, and not by another token. Pages that are packed
/// by gzip, within their bound.
pub fn probe_requests(data: &[u8]) {
    use crate::probe::codec::{BUILD_TOKEN, Binding, Request, Tokens, Unsigned, result};

    let data = &data[..data.len().min(4096)];
    const MAX_PAGE: usize = 1 << 16;
    if let Ok(page) = crate::http::gzip::gunzip(data, MAX_PAGE) {
        assert!(page.len() <= MAX_PAGE);
    }
    if let Some((transaction, datagram)) = data.split_first_chunk::<12>() {
        let _ = Binding::decode(datagram, transaction);
    }
    let Ok(mut request) = Request::read(data) else {
        return;
    };
    let tokens = |token: &str| Tokens {
        token: token.to_owned().into(),
        build: BUILD_TOKEN.to_owned(),
    };
    assert!(!tokens("a").verify(&request, Unsigned::Taken));
    request.challenge = tokens("a").sign(&request);
    if request.configs.api_version <= 3 {
        assert!(tokens("a").verify(&request, Unsigned::Refused));
    }
    assert!(!tokens("b").verify(&request, Unsigned::Taken));
    let text = result("task", &request, &[]);
    let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let again = Request::read(value["Result"]["Request"].to_string().as_bytes());
    let again = again.expect("what was written can be read");
    assert!(again.nodes == request.nodes && again.options == request.options);
    assert!(again.configs.scripts == request.configs.scripts);
}

/// Proxies in Clash's form: JSON, YAML and Python.
pub fn probe_payloads(data: &[u8]) {
    use crate::dialect::payload::{proxies, proxy, write};

    let text = String::from_utf8_lossy(&data[..data.len().min(4096)]);
    let _ = proxies(&text);
    let Ok(one) = proxy(&text) else { return };
    let _ = (one.name(), one.kind(), one.address());
    let Ok(read) = one.read() else { return };
    let Ok(written) = write(&read.outbound) else {
        return;
    };
    let again = proxy(&serde_json::Value::Object(written.clone()).to_string());
    let again = again.expect("what was written is one").read();
    let again = again.expect("what was written can be read");
    assert_eq!(write(&again.outbound), Ok(written));
}

/// What is no config of V2Ray's: sing-box' JSON, Clash's YAML and subscriptions. What is understood is written in every form,
/// and read again. Nothing is looked up, opened or fetched.
fn converted(form: Option<crate::dialect::form::Form>, data: &[u8]) {
    use crate::dialect::form::{Form, Outside, PORTS, Target, read_as, recognise, write};

    let text = String::from_utf8_lossy(&data[..data.len().min(16 * 1024)]);
    let (known, inner) = recognise(&text);
    let form = form.unwrap_or(known);
    // A file it names could be a device that never ends.
    if form == Form::Gost || form == Form::V2ray && text.contains("File") {
        return;
    }
    let Ok(read) = read_as(form, &inner, "fuzz", Outside::NOTHING) else {
        return;
    };
    let read = read.with_inbounds(PORTS);
    let leads = read.leads_to_servers();
    for target in [
        Target::Config,
        Target::V5,
        Target::SingBox,
        Target::Clash,
        Target::Links,
    ] {
        let Ok(written) = write(&read, &text, target) else {
            continue;
        };
        let form = match target {
            Target::Config | Target::V5 => Form::V2ray,
            Target::SingBox => Form::SingBox,
            Target::Clash => Form::Clash,
            Target::Links => Form::Links,
            Target::Gost => Form::Gost,
        };
        let again = read_as(form, &written.text, "fuzz", Outside::NOTHING);
        // Where nothing leads to a server there may be nothing to know it by.
        if !leads {
            continue;
        }
        assert_eq!(recognise(&written.text).0, form);
        assert!(again.is_ok() || form == Form::V2ray, "{}", written.text);
    }
}

/// Clash's and mihomo's YAML.
pub fn clash_config(data: &[u8]) {
    converted(Some(crate::dialect::form::Form::Clash), data);
}

/// sing-box' JSON.
pub fn sing_box_config(data: &[u8]) {
    converted(Some(crate::dialect::form::Form::SingBox), data);
}

/// Binary lists of sing-box and mihomo, packed and as what is packed in them.
pub fn rule_lists(data: &[u8]) {
    use crate::dialect::form::{Form, Outside, read_as};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    let sing_box = r#"{"outbounds": [{"type": "trojan", "tag": "a", "server": "a.example", "server_port": 1, "password": "p"}],
        "route": {"final": "a", "rule_set": [{"type": "local", "tag": "s", "format": "binary", "path": "s"}],
            "rules": [{"rule_set": "s", "outbound": "a"}]}}"#;
    let inside = miniz_oxide::deflate::compress_to_vec_zlib(data, 1);
    let packed = [b"SRS\x03", &inside[..]].concat();
    let read = |form, text: &str, content: &[u8]| {
        let outside = Outside {
            file: &|_| Ok(content.to_vec()),
            ..Outside::NOTHING
        };
        let read = read_as(form, text, "fuzz", outside);
        assert!(read.is_ok(), "the file itself is good");
    };
    read(Form::SingBox, sing_box, data);
    read(Form::SingBox, sing_box, &packed);
    for (behavior, mark) in [("domain", 0), ("ipcidr", 1)] {
        let clash = format!(
            "proxies: [{{name: a, type: trojan, server: a.example, port: 1, password: p}}]\nrules: ['RULE-SET,s,a', 'MATCH,a']\n\
            rule-providers: {{s: {{type: file, format: mrs, behavior: {behavior}, path: s}}}}"
        );
        let head = [b"MRS\x01", &[mark][..], &[0; 16]].concat();
        let inside = [&head[..], data].concat();
        read(Form::Clash, &clash, data);
        let packed = compress_to_vec(&inside[..], CompressionLevel::Uncompressed);
        read(Form::Clash, &clash, &packed);
    }
}

/// What may come from a subscription, in whatever form.
pub fn subscription(data: &[u8]) {
    converted(None, data);
}

/// The TOML of a tunnel's ends: whatever it says, there is a config or a line about a place in the text.
pub fn tunnel_files(data: &[u8]) {
    use crate::dialect::tunnel::{End, load_text};
    use std::path::Path;

    let text = String::from_utf8_lossy(data);
    // Nothing is read, and nothing written, but this text.
    let nowhere = Path::new("/proc/nowhere");
    if text.contains("cert") {
        return;
    }
    for end in [End::Client, End::Server] {
        let loaded = load_text(end, "t.toml", &text, Some(nowhere), None);
        assert_eq!(loaded.config.is_none(), !loaded.errors.is_empty());
        for message in loaded.errors.iter().chain(&loaded.warnings) {
            assert!(message.to_string().starts_with("t.toml:"));
        }
    }
}

/// What a Shadowsocks program hands to its plugin. What is taken apart can be joined and is the same again; whatever it
/// says, it is a config that is sound, or a line for each mistake.
pub fn plugin_options(data: &[u8]) {
    use crate::dialect::plugin::{Environment, Launch, grammar, load};

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(pairs) = grammar::split(text) {
        let again = grammar::join(&pairs);
        assert!(again.len() <= text.len());
        assert_eq!(grammar::split(&again), Ok(pairs));
    }
    // Files are the system's matter, and names the network's: neither is asked for here.
    let outside = ["cert", "key", "Addr", "\\"];
    if outside.iter().any(|word| text.contains(word)) || text.contains('\0') {
        return;
    }
    let environment = Environment::read(|name| {
        let value = match name {
            "SS_REMOTE_HOST" => "127.0.0.1|::1",
            "SS_LOCAL_HOST" => "127.0.0.1",
            "SS_REMOTE_PORT" | "SS_LOCAL_PORT" => "1",
            _ => text,
        };
        Some(value.into())
    });
    let loaded = load(&Launch {
        environment,
        ..Launch::default()
    });
    match loaded.config {
        Some(config) => assert_eq!(config.mistakes(), []),
        None => assert!(!loaded.errors.is_empty()),
    }
}
