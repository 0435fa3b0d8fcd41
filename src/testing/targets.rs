//! One entry function for each fuzz target.

/// Destinations, in either order of their fields.
pub fn address(data: &[u8]) {
    use crate::address::{Destination, Form};
    use bytes::BytesMut;

    for form in [Form::PortFirst, Form::PortLast] {
        let mut buf = BytesMut::from(data);
        match Destination::decode(&mut buf, form) {
            Ok(Some(to)) => {
                let mut again = BytesMut::new();
                to.encode(form, &mut again)
                    .expect("what was read can be written");
                assert_eq!(Destination::decode(&mut again, form), Ok(Some(to)));
            }
            Ok(None) => assert_eq!(buf, data, "a decoder that wants more takes nothing"),
            Err(_) => {}
        }
    }
}

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

/// What the page of the browser dialer says.
pub fn browser_words(data: &[u8]) {
    use super::assert_split_agrees;
    use crate::transport::browser::Word;
    use bytes::BytesMut;

    assert_split_agrees(&data[..data.len().min(1024)], Word::decode);
    let mut buf = BytesMut::from(data);
    while let Ok(Some(_)) = Word::decode(&mut buf) {}
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

/// Requests of MiaoSpeed's fronts, and their signatures: what is signed is taken, and not by another token.
pub fn probe_requests(data: &[u8]) {
    use crate::probe::codec::{BUILD_TOKEN, Binding, Request, Tokens, Unsigned, result};

    let data = &data[..data.len().min(4096)];
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
    use crate::dialect::form::{Form, PORTS, Target, read_as, recognise, write};

    let text = String::from_utf8_lossy(&data[..data.len().min(16 * 1024)]);
    let (known, inner) = recognise(&text);
    let form = form.unwrap_or(known);
    // A file it names could be a device that never ends.
    if form == Form::Gost || form == Form::V2ray && text.contains("File") {
        return;
    }
    let no_files = |_: &std::path::Path| Err("no files here".to_owned());
    let Ok(read) = read_as(form, &inner, "fuzz", &no_files) else {
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
        let again = read_as(form, &written.text, "fuzz", &no_files);
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

/// What may come from a subscription, in whatever form.
pub fn subscription(data: &[u8]) {
    converted(None, data);
}

/// Heads of HTTP messages, as both ends of a WebSocket handshake read them.
pub fn http_heads(data: &[u8]) {
    use super::assert_split_agrees;
    use crate::http::head::{Decoded, request, response};
    use bytes::{Buf, BytesMut};
    use std::fmt::Debug;

    let data = &data[..data.len().min(1024)];
    assert_split_agrees(data, |buf| taken(buf, request));
    assert_split_agrees(data, |buf| taken(buf, response));

    fn taken<T: Debug>(
        buf: &mut BytesMut,
        decode: impl Fn(&[u8]) -> Decoded<T>,
    ) -> Result<Option<String>, ()> {
        let Some((head, len)) = decode(buf).map_err(|_| ())? else {
            return Ok(None);
        };
        buf.advance(len);
        Ok(Some(format!("{head:?}")))
    }
}

/// Heads that stand in front of what a server sends over plain TCP.
pub fn http_header(data: &[u8]) {
    use super::assert_split_agrees;
    use crate::transport::http_header::answer;
    use bytes::{Buf, BytesMut};

    let data = &data[..data.len().min(1024)];
    assert_split_agrees(data, |buf: &mut BytesMut| {
        let found = answer(buf)?;
        buf.advance(found.map_or(0, |(len, _)| len));
        Ok::<_, crate::transport::http_header::NotHttp>(found)
    });
}

/// The messages of a tunnel over gRPC.
pub fn grpc_messages(data: &[u8]) {
    crate::transport::grpc::fuzz(&data[..data.len().min(4096)]);
}

/// Requests to an HTTP proxy, as they are handed on to hyper.
pub fn http_proxy_heads(data: &[u8]) {
    use super::pieces::{in_pieces, read_all};
    use crate::protocol::http::lenient::LenientHeads;

    const MOST: usize = 4 * 1024 * 1024;
    let tidied = |size| {
        read_all(
            LenientHeads::new(in_pieces(data, size), Default::default()),
            MOST,
        )
    };
    let whole = tidied(data.len().max(1));
    for size in [1, 2, 7, 64] {
        assert_eq!(tidied(size), whole, "in pieces of {size}");
    }
}

/// Frames of a server that compresses.
pub fn ws_deflate(data: &[u8]) {
    use super::pieces::{in_pieces, read_all};
    use crate::transport::ws::codec::{Decoder, Role};
    use crate::transport::ws::deflate::Inflating;
    use bytes::BytesMut;

    const MOST: usize = 64 * 1024;
    let opened = |size| {
        let inflating = Inflating::new(in_pieces(data, size), BytesMut::new());
        let (mut frames, in_order) = read_all(inflating, MOST);
        // How much comes out in front of a mistake depends on the pieces.
        let is_cut = frames.len() >= MOST || !in_order;
        let mut decoder = Decoder::new(Role::Server);
        let (n, _) = decoder.open(&mut frames, |_| {});
        frames.truncate(n);
        (frames, is_cut)
    };
    let (whole, is_cut) = opened(data.len().max(1));
    for size in [1, 3, 64] {
        let (plain, was_cut) = opened(size);
        let n = plain.len().min(whole.len());
        assert_eq!(plain[..n], whole[..n], "in pieces of {size}");
        assert!(plain.len() == whole.len() || is_cut || was_cut);
    }
}

/// All SOCKS handshake messages, in both directions.
pub fn socks_request(data: &[u8]) {
    use crate::protocol::socks::codec::{Greeting, Login, Reply, Request, decode_pair};
    use bytes::BytesMut;

    fn shake<T, E>(data: &[u8], decode: impl Fn(&mut BytesMut) -> Result<Option<T>, E>) {
        let mut buf = BytesMut::from(data);
        if let Ok(None) = decode(&mut buf) {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
        }
    }
    shake(data, Greeting::decode);
    shake(data, Login::decode);
    shake(data, Request::decode_4);
    shake(data, Reply::decode);
    shake(data, |buf| decode_pair(buf, 0x05));

    let mut buf = BytesMut::from(data);
    let Ok(Some(request)) = Request::decode(&mut buf) else {
        return;
    };
    let mut again = BytesMut::new();
    request
        .encode(&mut again)
        .expect("what was read can be written");
    assert_eq!(Request::decode(&mut again), Ok(Some(request)));
}

/// Datagrams with a SOCKS header.
pub fn socks_udp(data: &[u8]) {
    use crate::protocol::socks::codec::{decode_datagram, encode_datagram};
    use bytes::BytesMut;

    let Some((peer, payload)) = decode_datagram(BytesMut::from(data)) else {
        return;
    };
    let mut again = BytesMut::new();
    encode_datagram(&peer, &payload, &mut again).expect("what was read can be written");
    assert_eq!(decode_datagram(again), Some((peer, payload)));
}

/// WebSocket frames: whatever comes and however it is split, the bytes that come out are the same, and
/// a header that was read can be written again.
pub fn ws_frames(data: &[u8]) {
    use crate::transport::ws::codec::{Decoder, Header, MAX_HEADER, Role};

    for peer in [Role::Client, Role::Server] {
        let open = |size: usize| {
            let mut decoder = Decoder::new(peer);
            let (mut plain, mut controls) = (Vec::new(), Vec::new());
            for piece in data.chunks(size) {
                let mut piece = piece.to_vec();
                let (n, result) = decoder.open(&mut piece, |c| controls.push(format!("{c:?}")));
                assert!(n <= piece.len());
                plain.extend_from_slice(&piece[..n]);
                if let Err(error) = result {
                    controls.push(error.to_string());
                    break;
                }
            }
            (plain, controls)
        };
        let whole = open(data.len().max(1));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(open(size), whole, "in pieces of {size}");
        }
    }
    if let Ok(Some((header, n))) = Header::decode(data) {
        let mut out = [0; MAX_HEADER];
        let written = header.encode(&mut out);
        // A length may be written longer than it needs to be.
        assert!(written <= n);
        assert_eq!(Header::decode(&out[..written]), Ok(Some((header, written))));
    }
}

/// Frames of Mux.Cool: however the bytes are split, the same frames come out, none takes more than its
/// bound, and what was read can be written again.
pub fn mux_frames(data: &[u8]) {
    use crate::mux::codec::{Frame, MAX_FRAME};
    use bytes::BytesMut;

    let open = |size: usize| {
        let mut buf = BytesMut::new();
        let mut frames = Vec::new();
        for piece in data.chunks(size) {
            buf.extend_from_slice(piece);
            loop {
                let before = buf.len();
                match Frame::decode(&mut buf) {
                    Ok(Some(frame)) => frames.push(Ok(frame)),
                    Ok(None) => {
                        assert_eq!(buf.len(), before, "a decoder that wants more takes nothing");
                        assert!(before < MAX_FRAME);
                        break;
                    }
                    Err(error) => {
                        frames.push(Err(error));
                        return frames;
                    }
                }
            }
        }
        frames
    };
    let whole = open(data.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(open(size), whole, "in pieces of {size}");
    }
    for (frame, payload) in whole.into_iter().flatten() {
        let mut again = BytesMut::new();
        frame
            .encode(payload.as_deref(), &mut again)
            .expect("what was read can be written");
        assert_eq!(Frame::decode(&mut again), Ok(Some((frame, payload))));
    }
}

/// Frames of smux, in whatever pieces they come.
pub fn smux_frames(data: &[u8]) {
    use crate::smux::codec::{Decoder, Event};

    let read = |size: usize| {
        let mut decoder = Decoder::new(None);
        let (mut told, mut payload) = (Vec::new(), Vec::new());
        for mut piece in data.chunks(size) {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(Event::Data(id, data))) => {
                        payload.extend(data.iter().map(|byte| (id, *byte)));
                    }
                    Ok(Some(event)) => told.push((format!("{event:?}"), payload.len())),
                    Ok(None) => break,
                    Err(e) => return (told, payload, Some(e)),
                }
            }
            assert!(piece.is_empty(), "a decoder that wants more has taken all");
        }
        (told, payload, None)
    };
    let whole = read(data.len().max(1));
    for size in [1, 3, 8, 13] {
        assert_eq!(read(size), whole, "in pieces of {size}");
    }
}

/// What a portal says of a bridge's link.
pub fn reverse_control(data: &[u8]) {
    use crate::reverse::codec::{decode, encode};

    if let Ok(state) = decode(data) {
        let random = &data[..data.len().min(63)];
        assert_eq!(decode(&encode(state, random)), Ok(state));
    }
}

/// packetaddr's datagrams, alone and in a stream.
pub fn packet_addr(data: &[u8]) {
    use crate::mux::packet_addr::{decode, encode};
    use bytes::Bytes;

    if let Some(packet) = decode(Bytes::copy_from_slice(data)) {
        // An IPv4 address that was written as an IPv6 one is written as what it is.
        let again = encode(&packet).expect("what was read can be written");
        assert!(again.len() <= data.len());
        assert_eq!(decode(again), Some(packet));
    }
    packet_stream(data);
}

/// The stream of packetaddr's datagrams.
pub(crate) fn packet_stream(data: &[u8]) {
    use crate::mux::packet_stream::{MAX_SEGMENT, decode, encode};
    use bytes::BytesMut;

    super::assert_split_agrees(data, decode);
    let mut buf = BytesMut::from(data);
    loop {
        let before = buf.clone();
        match decode(&mut buf) {
            Ok(Some(packet)) => {
                let mut again = BytesMut::new();
                encode(&packet, &mut again);
                assert!(again.len() <= before.len() - buf.len());
                assert_eq!(decode(&mut again), Ok(Some(packet)));
                assert!(again.is_empty());
            }
            Ok(None) => return assert!(buf.len() < MAX_SEGMENT),
            Err(_) => return,
        }
    }
}

/// The header of the PROXY protocol: no bytes make it panic, and none past its end are asked for.
pub fn proxy_header(data: &[u8]) {
    crate::transport::proxy_protocol::fuzz(data);
}

/// `geoip.dat` and `geosite.dat`: whatever the bytes, they are read or refused, and what is read fits
/// into sets.
pub fn geodata(data: &[u8]) {
    use crate::matching::{Domains, Ips, Name, geodata::codec::categories};

    for category in categories(data).flatten() {
        if let Ok(networks) = category.networks() {
            let _: Ips = networks.into_iter().collect();
        }
        if let Ok(patterns) = category.patterns(&[])
            && let Ok(domains) = Domains::new(patterns)
        {
            domains.contains(&Name::new("a.example.com"));
        }
    }
}

/// The beginning of a stream: wherever it is split, the same is found.
pub fn sniff(data: &[u8]) {
    use crate::sniffing::codec::{Quic, Sniffed, datagram, stream};

    // Every beginning is looked into, so a long one would take its square of time.
    let data = &data[..data.len().min(2000)];
    super::assert_sniffs(data, stream);
    if let Sniffed::Found(found) = datagram(&mut Quic::default(), data) {
        assert!(["quic", "bittorrent"].contains(&found.protocol));
    }
}

/// QUIC's first packets, and past their seal, which no fuzzer opens, their frames.
pub fn quic(data: &[u8]) {
    crate::sniffing::codec::fuzz_quic(data);
}

/// Relay: requests, answers and datagrams.
pub fn relay(data: &[u8]) {
    use crate::protocol::length_prefixed::{decode_packet, encode_packet};
    use crate::protocol::relay::codec::{
        Answer, MAX_REQUEST, Request, Response, decode_addressed, encode_addressed,
    };
    use bytes::BytesMut;

    // Every beginning is looked into, so a long one would take its square of time.
    let short = &data[..data.len().min(1000)];
    super::assert_split_agrees(short, Request::decode);
    super::assert_split_agrees(short, Response::decode);
    super::assert_split_agrees(short, decode_addressed);
    let mut buf = BytesMut::from(data);
    match Request::decode(&mut buf) {
        Ok(Some(request)) => {
            let mut again = BytesMut::new();
            let written = request.encode(&mut again);
            written.expect("what was read can be written");
            assert_eq!(Request::decode(&mut again), Ok(Some(request)));
        }
        Ok(None) => {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
            assert!(data.len() < MAX_REQUEST);
        }
        Err(_) => assert_eq!(buf, data, "what is refused is given back whole"),
    }
    let mut buf = BytesMut::from(data);
    let whole = Response::decode(&mut buf);
    let mut answer = Answer::default();
    if let (Ok(Some(response)), Ok(taken)) = (whole, answer.take(data)) {
        assert_eq!((response.status, answer), (0, Answer::Whole));
        assert_eq!(taken, data.len() - buf.len(), "both find the same end");
    }
    let mut buf = BytesMut::from(data);
    while let Some(packet) = decode_packet(&mut buf) {
        let mut again = BytesMut::new();
        encode_packet(&packet, &mut again);
        assert_eq!(decode_packet(&mut again), Some(packet));
    }
    let mut buf = BytesMut::from(data);
    while let Ok(Some((peer, packet))) = decode_addressed(&mut buf) {
        let mut again = BytesMut::new();
        encode_addressed(&peer, &packet, &mut again);
        let read = decode_addressed(&mut again);
        assert_eq!(read, Ok((!packet.is_empty()).then_some((peer, packet))));
    }
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

/// Trojan: requests and datagrams, and whose a request is that is none.
pub fn trojan(data: &[u8]) {
    use crate::protocol::trojan::codec::{
        MAX_PACKET, MAX_REQUEST, Request, decode_packet, encode_packet,
    };
    use bytes::BytesMut;

    super::assert_split_agrees(&data[..data.len().min(MAX_REQUEST)], Request::decode);
    let mut buf = BytesMut::from(data);
    match Request::decode(&mut buf) {
        Ok(Some(request)) => {
            let mut again = BytesMut::new();
            let written = request.encode(&mut again);
            written.expect("what was read can be written");
            // An address that was spelled as a name is written as an address.
            assert!(again.len() <= data.len() - buf.len() + 16);
            assert_eq!(Request::decode(&mut again), Ok(Some(request)));
        }
        Ok(None) => {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
            assert!(data.len() < MAX_REQUEST);
        }
        Err(_) => assert_eq!(buf, data, "what is refused is given back whole"),
    }

    crate::protocol::fallbacks::fuzz(&data[..data.len().min(MAX_REQUEST)]);

    super::assert_split_agrees(&data[..data.len().min(MAX_REQUEST)], decode_packet);
    let mut buf = BytesMut::from(data);
    loop {
        let before = buf.clone();
        let (peer, packet) = match decode_packet(&mut buf) {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                assert_eq!(buf, before, "a decoder that wants more takes nothing");
                return assert!(buf.len() < MAX_PACKET);
            }
            Err(_) => return assert_eq!(buf, before, "what is refused is given back whole"),
        };
        let mut again = BytesMut::new();
        encode_packet(&peer, &packet, &mut again);
        assert_eq!(decode_packet(&mut again), Ok(Some((peer, packet))));
    }
}

/// VLESS: requests, responses and datagrams.
pub fn vless(data: &[u8]) {
    use crate::protocol::length_prefixed::{decode_packet, encode_packet};
    use crate::protocol::vless::codec::{MAX_PACKET, MAX_REQUEST, Request, Response};
    use bytes::BytesMut;

    super::assert_split_agrees(&data[..data.len().min(MAX_REQUEST)], Request::decode);
    let mut buf = BytesMut::from(data);
    match Request::decode(&mut buf) {
        Ok(Some(request)) => {
            let mut again = BytesMut::new();
            let written = request.encode(&mut again);
            written.expect("what was read can be written");
            // An address that was spelled as a name is written as an address.
            assert!(again.len() <= data.len() - buf.len() + 16);
            assert_eq!(Request::decode(&mut again), Ok(Some(request)));
        }
        Ok(None) => {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
            assert!(data.len() < MAX_REQUEST);
        }
        Err(_) => assert_eq!(buf, data, "what is refused is given back whole"),
    }

    let take = |size: usize| {
        let (mut response, mut plain) = (Response::default(), Vec::new());
        for piece in data.chunks(size) {
            let n = response.take(piece)?;
            plain.extend_from_slice(&piece[n..]);
        }
        Ok::<_, crate::protocol::vless::codec::ResponseError>((response, plain))
    };
    let whole = take(data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(take(size), whole, "in pieces of {size}");
    }

    let mut buf = BytesMut::from(data);
    loop {
        let before = buf.clone();
        let Some(packet) = decode_packet(&mut buf) else {
            assert_eq!(buf, before, "a decoder that wants more takes nothing");
            return assert!(buf.len() < MAX_PACKET);
        };
        let mut again = BytesMut::new();
        encode_packet(&packet, &mut again);
        assert_eq!(again, before[..before.len() - buf.len()]);
    }
}

/// VMess request headers: as they come off the wire, and past the seal, which no fuzzer opens.
pub fn vmess_request(data: &[u8]) {
    use crate::protocol::vmess::codec::auth_id::CmdKey;
    use crate::protocol::vmess::codec::fnv::fnv1a;
    use crate::protocol::vmess::codec::header::{Request, open, seal};
    use bytes::BytesMut;

    let key = CmdKey([7; 16]);
    let mut buf = BytesMut::from(data);
    if let Ok(None) = open(&key, &mut buf) {
        assert_eq!(buf, data, "a decoder that wants more takes nothing");
    }

    let plain = [data, &fnv1a(data).to_be_bytes()].concat();
    let Ok(request) = Request::decode(&plain) else {
        return;
    };
    let mut again = BytesMut::new();
    request
        .encode(&[], &mut again)
        .expect("what was read can be written");
    // What padding a client chose is looked at, and not written again.
    let request = Request {
        zero_padding: false,
        ..request
    };
    assert!(Request::decode(&again).is_ok_and(|read| read == request));
    let mut sealed = seal(&key, &[1; 16], &[2; 8], &again);
    assert!(open(&key, &mut sealed).is_ok_and(|read| read == Some(request)));
}

/// VMess bodies. The first two bytes choose cipher and options; what follows is opened as it is, and
/// sealed and opened again.
pub fn vmess_chunks(data: &[u8]) {
    use crate::protocol::vmess::codec::body::{Cipher, Framing, MAX_OVERHEAD, Opener, Sealer};
    use crate::protocol::vmess::codec::response::Keys;

    let [cipher, options, data @ ..] = data else {
        return;
    };
    let ciphers = [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305, Cipher::None];
    let framing = Framing {
        cipher: ciphers[usize::from(cipher % 3)],
        options: options | 0x01,
        packets: cipher & 0x80 != 0,
    };
    let keys = Keys {
        key: [3; 16],
        iv: [4; 16],
    };
    let mut opener = Opener::new(framing, &keys, &keys);
    let mut sealed = data;
    while let Ok(Some(chunk)) = opener.chunk(sealed) {
        let mut plain = vec![0; chunk.plain];
        if opener.open(chunk, sealed, &mut plain).is_err() || plain.is_empty() {
            break;
        }
        sealed = &sealed[chunk.len..];
    }

    let mut sealer = Sealer::new(framing, &keys, &keys);
    let mut opener = Opener::new(framing, &keys, &keys);
    for piece in data.chunks(usize::from(*options) + 1) {
        let mut out = vec![0; piece.len() + MAX_OVERHEAD];
        let len = sealer.seal(piece, &mut out, &mut |padding| padding.fill(5));
        assert_eq!(
            opener.chunk(&out[..len - 1]),
            Ok(None),
            "a byte is missing, and found missing"
        );
        let chunk = opener.chunk(&out[..len]).expect("our own chunk");
        let chunk = chunk.expect("a whole chunk");
        assert_eq!(chunk.len, len);
        let mut plain = vec![0; chunk.plain];
        opener.open(chunk, &out, &mut plain).expect("our own chunk");
        assert_eq!(plain, piece);
    }
}

/// VMess response headers.
pub fn vmess_response(data: &[u8]) {
    use crate::protocol::vmess::codec::response::{Keys, open, seal};
    use bytes::BytesMut;

    let keys = Keys {
        key: [3; 16],
        iv: [4; 16],
    };
    let mut buf = BytesMut::from(data);
    if let Ok(None) = open(&keys, 1, &mut buf) {
        assert_eq!(buf, data, "a decoder that wants more takes nothing");
    }
    // What follows a header stays.
    let mut buf = BytesMut::from(&seal(&keys, 1, 2)[..]);
    buf.extend_from_slice(data);
    assert_eq!(open(&keys, 1, &mut buf), Ok(Some(2)));
    assert_eq!(buf, data);
}

/// Questions and replies of DNS, and the frames that carry them over TCP.
pub fn dns_messages(data: &[u8]) {
    use crate::dns::codec::{Asked, Family, Question, refusal};

    if let Some(asked) = Asked::decode(data) {
        let answer = asked.answer(0, &[[1, 2, 3, 4].into()], 60, true);
        let reply = asked.question.decode(&answer).expect("our own answer");
        let wanted = usize::from(asked.question.family == Family::V4);
        assert_eq!(reply.ips.len(), wanted);
        let again = asked.question.encode(7, None).expect("it was asked once");
        assert_eq!(
            Asked::decode(&again).map(|asked| asked.question),
            Some(asked.question)
        );
    }
    if let Some(refused) = refusal(data) {
        assert_eq!(refusal(&refused), None, "a reply is not replied to");
    }
    let question = Question {
        name: "a.com".to_owned(),
        family: Family::V4,
    };
    if let Ok(reply) = question.decode(data) {
        assert!(reply.ips.iter().all(|ip| ip.is_ipv4()));
    }
}

/// Shadowsocks, past its seals, which no fuzzer opens: what stands in a request and in datagrams. Sealed again it is
/// the same, wherever it is cut.
pub fn shadowsocks(data: &[u8]) {
    use crate::protocol::shadowsocks::codec::chunks::{Edition, MAX_CHUNK, Opener, Sealer};
    use crate::protocol::shadowsocks::codec::head::take_variable;
    use crate::protocol::shadowsocks::codec::packet;
    use crate::protocol::shadowsocks::codec::packet_2022::{Front, Message, Session, open_chacha};
    use crate::protocol::shadowsocks::{Cipher, Key};
    use bytes::BytesMut;

    let mut variable = BytesMut::from(data);
    if take_variable(&mut variable).is_ok() {
        assert!(variable.len() < data.len());
    }
    if let Some((to, rest)) = packet::split(BytesMut::from(data)) {
        let mut again = BytesMut::new();
        packet::join(&to, &rest, &mut again).expect("what was read can be written");
        // An address that was spelled as a name is written as an address.
        assert!(again.len() <= data.len() + 16);
        assert_eq!(packet::split(again), Some((to, rest)));
    }
    for is_response in [false, true] {
        if let Some(message) = Message::decode(BytesMut::from(data), is_response) {
            let mut again = BytesMut::new();
            message
                .encode(&mut again)
                .expect("what was read can be written");
            assert!(again.len() <= data.len() + 16);
            assert_eq!(Message::decode(again, is_response), Some(message));
        }
    }
    for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305] {
        let key = Key::new(cipher, &[7; 32][..cipher.key_len()]).expect("it has the length");
        let mut opener = Opener::new(Edition::Blake3, cipher, &key, data);
        assert!(opener.chunk(data).is_err() || data.len() < MAX_CHUNK);
        assert_eq!(packet::open(cipher, &key, data), None);
        match Front::of_server(cipher, &key).open_ids(data) {
            Some((ids, rest)) => {
                assert_eq!(
                    Session::new(cipher, &key, ids.session).open(ids, rest),
                    None
                );
            }
            None => assert_eq!(open_chacha(&key, data), None),
        }

        let plain = &data[..data.len().min(2000)];
        let mut sealer = Sealer::new(Edition::Aead, cipher, &key, b"salt");
        let mut wire = vec![0; MAX_CHUNK];
        let len = sealer.seal(plain, &mut wire);
        let mut opener = Opener::new(Edition::Aead, cipher, &key, b"salt");
        for n in (0..len).step_by(7) {
            assert_eq!(opener.chunk(&wire[..n]), Ok(None));
        }
        let chunk = opener.chunk(&wire[..len]);
        let chunk = chunk.expect("it opens").expect("it is whole");
        let mut opened = vec![0; chunk.plain];
        let result = opener.open(chunk, &wire[..len], &mut opened);
        result.expect("it opens");
        assert_eq!(opened, plain);
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
