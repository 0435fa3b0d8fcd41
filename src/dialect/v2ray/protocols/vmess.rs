//! `settings` of a `vmess` inbound or outbound.
//!
//! Inbound: `clients` (V2Ray 4) or `users` (V2Ray 5), objects or bare ids. Outbound:
//! `vnext: [{address, port, users}]`, or one server and one user in `settings` itself (`address`,
//! `port`, `uuid` or `id`).

use super::{clients, ids};
use crate::dialect::v2ray::json::{Node, Object, did_you_mean, either};
use crate::protocol::vmess::{
    AccountSettings, InboundSettings, OutboundSettings, Security, UserSettings,
};

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let default_level = default_level(settings);
    let users = clients::read(settings, |node| user(node, default_level));
    let sealed_only = settings.read_or("disableInsecureEncryption", false);
    settings.no_effect(&["detour"]);
    users.map(|users| InboundSettings { users, sealed_only })
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let servers = clients::vnext(settings, account)?;
    Some(OutboundSettings { servers })
}

/// `default`: what users without a level of their own have.
fn default_level(settings: &Object) -> u32 {
    let Some(default) = settings.object("default") else {
        return 0;
    };
    let level = default.read_or("level", 0);
    warn_of_alter_id(&default);
    default.finish();
    level
}

fn user(node: &Node, default_level: u32) -> Option<UserSettings> {
    if node.value.is_string() {
        return Some(UserSettings {
            id: ids::read(node)?.into(),
            email: None,
            level: default_level,
        });
    }
    let object = node.object()?;
    let id = ids::of(&object);
    let email = object.read("email");
    let level = object.read_or("level", default_level);
    warn_of_alter_id(&object);
    // The client decides; V2Ray's configs carry these over from outbounds.
    object.silent(&["security", "experiments", "testsEnabled", "decryption"]);
    clients::pass_over_notes(&object);
    object.finish();
    Some(UserSettings {
        id: ids::read(&id?)?.into(),
        email: email.filter(|email: &String| !email.is_empty()),
        level,
    })
}

fn account(object: &Object, id: &Node) -> Option<AccountSettings> {
    let id = ids::read(id);
    let security = match object.get("security") {
        Some(node) => security(&node),
        None => Some(Security::Auto),
    };
    let mut experiments = String::new();
    for key in ["experiments", "testsEnabled"] {
        experiments.extend(object.read::<String>(key));
        experiments.push('|');
    }
    let has = |name: &str| experiments.split('|').any(|e| e.trim() == name);
    warn_of_alter_id(object);
    let level = object.read_or("level", 0);
    let _: Option<String> = object.read("email");
    Some(AccountSettings {
        at: object.node.path.key("security").into(),
        id: id?.into(),
        security: security?,
        authenticated_length: has("AuthenticatedLength"),
        no_end_mark: has("NoTerminationSignal"),
        level,
    })
}

fn security(node: &Node) -> Option<Security> {
    const NAMES: [(&str, Security); 5] = [
        ("auto", Security::Auto),
        ("aes-128-gcm", Security::Aes128Gcm),
        ("chacha20-poly1305", Security::ChaCha20Poly1305),
        ("none", Security::None),
        ("zero", Security::Zero),
    ];
    let text: String = node.read()?;
    let names = NAMES.map(|(name, _)| name);
    match text.to_ascii_lowercase().as_str() {
        "" => Some(Security::Auto),
        // Old configs say so, and their servers read every cipher.
        "aes-128-cfb" | "legacy" => {
            node.warn(format!(
                "`{text}` belongs to VMess' dead form without AEAD, `auto` takes its place"
            ));
            Some(Security::Auto)
        }
        lower => {
            if let Some((_, security)) = NAMES.iter().find(|(name, _)| *name == lower) {
                return Some(*security);
            }
            node.warn(format!(
                "`{}` is unknown, `auto` takes its place as in V2Ray, expected {}{}",
                text.escape_debug(),
                either(&names),
                did_you_mean(&text, names.into_iter())
            ));
            Some(Security::Auto)
        }
    }
}

fn warn_of_alter_id(object: &Object) {
    if let Some(node) = object.get("alterId")
        && node.read::<u16>().is_some_and(|n| n > 0)
    {
        node.warn(
            "VMess without AEAD is dead: AEAD is used, as with 0, and the peer must use it too",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::{Value, json};

    const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

    fn lines(value: &Value, outbound: bool) -> (bool, Vec<String>, Vec<String>) {
        let report = Report::default();
        let object = Node::root(value, &report).object().unwrap();
        let sound = if outbound {
            super::outbound(&object).is_some()
        } else {
            inbound(&object).is_some()
        };
        object.finish();
        let text = |all: Vec<crate::dialect::v2ray::json::Problem>| {
            all.iter().map(ToString::to_string).collect()
        };
        assert_eq!(sound, !report.has_errors(), "{:?}", report.errors());
        (sound, text(report.errors()), text(report.warnings()))
    }

    #[test]
    fn what_a_panel_notes_beside_a_user_is_passed_over() {
        let client = json!({
            "id": ID, "alterId": 0, "email": "a@b", "enable": true, "expiryTime": 0, "limitIp": 0,
            "reset": 0, "subId": "x", "tgId": "", "totalGB": 0, "limitip2": 0
        });
        let (sound, errors, warnings) = lines(&json!({"clients": [client]}), false);
        assert!(sound && errors.is_empty());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("limitip2"), "{warnings:?}");
    }

    #[test]
    fn every_spelling_of_users_and_servers_is_read() {
        for value in [
            json!({"clients": [{"id": ID, "alterId": 0, "level": 1, "email": "a@b"}]}),
            json!({"users": [ID]}),
            json!({"users": [{"id": ID.to_uppercase().replace('-', "")}], "default": {"level": 1}}),
        ] {
            assert_eq!(lines(&value, false), (true, vec![], vec![]), "{value}");
        }
        for value in [
            json!({"vnext": [{"address": "a.example", "port": 443,
                "users": [{"id": ID, "alterId": 0, "security": "auto", "level": 0,
                           "experiments": "AuthenticatedLength|NoTerminationSignal"}]}]}),
            json!({"address": "::1", "port": "443", "uuid": ID}),
            json!({"address": "::1", "port": 443, "id": ID, "security": "zero", "email": "x"}),
        ] {
            assert_eq!(lines(&value, true), (true, vec![], vec![]), "{value}");
        }
    }

    #[test]
    fn a_wrong_id_says_what_is_wrong() {
        let error = |id: &str| lines(&json!({"users": [id]}), false).1.remove(0);
        assert_eq!(
            error("b831381d"),
            "users[0]: `b831381d` is not a UUID, it has 8 of 32 hex digits"
        );
        assert_eq!(
            error("g831381d-6324-4d53-ad4f-8cda48b30811"),
            "users[0]: `g831381d-6324-4d53-ad4f-8cda48b30811` is not a UUID, `g` is not a hex digit"
        );
        assert_eq!(error(""), "users[0]: the id is empty, expected a UUID");
    }

    #[test]
    fn clients_stand_in_the_place_of_users() {
        let other = ID.replace('b', "c");
        let value = json!({"clients": [{"id": ID}], "users": [{"id": other}]});
        let (inbound, said) = crate::testing::settings::read(&value, inbound);
        let warning = "users: `clients` is there as well, and stands in its place, as in Xray";
        assert_eq!(said, [warning]);
        let users = inbound.unwrap().users;
        assert_eq!(users.len(), 1);
        assert_eq!(users[0].id.to_string(), ID);
    }

    #[test]
    fn two_users_with_one_email_are_a_mistake() {
        let other = ID.replace('b', "c");
        let value = json!({"clients": [{"id": ID, "email": "A@b"}, {"id": other, "email": "a@B"}]});
        let mistake = "clients[1]: another user has the email `a@B`";
        assert_eq!(lines(&value, false).1, [mistake]);
    }

    #[test]
    fn of_two_users_with_one_id_the_last_one_counts() {
        let value = json!({"clients": [{"id": ID, "email": "a@b"}, {"id": ID, "email": "c@d"}]});
        let (inbound, said) = crate::testing::settings::read(&value, inbound);
        let warning = "clients[1]: another user has the same id, the last one counts, as in V2Ray";
        assert_eq!(said, [warning]);
        let users = inbound.unwrap().users;
        assert_eq!(users.len(), 1);
        assert_eq!(users[0].email.as_deref(), Some("c@d"));
    }

    #[test]
    fn an_unknown_or_dead_security_is_auto() {
        let error = |security: &str| {
            let value = json!({"address": "a", "port": 1, "id": ID, "security": security});
            lines(&value, true).2.remove(0)
        };
        let names = "`auto`, `aes-128-gcm`, `chacha20-poly1305`, `none` or `zero`";
        assert_eq!(
            error("aes-128-gmc"),
            format!(
                "security: `aes-128-gmc` is unknown, `auto` takes its place as in V2Ray, expected {names}, did you mean `aes-128-gcm`?"
            )
        );
        let old = json!({"address": "a", "port": 1, "id": ID, "security": "aes-128-cfb"});
        let (_, errors, warnings) = lines(&old, true);
        assert_eq!(errors, [""; 0]);
        assert!(
            warnings[0].contains("`auto` takes its place"),
            "{warnings:?}"
        );
    }

    #[test]
    fn an_alter_id_warns() {
        let value = json!({"clients": [{"id": ID, "alterId": 64}]});
        let (sound, _, warnings) = lines(&value, false);
        assert!(sound && warnings[0].starts_with("clients[0].alterId: VMess without AEAD is dead"));
    }
}
