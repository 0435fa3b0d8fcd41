//! `proxy-providers`: proxies that groups have by the provider's name. What stands in files is in its place by now.

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
            let text = "nothing is fetched for it: `mobula run -c URL` with its `url` runs what stands there, `mobula convert URL` writes a config of it";
            root.notes().left_out(&node.at, text);
            continue;
        }
        keys.silent(&[
            "type",
            "url",
            "path",
            "interval",
            "health-check",
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
