//! Inputs that once were interesting, through the same functions that the fuzzer calls.

use std::fs;

use mobula::testing;

use crate::peers::root;

type Target = fn(&[u8]);

/// The targets of `integration/fuzz`, by the name of their folder in `testdata/corpus`.
const TARGETS: [(&str, Target); 38] = [
    ("address", testing::address),
    ("browser_words", testing::browser_words),
    ("clash_config", testing::clash_config),
    ("dns_messages", testing::dns_messages),
    ("geodata", testing::geodata),
    ("gost_config", testing::gost_config),
    ("grpc_messages", testing::grpc_messages),
    ("http_header", testing::http_header),
    ("http_heads", testing::http_heads),
    ("http_proxy_heads", testing::http_proxy_heads),
    ("json_config", testing::json_config),
    ("mux_frames", testing::mux_frames),
    ("packet_addr", testing::packet_addr),
    ("plugin_options", testing::plugin_options),
    ("probe_payloads", testing::probe_payloads),
    ("probe_requests", testing::probe_requests),
    ("proxy_header", testing::proxy_header),
    ("quic", testing::quic),
    ("relay", testing::relay),
    ("reverse_control", testing::reverse_control),
    ("rule_lists", testing::rule_lists),
    ("shadowsocks", testing::shadowsocks),
    ("share_links", testing::share_links),
    ("sing_box_config", testing::sing_box_config),
    ("smux_frames", testing::smux_frames),
    ("sniff", testing::sniff),
    ("socks_request", testing::socks_request),
    ("socks_udp", testing::socks_udp),
    ("subscription", testing::subscription),
    ("tls_records", testing::tls_records),
    ("trojan", testing::trojan),
    ("tunnel_files", testing::tunnel_files),
    ("vless", testing::vless),
    ("vmess_chunks", testing::vmess_chunks),
    ("vmess_request", testing::vmess_request),
    ("vmess_response", testing::vmess_response),
    ("ws_deflate", testing::ws_deflate),
    ("ws_frames", testing::ws_frames),
];

#[test]
fn every_input_of_the_corpus_is_survived() {
    for (name, target) in TARGETS {
        let folder = root().join("testdata/corpus").join(name);
        let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut replayed = 0;
        for input in inputs.flatten() {
            let bytes = fs::read(input.path()).expect("the corpus is readable");
            println!("{}", input.path().display());
            target(&bytes);
            replayed += 1;
        }
        assert!(replayed > 0, "{} is empty", folder.display());
    }
}

#[test]
fn every_fuzz_target_has_a_corpus() {
    let manifest = fs::read_to_string(root().join("integration/fuzz/Cargo.toml"));
    let manifest = manifest.expect("the fuzz package is there");
    let mut names: Vec<_> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| *name != "mobula-fuzz")
        .collect();
    let mut here = TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    here.sort_unstable();
    assert_eq!(names, here);
}
