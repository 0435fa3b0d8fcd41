//! Which language a text is in, by what stands in it; and from any of them to any other.

mod array;
mod recognised;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::clients::nodes::{inbound, mixed};
use super::clients::parts::{Parts, Whole};
use super::clients::rules::Rules;
use super::links::{self, links_in};
use super::tree::keys::Notes;
use super::tree::places::placed;
use super::v2ray::json::{NO_EFFECT, Text};
use super::v2ray::{self, Input};
use super::{clash, gost, singbox};
use crate::address::Host;
use crate::config::{Config, Outbound};
use crate::protocol::{InboundSettings, OutboundSettings, http};
use crate::report::Message;
use crate::sniffing;

pub use recognised::{is_link, recognise};
pub use write::{Target, Written, write};

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A `config.json` of V2Ray's or Xray's, or nothing that is known.
    V2ray,
    /// Several of these in a list.
    V2rayList,
    /// sing-box's JSON.
    SingBox,
    /// Clash's or mihomo's YAML.
    Clash,
    /// Share links, a line for each; a subscription is the same in base64.
    Links,
    /// Shadowsocks' JSON: SIP008, or a single server.
    Shadowsocks,
    /// gost's YAML or JSON: services, and chains that they go through.
    Gost,
}

/// What a text names beside itself, and how it is read.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// A file.
    pub file: &'a dyn Fn(&Path) -> Result<Vec<u8>, String>,
    /// What stands on the web: each of these, all at once.
    pub web: &'a dyn Fn(Vec<Page>) -> Vec<Result<Vec<u8>, String>>,
    /// Whether the text is read for nothing but what leads out, to fetch pages by: rules in front of its own lead to what these
    /// are to be fetched [by](Way::By).
    pub is_for_pages: bool,
}

/// What is asked for on the web.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Where it stands.
    pub url: String,
    /// What the request says besides.
    pub headers: Vec<(String, String)>,
    /// Which way the request goes.
    pub way: Way,
}

/// Which way a page is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From this machine.
    Straight,
    /// As the rules of the text have it.
    Rules,
    /// By an outbound or a group of the text, which is called this there.
    By(String),
}

impl Way {
    /// The inbound that a request of this way comes from, to rules; none does when it goes straight there.
    pub fn inbound(&self) -> Option<String> {
        match self {
            Self::Straight => None,
            Self::Rules => Some("pages".to_owned()),
            Self::By(name) => Some(format!("pages by {name}")),
        }
    }
}

/// What messages call a place on the web: its path and query may be as good as a password.
pub fn shown(url: &str) -> String {
    let end = url.find("://").map_or(0, |at| at + 3);
    let host = url[end..].split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{}{}/…", &url[..end], host.escape_debug())
}

impl Outside<'static> {
    /// Nothing is read.
    pub const NOTHING: Self = Self {
        file: &|_| Err("no file is read for it".to_owned()),
        web: &|pages| {
            let none = |_| Err("nothing is fetched for it".to_owned());
            pages.iter().map(none).collect()
        },
        is_for_pages: false,
    };
}

/// What a text means.
#[derive(Debug)]
pub struct Read {
    /// What it is.
    pub form: Form,
    /// What was understood of it.
    pub config: Config,
    /// What was not.
    pub left_out: Vec<Message>,
    /// Those of it by which sessions go another way than was meant: what should go straight there goes to a
    /// server, say, or what should come in here does not.
    pub astray: Vec<Message>,
    /// Of a list of configs, what else there is to say of them.
    pub warnings: Vec<Message>,
    /// What a config.json says that does nothing here, and that no other form is told of.
    no_effect: Vec<String>,
    /// The rules of another form, as `routing`; of gost's and of a list all of it, as a config.json.
    routing: Option<Value>,
    /// What another form says of DNS, as `dns`.
    dns: Option<Value>,
    /// What another form looks for in sessions of inbounds that are not carried over.
    sniffing: Option<sniffing::Settings>,
}

/// Reads a text, which `name` is called.
///
/// # Errors
///
/// When nothing in it can be understood: all that is wrong.
pub fn read(text: &str, name: &str, outside: Outside<'_>) -> Result<Read, Vec<Message>> {
    let (form, inner) = recognise(text);
    read_as(form, &inner, name, outside)
}

/// As [`read`], of a text whose form is known.
///
/// # Errors
///
/// As [`read`].
pub fn read_as(
    form: Form,
    text: &str,
    name: &str,
    outside: Outside<'_>,
) -> Result<Read, Vec<Message>> {
    let source: Arc<str> = name.into();
    let notes = Notes::default();
    let whole = match form {
        Form::V2ray => return of_v2ray(text, name),
        Form::V2rayList => return of_list(text, name),
        Form::Gost => return of_gost(text, name),
        Form::SingBox => singbox::read(text, &source, outside, &notes),
        Form::Clash => clash::read(text, &source, outside, &notes),
        Form::Shadowsocks => singbox::read_shadowsocks(text, &source, outside, &notes),
        Form::Links => Ok(of_links(text, name, &notes)),
    };
    let Whole {
        config,
        routing,
        dns,
        sniffing,
    } = whole.map_err(|message| placed(vec![*message], name, text))?;
    // Somebody may mean that all goes straight there, where nothing of the file is lost.
    let is_whole = notes.errors() == 0 && !config.inbounds.is_empty();
    let (left_out, astray) = notes.into_messages();
    let (left_out, astray) = (placed(left_out, name, text), placed(astray, name, text));
    let is_client = config.outbounds.iter().any(Outbound::leads_away);
    let goes_out = !config.outbounds.is_empty();
    if !(is_client || is_whole && goes_out) {
        let mut messages = left_out;
        let of_servers = match form {
            Form::SingBox | Form::Clash => "; what is for a server is not taken in this form",
            _ => "",
        };
        messages.push(Message::of_file(
            name,
            format!("this is {form}, and there is no server in it that could be used{of_servers}"),
        ));
        return Err(messages);
    }
    Ok(Read {
        form,
        config,
        left_out,
        astray,
        warnings: Vec::new(),
        no_effect: Vec::new(),
        routing,
        dns,
        sniffing,
    })
}

fn of_v2ray(text: &str, name: &str) -> Result<Read, Vec<Message>> {
    let input = Input::Text {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let options = v2ray::Options {
        skip_unbuilt: true,
        ..v2ray::Options::default()
    };
    let loaded = v2ray::load(&[input], options);
    let Some(mut config) = loaded.config else {
        return Err(loaded.errors);
    };
    let nothing = Config {
        log: config.log.clone(),
        ..Config::default()
    };
    if config == nothing {
        // What a server answers that has no config for somebody, say.
        let text =
            "there is nothing of a config in it, expected `inbounds`, `outbounds` or another part";
        let mut messages = loaded.warnings;
        messages.push(Message::of_file(name, text.to_owned()));
        return Err(messages);
    }
    let without_effect = |message: &&Message| message.text.contains(NO_EFFECT);
    let no_effect = loaded.warnings.iter().filter(without_effect);
    let no_effect = no_effect.map(|message| message.line.clone()).collect();
    let (left_out, warnings): (Vec<Message>, _) = loaded
        .warnings
        .into_iter()
        .partition(|message| message.line.contains("LEFT OUT"));
    let stands_in = |outbound: &Outbound| match &outbound.protocol {
        OutboundSettings::Blackhole(settings) => settings.stands_in,
        _ => false,
    };
    let is_first_lost = config.outbounds.first().is_some_and(stands_in);
    config.outbounds.retain(|outbound| !stands_in(outbound));
    if is_first_lost && let Some(n) = config.outbounds.iter().position(Outbound::leads_away) {
        config.outbounds[..=n].rotate_right(1);
    }
    Ok(Read {
        form: Form::V2ray,
        config,
        astray: left_out.clone(),
        left_out,
        warnings,
        no_effect,
        routing: None,
        dns: None,
        sniffing: None,
    })
}

/// The first of several configs, with the servers of all.
fn of_list(text: &str, name: &str) -> Result<Read, Vec<Message>> {
    let parsed = Text::with_commas(text.to_owned()).parse();
    let configs = parsed
        .map_err(|e| vec![Message::of_file(name, e.to_string())])?
        .0;
    let configs = configs.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut whole = array::Whole::of(configs);
    let mut lost = Vec::new();
    let read = loop {
        // In lines, of which messages show one.
        let read = of_v2ray(&format!("{:#}", whole.config), name);
        let Err(errors) = read else { break read };
        let others = errors.iter().map(|error| whole.other(error));
        let others = others.collect::<Option<HashSet<usize>>>();
        let in_list = |error| whole.in_list(error);
        let Some(others) = others.filter(|_| lost.len() < MOST_LOST) else {
            break Err(errors.into_iter().map(in_list).collect());
        };
        // The first does without them.
        let errors = errors.into_iter().map(in_list);
        lost.extend(errors.map(|error| error.with(": it is left out")));
        whole.remove(&others);
    };
    let in_list = |messages: Vec<Message>| {
        let messages = messages.into_iter().map(|message| whole.in_list(message));
        messages.collect::<Vec<_>>()
    };
    let mut read = read.map_err(|errors: Vec<Message>| {
        placed(errors.into_iter().chain(lost.clone()).collect(), name, text)
    })?;
    if let Some(name) = &whole.first_name {
        array::name_first(&mut read.config, name);
    }
    // Nothing leads to the servers of the others.
    read.astray.retain(|message| whole.other(message).is_none());
    let left_out = in_list(read.left_out);
    let mut left_out: Vec<Message> = lost.into_iter().chain(left_out).collect();
    if whole.configs > 1 {
        let text = format!(
            "there are {} configs in it: the first one counts, with the servers of all",
            whole.configs
        );
        left_out.insert(0, Message::of_file(name, text));
    }
    Ok(Read {
        form: Form::V2rayList,
        left_out: placed(left_out, name, text),
        astray: placed(in_list(read.astray), name, text),
        warnings: placed(in_list(read.warnings), name, text),
        routing: Some(whole.config),
        ..read
    })
}

/// How many messages are kept about what is left out of a list; one with more is no list that anybody made.
const MOST_LOST: usize = 1000;

/// What gost's words mean; whatever is not built is an error.
fn of_gost(text: &str, name: &str) -> Result<Read, Vec<Message>> {
    let loaded = gost::load(&gost_launch(text, name));
    match (loaded.to_config_json(), loaded.config) {
        (Some((value, left_out)), Some(config)) => {
            let left_out: Vec<Message> = left_out.into_iter().map(Message::of_text).collect();
            Ok(Read {
                form: Form::Gost,
                config,
                astray: left_out.clone(),
                left_out,
                warnings: Vec::new(),
                no_effect: Vec::new(),
                routing: Some(value),
                dns: None,
                sniffing: None,
            })
        }
        _ => Err(loaded.errors),
    }
}

/// The same as `mobula gost -C`.
pub fn gost_launch(text: &str, name: &str) -> gost::Launch {
    gost::Launch {
        files: vec![(name.to_owned(), text.to_owned())],
        ..gost::Launch::default()
    }
}

fn of_links(text: &str, name: &str, notes: &Notes) -> Whole {
    let mut parts = Parts::default();
    for (n, link) in links_in(text).iter().enumerate() {
        let place = format!("{name}: link {}", n + 1);
        match links::read(link) {
            Ok(read) => {
                read.left_out
                    .iter()
                    .for_each(|line| notes.line(format!("{place}: {line}")));
                let mut outbound = read.outbound;
                outbound.name = match &outbound.tag {
                    Some(tag) => format!("link {} (`{}`)", n + 1, tag.escape_debug()),
                    None => format!("link {}", n + 1),
                };
                parts.outbounds.push(outbound);
            }
            Err(lines) => lines
                .iter()
                .for_each(|line| notes.line(format!("{place}: {line}: it is left out"))),
        }
    }
    put_a_server_first(&mut parts.outbounds, name, notes);
    parts.into_whole(Rules::new(notes), notes)
}

/// Some providers begin with links whose names say how much is left, and that lead nowhere. Where there are others, none of these
/// carries everything.
fn put_a_server_first(outbounds: &mut [Outbound], name: &str, notes: &Notes) {
    let is_nowhere = |outbound: &Outbound| {
        let servers = outbound.protocol.servers();
        let mut servers = servers.iter();
        servers.any(|to| to.port <= 1 || matches!(to.host, Host::Ip(ip) if ip.is_unspecified()))
    };
    let server = outbounds.iter().position(|outbound| !is_nowhere(outbound));
    if let Some(n) = server.filter(|n| *n > 0) {
        outbounds[..=n].rotate_right(1);
        let text = format!(
            "{name}: {} takes the place of {}, which leads to no server",
            outbounds[0].name, outbounds[1].name
        );
        notes.line(text);
    }
}

/// Where applications reach a client that says nothing of it: by SOCKS, and by HTTP.
pub const PORTS: [u16; 2] = [1080, 1081];

#[cfg(test)]
impl Read {
    pub fn left_out_lines(&self) -> Vec<String> {
        self.left_out.iter().map(ToString::to_string).collect()
    }

    pub fn astray_lines(&self) -> Vec<String> {
        self.astray.iter().map(ToString::to_string).collect()
    }
}

impl Read {
    /// Whether there is an outbound that sessions go to a server by.
    pub fn leads_to_servers(&self) -> bool {
        self.config.outbounds.iter().any(Outbound::leads_away)
    }

    /// Gives a client that nobody could reach the inbounds that people expect.
    #[must_use]
    pub fn with_inbounds(mut self, [socks_port, http_port]: [u16; 2]) -> Self {
        if !matches!(self.form, Form::V2ray | Form::V2rayList | Form::Gost)
            && self.config.inbounds.is_empty()
        {
            let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let http = InboundSettings::Http(http::InboundSettings::default());
            self.config.inbounds = vec![
                inbound(
                    "inbounds[0]".to_owned(),
                    Some("socks"),
                    loopback,
                    socks_port,
                    mixed(Vec::new()),
                ),
                inbound(
                    "inbounds[1]".to_owned(),
                    Some("http"),
                    loopback,
                    http_port,
                    http,
                ),
            ];
            for inbound in &mut self.config.inbounds {
                inbound.sniffing.clone_from(&self.sniffing);
            }
        }
        self
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2ray => "a config of V2Ray",
            Self::V2rayList => "a list of configs of V2Ray",
            Self::SingBox => "a config of sing-box",
            Self::Clash => "a config of Clash",
            Self::Links => "a list of links",
            Self::Shadowsocks => "a config of Shadowsocks",
            Self::Gost => "a config of gost",
        })
    }
}
