//! The connection to the server, up to the tunnel: name, TCP, TLS; and what a browser would see there.

use std::borrow::Cow;

use http::header::HeaderValue;

use super::Walk;
use super::client::Way;
use super::page::{self, Page};
use crate::address::{Destination, Host};
use crate::cause::{DialError, Fault, TlsError, code_of};
use crate::http::request::host_of;
use crate::io::{Link, fragment};
use crate::transport::{ClientCarrier, tls};

impl Way {
    pub(super) async fn names(&self, walk: &mut Walk<'_>) -> bool {
        let server = &self.server;
        if let Some(through) = &self.settings.through {
            walk.skip("dns", format_args!("`{}` is on the way", through.tag));
            return true;
        }
        let Host::Domain(name) = &server.host else {
            walk.skip("dns", format_args!("{} is an address", server.host));
            return true;
        };
        match self.dispatcher.addresses_of(&self.plain, server).await {
            Ok(found) => {
                let mut ips: Vec<String> = found.iter().map(|at| at.ip().to_string()).collect();
                ips.dedup();
                walk.well("dns", format_args!("{name} is {}", ips.join(", ")));
                true
            }
            Err(e) => {
                let error = DialError::Name(e);
                walk.broken("dns", error.code(), &error, None);
                false
            }
        }
    }

    pub(super) async fn connects(&self, walk: &mut Walk<'_>) -> Option<Link> {
        match self
            .dispatcher
            .connection_to(&self.plain, &self.server)
            .await
        {
            Ok(link) => {
                let through = self.settings.through.as_ref();
                match (&link, through) {
                    (_, Some(through)) => {
                        walk.well("tcp", format_args!("connected by way of `{}`", through.tag));
                    }
                    (Link::Tcp(stream), None) => match stream.peer_addr() {
                        Ok(peer) => walk.well("tcp", format_args!("connected to {peer}")),
                        Err(_) => walk.well("tcp", "connected"),
                    },
                    _ => walk.well("tcp", format_args!("connected to {}", self.server)),
                }
                Some(self.in_pieces(link))
            }
            Err(e) => {
                let code = code_of(&e).unwrap_or(Cow::Borrowed("tcp-failed"));
                walk.broken("tcp", code, &e, None);
                None
            }
        }
    }

    pub(super) async fn seals(&self, link: Link, walk: &mut Walk<'_>) -> Option<Link> {
        let Some(settings) = self.transport().tls() else {
            walk.skip("tls", "`security` is none");
            return Some(link);
        };
        let outbound = match tls::Outbound::new(&settings) {
            Ok(outbound) => outbound,
            Err(e) => {
                walk.fault("tls", Fault::CertificateUnreadable, e);
                return None;
            }
        };
        match outbound.examine(link, &self.server).await {
            Ok((link, seen)) => {
                let wanted = self.transport().carrier.alpn();
                let agreed = seen.alpn.as_deref();
                let words = [
                    Some(seen.version.to_owned()),
                    seen.leaf
                        .as_ref()
                        .map(|leaf| format!("the certificate is {leaf}")),
                    agreed.map(|name| format!("ALPN {name}")),
                    settings
                        .allow_insecure
                        .then(|| "`allowInsecure`: nobody has checked it".to_owned()),
                ];
                let found: Vec<String> = words.into_iter().flatten().collect();
                let found = found.join("; ");
                // A server without ALPN speaks what it speaks.
                if let (Some(wanted), Some(agreed)) = (wanted, agreed)
                    && wanted != agreed
                {
                    walk.fault(
                        "tls",
                        Fault::Alpn,
                        format_args!("{found}; expected {wanted}"),
                    );
                    return None;
                }
                walk.well("tls", found);
                Some(link)
            }
            Err(error) => {
                let shown = self.certificate_anyway(&settings).await;
                let shown = shown
                    .map(|leaf| format!("; it is {leaf}"))
                    .unwrap_or_default();
                let is_alpn = matches!(&error, TlsError::Alert { alert, .. } if alert == "NoApplicationProtocol");
                let (code, cure) = match &error {
                    _ if is_alpn => (Fault::Alpn.code(), None),
                    TlsError::WrongName { presented, .. } if !presented.is_empty() => {
                        let cure = format!(
                            "set `tlsSettings.serverName` to `{}`, or give the server a certificate for {}",
                            presented[0],
                            outbound.name(&self.server)
                        );
                        (error.code(), Some(cure))
                    }
                    _ => (error.code(), None),
                };
                walk.broken("tls", code.into(), format_args!("{error}{shown}"), cure);
                None
            }
        }
    }

    /// What the server shows to whoever believes everything; nothing is sent to it.
    pub(super) async fn certificate_anyway(
        &self,
        settings: &tls::ClientSettings,
    ) -> Option<tls::Leaf> {
        let any = tls::ClientSettings {
            allow_insecure: true,
            pins: Vec::new(),
            certificate_pins: Vec::new(),
            ..settings.clone()
        };
        let link = self.sealed(&tls::Outbound::new(&any).ok()?).await?;
        link.1.leaf
    }

    pub(super) async fn sealed(&self, outbound: &tls::Outbound) -> Option<(Link, tls::Seen)> {
        let link = self.dial().await?;
        outbound.examine(link, &self.server).await.ok()
    }

    async fn dial(&self) -> Option<Link> {
        let link = self
            .dispatcher
            .connection_to(&self.plain, &self.server)
            .await;
        link.ok().map(|link| self.in_pieces(link))
    }

    /// As the outbound itself would.
    fn in_pieces(&self, link: Link) -> Link {
        fragment::cut(link, self.transport().fragment.as_ref())
    }

    /// What a browser would see at the tunnel's path.
    pub(super) async fn page(&self) -> Option<Page> {
        let (path, host) = match &self.transport().carrier {
            ClientCarrier::Ws(ws) => (&ws.path, ws.host.clone()),
            ClientCarrier::Mws(mws) => (&mws.ws.path, mws.ws.host.clone()),
            ClientCarrier::HttpUpgrade(upgrade) => (&upgrade.path, upgrade.host.clone()),
            _ => return None,
        };
        let link = self.once_more().await?;
        let host = host.unwrap_or_else(|| self.host());
        page::look(link, host, path, &self.clock).await
    }

    /// Another connection to the server, with TLS on it where there is any.
    pub(super) async fn once_more(&self) -> Option<Link> {
        if let Some(settings) = self.transport().tls() {
            let outbound = tls::Outbound::new(&settings).ok()?;
            return self.sealed(&outbound).await.map(|(link, _)| link);
        }
        self.dial().await
    }

    pub(super) fn host(&self) -> HeaderValue {
        let security = self.transport().security.as_ref();
        let named = security.and_then(|tls| tls.server_name.clone());
        let host = named.unwrap_or_else(|| self.server.host.clone());
        host_of(
            &Destination::new(host, self.server.port),
            security.is_some(),
        )
    }
}
