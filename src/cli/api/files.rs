//! What is added, or taken away, by the files that it stands in. They are read before the server is asked.

use std::fmt::Write;
use std::path::Path;

use prost::Message;
use tonic::Status;

use super::methods::Call;
use super::print::pretty;
use super::{ApiCommand, users};
use crate::api::client::{Client, Family, HANDLER};
use crate::config::{Inbound, Outbound};
use crate::dialect::messages::{self, Keys, write_inbound, write_outbound};
use crate::dialect::v2ray::Input;
use crate::dialect::v2ray::part::{self, Part};
use crate::transport::tls::ServerSettings as ServerTls;
use crate::wire::app::proxyman::command::{
    AddInboundRequest, AddOutboundRequest, RemoveInboundRequest, RemoveOutboundRequest,
};
use crate::wire::xray::app::router;
use crate::wire::{InboundHandlerConfig, OutboundHandlerConfig};

/// A command whose files have been read.
pub(super) enum Read {
    Inbounds(Vec<Inbound>),
    Outbounds(Vec<Outbound>),
    Rules(Vec<router::Config>, bool),
    Users(Vec<Inbound>),
    Removed(What, Vec<String>),
    Call(Call),
    Other(ApiCommand),
}

/// What is taken away.
#[derive(Clone, Copy)]
pub(super) enum What {
    Inbounds,
    Outbounds,
}

/// Reads the files of a command; an error has a line for each mistake.
pub(super) fn read(command: ApiCommand) -> Result<Read, String> {
    Ok(match command {
        ApiCommand::Adi { files } => {
            let inbounds = all(files, part::inbounds)?.concat();
            if inbounds.is_empty() {
                return Err("there is no inbound in it, expected `inbounds`".to_owned());
            }
            inbounds.iter().try_for_each(check_inbound)?;
            Read::Inbounds(inbounds)
        }
        ApiCommand::Ado { files } => {
            let outbounds = all(files, part::outbounds)?.concat();
            if outbounds.is_empty() {
                return Err("there is no outbound in it, expected `outbounds`".to_owned());
            }
            outbounds.iter().try_for_each(check_outbound)?;
            Read::Outbounds(outbounds)
        }
        ApiCommand::GetStats(request) => Read::Call(request.get_stats()?),
        ApiCommand::QueryStats(request) => Read::Call(request.query_stats()?),
        ApiCommand::GetSysStats(request) => Read::Call(request.nothing(Call::GetSysStats)?),
        ApiCommand::RestartLogger(request) => Read::Call(request.nothing(Call::RestartLogger)?),
        ApiCommand::Adrules { files, append } => Read::Rules(all(files, part::rules)?, append),
        ApiCommand::Adduser(added) if !added.files.is_empty() => {
            let inbounds = all(added.files, part::users)?.concat();
            for inbound in &inbounds {
                if users::users(&inbound.protocol).is_empty() {
                    let (name, protocol) = (&inbound.name, inbound.protocol.name());
                    return Err(format!(
                        "{name}: there is no user of a {protocol} inbound to be added, expected `vmess`, `vless` or `trojan`"
                    ));
                }
            }
            Read::Users(inbounds)
        }
        ApiCommand::Rmi { tags } => {
            let tags = all_tags(tags, part::users, |inbound| inbound.tag)?;
            Read::Removed(What::Inbounds, tags)
        }
        ApiCommand::Rmo { tags } => {
            let tags = all_tags(tags, part::outbounds, |outbound| outbound.tag)?;
            Read::Removed(What::Outbounds, tags)
        }
        other => Read::Other(other),
    })
}

fn input(name: &str) -> Input {
    match name {
        "stdin:" => Input::Stdin,
        file => Input::File(file.into()),
    }
}

/// What stands in files, or without any on standard input.
fn all<T>(mut files: Vec<String>, read: fn(&Input) -> Part<T>) -> Result<Vec<T>, String> {
    if files.is_empty() {
        eprintln!("reading from stdin:");
        files.push("stdin:".to_owned());
    }
    let each = files.iter().map(|name| one(name, read));
    each.collect()
}

fn one<T>(name: &str, read: fn(&Input) -> Part<T>) -> Result<T, String> {
    match read(&input(name)) {
        Ok((read, warnings)) => {
            for warning in warnings {
                eprintln!("{warning}");
            }
            Ok(read)
        }
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(format!("{name}: {}", lines.join("\n")))
        }
    }
}

/// Tags, and for each file those in it.
fn all_tags<T>(
    mut names: Vec<String>,
    read: fn(&Input) -> Part<Vec<T>>,
    tag: fn(T) -> Option<std::sync::Arc<str>>,
) -> Result<Vec<String>, String> {
    if names.is_empty() {
        eprintln!("reading from stdin:");
        names.push("stdin:".to_owned());
    }
    let mut tags = Vec::new();
    for name in names {
        if name != "stdin:" && !Path::new(&name).is_file() {
            tags.push(name);
            continue;
        }
        let tagged = one(&name, read)?.into_iter().filter_map(tag);
        tags.extend(tagged.map(|tag| tag.to_string()));
    }
    if tags.is_empty() {
        return Err("nothing in it has a tag".to_owned());
    }
    Ok(tags)
}

/// Nothing may be lost on the way: what the messages have no word for is not added without it.
fn check_inbound(inbound: &Inbound) -> Result<(), String> {
    let name = &inbound.name;
    let read = messages::inbound(&write_inbound(inbound, Keys::Told));
    let mut read =
        read.map_err(|e| format!("{name}: it cannot be said in the API's messages: {e}"))?;
    read.name.clone_from(name);
    let mut meant = inbound.clone();
    for settings in [&mut read.transport, &mut meant.transport] {
        if let Some(tls) = &mut settings.security {
            // Files are sent along with what is in them.
            tls.certificates.clear();
            tls.issuers.clear();
        }
    }
    compare(name, read == meant)
}

fn check_outbound(outbound: &Outbound) -> Result<(), String> {
    let name = &outbound.name;
    let read = messages::outbound(&write_outbound(outbound, Keys::Told));
    let mut read =
        read.map_err(|e| format!("{name}: it cannot be said in the API's messages: {e}"))?;
    read.name.clone_from(name);
    let mut meant = outbound.clone();
    for settings in [&mut read.transport, &mut meant.transport] {
        if let Some(tls) = &mut settings.security {
            tls.certificate = None;
        }
    }
    compare(name, read == meant)
}

fn compare(name: &str, is_same: bool) -> Result<(), String> {
    match is_same {
        true => Ok(()),
        false => Err(format!(
            "{name}: the API's messages have no word for some of its settings, it can only stand in the server's own config"
        )),
    }
}

pub(super) async fn add_inbounds(client: &Client, inbounds: &[Inbound]) -> Result<String, Status> {
    let mut text = String::new();
    for inbound in inbounds {
        let tag = inbound.tag.as_deref().unwrap_or_default();
        let _ = writeln!(text, "adding: {tag}");
        let request = |family| {
            let inbound = match family {
                Family::Xray => {
                    let tls = inbound.transport.security.as_ref();
                    let is_whole = tls.is_none_or(|tls| !tls.early_data);
                    compare(&inbound.name, is_whole).map_err(unsaid)?;
                    write_inbound(inbound, Keys::Told)
                }
                Family::V2ray => v2ray_inbound(inbound).map_err(unsaid)?,
            };
            let inbound = Some(inbound);
            Ok(AddInboundRequest { inbound }.encode_to_vec())
        };
        let answer = client.show(HANDLER, "AddInbound", request).await?;
        let _ = writeln!(text, "{}", pretty(&answer));
    }
    Ok(text)
}

pub(super) async fn add_outbounds(
    client: &Client,
    outbounds: &[Outbound],
) -> Result<String, Status> {
    let mut text = String::new();
    for outbound in outbounds {
        let tag = outbound.tag.as_deref().unwrap_or_default();
        let _ = writeln!(text, "adding: {tag}");
        let request = |family| {
            let outbound = match family {
                Family::Xray => {
                    let tls = outbound.transport.security.as_ref();
                    let is_whole = tls.is_none_or(|tls| !tls.early_data);
                    compare(&outbound.name, is_whole).map_err(unsaid)?;
                    write_outbound(outbound, Keys::Told)
                }
                Family::V2ray => v2ray_outbound(outbound).map_err(unsaid)?,
            };
            let outbound = Some(outbound);
            Ok(AddOutboundRequest { outbound }.encode_to_vec())
        };
        let answer = client.show(HANDLER, "AddOutbound", request).await?;
        let _ = writeln!(text, "{}", pretty(&answer));
    }
    Ok(text)
}

/// In V2Ray's form; its writer says what a carrier cannot be told.
fn v2ray_inbound(inbound: &Inbound) -> Result<InboundHandlerConfig, String> {
    let name = &inbound.name;
    let message = messages::v2ray_inbound(inbound).map_err(|e| format!("{name}: {e}"))?;
    let read = messages::inbound(&message).map_err(|e| format!("{name}: {e}"))?;
    let versions = |settings: &Inbound| {
        let tls = settings.transport.security.as_ref();
        let told = |tls: &ServerTls| {
            let (alpn, auth) = (tls.alpn.clone(), tls.client_auth.clone());
            let switches = (tls.reject_unknown_sni, tls.early_data);
            (tls.versions, alpn, switches, auth)
        };
        tls.map(told)
    };
    let is_same = read.protocol == inbound.protocol
        && read.sniffing == inbound.sniffing
        && read.transport.sockopt == inbound.transport.sockopt
        && versions(&read) == versions(inbound);
    compare(name, is_same).map(|()| message)
}

fn v2ray_outbound(outbound: &Outbound) -> Result<OutboundHandlerConfig, String> {
    let name = &outbound.name;
    let message = messages::v2ray_outbound(outbound).map_err(|e| format!("{name}: {e}"))?;
    let read = messages::outbound(&message).map_err(|e| format!("{name}: {e}"))?;
    let tls = |settings: &Outbound| {
        let mut tls = settings.transport.security.clone();
        if let Some(tls) = &mut tls {
            tls.certificate = None;
        }
        tls
    };
    let is_same = read.protocol == outbound.protocol
        && read.mux == outbound.mux
        && read.strategy == outbound.strategy
        && read.transport.sockopt == outbound.transport.sockopt
        && tls(&read) == tls(outbound);
    compare(name, is_same).map(|()| message)
}

fn unsaid(text: String) -> Status {
    Status::failed_precondition(text)
}

pub(super) async fn remove(
    client: &Client,
    what: What,
    tags: Vec<String>,
) -> Result<String, Status> {
    let mut text = String::new();
    for tag in tags {
        let _ = writeln!(text, "removing: {tag}");
        let (method, request) = match what {
            What::Inbounds => {
                let request = RemoveInboundRequest { tag };
                ("RemoveInbound", request.encode_to_vec())
            }
            What::Outbounds => {
                let request = RemoveOutboundRequest { tag };
                ("RemoveOutbound", request.encode_to_vec())
            }
        };
        let answer = client
            .show(HANDLER, method, |_| Ok(request.clone()))
            .await?;
        let _ = writeln!(text, "{}", pretty(&answer));
    }
    Ok(text)
}
