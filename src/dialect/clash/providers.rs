//! `proxy-providers`: proxies that groups have by the provider's name. What they name is in its place by now.

use crate::dialect::tree::Node;
use crate::dialect::tree::keys::Keys;

/// One whose proxies stand in the file.
pub(super) struct Provider<'n> {
    pub name: &'n str,
    pub proxies: &'n [Node],
}

/// Reads those whose proxies stand in the file; the others are told of.
pub(super) fn read<'n>(root: &Keys<'n>) -> Vec<Provider<'n>> {
    let all = root.get("proxy-providers").map(Node::entries);
    let mut providers = Vec::new();
    for (name, node) in all.unwrap_or_default() {
        let Some(keys) = Keys::of(node, root.notes()) else {
            continue;
        };
        let proxies = keys.items("payload");
        if node.get("payload").is_some() && proxies.is_empty() {
            continue;
        }
        if proxies.is_empty() {
            // Why nothing was found elsewhere has been told.
            if keys.word("type").as_deref() == Some("inline") {
                root.notes()
                    .left_out(&node.at, "there are no proxies in it");
            }
            continue;
        }
        keys.silent(&[
            "type",
            "url",
            "path",
            "interval",
            "health-check",
            // Of one that is fetched they have been heard.
            "proxy",
            "header",
            "size-limit",
        ]);
        keys.no_way(
            &["override"],
            "it is not carried over: say it of the proxies",
        );
        keys.finish();
        providers.push(Provider { name, proxies });
    }
    providers
}
