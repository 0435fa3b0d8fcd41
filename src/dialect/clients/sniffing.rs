//! What other programs look for in the first bytes of a session, as V2Ray's `sniffing`.
//!
//! They look where only an address is known, and V2Ray everywhere: a session to a name whose content has another one goes by that.

use crate::dialect::v2ray;
use crate::sniffing::{Protocol, Settings};

/// By the names of what is looked for; `overrides` where the session goes to the name that is found, and not only by its rules.
/// `None` where nothing of it names a target here.
pub(in crate::dialect) fn settings<'t>(
    names: impl Iterator<Item = &'t str>,
    overrides: bool,
) -> Option<Settings> {
    let overriding: Vec<Protocol> = names.filter_map(protocol).collect();
    (!overriding.is_empty()).then(|| Settings {
        overriding,
        route_only: !overrides,
        ..Settings::default()
    })
}

/// All that are looked for where nothing is said.
pub(in crate::dialect) const ALL: [&str; 3] = ["http", "tls", "quic"];

fn protocol(name: &str) -> Option<Protocol> {
    let protocol = v2ray::sniffing::protocol(name)?;
    // Its names are not found in what is sent.
    let is_found = !matches!(protocol, Protocol::FakeDns | Protocol::FakeDnsAndOthers);
    is_found.then_some(protocol)
}
