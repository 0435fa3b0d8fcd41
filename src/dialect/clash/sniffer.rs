//! `sniffer`: what is looked for in sessions to addresses.

use crate::dialect::clients::sniffing::settings;
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::Keys;
use crate::sniffing::Settings;

/// `None` where it is off, or nothing of it is found here.
pub(super) fn read(keys: &Keys) -> Option<Settings> {
    let sniffer = keys.map("sniffer")?;
    let is_on = sniffer.switch("enable");
    let mut overrides =
        sniffer.get("override-destination").and_then(Node::as_text) != Some("false");
    let mut names: Vec<&str> = Vec::new();
    for (name, how) in sniffer.get("sniff").map(Node::entries).unwrap_or_default() {
        names.push(name);
        // One for each protocol: the first counts for all.
        if let Some(own) = how.get("override-destination").and_then(Node::as_text)
            && names.len() == 1
        {
            overrides = own == "true";
        }
    }
    let older = sniffer.get("sniffing").map(Node::items).unwrap_or_default();
    if names.is_empty() {
        names.extend(older.iter().filter_map(Node::as_text));
    }
    // Which addresses and ports are looked at is a matter of speed, and names are looked up by nobody.
    sniffer.silent(&[
        "force-dns-mapping",
        "parse-pure-ip",
        "force-domain",
        "port-whitelist",
        "skip-src-address",
        "skip-dst-address",
    ]);
    sniffer.no_word(
        &["skip-domain"],
        "it is not carried over: names of it become the destination like others",
    );
    sniffer.finish();
    is_on.then(|| settings(names.into_iter(), overrides))?
}
