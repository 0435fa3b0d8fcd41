//! What `-c` names, read: configs of V2Ray's, or one text in another form, which can only be meant as a client.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::example::free_ports;
use super::given::{self, Source, certificates_of_this_machine, of_this_machine};
use super::stands_in::Original;
use crate::config::{Config, Inbound, Listen, LogFormat, LogTarget, Outbound, exposure};
use crate::dialect::form::{self, Form};
use crate::dialect::gost;
use crate::dialect::v2ray::languages::Language;
use crate::dialect::v2ray::{self, Input, Loaded, Options};
use crate::protocol::InboundSettings;
use crate::report::{Message, Report};
use crate::routing::{BalancerSettings, Strategy, place};
use crate::transport::site;
use crate::transport::tcp::handed;
use crate::transport::tls;

/// What came out of reading.
#[derive(Default)]
pub(super) struct Meant {
    pub(super) loaded: Loaded,
    /// What has no word here, and changes nothing about where sessions go.
    pub(super) left_out: Vec<Message>,
    /// What was understood: the form, the outbound that is chosen, and where applications reach it.
    pub(super) understood: Vec<String>,
    /// Whether it is no config that was written for this program or for V2Ray.
    pub(super) is_foreign: bool,
}

/// Where applications reach a client that says nothing of it.
static PORTS: OnceLock<[u16; 2]> = OnceLock::new();

static MAY_CHOOSE: AtomicBool = AtomicBool::new(false);

/// Takes others than the usual ports where somebody else listens there. A config that is read again keeps them.
pub(super) fn choose_ports() {
    MAY_CHOOSE.store(true, Ordering::Relaxed);
}

fn ports() -> [u16; 2] {
    if !MAY_CHOOSE.load(Ordering::Relaxed) {
        return form::PORTS;
    }
    let is_ours = |port| handed::holds(SocketAddr::new(LOOPBACK, port));
    *PORTS.get_or_init(|| match form::PORTS.into_iter().any(is_ours) {
        true => form::PORTS,
        false => free_ports(form::PORTS),
    })
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads `sources` in their order. Nothing stops at the first mistake.
pub(super) fn load(sources: &[Source], options: Options) -> Meant {
    let mut taken = Vec::new();
    let mut errors = Vec::new();
    for source in sources {
        match Taken::of(source) {
            Ok(one) => taken.push(one),
            Err(text) => errors.push(Message::of_text(text)),
        }
    }
    let foreign = |one: &&Taken| one.inner.is_some();
    if let ([], [one]) = (&errors[..], &taken[..])
        && let Some((form, text)) = &one.inner
    {
        return of_form(*form, text, one, options);
    }
    errors.extend(taken.iter().filter(foreign).map(|one| {
        let form = one.inner.as_ref().map_or(Form::V2ray, |(form, _)| *form);
        let text = format!(
            "this is {form}, and configs of V2Ray alone are merged: give it by itself, or `mobula convert` it first"
        );
        Message::of_file(&one.name, text)
    }));
    if !errors.is_empty() {
        return failed(errors);
    }
    let is_remote = taken.iter().any(|one| one.is_remote);
    for one in taken.iter().filter(|one| one.is_remote) {
        if let Input::Bytes { bytes, .. } = &one.input
            && let text = String::from_utf8_lossy(bytes).into_owned()
        {
            let language = options.language.unwrap_or(Language::Json);
            let found = match language.json(&one.name, text) {
                Ok(text) => certificates_of_this_machine(&one.name, &text),
                Err(message) => Some(*message),
            };
            if let Some(message) = found {
                return failed(vec![message]);
            }
        }
    }
    let name = taken.first().map(|one| one.name.clone());
    let inputs: Vec<Input> = taken.into_iter().map(|one| one.input).collect();
    let mut loaded = v2ray::load(&inputs, options);
    if let Some(config) = &mut loaded.config
        && config.log.format == LogFormat::Text
        && Original::is_xray()
    {
        // Panels look for addresses of users in it.
        config.log.format = LogFormat::Xray;
    }
    if is_remote && let Some(config) = &loaded.config {
        let name = name.as_deref().unwrap_or_default();
        let said = local_parts(config);
        let said: Vec<Message> = said
            .iter()
            .map(|part| of_this_machine(name, part))
            .collect();
        if !said.is_empty() {
            loaded.errors.extend(said);
            loaded.config = None;
        }
    }
    let mut understood = match (&loaded.config, &name) {
        (Some(config), Some(name)) if is_client(config) => understood(name, Form::V2ray, config),
        _ => Vec::new(),
    };
    if loaded.config.is_some() && is_another_in_v2ray_5(&inputs, options) {
        let text = "the files are merged as V2Ray 4 and Xray have it, by which a later outbound stands in front; V2Ray 5 makes another config of them: `-format jsonv5`";
        understood.push(text.to_owned());
    }
    Meant {
        loaded,
        understood,
        is_foreign: is_remote,
        ..Meant::default()
    }
}

/// Whether V2Ray 5 would merge these files, of which nobody has said whose they are, into something else.
fn is_another_in_v2ray_5(inputs: &[Input], options: Options) -> bool {
    if inputs.len() < 2 || options.format == v2ray::Format::V5 || Original::is_xray() {
        return false;
    }
    let five = Options {
        format: v2ray::Format::V5,
        ..options
    };
    let [ours, theirs] = [options, five].map(|options| v2ray::merge(inputs, options).ok());
    ours != theirs
}

/// What all `sources` come to, as one `config.json`.
pub(super) fn merged(sources: &[Source], options: Options) -> Result<String, Vec<Message>> {
    let mut inputs = Vec::new();
    for source in sources {
        let one = Taken::of(source).map_err(|text| vec![Message::of_text(text)])?;
        if let Some((form, _)) = &one.inner {
            let text = format!("this is {form}, and configs of V2Ray alone are merged");
            return Err(vec![Message::of_file(&one.name, text)]);
        }
        inputs.push(one.input);
    }
    let merged = v2ray::merge(&inputs, options)?;
    Ok(format!("{merged:#}"))
}

fn failed(errors: Vec<Message>) -> Meant {
    Meant {
        loaded: Loaded {
            errors,
            ..Loaded::default()
        },
        is_foreign: true,
        ..Meant::default()
    }
}

/// What a source holds.
struct Taken {
    name: String,
    input: Input,
    /// Another form than V2Ray's, and the text without base64 around it.
    inner: Option<(Form, String)>,
    is_remote: bool,
}

impl Taken {
    fn of(source: &Source) -> Result<Self, String> {
        let name = source.name();
        let is_remote = source.is_remote();
        let bytes = match (source.bytes(), source) {
            (Ok(bytes), _) => bytes,
            // What is wrong with a file is said as ever.
            (Err(_), Source::File(path)) => {
                return Ok(Self {
                    name,
                    input: Input::File(path.clone()),
                    inner: None,
                    is_remote,
                });
            }
            (Err(text), _) => return Err(text),
        };
        let recognised = std::str::from_utf8(&bytes).ok().map(form::recognise);
        let inner = recognised
            .filter(|(form, _)| *form != Form::V2ray)
            .map(|(form, text)| (form, text.into_owned()));
        Ok(Self {
            input: Input::Bytes {
                name: name.clone(),
                bytes,
            },
            name,
            inner,
            is_remote,
        })
    }
}

const ASTRAY: &str =
    ": sessions would go another way than is meant, `--skip-unbuilt` has them do so";

/// Reads a text that is no config of V2Ray's.
fn of_form(form: Form, text: &str, taken: &Taken, options: Options) -> Meant {
    let name = &taken.name;
    if form == Form::Gost {
        return of_gost(text, taken, options);
    }
    if taken.is_remote
        && form == Form::V2rayList
        && let Some(message) = certificates_of_this_machine(name, text)
    {
        return failed(vec![message]);
    }
    let read = match given::read(form, text, name, taken.is_remote) {
        Ok(read) => read.with_inbounds(ports()),
        Err(errors) => return failed(errors),
    };
    let form::Read {
        config,
        mut left_out,
        astray,
        warnings: own_warnings,
        ..
    } = read;
    left_out.retain(|line| !astray.contains(line));
    let mut imitated = config.outbounds.iter().filter(|outbound| {
        let security = outbound.transport.security.as_ref();
        security.is_some_and(|tls| tls.fingerprint.is_some())
    });
    if let Some(first) = imitated.next() {
        let more = match imitated.count() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let text = format!("{}{more}: {}", first.name, tls::NOT_BROWSERS);
        left_out.push(Message::of_file(name, text));
    }
    let mistakes = config.mistakes().into_iter();
    let mut errors: Vec<Message> = mistakes
        .map(|problem| Message::of_file(name, problem.to_string()))
        .collect();
    match options.skip_unbuilt {
        true => left_out.extend(astray),
        false => errors.extend(astray.into_iter().map(|message| message.with(ASTRAY))),
    }
    if taken.is_remote {
        let parts = local_parts(&config);
        errors.extend(parts.iter().map(|part| of_this_machine(name, part)));
    }
    let mut warnings = match form {
        Form::V2rayList => own_warnings,
        _ => exposed(name, &config),
    };
    if options.strict {
        errors.append(&mut warnings);
        errors.append(&mut left_out);
    }
    if !errors.is_empty() {
        // Why a list was not read, say.
        return Meant {
            left_out,
            ..failed(errors)
        };
    }
    Meant {
        understood: understood(name, form, &config),
        loaded: Loaded {
            config: Some(config),
            errors,
            warnings,
        },
        left_out,
        is_foreign: true,
    }
}

/// It runs as `mobula gost -C` has it: server or client, and what is not built is an error.
fn of_gost(text: &str, taken: &Taken, options: Options) -> Meant {
    let name = &taken.name;
    if taken.is_remote {
        let text =
            "a config of gost names files of its machine and is not fetched, expected a file";
        return failed(vec![Message::of_file(name, text.to_owned())]);
    }
    let mut loaded = gost::load(&form::gost_launch(text, name));
    if options.strict {
        loaded.errors.append(&mut loaded.warnings);
    }
    if !loaded.errors.is_empty() {
        return failed(loaded.errors);
    }
    Meant {
        loaded: Loaded {
            config: loaded.config,
            errors: Vec::new(),
            warnings: loaded.warnings,
        },
        understood: vec![format!("{} is {}", name.escape_debug(), Form::Gost)],
        is_foreign: true,
        ..Meant::default()
    }
}

/// What a config lays open to strangers, as is said of V2Ray's.
fn exposed(name: &str, config: &Config) -> Vec<Message> {
    let mut lines = Vec::new();
    let mut tell = |part: &str, report: Report| {
        let warnings = report.warnings().into_iter();
        lines.extend(
            warnings.map(|problem| Message::of_file(name, format!("{part}: {}", problem.text))),
        );
    };
    for inbound in config.all_inbounds() {
        let report = Report::default();
        exposure::warn_of_open_proxy(inbound, &report);
        tell(&inbound.name, report);
    }
    for outbound in &config.outbounds {
        let report = Report::default();
        exposure::warn_of_readable(outbound, &report);
        tell(&outbound.name, report);
    }
    lines
}

/// The parts of a config that write to files of this machine, show some to strangers, or come or lead to its sockets.
fn local_parts(config: &Config) -> Vec<String> {
    let mut parts = Vec::new();
    for (name, target) in [
        (config.log.keys.access, &config.log.access),
        (config.log.keys.error, &config.log.error),
    ] {
        if matches!(target, LogTarget::File(_)) {
            parts.push(name.to_owned());
        }
    }
    if config.state.is_some() {
        parts.push("stateDirectory".to_owned());
    }
    for inbound in config.all_inbounds() {
        if matches!(inbound.listen, Listen::Unix(_) | Listen::Abstract(_)) {
            parts.push(format!("{}, where it listens", inbound.name));
        }
        if matches!(inbound.transport.site, Some(site::Settings::Folder(_))) {
            parts.push(format!("{}.streamSettings.fallback", inbound.name));
        }
    }
    for outbound in &config.outbounds {
        if outbound.transport.stays_here() {
            parts.push(format!("{}.streamSettings", outbound.name));
        }
    }
    parts
}

/// Whether nobody but this machine may come in, and what comes in goes to a server.
fn is_client(config: &Config) -> bool {
    let is_door = |inbound: &Inbound| {
        let is_proxy = matches!(
            inbound.protocol,
            InboundSettings::Socks(_) | InboundSettings::Http(_)
        );
        is_proxy && matches!(inbound.listen, Listen::Ip(ip) if ip.is_loopback())
    };
    config.outbounds.first().is_some_and(Outbound::leads_away)
        && config.all_inbounds().next().is_some()
        && config.all_inbounds().all(is_door)
}

/// What was understood of a client, for whoever started it.
fn understood(name: &str, form: Form, config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let default = config.routing.default_balancer();
    if let Some(outbound) = config.outbounds.first() {
        let servers = config.outbounds.iter().filter(|one| one.leads_away());
        let servers = servers.map(|one| one.protocol.servers().len().max(1)).sum();
        let servers = match servers {
            0 => "no server".to_owned(),
            1 => "one server".to_owned(),
            n => format!("{n} servers"),
        };
        let rules = match default {
            Some(_) => config.routing.last_rule().unwrap_or_default(),
            None => config.routing.rules.len(),
        };
        let what = match rules {
            0 => "everything",
            _ => "what no rule sends elsewhere",
        };
        let tag = default.map(|balancer| balancer.tag.as_str());
        let tag = tag.or(outbound.tag.as_deref()).unwrap_or(&outbound.name);
        let mut line = format!(
            "{} is {form}, with {servers}: {what} goes by `{}`",
            name.escape_debug(),
            tag.escape_debug(),
        );
        if default.is_none() {
            let _ = write!(line, ", {}", outbound.protocol.name());
            if let Some(to) = outbound.protocol.servers().first() {
                let _ = write!(line, " to {to}");
            }
        }
        lines.push(line);
    }
    lines.extend(
        config
            .routing
            .balancers
            .iter()
            .map(|one| group(one, config)),
    );
    let doors: Vec<String> = config.all_inbounds().flat_map(doors).collect();
    if !doors.is_empty() {
        lines.push(format!("use it by {}", doors.join(" or ")));
    }
    lines
}

/// How a balancer chooses, and between which outbounds.
fn group(balancer: &BalancerSettings, config: &Config) -> String {
    let how = match &*balancer.strategy {
        Strategy::LeastPing { .. } => "the one that answers soonest",
        Strategy::First | Strategy::FirstAlive => "the first that answers",
        Strategy::RoundRobin(_) => "each in its turn",
        Strategy::Random(_) => "one by chance",
        Strategy::LeastLoad(_) => "one of the steadiest",
    };
    let tags = config.outbounds.iter();
    let mut tags: Vec<&str> = tags
        .filter_map(|one| one.tag.as_deref())
        .filter(|tag| balancer.selects(tag))
        .collect();
    if *balancer.strategy == Strategy::FirstAlive {
        tags.sort_by_key(|tag| place(&balancer.selectors, tag));
    }
    let shown = tags.iter().take(MEMBERS_SHOWN);
    let mut members: Vec<String> = shown
        .map(|tag| format!("`{}`", tag.escape_debug()))
        .collect();
    if let Some(rest) = tags.len().checked_sub(MEMBERS_SHOWN + 1) {
        members.push(format!("{} more", rest + 1));
    }
    let tag = balancer.tag.escape_debug();
    format!("`{tag}` is {how} of {}", members.join(", "))
}

/// Members of a group that a line names.
const MEMBERS_SHOWN: usize = 8;

/// The URLs that applications reach an inbound by.
fn doors(inbound: &Inbound) -> Vec<String> {
    let (schemes, accounts) = match &inbound.protocol {
        InboundSettings::Socks(socks) => (&["socks5", "http"][..], socks.accounts.as_deref()),
        InboundSettings::Http(http) => (&["http"][..], Some(&*http.accounts)),
        _ => return Vec::new(),
    };
    let Listen::Ip(ip) = &inbound.listen else {
        return Vec::new();
    };
    let here: IpAddr = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => *ip,
    };
    let port = inbound.ports.first().map_or(0, |range| range.from);
    let password = match accounts.is_some_and(|accounts| !accounts.is_empty()) {
        true => " (with a name and a password)",
        false => "",
    };
    let url = |scheme: &&str| format!("{scheme}://{}{password}", SocketAddr::new(here, port));
    schemes.iter().map(url).collect()
}
