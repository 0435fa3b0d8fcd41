//! What the codes mean with which a WebSocket is closed.

use crate::cause::Reach;

/// The meaning of a close code: RFC 6455, section 7.4.1, IANA's registry, and this program's own.
pub fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away: a server that stops, or a page that is left",
        1002 => "protocol error",
        1003 => "unsupported data: it takes no messages of this type",
        1005 => "no code: the Close says nothing",
        1006 => "abnormal closure: the connection ended without a Close",
        1007 => "invalid data: text that is not UTF-8, or that the server cannot read",
        1008 => "policy violation: the server forbids it",
        1009 => "message too big",
        1010 => "an extension is missing that the client needs",
        1011 => "internal error: the server met what it did not expect",
        1012 => "service restart: come back",
        1013 => "try again later: the server has too much to do",
        1014 => "bad gateway: what stands behind the server gives no right answer",
        1015 => "the handshake of TLS failed",
        3000 => "unauthorized: the server wants to know who asks",
        3003 => "forbidden: who asks may not",
        3008 => "timeout: the server waited too long",
        1004 | 1016..=2999 => "a code that is reserved and has no meaning yet",
        3001 | 3002 | 3004..=3007 | 3009..=3999 => {
            "a code that a library or a framework has registered"
        }
        4000..=4999 => match Reach::of_close_code(code) {
            Some(Reach::Forbidden) => "private; of a mobula server: its rules forbid the target",
            Some(Reach::NoNetwork) => "private; of a mobula server: no way to the target's network",
            Some(Reach::NoHost) => "private; of a mobula server: there is no such target",
            Some(Reach::Refused) => {
                "private; of a mobula server: the target refuses the connection"
            }
            Some(Reach::Slow) => "private; of a mobula server: the target does not answer",
            Some(Reach::Broken) => "private; of a mobula server: the way to the target is broken",
            None => "private: the application's own",
        },
        _ => "no code of WebSocket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_meaning() {
        for (code, words) in [
            (1000, "normal closure"),
            (1004, "reserved"),
            (2000, "reserved"),
            (3500, "registered"),
            (4000, "the application's own"),
            (4404, "no such target"),
            (999, "no code"),
            (5000, "no code"),
        ] {
            assert!(meaning(code).contains(words), "{code}: {}", meaning(code));
        }
    }
}
