//! `security`, and what belongs to `tls`: `sni`, `alpn`, `pcs`, `vcn`, `allowInsecure`.

use super::params::{Param, Params};
use super::said::Said;
use crate::address::{Destination, Host};
use crate::dialect::v2ray::{self, tls::hash_of_hex};
use crate::http::request::without_port;
use crate::io::fragment::Fragment;
use crate::transport::tls::{ClientSettings, Versions};
use crate::transport::{self, ClientCarrier};

/// What is meant where a link says nothing of `security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Unsaid {
    None,
    /// Trojan's.
    Tls,
}

/// Reads what seals the tunnel; `Some(None)` is nothing.
pub(super) fn read(
    params: &mut Params,
    carrier: &ClientCarrier,
    unsaid: Unsaid,
    said: &mut Said,
) -> Option<Option<ClientSettings>> {
    let param = params.take("security");
    let word = match (&param, unsaid) {
        (Some(param), _) => param.text.trim().to_ascii_lowercase(),
        (None, Unsaid::None) => "none".to_owned(),
        (None, Unsaid::Tls) => "tls".to_owned(),
    };
    if let Some(ech) = params.take("ech").filter(|ech| ech.text != "none") {
        said.error(
            &ech.label,
            "Encrypted Client Hello is not built, and without it everybody on the way could read the server's name: take it out",
        );
    }
    match &*word {
        "none" | "0" | "false" | "null" => {
            // What forms leave in their fields.
            params.first(&["sni", "peer", "alpn", "fp", "pcs", "vcn", "host"]);
            params.first(&INSECURE);
            Some(None)
        }
        "tls" | "1" | "true" => Some(Some(tls(params, carrier, said)?)),
        other => {
            let label = param.as_ref().map_or("security", |param| &param.label);
            let other = other.escape_debug();
            said.error(
                label,
                format_args!("`{other}` is not built, expected `none` or `tls`"),
            );
            None
        }
    }
}

fn tls(params: &mut Params, carrier: &ClientCarrier, said: &mut Said) -> Option<ClientSettings> {
    let name = params.first(&["sni", "peer"]);
    let beside = host_beside(carrier, params);
    let server_name = match &name {
        Some(param) => Some(host(param, param.text.trim(), said)?),
        None => asked_host(carrier).or(beside),
    };
    let fingerprint = params.text("fp").map(|fp| fp.to_ascii_lowercase());
    let mut settings = ClientSettings {
        server_name,
        fingerprint: fingerprint.filter(|fp| fp != "unsafe"),
        alpn: default_alpn(carrier),
        ..ClientSettings::default()
    };
    if let Some(alpn) = params.take("alpn") {
        let names = alpn.list();
        if is_upgrade(carrier) && names != settings.alpn {
            said.left_out(
                &alpn.label,
                "an upgrade needs `http/1.1`, nothing else is offered",
            );
        } else if !names.is_empty() {
            settings.alpn = names;
        }
    }
    if let Some(insecure) = params.first(&INSECURE) {
        settings.allow_insecure = insecure.switch(said);
    }
    if let Some(pins) = params.take("pcs") {
        for text in pins.list() {
            match hash_of_hex(&text) {
                Some(pin) => settings.certificate_pins.push(pin),
                None => said.error(
                    &pins.label,
                    format_args!(
                        "`{}` is not a SHA-256 hash, expected 64 hex digits",
                        text.escape_debug()
                    ),
                ),
            }
        }
    }
    if let Some(names) = params.take("vcn") {
        for text in names.list() {
            settings.verify_names.push(host(&names, &text, said)?);
        }
    }
    Some(settings)
}

/// The host that is asked for within: v2rayN and mihomo have it for the server's name where nothing else is said, as of an
/// address of a CDN.
pub(in crate::dialect) fn asked_host(carrier: &ClientCarrier) -> Option<Host> {
    let host = match carrier {
        ClientCarrier::Ws(ws) => ws.host.as_ref()?.to_str().ok()?,
        ClientCarrier::HttpUpgrade(upgrade) => upgrade.host.as_ref()?.to_str().ok()?,
        _ => return None,
    };
    Host::parse(without_port(host)).ok()
}

/// As [`asked_host`], of links alone, as v2rayN has it: gRPC's authority, and a `host` that nothing carries.
fn host_beside(carrier: &ClientCarrier, params: &mut Params) -> Option<Host> {
    let text = match carrier {
        ClientCarrier::Grpc(grpc) => grpc.authority.clone()?,
        ClientCarrier::Raw => params.text("host")?,
        _ => return None,
    };
    let first = text.split(',').next().unwrap_or_default();
    Host::parse(without_port(first.trim())).ok()
}

fn host(param: &Param, text: &str, said: &mut Said) -> Option<Host> {
    let host = Host::parse(text);
    let text = text.escape_debug();
    host.map_err(|e| said.error(&param.label, format_args!("found `{text}`: {e}")))
        .ok()
}

/// Reads `fm`, Xray's `finalmask` as JSON.
pub(super) fn mask(params: &mut Params, said: &mut Said) -> Option<Fragment> {
    let param = params.take("fm")?;
    let read = match serde_json::from_str(&param.text) {
        Ok(value) => v2ray::read_mask(&value),
        Err(_) => Err(vec!["it is no JSON".to_owned()]),
    };
    match read {
        Ok((fragment, without_effect)) => {
            for line in without_effect {
                said.left_out(&param.label, line);
            }
            fragment
        }
        Err(lines) => {
            lines.iter().for_each(|line| said.error(&param.label, line));
            None
        }
    }
}

/// Writes what seals the tunnel to `to`.
pub(super) fn write(
    transport: &transport::ClientSettings,
    to: &Destination,
    params: &mut Vec<(&'static str, String)>,
    said: &mut Said,
) {
    if let Some(fragment) = &transport.fragment {
        params.push(("fm", v2ray::write_mask(fragment).to_string()));
    }
    let Some(tls) = &transport.security else {
        params.push(("security", "none".to_owned()));
        return;
    };
    params.push(("security", "tls".to_owned()));
    if let Some(name) = server_name(transport, tls, to) {
        params.push(("sni", name));
    }
    if tls.alpn != default_alpn(&transport.carrier) {
        params.push(("alpn", tls.alpn.join(",")));
    }
    if tls.allow_insecure {
        // Either is read by some alone.
        for key in ["allowInsecure", "insecure"] {
            params.push((key, "1".to_owned()));
        }
    }
    if let Some(fingerprint) = &tls.fingerprint {
        params.push(("fp", fingerprint.clone()));
    }
    if !tls.certificate_pins.is_empty() {
        let pins: Vec<String> = tls.certificate_pins.iter().map(|pin| hex(pin)).collect();
        params.push(("pcs", pins.join(",")));
    }
    if !tls.verify_names.is_empty() {
        let names: Vec<String> = tls.verify_names.iter().map(bare).collect();
        params.push(("vcn", names.join(",")));
    }
    let others = [
        ("pinnedPeerCertificateChainSha256", !tls.pins.is_empty()),
        ("disableSystemRoot", tls.disable_system_root),
        (
            "certificates",
            !tls.authorities.0.is_empty() || tls.certificate.is_some(),
        ),
        ("minVersion", tls.versions != Versions::Both),
        ("earlyData", tls.early_data),
    ];
    for (key, is_there) in others {
        if is_there {
            said.left_out(&format!("streamSettings.tlsSettings.{key}"), super::NO_WORD);
        }
    }
}

/// The name to ask for. Where the link names another host, some clients would ask for that one.
pub(in crate::dialect) fn server_name(
    transport: &transport::ClientSettings,
    tls: &ClientSettings,
    to: &Destination,
) -> Option<String> {
    if let Some(name) = &tls.server_name {
        return Some(bare(name));
    }
    let has_host = match &transport.carrier {
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => ws.host.is_some(),
        ClientCarrier::Mws(mws) => mws.ws.host.is_some(),
        ClientCarrier::HttpUpgrade(upgrade) => upgrade.host.is_some(),
        ClientCarrier::H2(h2) => !h2.hosts.is_empty(),
        ClientCarrier::Grpc(grpc) => grpc.authority.is_some(),
        ClientCarrier::Raw | ClientCarrier::Unix(_) | ClientCarrier::HttpHeader(_) => false,
    };
    has_host.then(|| bare(&to.host))
}

/// What is offered where nothing is said.
pub(in crate::dialect) fn default_alpn(carrier: &ClientCarrier) -> Vec<String> {
    match is_upgrade(carrier) {
        true => vec!["http/1.1".to_owned()],
        false => ClientSettings::default().alpn,
    }
}

fn is_upgrade(carrier: &ClientCarrier) -> bool {
    matches!(
        carrier,
        ClientCarrier::Ws(_)
            | ClientCarrier::Mws(_)
            | ClientCarrier::Browser(_)
            | ClientCarrier::HttpUpgrade(_)
    )
}

/// Without the brackets of an IPv6 address.
pub(in crate::dialect) fn bare(host: &Host) -> String {
    match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const INSECURE: [&str; 4] = [
    "allowInsecure",
    "insecure",
    "allow_insecure",
    "skip-cert-verify",
];
