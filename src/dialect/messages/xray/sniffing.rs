//! `sniffing_settings`.

use super::routing::patterns;
use crate::dialect::messages::at::At;
use crate::dialect::v2ray::sniffing::protocol;
use crate::matching::{Domains, Geodata, geodata};
use crate::sniffing::Settings;
use crate::wire::xray::app::proxyman::SniffingConfig;

pub(super) fn read(message: &SniffingConfig, at: &At) -> Option<Option<Settings>> {
    let mut overriding = Vec::new();
    for word in &message.destination_override {
        match protocol(word) {
            Some(protocol) => overriding.push(protocol),
            None => {
                let text = format!("`{}` is not known", word.escape_debug());
                return at.key("destination_override").error(text);
            }
        }
    }
    if message.enabled && !message.ips_excluded.is_empty() {
        let text = "exceptions by address are not built, and sessions to these would go by the sniffed name";
        return at.key("ips_excluded").error(text);
    }
    let excluded = match message.domains_excluded.is_empty() {
        true => None,
        false => {
            let at = at.key("domains_excluded");
            let geodata = Geodata::new(geodata::folders());
            let patterns = patterns(&message.domains_excluded, &geodata, &at)?;
            Some(at.ok(Domains::new(patterns))?)
        }
    };
    Some(message.enabled.then_some(Settings {
        overriding,
        excluded,
        route_only: message.route_only,
        resolves_named: message.route_only,
        metadata_only: message.metadata_only,
    }))
}
