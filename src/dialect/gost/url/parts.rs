//! A URL, taken apart.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use super::nodes::SELECTOR;
use super::{Role, range};
use crate::dialect::tree::At;

/// A URL, taken apart.
pub(super) struct Parts {
    pub(super) at: At,
    pub(super) words: (String, String),
    pub(super) user: Option<(String, String)>,
    pub(super) addresses: String,
    pub(super) targets: Vec<String>,
    pub(super) query: Vec<(String, String)>,
}

/// Targets that a URL may have, those of its ranges among them.
const MAX_TARGETS: usize = 1000;

impl Parts {
    pub(super) fn read(url: &str, role: Role) -> Result<Self, String> {
        let option = match role {
            Role::Service => "-L",
            Role::Hop => "-F",
        };
        let at = At {
            source: Arc::from(format!("{option} {}", without_password(url))),
            ..At::default()
        };
        let fail = |text: String| Err(format!("{at}: {text}"));
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => match role {
                Role::Service => ("auto".to_owned(), url),
                Role::Hop => ("http".to_owned(), url),
            },
        };
        let words = match scheme.split_once('+') {
            Some((_, two)) if two.contains('+') => {
                return fail(format!(
                    "`{scheme}` has more than two words, expected `handler+listener`"
                ));
            }
            Some((one, two)) => (one.to_owned(), two.to_owned()),
            None if scheme == "https" => ("http".to_owned(), "tls".to_owned()),
            None => (scheme.clone(), scheme.clone()),
        };
        let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match front.rfind('@') {
            // A password may have a `/` in it.
            Some(sign) => match front[sign..].find('/') {
                Some(slash) => (&front[..sign + slash], &front[sign + slash + 1..]),
                None => (front, ""),
            },
            None => front.split_once('/').unwrap_or((front, "")),
        };
        let (user, addresses) = match authority.rsplit_once('@') {
            Some((user, addresses)) => {
                let (name, pass) = user.split_once(':').unwrap_or((user, ""));
                (Some((decoded(name), decoded(pass))), addresses)
            }
            None => (None, authority),
        };
        let query = query.split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (spelt(decoded(key)), decoded(&value.replace('+', " ")))
        });
        let mut query: Vec<(String, String)> = query.collect();
        let mut user = user;
        if let Some(n) = query
            .iter()
            .position(|(key, _)| key.eq_ignore_ascii_case("auth"))
        {
            let (_, text) = query.remove(n);
            match account(&text) {
                Some(account) => user = user.or(Some(account)),
                None => return fail("`auth` is not `user:password` in base64".to_owned()),
            }
        }
        let mut targets = Vec::new();
        for target in decoded(path).trim_matches('/').split(',') {
            match range(target) {
                Ok(found) if target.is_empty() => drop(found),
                Ok(found) => targets.extend(found),
                Err(text) => return fail(text),
            }
            if targets.len() > MAX_TARGETS {
                return fail(format!("there are more than {MAX_TARGETS} targets"));
            }
        }
        Ok(Self {
            words,
            user,
            addresses: addresses.to_owned(),
            targets,
            query,
            at,
        })
    }

    pub(super) fn fail<T>(&self, text: &str) -> Result<T, String> {
        Err(format!("{}: {text}", self.at))
    }
}

/// The key as a file has it, where a URL may have it otherwise.
fn spelt(key: String) -> String {
    let bare = key.replace('_', "");
    let known = SELECTOR.iter().find(|own| own.eq_ignore_ascii_case(&bare));
    known.map_or(key, |own| (*own).to_owned())
}

/// What messages show of a URL.
fn without_password(url: &str) -> String {
    // Whatever may stand in a password, it ends before the last of these signs.
    let url = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        _ => url.to_owned(),
    };
    let (shown, query) = url.split_once('?').unwrap_or((&url, ""));
    let keys = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let key = pair.split('=').next().unwrap_or_default();
            match key.to_ascii_lowercase().contains("auth") {
                true => format!("{key}=…"),
                false => pair.to_owned(),
            }
        });
    let keys: Vec<String> = keys.collect();
    let shown = match keys.is_empty() {
        true => shown.to_owned(),
        false => format!("{shown}?{}", keys.join("&")),
    };
    shown.escape_debug().to_string()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn account(text: &str) -> Option<(String, String)> {
    let engines = [&URL_SAFE_NO_PAD, &URL_SAFE, &STANDARD, &STANDARD_NO_PAD];
    // What was a `+` before it was taken for a blank.
    let text = text.replace(' ', "+");
    let bytes = engines
        .iter()
        .find_map(|engine| engine.decode(&text).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, pass) = text.split_once(':').unwrap_or((&text, ""));
    Some((name.to_owned(), pass.to_owned()))
}
