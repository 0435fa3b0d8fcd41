//! The frame of an inbound: where it listens, and what its parts are.

use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::read::tag;
use super::{domain_socket, limits, protocols, sniffing, stream_settings};
use crate::address::Host;
use crate::config::{Inbound, Listen, exposure, traps};
use crate::dialect::v2ray::json::{Node, Object, PortRanges, from_environment};

/// Reads an inbound; `old_port` is the `port` at the top level of an old config.
pub(super) fn read(object: Object, old_port: Option<&Node>) -> Option<Inbound> {
    let listen = match object.get("listen") {
        Some(node) => listen(&node),
        // V2Ray, and so our transport, takes it for every address of either family.
        None => Some(Listen::Ip(Ipv4Addr::UNSPECIFIED.into())),
    };
    let stream = object.get("streamSettings");
    // V2Ray's `domainsocket` is a place by itself.
    let socket = domain_socket::of_inbound(stream.as_ref());
    let listen = match &socket {
        Some(Some(socket)) => Some(socket.clone()),
        Some(None) => listen,
        None => None,
    };
    let port = object.get("port").or_else(|| old_port.cloned());
    let ports = match (&listen, port) {
        (Some(Listen::Unix(_) | Listen::Abstract(_)), _) => Some(Vec::new()),
        _ if socket.is_none() => Some(Vec::new()),
        (_, Some(node)) => node.read().map(|PortRanges(ports)| ports),
        (_, None) => {
            // What is not built may have nothing to listen on.
            let protocol = object.get("protocol");
            if !protocol.is_some_and(|node| protocols::is_unbuilt(&node)) {
                let text = "`port` is missing, an inbound on an IP address needs one";
                object.node.error(text);
            }
            None
        }
    };
    let protocol = protocols::inbound(&object);
    let transport = stream_settings::server(stream.as_ref());
    let sniffing = sniffing::read(&object);
    if let Some(object) = object.object("allocate") {
        allocate(object);
    }
    let limits = limits::read(&object);
    let tag = tag(&object).map(Into::into);
    let (path, report) = (object.node.path.clone(), object.node.report());
    object.finish();
    let mut inbound = Inbound {
        name: path.to_string(),
        at: path.into(),
        tag,
        listen: listen?,
        ports: ports?,
        transport: transport?,
        protocol: protocol?,
        sniffing,
        limits,
        beside: Vec::new(),
    };
    if inbound.protocol.traits().follows_redirect {
        inbound.transport.sockopt.follow_redirect();
    }
    if matches!(socket, Some(Some(_))) && inbound.protocol.traits().datagrams {
        report.warn(
            &inbound.at,
            "datagrams are not taken, as a unix socket has none: V2Ray takes them at `port`, for which another inbound with `network: udp` can be made",
        );
    }
    exposure::warn_of_open_proxy(&inbound, report);
    traps::warn_of_inbound(&inbound, report);
    traps::check_fallbacks(&inbound, report);
    Some(inbound)
}

/// When which of the ports are opened.
fn allocate(object: Object) {
    if let Some(strategy) = object.get("strategy")
        && let Some(name) = strategy.read::<String>()
    {
        match name.to_ascii_lowercase().as_str() {
            "always" => {}
            "random" | "external" => object
                .node
                .warn("ports are always opened all at once, the key has no effect"),
            _ => strategy.error(format!(
                "`{}` is unknown, expected `always` or `random`",
                name.escape_debug()
            )),
        }
    }
    object.silent(&["concurrency", "refresh"]);
    object.finish();
}

/// A unix socket: `@name`, or a path that begins with `/`.
pub(super) fn unix(node: &Node, text: &str) -> Option<Listen> {
    if let Some(name) = text.strip_prefix('@') {
        if name.is_empty() {
            node.error("`@` has no name behind it, expected `@name`");
            return None;
        }
        return Some(Listen::Abstract(name.as_bytes().to_vec()));
    }
    let path = Path::new(text);
    // The kernel's `sun_path` has 108 bytes, with the zero at the end.
    if path.as_os_str().as_bytes().len() > 107 {
        node.error("the path of a unix socket has at most 107 bytes");
        return None;
    }
    Some(Listen::Unix(path.to_owned()))
}

fn listen(node: &Node) -> Option<Listen> {
    let text: String = node.read()?;
    let text = from_environment(&text).map_err(|e| node.error(e)).ok()?;
    if text.starts_with(['@', '/']) {
        return unix(node, &text);
    }
    match Host::parse(text.trim()) {
        Ok(Host::Ip(ip)) => Some(Listen::Ip(ip)),
        Ok(Host::Domain(name)) if name.eq_ignore_ascii_case("localhost") => {
            Some(Listen::Ip(Ipv4Addr::LOCALHOST.into()))
        }
        _ => {
            if let Some(parts) = protocols::parts_of_address(text.trim()) {
                let text = text.escape_debug();
                node.error(format!("`{text}` is not an address to listen on: {parts}"));
                return None;
            }
            node.error(format!(
                "`{}` is not an IP address, a unix socket's path beginning with `/` or an `@name`",
                text.escape_debug()
            ));
            None
        }
    }
}
