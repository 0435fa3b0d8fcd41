//! What the page and mobula say to each other: lines, each a JSON object.

use std::fmt;
use std::str::FromStr;

use bytes::{Buf, BytesMut};
use serde_json::{Value, json};
use thiserror::Error;

/// A tunnel, as both call it. It cannot be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u128);

/// What the page is told to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order<'a> {
    /// To open a WebSocket.
    Dial {
        id: Id,
        url: &'a str,
        /// The subprotocol to offer.
        protocol: Option<&'a str>,
    },
    /// To give it up.
    Drop(Id),
}

/// What the page says.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// It can open WebSockets.
    Ready,
    /// There is no WebSocket.
    Failed { id: Id, why: String },
    /// Bytes that it was sent are on their way to the server.
    Took { id: Id, bytes: u64 },
}

/// What is no word of our page.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LineError {
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    #[error("a line that is none of the page's words")]
    Unknown,
}

/// The longest word is a failure with its reason.
const MAX_LINE: usize = 4096;

impl Order<'_> {
    pub(super) fn encode(&self) -> String {
        let value = match self {
            Self::Dial {
                id,
                url,
                protocol: None,
            } => json!({"dial": id.to_string(), "url": url}),
            Self::Dial { id, url, protocol } => {
                json!({"dial": id.to_string(), "url": url, "protocol": protocol})
            }
            Self::Drop(id) => json!({"drop": id.to_string()}),
        };
        format!("{value}\n")
    }
}

impl Word {
    /// Takes one line off the front of `buf`.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, LineError> {
        let seen = &buf[..buf.len().min(MAX_LINE + 1)];
        let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
            return match buf.len() > MAX_LINE {
                true => Err(LineError::TooLong),
                false => Ok(None),
            };
        };
        let value: Value = serde_json::from_slice(&buf[..end]).map_err(|_| LineError::Unknown)?;
        let word = Self::of(&value).ok_or(LineError::Unknown)?;
        buf.advance(end + 1);
        Ok(Some(word))
    }

    fn of(value: &Value) -> Option<Self> {
        let id = |key| value.get(key)?.as_str()?.parse().ok();
        if value.get("ready").is_some() {
            return Some(Self::Ready);
        }
        if let Some(id) = id("failed") {
            let why = value.get("why")?.as_str()?;
            return Some(Self::Failed {
                id,
                why: why.chars().take(MAX_WHY).collect(),
            });
        }
        Some(Self::Took {
            id: id("took")?,
            bytes: value.get("bytes")?.as_u64()?,
        })
    }
}

/// As much of a reason as is told.
const MAX_WHY: usize = 200;

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Id {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(Self).ok_or(LineError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_split_agrees;

    const ID: Id = Id(0x0123);

    #[test]
    fn an_order_is_a_line() {
        let dial = Order::Dial {
            id: ID,
            url: "wss://a.example/\"\n",
            protocol: Some("AP8Q-w"),
        };
        assert_eq!(
            dial.encode(),
            "{\"dial\":\"00000000000000000000000000000123\",\"protocol\":\"AP8Q-w\",\"url\":\"wss://a.example/\\\"\\n\"}\n"
        );
        assert_eq!(
            Order::Drop(ID).encode(),
            "{\"drop\":\"00000000000000000000000000000123\"}\n"
        );
    }

    #[test]
    fn words_of_the_page_are_read_one_by_one() {
        let text = format!(
            "{{\"ready\":1}}\n{{\"took\":\"{ID}\",\"bytes\":5}}\n{{\"failed\":\"{ID}\",\"why\":\"no\"}}\n"
        );
        assert_split_agrees(text.as_bytes(), Word::decode);
        let mut buf = BytesMut::from(text.as_bytes());
        for word in [
            Word::Ready,
            Word::Took { id: ID, bytes: 5 },
            Word::Failed {
                id: ID,
                why: "no".to_owned(),
            },
        ] {
            assert_eq!(Word::decode(&mut buf), Ok(Some(word)));
        }
        assert_eq!(Word::decode(&mut buf), Ok(None));
    }

    #[test]
    fn what_is_no_word_is_refused_in_bounded_memory() {
        for text in [
            "{}\n",
            "[]\n",
            "\n",
            "{\"took\":\"123\",\"bytes\":5}\n",
            "{\"took\":\"0000000000000000000000000000012g\",\"bytes\":5}\n",
            "{\"took\":\"00000000000000000000000000000123\",\"bytes\":-5}\n",
        ] {
            let mut buf = BytesMut::from(text);
            assert_eq!(Word::decode(&mut buf), Err(LineError::Unknown), "{text}");
        }
        let mut long = BytesMut::from(&vec![b' '; MAX_LINE][..]);
        assert_eq!(Word::decode(&mut long), Ok(None));
        long.extend_from_slice(b"  ");
        assert_eq!(Word::decode(&mut long), Err(LineError::TooLong));
    }
}
