//! Users that come and go.

use std::fmt::Write;

use clap::Args;
use tonic::Status;

use super::empty;
use crate::api::client::Client;
use crate::config::Inbound;
use crate::dialect::messages::{WITH_USERS, account_of, write_user};
use crate::protocol::{AnyUser, InboundSettings};
use crate::wire::common::protocol::User;

#[derive(Debug, Args)]
pub(super) struct Added {
    /// Configs with the inbounds that the users are added to, as Xray's `adu` takes them
    #[arg(conflicts_with_all = ["tag", "id", "email"])]
    pub(super) files: Vec<String>,
    /// The inbound's tag
    #[arg(long, required_unless_present = "files")]
    tag: Option<String>,
    /// The user's id, a UUID; of a Trojan user the password, of one of Shadowsocks 2022 the key
    #[arg(long, visible_aliases = ["uuid", "password"], required_unless_present = "files")]
    id: Option<String>,
    /// What counters and `rmuser` call the user
    #[arg(long, required_unless_present = "files")]
    email: Option<String>,
    #[arg(long, default_value_t = 0)]
    level: u32,
    /// The inbound's protocol
    #[arg(long, value_parser = WITH_USERS, default_value = WITH_USERS[0])]
    protocol: String,
    /// Ignored: AEAD is used
    #[arg(long = "alterId", value_name = "NUMBER", hide = true)]
    alter_id: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Removed {
    /// The inbound's tag
    #[arg(long)]
    tag: String,
    /// Emails, as Xray's `rmu` takes them
    emails: Vec<String>,
    #[arg(long, required_unless_present = "emails", conflicts_with = "emails")]
    email: Option<String>,
}

pub(super) async fn add(client: &Client, user: Added, json: bool) -> Result<String, Status> {
    let Added {
        files: _,
        tag,
        id,
        email,
        level,
        protocol,
        alter_id: _,
    } = user;
    let wrong = || Status::invalid_argument("no such protocol");
    let account = account_of(&protocol, id.unwrap_or_default()).ok_or_else(wrong)?;
    let user = User {
        level,
        email: email.unwrap_or_default(),
        account: Some(account),
    };
    let tag = tag.unwrap_or_default();
    client.add_user(&tag, &user).await.map(|()| empty(json))
}

/// The users of these inbounds, as Xray's `adu` adds and tells them.
pub(super) async fn add_all(client: &Client, inbounds: &[Inbound]) -> Result<String, Status> {
    let (mut text, mut added, mut failed) = (String::new(), 0, false);
    for inbound in inbounds {
        let Some(tag) = &inbound.tag else { continue };
        let _ = writeln!(text, "processing inbound: {tag}");
        for user in users(&inbound.protocol) {
            if user.email.is_empty() {
                continue;
            }
            let _ = writeln!(text, "add user: {}", user.email);
            match client.add_user(tag, &user).await {
                Ok(()) => {
                    added += 1;
                    text.push_str("result: ok\n");
                }
                Err(status) => {
                    failed = true;
                    let _ = writeln!(text, "{}", status.message());
                }
            }
        }
    }
    let _ = writeln!(text, "Added {added} user(s) in total.");
    told(text, failed)
}

pub(super) async fn remove(client: &Client, users: Removed, json: bool) -> Result<String, Status> {
    let Removed { tag, emails, email } = users;
    if let Some(email) = email {
        return client.remove_user(&tag, &email).await.map(|()| empty(json));
    }
    let (mut text, mut removed, mut failed) = (String::new(), 0, false);
    for email in emails {
        let _ = writeln!(text, "remove user: {email}");
        match client.remove_user(&tag, &email).await {
            Ok(()) => removed += 1,
            Err(status) => {
                failed = true;
                let _ = writeln!(text, "{}", status.message());
            }
        }
    }
    let _ = writeln!(text, "Removed {removed} user(s) in total.");
    told(text, failed)
}

/// Xray says that all is well even when nothing was done; a script should know better.
fn told(text: String, failed: bool) -> Result<String, Status> {
    match failed {
        true => Err(Status::failed_precondition(text.trim_end())),
        false => Ok(text),
    }
}

/// What is sent for them.
pub(super) fn users(settings: &InboundSettings) -> Vec<User> {
    let users: Vec<AnyUser> = match settings {
        InboundSettings::Trojan(settings) => settings
            .users
            .iter()
            .cloned()
            .map(AnyUser::Trojan)
            .collect(),
        InboundSettings::Vless(settings) => {
            settings.users.iter().cloned().map(AnyUser::Vless).collect()
        }
        InboundSettings::Vmess(settings) => {
            settings.users.iter().cloned().map(AnyUser::Vmess).collect()
        }
        InboundSettings::Dokodemo(_)
        | InboundSettings::Http(_)
        | InboundSettings::Relay(_)
        | InboundSettings::Shadowsocks(_)
        | InboundSettings::Socks(_) => Vec::new(),
    };
    users.iter().map(write_user).collect()
}
