//! `proto/rust` is what `proto/v2ray`, `proto/xray` and `proto/grpc` say.
//!
//! `WRITE_EXPECTED=1 cargo test --test integration wire` writes it anew. Without protoc, which few machines have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use protox::prost::Message;
use protox::prost_reflect::prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

use crate::peers::root;

/// Messages of Xray's that look like V2Ray's on the wire: one type stands for both.
const SHARED: &[(&str, &str)] = &[
    ("app.log.command", "app::log::command"),
    ("common.net.Endpoint", "common::net::Endpoint"),
    ("common.net.IPOrDomain", "common::net::IpOrDomain"),
    ("common.net.Network", "common::net::Network"),
    ("common.net.PortRange", "common::net::PortRange"),
    (
        "common.protocol.SecurityConfig",
        "common::protocol::SecurityConfig",
    ),
    (
        "common.protocol.SecurityType",
        "common::protocol::SecurityType",
    ),
    ("common.protocol.User", "common::protocol::User"),
    ("common.serial", "common::serial"),
    ("core.InboundHandlerConfig", "InboundHandlerConfig"),
    ("core.OutboundHandlerConfig", "OutboundHandlerConfig"),
    ("core.app.observatory", "app::observatory"),
    ("proxy.blackhole", "proxy::blackhole"),
    (
        "proxy.freedom.DestinationOverride",
        "proxy::freedom::DestinationOverride",
    ),
    ("proxy.http.Account", "proxy::http::Account"),
    ("proxy.http.ServerConfig", "proxy::http::ServerConfig"),
    ("proxy.socks", "proxy::socks"),
    ("proxy.trojan.Account", "proxy::trojan::Account"),
    ("proxy.trojan.ClientConfig", "proxy::trojan::ClientConfig"),
    ("proxy.vless.outbound", "proxy::vless::outbound"),
    ("proxy.vmess", "proxy::vmess"),
    (
        "transport.internet.ProxyConfig",
        "transport::internet::ProxyConfig",
    ),
    (
        "transport.internet.TransportConfig",
        "transport::internet::TransportConfig",
    ),
    ("transport.internet.tcp", "transport::internet::tcp"),
];

/// Of these packages, some messages are Xray's alone.
const SHARED_COMMANDS: &[(&str, &[&str])] = &[
    (
        "app.proxyman.command",
        &[
            "AddUserOperation",
            "RemoveUserOperation",
            "AddInboundRequest",
            "AddInboundResponse",
            "RemoveInboundRequest",
            "RemoveInboundResponse",
            "AlterInboundRequest",
            "AlterInboundResponse",
            "AddOutboundRequest",
            "AddOutboundResponse",
            "RemoveOutboundRequest",
            "RemoveOutboundResponse",
            "AlterOutboundRequest",
            "AlterOutboundResponse",
        ],
    ),
    (
        "app.router.command",
        &[
            "RoutingContext",
            "SubscribeRoutingStatsRequest",
            "TestRouteRequest",
            "PrincipleTargetInfo",
            "OverrideInfo",
            "BalancerMsg",
            "GetBalancerInfoRequest",
            "GetBalancerInfoResponse",
            "OverrideBalancerTargetRequest",
            "OverrideBalancerTargetResponse",
        ],
    ),
    (
        "app.stats.command",
        &[
            "GetStatsRequest",
            "GetStatsResponse",
            "Stat",
            "QueryStatsRequest",
            "QueryStatsResponse",
            "SysStatsRequest",
            "SysStatsResponse",
        ],
    ),
];

#[test]
fn the_messages_in_rust_are_made_from_the_protos() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let kept = root().join("proto/rust");
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        fs::remove_dir_all(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        for (name, bytes) in files(made.path()) {
            fs::write(kept.join(name), bytes).unwrap();
        }
    }
    let (made, kept) = (files(made.path()), files(&kept));
    assert!(
        made.keys().eq(kept.keys()),
        "{:?} in place of {:?}",
        kept.keys(),
        made.keys()
    );
    for (name, bytes) in made {
        assert!(
            bytes == kept[&name],
            "proto/rust/{name} is not what proto/v2ray, proto/xray and proto/grpc say"
        );
    }
}

/// What is said to be shared has the same fields; V2Ray's may have more.
#[test]
fn what_stands_for_both_looks_alike_on_the_wire() {
    let fields = |family: &str| {
        let mut fields = BTreeMap::new();
        for file in compile(family).file {
            for message in &file.message_type {
                note(file.package(), message, &mut fields);
            }
        }
        fields
    };
    let (v2ray, xray) = (fields("v2ray"), fields("xray"));
    let is_shared = |name: &str| {
        let packages = SHARED.iter().map(|(xray, _)| (*xray).to_owned());
        let commands = SHARED_COMMANDS
            .iter()
            .flat_map(|(package, names)| names.iter().map(move |name| format!("{package}.{name}")));
        packages
            .chain(commands)
            .any(|shared| name == shared || name.starts_with(&format!("{shared}.")))
    };
    let mut seen = 0;
    for (name, fields) in &xray {
        let name = name.strip_prefix("xray.").unwrap();
        if !is_shared(name) {
            continue;
        }
        seen += 1;
        let core = name.strip_prefix("core.").unwrap_or(name);
        let others = &v2ray[&format!("v2ray.core.{core}")];
        for (number, kind) in fields {
            assert_eq!(others.get(number), Some(kind), "{name}, field {number}");
        }
    }
    assert!(seen > 60, "{seen}");
}

type Fields = BTreeMap<i32, i32>;

fn note(package: &str, message: &DescriptorProto, all: &mut BTreeMap<String, Fields>) {
    let name = format!("{package}.{}", message.name());
    let fields = message.field.iter();
    let fields = fields.map(|field| (field.number(), field.r#type() as i32));
    all.insert(name.clone(), fields.collect());
    for nested in &message.nested_type {
        note(&name, nested, all);
    }
}

fn compile(family: &str) -> FileDescriptorSet {
    let protos = root().join("proto");
    let mut files: Vec<PathBuf> = fs::read_dir(protos.join(family))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    protox::compile(files, [protos]).unwrap()
}

fn make(out: &Path) {
    let generate = |family: &str, shared: &[(String, String)]| {
        let mut builder = tonic_prost_build::configure()
            .build_client(false)
            .build_server(false)
            .include_file(format!("{family}.rs"))
            .out_dir(out);
        for (proto, rust) in shared {
            builder = builder.extern_path(proto, rust);
        }
        builder.compile_fds(compile(family)).unwrap();
    };
    generate("v2ray", &[]);
    let mut shared: Vec<(String, String)> = SHARED
        .iter()
        .map(|(proto, rust)| (format!(".xray.{proto}"), format!("crate::wire::{rust}")))
        .collect();
    for (package, names) in SHARED_COMMANDS {
        let module = package.replace('.', "::");
        shared.extend(names.iter().map(|name| {
            let rust = format!("crate::wire::{module}::{name}");
            (format!(".xray.{package}.{name}"), rust)
        }));
    }
    generate("xray", &shared);
    let alpha = (
        ".grpc.reflection.v1alpha".to_owned(),
        "crate::wire::grpc::reflection::v1".to_owned(),
    );
    generate("grpc", &[alpha]);
    fs::write(out.join("descriptors.deflate"), descriptors()).unwrap();
}

/// All files as reflection gives them away, without what every client works out by itself.
fn descriptors() -> Vec<u8> {
    let families = ["v2ray", "xray", "grpc"];
    let mut file: Vec<FileDescriptorProto> = families
        .into_iter()
        .flat_map(|family| compile(family).file)
        .collect();
    for file in &mut file {
        file.source_code_info = None;
        file.message_type.iter_mut().for_each(strip);
    }
    // Half of it is names that come again and again.
    miniz_oxide::deflate::compress_to_vec(&FileDescriptorSet { file }.encode_to_vec(), 9)
}

fn strip(message: &mut DescriptorProto) {
    for field in &mut message.field {
        field.json_name = None;
    }
    message.nested_type.iter_mut().for_each(strip);
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).unwrap())
        })
        .collect()
}
