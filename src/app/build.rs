//! From settings to what runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tokio::sync::mpsc;

use super::StartError;
use crate::address::PortRange;
use crate::config::{self, Api, Config, Listen, Through};
use crate::dispatch::{MadeOf, NextOutbound, Origin, Outbound, OutboundRef, Parts};
use crate::dns::Resolver;
use crate::io::Link;
use crate::limits::Gate;
use crate::metrics::{InboundNumbers, Outcomes};
use crate::observatory;
use crate::protocol::{
    self, Endpoint, InboundTraits, OutboundSettings, ProtocolState, freedom, in_process,
};
use crate::reverse::{BridgeSettings, Portal, PortalSettings, PublishSettings};
use crate::routing::{HealthTable, HealthTables, LiveRouter};
use crate::session::Source;
use crate::transport::browser::Dialer;
use crate::{mux, sniffing, transport};

/// An inbound that can accept.
pub struct Inbound {
    /// What messages call it: `inbounds[0]`. Another config may have it at another place.
    name: RwLock<Arc<str>>,
    pub tag: Option<Arc<str>>,
    /// What it speaks, for the log: `vmess over ws at /ray, security tls`.
    pub(super) speaks: String,
    pub(super) listen: Listen,
    pub(super) ports: Vec<PortRange>,
    pub(super) transport: transport::Inbound,
    pub protocol: protocol::Inbound,
    pub(super) traits: InboundTraits,
    sniffing: Option<Arc<sniffing::Settings>>,
    /// What it lets in.
    pub(super) gate: Arc<Gate>,
    /// Others that share its place: their requests come in by its transport, whose routes they are from 1 on.
    pub(super) beside: Vec<Arc<Self>>,
    /// What is counted of it, where somebody asks.
    pub(super) numbers: OnceLock<InboundNumbers>,
    /// What it was made of, without its users.
    made_of: config::Inbound,
    /// The same of its protocol, with all that does not come and go.
    frame: protocol::InboundSettings,
}

impl Inbound {
    /// # Errors
    ///
    /// When its certificate cannot be used.
    pub fn new(mut settings: config::Inbound) -> Result<Self, StartError> {
        let others = std::mem::take(&mut settings.beside);
        let transports = others.iter().map(|other| other.transport.clone()).collect();
        let own = match settings.protocol {
            // Browsers find an HTTP proxy in the place of SOCKS, too.
            protocol::InboundSettings::Http(_) | protocol::InboundSettings::Socks(_) => {
                settings.transport.clone().in_http_1_1()
            }
            _ => settings.transport.clone(),
        };
        let transport = transport::Inbound::shared(own, transports);
        let transport = transport.map_err(|e| StartError::transport(&settings.name, e))?;
        let beside = others.into_iter().map(|other| {
            // What stands in front of its requests is above.
            let own = transport::ServerSettings {
                carrier: other.transport.carrier.clone(),
                ..Default::default()
            };
            let own = transport::Inbound::new(own);
            let own = own.map_err(|e| StartError::transport(&other.name, e))?;
            Ok(Arc::new(Self::with_transport(other, own)))
        });
        Ok(Self {
            beside: beside.collect::<Result<_, _>>()?,
            ..Self::with_transport(settings, transport)
        })
    }

    fn with_transport(settings: config::Inbound, transport: transport::Inbound) -> Self {
        let (protocol, traits) = (settings.protocol.name(), settings.protocol.traits());
        let speaks = match traits.streams {
            true => format!("{protocol} over {}", settings.transport),
            false => protocol.to_owned(),
        };
        let frame = settings.protocol.frame();
        let made_of = config::Inbound {
            protocol: settings.protocol.without_users(),
            name: settings.name.clone(),
            tag: settings.tag.clone(),
            listen: settings.listen.clone(),
            ports: settings.ports.clone(),
            transport: settings.transport.clone(),
            sniffing: settings.sniffing.clone(),
            limits: settings.limits,
            at: Default::default(),
            beside: Vec::new(),
        };
        Self {
            transport,
            name: RwLock::new(settings.name.into()),
            tag: settings.tag,
            speaks,
            listen: settings.listen,
            ports: settings.ports,
            traits,
            protocol: protocol::Inbound::new(settings.protocol),
            sniffing: settings.sniffing.map(Arc::new),
            gate: Arc::new(Gate::of_inbound(settings.limits)),
            beside: Vec::new(),
            numbers: OnceLock::new(),
            made_of,
            frame,
        }
    }

    /// What messages call it: `inbounds[0]`.
    pub(super) fn name(&self) -> Arc<str> {
        self.name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it is one of these settings, apart from the name and from the users that come and go.
    pub(super) fn is_like(&self, settings: &config::Inbound) -> bool {
        let config::Inbound {
            at: _,
            name: _,
            tag,
            listen,
            ports,
            transport,
            protocol,
            sniffing,
            // They change where it is.
            limits: _,
            beside,
        } = settings;
        let made_of = &self.made_of;
        let mut pairs = self.beside.iter().zip(beside);
        let is_whole = (0..=beside.len()).all(|route| self.transport.is_open(route));
        is_whole
            && self.beside.len() == beside.len()
            && pairs.all(|(one, settings)| one.is_like(settings))
            && made_of.tag == *tag
            && made_of.listen == *listen
            && made_of.ports == *ports
            && made_of.transport == *transport
            && made_of.sniffing == *sniffing
            && self.frame == protocol.frame()
    }

    /// Counts on from where the one before it is.
    pub(super) fn count_on(&mut self, before: &Self) {
        let limits = self.made_of.limits;
        self.gate = before.gate.clone();
        self.gate.set(limits);
    }

    /// The names of its certificates, and when they run out.
    pub fn certificates(&self) -> Vec<(String, std::time::SystemTime)> {
        self.transport.certificates()
    }

    /// Takes the name, the limits and the users from settings that it is like; and what is new in the files of certificates, with the
    /// next handshake.
    pub(super) fn follow(&self, settings: config::Inbound) {
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = settings.name.into();
        self.gate.set(settings.limits);
        self.protocol.set_users(settings.protocol);
        self.transport.look_at_files();
        for (one, settings) in self.beside.iter().zip(settings.beside) {
            one.follow(settings);
        }
    }

    /// Takes over what is to go on from whom it comes in place of.
    pub(super) fn inherit(&mut self, there: &Self) {
        self.protocol.inherit(&there.protocol);
        for one in self.beside.iter_mut().filter_map(Arc::get_mut) {
            let mut others = std::iter::once(there).chain(there.beside.iter().map(|one| &**one));
            if let Some(other) = others.find(|other| other.tag == one.tag) {
                one.protocol.inherit(&other.protocol);
            }
        }
    }

    /// What it lets in.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What became of its handshakes, where that is counted.
    pub fn outcomes(&self) -> Option<Outcomes> {
        self.numbers.get().map(InboundNumbers::outcomes)
    }

    /// What numbers call it: its tag, or its place.
    pub fn label(&self) -> String {
        self.tag
            .as_ref()
            .map_or_else(|| self.name().to_string(), |tag| tag.to_string())
    }

    /// What it was made of, with the users of this moment.
    pub fn settings(&self) -> config::Inbound {
        let mut settings = self.made_of.clone();
        settings.name = self.name().to_string();
        for user in self.protocol.users(None).unwrap_or_default() {
            settings.protocol.push_user(user);
        }
        settings
    }

    /// What its sessions carry along.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            name: Some(self.name()),
            tag: self.tag.clone(),
            sniffing: self.sniffing.clone(),
            from_here: false,
            entry: self.protocol.entry(),
            local: Source::Unix,
            vless_route: 0,
            held: None,
        }
    }
}

/// As messages call it, and its tag.
impl fmt::Display for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.write_str(&name)?;
        match &self.tag {
            Some(tag) if **tag != *name => write!(f, " ({tag})"),
            _ => Ok(()),
        }
    }
}

/// An outbound that can carry.
///
/// # Errors
///
/// When its certificate cannot be used, or a browser that it goes through cannot do what it asks for.
pub fn outbound(
    settings: config::Outbound,
    browser: Option<&Dialer>,
) -> Result<Outbound, StartError> {
    if let Some(unfit) = settings.unfit_for_browser(browser.map(Dialer::takes)) {
        let source = transport::BuildError::Browser(unfit);
        return Err(StartError::transport(&settings.name, source));
    }
    let made_of = MadeOf {
        transport: settings.transport.clone(),
        protocol: settings.protocol.clone(),
        mux: settings.mux.clone(),
        plugin_mux: settings.plugin_mux.clone(),
    };
    let plugin = plugin(&settings, browser)?;
    let transport = match settings.protocol {
        OutboundSettings::Http(_) => settings.transport.in_http_1_1(),
        _ => settings.transport,
    };
    let transport = transport::Outbound::with_browser(transport, browser)
        .map_err(|e| StartError::transport(&settings.name, e))?;
    let mut outbound = Outbound::new(transport, protocol::Outbound::new(settings.protocol));
    outbound.name = settings.name;
    outbound.tag = settings.tag;
    outbound.through = settings.through.map(|through| through.tag);
    outbound.strategy = settings.strategy;
    outbound.must_resolve = settings.must_resolve;
    outbound.mux = settings.mux.map(mux::Outbound::new);
    outbound.plugin = plugin.map(OutboundRef::alone);
    outbound.made_of = Some(Box::new(made_of));
    Ok(outbound)
}

/// What stands between an outbound and its server where connections to it share others: a `freedom` that goes there whatever it is
/// asked for, as the plugin's own config has it.
fn plugin(
    settings: &config::Outbound,
    browser: Option<&Dialer>,
) -> Result<Option<Outbound>, StartError> {
    let servers = settings.protocol.servers();
    let (Some(shared), Some(server)) = (&settings.plugin_mux, servers.first()) else {
        return Ok(None);
    };
    let redirect = freedom::Redirect {
        host: Some(server.host.clone()),
        port: Some(server.port),
    };
    let freedom = freedom::OutboundSettings {
        redirect,
        ..freedom::OutboundSettings::default()
    };
    let plugin = config::Outbound {
        tag: None,
        protocol: OutboundSettings::Freedom(freedom),
        mux: Some(shared.clone()),
        plugin_mux: None,
        ..settings.clone()
    };
    outbound(plugin, browser).map(Some)
}

/// What an outbound was made of; `None` for one that this process has added by itself.
pub fn settings_of(outbound: &Outbound) -> Option<config::Outbound> {
    let MadeOf {
        transport,
        protocol,
        mux,
        plugin_mux,
    } = &**outbound.made_of.as_ref()?;
    let through = outbound.through.clone();
    Some(config::Outbound {
        at: Default::default(),
        name: outbound.name.clone(),
        tag: outbound.tag.clone(),
        transport: transport.clone(),
        protocol: protocol.clone(),
        through: through.map(|tag| Through {
            at: Default::default(),
            tag,
        }),
        strategy: outbound.strategy,
        must_resolve: outbound.must_resolve,
        mux: mux.clone(),
        plugin_mux: plugin_mux.clone(),
    })
}

/// The sessions that rules lead to the API.
pub type ApiLinks = mpsc::Receiver<Link>;

/// What outbounds may be there already.
#[derive(Default)]
pub(super) struct Before<'a> {
    pub(super) outbounds: Vec<OutboundRef>,
    pub(super) portals: &'a [PortalSettings],
    /// The tag of the API.
    pub(super) api: Option<&'a Arc<str>>,
    /// The tag of the metrics.
    pub(super) metrics: Option<&'a Arc<str>>,
}

/// All parts of a config, as they can run.
pub(super) struct Built {
    pub(super) parts: Parts,
    pub(super) inbounds: Vec<Inbound>,
    /// Each with the table that it writes.
    pub(super) observers: Vec<(observatory::Settings, Arc<HealthTable>)>,
    pub(super) bridges: Vec<BridgeSettings>,
    pub(super) publish: Vec<PublishSettings>,
    pub(super) api: Option<(Api, ApiLinks)>,
    pub(super) metrics: Option<(config::Metrics, Option<ApiLinks>)>,
    pub(super) browser: Option<Dialer>,
}

impl Built {
    pub(super) fn new(config: Config) -> Result<Self, StartError> {
        let api_tag = config.api.as_ref().map(|api| api.tag.clone());
        let browser = config.browser.map(Dialer::new);
        let portals = config.reverse.portals;
        let before = Before::default();
        let metrics_tag = config.metrics.as_ref().and_then(|one| one.tag.clone());
        let (outbounds, [links, metrics_links]) = outbounds(
            config.outbounds,
            portals,
            [api_tag, metrics_tag],
            browser.as_ref(),
            &before,
        )?;
        let new = |outbound| match outbound {
            NextOutbound::New(outbound) => Some(*outbound),
            NextOutbound::Same(_) => None,
        };
        let outbounds = outbounds.into_iter().filter_map(new).collect();
        let health = HealthTables::new(config.observers.iter().map(|observer| &*observer.tag));
        let parts = Parts {
            outbounds,
            router: LiveRouter::new(config.routing, health.clone()),
            resolver: Resolver::new(config.dns),
            policy: config.policy,
            limits: config.limits,
            count: config.stats,
            metrics: config.metrics.as_ref().map(|_| Arc::default()),
            state: ProtocolState::open(config.state.as_deref()),
        };
        let inbounds = config::share(config.inbounds).into_iter();
        let inbounds = inbounds.map(Inbound::new);
        Ok(Self {
            parts,
            inbounds: inbounds.collect::<Result<_, _>>()?,
            observers: config.observers.into_iter().zip(health.tables()).collect(),
            bridges: config.reverse.bridges,
            publish: config.reverse.publish,
            api: config.api.zip(links),
            metrics: config.metrics.map(|settings| (settings, metrics_links)),
            browser,
        })
    }
}

/// The outbounds of a config; the first one carries what no rule sends elsewhere. One that is the same as `before` goes on.
pub(super) fn outbounds(
    mut settings: Vec<config::Outbound>,
    portals: Vec<PortalSettings>,
    services: [Option<Arc<str>>; 2],
    browser: Option<&Dialer>,
    before: &Before<'_>,
) -> Result<(Vec<NextOutbound>, [Option<ApiLinks>; 2]), StartError> {
    // As in V2Ray, the API takes the place of an outbound that a panel has put under its tag.
    settings.retain(|other| other.tag.is_none() || !services.contains(&other.tag));
    // As in V2Ray a portal takes a tag from whoever has it, and stands behind the outbounds.
    for other in &mut settings {
        if portals
            .iter()
            .any(|portal| other.tag.as_ref() == Some(&portal.tag))
        {
            other.tag = None;
        }
    }
    let mut outbounds = Vec::new();
    for one in settings {
        let mut there = before.outbounds.iter();
        let same = there.find(|there| {
            !there.is_added() && settings_of(there).is_some_and(|settings| settings == one)
        });
        outbounds.push(match same {
            Some(same) => NextOutbound::Same(same.clone()),
            None => NextOutbound::New(Box::new(outbound(one, browser)?)),
        });
    }
    let tagged = |tag: &Arc<str>| {
        let mut there = before.outbounds.iter();
        there.find(|there| there.tag.as_ref() == Some(tag)).cloned()
    };
    for portal in portals {
        let is_same = before.portals.contains(&portal);
        if let Some(same) = tagged(&portal.tag).filter(|o| is_same && o.protocol.portal().is_some())
        {
            outbounds.push(NextOutbound::Same(same));
            continue;
        }
        let (name, tag) = (portal.at.to_string(), portal.tag.clone());
        let mut outbound = plain(Endpoint::Portal(Arc::new(Portal::new(portal))).into());
        outbound.name = name;
        outbound.tag = Some(tag);
        outbounds.push(NextOutbound::New(Box::new(outbound)));
    }
    if outbounds.is_empty() {
        let freedom = OutboundSettings::Freedom(freedom::OutboundSettings::default());
        let mut direct = plain(protocol::Outbound::new(freedom));
        direct.name = "the direct outbound".to_owned();
        outbounds.push(NextOutbound::New(Box::new(direct)));
    }
    let mut links = [None, None];
    let were = [("api", before.api), ("metrics", before.metrics)];
    for (((name, was), tag), links) in were.into_iter().zip(services).zip(&mut links) {
        let Some(tag) = tag else { continue };
        let same = tagged(&tag).filter(|o| was == Some(&tag) && o.protocol.is_control());
        if let Some(same) = same {
            outbounds.push(NextOutbound::Same(same));
            continue;
        }
        let (endpoint, out) = in_process::Outbound::new();
        let mut outbound = plain(Endpoint::InProcess(endpoint).into());
        outbound.name = name.to_owned();
        outbound.tag = Some(tag);
        outbounds.push(NextOutbound::New(Box::new(outbound)));
        *links = Some(out);
    }
    let [api, metrics] = links;
    Ok((outbounds, [api, metrics]))
}

/// Over bare TCP.
fn plain(protocol: protocol::Outbound) -> Outbound {
    Outbound::new(transport::Outbound::default(), protocol)
}

/// The folder that the system's service manager has made for us: systemd's `StateDirectory=`, which may name several.
pub(super) fn system_state() -> Option<PathBuf> {
    let folders = std::env::var_os("STATE_DIRECTORY")?;
    std::env::split_paths(&folders).find(|folder| !folder.as_os_str().is_empty())
}

impl StartError {
    fn transport(part: &str, source: transport::BuildError) -> Self {
        Self::Transport {
            part: part.to_owned(),
            source,
        }
    }
}
