//! From what runs to what another config says: each part is compared, and what differs is replaced.

use std::fmt;
use std::mem::take;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::build::{self, Before};
use super::inbounds::Counts;
use super::{ApiLinks, App, StartError};
use crate::config::Config;
use crate::dispatch::{self, NextOutbound};
use crate::dns::Resolver;
use crate::observatory;
use crate::reverse;
use crate::routing::{self, HealthTable, HealthTables};

/// An observer that runs, and the table that it writes.
pub(super) struct Observer {
    pub(super) settings: observatory::Settings,
    pub(super) table: Arc<HealthTable>,
    pub(super) task: AbortHandle,
}

/// A bridge that runs.
pub(super) struct Bridge {
    pub(super) settings: reverse::BridgeSettings,
    pub(super) task: AbortHandle,
}

/// A published port that is kept open.
pub(super) struct Publisher {
    pub(super) settings: reverse::PublishSettings,
    pub(super) task: AbortHandle,
}

/// What a change was about; `Display` names it.
#[derive(Debug, Default)]
pub struct Changed {
    inbounds: Counts,
    outbounds: Counts,
    parts: Vec<&'static str>,
    /// The sessions that rules lead to the API, if it has another outbound.
    pub(crate) api: Option<ApiLinks>,
    /// What has changed in the config, and takes another process.
    pub restart: Vec<&'static str>,
}

impl App {
    /// Makes another config run in the place of this one. Tunnels go on, and so do listeners that both have; counters keep
    /// their values.
    ///
    /// What the config names is as it says; what the API has added besides stays, unless the config has its tag.
    ///
    /// # Errors
    ///
    /// When a place cannot be listened on, or a certificate cannot be used; nothing has changed then.
    pub async fn change(&mut self, mut config: Config) -> Result<Changed, StartError> {
        let changing = self.changing.clone();
        let _changing = changing.lock().await;
        let before = Before {
            outbounds: self.dispatcher.outbounds.all(),
            portals: &self.config.reverse.portals,
            api: self.config.api.as_ref().map(|api| &api.tag),
            metrics: self
                .config
                .metrics
                .as_ref()
                .and_then(|one| one.tag.as_ref()),
        };
        let (outbounds, [api, _]) = build::outbounds(
            take(&mut config.outbounds),
            config.reverse.portals.clone(),
            [
                config.api.as_ref().map(|api| api.tag.clone()),
                before.metrics.cloned(),
            ],
            self.browser.as_ref(),
            &before,
        )?;
        let inbounds = self.inbounds.prepare(take(&mut config.inbounds))?;
        // Nothing fails from here on.
        let mut changed = Changed {
            outbounds: count(&outbounds, &before),
            api,
            ..Changed::default()
        };
        let routing = take(&mut config.routing);
        changed.note(&self.config, &config);
        if self.routing != routing {
            changed.parts.push("routing");
        }
        let counts = self.config.stats != config.stats || self.config.policy != config.policy;
        let resolver = (self.config.dns != config.dns)
            .then(|| Resolver::following(config.dns.clone(), self.dispatcher.resolver().fakes()));
        let (observers, health) = self.observers(&config.observers);
        self.dispatcher.change(dispatch::Change {
            outbounds,
            routing: routing.clone(),
            health,
            resolver,
            policy: config.policy.clone(),
            limits: config.limits,
            count: config.stats,
        });
        self.observe(observers);
        self.bridge(&config.reverse.bridges);
        self.publish(&config.reverse.publish);
        changed.inbounds = self.inbounds.change(inbounds, counts).await;
        self.routing = routing;
        // They were not taken over.
        config.state = self.config.state.take();
        config.browser = self.config.browser.take();
        config.metrics = self.config.metrics.take();
        self.config = config;
        Ok(changed)
    }

    /// The observers of the next config, those that are the same with their tables.
    fn observers(
        &self,
        next: &[observatory::Settings],
    ) -> (Vec<(observatory::Settings, Arc<HealthTable>)>, HealthTables) {
        let next = next.iter().map(|settings| {
            let same = self
                .observers
                .iter()
                .find(|observer| observer.settings == *settings);
            let table = same.map(|same| same.table.clone()).unwrap_or_default();
            (settings.clone(), table)
        });
        let next: Vec<_> = next.collect();
        let tables = next.iter();
        let tables = tables.map(|(settings, table)| (settings.tag.to_string(), table.clone()));
        let tables = HealthTables::of(tables.collect());
        (next, tables)
    }

    fn observe(&mut self, next: Vec<(observatory::Settings, Arc<HealthTable>)>) {
        let mut before = take(&mut self.observers);
        for (settings, table) in next {
            let same = before.iter().position(|o| Arc::ptr_eq(&o.table, &table));
            self.observers.push(match same {
                Some(index) => before.swap_remove(index),
                None => Observer::start(settings, table, &self.dispatcher),
            });
        }
        before.iter().for_each(|observer| observer.task.abort());
    }

    fn bridge(&mut self, next: &[reverse::BridgeSettings]) {
        let mut before = take(&mut self.bridges);
        for settings in next {
            let same = before
                .iter()
                .position(|bridge| bridge.settings == *settings);
            self.bridges.push(match same {
                Some(index) => before.swap_remove(index),
                None => Bridge::start(settings.clone(), &self.dispatcher),
            });
        }
        before.iter().for_each(|bridge| bridge.task.abort());
    }
}

impl App {
    fn publish(&mut self, next: &[reverse::PublishSettings]) {
        let mut before = take(&mut self.publishers);
        for settings in next {
            let same = before.iter().position(|one| one.settings == *settings);
            self.publishers.push(match same {
                Some(index) => before.swap_remove(index),
                None => Publisher::start(settings.clone(), &self.dispatcher),
            });
        }
        before.iter().for_each(|publisher| publisher.task.abort());
    }
}

impl Publisher {
    pub(super) fn start(
        settings: reverse::PublishSettings,
        dispatcher: &Arc<dispatch::Dispatcher>,
    ) -> Self {
        let publishing = dispatcher.keep_published(settings.clone());
        Self {
            settings,
            task: crate::io::spawn(publishing).abort_handle(),
        }
    }
}

impl Observer {
    pub(super) fn start(
        settings: observatory::Settings,
        table: Arc<HealthTable>,
        dispatcher: &Arc<dispatch::Dispatcher>,
    ) -> Self {
        let observing = observatory::observe(settings.clone(), table.clone(), dispatcher.clone());
        Self {
            settings,
            table,
            task: crate::io::spawn(observing).abort_handle(),
        }
    }
}

impl Bridge {
    pub(super) fn start(
        settings: reverse::BridgeSettings,
        dispatcher: &Arc<dispatch::Dispatcher>,
    ) -> Self {
        let running = reverse::run_bridge(settings.clone(), dispatcher.bridge_host());
        Self {
            settings,
            task: crate::io::spawn(running).abort_handle(),
        }
    }
}

impl Changed {
    fn note(&mut self, before: &Config, next: &Config) {
        let parts = [
            ("dns", before.dns != next.dns),
            ("policy", before.policy != next.policy),
            ("limits", before.limits != next.limits),
            ("stats", before.stats != next.stats),
            ("log", before.log != next.log),
            ("reverse", before.reverse != next.reverse),
            ("observers", before.observers != next.observers),
            ("api", before.api != next.api),
        ];
        let differ = parts.into_iter().filter(|(_, differs)| *differs);
        self.parts.extend(differ.map(|(name, _)| name));
        let fixed = [
            ("the folder of the state", before.state != next.state),
            ("browserForwarder", before.browser != next.browser),
            ("metrics", before.metrics != next.metrics),
        ];
        let differ = fixed.into_iter().filter(|(_, differs)| *differs);
        self.restart.extend(differ.map(|(name, _)| name));
    }
}

/// What is new, and what is not there any more.
fn count(next: &[NextOutbound], before: &Before<'_>) -> Counts {
    let mut counts = Counts::default();
    let was_there = |tag: &Option<Arc<str>>| {
        tag.is_some() && before.outbounds.iter().any(|outbound| outbound.tag == *tag)
    };
    for outbound in next {
        if let NextOutbound::New(outbound) = outbound {
            match was_there(&outbound.tag) {
                true => counts.changed += 1,
                false => counts.added += 1,
            }
        }
    }
    let there = before
        .outbounds
        .iter()
        .filter(|outbound| !outbound.is_added());
    let goes_on = next.len() - counts.added;
    counts.removed = there.count().saturating_sub(goes_on);
    counts
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        for (name, counts) in [("inbounds", self.inbounds), ("outbounds", self.outbounds)] {
            let Counts {
                added,
                changed,
                removed,
            } = counts;
            let words = [(added, "added"), (changed, "changed"), (removed, "removed")];
            let some = words.into_iter().filter(|(count, _)| *count > 0);
            let some: Vec<String> = some
                .map(|(count, word)| format!("{count} {word}"))
                .collect();
            if !some.is_empty() {
                said.push(format!("{name} ({})", some.join(", ")));
            }
        }
        said.extend(self.parts.iter().map(|part| (*part).to_owned()));
        match said.is_empty() {
            true => f.write_str("no more than users and certificates have changed"),
            false => f.write_str(&said.join(", ")),
        }
    }
}

/// The parts of a config that later ones are compared with.
pub(super) fn remembered(config: &Config) -> (Config, routing::Settings) {
    let rest = Config {
        log: config.log.clone(),
        inbounds: Vec::new(),
        outbounds: Vec::new(),
        routing: routing::Settings::default(),
        reverse: config.reverse.clone(),
        observers: config.observers.clone(),
        dns: config.dns.clone(),
        policy: config.policy.clone(),
        limits: config.limits,
        stats: config.stats,
        state: config.state.clone(),
        api: config.api.clone(),
        browser: config.browser.clone(),
        metrics: config.metrics.clone(),
    };
    (rest, config.routing.clone())
}
