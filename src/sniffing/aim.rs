//! Where a session goes once it is known what it carries.

use crate::address::{Destination, Host};

/// What became of the destination that a session asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    asked: Destination,
    /// With the name that was found.
    named: Option<Destination>,
    route_only: bool,
    resolves_named: bool,
    /// What was asked for is a made-up address.
    is_fake: bool,
}

/// What is known of a made-up address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MadeUp {
    /// It stands for this name.
    Named(Host),
    /// What it stood for is forgotten, if it ever stood for anything.
    Forgotten,
}

impl Aim {
    pub(super) fn new(asked: Destination, named: Option<Destination>, route_only: bool) -> Self {
        Self {
            asked,
            named,
            route_only,
            resolves_named: false,
            is_fake: false,
        }
    }

    /// Whether rules are to be asked about the addresses of the name.
    pub(super) fn resolving_named(self, resolves_named: bool) -> Self {
        Self {
            resolves_named,
            ..self
        }
    }

    pub(super) fn of_fake(asked: Destination, named: Option<Destination>) -> Self {
        Self {
            is_fake: true,
            ..Self::new(asked, named, false)
        }
    }

    /// Whether there is nothing at the destination: it is a made-up address, and its name is not known.
    pub fn is_lost(&self) -> bool {
        self.is_fake && self.named.is_none()
    }

    /// What a made-up address stands for.
    pub fn name_of_fake(&self) -> Option<&Host> {
        let named = self.named.as_ref().filter(|_| self.is_fake)?;
        Some(&named.host)
    }

    /// With the name that rules are asked about.
    pub fn ruled(&self) -> &Destination {
        self.named.as_ref().unwrap_or(&self.asked)
    }

    /// The name that rules are asked about, where the session goes elsewhere.
    pub fn name_for_rules(&self) -> Option<&str> {
        match &self.named.as_ref().filter(|_| self.route_only)?.host {
            Host::Domain(name) => Some(name),
            Host::Ip(_) => None,
        }
    }

    /// Whether the addresses of [`name_for_rules`](Self::name_for_rules) are those that rules want to know, and not the one where the
    /// session goes.
    pub fn resolves_named(&self) -> bool {
        let is_to_address = matches!(self.asked.host, Host::Ip(_));
        self.resolves_named && is_to_address && self.name_for_rules().is_some()
    }

    /// Where the session goes, if that is not where it asked to go.
    pub fn replaced(&self) -> Option<&Destination> {
        self.named.as_ref().filter(|_| !self.route_only)
    }

    /// Where the session goes.
    pub fn dialled(&self) -> &Destination {
        self.replaced().unwrap_or(&self.asked)
    }

    pub fn asked(&self) -> &Destination {
        &self.asked
    }

    /// Where the session goes.
    pub fn to(self) -> Destination {
        match self.named {
            Some(named) if !self.route_only => named,
            _ => self.asked,
        }
    }
}

impl From<Destination> for Aim {
    /// Nothing was found.
    fn from(asked: Destination) -> Self {
        Self::new(asked, None, false)
    }
}
