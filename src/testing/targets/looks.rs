//! What is only looked into: names, first bytes, questions.

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
    crate::testing::assert_sniffs(data, stream);
    if let Sniffed::Found(found) = datagram(&mut Quic::default(), data) {
        let known = ["quic", "bittorrent", "stun", "dtls", "ntp"];
        assert!(known.contains(&found.protocol));
    }
}

/// QUIC's first packets, and past their seal, which no fuzzer opens, their frames.
pub fn quic(data: &[u8]) {
    crate::sniffing::codec::fuzz_quic(data);
}

/// Questions and replies of DNS, and the frames that carry them over TCP.
pub fn dns_messages(data: &[u8]) {
    use crate::dns::codec::{Asked, Family, Kind, Question, bare_reply};

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
    if let Some(refused) = bare_reply(data, 5) {
        assert_eq!(bare_reply(&refused, 5), None, "a reply is not replied to");
        assert_eq!(Kind::decode(&refused), None, "nor is it a question");
    }
    let question = Question {
        name: "a.com".to_owned(),
        family: Family::V4,
    };
    if let Ok(reply) = question.decode(data) {
        assert!(reply.ips.iter().all(|ip| ip.is_ipv4()));
    }
}
