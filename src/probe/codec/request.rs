//! What a front asks for.
//!
//! Keys are found as Go finds them, whatever their case; what is not known is passed over, and so is what follows the
//! object. A `null` says nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// A struct whose keys are found whatever their case.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Keys;
                impl<'de> Visitor<'de> for Keys {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut read = $name::default();
                        while let Some(key) = map.next_key::<String>()? {
                            $(if key.eq_ignore_ascii_case($key) {
                                if let Some(value) = map.next_value::<Option<$type>>()? {
                                    read.$field = value;
                                }
                                continue;
                            })*
                            map.next_value::<IgnoredAny>()?;
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_map(Keys)
            }
        }
    };
}

object! {
    /// A whole request. There are passwords in it, so nothing shows it.
    Request {
        /// Who asks.
        basics: Basics = "Basics",
        /// What for.
        options: Options = "Options",
        /// How.
        configs: Configs = "Configs",
        /// `Clash`, or `Local` for the line of the back end itself.
        vendor: String = "Vendor",
        /// Of whom.
        nodes: Option<Vec<Node>> = "Nodes",
        /// Anything; `random` of most.
        random_sequence: String = "RandomSequence",
        /// The signature.
        challenge: String = "Challenge",
    }
}

object! {
    /// Who asks.
    Basics {
        /// The front's name for the task.
        id: String = "ID",
        /// The front's name for this back end.
        slave: String = "Slave",
        /// Its comment on it.
        slave_name: String = "SlaveName",
        /// The id of the bot.
        invoker: String = "Invoker",
        /// Of the front.
        version: String = "Version",
    }
}

object! {
    /// What is asked for.
    Options {
        /// Nothing is done with it.
        filter: String = "Filter",
        /// In the order of the answer.
        matrices: Option<Vec<MatrixEntry>> = "Matrices",
    }
}

object! {
    /// One thing that is asked for.
    MatrixEntry {
        /// `TEST_PING_RTT`, …
        kind: String = "Type",
        /// The id of a script.
        params: String = "Params",
    }
}

object! {
    /// How it is measured; 0 is the default.
    Configs {
        /// `udp://host:port`.
        stun_url: String = "STUNURL",
        /// What is downloaded.
        download_url: String = "DownloadURL",
        /// In seconds, 1 to 30.
        download_duration: i64 = "DownloadDuration",
        /// Connections, 1 to 32.
        download_threading: u64 = "DownloadThreading",
        /// How many pings.
        ping_average_over: u16 = "PingAverageOver",
        /// What a ping asks for.
        ping_address: String = "PingAddress",
        /// Of older back ends.
        task_retry: u64 = "TaskRetry",
        /// For the place of a server.
        dns_servers: Option<Vec<String>> = "DNSServers",
        /// Of one ping, in milliseconds, 10 to 10000.
        task_timeout: u64 = "TaskTimeout",
        /// JavaScript.
        scripts: Option<Vec<Script>> = "Scripts",
        /// What is signed, and whether a task is announced.
        api_version: i64 = "ApiVersion",
        /// From version 3 on.
        upload_url: String = "UploadURL",
        /// From version 3 on.
        upload_duration: i64 = "UploadDuration",
        /// From version 3 on.
        upload_threading: u64 = "UploadThreading",
    }
}

object! {
    /// A test in JavaScript.
    Script {
        /// What `Params` name it by.
        id: String = "ID",
        /// `media` or `ip`.
        kind: String = "Type",
        /// The program.
        content: String = "Content",
        /// 0 is none.
        timeout_millis: u64 = "TimeoutMillis",
    }
}

object! {
    /// A proxy to be tested.
    Node {
        /// The front's name for it, its index as a rule.
        name: String = "Name",
        /// The proxy in Clash's form.
        payload: String = "Payload",
    }
}

impl Request {
    /// Reads one at the front of a message.
    ///
    /// # Errors
    ///
    /// When it is none; the text has nothing of the message but the kinds of its values.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(message);
        Self::deserialize(&mut json).map_err(|e| {
            let place = (e.line(), e.column());
            // serde_json shows what it found, which may be a secret at the wrong place.
            let what = match e.classify() {
                serde_json::error::Category::Data => "a value is of the wrong kind",
                serde_json::error::Category::Eof => "it ends in the middle",
                _ => "it is not JSON",
            };
            format!(
                "the request cannot be read: {what}, in line {} at column {}",
                place.0, place.1
            )
        })
    }

    /// The proxies.
    pub fn nodes(&self) -> &[Node] {
        self.nodes.as_deref().unwrap_or_default()
    }

    /// The programs of the front.
    pub fn scripts(&self) -> &[Script] {
        self.configs.scripts.as_deref().unwrap_or_default()
    }

    /// What is asked for.
    pub fn matrices(&self) -> &[MatrixEntry] {
        self.options.matrices.as_deref().unwrap_or_default()
    }
}
