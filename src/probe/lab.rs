//! Where nodes are tested: a service without inbounds, into which each node is put for as long as its test lasts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::node::Node;
use crate::address::Destination;
use crate::app::{self, App};
use crate::config::{self, Config};
use crate::dispatch::Dispatcher;
use crate::dns;
use crate::io::{Link, Packets};
use crate::protocol::OutboundSettings;
use crate::transport::ClientCarrier;

/// The service.
pub struct Lab {
    app: App,
    mounted: AtomicU64,
}

/// A node in its place; it goes when this does.
pub struct Mounted {
    dispatcher: Arc<Dispatcher>,
    tag: String,
    /// A web server may stand behind it for those who are no users.
    pub(super) has_fallback: bool,
    /// Each place that is spoken to sees datagrams of another session.
    pub(super) has_flows: bool,
}

impl Lab {
    /// With what nodes may go through, and the built-in DNS, where a config says so. Nothing of it listens.
    ///
    /// # Errors
    ///
    /// When something in the config cannot be used.
    pub async fn new(config: Config) -> Result<Self, String> {
        // There is no browser here that would dial.
        let is_browsers =
            |one: &config::Outbound| matches!(one.transport.carrier, ClientCarrier::Browser(_));
        let outbounds = config.outbounds.into_iter();
        let config = Config {
            outbounds: outbounds.filter(|one| !is_browsers(one)).collect(),
            routing: config.routing,
            dns: config.dns,
            policy: config.policy,
            ..Config::default()
        };
        let app = App::build(config).await.map_err(|e| e.to_string())?;
        Ok(Self {
            app,
            mounted: AtomicU64::new(0),
        })
    }

    /// How DNS servers that a front names are reached: straight from here.
    pub(super) fn resolver(&self, upstream: dns::Upstream) -> dns::Resolver {
        let server = dns::Server {
            via: dns::Via::Direct,
            ..dns::Server::new("DNSServers", upstream)
        };
        let resolver = dns::Resolver::new(dns::Settings {
            servers: vec![server],
            ..dns::Settings::default()
        });
        resolver.set_dialer(self.app.dispatcher.dialer());
        resolver
    }

    /// Puts a node into its place.
    ///
    /// # Errors
    ///
    /// When it cannot be used; the text says why.
    pub fn mount(&self, node: &Node) -> Result<Mounted, String> {
        let mut outbound = node.outbound.clone()?;
        let number = self.mounted.fetch_add(1, Ordering::Relaxed);
        let tag = format!("probe: {number}");
        outbound.name = tag.clone();
        outbound.tag = Some(tag.as_str().into());
        outbound.protocol.keep_one_server();
        // Sessions that share a connection would be measured without its handshakes.
        outbound.mux = outbound.mux.filter(|mux| mux.concurrency.is_none());
        let (has_fallback, mut has_flows) = match &outbound.protocol {
            OutboundSettings::Vmess(_) => (false, true),
            OutboundSettings::Vless(_) => (true, true),
            OutboundSettings::Trojan(_) => (true, false),
            _ => (false, false),
        };
        has_flows &= outbound.mux.is_none();
        let outbound = app::outbound(outbound, None).map_err(|e| e.to_string())?;
        let dispatcher = self.app.dispatcher.clone();
        if dispatcher.outbounds.add(outbound).is_err() {
            return Err("the way that it goes through leads back to it".to_owned());
        }
        Ok(Mounted {
            dispatcher,
            tag,
            has_fallback,
            has_flows,
        })
    }
}

impl Mounted {
    pub(super) async fn open(&self, to: &Destination) -> io::Result<Link> {
        self.dispatcher.open_by_tag(&self.tag, to).await
    }

    pub(super) async fn packets(&self, to: &Destination) -> io::Result<Box<dyn Packets>> {
        self.dispatcher.packets_by_tag(&self.tag, to).await
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.dispatcher.outbounds.remove(&self.tag);
    }
}
