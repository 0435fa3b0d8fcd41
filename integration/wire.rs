//! `proto/rust` is what `proto/v2ray` says.
//!
//! `WRITE_EXPECTED=1 cargo test --test integration wire` writes it anew. Without protoc, which few machines have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::peers::root;

#[test]
fn the_messages_in_rust_are_made_from_the_protos() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let kept = root().join("proto/rust");
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        fs::remove_dir_all(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        for (name, text) in texts(made.path()) {
            fs::write(kept.join(name), text).unwrap();
        }
    }
    let (made, kept) = (texts(made.path()), texts(&kept));
    assert!(
        made.keys().eq(kept.keys()),
        "{:?} in place of {:?}",
        kept.keys(),
        made.keys()
    );
    for (name, text) in made {
        assert!(
            text == kept[&name],
            "proto/rust/{name} is not what proto/v2ray says"
        );
    }
}

fn make(out: &Path) {
    let protos = root().join("proto");
    let mut files: Vec<PathBuf> = fs::read_dir(protos.join("v2ray"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let descriptors = protox::compile(files, [protos]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .include_file("v2ray.rs")
        .out_dir(out)
        .compile_fds(descriptors)
        .unwrap();
}

fn texts(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read_to_string(file.path()).unwrap())
        })
        .collect()
}
