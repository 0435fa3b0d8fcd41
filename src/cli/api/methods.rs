//! `v2ctl api … StatsService.QueryStats 'pattern: "" reset: true'`: a method with a request in the text form of protobuf, and what it
//! answers in that form, as V2Ray 4 has it.

use std::fmt::Write;

use clap::Args;
use tonic::Status;

use crate::api::client::{Client, Query};
use crate::wire::app::stats::command::{Stat, SysStatsResponse};

#[derive(Debug, Args)]
pub(super) struct Request {
    /// Such as `pattern: "" reset: false`
    text: String,
}

/// A method, and what it is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    GetStats { name: String, reset: bool },
    QueryStats(Query),
    GetSysStats,
    RestartLogger,
}

impl Request {
    pub(super) fn get_stats(&self) -> Result<Call, String> {
        let (mut name, mut reset) = (String::new(), false);
        for (key, value) in fields(&self.text)? {
            match key {
                "name" => name = value.text()?,
                "reset" => reset = value.switch()?,
                key => return Err(unknown(key, "`name` and `reset`")),
            }
        }
        Ok(Call::GetStats { name, reset })
    }

    pub(super) fn query_stats(&self) -> Result<Call, String> {
        let mut query = Query::default();
        for (key, value) in fields(&self.text)? {
            match key {
                "pattern" | "patterns" => query.patterns.push(value.text()?),
                "regexp" => query.regexp = value.switch()?,
                "reset" => query.reset = value.switch()?,
                key => return Err(unknown(key, "`pattern`, `patterns`, `regexp` and `reset`")),
            }
        }
        Ok(Call::QueryStats(query))
    }

    /// Of a method that is asked nothing.
    pub(super) fn nothing(&self, call: Call) -> Result<Call, String> {
        match fields(&self.text)?.first() {
            Some((key, _)) => Err(unknown(key, "an empty request")),
            None => Ok(call),
        }
    }
}

/// Calls it; the text to print.
pub(super) async fn call(client: &Client, call: Call) -> Result<String, Status> {
    let stats = match call {
        Call::GetStats { name, reset } => client.get_stats(name, reset).await?,
        Call::QueryStats(query) => client.query_stats(query).await?,
        Call::GetSysStats => return client.sys_stats().await.map(|sys| sys_text(&sys)),
        Call::RestartLogger => return client.restart_logger().await.map(|()| String::new()),
    };
    Ok(stats.iter().map(stat_text).collect())
}

fn stat_text(stat: &Stat) -> String {
    let mut text = String::from("stat: <\n");
    if !stat.name.is_empty() {
        let _ = writeln!(text, "  name: \"{}\"", escaped(&stat.name));
    }
    if stat.value != 0 {
        let _ = writeln!(text, "  value: {}", stat.value);
    }
    text + ">\n"
}

fn sys_text(sys: &SysStatsResponse) -> String {
    let all: [(&str, u64); 10] = [
        ("NumGoroutine", sys.num_goroutine.into()),
        ("NumGC", sys.num_gc.into()),
        ("Alloc", sys.alloc),
        ("TotalAlloc", sys.total_alloc),
        ("Sys", sys.sys),
        ("Mallocs", sys.mallocs),
        ("Frees", sys.frees),
        ("LiveObjects", sys.live_objects),
        ("PauseTotalNs", sys.pause_total_ns),
        ("Uptime", sys.uptime.into()),
    ];
    let there = all.into_iter().filter(|(_, value)| *value != 0);
    there
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect()
}

/// As Go writes it: what is not ASCII by its bytes, in octal.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        let _ = match byte {
            b'\n' => write!(escaped, "\\n"),
            b'\r' => write!(escaped, "\\r"),
            b'\t' => write!(escaped, "\\t"),
            b'"' | b'\\' => write!(escaped, "\\{}", byte as char),
            b' '..=b'~' => write!(escaped, "{}", byte as char),
            _ => write!(escaped, "\\{byte:03o}"),
        };
    }
    escaped
}

#[derive(Debug, PartialEq, Eq)]
enum Value<'t> {
    Text(String),
    Word(&'t str),
}

impl Value<'_> {
    fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Word(word) => Err(format!("`{word}` is not a text, expected one in quotes")),
        }
    }

    fn switch(self) -> Result<bool, String> {
        match self {
            Self::Word("true" | "t" | "True" | "1") => Ok(true),
            Self::Word("false" | "f" | "False" | "0") => Ok(false),
            Self::Word(other) => Err(format!("`{other}` is not `true` or `false`")),
            Self::Text(other) => Err(format!("\"{other}\" is not `true` or `false`")),
        }
    }
}

/// `key: value` one behind the other, with blanks, commas or semicolons between them; values are texts in quotes or words.
fn fields(mut text: &str) -> Result<Vec<(&str, Value<'_>)>, String> {
    let is_between = |c: char| c.is_whitespace() || c == ',' || c == ';';
    let mut fields = Vec::new();
    loop {
        text = text.trim_start_matches(is_between);
        if text.is_empty() {
            return Ok(fields);
        }
        let (key, rest) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not of the form `key: value`"))?;
        let rest = rest.trim_start();
        let value;
        (value, text) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (quoted, rest) = unquoted(&rest[1..], quote)
                    .ok_or_else(|| format!("the text behind `{key}:` has no end"))?;
                (Value::Text(quoted), rest)
            }
            _ => {
                let end = rest.find(is_between).unwrap_or(rest.len());
                (Value::Word(&rest[..end]), &rest[end..])
            }
        };
        fields.push((key.trim_end(), value));
    }
}

/// Up to the `quote`, and what follows it.
fn unquoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut unquoted = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((unquoted, &text[at + c.len_utf8()..])),
            '\\' => match chars.next()?.1 {
                'n' => unquoted.push('\n'),
                'r' => unquoted.push('\r'),
                't' => unquoted.push('\t'),
                other => unquoted.push(other),
            },
            c => unquoted.push(c),
        }
    }
    None
}

fn unknown(key: &str, known: &str) -> String {
    format!("the request has no `{key}`, expected {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Request {
            text: text.to_owned(),
        }
    }

    #[test]
    fn requests_are_read_as_protobuf_writes_them() {
        let query = |patterns: &[&str], regexp, reset| {
            let patterns = patterns.iter().map(ToString::to_string).collect();
            Ok(Call::QueryStats(Query {
                patterns,
                regexp,
                reset,
            }))
        };
        for (text, expected) in [
            ("", query(&[], false, false)),
            ("pattern: \"\" reset: true", query(&[""], false, true)),
            (
                "pattern:'a \"b\\\\' , reset:false;",
                query(&["a \"b\\"], false, false),
            ),
            (
                "patterns: \"a\"\npatterns: \"b\" regexp: true",
                query(&["a", "b"], true, false),
            ),
        ] {
            assert_eq!(request(text).query_stats(), expected, "{text}");
        }
        let name = "inbound>>>a: \u{e9}>>>traffic>>>uplink";
        let got = request(&format!("name: \"{name}\" reset: 1")).get_stats();
        let name = name.to_owned();
        assert_eq!(got, Ok(Call::GetStats { name, reset: true }));
        for (text, said) in [
            (
                "bogus: 1",
                "the request has no `bogus`, expected `pattern`, `patterns`, `regexp` and `reset`",
            ),
            ("pattern", "`pattern` is not of the form `key: value`"),
            ("pattern: \"a", "the text behind `pattern:` has no end"),
            ("pattern: a", "`a` is not a text, expected one in quotes"),
            ("reset: \"x\"", "\"x\" is not `true` or `false`"),
        ] {
            assert_eq!(request(text).query_stats(), Err(said.to_owned()), "{text}");
        }
        let said = request("x: 1").nothing(Call::RestartLogger);
        assert_eq!(
            said.unwrap_err(),
            "the request has no `x`, expected an empty request"
        );
    }

    #[test]
    fn answers_are_written_as_by_go() {
        let name = "inbound>>>in \"q\" \u{e9}>>>traffic>>>uplink".to_owned();
        let text = stat_text(&Stat { name, value: 93 });
        assert_eq!(
            text,
            "stat: <\n  name: \"inbound>>>in \\\"q\\\" \\303\\251>>>traffic>>>uplink\"\n  value: 93\n>\n"
        );
    }
}
