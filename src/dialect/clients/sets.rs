//! Lists of names and addresses that the rules of a file refer to by name.

use std::cell::Cell;
use std::collections::HashMap;

use super::logic::Any;
use super::rules::Asks;
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::Notes;
use crate::matching::Geodata;

/// The lists of a file.
pub(in crate::dialect) struct Sets<'n> {
    all: HashMap<&'n str, &'n Node>,
    /// How many entries rules may still have from lists: one may be named many times, by a stranger.
    left: Cell<usize>,
}

const MAX_ENTRIES: usize = 1_000_000;

/// Collections whose lists are made from what `geosite.dat` and `geoip.dat` are made from, under the same names.
const COLLECTIONS: [&str; 4] = [
    "sagernet/sing-geosite",
    "sagernet/sing-geoip",
    "metacubex/meta-rules-dat",
    "lyc8503/sing-box-rules",
];

/// One that has names of its own for them.
const OF_LOYALSOLDIER: &str = "loyalsoldier/clash-rules";
const LOYALSOLDIERS: [(&str, &str, &str); 12] = [
    ("apple", "geosite", "apple@cn"),
    ("cncidr", "geoip", "cn"),
    ("direct", "geosite", "cn"),
    ("gfw", "geosite", "gfw"),
    ("google", "geosite", "google@cn"),
    ("icloud", "geosite", "icloud"),
    ("lancidr", "geoip", "private"),
    ("private", "geosite", "private"),
    ("proxy", "geosite", "geolocation-!cn"),
    ("reject", "geosite", "category-ads-all"),
    ("telegramcidr", "geoip", "telegram"),
    ("tld-not-cn", "geosite", "tld-!cn"),
];

impl<'n> Sets<'n> {
    pub(in crate::dialect) fn new(all: impl Iterator<Item = (&'n str, &'n Node)>) -> Self {
        Self {
            all: all.collect(),
            left: Cell::new(MAX_ENTRIES),
        }
    }

    pub(in crate::dialect) fn get(&self, name: &str) -> Option<&'n Node> {
        self.all.get(name).copied()
    }

    /// Whether a rule may have so many entries from a list.
    pub(in crate::dialect) fn spend(&self, entries: usize) -> bool {
        let left = self.left.get().checked_sub(entries.max(1));
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// Whether `key` of a list, a URL or a file, says that it is one of geodata's categories.
pub(in crate::dialect) fn is_of_geodata(set: &Node, key: &str) -> bool {
    let place = set.get(key).and_then(Node::as_text);
    place.and_then(category).is_some()
}

/// Whether such a category is there on this machine.
pub(in crate::dialect) fn is_here(set: &Node, key: &str, geodata: &Geodata) -> bool {
    let place = set.get(key).and_then(Node::as_text);
    place.and_then(category).is_some_and(|(kind, name)| {
        let name = name.split('@').next().unwrap_or_default();
        geodata.has(&format!("{kind}.dat"), name)
    })
}

/// The category that `key` of a list, a URL or a file, is about: nothing is fetched for it.
pub(in crate::dialect) fn of_geodata(set: &Node, key: &str, notes: &Notes) -> Option<Any> {
    let place = set.get(key)?;
    let (kind, name) = category(place.as_text()?)?;
    let mut asks = Asks::default();
    match kind {
        "geosite" => asks.add("domain", format!("geosite:{name}")),
        _ => asks.add_geoip("ip", &name),
    }
    let text = format!("nothing is fetched for it: `{kind}:{name}` of `{kind}.dat` is taken");
    notes.left_out(&place.at, text);
    Some(Any::of(asks))
}

/// `geosite` and `cn` of `https://raw.githubusercontent.com/SagerNet/sing-geosite/rule-set/geosite-cn.srs`, and of a file of this
/// name.
fn category(place: &str) -> Option<(&'static str, String)> {
    let place = place.to_ascii_lowercase();
    let place = place.split(['?', '#']).next().unwrap_or_default();
    let is_url = place.contains("://");
    let is_in = |collection: &str| {
        let behind = place.split_once(collection).map(|(_, behind)| behind);
        // Among them are lists of another making, which are in no `.dat`.
        behind
            .is_some_and(|behind| behind.starts_with(['/', '@']) && !behind.contains("/geo-lite/"))
    };
    let mut parts = place.rsplit(['/', '\\']);
    let file = parts.next()?;
    let (stem, extension) = file.rsplit_once('.')?;
    if !matches!(extension, "srs" | "mrs" | "json" | "yaml" | "list" | "txt") {
        return None;
    }
    if is_url && is_in(OF_LOYALSOLDIER) {
        let found = LOYALSOLDIERS.iter().find(|(name, ..)| *name == stem);
        return found.map(|(_, kind, name)| (*kind, (*name).to_owned()));
    }
    let is_known = COLLECTIONS.iter().any(|name| is_in(name));
    let folder = parts.next().unwrap_or_default();
    let of = |kind: &'static str| {
        let name = match stem
            .strip_prefix(kind)
            .and_then(|stem| stem.strip_prefix('-'))
        {
            Some(name) => name,
            None if is_url && folder == kind => stem,
            None => return None,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_!@".contains(c);
        (!name.is_empty() && name.chars().all(is_name)).then(|| (kind, name.to_owned()))
    };
    let found = of("geosite").or_else(|| of("geoip"));
    found.filter(|_| is_known || !is_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_lists_are_categories() {
        for (place, expected) in [
            (
                "https://raw.githubusercontent.com/SagerNet/sing-geosite/rule-set/geosite-cn.srs",
                Some(("geosite", "cn")),
            ),
            (
                "https://cdn.jsdelivr.net/gh/SagerNet/sing-geosite@rule-set/geosite-geolocation-!cn.srs",
                Some(("geosite", "geolocation-!cn")),
            ),
            (
                "https://testingcf.jsdelivr.net/gh/MetaCubeX/meta-rules-dat@sing/geo/geoip/CN.srs?x=1",
                Some(("geoip", "cn")),
            ),
            (
                "https://github.com/MetaCubeX/meta-rules-dat/raw/meta/geo/geosite/category-games@cn.mrs",
                Some(("geosite", "category-games@cn")),
            ),
            (
                "https://cdn.jsdelivr.net/gh/Loyalsoldier/clash-rules@release/proxy.txt",
                Some(("geosite", "geolocation-!cn")),
            ),
            (
                "https://raw.githubusercontent.com/Loyalsoldier/clash-rules/release/cncidr.txt",
                Some(("geoip", "cn")),
            ),
            (
                "https://cdn.jsdelivr.net/gh/Loyalsoldier/clash-rules@release/applications.txt",
                None,
            ),
            ("./rules/geoip-cn.srs", Some(("geoip", "cn"))),
            ("C:\\rules\\geosite-cn.srs", Some(("geosite", "cn"))),
            (
                "https://raw.githubusercontent.com/MetaCubeX/meta-rules-dat/sing/geo-lite/geoip/apple.srs",
                None,
            ),
            // Somebody else's, which may say anything.
            ("https://a.example/geosite-cn.srs", None),
            ("./geosite/cn.srs", None),
            (
                "https://raw.githubusercontent.com/SagerNet/sing-geosite-x/geosite-cn.srs",
                None,
            ),
            (
                "https://raw.githubusercontent.com/SagerNet/sing-geosite/rule-set/geosite-.srs",
                None,
            ),
            (
                "https://raw.githubusercontent.com/SagerNet/sing-geosite/rule-set/cn",
                None,
            ),
            ("", None),
        ] {
            let found = category(place);
            let found = found.as_ref().map(|(kind, name)| (*kind, &**name));
            assert_eq!(found, expected, "{place}");
        }
    }
}
