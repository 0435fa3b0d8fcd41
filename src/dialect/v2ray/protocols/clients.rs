//! The users of a server that knows them by id or password, and a client's servers with users that have ids: VMess and
//! VLESS have both.

use std::collections::HashSet;

use super::ids;
use super::servers::destination;
use crate::dialect::v2ray::json::{Node, Object};
use crate::protocol::servers::ServerSettings;
use crate::protocol::users::Identity;

/// `clients` (V2Ray 4) and `users` (V2Ray 5) of an inbound.
pub(super) fn read<U: Identity>(
    settings: &Object,
    user: impl Fn(&Node) -> Option<U>,
) -> Option<Vec<U>> {
    let mut users: Vec<U> = Vec::new();
    let mut keys = HashSet::new();
    let mut emails = HashSet::new();
    let mut sound = true;
    for node in settings.first_array(["clients", "users"]) {
        let Some(user) = user(&node) else {
            sound = false;
            continue;
        };
        if !keys.insert(user.key()) {
            node.warn(format!(
                "another user has the same {}, the last one counts, as in V2Ray",
                U::KEY
            ));
            users.retain(|other| other.key() != user.key());
        }
        if let Some(email) = user.email()
            && !emails.insert(email.to_lowercase())
        {
            node.error(format!("another user has the email `{email}`"));
            sound = false;
        }
        users.push(user);
    }
    if users.is_empty() && sound {
        settings
            .node
            .warn("there is no user in `clients` or `users`, nobody can connect");
    }
    sound.then_some(users)
}

/// `flow`, which V2Ray knows no more.
pub(super) fn no_flow(object: &Object) -> Option<()> {
    let Some(node) = object.get("flow").filter(|node| node.value != "") else {
        return Some(());
    };
    let flow: String = node.read()?;
    node.unbuilt(format!(
        "the flow `{}` is not built: remove `flow` at both ends, TLS alone seals the connection as well",
        flow.escape_debug()
    ));
    None
}

/// What panels (X-UI and its relatives) keep in a user for themselves; they take away whoever may not connect.
pub(super) fn pass_over_notes(user: &Object) {
    user.silent(&["enable", "expiryTime", "limitIp", "totalGB"]);
    user.silent(&["reset", "subId", "tgId"]);
    user.silent(&["created_at", "updated_at"]);
}

/// `vnext: [{address, port, users}]` of an outbound, or one server and one user in `settings` itself. `account` is
/// told what has the keys of a user, and the id among them.
pub(super) fn vnext<A>(
    settings: &Object,
    account: impl Fn(&Object, &Node) -> Option<A>,
) -> Option<Vec<ServerSettings<A>>> {
    let Some(vnext) = settings.get("vnext") else {
        let to = destination(settings);
        let id = settings.first(&["uuid", "id"]);
        if id.is_none() {
            settings.node.error("`uuid` is missing");
        }
        let account = id.and_then(|id| account(settings, &id));
        let server = ServerSettings {
            to: to?,
            accounts: vec![account?],
        };
        return Some(vec![server]);
    };
    let nodes = vnext.array();
    if nodes.is_empty() && vnext.value.is_array() {
        vnext.error("there is no server, expected `[{address, port, users}]`");
    }
    let servers: Vec<_> = nodes.iter().map(|node| server(node, &account)).collect();
    let servers: Vec<_> = servers.into_iter().collect::<Option<_>>()?;
    (!servers.is_empty()).then_some(servers)
}

fn server<A>(
    node: &Node,
    account: impl Fn(&Object, &Node) -> Option<A>,
) -> Option<ServerSettings<A>> {
    let object = node.object()?;
    let to = destination(&object);
    let list = object.require_node("users");
    let users = list.as_ref().map(Node::array);
    object.finish();
    let (list, users) = (list?, users?);
    if users.is_empty() && list.value.is_array() {
        list.error("there is no user");
    }
    let accounts: Vec<_> = users
        .iter()
        .map(|node| {
            let user = node.object()?;
            let account = ids::of(&user).and_then(|id| account(&user, &id));
            user.finish();
            account
        })
        .collect();
    let accounts: Vec<_> = accounts.into_iter().collect::<Option<_>>()?;
    let server = ServerSettings { to: to?, accounts };
    (!server.accounts.is_empty()).then_some(server)
}
