//! Around a server: what its config wants of this machine, and whether the world finds it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::clock::{self, Clock};
use super::machine::{self, Holder, Place, Process};
use super::{Walk, public};
use crate::address::Network;
use crate::cause::{Fault, system_words};
use crate::config::{Config, Inbound, Listen};
use crate::io::open_files;
use crate::observatory::Url;
use crate::report::Message;
use crate::transport::{ServerCarrier, site, tls};

/// What is looked at.
pub struct Server {
    pub config: Config,
    /// What clients are told.
    pub url: Option<Url>,
}

/// Fewer files are few for a server.
const FEW_FILES: u64 = 4096;
/// Fewer days are few for a certificate: what renews it does so earlier.
const FEW_DAYS: i64 = 14;
/// More ports of a range are not looked at one by one.
const MANY_PORTS: usize = 64;

/// The step that a mistake of a config belongs to, and its fault: what is wrong with a certificate is said there,
/// though no config can be made of it.
pub fn step_of(message: &Message) -> (&'static str, Fault) {
    let path = message.path.as_deref().unwrap_or_default();
    let text = &message.text;
    if path.contains("ertificate") || path.contains("keyFile") {
        let fault = match text.contains("does not belong") {
            true => Fault::CertificateKey,
            false => Fault::CertificateUnreadable,
        };
        return ("certificates", fault);
    }
    if text.contains("as well, and both listen on") {
        return ("paths", Fault::PathsCollide);
    }
    if text.contains("is listened on by") {
        return ("ports", Fault::PortTaken);
    }
    ("config", Fault::Config)
}

/// Looks at everything in its turn.
pub async fn walk_server(server: Server, walk: &mut Walk<'_>) {
    let Server { config, url } = server;
    let running = ports(&config, walk);
    certificates(&config, walk);
    paths(&config, walk);
    match clock::ask().await {
        Clock::Synchronised => walk.well("clock", "something sets it"),
        Clock::Unknown => walk.skip("clock", "nothing here tells whether somebody sets it"),
        Clock::Alone => walk.fault("clock", Fault::ClockUnsynchronised, "nobody sets it"),
    }
    descriptors(running.as_ref().ok().and_then(Option::as_ref), walk);
    match url {
        Some(url) => public::walk(config, &url, running, walk).await,
        None => {
            walk.skip(
                "dns",
                "`--url https://NAME/PATH` tells what clients are told",
            );
            walk.skip("url", "as above");
        }
    }
}

/// Whether all places can be listened on. Gives the process that does so for this config, if one does; an error where
/// somebody else is in the way.
fn ports(config: &Config, walk: &mut Walk<'_>) -> Result<Option<Process>, ()> {
    let mut ours = None;
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for inbound in &config.inbounds {
        for (name, place) in places(inbound) {
            match place {
                Place::Free => found.push(format!("{name} is free")),
                Place::Held(Holder {
                    process: Some(process),
                }) if process.is_ours() => {
                    let Process { pid, name: by } = &process;
                    found.push(format!("{name} is listened on by {by} (pid {pid})"));
                    ours = Some(process);
                }
                Place::Held(holder) => {
                    let by = match &holder.process {
                        Some(Process { pid, name }) => format!("{name} (pid {pid})"),
                        None => "a process that this user cannot see (ask as root)".to_owned(),
                    };
                    let text = format!("{}: {name} is held by {by}", inbound.name);
                    faults.push((Fault::PortTaken, text));
                }
                Place::Refused(e) => {
                    let fault = match e.kind() {
                        io::ErrorKind::PermissionDenied => Fault::PortForbidden,
                        _ => Fault::PortNowhere,
                    };
                    let text = format!("{}: {name}: {}", inbound.name, system_words(&e));
                    faults.push((fault, text));
                }
            }
        }
    }
    tell("ports", found, &faults, walk);
    match faults.is_empty() {
        true => Ok(ours),
        false => Err(()),
    }
}

/// Where an inbound listens, and what is there.
fn places(inbound: &Inbound) -> Vec<(String, Place)> {
    let traits = inbound.protocol.traits();
    let kinds = [
        (traits.streams, Network::Tcp),
        (traits.datagrams, Network::Udp),
    ];
    let kinds = kinds
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, kind)| kind);
    match &inbound.listen {
        Listen::Ip(ip) => {
            let ports = inbound.ports.iter().flat_map(|range| range.from..=range.to);
            let ports: Vec<u16> = ports.filter(|port| *port != 0).take(MANY_PORTS).collect();
            let looked = kinds.flat_map(|kind| {
                ports.iter().map(move |port| {
                    let at = SocketAddr::new(*ip, *port);
                    let name = match kind {
                        Network::Tcp => at.to_string(),
                        Network::Udp => format!("{at} (UDP)"),
                    };
                    (name, machine::look(kind, at))
                })
            });
            looked.collect()
        }
        Listen::Unix(path) => {
            let name = path.display().to_string();
            let folder = path.parent().unwrap_or(Path::new("/"));
            let place = match UnixStream::connect(path) {
                Ok(_) => Place::Held(machine::listener_at(path)),
                // What is left of a process that is gone is replaced.
                Err(_) if folder.is_dir() => Place::Free,
                Err(e) => Place::Refused(e),
            };
            vec![(name, place)]
        }
        Listen::Abstract(name) => {
            let name = format!("@{}", String::from_utf8_lossy(name).escape_debug());
            vec![(name, Place::Free)]
        }
        Listen::Published => Vec::new(),
    }
}

/// Whether certificates can be read, belong to their keys, and are valid for a while.
fn certificates(config: &Config, walk: &mut Walk<'_>) {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for inbound in config.all_inbounds() {
        let Some(security) = &inbound.transport.security else {
            continue;
        };
        for pair in security.certificates.iter().chain(&security.issuers) {
            match certificate(pair) {
                Ok(text) => found.push(text),
                Err((fault, text)) => faults.push((fault, format!("{}: {text}", inbound.name))),
            }
        }
        for issued in &security.acme {
            let names = issued.domains.join(", ");
            found.push(format!("one for {names} that an authority issues (`acme`)"));
        }
        if security.self_signed.is_some() {
            found.push("one that is made at each start".to_owned());
        }
    }
    if found.is_empty() && faults.is_empty() {
        return walk.skip("certificates", "the config names none");
    }
    tell("certificates", found, &faults, walk);
}

fn certificate(pair: &tls::KeyPair) -> Result<String, (Fault, String)> {
    let remarks = pair.check().map_err(|e| {
        let text = e.to_string();
        let fault = match text.contains("does not belong") {
            true => Fault::CertificateKey,
            false => Fault::CertificateUnreadable,
        };
        (fault, text)
    })?;
    if let Some(late) = remarks.late {
        return Err((Fault::CertificateUnreadable, late));
    }
    let Some(leaf) = pair.leaf() else {
        return Ok("one that cannot be looked into".to_owned());
    };
    match (remarks.invalid, leaf.days_left()) {
        (Some(text), _) => Err((Fault::CertificateInvalid, format!("{text}; it is {leaf}"))),
        (None, days @ ..FEW_DAYS) => Err((
            Fault::CertificateExpiring,
            format!("the certificate runs out in {days} days; it is {leaf}"),
        )),
        (None, _) => Ok(leaf.to_string()),
    }
}

/// Whether each request has one that it is for.
fn paths(config: &Config, walk: &mut Walk<'_>) {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for first in &config.inbounds {
        let all: Vec<&Inbound> = std::iter::once(first).chain(&first.beside).collect();
        for (n, one) in all.iter().enumerate() {
            let Some(path) = path_of(one) else { continue };
            found.push(format!("{path} is {}", one.name));
            for other in &all[n + 1..] {
                if let Some(theirs) = path_of(other)
                    && (takes(one, path, theirs) || takes(other, theirs, path))
                {
                    let text = format!(
                        "{path} of {} and {theirs} of {} are on one port, and early data behind the shorter one may be the longer one",
                        one.name, other.name
                    );
                    faults.push((Fault::PathsCollide, text));
                }
            }
            if let Some(site::Settings::Folder(folder)) = &first.transport.site
                && path.len() > 1
                && folder.join(path.trim_start_matches('/')).exists()
            {
                let text = format!(
                    "{path} of {} is a page of the site in {}, too, which nobody will see",
                    one.name,
                    folder.display()
                );
                faults.push((Fault::PathsCollide, text));
            }
        }
    }
    if found.is_empty() {
        return walk.skip("paths", "no inbound has one");
    }
    tell("paths", found, &faults, walk);
}

fn path_of(inbound: &Inbound) -> Option<&str> {
    match &inbound.transport.carrier {
        ServerCarrier::Ws(ws) => Some(&ws.path),
        ServerCarrier::Mws(mws) => Some(&mws.ws.path),
        ServerCarrier::HttpUpgrade(upgrade) => Some(&upgrade.path),
        ServerCarrier::H2(h2) => Some(&h2.path),
        _ => None,
    }
}

/// Whether early data behind the path of `one` may look like another path.
fn takes(one: &Inbound, path: &str, other: &str) -> bool {
    use crate::http::EarlyDataIn::Path;
    let in_path = match &one.transport.carrier {
        ServerCarrier::Ws(ws) => ws.early_data == Some(Path),
        _ => false,
    };
    in_path && other != path && other.starts_with(path)
}

/// How many files may be open: of the process that serves, or of one like this.
fn descriptors(running: Option<&Process>, walk: &mut Walk<'_>) {
    let of_running = running.and_then(|process| Some((process, process.open_files()?)));
    let (limit, whose) = match of_running {
        Some((Process { pid, name }, limit)) => (limit, format!("{name} (pid {pid})")),
        None => match open_files::raise() {
            Ok(raised) => (raised.to, "a process started here".to_owned()),
            Err(e) => return walk.skip("descriptors", system_words(&e)),
        },
    };
    let found = format!(
        "{whose} may have {limit} files open, which is some {} tunnels",
        limit / 2
    );
    match limit {
        ..FEW_FILES => walk.fault("descriptors", Fault::FilesFew, found),
        _ => walk.well("descriptors", found),
    }
}

fn tell(step: &'static str, found: Vec<String>, faults: &[(Fault, String)], walk: &mut Walk<'_>) {
    match faults {
        [] if found.is_empty() => walk.skip(step, "there is nothing to look at"),
        [] => walk.well(step, found.join("; ")),
        [(fault, _), ..] => {
            let texts: Vec<&str> = faults.iter().map(|(_, text)| &**text).collect();
            walk.fault(step, *fault, texts.join("; "));
        }
    }
}
