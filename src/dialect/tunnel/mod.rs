//! The files of a reverse tunnel over WebSocket: TOML, of a server that publishes ports and of clients that have services.
//!
//! ```text
//! visitors ─▶ publish_port ▸ server ◁══ relay with bind, in smux, in WebSocket, in TLS ══ client ▸ local_port
//! ```
//! A file becomes the parts that `config.json` has words for as well: a server is a `relay` inbound that opens ports and
//! leads nowhere else, its user `tunnel` has the key as password; a client is `publish` of `reverse`, by `relay`
//! outbounds. So a gost can be at either end.

mod certificate;
mod client;
mod proxies;
mod server;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use crate::config::{Config, Log, LogLevel, LogTarget};
use crate::dialect::{contents, encoding};
use crate::policy::Policy;
use crate::protocol::accounts::Account;
use crate::report::Message;
use text::Text;

/// The end that a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Server,
    Client,
}

/// The config unless there are errors, and lines for the user.
#[derive(Debug, Default)]
pub struct Loaded {
    pub config: Option<Config>,
    pub errors: Vec<Message>,
    pub warnings: Vec<Message>,
    /// What clients need to know.
    pub notes: Vec<String>,
}

/// The name of the only user.
const USER: &str = "tunnel";

/// Where the port of the web is.
const PORT: u16 = 443;

/// Where a WebSocket is asked for when nothing is said, and where gost's is.
const PATHS: [&str; 2] = ["/", "/ws"];

/// Reads a file; `level` is what the environment wants logged.
pub fn load(end: End, file: &Path, level: Option<LogLevel>) -> Loaded {
    let name = file.display().to_string();
    let read = contents::of_file(file);
    let read = read.map_err(|e| format!("cannot be read: {}", crate::cause::system_words(&e)));
    let content = match read.and_then(encoding::whole) {
        Ok(content) => content,
        Err(text) => {
            return Loaded {
                errors: vec![Message::of_file(&name, text)],
                ..Loaded::default()
            };
        }
    };
    load_text(end, &name, &content, file.parent(), level)
}

/// Reads the content of the file `name`, which is in `folder`.
pub fn load_text(
    end: End,
    name: &str,
    content: &str,
    folder: Option<&Path>,
    level: Option<LogLevel>,
) -> Loaded {
    let text = Text::new(name, content);
    let mut notes = Vec::new();
    let config = text.root().and_then(|root| match end {
        End::Server => server::read(&text, root, folder, &mut notes),
        End::Client => client::read(&text, root),
    });
    let (errors, warnings) = text.into_messages();
    let config = config.filter(|_| errors.is_empty()).map(|config| Config {
        log: Log {
            level: level.unwrap_or_default(),
            access: match level {
                Some(LogLevel::Debug) => config.log.access,
                _ => LogTarget::None,
            },
            ..config.log
        },
        // Whoever publishes a service knows nothing of what is spoken there.
        policy: Policy::patient(),
        ..config
    });
    let mut loaded = Loaded {
        config,
        errors,
        warnings,
        notes,
    };
    let mistakes = loaded.config.iter().flat_map(Config::mistakes);
    let mistakes: Vec<_> = mistakes
        .map(|problem| Message::of_file(name, problem.to_string()))
        .collect();
    if !mistakes.is_empty() {
        loaded.config = None;
        loaded.errors = mistakes;
    }
    loaded
}

fn account(key: String) -> Account {
    Account {
        user: USER.to_owned(),
        pass: key.into(),
        level: 0,
    }
}
