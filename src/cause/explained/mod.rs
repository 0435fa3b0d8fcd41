//! What each code means, and what to do about it: for `mobula explain`, and for the table in `docs/troubleshooting.md`,
//! which a test writes from here.

mod found;
mod session;
mod tls;
mod upgrade;
mod way;

/// What is behind some codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Most stand alone. `ws-NNN` stands for every status that has no line of its own.
    pub codes: &'static [&'static str],
    /// In whose log it stands.
    pub at: &'static str,
    /// What has happened.
    pub what: &'static str,
    /// What to do.
    pub cure: &'static str,
    /// Where there is more about it, below `docs`.
    pub more: Option<&'static str>,
}

/// All of them, from the name to the target; each file has a stage of the way.
pub fn all() -> impl Iterator<Item = &'static Explained> {
    let stages = [way::ALL, tls::ALL, upgrade::ALL, session::ALL, found::ALL];
    stages.into_iter().flatten()
}

/// Finds what is behind a code, with its brackets or without.
pub fn explain(code: &str) -> Option<&'static Explained> {
    let code = code.trim().trim_matches(['[', ']']).to_ascii_lowercase();
    let find = |code: &str| {
        let has = |one: &&Explained| {
            one.codes
                .iter()
                .any(|known| known.eq_ignore_ascii_case(code))
        };
        all().find(has)
    };
    find(&code).or_else(|| find(family(&code)?))
}

/// `ws-NNN` for `ws-418`.
fn family(code: &str) -> Option<&'static str> {
    let (name, number) = code.rsplit_once('-')?;
    let number: u16 = number.parse().ok()?;
    Some(match name {
        "ws" if (100..1000).contains(&number) => "ws-NNN",
        "h2" if (100..1000).contains(&number) => "h2-NNN",
        "grpc" if number < 100 => "grpc-NN",
        _ => return None,
    })
}

const fn row(
    codes: &'static [&'static str],
    at: &'static str,
    what: &'static str,
    cure: &'static str,
) -> Explained {
    Explained {
        codes,
        at,
        what,
        cure,
        more: None,
    }
}

const fn more(row: Explained, more: &'static str) -> Explained {
    Explained {
        more: Some(more),
        ..row
    }
}

const CLIENT: &str = "client";
const SERVER: &str = "server";
const EITHER: &str = "either";
const DOCTOR: &str = "`mobula doctor`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_alone_in_brackets_and_by_its_number() {
        let of = |code| explain(code).map(|one| one.codes[0]);
        assert_eq!(of("ws-404"), Some("ws-404"));
        assert_eq!(of("[Clock-Skew]"), Some("clock-skew"));
        assert_eq!(of("ws-303"), Some("ws-301"));
        assert_eq!(of("ws-418"), Some("ws-NNN"));
        assert_eq!(of("grpc-7"), Some("grpc-NN"));
        assert_eq!(of("h2-500"), Some("h2-NNN"));
        for unknown in ["ws-4", "ws-4044", "404", "", "grpc-", "tcp-404"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn no_code_is_explained_twice() {
        let mut codes: Vec<_> = all().flat_map(|one| one.codes).collect();
        let len = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), len);
    }
}
