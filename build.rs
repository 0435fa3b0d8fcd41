//! Makes Rust of `proto/v2ray`: V2Ray's API on the wire. Without protoc, which few machines have.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/v2ray");
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir("proto/v2ray")? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .include_file("v2ray.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
