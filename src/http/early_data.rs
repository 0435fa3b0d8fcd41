//! Early data: the first bytes of the tunnel, base64 inside the request, to save a round trip.
//!
//! ```text
//! path form:    GET /rayAP8Q-w HTTP/1.1
//! header form:  Sec-WebSocket-Protocol: AP8Q-w
//! ```
//!
//! V2Ray writes unpadded URL-safe base64, but for `httpupgrade`, where it pads and insists on it. Other clients write
//! other kinds, so every kind is read.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, URL_SAFE, URL_SAFE_NO_PAD,
};
use http::HeaderMap;
use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};

use super::head::items;

/// The first bytes of a tunnel, sent along with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyData {
    /// Where they travel.
    pub carried_in: EarlyDataIn,
    /// How many there may be.
    pub max: usize,
}

/// What early data travels in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlyDataIn {
    /// Behind the path.
    Path,
    /// A header of this name.
    Header(HeaderName),
}

const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// As V2Ray and everyone who speaks with it expects.
pub(crate) fn encode(data: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(data)
}

/// As V2Ray 5 wants it in a request for `httpupgrade`.
#[cfg_attr(
    not(feature = "app"),
    expect(dead_code, reason = "for another carrier")
)]
pub(crate) fn encode_padded(data: &[u8]) -> String {
    URL_SAFE.encode(data)
}

/// Early data in any of the headers where the settings allow it, behind what stands `in_path`; and the subprotocol to
/// agree to: the one that carries it, else the first offered (a browser gives up without one of its own).
pub(crate) fn find<'r>(
    headers: &'r HeaderMap,
    in_path: Vec<u8>,
    allowed: Option<&EarlyDataIn>,
) -> (Vec<u8>, Option<&'r [u8]>) {
    let named = match allowed {
        Some(EarlyDataIn::Header(name)) => Some(name),
        _ => None,
    };
    let decode = match named {
        Some(name) if *name == SEC_WEBSOCKET_PROTOCOL => decode,
        _ => decode_plausible,
    };
    let mut protocol = None;
    let mut early = in_path;
    for offered in items(headers, &SEC_WEBSOCKET_PROTOCOL) {
        protocol = protocol.or(Some(offered));
        if early.is_empty()
            && let Some(data) = decode(offered)
        {
            protocol = Some(offered);
            early = data;
            break;
        }
    }
    if early.is_empty()
        && let Some(value) = named.and_then(|name| headers.get(name))
    {
        early = self::decode(value.as_bytes().trim_ascii()).unwrap_or_default();
    }
    (early, protocol)
}

/// Early data in any kind of base64; `None` for what is not base64 at all, or holds nothing.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let data = URL.decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
    (!data.is_empty()).then_some(data)
}

/// Early data where no setting says that there is any, in `Sec-WebSocket-Protocol`.
///
/// The name of a real subprotocol may well be base64 (`binary`, `graphql-transport-ws`). A first
/// flight holds at least the 16 bytes by which VMess or VLESS name a user, and so many random bytes
/// have both upper and lower case letters, which such names do not.
pub(crate) fn decode_plausible(text: &[u8]) -> Option<Vec<u8>> {
    let mixed = text.iter().any(u8::is_ascii_uppercase) && text.iter().any(u8::is_ascii_lowercase);
    decode(text).filter(|data| mixed && data.len() >= 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_base64_is_read() {
        // The first is what V2Ray writes for these bytes.
        for text in ["AP8Q-w", "AP8Q-w==", "AP8Q+w", "AP8Q+w=="] {
            assert_eq!(decode(text.as_bytes()), Some(vec![0, 0xff, 0x10, 0xfb]));
        }
        assert_eq!(encode(&[0, 0xff, 0x10, 0xfb]), "AP8Q-w");
        for text in ["", "chat.v1", "A", "AP8Q-w=x", "AP8Q +w"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_subprotocol_is_not_early_data() {
        for name in [
            "binary",
            "base64",
            "chat",
            "superchat",
            "mqtt",
            "xmpp",
            "soap",
            "wamp",
            "janus-protocol",
            "actioncable-v1-json",
            "graphql-ws",
            "graphql-transport-ws",
            "actioncable-unsupported",
            "com-example-some-long-protocol-name",
        ] {
            assert_eq!(decode_plausible(name.as_bytes()), None, "{name}");
        }
        let flight: Vec<u8> = (0..90_u8).map(|i| i.wrapping_mul(7)).collect();
        assert_eq!(decode_plausible(encode(&flight).as_bytes()), Some(flight));
    }
}
