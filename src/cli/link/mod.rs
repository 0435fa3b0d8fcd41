//! `mobula link`: share links of a config, and configs of share links.

mod args;
pub(super) mod picture;
pub(super) mod qr;

use std::process::ExitCode;

use serde_json::Value;

pub(super) use args::LinkArgs;

use super::args::ConfigArgs;
use super::load::{Meant, load};
use super::{BAD_CONFIG, inputs, say, test};
use crate::address::Host;
use crate::cause::system_words;
use crate::config::{Config, Outbound};
use crate::dialect::contents;
use crate::dialect::links::{self, Form, Public};
use crate::dialect::v2ray;

pub(super) fn run(args: &LinkArgs) -> ExitCode {
    let done = match (args.links.is_empty(), args.config.is_empty()) {
        (false, _) => of_links(args),
        (true, false) => of_config(args),
        (true, true) => Err(vec![
            "give a link to read, or `-c FILE` to print those of a config".to_owned(),
        ]),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            for line in lines {
                eprintln!("{line}");
            }
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// Reads links, and prints their outbounds.
fn of_links(args: &LinkArgs) -> Result<(), Vec<String>> {
    let mut texts = Vec::new();
    for given in &args.links {
        texts.extend(links_in(given).map_err(|line| vec![line])?);
    }
    let mut outbounds = Vec::new();
    let mut sound = Vec::new();
    let mut errors = Vec::new();
    let mut left_out = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let place = match texts.len() {
            1 => String::new(),
            _ => format!("link {}: ", i + 1),
        };
        match links::read(text) {
            Ok(read) => {
                left_out.extend(read.left_out.iter().map(|line| format!("{place}{line}")));
                outbounds.extend(v2ray::write_outbound(&read.outbound));
                outbounds.extend(v2ray::write_plugin(&read.outbound));
                sound.push((name_of(&read.outbound), text.clone()));
            }
            Err(lines) => errors.extend(lines.iter().map(|line| format!("{place}{line}"))),
        }
    }
    tell(left_out, args.strict)?;
    // Of a subscription those that can be read are of use.
    if sound.is_empty() || args.strict && !errors.is_empty() {
        return Err(errors);
    }
    for line in &errors {
        eprintln!("left out: {line}");
    }
    show_pictures(args, &sound)?;
    if !args.qr {
        let value = match (&outbounds[..], &texts[..]) {
            ([one], [_]) => one.clone(),
            _ => Value::Array(outbounds),
        };
        say(format_args!("{value:#}"));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(vec![format!(
            "{} of {} links cannot be read",
            texts.len() - sound.len(),
            texts.len()
        )]),
    }
}

/// The links in an argument: itself, a picture of one, or a file of many.
fn links_in(given: &str) -> Result<Vec<String>, String> {
    if given.contains("://") {
        return Ok(vec![given.to_owned()]);
    }
    let bytes = match given {
        "-" | "stdin:" => contents::of_stdin(),
        path => contents::of_file(path.as_ref()),
    };
    let bytes = bytes.map_err(|e| {
        format!(
            "{}: {}, expected a link, a picture or a file of links",
            given.escape_debug(),
            system_words(&e)
        )
    })?;
    let place = |text: &str| format!("{}: {text}", given.escape_debug());
    if picture::is_png(&bytes) {
        return picture::read(&bytes)
            .and_then(qr::read)
            .map_err(|text| place(&text));
    }
    let text = String::from_utf8(bytes).map_err(|_| place("this is no text and no PNG picture"))?;
    let links = links::links_in(&text);
    match links.is_empty() {
        true => Err(place("this is empty, expected links")),
        false => Ok(links),
    }
}

/// Prints the links of a config.
fn of_config(args: &LinkArgs) -> Result<(), Vec<String>> {
    let files = ConfigArgs {
        config: args.config.clone(),
        ..ConfigArgs::default()
    };
    let inputs = inputs::find(&files).map_err(|line| vec![line])?;
    // Links say nothing of what goes where.
    let options = v2ray::Options {
        skip_unbuilt: true,
        ..v2ray::Options::default()
    };
    let Meant {
        loaded, left_out, ..
    } = load(&inputs, options);
    let Some(config) = loaded.config else {
        for error in &loaded.errors {
            eprintln!("{error}");
            test::show(error);
        }
        return Err(Vec::new());
    };
    let mut left_out: Vec<String> = left_out.into_iter().map(|one| one.line).collect();
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    left_out.extend(warnings.filter(|line| line.contains("LEFT OUT")));
    let outbounds = match &args.address {
        Some(address) => of_server(&config, address, args, &mut left_out)?,
        None => of_client(&config)?,
    };
    let form = if args.url { Form::Url } else { Form::Json };
    let mut written = Vec::new();
    for outbound in &outbounds {
        match links::write(outbound, form) {
            Ok(links) => {
                left_out.extend(links.left_out);
                let name = name_of(outbound);
                written.extend(links.links.into_iter().map(|link| (name.clone(), link)));
            }
            Err(line) => left_out.push(line),
        }
    }
    left_out.dedup();
    if written.is_empty() {
        return Err(left_out);
    }
    tell(left_out, args.strict)?;
    for (_, link) in written.iter().filter(|_| !args.qr) {
        say(link);
    }
    show_pictures(args, &written)
}

/// What goes to servers of the user's.
fn of_client(config: &Config) -> Result<Vec<Outbound>, Vec<String>> {
    let outbounds: Vec<_> = config
        .outbounds
        .iter()
        .filter(|outbound| outbound.leads_away())
        .cloned()
        .collect();
    match outbounds.is_empty() {
        false => Ok(outbounds),
        true => Err(vec![
            "no outbound of this config goes to a server: if it is a server's config, say with `--address HOST` where \
             clients reach it"
                .to_owned(),
        ]),
    }
}

/// What the users of a server's inbounds put into their clients.
fn of_server(
    config: &Config,
    address: &str,
    args: &LinkArgs,
    left_out: &mut Vec<String>,
) -> Result<Vec<Outbound>, Vec<String>> {
    let host = Host::parse(address)
        .map_err(|e| vec![format!("--address: `{}`: {e}", address.escape_debug())])?;
    let public = Public {
        address: host,
        port: args.port,
        tls: args.tls.map(Into::into),
    };
    let mut outbounds = Vec::new();
    for inbound in config.all_inbounds() {
        let users = match links::of_users(inbound, &public) {
            Ok(Some(users)) => users,
            Ok(None) => continue,
            Err(line) => {
                left_out.push(line);
                continue;
            }
        };
        outbounds.extend(users.outbounds);
        left_out.extend(users.left_out);
        for line in users.remarks {
            eprintln!("note: {line}");
        }
    }
    match outbounds.is_empty() {
        false => Ok(outbounds),
        true if !left_out.is_empty() => Err(std::mem::take(left_out)),
        true => Err(vec![
            "no inbound of this config has users that links could be for: `vmess`, `vless`, `trojan` or `shadowsocks`"
                .to_owned(),
        ]),
    }
}

/// Says what is not carried over.
fn tell(left_out: Vec<String>, strict: bool) -> Result<(), Vec<String>> {
    if strict && !left_out.is_empty() {
        return Err(left_out);
    }
    for line in left_out {
        eprintln!("left out: {line}");
    }
    Ok(())
}

fn name_of(outbound: &Outbound) -> String {
    outbound.tag.as_deref().unwrap_or_default().to_owned()
}

/// The QR codes that were asked for, of links with their names.
fn show_pictures(args: &LinkArgs, links: &[(String, String)]) -> Result<(), Vec<String>> {
    if !args.qr && args.png.is_none() && args.svg.is_none() {
        return Ok(());
    }
    for (i, (name, link)) in links.iter().enumerate() {
        let code = qr::of(link).map_err(|line| vec![format!("{name}: {line}")])?;
        if args.qr {
            if !name.is_empty() {
                say(name);
            }
            say(picture::terminal(&code));
        }
        let number = (links.len() > 1).then_some(i + 1);
        let files = [
            (&args.png, picture::png as fn(&qr::Code) -> Vec<u8>),
            (&args.svg, |code| picture::svg(code).into_bytes()),
        ];
        for (path, draw) in files {
            let Some(path) = path else { continue };
            let path = picture::numbered(path, number);
            picture::save(&path, &draw(&code))
                .map_err(|e| vec![format!("{}: {}", path.display(), system_words(&e))])?;
            if number.is_some() {
                eprintln!("{}: {}", path.display(), name.escape_debug());
            }
        }
    }
    Ok(())
}
