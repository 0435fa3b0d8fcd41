//! What a config says about routing.

#![warn(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use super::attrs::Expression;
use crate::address::{Network, PortRange};
use crate::matching::{Domains, Networks, Regex};
use crate::report::{Place, Placed};

/// V2Ray's `routing`. Without rules the first outbound carries everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `domainStrategy`.
    pub strategy: DomainStrategy,
    /// The first that takes a session decides.
    pub rules: Vec<Rule>,
    /// What rules may send sessions to besides outbounds.
    pub balancers: Vec<BalancerSettings>,
}

/// `domainStrategy`: when the addresses of a name are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DomainStrategy {
    /// Never: conditions on addresses hold for addresses alone.
    #[default]
    AsIs,
    /// When no rule takes the name.
    IpIfNonMatch,
    /// As soon as a rule would take it if its addresses were right.
    IpOnDemand,
}

/// One of `rules`: which sessions it takes, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `ruleTag`, Xray's: what the API calls it; empty for a rule without a name.
    pub tag: String,
    /// Which sessions it takes.
    pub conditions: Conditions,
    /// Where they go.
    pub target: Placed<Target>,
}

/// What must all be true of a session. A condition without values asks for nothing; one with several holds when one
/// of them does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// `domain`: names of the destination.
    pub domains: Option<Domains>,
    /// `geoDomain` of V2Ray 5 beside its `domain`: the name has to be among these as well.
    pub also_domains: Option<Domains>,
    /// `ip`: addresses of the destination.
    pub ips: Option<Networks>,
    /// `noResolve`, mobula's own: no name is looked up for these, and those of a name count only where a rule before it has
    /// had it looked up.
    pub no_resolve: bool,
    /// `port`, of the destination.
    pub ports: Vec<PortRange>,
    /// `network`.
    pub networks: Vec<Network>,
    /// `source`: addresses that sessions come from.
    pub sources: Option<Networks>,
    /// `sourcePort`.
    pub source_ports: Vec<PortRange>,
    /// `user`.
    pub users: Vec<UserTest>,
    /// `inboundTag`.
    pub inbounds: Placed<Vec<String>>,
    /// `protocol`: what sniffing finds (`http1`, `tls`, `quic`, `bittorrent`), or the beginning of it.
    pub protocols: Placed<Vec<String>>,
    /// `attrs`.
    pub attrs: Option<Expression>,
    /// `localIP`: addresses of ours that sessions come to.
    pub locals: Option<Networks>,
    /// `localPort`.
    pub local_ports: Vec<PortRange>,
    /// `vlessRoute`.
    pub vless_routes: Vec<PortRange>,
    /// `process`: programs of this machine that sessions come from.
    pub programs: Vec<ProgramTest>,
}

/// One of `process`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramTest {
    /// `self/`: this process, for a session that has come back to it.
    Own,
    /// `curl`: the name of its file.
    Name(String),
    /// `/usr/bin/curl`.
    Path(String),
    /// `/usr/bin/`: a folder that its file is in, or below.
    Folder(String),
}

impl ProgramTest {
    /// From its text, by Xray's rules: what has a slash is a path, and one at its end makes it a folder.
    pub fn parse(text: &str) -> Self {
        let (folder, path) = (text.ends_with('/'), text.contains('/'));
        match text {
            "self/" => Self::Own,
            "xray/" | "mobula/" => {
                let own = std::env::current_exe().unwrap_or_default();
                Self::Path(own.to_string_lossy().into_owned())
            }
            _ if folder => Self::Folder(text.to_owned()),
            _ if path => Self::Path(text.to_owned()),
            name => Self::Name(name.strip_suffix(".exe").unwrap_or(name).to_owned()),
        }
    }
}

/// `localOS`: whether it names the system that this runs on, as Go spells them.
pub fn is_this_system(name: &str) -> bool {
    let this = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    name.eq_ignore_ascii_case(this)
}

/// `user`: an email, or a regular expression for it (`regexp:`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserTest {
    /// The whole of it.
    Email(String),
    /// An expression for it.
    Regex(Regex),
}

/// Where a rule sends a session, by tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `outboundTag`. Outbounds come and go while the rules stay; the first one stands in for one that is not there.
    Outbound(Arc<str>),
    /// `balancerTag`.
    Balancer(String),
}

/// One of `balancers`: it chooses an outbound for each session, among those whose tag begins with one of its selectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BalancerSettings {
    /// What rules call it.
    pub tag: String,
    /// `strategy`.
    pub strategy: Placed<Strategy>,
    /// `selector`.
    pub selectors: Placed<Vec<String>>,
    /// `fallbackTag`: the outbound that carries sessions when there is none to choose.
    pub fallback: Option<Placed<Arc<str>>>,
    /// `observerTag`: whose observations count. Empty for the first observer without a tag.
    pub observer: Placed<String>,
    /// Those that cannot be reached are passed over for a while.
    pub failing: Option<Failing>,
    /// gost's `retries`: how often it chooses again for a stream whose way did not open.
    pub retries: u32,
    /// Where it stands.
    pub at: Place,
}

/// gost's `maxFails` and `failTimeout`: who fails so often in a row is passed over for so long, unless all do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// How often.
    pub max_fails: u32,
    /// How long.
    pub timeout: Duration,
}

/// `strategy`: how a balancer chooses.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// Any of them.
    Random(Among),
    /// Xray's: with a fallback it looks at the living alone.
    RoundRobin(Among),
    /// gost's `fifo`: the first, in the order of the outbounds.
    First,
    /// Ours: the first that is not known to be dead, in the order of the selectors.
    FirstAlive,
    /// The alive one with the least delay, by whole milliseconds; the first by tag if several have it.
    LeastPing {
        /// `keepWithin`, ours: the chosen one stays as long as it lives and no other is sooner by more than this.
        keep_within: Duration,
    },
    /// By chance among the steadiest.
    LeastLoad(LeastLoad),
}

/// Which outbounds are chosen from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Among {
    /// All that there are.
    #[default]
    All,
    /// Those that are not known to be dead (`aliveOnly`).
    Alive,
}

/// The settings of `leastLoad`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeastLoad {
    /// `costs`: what makes some less welcome.
    pub costs: Vec<Cost>,
    /// Deviations, from the best on, of which the first that enough outbounds stay below is taken.
    pub baselines: Vec<Duration>,
    /// How many outbounds there should be to choose from; 0 for V2Ray's 1.
    pub expected: usize,
    /// `maxRTT`: outbounds that take as long are out of the question.
    pub max_rtt: Option<Duration>,
    /// The share of probes that may fail; 0 for any.
    pub tolerance: f64,
}

/// A weight for the outbounds whose tags match.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Whose it is.
    pub pattern: Match,
    /// Without one, the first number in what matched.
    pub value: Option<f64>,
}

/// What a cost looks for in a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// A part of the tag.
    Text(String),
    /// An expression for it.
    Regex(Regex),
}

impl Settings {
    /// The balancer with this tag.
    pub fn balancer(&self, tag: &str) -> Option<&BalancerSettings> {
        self.balancers.iter().find(|balancer| balancer.tag == tag)
    }

    /// The place of the rule that takes what no other does, if there is one.
    pub fn last_rule(&self) -> Option<usize> {
        let mut rules = self.rules.iter();
        rules.position(|rule| rule.conditions.take_all_streams())
    }

    /// The balancer that carries what no rule sends elsewhere.
    pub fn default_balancer(&self) -> Option<&BalancerSettings> {
        match &*self.rules.get(self.last_rule()?)?.target {
            Target::Balancer(tag) => self.balancer(tag),
            Target::Outbound(_) => None,
        }
    }

    /// Where nothing but `stand_ins` is left for a balancer to choose from all outbounds (`tags`), one of them carries
    /// what it is given: nothing comes through there.
    pub fn block(&mut self, stand_ins: &[Arc<str>], tags: &[String]) {
        let lives = |tag: &&String| !stand_ins.iter().any(|other| **other == ***tag);
        for balancer in &mut self.balancers {
            let mut living = tags.iter().filter(lives);
            let mut dead = stand_ins.iter();
            if balancer.fallback.is_none()
                && !living.any(|tag| selected(&balancer.selectors, tag))
                && let Some(tag) = dead.find(|tag| selected(&balancer.selectors, tag))
            {
                let at = balancer.selectors.at.clone();
                let value = tag.clone();
                balancer.fallback = Some(Placed { value, at });
            }
        }
    }
}

impl BalancerSettings {
    /// Whether the outbound tagged `tag` is one to choose.
    pub fn selects(&self, tag: &str) -> bool {
        selected(&self.selectors, tag)
    }
}

impl Strategy {
    /// As V2Ray has it: whichever is sooner.
    pub const LEAST_PING: Self = Self::LeastPing {
        keep_within: Duration::ZERO,
    };
}

impl Default for Strategy {
    fn default() -> Self {
        Self::Random(Among::All)
    }
}

/// Which of `selectors` stands for `tag`: the longest that it begins with, so that a whole tag stands for its own.
pub fn place(selectors: &[String], tag: &str) -> Option<usize> {
    let matching = selectors.iter().enumerate();
    let matching = matching.filter(|(_, prefix)| tag.starts_with(&***prefix));
    // Of two alike the first.
    let longest = matching.rev().max_by_key(|(_, prefix)| prefix.len());
    longest.map(|(n, _)| n)
}

/// Whether `tag` begins with one of `selectors`.
pub fn selected(selectors: &[String], tag: &str) -> bool {
    selectors.iter().any(|prefix| tag.starts_with(prefix))
}
