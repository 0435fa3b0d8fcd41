//! `settings` of a `vless` inbound or outbound.
//!
//! Inbound: `clients` or `users`, objects or bare ids, and `decryption: none`. Outbound:
//! `vnext: [{address, port, users}]`, or one server and one user in `settings` itself (V2Ray 5: `uuid`; Xray: `id`),
//! with `encryption: none`. V2Ray 5's own form has no word for either.

use super::{clients, fallbacks, ids};
use crate::dialect::v2ray::json::{Node, Object};
use crate::protocol::vless::{
    AccountSettings, InboundSettings, OutboundSettings, UserSettings, VlessUser,
};
use crate::report::Place;

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let users = clients::read(settings, |node| user(node).map(VlessUser));
    let must = settings.get("clients").is_some();
    let unsealed = no_encryption(settings, "decryption", must);
    let flow = clients::no_flow(settings);
    let fallbacks = fallbacks::read(settings);
    // What panels keep here for themselves.
    settings.silent(&["encryption", "selectedAuth", "testseed"]);
    let (_, ()) = (unsealed?, flow?);
    Some(InboundSettings {
        users: users?.into_iter().map(Into::into).collect(),
        fallbacks: fallbacks?,
    })
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let servers = clients::vnext(settings, account)?;
    Some(OutboundSettings { servers })
}

pub(super) fn user(node: &Node) -> Option<UserSettings> {
    if node.value.is_string() {
        return Some(UserSettings {
            id: ids::read(node)?.into(),
            ..UserSettings::default()
        });
    }
    let object = node.object()?;
    let id = ids::of(&object);
    let email = object.read("email");
    let level = object.read_or("level", 0);
    let flow = clients::no_flow(&object);
    no_reverse(&object);
    pass_over_vmess(&object);
    object.silent(&["encryption"]);
    clients::pass_over_notes(&object);
    object.finish();
    flow?;
    Some(UserSettings {
        id: ids::read(&id?)?.into(),
        email: email.filter(|email: &String| !email.is_empty()),
        level,
    })
}

fn account(object: &Object, id: &Node) -> Option<AccountSettings> {
    let id = ids::read(id);
    let must = object.get("uuid").is_none();
    let unsealed = no_encryption(object, "encryption", must);
    let flow = clients::no_flow(object);
    no_reverse(object);
    let level = object.read_or("level", 0);
    let _: Option<String> = object.read("email");
    pass_over_vmess(object);
    flow?;
    Some(AccountSettings {
        at: unsealed?,
        id: id?.into(),
        level,
    })
}

/// `encryption` or `decryption`, which says that there is none; where it says so, or could.
fn no_encryption(object: &Object, key: &'static str, must: bool) -> Option<Place> {
    let Some(node) = object.get(key).filter(|node| node.value != "") else {
        if must {
            let text = format!("`{key}` is missing, expected `none`");
            object.node.error(text);
        }
        return (!must).then(|| object.node.path.clone().into());
    };
    let text: String = node.read()?;
    if text.eq_ignore_ascii_case("none") {
        return Some(node.path.into());
    }
    // `METHOD.MODE.TIME.KEY`.
    match text.contains('.') {
        true => node.unbuilt("VLESS Encryption is not built, expected `none`, with `security: tls` in `streamSettings` as the seal"),
        false => node.error(format!("`{}` is unknown, expected `none`", text.escape_debug())),
    }
    None
}

/// Xray's way to a bridge, by a command of VLESS's own.
fn no_reverse(user: &Object) {
    user.refuse(
        "reverse",
        "Xray's reverse of a VLESS user is not built, expected `bridges` and `portals` in `reverse` at the top level",
    );
}

/// What programs that write VMess and VLESS alike leave in a user.
fn pass_over_vmess(user: &Object) {
    user.silent(&["alterId", "security"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings::read;
    use serde_json::{Value, json};

    const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

    fn inbound_says(value: &Value) -> Vec<String> {
        read(value, |object| inbound(object).is_some()).1
    }

    fn outbound_says(value: &Value) -> Vec<String> {
        read(value, |object| outbound(object).is_some()).1
    }

    #[test]
    fn every_spelling_is_read() {
        for value in [
            json!({"clients": [{"id": ID, "flow": "", "level": 1, "email": "a@b"}], "decryption": "none"}),
            json!({"clients": [], "users": [{"id": ID}], "decryption": "none", "fallbacks": []}),
            json!({"users": [ID]}),
            json!({"clients": [{"id": ID}], "decryption": "none", "fallbacks": [{"dest": 80}]}),
        ] {
            let (settings, said) = read(&value, inbound);
            assert_eq!(said, [""; 0], "{value}");
            assert_eq!(settings.unwrap().users[0].id.to_string(), ID);
        }
        for value in [
            json!({"vnext": [{"address": "a.example", "port": 443, "users": [
                {"id": ID, "encryption": "none", "flow": "", "level": 0, "email": "a@b"}]}]}),
            json!({"vnext": [{"address": "a.example", "port": 443, "users": [
                {"id": ID, "alterId": 0, "security": "auto", "encryption": "none"}]}]}),
            json!({"address": "::1", "port": "443", "uuid": ID}),
            json!({"address": "::1", "port": 443, "id": ID, "encryption": "none", "flow": ""}),
        ] {
            let (settings, said) = read(&value, outbound);
            assert_eq!(said, [""; 0], "{value}");
            let servers = settings.unwrap().servers;
            assert_eq!(servers[0].accounts[0].id.to_string(), ID);
        }
    }

    /// The two bytes are the client's to choose, so these are one user.
    #[test]
    fn ids_that_differ_in_the_route_alone_are_one() {
        let other = ID.replace("4d53", "0001");
        let value = json!({"clients": [{"id": ID}, {"id": other}], "decryption": "none"});
        let (settings, said) = read(&value, inbound);
        assert!(
            said[0].contains("the same id, its bytes 7 and 8 aside"),
            "{said:?}"
        );
        let users = settings.unwrap().users;
        assert_eq!(users.len(), 1);
        assert_eq!(users[0].id.to_string(), other);
    }

    #[test]
    fn what_must_be_said_is_asked_for() {
        let missing = "config: `decryption` is missing, expected `none`";
        assert_eq!(inbound_says(&json!({"clients": [ID]})), [missing]);
        let empty = json!({"clients": [ID], "decryption": ""});
        assert_eq!(inbound_says(&empty), [missing]);
        let users = json!([{"id": ID}]);
        let vnext = json!({"vnext": [{"address": "a", "port": 1, "users": users}]});
        assert_eq!(
            outbound_says(&vnext),
            ["vnext[0].users[0]: `encryption` is missing, expected `none`"]
        );
        let flat = json!({"address": "a", "port": 1, "id": ID});
        assert_eq!(
            outbound_says(&flat),
            ["config: `encryption` is missing, expected `none`"]
        );
    }

    #[test]
    fn what_is_not_built_is_refused_with_the_cure() {
        let key = "mlkem768x25519plus.native.0rtt.X25519KEY";
        let cure = "VLESS Encryption is not built, expected `none`, with `security: tls` in `streamSettings` as the seal";
        let said = inbound_says(&json!({"clients": [ID], "decryption": key}));
        assert_eq!(said, [format!("decryption: {cure}")]);
        let said = outbound_says(&json!({"address": "a", "port": 1, "id": ID, "encryption": key}));
        assert_eq!(said, [format!("encryption: {cure}")]);
        let said = inbound_says(&json!({"clients": [ID], "decryption": "aes"}));
        assert_eq!(said, ["decryption: `aes` is unknown, expected `none`"]);

        let reverse = json!({"address": "a", "port": 1, "id": ID, "encryption": "none", "reverse": {"tag": "r"}});
        let said = outbound_says(&reverse);
        assert!(
            said[0].starts_with("reverse: Xray's reverse of a VLESS user is not built"),
            "{said:?}"
        );
        let users = json!({"clients": [{"id": ID, "reverse": {"tag": "r"}}], "decryption": "none"});
        let said = inbound_says(&users);
        assert!(
            said[0].starts_with("clients[0].reverse: Xray's"),
            "{said:?}"
        );
        let vision = json!([{"id": ID, "flow": "xtls-rprx-vision", "encryption": "none"}]);
        let cure = "the flow `xtls-rprx-vision` is not built: remove `flow` at both ends, TLS alone seals the connection as well";
        let said = inbound_says(&json!({"clients": vision, "decryption": "none"}));
        assert_eq!(said, [format!("clients[0].flow: {cure}")]);
        let said = outbound_says(&json!({"vnext": [{"address": "a", "port": 1, "users": vision}]}));
        assert_eq!(said, [format!("vnext[0].users[0].flow: {cure}")]);
    }
}
