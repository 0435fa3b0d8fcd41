//! Who measures: `--backend` with its `--token`, and the files of fronts.

use std::fs;

use super::ProbeArgs;
use crate::cause::system_words;
use crate::dialect::payload::fronts;
use crate::probe::codec::Tokens;
use crate::probe::survey::{Remote, Trust};
use crate::transport::tls::Authorities;

pub(super) fn of(args: &ProbeArgs, authorities: Authorities) -> Result<Vec<Remote>, String> {
    let environment = std::env::var("MOBULA_TOKEN").ok();
    let mut remotes = Vec::new();
    let trust = |insecure: bool| Trust {
        authorities: authorities.clone(),
        insecure: insecure || args.insecure,
    };
    for (n, given) in args.backend.iter().enumerate() {
        let url = match given.contains("://") {
            true => given.clone(),
            false => format!("ws://{given}"),
        };
        if !url.starts_with("ws://") && !url.starts_with("wss://") {
            let shown = given.escape_debug();
            return Err(format!("--backend: `{shown}` is not `ws://…` or `wss://…`"));
        }
        let token = args
            .token
            .get(n)
            .or(args.token.last())
            .or(environment.as_ref());
        let token = token.filter(|token| !token.is_empty());
        let token =
            token.ok_or("--token: it is missing, expected what the back end was started with")?;
        remotes.push(Remote {
            name: name(&url),
            url,
            tokens: Tokens {
                token: token.clone().into(),
                build: args.build_token.clone(),
            },
            invoker: "mobula".to_owned(),
            trust: trust(false),
        });
    }
    if let Some(file) = &args.backends {
        let shown = file.display();
        let text =
            fs::read_to_string(file).map_err(|e| format!("{shown}: {}", system_words(&e)))?;
        let found = fronts::read(&text).map_err(|e| format!("{shown}: {e}"))?;
        for one in found {
            let scheme = if one.tls { "wss" } else { "ws" };
            remotes.push(Remote {
                name: one.name,
                url: format!("{scheme}://{}{}", one.address, one.path),
                tokens: Tokens {
                    token: one.token,
                    build: one.build_token.unwrap_or_else(|| args.build_token.clone()),
                },
                invoker: one.invoker.unwrap_or_else(|| "mobula".to_owned()),
                trust: trust(one.insecure),
            });
        }
    }
    Ok(remotes)
}

/// Host and port of a URL.
fn name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    rest[..end].to_owned()
}
