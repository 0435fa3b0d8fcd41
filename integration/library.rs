//! The WebSocket transport by itself, as other programs build it.

use std::collections::BTreeSet;
use std::process::Command;

use crate::peers::root;

/// What belongs to the program and not to its transport.
const NOT_IN_THE_TRANSPORT: [&str; 7] = [
    "aes-gcm",
    "clap",
    "hickory-proto",
    "hyper",
    "prost",
    "serde_json",
    "tonic",
];

/// What only TLS needs.
const NOT_WITHOUT_TLS: [&str; 3] = ["aws-lc-rs", "rcgen", "rustls"];

#[test]
fn the_transport_builds_without_the_program() {
    for (features, absent, at_most) in [
        (&[][..], &NOT_WITHOUT_TLS[..], 60),
        (&["--features", "tls"], &[], 105),
    ] {
        let packages = packages(features);
        for name in NOT_IN_THE_TRANSPORT.iter().chain(absent) {
            assert!(!packages.contains(*name), "{name} with {features:?}");
        }
        let many = packages.len();
        assert!(many <= at_most, "{many} packages with {features:?}");
        let checked = cargo(&["check", "--quiet", "--lib"], features);
        assert_eq!(checked, "", "with {features:?}");
    }
}

/// The packages that the library is built from.
fn packages(features: &[&str]) -> BTreeSet<String> {
    let tree = cargo(&["tree", "-e", "normal", "--prefix", "none"], features);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// What cargo has to say, warnings too.
fn cargo(command: &[&str], features: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(command)
        .args(["--offline", "--no-default-features"])
        .args(features)
        .output()
        .expect("cargo is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}
