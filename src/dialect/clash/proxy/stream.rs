//! `network` and `tls`: what carries a proxy's tunnel, and what seals it.

use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::dialect::clients::nodes::{self, NO_ECH, NO_REALITY, header, headers};
use crate::dialect::links::asked_host;
use crate::dialect::tree::keys::Keys;
use crate::dialect::v2ray::tls::hash_of_hex;
use crate::dialect::v2ray::upgrade::{client_path, path_of_url};
use crate::http::request::{whole_path, with_slash};
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::http_header::{Header, Request, Settings as HttpHeader};
use crate::transport::httpupgrade::EarlyData as UpgradeEarlyData;
use crate::transport::tls::ClientSettings as Tls;
use crate::transport::{ClientCarrier, ClientSettings, grpc, h2, httpupgrade, ws};

/// Reads both; `name` is the key of the name that TLS asks for.
pub(super) fn read(keys: &Keys, has_tls: bool, name: &'static str) -> Option<ClientSettings> {
    let carrier = carrier(keys)?;
    let security = tls(keys, has_tls, name, &carrier);
    Some(ClientSettings {
        security,
        carrier,
        ..ClientSettings::default()
    })
}

fn carrier(keys: &Keys) -> Option<ClientCarrier> {
    let network = keys.word("network").unwrap_or_else(|| "tcp".to_owned());
    Some(match &*network {
        "tcp" | "raw" | "none" => ClientCarrier::Raw,
        "ws" => websocket(keys),
        "http" => http(keys),
        "grpc" => {
            let map = keys.map("grpc-opts");
            let service = map.as_ref().and_then(|map| map.text("grpc-service-name"));
            let agent = map.as_ref().and_then(|map| map.text("grpc-user-agent"));
            let agent = agent.map(str::parse);
            if let (Some(Err(_)), Some(map)) = (&agent, &map) {
                map.error("grpc-user-agent", "this cannot stand in a header");
            }
            if let Some(map) = map {
                map.no_word(
                    &[
                        "ping-interval",
                        "max-connections",
                        "min-streams",
                        "max-streams",
                    ],
                    "it is not carried over",
                );
                map.finish();
            }
            let service = service.filter(|name| !name.is_empty());
            let service = service.unwrap_or("GunService");
            // It is asked for as it stands, and the whole path with a slash in front.
            let path = match service.starts_with('/') {
                true => service.to_owned(),
                false => format!("/{service}/Tun"),
            };
            let Some(paths) = grpc::Paths::of_path(&path) else {
                let text = format!(
                    "this asks for `{}`, for which there is no `serviceName`",
                    path.escape_debug()
                );
                keys.error("grpc-opts", text);
                return None;
            };
            ClientCarrier::Grpc(grpc::ClientSettings {
                paths,
                user_agent: agent.and_then(Result::ok),
                ..grpc::ClientSettings::default()
            })
        }
        "h2" => {
            let Some(map) = keys.map("h2-opts") else {
                return Some(ClientCarrier::H2(h2::ClientSettings::default()));
            };
            let hosts = map.list("host");
            if hosts
                .iter()
                .any(|(_, host)| host.parse::<http::uri::Authority>().is_err())
            {
                map.error(
                    "host",
                    "there is one among them that is no name of a server",
                );
            }
            let hosts = hosts.into_iter().map(|(_, host)| host.to_owned()).collect();
            let path = whole_path(map.text("path").unwrap_or_default().to_owned());
            map.finish();
            ClientCarrier::H2(h2::ClientSettings {
                hosts,
                path,
                ..h2::ClientSettings::default()
            })
        }
        other => {
            let text = format!(
                "`{}` is not built, expected `tcp`, `ws`, `http`, `h2` or `grpc`",
                other.escape_debug()
            );
            keys.error("network", text);
            return None;
        }
    })
}

/// `ws-opts`, which may mean `httpupgrade`.
fn websocket(keys: &Keys) -> ClientCarrier {
    let Some(map) = keys.map("ws-opts") else {
        // Clash's older words.
        let old = keys.text("ws-path").unwrap_or_default().to_owned();
        let host = keys.map("ws-headers").and_then(|map| {
            let host = map.text("Host")?.parse();
            host.map_err(|_| map.error("Host", "this cannot stand in a header"))
                .ok()
        });
        let (path, ed) = client_path(old);
        return ClientCarrier::Ws(ws::ClientSettings {
            path,
            host,
            early_data: ed.map(crate::dialect::v2ray::ws::early_data_of_ed),
            ..ws::ClientSettings::default()
        });
    };
    let (path, ed) = client_path(map.text("path").unwrap_or_default().to_owned());
    let (host, headers) = headers(&map);
    let max = map.number("max-early-data").filter(|max| *max > 0);
    let name = header(&map, "early-data-header-name");
    let is_upgrade = map.switch("v2ray-http-upgrade");
    let is_fast = map.switch("v2ray-http-upgrade-fast-open");
    if is_upgrade && max.is_some() {
        map.left_out(
            "max-early-data",
            "an upgrade has no early data in a header there",
        );
    }
    map.finish();
    if is_upgrade {
        return ClientCarrier::HttpUpgrade(httpupgrade::ClientSettings {
            path: path_of_url(&path),
            host,
            headers,
            early_data: (is_fast || ed.is_some()).then_some(UpgradeEarlyData::Ahead),
        });
    }
    let carried_in = match (name, ed) {
        (Some(name), _) => EarlyDataIn::Header(name),
        (None, Some(_)) => EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL),
        (None, None) => EarlyDataIn::Path,
    };
    let early_data = max.or(ed).map(|max| EarlyData { carried_in, max });
    ClientCarrier::Ws(ws::ClientSettings {
        path,
        host,
        headers,
        early_data,
        ..ws::ClientSettings::default()
    })
}

/// `http-opts`: the head of a request in front of the connection itself.
fn http(keys: &Keys) -> ClientCarrier {
    let mut request = Request::default();
    if let Some(map) = keys.map("http-opts") {
        if let Some(method) = map.text("method") {
            request.method = method.to_owned();
        }
        let paths = map.list("path");
        if !paths.is_empty() {
            request.paths = paths
                .into_iter()
                .map(|(_, path)| with_slash(path.to_owned()))
                .collect();
        }
        if let Some(node) = map.get("headers") {
            for (name, values) in node.entries() {
                let values: Vec<String> = values
                    .items()
                    .iter()
                    .filter_map(|value| value.as_text().map(str::to_owned))
                    .collect();
                request
                    .headers
                    .retain(|header| !header.name.eq_ignore_ascii_case(name));
                request.headers.push(Header {
                    name: name.clone(),
                    values,
                });
            }
            // As those of a config are.
            request.headers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let names = request.headers.iter().map(|header| &header.name);
        let values = request.headers.iter().flat_map(|header| &header.values);
        let mut all = request
            .paths
            .iter()
            .chain(names)
            .chain(values)
            .chain([&request.method]);
        if all.any(|text| text.contains(['\r', '\n', '\0'])) {
            map.error(
                "headers",
                "there is a line break in it, or in `path` or `method`",
            );
        }
        map.finish();
    }
    ClientCarrier::HttpHeader(HttpHeader {
        request,
        ..HttpHeader::default()
    })
}

/// What seals the tunnel, if anything does.
pub(super) fn tls(
    keys: &Keys,
    has_tls: bool,
    name: &'static str,
    carrier: &ClientCarrier,
) -> Option<Tls> {
    let words = [
        name,
        "skip-cert-verify",
        "fingerprint",
        "alpn",
        "reality-opts",
        "ech-opts",
    ];
    if !has_tls {
        // What forms leave in their fields.
        keys.silent(&words);
        return None;
    }
    let mut settings = nodes::tls(carrier, keys);
    settings.allow_insecure = keys.switch("skip-cert-verify");
    let asked = keys.text(name);
    settings.server_name = match asked {
        Some(text) => nodes::host_of(keys, name, text),
        // mihomo asks for the name in the request.
        None if name == "servername" => asked_host(carrier),
        None => None,
    };
    let imitated = keys.word("client-fingerprint");
    settings.fingerprint = imitated.filter(|name| name != "none");
    if let Some(text) = keys.text("fingerprint") {
        match hash_of_hex(text) {
            Some(pin) => settings.certificate_pins.push(pin),
            None => keys.error(
                "fingerprint",
                "this is not a SHA-256 hash of a certificate, expected 64 hex digits",
            ),
        }
    }
    keys.refuse(&["reality-opts"], NO_REALITY);
    keys.refuse(&["ech-opts"], NO_ECH);
    keys.refuse(
        &["certificate", "private-key"],
        "certificates of clients are not carried over, and the server asks for one",
    );
    Some(settings)
}
