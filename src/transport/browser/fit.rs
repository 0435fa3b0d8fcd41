//! What settings ask for that a browser does not do.
//!
//! What would lead elsewhere, or be checked less, than the settings say is an error. What is only left out, with nobody
//! the wiser, is told.

use http::header::SEC_WEBSOCKET_PROTOCOL;

use super::Naming;
use super::outbound::{host_named, is_named};
use crate::address::{Destination, Host};
use crate::dns::Strategy;
use crate::http::EarlyDataIn;
use crate::transport::tls::{self, Versions};
use crate::transport::ws::{self, HEARTBEAT};
use crate::transport::{ClientSettings, tcp};

/// One thing that a browser does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Where it stands, from the outbound on.
    pub at: &'static [&'static str],
    /// What is found, and what helps.
    pub text: String,
    /// Whether the outbound must not run like this.
    pub is_error: bool,
}

/// What of `settings` a browser does not do; `ws` are those of its carrier, and `servers` are known to be dialled.
pub fn objections(
    settings: &ClientSettings,
    ws: &ws::ClientSettings,
    naming: Naming,
    servers: &[&Destination],
) -> Vec<Objection> {
    let mut found = Found(Vec::new());
    found.of_ws(ws);
    found.of_sockopt(&settings.sockopt);
    if let Some(tls) = &settings.security {
        found.of_tls(tls);
    }
    let sni = settings.security.as_ref().and_then(|tls| {
        let name = tls.server_name.as_ref()?;
        Some(name.to_string())
    });
    for server in servers {
        found.of_names(
            naming,
            server,
            host_named(ws),
            sni.as_deref(),
            settings.has_tls(),
        );
    }
    found.0
}

struct Found(Vec<Objection>);

const WS: &[&str] = &["streamSettings", "wsSettings"];
const HEADERS: &[&str] = &["streamSettings", "wsSettings", "headers"];
const EARLY: &[&str] = &["streamSettings", "wsSettings", "earlyDataHeaderName"];
const HEARTBEATS: &[&str] = &["streamSettings", "wsSettings", "heartbeatPeriod"];
const TLS: &[&str] = &["streamSettings", "tlsSettings"];
const SOCKOPT: &[&str] = &["streamSettings", "sockopt"];

impl Found {
    fn add(&mut self, is_error: bool, at: &'static [&'static str], text: String) {
        let objection = Objection { at, text, is_error };
        if !self.0.contains(&objection) {
            self.0.push(objection);
        }
    }

    fn error(&mut self, at: &'static [&'static str], text: impl Into<String>) {
        self.add(true, at, text.into());
    }

    fn warn(&mut self, at: &'static [&'static str], text: impl Into<String>) {
        self.add(false, at, text.into());
    }

    fn of_ws(&mut self, ws: &ws::ClientSettings) {
        if let Some(early) = &ws.early_data
            && let EarlyDataIn::Header(name) = &early.carried_in
            && *name != SEC_WEBSOCKET_PROTOCOL
        {
            self.error(EARLY, format!(
                "a browser sends no `{name}` for a page, expected `Sec-WebSocket-Protocol` on both ends, or `maxEarlyData: 0`"
            ));
        }
        if !ws.headers.is_empty() {
            let names: Vec<String> = ws.headers.keys().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            self.warn(
                HEADERS,
                format!("a browser sends headers of its own, {names} of these settings left out"),
            );
        }
        if ws.heartbeat != Some(HEARTBEAT) {
            self.warn(HEARTBEATS, "a page cannot send pings, it has no effect");
        }
    }

    fn of_tls(&mut self, tls: &tls::ClientSettings) {
        let unchecked = [
            (!tls.pins.is_empty(), "pinnedPeerCertificateChainSha256"),
            (!tls.certificate_pins.is_empty(), "pinnedPeerCertSha256"),
            (!tls.verify_names.is_empty(), "verifyPeerCertByName"),
            (tls.disable_system_root, "disableSystemRoot"),
        ];
        for (_, key) in unchecked.iter().filter(|(is_set, _)| *is_set) {
            self.error(TLS, format!(
                "a browser checks certificates in its own way and does not know `{key}`: take it out, or dial without the browser"
            ));
        }
        if tls.certificate.is_some() {
            self.error(
                TLS,
                "a browser shows no certificate of ours: put it into the browser's own store and take it out here, or dial without the browser",
            );
        }
        if tls.versions != Versions::Both {
            self.error(
                TLS,
                "a browser chooses the version of TLS itself: take `minVersion` and `maxVersion` out, or dial without the browser",
            );
        }
        if tls.allow_insecure {
            self.warn(
                TLS,
                "a browser takes no certificate that it does not trust, `allowInsecure` has no effect",
            );
        }
        if !tls.authorities.0.is_empty() {
            self.warn(
                TLS,
                "a browser has a list of authorities of its own, those of `certificates` must stand in it",
            );
        }
    }

    fn of_sockopt(&mut self, sockopt: &tcp::SockOpt) {
        let usual = tcp::SockOpt::default();
        let lead_elsewhere = [
            (sockopt.mark.is_some(), "mark"),
            (sockopt.device.is_some(), "bindToDevice"),
            (sockopt.strategy != Strategy::AsIs, "domainStrategy"),
        ];
        for (_, key) in lead_elsewhere.iter().filter(|(is_set, _)| *is_set) {
            self.error(SOCKOPT, format!(
                "a browser finds its own way and its own addresses, `{key}` cannot hold: take it out, or dial without the browser"
            ));
        }
        if sockopt.send_through.is_some() {
            self.error(
                &["sendThrough"],
                "a browser chooses its own address: take it out, or dial without the browser",
            );
        }
        let rest = tcp::SockOpt {
            mark: None,
            device: None,
            strategy: Strategy::AsIs,
            send_through: None,
            ..sockopt.clone()
        };
        if rest != usual {
            self.warn(
                SOCKOPT,
                "the sockets are the browser's, these options have no effect",
            );
        }
    }

    /// Where the browser goes, and whose certificate it wants to see there.
    fn of_names(
        &mut self,
        naming: Naming,
        server: &Destination,
        host: Option<&str>,
        sni: Option<&str>,
        tls: bool,
    ) {
        let sni_objection = |asked: &str, sni: &str| {
            format!(
                "a browser checks the certificate for the name that it connects to, `{asked}`, and not for `{sni}`: expected the same name in both places (its address can stand in the hosts file of the browser's machine)"
            )
        };
        let address = server.host.to_string();
        match naming {
            Naming::ByAddress => {
                if let Some(sni) = sni.filter(|sni| !is_named(server, sni)) {
                    self.error(
                        &["streamSettings", "tlsSettings", "serverName"],
                        sni_objection(&address, sni),
                    );
                }
                if let Some(host) = host.filter(|host| !is_named(server, host)) {
                    self.warn(WS, format!(
                        "a browser names the server as it dials it, the Host is `{address}` and not `{host}`: where that matters, set `address` to the name"
                    ));
                }
            }
            Naming::ByHost => {
                if let (true, Some(host), Some(sni)) = (tls, host, sni)
                    && !host.eq_ignore_ascii_case(sni)
                {
                    self.error(
                        &["streamSettings", "tlsSettings", "serverName"],
                        sni_objection(host, sni),
                    );
                }
                let asked = host.or(sni.filter(|_| tls));
                let Some(asked) = asked.filter(|asked| !is_named(server, asked)) else {
                    return;
                };
                let is_ip = matches!(Host::parse(asked), Ok(Host::Ip(_)));
                match tls && !is_ip {
                    // Whoever is there must show its certificate.
                    true => self.warn(WS, format!(
                        "the browser goes to `{asked}` as it finds it by itself, and not to `{address}` (as with Xray): where that matters, put the address into the hosts file of its machine"
                    )),
                    false => self.error(WS, format!(
                        "the browser would go to `{asked}` and not to `{address}`, where nothing but the address says who the server is: expected `{asked}` as `address`, or no Host"
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::EarlyData;
    use http::header::{HeaderName, HeaderValue};

    /// Marks an error by its `!`.
    fn said(
        change: impl Fn(&mut ClientSettings, &mut ws::ClientSettings),
        naming: Naming,
        server: &str,
    ) -> Vec<String> {
        let (mut settings, mut ws) = (ClientSettings::default(), ws::ClientSettings::default());
        change(&mut settings, &mut ws);
        let server = server.parse().unwrap();
        let objections = objections(&settings, &ws, naming, &[&server]);
        let line = |o: Objection| {
            let mark = if o.is_error { "!" } else { "" };
            format!("{mark}{}: {}", o.at.join("."), o.text)
        };
        objections.into_iter().map(line).collect()
    }

    fn only(lines: &[String], start: &str, holds: &str) {
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with(start) && lines[0].contains(holds),
            "{lines:?}"
        );
    }

    #[test]
    fn what_a_browser_would_send_itself_has_nothing_against_it() {
        let both = [Naming::ByAddress, Naming::ByHost];
        for naming in both {
            let early = |_: &mut ClientSettings, ws: &mut ws::ClientSettings| {
                ws.host = Some(HeaderValue::from_static("a.example"));
                ws.early_data = Some(EarlyData {
                    carried_in: EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL),
                    max: 2048,
                });
            };
            assert!(said(early, naming, "a.example:80").is_empty());
        }
    }

    #[test]
    fn a_header_of_ones_own_is_told_and_early_data_in_it_refused() {
        let x = HeaderName::from_static("x-early");
        let lines = said(
            |_, ws| drop(ws.headers.insert(x.clone(), HeaderValue::from_static("1"))),
            Naming::ByAddress,
            "a.example:80",
        );
        only(&lines, "streamSettings.wsSettings.headers: ", "`x-early`");
        let lines = said(
            |_, ws| {
                ws.early_data = Some(EarlyData {
                    carried_in: EarlyDataIn::Header(x.clone()),
                    max: 1,
                });
            },
            Naming::ByAddress,
            "a.example:80",
        );
        only(
            &lines,
            "!streamSettings.wsSettings.earlyDataHeaderName: ",
            "x-early",
        );
    }

    #[test]
    fn what_is_checked_less_or_leads_elsewhere_is_refused() {
        type Change = fn(&mut tls::ClientSettings);
        let changes: [(Change, &str); 5] = [
            (
                |tls| tls.pins = vec![[0; 32]],
                "pinnedPeerCertificateChainSha256",
            ),
            (
                |tls| tls.certificate_pins = vec![[0; 32]],
                "pinnedPeerCertSha256",
            ),
            (|tls| tls.disable_system_root = true, "disableSystemRoot"),
            (|tls| tls.versions = Versions::Only13, "minVersion"),
            (
                |tls| tls.verify_names = vec![Host::Domain("a".to_owned())],
                "verifyPeerCertByName",
            ),
        ];
        for (change, key) in changes {
            let with = |settings: &mut ClientSettings, _: &mut ws::ClientSettings| {
                let mut tls = tls::ClientSettings::default();
                change(&mut tls);
                settings.security = Some(tls);
            };
            only(
                &said(with, Naming::ByAddress, "a.example:443"),
                "!streamSettings.tlsSettings: ",
                key,
            );
        }
        let insecure = |settings: &mut ClientSettings, _: &mut ws::ClientSettings| {
            settings.security = Some(tls::ClientSettings {
                allow_insecure: true,
                ..Default::default()
            });
        };
        only(
            &said(insecure, Naming::ByAddress, "a.example:443"),
            "streamSettings.tlsSettings: ",
            "allowInsecure",
        );
        let mark = |settings: &mut ClientSettings, _: &mut ws::ClientSettings| {
            settings.sockopt.mark = Some(255);
        };
        only(
            &said(mark, Naming::ByAddress, "a.example:443"),
            "!streamSettings.sockopt: ",
            "mark",
        );
        let fast = |settings: &mut ClientSettings, _: &mut ws::ClientSettings| {
            settings.sockopt.mptcp = true;
        };
        only(
            &said(fast, Naming::ByAddress, "a.example:443"),
            "streamSettings.sockopt: ",
            "no effect",
        );
    }

    #[test]
    fn where_the_browser_goes_is_where_the_settings_lead() {
        fn with(
            tls: bool,
            sni: Option<&'static str>,
            host: Option<&'static str>,
        ) -> impl Fn(&mut ClientSettings, &mut ws::ClientSettings) {
            move |settings, ws| {
                settings.security = tls.then(|| tls::ClientSettings {
                    server_name: sni.map(|name| Host::parse(name).unwrap()),
                    ..Default::default()
                });
                ws.host = host.map(HeaderValue::from_static);
            }
        }
        let (v2ray, xray) = (Naming::ByAddress, Naming::ByHost);
        let name = "!streamSettings.tlsSettings.serverName: ";
        only(
            &said(with(true, Some("b.example"), None), v2ray, "a.example:443"),
            name,
            "b.example",
        );
        only(
            &said(with(true, Some("b.example"), None), v2ray, "192.0.2.1:443"),
            name,
            "192.0.2.1",
        );
        assert!(said(with(true, Some("A.example"), None), v2ray, "a.example:443").is_empty());
        let host = with(false, None, Some("b.example:8080"));
        only(
            &said(host, v2ray, "a.example:8080"),
            "streamSettings.wsSettings: ",
            "the Host is `a.example`",
        );

        let both = with(true, Some("b.example"), Some("c.example"));
        let lines = said(both, xray, "192.0.2.1:443");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with(name), "{lines:?}");
        let fronted = with(true, None, Some("b.example"));
        only(
            &said(fronted, xray, "192.0.2.1:443"),
            "streamSettings.wsSettings: ",
            "hosts file",
        );
        let plain = with(false, None, Some("b.example"));
        only(
            &said(plain, xray, "192.0.2.1:80"),
            "!streamSettings.wsSettings: ",
            "expected `b.example`",
        );
    }
}
