//! The options of one start: flags, and over them what the environment says; each with its place, for messages.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{ADDRESSES, Launch, OPTIONS, grammar, known};
use crate::report::{Message, did_you_mean};

/// What was given, by the names of options.
#[derive(Debug, Default)]
pub(super) struct Options {
    given: BTreeMap<&'static str, Given>,
    /// The addresses are those of the environment.
    pub(super) from_host: bool,
    errors: Vec<Message>,
    warnings: Vec<Message>,
}

#[derive(Debug)]
struct Given {
    /// `SS_PLUGIN_OPTIONS: host`, `-host`, `SS_REMOTE_HOST`.
    place: String,
    value: Option<String>,
}

impl Options {
    pub(super) fn collect(launch: &Launch) -> Self {
        let mut options = Self::default();
        for flag in &launch.flags {
            let given = Given {
                place: format!("-{}", known::find(flag.name).map_or(flag.name, |k| k.flag)),
                value: flag.value.clone(),
            };
            options.given.insert(flag.name, given);
        }
        if launch.environment.is_there() {
            options.take_environment(launch);
        }
        options
    }

    fn take_environment(&mut self, launch: &Launch) {
        self.from_host = true;
        let mut text_of = |name: &'static str| -> Option<String> {
            let value = launch.environment.0.get(name)?;
            let text = value.to_str().map(str::to_owned);
            if text.is_none() {
                self.errors.push(said(name, "this is not UTF-8 text"));
            }
            Some(text.unwrap_or_default())
        };
        let addresses = ADDRESSES.map(|(name, _)| text_of(name));
        let text = text_of(OPTIONS);
        let names = |there: bool| {
            let which = ADDRESSES.iter().zip(&addresses);
            let which = which.filter(|(_, value)| value.is_some() == there);
            which.map(|((name, _), _)| *name).collect::<Vec<_>>()
        };
        let missing = names(false);
        if !missing.is_empty() {
            let mut there = names(true);
            there.extend(text.as_ref().map(|_| OPTIONS));
            let text = format!(
                "missing beside {}: a Shadowsocks program sets all of them when it starts a plugin",
                there.join(", ")
            );
            self.errors.push(said(&missing.join(", "), &text));
        }
        for ((place, name), value) in ADDRESSES.into_iter().zip(addresses) {
            let place = place.to_owned();
            if value.is_some() {
                self.given.insert(name, Given { place, value });
            }
        }
        match grammar::split(text.as_deref().unwrap_or_default()) {
            Ok(pairs) => self.take_pairs(pairs),
            Err(e) => self.errors.push(said(OPTIONS, &e.to_string())),
        }
    }

    fn take_pairs(&mut self, pairs: Vec<grammar::Pair>) {
        let mut seen: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for grammar::Pair { name, value } in pairs {
            let place = format!("{OPTIONS}: {}", name.escape_debug());
            let Some(known) = known::find(&name) else {
                let guess = did_you_mean(&name, known::names());
                let text = format!("no option has this name{guess}");
                self.errors.push(said(&place, &text));
                continue;
            };
            let value = match known.value {
                Some(_) => Some(value.unwrap_or_else(|| known::BARE.to_owned())),
                None => {
                    self.check_switch(&place, &name, value.as_deref());
                    None
                }
            };
            match seen.get(known.name) {
                Some(first) if *first != value => {
                    let text = "this is given twice, with different values";
                    self.errors.push(said(&place, text));
                }
                Some(_) => {}
                None => {
                    seen.insert(known.name, value.clone());
                    self.given.insert(known.name, Given { place, value });
                }
            }
        }
    }

    /// v2ray-plugin switches on what is there, `tls=false` too.
    fn check_switch(&mut self, place: &str, name: &str, value: Option<&str>) {
        if let Some(value) = value
            && !matches!(value, "1" | "true")
        {
            let text = format!(
                "`{}` is no value of a switch: it is on when it is there, expected `{name}`, or nothing where it \
                 is to be off",
                value.escape_debug()
            );
            self.errors.push(said(place, &text));
        }
    }

    pub(super) fn is_on(&self, name: &'static str) -> bool {
        self.given.contains_key(name)
    }

    /// The value, if there is one.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.given.get(name)?.value.as_deref()
    }

    /// A value that is not empty.
    pub(super) fn some(&self, name: &'static str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The value as something else; `expected` says what. Without one that can be read it is `default`.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        default: T,
        expected: &str,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.parse() {
            Ok(value) => value,
            Err(_) => {
                let text = format!("`{}` is not {expected}", text.escape_debug());
                self.error(name, &text);
                default
            }
        }
    }

    /// A mistake in an option.
    pub(super) fn error(&mut self, name: &'static str, text: &str) {
        let message = said(self.place(name), text);
        self.errors.push(message);
    }

    /// What has no effect, or another one than it seems.
    pub(super) fn warn(&mut self, name: &'static str, text: &str) {
        let message = said(self.place(name), text);
        self.warnings.push(message);
    }

    fn place(&self, name: &'static str) -> &str {
        self.given.get(name).map_or(name, |given| &given.place)
    }

    /// Mistakes and warnings.
    pub(super) fn into_messages(self) -> (Vec<Message>, Vec<Message>) {
        (self.errors, self.warnings)
    }
}

fn said(place: &str, text: &str) -> Message {
    Message::of_text(format!("{place}: {text}"))
}
