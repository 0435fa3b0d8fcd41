//! Asks the rules which outbound carries a session.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout;
use tracing::debug;

use super::{Dispatcher, Origin, OutboundRef, Session};
use crate::address::{Destination, Host, Network};
use crate::dns::{Known, Lookup, Strategy};
use crate::io::{is_local, processes};
use crate::log;
use crate::matching::geodata::PRIVATE;
use crate::protocol::loopback;
use crate::routing::{Pick, Program, RouteInput};
use crate::session::{Attributes, Entry, Process, Source};
use crate::sniffing::Aim;

/// How long the addresses of a name are waited for: each server of the built-in DNS has its own limit, the
/// system's resolver has many.
const LOOKUP_LIMIT: Duration = Duration::from_secs(30);

/// How often `loopback` may send one session back to the rules; V2Ray would go round for ever.
const MAX_ROUNDS: usize = 16;

/// What was asked of the rules, and what came of it.
#[derive(Clone, Debug)]
pub struct Routed {
    pub inbound: Option<String>,
    pub source: Source,
    pub local: Source,
    pub network: Network,
    pub to: Destination,
    pub user: Option<String>,
    pub protocol: Option<String>,
    pub attributes: Attributes,
    pub outbound: Option<Arc<str>>,
    pub balancer: Option<String>,
}

/// What the rules are asked about a session.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    network: Network,
    to: &'a Destination,
    named: Option<&'a str>,
    resolves_named: bool,
}

/// The answer.
pub(super) struct Chosen {
    pub(super) outbound: OutboundRef,
    /// The addresses that the rules were asked about.
    pub(super) known: Known,
    /// A rule takes it, and it is not the first one because none does.
    pub(super) by_rule: bool,
    /// How often the rules may be asked again when it does not open.
    pub(super) retries: u32,
}

impl<'a> Asked<'a> {
    pub(super) fn new(network: Network, aim: &'a Aim) -> Self {
        Self {
            network,
            to: aim.dialled(),
            named: aim.name_for_rules(),
            resolves_named: aim.resolves_named(),
        }
    }
}

impl Dispatcher {
    /// The outbound that carries `session`; `None` when there is none at all, or none that may. The name
    /// that it goes to is resolved only if the rules want its addresses, and then it is resolved once.
    pub(super) async fn route(&self, session: &Session, asked: Asked<'_>) -> Option<Chosen> {
        let Asked { network, to, .. } = asked;
        let mut session = Cow::Borrowed(session);
        let mut known = Known::Unasked;
        let mut of_named = Known::Unasked;
        let (mut outbound, mut by_rule, mut retries) = self
            .pick(&session, asked, &mut known, &mut of_named)
            .await?;
        for _ in 0..MAX_ROUNDS {
            if let Some(loopback) = outbound.protocol.loopback() {
                self.log_accepted(&session, (&outbound, by_rule), network, &to.clone().into());
                // What a session carries is not known any more, as in V2Ray.
                let Origin {
                    from_here,
                    entry,
                    local,
                    vless_route,
                    ..
                } = session.inbound;
                session = Cow::Owned(Session {
                    inbound: Origin {
                        local,
                        vless_route,
                        ..origin(loopback, from_here, entry)
                    },
                    protocol: None,
                    attributes: None,
                    ..session.into_owned()
                });
                (outbound, by_rule, retries) = self
                    .pick(&session, asked, &mut known, &mut of_named)
                    .await?;
                continue;
            }
            if outbound.protocol.is_control() && session.inbound.from_here {
                return self.keep_out(&session, &outbound);
            }
            let lookup = match known {
                Known::Missing(_) => self.resolves(&outbound, to),
                Known::Unasked | Known::Ips(_) => None,
            };
            // The built-in DNS knew no address, but the system may: the rules are asked about that one too.
            let Some(lookup @ Lookup::System) = lookup else {
                return Some(Chosen {
                    outbound,
                    known,
                    by_rule,
                    retries,
                });
            };
            known = find(&lookup, to).await;
            if let Known::Missing(_) = known {
                return Some(Chosen {
                    outbound,
                    known,
                    by_rule,
                    retries,
                });
            }
            (outbound, by_rule, retries) = self
                .pick(&session, asked, &mut known, &mut of_named)
                .await?;
        }
        debug!(%to, "a session goes round");
        log::repeated("the rules lead a session round in a circle of `loopback` outbounds");
        None
    }

    /// What the rules say, whether one of them does, and how often they may be asked again; those who watch are told. The
    /// addresses of the name become `known` when the rules want them, and those of one that was found become `of_named`.
    async fn pick(
        &self,
        session: &Session,
        asked: Asked<'_>,
        known: &mut Known,
        of_named: &mut Known,
    ) -> Option<(OutboundRef, bool, u32)> {
        let Asked {
            network,
            to,
            named,
            resolves_named,
        } = asked;
        let resolves_named = resolves_named && self.router.now().resolves() && !is_kept(to);
        let facts = RouteInput {
            inbound: session.inbound.tag.as_deref(),
            source: session.source,
            local: session.inbound.local,
            vless_route: session.inbound.vless_route,
            program: Program::Unasked,
            network,
            to,
            named,
            resolves_named,
            user: session.user.as_ref().and_then(|u| u.email.as_deref()),
            protocol: session.protocol,
            attributes: session.attributes.as_deref(),
        };
        // A question of our own does not wait for other names.
        let resolved = session.is_own.then_some(&[][..]);
        let (outbound, by_rule, balancer) = loop {
            let seen = self.changes.seen();
            let picked = self.ask(&facts, resolved, known, of_named).await;
            let by_rule = picked.is_some();
            let (tag, balancer) = picked.unwrap_or_default();
            let outbound = tag
                .and_then(|tag| self.tagged(&tag))
                .or_else(|| self.outbounds.first());
            // The rules of one config and the outbounds of another could lead it where neither wants it.
            if self.changes.none_since(seen) {
                break (outbound, by_rule, balancer);
            }
            yield_now().await;
        };
        let chosen_by = balancer.as_ref().map(|tag| {
            let router = self.router.now();
            router
                .balancer(tag)
                .map_or(0, |balancer| balancer.retries())
        });
        if self.routed.receiver_count() > 0 {
            let tag = outbound.as_ref().and_then(|o| o.tag.clone());
            self.publish(&facts, tag, balancer);
        }
        Some((outbound?, by_rule, chosen_by.unwrap_or(0)))
    }

    /// The tag that the rules give a session, and the balancer that chose it; `None` when no rule takes
    /// it. `resolved` are the addresses of the name that all rules see; those in `known` they see when they
    /// want some, and find there what was looked up for them. Where they want those of `named`, they are in `of_named`: where the session
    /// goes is dialled, so what is known of it has to be apart.
    pub async fn ask(
        &self,
        facts: &RouteInput<'_>,
        resolved: Option<&[IpAddr]>,
        known: &mut Known,
        of_named: &mut Known,
    ) -> Option<(Option<Arc<str>>, Option<String>)> {
        let router = self.router.now();
        let program = OnceLock::new();
        let mut facts = *facts;
        let named = facts.named.filter(|_| facts.resolves_named);
        let named =
            named.map(|name| Destination::new(Host::Domain(name.to_owned()), facts.to.port));
        let (wanted, known) = match &named {
            Some(named) => (named, of_named),
            None => (facts.to, known),
        };
        let mut has_looked = false;
        let pick = loop {
            let ips = if has_looked { known.ips() } else { resolved };
            match router.pick(&facts, ips) {
                Pick::NeedsProgram => {
                    let found = find_program(&facts).await;
                    let found = program.get_or_init(|| found);
                    facts.program = Program::Asked(found.as_ref());
                }
                Pick::NeedsIp if !has_looked => {
                    if *known == Known::Unasked {
                        let lookup = Lookup::new(&self.resolver.now(), Strategy::UseIp);
                        *known = find(&lookup, wanted).await;
                    }
                    has_looked = true;
                }
                pick => break pick,
            }
        };
        match pick {
            Pick::Outbound(tag) => Some((Some(tag.clone()), None)),
            Pick::Balancer(balancer) => {
                // What was said to be chosen may have been taken away since.
                let said = balancer.overridden();
                let said = said.filter(|tag| self.may_be_chosen(tag));
                let tag = said.or_else(|| {
                    let tags = self.outbounds.tags();
                    let random = || getrandom::u32().unwrap_or_default();
                    balancer.choose(tags.iter(), random)
                });
                Some((tag, Some(balancer.tag().to_owned())))
            }
            Pick::Default | Pick::NeedsIp | Pick::NeedsProgram => None,
        }
    }

    /// Whether the outbound of this tag is there, and not the way to this process itself.
    pub fn may_be_chosen(&self, tag: &str) -> bool {
        let outbound = self.outbounds.get(tag);
        outbound.is_some_and(|outbound| !outbound.protocol.is_control())
    }

    /// Tells whoever watches the rules at work.
    pub fn publish(
        &self,
        facts: &RouteInput,
        outbound: Option<Arc<str>>,
        balancer: Option<String>,
    ) {
        let named = facts.named.map(|name| Host::Domain(name.to_owned()));
        let routed = Routed {
            inbound: facts.inbound.map(str::to_owned),
            source: facts.source,
            local: facts.local,
            network: facts.network,
            to: Destination::new(named.unwrap_or(facts.to.host.clone()), facts.to.port),
            user: facts.user.map(str::to_owned),
            protocol: facts.protocol.map(str::to_owned),
            attributes: facts.attributes.cloned().unwrap_or_default(),
            outbound,
            balancer,
        };
        // Nobody may be watching any more.
        let _ = self.routed.send(Arc::new(routed));
    }

    /// What a rule names may have been taken away; the first outbound stands in, as in V2Ray.
    fn tagged(&self, tag: &str) -> Option<OutboundRef> {
        let outbound = self.outbounds.get(tag);
        if outbound.is_none() {
            log::repeated(&format!(
                "no outbound is tagged `{tag}` any more, the first one carries a session of its"
            ));
        }
        outbound
    }
}

/// All addresses of a name; a name without any is as good as one that no rule about addresses takes.
async fn find(lookup: &Lookup, to: &Destination) -> Known {
    let found = timeout(LOOKUP_LIMIT, lookup.strictly(to)).await;
    let known = Known::new(found.unwrap_or_else(|_| {
        let text = format!("cannot resolve {}: no answer in time", to.host);
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }));
    if let Known::Missing(reason) = &known {
        debug!(%to, "no rule about addresses can be asked: {reason}");
    }
    known
}

/// Whether a place is this machine, or of no public network. Whoever comes may write any name into his first bytes: what stands here
/// is not to be hidden behind one.
fn is_kept(to: &Destination) -> bool {
    match &to.host {
        Host::Ip(ip) => PRIVATE.contains(*ip) || is_local(ip.to_canonical()),
        Host::Domain(_) => false,
    }
}

/// The program of this machine that a session comes from.
async fn find_program(facts: &RouteInput<'_>) -> Option<Process> {
    let Source::Ip(source) = facts.source else {
        return None;
    };
    let network = facts.network;
    let found = spawn_blocking(move || processes::behind(network, source)).await;
    let found = found.ok().flatten();
    debug!(%source, path = found.as_ref().map(|p| p.path.as_str()), "looked for its program");
    found
}

/// Where a session seems to come from that a `loopback` sends round.
pub(super) fn origin(loopback: &loopback::Outbound, from_here: bool, entry: Entry) -> Origin {
    Origin {
        name: None,
        tag: loopback.inbound(),
        sniffing: None,
        held: None,
        from_here,
        local: Source::Unix,
        vless_route: 0,
        entry,
    }
}
