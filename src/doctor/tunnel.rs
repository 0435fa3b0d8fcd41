//! The tunnel: whether it is opened, whether its server knows us, and what comes through it.

use std::borrow::Cow;
use std::io;

use http::Uri;
use tokio::time::timeout;

use super::carried::{Carried, PATIENCE, carry, knock};
use super::client::{EARLY, OTHER, PLAIN, Way, taken_for};
use super::page::Page;
use super::{Outcome, Walk};
use crate::address::{Destination, Host};
use crate::cause::{AnswerError, DialError, Fault, UpgradeError, code_of};
use crate::io::{Closing, Link};
use crate::protocol::OutboundSettings;
use crate::transport::ClientCarrier;

/// What becomes of another carrier than the one that is refused.
enum Other {
    /// The server takes the first, and is asked for the second.
    Carries(&'static str, &'static str),
    /// Its request is granted, and nothing goes by it.
    IsGranted,
}

impl Way {
    /// `Some(None)` where all is well, and with what was found out on the way where a carrier cannot be tried alone.
    pub(super) async fn upgrades(
        &self,
        link: Link,
        walk: &mut Walk<'_>,
    ) -> Option<Option<Carried>> {
        let transport = &self.plain.transport;
        let Some(upgraded) = transport
            .upgrade(link, &self.server, &Closing::default())
            .await
        else {
            return self.streams(walk).await;
        };
        match upgraded {
            Ok(link) => {
                let path = match &self.transport().carrier {
                    ClientCarrier::Ws(ws) => &ws.path,
                    ClientCarrier::Mws(mws) => &mws.ws.path,
                    ClientCarrier::HttpUpgrade(upgrade) => &upgrade.path,
                    _ => "",
                };
                walk.well("upgrade", format_args!("101 at {path}{}", self.time()));
                crate::io::spawn(link.close());
                Some(None)
            }
            Err(e) => {
                match self.by_another_carrier().await {
                    Some(Other::Carries(is, asked)) => walk.fault(
                        "upgrade",
                        Fault::OtherCarrier,
                        format_args!(
                            "{e}; the server takes `{is}` at this path, and is asked for `{asked}`"
                        ),
                    ),
                    Some(Other::IsGranted) => walk.broken(
                        "upgrade",
                        code_of(&e).unwrap_or(Cow::Borrowed("ws-broken")),
                        format_args!(
                            "{e}; the same request with the key of a WebSocket is granted, so it is not the path"
                        ),
                        Some(
                            "what stands in front passes no upgrade but WebSocket's own, as HAProxy does: \
                             use `network: ws` at both ends, or HAProxy's `mode tcp`"
                                .to_owned(),
                        ),
                    ),
                    None => self.refused(&e, "upgrade", walk).await,
                }
                None
            }
        }
    }

    /// What becomes of the other carrier where ours is refused.
    async fn by_another_carrier(&self) -> Option<Other> {
        let (is, asked) = self.other_carrier()?;
        let other = self.dispatcher.outbounds.get(OTHER)?;
        let link = self.once_more().await?;
        let closing = Closing::default();
        let upgrading = other.transport.upgrade(link, &self.server, &closing);
        let link = timeout(PATIENCE, upgrading).await.ok()??.ok()?;
        crate::io::spawn(link.close());
        // Who takes httpupgrade grants a WebSocket's request as well.
        let may_be_both = is == "ws";
        let is_other = !may_be_both || carry(&self.dispatcher, OTHER, &self.url).await.is_known();
        Some(match is_other {
            true => Other::Carries(is, asked),
            false => Other::IsGranted,
        })
    }

    /// What the carrier may have been taken for, and the carrier.
    fn other_carrier(&self) -> Option<(&'static str, &'static str)> {
        Some(match taken_for(&self.transport().carrier)? {
            ClientCarrier::HttpUpgrade(_) => ("httpupgrade", "ws"),
            _ => ("ws", "httpupgrade"),
        })
    }

    /// Carriers over HTTP/2 are answered when the tunnel is.
    pub(super) async fn streams(&self, walk: &mut Walk<'_>) -> Option<Option<Carried>> {
        let carrier = match &self.transport().carrier {
            ClientCarrier::Grpc(_) => "gRPC",
            ClientCarrier::H2(_) => "HTTP/2",
            _ => {
                walk.skip("upgrade", "plain TCP has none");
                return Some(None);
            }
        };
        let carried = carry(&self.dispatcher, PLAIN, &self.url).await;
        match carried.on_the_way() {
            Some(e) => {
                let code = code_of(e).unwrap_or(Cow::Borrowed("h2-reset"));
                walk.broken("upgrade", code, e, None);
                None
            }
            None if carried.is_known() => {
                walk.well("upgrade", format_args!("a stream of {carrier} is open"));
                Some(Some(carried))
            }
            None => {
                walk.skip(
                    "upgrade",
                    format_args!("nothing was said to a stream of {carrier}"),
                );
                Some(Some(carried))
            }
        }
    }

    /// Tells why the carrier opened no tunnel, with what a browser sees.
    pub(super) async fn refused(&self, error: &io::Error, step: &'static str, walk: &mut Walk<'_>) {
        let code = code_of(error).unwrap_or(Cow::Borrowed("ws-broken"));
        let page = self.page().await;
        let mut cure = None;
        if page.as_ref().is_some_and(Page::wants_tls) {
            cure = Some(
                "this is a port of HTTPS: set `security` to `tls` in `streamSettings`".to_owned(),
            );
        }
        if let Some(DialError::Upgrade(UpgradeError::Refused(refused))) = DialError::of(error)
            && let Some(to) = refused.location.as_deref()
        {
            cure = Some(if self.leads_elsewhere(to) {
                format!(
                    "{to} is another host: the network that this machine is in wants a login (open a page in a browser), or the \
                     server has moved: then set address, port and `path` to that"
                )
            } else if to.starts_with("https://") && !self.transport().has_tls() {
                "set `security` to `tls` in `streamSettings`, and `port` to that of HTTPS (443)"
                    .to_owned()
            } else {
                format!("the server says that it is at {to}: set address, port and `path` to that")
            });
        }
        if let Some(words) = page.as_ref().and_then(Page::cure) {
            cure = Some(words.to_owned());
        }
        let page = page.map(|page| format!("; {page}")).unwrap_or_default();
        walk.broken(
            step,
            code,
            format_args!("{error}{page}{}", self.time()),
            cure,
        );
    }

    /// Whether a redirect leads to another host than was asked, whatever stands in front of both (`www.`).
    fn leads_elsewhere(&self, to: &str) -> bool {
        let bare = |host: &str| {
            let host = host.to_ascii_lowercase();
            host.strip_prefix("www.").unwrap_or(&host).to_owned()
        };
        let Ok(to) = to.parse::<Uri>() else {
            return false;
        };
        let carrier = match &self.transport().carrier {
            ClientCarrier::Ws(ws) => ws.host.clone(),
            ClientCarrier::HttpUpgrade(upgrade) => upgrade.host.clone(),
            _ => None,
        };
        let asked = [carrier, Some(self.host())].into_iter().flatten();
        let asked = asked.filter_map(|host| host.to_str().ok()?.parse::<Uri>().ok());
        let asked: Vec<String> = asked.filter_map(|uri| uri.host().map(bare)).collect();
        to.host().map(bare).is_some_and(|to| !asked.contains(&to))
    }

    /// By how many seconds the clock there is ahead, as far as it is known.
    fn ahead(&self) -> Option<i64> {
        let of_tunnel = self.plain.transport.clock();
        let ahead = of_tunnel.and_then(|clock| clock.ahead());
        ahead.or_else(|| self.clock.ahead())
    }

    /// What the other clock says.
    pub(super) fn time(&self) -> String {
        match self.ahead() {
            None => String::new(),
            Some(-3..=3) => "; its clock agrees with ours".to_owned(),
            Some(ahead @ 0..) => format!("; its clock is {ahead} s ahead of ours"),
            Some(ahead) => format!("; its clock is {} s behind ours", -ahead),
        }
    }

    /// Whether what travels with the upgrade arrives. Gives what is known of the way without it by then.
    pub(super) async fn sends_early(
        &self,
        first: Option<Carried>,
        walk: &mut Walk<'_>,
    ) -> Option<Carried> {
        if !has_early_data(&self.transport().carrier) {
            walk.skip("early_data", "not asked for");
            return first;
        }
        let early = carry(&self.dispatcher, EARLY, &self.url).await;
        if early.is_known() {
            walk.well(
                "early_data",
                "the first bytes travel with the upgrade, and arrive",
            );
            return first;
        }
        if let Some(e) = early.on_the_way() {
            self.refused(e, "early_data", walk).await;
            return first;
        }
        let plain = match first {
            Some(first) => first,
            None => carry(&self.dispatcher, PLAIN, &self.url).await,
        };
        match plain.is_known() {
            true => walk.fault(
                "early_data",
                Fault::EarlyDataLost,
                "the upgrade is granted, and what travelled with it never arrives",
            ),
            false => walk.skip("early_data", "cannot be told before the server knows us"),
        }
        Some(plain)
    }

    /// Whether the server takes us for one of its users.
    pub(super) async fn is_known(
        &self,
        first: Option<Carried>,
        walk: &mut Walk<'_>,
    ) -> Option<Carried> {
        let carried = match first {
            Some(carried) => carried,
            None => carry(&self.dispatcher, PLAIN, &self.url).await,
        };
        let who = who(&self.settings.protocol);
        if carried.is_known() {
            // A server of Trojan or VLESS leads strangers to a web site, which is at a loss with what they say.
            let may_be_fallback = matches!(
                &self.settings.protocol,
                OutboundSettings::Trojan(_) | OutboundSettings::Vless(_)
            );
            let is_fallback = match &carried {
                Carried::Answered { status: 400, .. } => !self.url.is_https(),
                Carried::Talks(..) => self.url.is_https(),
                _ => false,
            };
            if may_be_fallback && is_fallback && self.answers_for_nobody().await {
                let found = format!("what answers is a web server: {who}");
                walk.fault("auth", Fault::FallbackAnswers, found);
                return None;
            }
            walk.well("auth", format_args!("the server knows us{}", self.time()));
            return Some(carried);
        }
        if let Carried::Failed(e) = &carried
            && let Some(AnswerError::Clock { .. }) = AnswerError::of(e)
        {
            walk.broken("auth", "clock-skew".into(), e, None);
            return None;
        }
        if let Some(e) = carried.on_the_way() {
            self.refused(e, "auth", walk).await;
            return None;
        }
        if let Carried::Failed(e) = &carried
            && AnswerError::of(e).is_none()
        {
            let (code, cure) = by_words(e);
            walk.broken("auth", code.into(), e, cure);
            return None;
        }
        // Is it the account, or the target? What the server itself listens on, it can reach.
        let other = knock(&self.dispatcher, PLAIN, &self.server).await;
        if other.is_known() {
            let found = format!(
                "the server knows us: it has carried a request to {}{}",
                self.server,
                self.time()
            );
            walk.well("auth", found);
            return Some(carried);
        }
        // Who takes httpupgrade grants a WebSocket's request as well, and finds no tunnel in its frames.
        if let Some((is, asked)) = self.other_carrier()
            && carry(&self.dispatcher, OTHER, &self.url).await.is_known()
        {
            let found = format!("the server takes `{is}` at this path, and is asked for `{asked}`");
            walk.fault("auth", Fault::OtherCarrier, found);
            return None;
        }
        let code = match &carried {
            Carried::Silent => "silent",
            _ => "no-answer",
        };
        let is_grpc = matches!(self.transport().carrier, ClientCarrier::Grpc(_));
        let who = match &carried {
            // Nothing says that the request has got as far as the server.
            Carried::Silent if is_grpc => format!(
                "{who}; an nginx in front needs `grpc_pass` at this place, for `proxy_pass` speaks HTTP/1.1"
            ),
            _ => who.to_owned(),
        };
        let how = match &carried {
            Carried::Failed(e) => e.to_string(),
            Carried::Silent if is_grpc => "nothing comes back on a stream of gRPC".to_owned(),
            Carried::Silent => "the server takes the tunnel and says nothing".to_owned(),
            _ => "the server takes the tunnel and closes it without an answer".to_owned(),
        };
        // A tunnel's answer need not have a date, that of a page has.
        let page = self.page().await;
        // What calls itself something else has a clock of its own, which tells nothing of a server behind it.
        let front = page.and_then(|page| page.server);
        let ahead = self.ahead();
        let looks_at_clocks = matches!(
            &self.settings.protocol,
            OutboundSettings::Vmess(_) | OutboundSettings::Shadowsocks(_)
        );
        let (code, found, cure) = match ahead {
            Some(ahead) if ahead.unsigned_abs() <= 30 && looks_at_clocks && front.is_some() => (
                code,
                format!(
                    "{how}; the clock of `{}` in front agrees with ours, that of the server behind it may not",
                    front.unwrap_or_default()
                ),
                format!("{who}, and `date -u` on the server if it is another machine"),
            ),
            // As far as VMess allows, and what a web server in front adds.
            Some(ahead) if ahead.unsigned_abs() <= 30 => (
                code,
                format!("{how}; its clock agrees with ours, so it is not the clock"),
                format!(
                    "{who} (a server that has no way to any target looks the same: its log says which it is)"
                ),
            ),
            Some(ahead) => (
                if looks_at_clocks { "clock-skew" } else { code },
                format!("{how}{}", self.time()),
                format!(
                    "set the clock of this machine or of the server, they are {} s apart; else: {who}",
                    ahead.abs()
                ),
            ),
            None => (
                code,
                format!("{how}; this carrier tells no time"),
                format!("{who}; compare `date -u` on both machines, and look at the server's log"),
            ),
        };
        walk.broken("auth", code.into(), found, Some(cure));
        None
    }

    /// Whether an answer comes from a host that there is not: then it is no target that answers. A target may have the
    /// same words as a web server that is at a loss, above all where it is one that asks for an upgrade.
    async fn answers_for_nobody(&self) -> bool {
        let nobody = Destination::new(Host::Domain("nobody.invalid".to_owned()), 80);
        let heard = knock(&self.dispatcher, PLAIN, &nobody).await;
        matches!(heard, Carried::Answered { .. } | Carried::Talks(..))
    }

    /// What has become of the request.
    pub(super) fn asks(&self, carried: &Carried, walk: &mut Walk<'_>) -> bool {
        let url = &self.url;
        match carried {
            Carried::Answered { status, took } => {
                let ms = took.as_millis();
                walk.well(
                    "request",
                    format_args!("{url} answers {status}, {ms} ms after dialling"),
                );
                return true;
            }
            Carried::Talks(fault, text) => walk.fault("request", *fault, text),
            Carried::Failed(e) => {
                // Whom the server knows is not who is to blame.
                let code = code_of(e).filter(|code| code != "no-answer");
                let code = code.unwrap_or(Cow::Borrowed("no-answer-target"));
                walk.broken("request", code, format_args!("{url}: {e}"), None);
            }
            Carried::Ended => walk.broken(
                "request",
                "no-answer-target".into(),
                format_args!("{url}: it ended without an answer"),
                None,
            ),
            Carried::Silent => walk.broken(
                "request",
                "no-answer-target".into(),
                format_args!("{url}: nothing came"),
                None,
            ),
        }
        false
    }
}

fn has_early_data(carrier: &ClientCarrier) -> bool {
    match carrier {
        ClientCarrier::Ws(ws) => ws.early_data.is_some(),
        ClientCarrier::Mws(mws) => mws.ws.early_data.is_some(),
        ClientCarrier::HttpUpgrade(upgrade) => upgrade.early_data.is_some(),
        _ => false,
    }
}

/// What a server knows us by.
fn who(protocol: &OutboundSettings) -> &'static str {
    match protocol {
        OutboundSettings::Vmess(_) | OutboundSettings::Vless(_) => {
            "compare `id` of both ends, and `protocol`"
        }
        OutboundSettings::Trojan(_) => "compare `password` of both ends, and `protocol`",
        OutboundSettings::Shadowsocks(_) => "compare `method` and `password` of both ends",
        _ => "compare user and password of both ends",
    }
}

/// What a server's words of an older protocol mean.
fn by_words(error: &io::Error) -> (&'static str, Option<String>) {
    let text = error.to_string();
    let is_about_who = ["credentials", "password", "authentication"]
        .iter()
        .any(|word| text.contains(word));
    if is_about_who {
        return (Fault::ProxyAuth.code(), None);
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ("no-answer", None);
    }
    if text.contains("SOCKS server says") || text.contains("the proxy") {
        return ("not-carried", None);
    }
    (Fault::OtherServer.code(), None)
}

/// Whether a finding is the account's.
pub(super) fn is_account(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Broken { code, .. } if matches!(&**code, "silent" | "no-answer" | "other-server" | "fallback-answers"))
}
