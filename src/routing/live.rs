//! The rules of this moment: they come and go while sessions run. A session is asked about with all rules of one
//! moment.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use thiserror::Error;

use super::{HealthTables, Outcome, Router, Settings, Target, balancer};

#[derive(Default)]
pub struct LiveRouter {
    now: RwLock<Arc<Router>>,
    health: RwLock<HealthTables>,
    /// Held while a new router is made of the present one.
    changing: Mutex<()>,
}

/// Why the rules stay as they are; in Xray's words.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RuleError {
    #[error("duplicate balancer tag")]
    BalancerTaken,
    #[error("duplicate ruleTag {0}")]
    RuleTaken(String),
    #[error("balancer {0} not found")]
    NoBalancer(String),
    #[error("empty tag name!")]
    NoName,
}

impl LiveRouter {
    /// Each balancer, also of those that come later, reads the table in `health` of the observer that it names.
    pub fn new(settings: Settings, health: HealthTables) -> Self {
        Self {
            now: RwLock::new(Arc::new(Router::new(settings, &health))),
            health: RwLock::new(health),
            changing: Mutex::default(),
        }
    }

    /// What the observers know.
    pub fn health(&self) -> HealthTables {
        let health = self.health.read();
        health.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts the rules and balancers of a config in the place of those of the config before. What the API has added stays
    /// behind them, unless its tag is taken; a balancer that is the same goes on as it is.
    pub fn change(&self, settings: Settings, health: HealthTables) {
        let _changing = self.lock();
        let before = self.now();
        let mut router = Router::new(settings, &health);
        router.follow(&before);
        *self.health.write().unwrap_or_else(PoisonError::into_inner) = health;
        self.set(router);
    }

    /// What became of a session by the outbound of this tag: balancers that look at it hear of it, and, where it leads to a server,
    /// those who observe it.
    pub fn note(&self, tag: &Arc<str>, outcome: Outcome, is_server: bool) {
        let now = Instant::now();
        for balancer in self.now().balancers() {
            balancer.note(tag, outcome == Outcome::Reached, now);
        }
        if is_server {
            let health = self.health.read();
            let health = health.unwrap_or_else(PoisonError::into_inner);
            health.hear(tag, outcome, now);
        }
    }

    pub fn now(&self) -> Arc<Router> {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts rules and balancers behind those that there are. `domainStrategy` stays.
    ///
    /// # Errors
    ///
    /// When a tag is taken, or a rule leads to a balancer that is not there.
    pub fn append(&self, settings: Settings) -> Result<(), RuleError> {
        let _changing = self.lock();
        let router = self.now();
        self.grow((*router).clone(), settings)
    }

    /// Puts rules and balancers in the place of all. `domainStrategy` stays.
    ///
    /// # Errors
    ///
    /// As those of [`LiveRouter::append`]; then all stay.
    pub fn replace(&self, settings: Settings) -> Result<(), RuleError> {
        let _changing = self.lock();
        let strategy = self.now().strategy;
        let router = Router {
            strategy,
            ..Router::default()
        };
        self.grow(router, settings)
    }

    /// Takes away the rules of this name; there may be none.
    ///
    /// # Errors
    ///
    /// When there is no name.
    pub fn remove(&self, tag: &str) -> Result<(), RuleError> {
        if tag.is_empty() {
            return Err(RuleError::NoName);
        }
        let _changing = self.lock();
        let mut router = (*self.now()).clone();
        router.rules.retain(|rule| rule.tag != tag);
        self.set(router);
        Ok(())
    }

    fn grow(&self, mut router: Router, settings: Settings) -> Result<(), RuleError> {
        for added in settings.balancers {
            if router.balancer(&added.tag).is_some() {
                return Err(RuleError::BalancerTaken);
            }
            router.added.push(added.tag.clone());
            router.balancers.push(balancer(added, &self.health()));
        }
        for rule in settings.rules {
            if !rule.tag.is_empty() && router.rules.iter().any(|other| other.tag == rule.tag) {
                return Err(RuleError::RuleTaken(rule.tag));
            }
            if let Target::Balancer(tag) = &*rule.target
                && router.balancer(tag).is_none()
            {
                return Err(RuleError::NoBalancer(tag.clone()));
            }
            router.push(rule, true);
        }
        self.set(router);
        Ok(())
    }

    fn set(&self, router: Router) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(router);
    }

    fn lock(&self) -> impl Drop + '_ {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{BalancerSettings, Conditions, Rule};

    #[test]
    fn rules_come_and_go_by_name_and_a_mistake_changes_nothing() {
        let router = LiveRouter::new(rules(&[("", "a"), ("first", "b")]), HealthTables::default());
        assert_eq!(router.append(rules(&[("second", "c")])), Ok(()));
        let taken = router.append(rules(&[("third", "d"), ("first", "e")]));
        assert_eq!(taken, Err(RuleError::RuleTaken("first".to_owned())));
        assert_eq!(shown(&router), "=a first=b second=c");
        assert_eq!(router.remove("first"), Ok(()));
        assert_eq!(router.remove("nobody"), Ok(()));
        assert_eq!(router.remove(""), Err(RuleError::NoName));
        assert_eq!(shown(&router), "=a second=c");
        let taken = router.replace(rules(&[("x", "a"), ("x", "b")]));
        assert_eq!(taken, Err(RuleError::RuleTaken("x".to_owned())));
        assert_eq!(shown(&router), "=a second=c");
        assert_eq!(router.replace(rules(&[("x", "a")])), Ok(()));
        assert_eq!(shown(&router), "x=a");
    }

    #[test]
    fn a_config_has_its_rules_anew_and_those_of_the_api_stay_behind_them() {
        let router = LiveRouter::new(rules(&[("x", "a"), ("y", "b")]), HealthTables::default());
        assert_eq!(router.append(rules(&[("api", "c"), ("z", "d")])), Ok(()));
        router.change(rules(&[("y", "e"), ("z", "f")]), HealthTables::default());
        assert_eq!(shown(&router), "y=e z=f api=c");
        router.change(rules(&[("y", "e"), ("z", "f")]), HealthTables::default());
        assert_eq!(shown(&router), "y=e z=f api=c");
        assert_eq!(router.replace(rules(&[("w", "g")])), Ok(()));
        router.change(rules(&[("y", "e")]), HealthTables::default());
        assert_eq!(shown(&router), "y=e w=g");
    }

    #[test]
    fn a_balancer_that_is_the_same_goes_on_as_it_is() {
        let with = |observer: &str, tags: &[&str]| Settings {
            balancers: tags
                .iter()
                .map(|tag| BalancerSettings {
                    tag: (*tag).to_owned(),
                    observer: observer.to_owned().into(),
                    ..BalancerSettings::default()
                })
                .collect(),
            ..Settings::default()
        };
        let router = LiveRouter::new(with("", &["b"]), HealthTables::default());
        let said = |router: &LiveRouter, tag| {
            router
                .now()
                .balancer(tag)
                .and_then(|balancer| balancer.overridden())
        };
        assert_eq!(router.append(with("", &["api"])), Ok(()));
        for tag in ["b", "api"] {
            router
                .now()
                .balancer(tag)
                .unwrap()
                .set_override(Some("there".into()));
        }
        router.change(with("", &["b", "c"]), HealthTables::default());
        assert_eq!(said(&router, "b").as_deref(), Some("there"));
        assert_eq!(said(&router, "api").as_deref(), Some("there"));
        router.change(with("other", &["b"]), HealthTables::default());
        assert_eq!(said(&router, "b"), None);
        assert!(router.now().balancer("c").is_none());
    }

    #[test]
    fn a_rule_leads_to_a_balancer_that_is_there() {
        let router = LiveRouter::default();
        let mut to_balancer = rules(&[("x", "-")]);
        to_balancer.rules[0].target = Target::Balancer("b".to_owned()).into();
        let missing = router.append(to_balancer.clone());
        assert_eq!(missing, Err(RuleError::NoBalancer("b".to_owned())));
        to_balancer.balancers.push(BalancerSettings {
            tag: "b".to_owned(),
            ..BalancerSettings::default()
        });
        assert_eq!(router.append(to_balancer.clone()), Ok(()));
        assert_eq!(shown(&router), "x=-");
        assert_eq!(router.append(to_balancer), Err(RuleError::BalancerTaken));
    }

    fn rules(all: &[(&str, &str)]) -> Settings {
        let rule = |(tag, to): &(&str, &str)| Rule {
            tag: (*tag).to_owned(),
            conditions: Conditions::default(),
            target: Target::Outbound((*to).into()).into(),
        };
        Settings {
            rules: all.iter().map(rule).collect(),
            ..Settings::default()
        }
    }

    fn shown(router: &LiveRouter) -> String {
        let router = router.now();
        let each = router.rules().map(|(tag, to)| {
            let to = to.map_or("-", |to| to);
            format!("{tag}={to}")
        });
        each.collect::<Vec<_>>().join(" ")
    }
}
