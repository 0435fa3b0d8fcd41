//! What carries a proxy's tunnel, and what seals it.

use serde_json::{Value, json};

use crate::address::Destination;
use crate::dialect::clients::lost;
use crate::dialect::links::said::Said;
use crate::dialect::links::server_name;
use crate::http::EarlyDataIn;
use crate::transport::http_header::{Request, Settings as HttpHeader};
use crate::transport::httpupgrade::EarlyData as UpgradeEarlyData;
use crate::transport::tls::Versions;
use crate::transport::{ClientCarrier, ClientSettings};

/// TLS, whose name stands under `key`.
pub(super) fn tls(
    transport: &ClientSettings,
    to: &Destination,
    key: &str,
    value: &mut Value,
    said: &mut Said,
) {
    let Some(tls) = &transport.security else {
        return;
    };
    if value["type"] != "trojan" {
        value["tls"] = true.into();
    }
    if let Some(name) = server_name(transport, tls, to) {
        value[key] = name.into();
    }
    if tls.allow_insecure {
        value["skip-cert-verify"] = true.into();
    }
    if transport.carrier.alpn().is_none() {
        value["alpn"] = tls.alpn.clone().into();
    }
    let pin = match &tls.certificate_pins[..] {
        [] => None,
        [one, rest @ ..] => {
            if !rest.is_empty() {
                said.left_out(
                    "streamSettings.tlsSettings.pinnedPeerCertSha256",
                    "there is a word for one certificate, the others are not believed",
                );
            }
            Some(one)
        }
    };
    if let Some(pin) = pin {
        let hex: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        value["fingerprint"] = hex.into();
    }
    if let Some(fingerprint) = &tls.fingerprint {
        value["client-fingerprint"] = fingerprint.as_str().into();
    }
    if !tls.authorities.0.is_empty() {
        said.left_out(
            "streamSettings.tlsSettings.certificates",
            "there is no word for authorities of one's own: what they have issued is not believed",
        );
    }
    if tls.versions != Versions::Both {
        said.left_out("streamSettings.tlsSettings.minVersion", lost::NO_WORD);
    }
    lost::tls(tls, "Clash", pin.is_some(), pin.is_some(), said);
}

pub(super) fn carrier(carrier: &ClientCarrier, kind: &str, value: &mut Value, said: &mut Said) {
    lost::carrier(carrier, "Clash", said);
    let only_some = "Trojan is carried by `tcp`, `ws` and `grpc` alone there";
    match carrier {
        ClientCarrier::Raw => {}
        ClientCarrier::Mws(_) | ClientCarrier::Unix(_) => {
            said.error("streamSettings.network", "Clash has no word for it");
        }
        ClientCarrier::HttpHeader(_) | ClientCarrier::H2(_) if kind == "trojan" => {
            said.error("streamSettings.network", only_some);
        }
        ClientCarrier::HttpHeader(header) => {
            value["network"] = "http".into();
            value["http-opts"] = head(header, said);
        }
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            let mut options = json!({"path": ws.path});
            if !ws.headers.is_empty() || ws.host.is_some() {
                options["headers"] = lost::headers(&ws.headers, ws.host.as_ref());
            } else if kind == "vless" && value["tls"] != true {
                // It makes a name up otherwise.
                options["headers"] = json!({"Host": value["server"]});
            }
            if let Some(early) = &ws.early_data {
                options["max-early-data"] = early.max.into();
                if let EarlyDataIn::Header(name) = &early.carried_in {
                    options["early-data-header-name"] = lost::spelled(name).into();
                }
            }
            value["network"] = "ws".into();
            value["ws-opts"] = options;
        }
        ClientCarrier::HttpUpgrade(upgrade) => {
            let mut options = json!({"path": upgrade.path_in_url(), "v2ray-http-upgrade": true});
            if !upgrade.headers.is_empty() || upgrade.host.is_some() {
                options["headers"] = lost::headers(&upgrade.headers, upgrade.host.as_ref());
            }
            match &upgrade.early_data {
                None => {}
                Some(UpgradeEarlyData::Ahead) => {
                    options["v2ray-http-upgrade-fast-open"] = true.into()
                }
                Some(UpgradeEarlyData::Header(_)) => said.left_out(
                    "streamSettings.httpupgradeSettings.maxEarlyData",
                    "there is no early data in a header there",
                ),
            }
            value["network"] = "ws".into();
            value["ws-opts"] = options;
        }
        ClientCarrier::Grpc(grpc) => {
            let others = [
                ("authority", grpc.authority.is_some()),
                ("idle_timeout", grpc.pings.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_there)| *is_there) {
                said.left_out(&format!("streamSettings.grpcSettings.{key}"), lost::NO_WORD);
            }
            value["network"] = "grpc".into();
            // What begins with a slash is the whole path there.
            let [path, _] = grpc.paths.all();
            let name = grpc.paths.plain_name().unwrap_or(path);
            value["grpc-opts"] = json!({"grpc-service-name": name});
        }
        ClientCarrier::H2(h2) => {
            let others = [
                ("method", h2.method != http::Method::PUT),
                ("headers", !h2.headers.is_empty()),
                ("read_idle_timeout", h2.pings.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_there)| *is_there) {
                said.left_out(&format!("streamSettings.httpSettings.{key}"), lost::NO_WORD);
            }
            let mut options = json!({"path": lost::without_query(&h2.path, "Clash", said)});
            if !h2.hosts.is_empty() {
                options["host"] = h2.hosts.clone().into();
            }
            value["network"] = "h2".into();
            value["h2-opts"] = options;
        }
    }
}

fn head(header: &HttpHeader, said: &mut Said) -> Value {
    let (request, default) = (&header.request, Request::default());
    if request.version != default.version || header.response != Default::default() {
        said.left_out(
            "streamSettings.tcpSettings.header",
            "there are words for method, path and headers of the request alone",
        );
    }
    let headers = request.headers.iter();
    let headers: serde_json::Map<String, Value> = headers
        .map(|header| (header.name.clone(), json!(header.values)))
        .collect();
    json!({"method": request.method, "path": request.paths, "headers": headers})
}
