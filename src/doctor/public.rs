//! Whether the world finds a server: its name, and what answers at the URL that clients are told.
//!
//! A user of the config asks there for a place, as a client does. Whoever answers that knows the user, and so it is
//! this server. Where none runs and its ports are free, the config is made to run for as long as that takes.

use std::net::IpAddr;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;

use super::machine::Process;
use super::tunnel::is_account;
use super::{Client, Finding, Outcome, Walk, walk_client};
use crate::address::Host;
use crate::app::App;
use crate::cause::{DialError, Fault};
use crate::config::{self, Config};
use crate::dialect::links::{Public, of_users};
use crate::dns::Lookup;
use crate::observatory::Url;
use crate::transport::ClientCarrier;
use crate::transport::tls::Leaf;

pub(super) async fn walk(
    config: Config,
    url: &Url,
    running: Result<Option<Process>, ()>,
    walk: &mut Walk<'_>,
) {
    let here = match names(url).await {
        Ok(here) => here,
        Err(e) => {
            let error = DialError::Name(e);
            let cure = "give the name an A or AAAA record with the public address of this machine, and wait until it is known";
            walk.broken("dns", error.code(), &error, Some(cure.to_owned()));
            return walk.skip("url", "its name has no address");
        }
    };
    let reached = reach(config, url, running).await;
    let name = &url.to().host;
    match (&here, &reached) {
        (Here::Yes(ip), _) => {
            walk.well("dns", format_args!("{name} is {ip}, which is this machine"))
        }
        (Here::No(ips), Reached::Yes(_)) => walk.well(
            "dns",
            format_args!(
                "{name} is {ips}: no address of this machine, and yet the way here (NAT, or a CDN)"
            ),
        ),
        (Here::No(ips), Reached::Unknown(_)) => walk.skip(
            "dns",
            format_args!(
                "{name} is {ips}: no address of this machine, which is right behind NAT or a CDN"
            ),
        ),
        // Something answers there, and what is wrong with it says nothing about the name.
        (Here::No(ips), Reached::No(finding)) if !says_where(finding) => walk.skip(
            "dns",
            format_args!(
                "{name} is {ips}: no address of this machine, which is right behind NAT or a CDN"
            ),
        ),
        (Here::No(ips), Reached::No(..)) => walk.fault(
            "dns",
            Fault::NameElsewhere,
            format_args!("{name} is {ips}, and no address of this machine"),
        ),
    }
    match reached {
        Reached::Yes(text) => walk.well("url", format_args!("{url}: {text}")),
        Reached::Unknown(why) => walk.skip("url", why),
        Reached::No(finding) => {
            let Outcome::Broken { code, cure } = finding.outcome else {
                return walk.skip("url", finding.found);
            };
            let found = format!("{url}: at `{}`: {}", finding.step, finding.found);
            walk.broken("url", code, found, Some(cure));
        }
    }
}

/// Whether it may be the name's fault: nobody is there, or somebody else.
fn says_where(finding: &Finding) -> bool {
    let code = match &finding.outcome {
        Outcome::Broken { code, .. } => &**code,
        _ => "",
    };
    finding.step == "tcp" || code == Fault::UrlElsewhere.code() || code == "tls-name"
}

/// Where a name leads.
enum Here {
    Yes(IpAddr),
    /// Elsewhere.
    No(String),
}

async fn names(url: &Url) -> std::io::Result<Here> {
    let found = Lookup::System.resolve(url.to()).await?;
    let own: Vec<IpAddr> = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())))
        })
        .collect();
    let ips: Vec<IpAddr> = found.iter().map(|at| at.ip().to_canonical()).collect();
    let here = ips.iter().find(|ip| ip.is_loopback() || own.contains(ip));
    Ok(match here {
        Some(ip) => Here::Yes(*ip),
        None => {
            let mut texts: Vec<String> = ips.iter().map(ToString::to_string).collect();
            texts.dedup();
            Here::No(texts.join(", "))
        }
    })
}

/// Whether the URL leads here.
enum Reached {
    Yes(String),
    No(Finding),
    Unknown(String),
}

async fn reach(config: Config, url: &Url, running: Result<Option<Process>, ()>) -> Reached {
    let (mut outbound, others) = match outbound_for(&config, url) {
        Ok(found) => found,
        Err(NoUser::None) => {
            let why = "no inbound has users whom it could be asked as";
            return Reached::Unknown(why.to_owned());
        }
        Err(NoUser::There(paths)) => return Reached::No(other_path(url, &paths)),
    };
    let own = match &running {
        Ok(None) => match run(&config).await {
            Ok(app) => Some(app),
            Err(why) => return Reached::Unknown(why),
        },
        _ => None,
    };
    let (mut known, mut broken) = ask(outbound.clone(), url).await;
    let mut pinned = "";
    // A certificate of `mobula init` in front: clients pin it, and here it says nothing about what is behind.
    if broken.as_ref().is_some_and(is_self_signed)
        && let Some(tls) = &mut outbound.transport.security
    {
        tls.allow_insecure = true;
        (known, broken) = ask(outbound, url).await;
        pinned = "; nobody else has issued the certificate there, so clients have to pin it";
    }
    drop(own);
    match (known, broken) {
        (true, _) => {
            let by = match running {
                Ok(None) => "this config, made to run for this",
                _ => "the server that runs here",
            };
            Reached::Yes(format!("leads to {by}{others}{pinned}"))
        }
        (false, Some(finding)) if is_account(&finding.outcome) => {
            let fault = Fault::UrlElsewhere;
            let cure = crate::cause::explained::explain(fault.code()).map(|one| one.cure);
            Reached::No(Finding {
                outcome: Outcome::Broken {
                    code: fault.code().into(),
                    cure: cure.unwrap_or_default().to_owned(),
                },
                ..finding
            })
        }
        (false, Some(finding)) => Reached::No(finding),
        (false, None) => Reached::Unknown("nothing could be told".to_owned()),
    }
}

/// Whether a client's walk comes to its end, and where it breaks.
async fn ask(outbound: config::Outbound, url: &Url) -> (bool, Option<Finding>) {
    let mut inner = Walk::new(|_| {});
    let client = Client {
        config: Config::default(),
        outbound,
        url: url.clone(),
        idle: None,
    };
    let known = walk_client(client, &mut inner).await;
    (known, inner.breaks_at().cloned())
}

/// Whether what is wrong is a certificate that nobody but itself has issued; one with a gap in its chain is another matter.
fn is_self_signed(finding: &Finding) -> bool {
    let by_itself = format!("issued by {},", Leaf::ITSELF);
    let is_issuer =
        matches!(&finding.outcome, Outcome::Broken { code, .. } if &**code == "tls-issuer");
    is_issuer && finding.found.contains(&by_itself)
}

/// Why nobody can be asked for.
enum NoUser {
    None,
    /// Tunnels are at these paths alone.
    There(Vec<String>),
}

fn other_path(url: &Url, paths: &[String]) -> Finding {
    let asked = url.target().path();
    Finding {
        step: "path",
        outcome: Outcome::Broken {
            code: "ws-path".into(),
            cure: "compare the path that clients are told with `path` of the inbound".to_owned(),
        },
        took: Duration::ZERO,
        found: format!(
            "no inbound has the path {asked}, there are: {}",
            paths.join(", ")
        ),
    }
}

/// What a user's client would have: that of the inbound with the URL's path, else of the first with a path; and what
/// else there is.
fn outbound_for(config: &Config, url: &Url) -> Result<(config::Outbound, String), NoUser> {
    let public = Public {
        address: url.to().host.clone(),
        port: Some(url.to().port),
        tls: Some(url.is_https()),
    };
    let mut found: Vec<config::Outbound> = Vec::new();
    for inbound in config.all_inbounds() {
        if let Ok(Some(users)) = of_users(inbound, &public) {
            found.extend(users.outbounds.into_iter().next());
        }
    }
    let asked = url.target().path();
    let at = found.iter().position(|one| path_of(one) == Some(asked));
    // A URL without a path is that of the site.
    let at = at.or_else(|| (asked == "/" && !found.is_empty()).then_some(0));
    let Some(at) = at else {
        let paths: Vec<&str> = found.iter().filter_map(path_of).collect();
        return Err(match found.is_empty() {
            true => NoUser::None,
            false => NoUser::There(paths.iter().map(|path| (*path).to_owned()).collect()),
        });
    };
    let mut outbound = found.swap_remove(at);
    if let Some(tls) = &mut outbound.transport.security
        && let Host::Domain(_) = &url.to().host
    {
        tls.server_name = Some(url.to().host.clone());
    }
    let others = match found.len() {
        0 => String::new(),
        n => format!(" (of {} inbounds with users one was asked for)", n + 1),
    };
    Ok((outbound, others))
}

fn path_of(outbound: &config::Outbound) -> Option<&str> {
    match &outbound.transport.carrier {
        ClientCarrier::Ws(ws) => Some(ws.path.split('?').next().unwrap_or_default()),
        ClientCarrier::Mws(mws) => Some(mws.ws.path.split('?').next().unwrap_or_default()),
        ClientCarrier::HttpUpgrade(up) => Some(up.path.split('?').next().unwrap_or_default()),
        ClientCarrier::H2(h2) => Some(&h2.path),
        _ => None,
    }
}

/// The config, for a moment: without what somebody else may be asking for.
async fn run(config: &Config) -> Result<App, String> {
    let mut securities = config
        .all_inbounds()
        .filter_map(|inbound| inbound.transport.security.as_ref());
    if securities.any(|tls| !tls.acme.is_empty()) {
        let why = "a certificate is issued to the server that runs, and none does: start it first";
        return Err(why.to_owned());
    }
    let config = Config {
        api: None,
        metrics: None,
        browser: None,
        observers: Vec::new(),
        state: None,
        ..config.clone()
    };
    App::build(config).await.map_err(|e| e.to_string())
}
