//! What a portal says of a link, in a session of datagrams: V2Ray's message `Control`.
//!
//! ```text
//! state 1: 0 active, 1 drain │ random 99: up to 63 bytes that mean nothing
//! ```

use bytes::Bytes;
use prost::Message;

use crate::address::{Destination, Host};

/// The name that this session is for: that of V2Ray 4.45 and 5, of V2Ray 4.34, and of Xray.
const NAMES: [&str; 3] = [
    "reverse.internal.v2fly.org",
    "reverse.internal.v2ray.com",
    "reverse",
];

/// Random bytes are fewer; V2Ray's number.
pub const RANDOM_END: u8 = 64;

/// What becomes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes sessions.
    Active,
    /// It takes no more, and ends with those that it has.
    Drain,
}

#[derive(Clone, PartialEq, Message)]
struct Control {
    #[prost(int32, tag = "1")]
    state: i32,
    #[prost(bytes = "bytes", tag = "99")]
    random: Bytes,
}

/// Where the session is for that a portal opens.
pub fn destination() -> Destination {
    Destination::new(Host::Domain(NAMES[0].to_owned()), 0)
}

/// Whether a session is the one in which a portal speaks of the link.
pub fn is_meant(to: &Destination) -> bool {
    let is = |name: &str| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    to.port == 0 && matches!(&to.host, Host::Domain(name) if is(name))
}

/// The message, with bytes of chance that hide its length.
pub fn encode(state: State, random: &[u8]) -> Bytes {
    let state = match state {
        State::Active => 0,
        State::Drain => 1,
    };
    let random = Bytes::copy_from_slice(random);
    Control { state, random }.encode_to_vec().into()
}

/// As in V2Ray, whatever is not active takes no sessions.
///
/// # Errors
///
/// When `message` is none.
pub fn decode(message: &[u8]) -> Result<State, prost::DecodeError> {
    Ok(match Control::decode(message)?.state {
        0 => State::Active,
        _ => State::Drain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// As V2Ray 4.45's portal writes it, without its random bytes: those of a state that is 0 are left out.
    #[test]
    fn the_messages_are_v2rays() {
        assert!(encode(State::Active, b"").is_empty());
        assert_eq!(encode(State::Drain, b"")[..], hex!("08 01"));
        assert_eq!(
            encode(State::Drain, b"abc")[..],
            hex!("08 01 9a06 03 616263")
        );
        assert_eq!(decode(&hex!("9a06 02 ffff")), Ok(State::Active));
        assert_eq!(decode(&hex!("08 01 9a06 00")), Ok(State::Drain));
        assert_eq!(decode(&hex!("08 07")), Ok(State::Drain));
        assert!(decode(&hex!("9a06 7f 00")).is_err(), "it is cut off");
        assert!(is_meant(&destination()));
        assert!(is_meant(
            &"Reverse.internal.v2ray.com:0".parse().expect("a name")
        ));
        assert!(is_meant(&"reverse:0".parse().expect("a name")));
        assert!(!is_meant(&"v2fly.org:0".parse().expect("a name")));
        let host = "reverse:53".parse().expect("a name");
        assert!(!is_meant(&host), "that is somebody's machine");
    }
}
