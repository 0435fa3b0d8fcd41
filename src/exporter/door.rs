//! Who may ask.
//!
//! Any page in a browser of this machine may make requests to it, and is kept from reading the answers: none of them has a
//! header that would let it. A page whose name leads to this machine all of a sudden may read them; so where no token is
//! asked for, a Host that is a name gets nothing, unless the settings have it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};

use crate::address::Host;
use crate::config::Metrics;
use crate::http::request::without_port;

/// How a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// By a unix socket, where no browser's page comes.
    Unix,
    /// By TCP, or by the rules.
    Network,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is for this name.
    Named(String),
    /// It has no token, or another one.
    Token,
}

/// Whether a request may be answered.
pub(super) fn check(metrics: &Metrics, came: Came, headers: &HeaderMap) -> Result<(), Unfit> {
    let Some(token) = &metrics.token else {
        return match came {
            Came::Unix => Ok(()),
            Came::Network => named(metrics, headers).map_or(Ok(()), |name| Err(Unfit::Named(name))),
        };
    };
    let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| match value.split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => Some(token),
        _ => None,
    });
    // It takes as long whatever differs.
    let is = |shown: &[u8]| verify_slices_are_equal(shown, token.as_bytes()).is_ok();
    match shown.is_some_and(|shown| is(shown.trim_ascii())) {
        true => Ok(()),
        false => Err(Unfit::Token),
    }
}

const BEARER: &[u8] = b"Bearer ";

/// The name that a request is for, if that is neither an address nor this machine's own, nor one of the settings.
fn named(metrics: &Metrics, headers: &HeaderMap) -> Option<String> {
    let hosts = headers.get_all(HOST).into_iter();
    let hosts = hosts.map(|host| String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase());
    hosts.into_iter().find(|host| {
        let bare = without_port(host);
        let is_own = bare == "localhost" || metrics.hosts.iter().any(|own| own == bare);
        let bare = bare.trim_start_matches('[').trim_end_matches(']');
        !is_own && !matches!(Host::parse(bare), Ok(Host::Ip(_)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn metrics(token: Option<&str>) -> Metrics {
        Metrics {
            tag: None,
            listen: None,
            token: token.map(|token| Secret(token.into())),
            hosts: vec!["status.example".to_owned()],
            hidden: Default::default(),
            at: Default::default(),
        }
    }

    fn headers(all: &[(http::HeaderName, &str)]) -> HeaderMap {
        let all = all.iter().cloned();
        all.map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn without_a_token_only_who_calls_this_machine_by_its_own_names_is_answered() {
        let open = metrics(None);
        for (host, fits) in [
            ("127.0.0.1:9191", true),
            ("[::1]:9191", true),
            ("192.0.2.7", true),
            ("LocalHost:9191", true),
            ("Status.Example:9191", true),
            ("rebound.example:9191", false),
            ("localhost.example", false),
            ("127.0.0.1.example:9191", false),
            ("", false),
        ] {
            let asked = headers(&[(HOST, host)]);
            let answered = check(&open, Came::Network, &asked).is_ok();
            assert_eq!(answered, fits, "{host}");
            assert_eq!(check(&open, Came::Unix, &asked), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_token_is_what_counts_where_there_is_one() {
        let locked = metrics(Some("sesame"));
        for (value, fits) in [
            ("Bearer sesame", true),
            ("bearer  sesame", true),
            ("Bearer sesam", false),
            ("Bearer sesame!", false),
            ("Basic sesame", false),
            ("sesame", false),
        ] {
            let asked = headers(&[(HOST, "any.example"), (AUTHORIZATION, value)]);
            let expected = if fits { Ok(()) } else { Err(Unfit::Token) };
            assert_eq!(check(&locked, Came::Network, &asked), expected, "{value}");
        }
        let nothing = headers(&[(HOST, "127.0.0.1")]);
        assert_eq!(check(&locked, Came::Network, &nothing), Err(Unfit::Token));
        assert_eq!(check(&locked, Came::Unix, &nothing), Err(Unfit::Token));
    }
}
