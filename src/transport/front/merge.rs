//! What stands in front of several inbounds, out of the settings of each.

use crate::transport::{ServerCarrier, ServerSettings, http2};

/// The settings of what stands in front of all, with those of the first where all have to agree; and their carriers.
pub(in crate::transport) fn merge(
    mut first: ServerSettings,
    others: Vec<ServerSettings>,
) -> (ServerSettings, Vec<ServerCarrier>) {
    let mut all: Vec<ServerSettings> = others;
    let site = first.site.clone();
    let site = site.or_else(|| all.iter().find_map(|one| one.site.clone()));
    first.site = site.clone();
    let mut carriers = vec![first.carrier.clone()];
    let mut alpn = first.alpn().unwrap_or_default();
    for one in &mut all {
        one.site = site.clone();
        for name in one.alpn().unwrap_or_default() {
            if !alpn.contains(&name) {
                alpn.push(name);
            }
        }
        carriers.push(one.carrier.clone());
        let (Some(tls), Some(more)) = (&mut first.security, one.security.take()) else {
            continue;
        };
        for pair in more.certificates {
            if !tls.certificates.contains(&pair) {
                tls.certificates.push(pair);
            }
        }
        for issuer in more.issuers {
            if !tls.issuers.contains(&issuer) {
                tls.issuers.push(issuer);
            }
        }
        for acme in more.acme {
            if !tls.acme.contains(&acme) {
                tls.acme.push(acme);
            }
        }
        tls.self_signed = tls.self_signed.take().or(more.self_signed);
    }
    // Clients of HTTP/2 that offer both mean it. Those of WebSockets that do go on in HTTP/1.1, which is seen.
    alpn.sort_by_key(|name| name != http2::ALPN);
    if let Some(tls) = &mut first.security {
        tls.alpn = alpn;
    }
    (first, carriers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{grpc, site, tls, ws};

    #[test]
    fn a_port_speaks_what_all_of_its_inbounds_need() {
        let one = |carrier: ServerCarrier| ServerSettings {
            security: Some(tls::ServerSettings {
                alpn: vec!["http/1.1".to_owned()],
                ..tls::ServerSettings::default()
            }),
            carrier,
            ..ServerSettings::default()
        };
        let ws = || one(ServerCarrier::Ws(ws::ServerSettings::default()));
        let grpc = one(ServerCarrier::Grpc(grpc::ServerSettings::default()));
        let (merged, carriers) = merge(ws(), vec![grpc]);
        assert_eq!(carriers.len(), 2);
        assert_eq!(merged.security.unwrap().alpn, ["h2", "http/1.1"]);

        let (merged, _) = merge(ws(), vec![ws()]);
        assert_eq!(merged.security.unwrap().alpn, ["http/1.1"]);

        // Whichever of them names the site, it is on the port.
        let site = Some(site::Settings::Folder("/".into()));
        let beside = ServerSettings {
            site: site.clone(),
            ..ws()
        };
        assert_eq!(merge(ws(), vec![beside]).0.site, site);
    }
}
