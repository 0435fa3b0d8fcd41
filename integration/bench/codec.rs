//! Micro-benchmarks of what the data path does with bytes, so that a step back is seen where it is made.
//!
//! ```sh
//! cargo bench --bench codec               # all
//! cargo bench --bench codec -- header     # those with this in their names
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "tests have no session to log for"
)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use mobula::address::{Destination, Host, Network};
use mobula::aead::{self, Library};
use mobula::matching::{Domains, Geodata, Pattern};
use mobula::protocol::vmess::codec::body::{Cipher, Framing, MAX_OVERHEAD, Opener, Sealer};
use mobula::protocol::vmess::codec::header::option;
use mobula::protocol::vmess::codec::response::Keys;
use mobula::routing::{
    Conditions, HealthTables, Pick, Program, RouteInput, Router, Rule, Settings, Target,
};
use mobula::session::Source;
use mobula::testing::{Finder, flight, trojan_users, vless_users};
use mobula::transport::ws::codec::{Decoder, Header, MAX_HEADER, Opcode, Role, mask};

fn main() {
    divan::main();
}

/// A chunk of a body: its cipher and the bytes inside. The last is as large as chunks of 16 KiB are.
#[derive(Clone, Copy)]
struct Chunk(Cipher, usize);

const CHUNKS: [Chunk; 8] = [
    Chunk(Cipher::Aes128Gcm, 2 << 10),
    Chunk(Cipher::Aes128Gcm, 4 << 10),
    Chunk(Cipher::Aes128Gcm, 8 << 10),
    Chunk(Cipher::Aes128Gcm, (16 << 10) - MAX_OVERHEAD),
    Chunk(Cipher::ChaCha20Poly1305, 2 << 10),
    Chunk(Cipher::ChaCha20Poly1305, 4 << 10),
    Chunk(Cipher::ChaCha20Poly1305, 8 << 10),
    Chunk(Cipher::ChaCha20Poly1305, (16 << 10) - MAX_OVERHEAD),
];

#[divan::bench(args = CHUNKS)]
fn chunk_seal(bencher: Bencher, chunk: &Chunk) {
    let mut sealer = Sealer::new(chunk.framing(), &KEYS, &KEYS);
    let plain = vec![7; chunk.1];
    let mut out = vec![0; chunk.1 + MAX_OVERHEAD];
    bencher
        .counter(BytesCount::new(chunk.1))
        .bench_local(|| sealer.seal(black_box(&plain), &mut out, &mut |_| {}));
}

#[divan::bench(args = CHUNKS)]
fn chunk_open(bencher: Bencher, chunk: &Chunk) {
    // Chunks are numbered, so each that is opened must be the next.
    let mut sealer = Sealer::new(chunk.framing(), &KEYS, &KEYS);
    let mut opener = Opener::new(chunk.framing(), &KEYS, &KEYS);
    let payload = vec![7; chunk.1];
    let mut plain = vec![0; chunk.1];
    bencher
        .counter(BytesCount::new(chunk.1))
        .with_inputs(|| {
            let mut sealed = vec![0; payload.len() + MAX_OVERHEAD];
            let n = sealer.seal(&payload, &mut sealed, &mut |_| {});
            sealed.truncate(n);
            sealed
        })
        .bench_local_refs(|sealed| {
            let chunk = opener.chunk(sealed).expect("our own chunk");
            let chunk = chunk.expect("a whole chunk");
            opener
                .open(chunk, sealed, &mut plain)
                .expect("our own chunk");
        });
}

/// What one library seals with, and the bytes at once.
struct Sealed(Library, aead::Cipher, usize);

const SEALED: [Sealed; 12] = {
    use aead::Cipher::{Aes128Gcm, Aes256Gcm, ChaCha20Poly1305};
    [
        Sealed(Library::AwsLc, Aes128Gcm, 2 << 10),
        Sealed(Library::Ring, Aes128Gcm, 2 << 10),
        Sealed(Library::AwsLc, Aes128Gcm, 16 << 10),
        Sealed(Library::Ring, Aes128Gcm, 16 << 10),
        Sealed(Library::AwsLc, Aes256Gcm, 2 << 10),
        Sealed(Library::Ring, Aes256Gcm, 2 << 10),
        Sealed(Library::AwsLc, Aes256Gcm, 16 << 10),
        Sealed(Library::Ring, Aes256Gcm, 16 << 10),
        Sealed(Library::AwsLc, ChaCha20Poly1305, 2 << 10),
        Sealed(Library::Ring, ChaCha20Poly1305, 2 << 10),
        Sealed(Library::AwsLc, ChaCha20Poly1305, 16 << 10),
        Sealed(Library::Ring, ChaCha20Poly1305, 16 << 10),
    ]
};

impl Sealed {
    fn key(&self) -> aead::Key {
        aead::Key::by(self.0, self.1, &vec![3; self.1.key_len()])
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} KiB, {}", self.1, self.2 >> 10, self.0)
    }
}

/// Which library is faster on this CPU; `src/aead/library.rs` chooses by what the CPU has.
#[divan::bench(args = SEALED)]
fn aead_seal(bencher: Bencher, by: &Sealed) {
    let key = by.key();
    let plain = vec![7; by.2];
    let mut out = vec![0; by.2 + aead::TAG];
    bencher
        .counter(BytesCount::new(by.2))
        .bench_local(|| key.seal([1; aead::NONCE], black_box(&plain), &mut out));
}

#[divan::bench(args = SEALED)]
fn aead_open(bencher: Bencher, by: &Sealed) {
    let key = by.key();
    let mut sealed = vec![0; by.2 + aead::TAG];
    key.seal([1; aead::NONCE], &vec![7; by.2], &mut sealed);
    let mut plain = vec![0; by.2];
    bencher.counter(BytesCount::new(by.2)).bench_local(|| {
        key.open([1; aead::NONCE], black_box(&sealed), &mut plain)
            .expect("our own");
    });
}

const KEYS: Keys = Keys {
    key: [3; 16],
    iv: [4; 16],
};

impl Chunk {
    fn framing(self) -> Framing {
        Framing {
            cipher: self.0,
            options: option::CHUNKS | option::MASKING,
            packets: false,
        }
    }
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {} KiB",
            self.0,
            self.1.next_multiple_of(1024) >> 10
        )
    }
}

const USERS: [u32; 3] = [1, 100, 10_000];

const NOW: i64 = 1_700_000_000;

/// The same user, over and over.
#[divan::bench(args = USERS, sample_count = 1000)]
fn header_of_user_again(bencher: Bencher, users: u32) {
    headers(bencher, users, |_| users - 1, true);
}

/// Each time another user, far from those who came shortly before.
#[divan::bench(args = USERS, sample_count = 1000)]
fn header_of_user_first_time(bencher: Bencher, users: u32) {
    headers(bencher, users, |i| i.wrapping_mul(7919) % users, true);
}

#[divan::bench(args = USERS, sample_count = 1000)]
fn header_of_stranger(bencher: Bencher, users: u32) {
    headers(bencher, users, |_| users, false);
}

fn headers(bencher: Bencher, users: u32, who: impl Fn(u32) -> u32, known: bool) {
    let finder = Finder::new(users);
    // No auth id is good for two times.
    let count = Cell::new(0);
    bencher
        .with_inputs(|| {
            count.set(count.get() + 1);
            flight(
                who(count.get()),
                count.get(),
                NOW,
                destination("example.com"),
            )
        })
        .bench_local_refs(|flight| {
            assert_eq!(finder.open(flight, NOW).is_some(), known);
        });
}

/// Each time another one.
#[divan::bench(args = [100, 100_000])]
fn user_of_vless(bencher: Bencher, users: u32) {
    found(bencher, vless_users(users));
}

#[divan::bench(args = [100, 100_000])]
fn user_of_trojan(bencher: Bencher, users: u32) {
    found(bencher, trojan_users(users));
}

fn found(bencher: Bencher, find: impl Fn(u32) -> bool) {
    let count = Cell::new(0u32);
    bencher.bench_local(|| {
        count.set(count.get().wrapping_add(7919));
        assert!(find(black_box(count.get())));
    });
}

#[divan::bench(args = [2 << 10, 16 << 10, 128 << 10])]
fn ws_unmask(bencher: Bencher, len: usize) {
    let mut data = vec![7; len];
    let mut key = [1, 2, 3, 4];
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| mask(black_box(&mut data), &mut key));
}

/// One read of 128 KiB that holds frames of this length, unmasked and put together.
#[divan::bench(args = [2 << 10, 16 << 10, 64 << 10])]
fn ws_decode(bencher: Bencher, len: usize) {
    let header = Header {
        fin: true,
        opcode: Opcode::Binary,
        mask: Some([1, 2, 3, 4]),
        len: len as u64,
    };
    let mut front = [0; MAX_HEADER];
    let n = header.encode(&mut front);
    let frame = [&front[..n], &vec![7; len]].concat();
    let read = frame.repeat((128 << 10) / len);
    let buf = RefCell::new(read.clone());
    let mut decoder = Decoder::new(Role::Client);
    bencher
        .counter(BytesCount::new(read.len()))
        .with_inputs(|| buf.borrow_mut().copy_from_slice(&read))
        .bench_local_values(|()| {
            let (n, result) = decoder.open(&mut buf.borrow_mut(), |_| {});
            assert!(result.is_ok());
            n
        });
}

const NAMES: u32 = 100_000;

#[divan::bench]
fn routing_built_from_100_000_names(bencher: Bencher) {
    bencher
        .with_inputs(patterns)
        .bench_local_values(|patterns| Domains::new(patterns).map(drop));
}

#[divan::bench]
fn routing_hit_among_100_000_names(bencher: Bencher) {
    route(bencher, |i| format!("www.{}", name(i * 5 + 1)), true);
}

#[divan::bench]
fn routing_miss_among_100_000_names(bencher: Bencher) {
    route(bencher, |i| format!("www{i}.elsewhere.net"), false);
}

fn route(bencher: Bencher, host: impl Fn(u32) -> String, hit: bool) {
    let rule = Rule {
        tag: String::new(),
        conditions: Conditions {
            domains: Some(Domains::new(patterns()).expect("names are no expressions")),
            ..Conditions::default()
        },
        target: Target::Outbound("proxy".into()).into(),
    };
    let settings = Settings {
        rules: vec![rule],
        ..Settings::default()
    };
    let router = Router::new(settings, &HealthTables::default());
    let count = Cell::new(0);
    bencher
        .with_inputs(|| {
            count.set((count.get() + 7919) % (NAMES / 5));
            destination(&host(count.get()))
        })
        .bench_local_refs(|to| {
            let facts = RouteInput {
                inbound: None,
                source: Source::Unix,
                local: Source::Unix,
                vless_route: 0,
                program: Program::Unasked,
                network: Network::Tcp,
                to,
                named: None,
                resolves_named: false,
                user: None,
                protocol: None,
                attributes: None,
            };
            assert_eq!(matches!(router.pick(&facts, None), Pick::Outbound(_)), hit);
        });
}

/// A list of V2Ray's `geosite.dat`, read and built; the file comes with the programs of the tests.
#[divan::bench(args = ["cn", "geolocation-!cn"])]
fn routing_built_from_geosite(bencher: Bencher, category: &str) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/build/peers/bin/v2ray-4.45");
    let program = Path::new(program).canonicalize();
    let program = program.expect("`integration/test peers` fetches it");
    let folder = program.parent().expect("it is in a folder");
    bencher.bench_local(|| {
        let geodata = Geodata::new(vec![folder.to_owned()]);
        let patterns = geodata.patterns("geosite.dat", category, &[]);
        Domains::new(patterns.expect("the list is there")).map(drop)
    });
}

fn patterns() -> Vec<Pattern> {
    let pattern = |i: u32| match i % 5 {
        0 => Pattern::Full(name(i)),
        _ => Pattern::Domain(name(i)),
    };
    (0..NAMES).map(pattern).collect()
}

fn name(i: u32) -> String {
    let end = ["com", "cn", "net"][i as usize % 3];
    format!(
        "{:x}.example{}.{end}",
        i.wrapping_mul(2_654_435_761),
        i % 977
    )
}

fn destination(name: &str) -> Destination {
    Destination {
        host: Host::Domain(name.to_owned()),
        port: 443,
    }
}
