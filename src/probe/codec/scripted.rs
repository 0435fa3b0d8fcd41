//! What a script says of a node.
//!
//! ```text
//! {"Key":"netflix","Text":"解锁 (US)","Color":"#fff","Background":"#093","TimeElapsed":412}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest text that is passed on to a front, in bytes.
const MAX_TEXT: usize = 1024;

/// The longest name of a colour.
const MAX_COLOR: usize = 64;

/// The answer of a script; of one that has none, nothing but empty texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scripted {
    /// What a front shows.
    pub text: String,
    /// Of the letters.
    pub color: String,
    /// Of what is behind them.
    pub background: String,
    /// How long it took.
    #[serde(skip)]
    pub millis: u64,
}

impl Scripted {
    /// As much of it as a front is told.
    pub fn bounded(mut self) -> Self {
        for (text, most) in [
            (&mut self.text, MAX_TEXT),
            (&mut self.color, MAX_COLOR),
            (&mut self.background, MAX_COLOR),
        ] {
            let mut end = most.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        self
    }

    /// The answer, under the script's id.
    pub(super) fn payload(&self, id: &str) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        format!(
            "{{\"Key\":{},\"Text\":{},\"Color\":{},\"Background\":{},\"TimeElapsed\":{}}}",
            quoted(id),
            quoted(&self.text),
            quoted(&self.color),
            quoted(&self.background),
            self.millis
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_two_characters() {
        let long = Scripted {
            text: "香".repeat(1000),
            color: "#".repeat(1000),
            background: "red".to_owned(),
            millis: 7,
        };
        let bounded = long.bounded();
        assert_eq!(bounded.text, "香".repeat(MAX_TEXT / 3));
        assert_eq!(
            (bounded.color.len(), &*bounded.background, bounded.millis),
            (MAX_COLOR, "red", 7)
        );
    }
}
