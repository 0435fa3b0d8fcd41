//! The way of a client: from the name of its server to an answer through the tunnel, and the silence behind it.

use std::sync::Arc;
use std::time::Duration;

use super::Walk;
use crate::address::Destination;
use crate::app::App;
use crate::cause::Fault;
use crate::config::{self, Config};
use crate::dispatch::{Dispatcher, OutboundRef};
use crate::io::PeerClock;
use crate::observatory::Url;
use crate::transport::{ClientCarrier, ClientSettings, httpupgrade, ws};

/// What is walked.
pub struct Client {
    /// The whole config: an outbound may go through another one.
    pub config: Config,
    /// The one that is looked at.
    pub outbound: config::Outbound,
    /// What is asked for through it.
    pub url: Url,
    /// How long a tunnel is to be silent, if that is to be tried.
    pub idle: Option<Duration>,
}

/// The outbound that leads to a server: the one with this tag, or the first.
///
/// # Errors
///
/// When there is none; the text says what there is.
pub fn choose(config: &Config, tag: Option<&str>) -> Result<config::Outbound, String> {
    let leads = |one: &&config::Outbound| !one.protocol.servers().is_empty();
    let Some(tag) = tag else {
        let first = config.outbounds.iter().find(leads);
        return first.cloned().ok_or_else(|| {
            "no outbound of this config leads to a server (is it a server's? then `--server`)"
                .to_owned()
        });
    };
    let named = config
        .outbounds
        .iter()
        .find(|one| one.tag.as_deref() == Some(tag));
    match named {
        Some(one) if leads(&one) => Ok(one.clone()),
        Some(one) => Err(format!(
            "the outbound `{tag}` is `{}` and leads to no server",
            one.protocol.name()
        )),
        None => {
            let tags: Vec<&str> = config
                .outbounds
                .iter()
                .filter_map(|o| o.tag.as_deref())
                .collect();
            Err(format!(
                "no outbound is tagged `{tag}`, there are: {}",
                tags.join(", ")
            ))
        }
    }
}

/// The outbound as it is but for what hides a fault: one server, no connections that sessions share.
pub(super) const PLAIN: &str = "doctor: plain";
/// With early data.
pub(super) const EARLY: &str = "doctor: early data";
/// Without heartbeats.
pub(super) const STILL: &str = "doctor: still";
/// The same by the carrier that is taken for this one.
pub(super) const OTHER: &str = "doctor: other carrier";

/// All that a walk has at hand.
pub(super) struct Way {
    /// It ends with the walk.
    _app: App,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) plain: OutboundRef,
    pub(super) settings: config::Outbound,
    pub(super) server: Destination,
    pub(super) url: Url,
    /// What time it is there, by the answers that a browser gets.
    pub(super) clock: PeerClock,
}

/// Walks from the name of the server on. Returns whether the account is known there.
pub async fn walk_client(client: Client, walk: &mut Walk<'_>) -> bool {
    let idle = client.idle;
    let way = match Way::new(client).await {
        Ok(way) => way,
        Err(text) => {
            walk.fault("config", Fault::Config, text);
            return false;
        }
    };
    if !way.names(walk).await {
        return false;
    }
    let Some(link) = way.connects(walk).await else {
        return false;
    };
    let Some(link) = way.seals(link, walk).await else {
        return false;
    };
    let Some(first) = way.upgrades(link, walk).await else {
        return false;
    };
    let first = way.sends_early(first, walk).await;
    let Some(carried) = way.is_known(first, walk).await else {
        return false;
    };
    if way.asks(&carried, walk) {
        way.rests(idle, walk).await;
    }
    true
}

impl Way {
    async fn new(client: Client) -> Result<Self, String> {
        let Client {
            config,
            mut outbound,
            url,
            ..
        } = client;
        outbound.protocol.keep_one_server();
        outbound.mux = None;
        // A browser tells nothing of what it meets, so the same is walked without it.
        if let ClientCarrier::Browser(ws) = &outbound.transport.carrier {
            outbound.transport.carrier = ClientCarrier::Ws(ws.clone());
        }
        let server = outbound.protocol.servers().first().map(|to| (*to).clone());
        let server = server.ok_or("the outbound has no server")?;
        let named = |tag: &str, change: fn(&mut ClientCarrier)| {
            let mut other = outbound.clone();
            other.tag = Some(tag.into());
            change(&mut other.transport.carrier);
            other
        };
        let by_browser =
            |one: &config::Outbound| matches!(one.transport.carrier, ClientCarrier::Browser(_));
        let mut outbounds: Vec<_> = config
            .outbounds
            .into_iter()
            .filter(|o| !by_browser(o))
            .collect();
        outbounds.extend([
            named(PLAIN, without_early_data),
            named(EARLY, |_| {}),
            named(OTHER, |carrier| {
                if let Some(other) = taken_for(carrier) {
                    *carrier = other;
                }
            }),
            named(STILL, |carrier| {
                without_early_data(carrier);
                match carrier {
                    ClientCarrier::Ws(ws) => ws.heartbeat = None,
                    ClientCarrier::Mws(mws) => mws.ws.heartbeat = None,
                    _ => {}
                }
            }),
        ]);
        // What carries questions for names, and nothing that listens or goes on by itself.
        let config = Config {
            outbounds,
            routing: config.routing,
            dns: config.dns,
            policy: config.policy,
            ..Config::default()
        };
        let app = App::build(config).await.map_err(|e| e.to_string())?;
        let dispatcher = app.dispatcher.clone();
        let plain = dispatcher.outbounds.get(PLAIN).ok_or("it was not made")?;
        Ok(Self {
            _app: app,
            dispatcher,
            plain,
            settings: outbound,
            server,
            url,
            clock: PeerClock::default(),
        })
    }

    pub(super) fn transport(&self) -> &ClientSettings {
        &self.settings.transport
    }
}

/// WebSocket and httpupgrade ask for the same path with other headers.
pub(super) fn taken_for(carrier: &ClientCarrier) -> Option<ClientCarrier> {
    match carrier {
        ClientCarrier::Ws(ws) => Some(ClientCarrier::HttpUpgrade(httpupgrade::ClientSettings {
            path: ws.path.clone(),
            host: ws.host.clone(),
            headers: ws.headers.clone(),
            early_data: None,
        })),
        ClientCarrier::HttpUpgrade(upgrade) => Some(ClientCarrier::Ws(ws::ClientSettings {
            path: upgrade.path.clone(),
            host: upgrade.host.clone(),
            headers: upgrade.headers.clone(),
            early_data: None,
            ..ws::ClientSettings::default()
        })),
        _ => None,
    }
}

fn without_early_data(carrier: &mut ClientCarrier) {
    match carrier {
        ClientCarrier::Ws(ws) => ws.early_data = None,
        ClientCarrier::Mws(mws) => mws.ws.early_data = None,
        ClientCarrier::HttpUpgrade(upgrade) => upgrade.early_data = None,
        _ => {}
    }
}
