//! `settings` of a VMess inbound or outbound.
//!
//! Inbound: `clients` (V2Ray 4) or `users` (V2Ray 5), objects or bare ids. Outbound:
//! `vnext: [{address, port, users}]`, or one server and one user in `settings` itself (`address`,
//! `port`, `uuid` or `id`).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde_json::Value;
use uuid::Uuid;

use super::codec::auth_id::CmdKey;
use super::outbound::{Account, Security, Server};
use super::users::Users;
use super::{Inbound, Outbound};
use crate::address::{Destination, Host};
use crate::json::{Node, Object, Path, Port, Report, did_you_mean, either};
use crate::session::User;

impl Inbound {
    pub fn read(settings: &Object) -> Option<Self> {
        let default_level = read_default(settings);
        let mut users = Vec::new();
        let mut ids = HashSet::new();
        let mut emails = HashSet::new();
        let mut sound = true;
        let nodes = settings.array("clients").into_iter();
        for node in nodes.chain(settings.array("users")) {
            let Some(read) = read_user(&node, default_level) else {
                sound = false;
                continue;
            };
            if !ids.insert(read.id) {
                node.warn("another user has the same id, the last one counts, as in V2Ray");
                users.retain(|(id, _)| *id != read.id);
            }
            if let Some(email) = &read.user.email
                && !emails.insert(email.to_lowercase())
            {
                node.error(format!("another user has the email `{email}`"));
                sound = false;
            }
            users.push((read.id, read.user));
        }
        if users.is_empty() && sound {
            settings
                .node
                .warn("there is no user in `clients` or `users`, nobody can connect");
        }
        settings.no_effect(&["detour", "disableInsecureEncryption"]);
        let users = users.into_iter();
        let users = users.map(|(id, user)| (CmdKey::new(&id), Arc::new(user)));
        sound.then(|| Self::new(Users::new(users.collect())))
    }
}

impl Outbound {
    pub fn read(settings: &Object) -> Option<Self> {
        let mut accounts = Vec::new();
        let mut servers = Vec::new();
        let mut unsealed = Vec::new();
        let mut sound = true;
        match settings.get("vnext") {
            Some(vnext) => {
                let nodes = vnext.array();
                if nodes.is_empty() && vnext.value.is_array() {
                    vnext.error("there is no server, expected `[{address, port, users}]`");
                }
                sound &= !nodes.is_empty();
                for node in nodes {
                    sound &=
                        read_server(&node, &mut servers, &mut accounts, &mut unsealed).is_some();
                }
            }
            None => {
                let first = accounts.len();
                let to = read_destination(settings);
                let id = settings.first(&["uuid", "id"]);
                if id.is_none() {
                    settings.node.error("`uuid` is missing");
                }
                let account = id.and_then(|id| read_account(settings, &id));
                let (to, (account, security)) = (to?, account?);
                note_unsealed(settings, security, &to, &mut unsealed);
                accounts.push(account);
                servers.push(Server {
                    to,
                    accounts: first..accounts.len(),
                });
            }
        }
        sound.then(|| Self {
            servers,
            accounts,
            unsealed,
            turn: AtomicUsize::new(0),
        })
    }
}

/// A user alone, as `clients` has one; all mistakes are the error.
pub fn one_user(value: &Value) -> Result<(Uuid, User), String> {
    let report = Report::default();
    let user = read_user(&Node::root(value, &report), 0);
    match user {
        Some(read) if !report.has_errors() => Ok((read.id, read.user)),
        _ => {
            let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
            Err(errors.join("; "))
        }
    }
}

struct ReadUser {
    id: Uuid,
    user: User,
}

/// `default`: what users without a level of their own have.
fn read_default(settings: &Object) -> u32 {
    let Some(default) = settings.object("default") else {
        return 0;
    };
    let level = default.read_or("level", 0);
    warn_of_alter_id(&default);
    default.finish();
    level
}

fn read_user(node: &Node, default_level: u32) -> Option<ReadUser> {
    if node.value.is_string() {
        let user = User {
            email: None,
            level: default_level,
            anonymous: false,
        };
        return Some(ReadUser {
            id: read_id(node)?,
            user,
        });
    }
    let object = node.object()?;
    let id = object.first(&["id", "uuid"]);
    if id.is_none() {
        object.node.error("`id` is missing");
    }
    let user = User {
        email: object
            .read("email")
            .filter(|email: &String| !email.is_empty()),
        level: object.read_or("level", default_level),
        anonymous: false,
    };
    warn_of_alter_id(&object);
    // The client decides; V2Ray's configs carry these over from outbounds.
    object.silent(&["security", "experiments", "testsEnabled", "decryption"]);
    // What X-UI and its relatives keep here for themselves; they take away whoever may not connect.
    object.silent(&["enable", "expiryTime", "limitIp", "totalGB"]);
    object.silent(&["reset", "subId", "tgId"]);
    object.finish();
    Some(ReadUser {
        id: read_id(&id?)?,
        user,
    })
}

type Unsealed = Vec<(Path, Security, Destination)>;

/// Keeps in mind where a user asks for no seal.
fn note_unsealed(user: &Object, security: Security, to: &Destination, unsealed: &mut Unsealed) {
    if security.is_unsealed() {
        let path = user.node.path.key("security");
        unsealed.push((path, security, to.clone()));
    }
}

fn read_server(
    node: &Node,
    servers: &mut Vec<Server>,
    accounts: &mut Vec<Account>,
    unsealed: &mut Unsealed,
) -> Option<()> {
    let object = node.object()?;
    let to = read_destination(&object);
    let first = accounts.len();
    let users = object
        .require_node("users")
        .map(|users| (users.array(), users));
    object.finish();
    let (users, list) = users?;
    if users.is_empty() {
        if list.value.is_array() {
            list.error("there is no user");
        }
        return None;
    }
    let mut sound = true;
    for node in users {
        let account = node.object().and_then(|user| {
            let id = user.first(&["id", "uuid"]);
            if id.is_none() {
                user.node.error("`id` is missing");
            }
            let read = id.and_then(|id| read_account(&user, &id));
            if let (Some((_, security)), Some(to)) = (&read, &to) {
                note_unsealed(&user, *security, to, unsealed);
            }
            user.finish();
            read.map(|(account, _)| account)
        });
        sound &= account.is_some();
        accounts.extend(account);
    }
    servers.push(Server {
        to: to?,
        accounts: first..accounts.len(),
    });
    sound.then_some(())
}

fn read_destination(object: &Object) -> Option<Destination> {
    let host = object.require_node("address").and_then(|node| {
        let text: String = node.read()?;
        // Like V2Ray, forgive space around it.
        Host::parse(text.trim())
            .map_err(|e| node.error(format!("`{}`: {e}", text.escape_debug())))
            .ok()
    });
    let port = object.require_node("port").and_then(|node| {
        let port = node.read::<Port>()?.0;
        if port == 0 {
            node.error("the port is 0, expected 1 to 65535");
        }
        (port != 0).then_some(port)
    });
    Some(Destination::new(host?, port?))
}

fn read_account(object: &Object, id: &Node) -> Option<(Account, Security)> {
    let id = read_id(id);
    let security = match object.get("security") {
        Some(node) => read_security(&node),
        None => Some(Security::Auto),
    };
    let mut experiments = String::new();
    for key in ["experiments", "testsEnabled"] {
        experiments.extend(object.read::<String>(key));
        experiments.push('|');
    }
    let has = |name: &str| experiments.split('|').any(|e| e.trim() == name);
    let (authenticated_length, no_end_mark) =
        (has("AuthenticatedLength"), has("NoTerminationSignal"));
    warn_of_alter_id(object);
    let level = object.read_or("level", 0);
    let _: Option<String> = object.read("email");
    let security = security?;
    let mut account = Account::new(
        &CmdKey::new(&id?),
        security,
        authenticated_length,
        no_end_mark,
    );
    account.level = level;
    Some((account, security))
}

fn read_security(node: &Node) -> Option<Security> {
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
        "" => return Some(Security::Auto),
        // Old configs say so, and their servers read every cipher.
        "aes-128-cfb" | "legacy" => {
            node.warn(format!(
                "`{text}` belongs to VMess' dead form without AEAD, `auto` takes its place"
            ));
            return Some(Security::Auto);
        }
        lower => {
            if let Some((_, security)) = NAMES.iter().find(|(name, _)| *name == lower) {
                return Some(*security);
            }
            node.error(format!(
                "`{}` is unknown, expected {}{}",
                text.escape_debug(),
                either(&names),
                did_you_mean(&text, names.into_iter())
            ));
        }
    }
    None
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

/// A UUID, or Xray's short form of one: any text of up to 30 bytes stands for the UUIDv5 of itself.
///
/// A text of nothing but hex digits and dashes is meant to be a UUID, and must be whole.
fn read_id(node: &Node) -> Option<Uuid> {
    let text: String = node.read()?;
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    match (hex, text.len()) {
        (_, 0) => node.error("the id is empty, expected a UUID"),
        (true, _) if digits.len() == 32 => return Uuid::parse_str(&digits).ok(),
        (true, _) => node.error(format!(
            "`{text}` is not a UUID, it has {} of 32 hex digits",
            digits.len()
        )),
        (false, 1..=30) => {
            node.warn("this is not a UUID, it is taken as Xray does: the id is made from the text");
            return Some(Uuid::new_v5(&Uuid::nil(), text.as_bytes()));
        }
        (false, _) => {
            let odd = digits
                .chars()
                .find(|c| !c.is_ascii_hexdigit())
                .unwrap_or('?');
            node.error(format!(
                "`{}` is not a UUID, `{}` is not a hex digit",
                text.escape_debug(),
                odd.escape_debug()
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

    fn lines(value: &Value, outbound: bool) -> (bool, Vec<String>, Vec<String>) {
        let report = Report::default();
        let object = Node::root(value, &report).object().unwrap();
        let sound = if outbound {
            Outbound::read(&object).is_some()
        } else {
            Inbound::read(&object).is_some()
        };
        object.finish();
        let text = |all: Vec<crate::json::Problem>| all.iter().map(ToString::to_string).collect();
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
    fn a_short_name_is_the_id_that_xray_makes_of_it() {
        let (value, report) = (json!("example"), Report::default());
        let id = read_id(&Node::root(&value, &report)).unwrap();
        assert_eq!(id.to_string(), "feb54431-301b-52bb-a6dd-e1e93e81bb9e");
        assert_eq!(report.warnings().len(), 1);
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
        let (inbound, said) = crate::testing::settings::read(&value, Inbound::read);
        let warning = "clients[1]: another user has the same id, the last one counts, as in V2Ray";
        assert_eq!(said, [warning]);
        let inbound = inbound.unwrap();
        assert!(inbound.remove_user("a@b").is_err());
        assert!(inbound.remove_user("c@d").is_ok());
    }

    #[test]
    fn an_unknown_or_dead_security_is_a_mistake() {
        let error = |security: &str| {
            let value = json!({"address": "a", "port": 1, "id": ID, "security": security});
            lines(&value, true).1.remove(0)
        };
        let names = "`auto`, `aes-128-gcm`, `chacha20-poly1305`, `none` or `zero`";
        assert_eq!(
            error("aes-128-gmc"),
            format!(
                "security: `aes-128-gmc` is unknown, expected {names}, did you mean `aes-128-gcm`?"
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
