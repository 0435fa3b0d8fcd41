use super::*;
use crate::protocol::length_prefixed::decode_packet;
use crate::testing::{assert_decodes, assert_split_agrees, relay};
use hex_literal::hex;

fn to(text: &str) -> Destination {
    text.parse().unwrap()
}

fn login() -> Login {
    Login {
        name: "u".into(),
        password: Secret("pw".into()),
    }
}

fn request(command: Command, network: Network, address: &str) -> Request {
    Request {
        command,
        network,
        user: Some(login()),
        address: Some(to(address)),
    }
}

/// Bytes of a capture, by its name: up and down.
fn captured(name: &str) -> (BytesMut, BytesMut) {
    let file = include_str!("../../../testdata/vectors/relay.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let vector = vectors.iter().find(|v| v["name"] == name).unwrap();
    let bytes = |key: &str| {
        let text = vector[key].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    (bytes("up"), bytes("down"))
}

#[test]
fn requests_and_answers_of_gost() {
    let none = None;
    let cases = [
        (
            "relay-ws",
            request(Command::Connect, Network::Tcp, "127.0.0.1:21432"),
            none.clone(),
        ),
        (
            "relay-ws-udpfwd",
            request(Command::Connect, Network::Udp, "127.0.0.1:13569"),
            none,
        ),
        (
            "relay-ws-udpassoc",
            request(Command::Bind, Network::Udp, "0.0.0.0:0"),
            Some(to("[::]:46950")),
        ),
        (
            "rtcp-relay-mws",
            request(Command::Bind, Network::Tcp, "127.0.0.1:25295"),
            Some(to("127.0.0.1:25295")),
        ),
    ];
    for (name, asked, address) in cases {
        let (up, down) = captured(name);
        relay(&up);
        relay(&down);
        let mut rest = up.clone();
        assert_eq!(
            Request::decode(&mut rest),
            Ok(Some(asked.clone())),
            "{name}"
        );
        let head = &up[..up.len() - rest.len()];
        assert_decodes(head, &asked, Request::decode);
        let mut out = BytesMut::new();
        asked.encode(&mut out).unwrap();
        assert_eq!(out, head, "{name}: written as gost writes it");
        let mut rest = down.clone();
        let answer = Response { status: 0, address };
        assert_eq!(Response::decode(&mut rest), Ok(Some(answer.clone())));
        let head = &down[..down.len() - rest.len()];
        assert_decodes(head, &answer, Response::decode);
        out.clear();
        answer.encode(&mut out).unwrap();
        assert_eq!(out, head, "{name}: answered as gost answers");
    }
}

#[test]
fn datagrams_of_gost() {
    let (mut up, mut down) = captured("relay-ws-udpfwd");
    Request::decode(&mut up).unwrap().unwrap();
    Response::decode(&mut down).unwrap().unwrap();
    assert_eq!(decode_packet(&mut up).unwrap(), b"uhello"[..]);
    assert!(up.is_empty());
    assert!(decode_packet(&mut down).unwrap().ends_with(b"uhello"));
    let (mut up, mut down) = captured("relay-ws-udpassoc");
    Request::decode(&mut up).unwrap().unwrap();
    Response::decode(&mut down).unwrap().unwrap();
    let peer = to("127.0.0.1:13569");
    let sent = (peer.clone(), BytesMut::from(&b"uhello"[..]));
    assert_decodes(&up, &sent, decode_addressed);
    let mut out = BytesMut::new();
    encode_addressed(&sent.0, &sent.1, &mut out);
    assert_eq!(out, up);
    assert_eq!(decode_addressed(&mut down).unwrap().unwrap().0, peer);
    encode_addressed(&peer, b"", &mut out);
    assert_eq!(out, up, "an empty one has no way to be written");
}

#[test]
fn the_forms_of_an_address_without_a_host() {
    for (value, text) in [
        // `rtcp://:8080` of gost 3.3.0, with the port in the name.
        (
            &hex!("03 0d 302e302e302e303a3a38303830 0000")[..],
            "0.0.0.0:8080",
        ),
        (&hex!("03 09 5b3a3a5d3a38303830 0000"), "[::]:8080"),
        (&hex!("03 00 1f90"), "0.0.0.0:8080"),
        (&hex!("03 07 302e302e302e30 1f90"), "0.0.0.0:8080"),
        (&hex!("03 06 612e74657374 0050"), "a.test:80"),
    ] {
        assert_eq!(decode_address(value), Ok(to(text)), "{value:02x?}");
    }
    let name_with_port = hex!("03 09 612e746573743a3830 0000");
    assert!(decode_address(&name_with_port).is_err());
}

#[test]
fn udp_is_asked_for_in_either_form() {
    for wire in [
        &hex!("01 81 000a 02 0007 01 7f000001 0035")[..],
        &hex!("01 01 000f 04 0002 0001 02 0007 01 7f000001 0035"),
        &hex!("01 80 000f 02 0007 01 7f000001 0035 04 0002 0001"),
    ] {
        let asked = Request {
            user: None,
            ..request(Command::Connect, Network::Udp, "127.0.0.1:53")
        };
        assert_decodes(wire, &asked, Request::decode);
    }
}

#[test]
fn what_is_no_request_is_refused_with_the_reason_and_left_as_it_is() {
    let cases: [(&[u8], RequestError); 9] = [
        (b"GET / HTTP/1.1\r\n\r\n", RequestError::Version(b'G')),
        (&hex!("01 04 0000"), RequestError::Command(4)),
        (&hex!("01 01 1001"), RequestError::Long(4097)),
        (&hex!("01 01 0003 07 0000"), RequestError::Feature(7)),
        (&hex!("01 01 0003 02 0001"), RequestError::Length(2)),
        (&hex!("01 01 0002 02 00"), RequestError::Length(2)),
        (
            &hex!("01 01 0006 01 0003 01 75 05"),
            RequestError::Length(1),
        ),
        (
            &hex!("01 01 0005 04 0002 0010"),
            RequestError::Network(0x10),
        ),
        (
            &hex!("01 01 0006 02 0003 09 00 50"),
            RequestError::Address(AddressError::UnknownType(9)),
        ),
    ];
    for (wire, error) in cases {
        let mut buf = BytesMut::from(wire);
        assert_eq!(Request::decode(&mut buf), Err(error), "{wire:02x?}");
        assert_eq!(buf, wire);
        assert_split_agrees(wire, Request::decode);
    }
}

#[test]
fn an_answer_is_taken_off_in_any_pieces() {
    let wire = hex!("01 00 0004 02 0001 ff 70617920");
    for size in 1..=wire.len() {
        let (mut answer, mut plain) = (Answer::default(), Vec::new());
        for piece in wire.chunks(size) {
            let n = answer.take(piece).unwrap();
            plain.extend_from_slice(&piece[n..]);
        }
        assert_eq!(answer, Answer::Whole);
        assert_eq!(plain, b"pay ", "in pieces of {size}");
    }
    assert_eq!(
        Answer::default().take(b"HTTP"),
        Err(AnswerError::Version(b'H'))
    );
    let refused = Status::Unauthorized.alone();
    assert_eq!(
        Answer::default().take(&refused),
        Err(AnswerError::Status(2))
    );
}

#[test]
fn a_password_is_not_shown() {
    assert!(!format!("{:?}", login()).contains("pw"));
}
