//! Lists of names and of addresses, as rules and DNS servers write them.
//!
//! V2Ray 4 writes strings, `geosite:cn@ads`; V2Ray 5 objects, `{"code": "cn"}`.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde_json::Value as Json;

use super::rule::checked;
use crate::dialect::v2ray::json::{Node, Object, Path, did_you_mean, one_of};
use crate::matching::{Geodata, NetworkError, Networks, Pattern, parse_network};

/// Of a category of a file, whose next issue may have other marks.
pub(crate) const NOTHING_MARKED: &str =
    "nothing in the category is marked so, this takes nothing, as in Xray";

/// The patterns of a `domain` list; `None` when it is empty. Mistakes are reported.
pub(crate) fn patterns(node: &Node, geodata: &Geodata) -> Option<Vec<Pattern>> {
    let mut all = None;
    for entry in entries(node) {
        let all = all.get_or_insert_with(Vec::new);
        let read = match entry.value {
            Value::Text(text) => {
                if let Some(guess) = wrong_kind(&text) {
                    node.report().warn(&entry.path, guess);
                }
                let read = patterns_of_text(&text, geodata);
                if read.as_ref().is_ok_and(Vec::is_empty) {
                    node.report().warn(&entry.path, NOTHING_MARKED);
                }
                read
            }
            Value::Object(object) => {
                let read = patterns_of_object(&object, geodata);
                object.finish();
                read
            }
        };
        match read {
            Ok(patterns) => all.extend(patterns),
            Err(text) => node.report().error(&entry.path, text),
        }
    }
    all
}

/// The same of rules and DNS servers, to which an empty text among the patterns is one that is in every name, as in V2Ray.
pub(crate) fn patterns_or_any(node: &Node, geodata: &Geodata) -> Option<Vec<Pattern>> {
    let has_empty = match node.value {
        Json::String(text) => text.split(',').any(str::is_empty),
        Json::Array(items) => items.iter().any(|item| item.as_str() == Some("")),
        _ => false,
    };
    let mut all = patterns(node, geodata);
    if has_empty {
        node.warn("an empty text is in every name, so any name is taken, as in V2Ray");
        let all = all.get_or_insert_default();
        all.push(Pattern::Regex(String::new()));
    }
    all
}

/// The addresses of `ip` lists; `None` when all are empty. Mistakes are reported.
pub(crate) fn networks(nodes: &[Node], geodata: &Geodata) -> Option<Networks> {
    read_networks(nodes, geodata, |_| false)
}

/// The same of Xray's lists where `*` among them says that they are only preferred, and whether it is there.
pub(crate) fn preferred(nodes: &[Node], geodata: &Geodata) -> (Option<Networks>, bool) {
    let mut has_star = false;
    let networks = read_networks(nodes, geodata, |text| {
        has_star |= text == "*";
        text == "*"
    });
    (networks, has_star)
}

fn read_networks(
    nodes: &[Node],
    geodata: &Geodata,
    mut is_none: impl FnMut(&str) -> bool,
) -> Option<Networks> {
    let mut inside = Vec::new();
    // What is meant by `!` goes together, as in Xray: files by themselves, and networks.
    let mut outside: [Vec<Vec<IpNet>>; 2] = Default::default();
    let mut apart = Vec::new();
    let mut some = false;
    for entry in nodes.iter().flat_map(entries) {
        if matches!(&entry.value, Value::Text(text) if is_none(text)) {
            continue;
        }
        some = true;
        let report = nodes[0].report();
        let mut group = None;
        let read = match entry.value {
            Value::Text(text) => {
                let text = text.trim();
                let bare = text.trim_start_matches('!');
                let is_of_file = bare.starts_with("geoip:") || bare.starts_with("ext");
                group = Some(usize::from(is_of_file));
                cidrs_of_text(text, geodata)
            }
            Value::Object(object) => {
                let read = cidrs_of_object(&object, geodata);
                object.finish();
                read
            }
        };
        match (read, group) {
            (Ok((cidrs, false)), _) => inside.extend(cidrs),
            (Ok((cidrs, true)), Some(group)) => {
                if !outside[group].is_empty() {
                    report.warn(
                        &entry.path,
                        "several `!` leave out all that they name, as in Xray; V2Ray takes what any one of them leaves",
                    );
                }
                outside[group].push(cidrs);
            }
            // Each for itself in V2Ray 5's form, which Xray does not know.
            (Ok((cidrs, true)), None) => apart.push(cidrs.into_iter().collect()),
            (Err(text), _) => report.error(&entry.path, text),
        }
    }
    let together = outside.into_iter().filter(|cidrs| !cidrs.is_empty());
    apart.extend(together.map(|cidrs| cidrs.into_iter().flatten().collect()));
    some.then(|| Networks {
        inside: inside.into_iter().collect(),
        outside: apart,
    })
}

/// What one pattern of V2Ray 4 stands for; several with `geosite:` and `ext:`.
pub(crate) fn patterns_of_text(text: &str, geodata: &Geodata) -> Result<Vec<Pattern>, String> {
    let Some((kind, rest)) = text.split_once(':') else {
        return Ok(vec![Pattern::Keyword(text.to_owned())]);
    };
    let rest_of = |what: &str| match rest {
        "" => Err(format!("`{text}` has no {what} behind the `:`")),
        rest => Ok(rest.to_owned()),
    };
    let pattern = match kind {
        "geosite" => return marked("geosite.dat", rest, geodata),
        "ext" | "ext-domain" | "ext-site" => {
            let (file, category) = file_and_category(text, rest)?;
            return marked(file, category, geodata);
        }
        // Without its dot it would be every name.
        "domain" if rest == "." => Pattern::Keyword(text.to_owned()),
        "domain" => Pattern::Domain(rest_of("name")?),
        "full" => Pattern::Full(rest_of("name")?),
        "keyword" => Pattern::Keyword(rest_of("text")?),
        "regexp" => Pattern::Regex(rest_of("expression")?),
        "dotless" if rest.contains('.') => {
            return Err(format!(
                "`{text}` has a dot, expected a part of a name without dots"
            ));
        }
        "dotless" => Pattern::Regex(format!("^[^.]*{rest}[^.]*$")),
        // As in V2Ray; no name has a colon, so it is never found.
        _ => Pattern::Keyword(text.to_owned()),
    };
    checked(pattern).map(|pattern| vec![pattern])
}

/// A word before a colon that is none of V2Ray's, which takes the whole for a part of a name.
pub(crate) fn wrong_kind(text: &str) -> Option<String> {
    const KINDS: [&str; 9] = [
        "geosite",
        "ext",
        "ext-domain",
        "ext-site",
        "domain",
        "full",
        "keyword",
        "regexp",
        "dotless",
    ];
    let (kind, _) = text.split_once(':')?;
    (!KINDS.contains(&kind)).then(|| {
        format!(
            "`{}` is no kind of pattern, this takes no name{}",
            kind.escape_debug(),
            did_you_mean(kind, KINDS.into_iter())
        )
    })
}

/// `{"type": "RootDomain", "value": "example.com"}` or `{"code": "cn", "filePath": "geosite.dat"}`.
fn patterns_of_object(object: &Object, geodata: &Geodata) -> Result<Vec<Pattern>, String> {
    if let Some(node) = object.first(&["code", "countryCode"]) {
        let category: String = node.read().unwrap_or_default();
        let file = object.read_or("filePath", "geosite.dat".to_owned());
        let read = marked(&file, &category, geodata)?;
        if read.is_empty() {
            object.node.warn(NOTHING_MARKED);
        }
        return Ok(read);
    }
    let kinds: [(&str, Kind); 5] = [
        ("Plain", Pattern::Keyword),
        ("Regex", Pattern::Regex),
        ("RootDomain", Pattern::Domain),
        ("Domain", Pattern::Domain),
        ("Full", Pattern::Full),
    ];
    let make = match object.get("type") {
        Some(node) => one_of(&node, &kinds),
        None => Some(Pattern::Keyword as Kind),
    };
    let value = object.require::<String>("value");
    match (make, value) {
        (Some(make), Some(value)) if !value.is_empty() => Ok(vec![checked(make(value))?]),
        (_, Some(value)) if value.is_empty() => Err("`value` is empty".to_owned()),
        _ => Ok(Vec::new()),
    }
}

type Kind = fn(String) -> Pattern;

/// `CATEGORY@MARK@MARK` of a file.
fn marked(file: &str, category: &str, geodata: &Geodata) -> Result<Vec<Pattern>, String> {
    let mut parts = category.split('@').map(str::trim);
    let category = named(parts.next())?;
    let marks: Vec<&str> = parts.filter(|mark| !mark.is_empty()).collect();
    let patterns = geodata.patterns(file, category, &marks);
    let patterns = patterns.map_err(|e| e.to_string())?;
    patterns.into_iter().map(checked).collect()
}

fn cidrs_of_text(text: &str, geodata: &Geodata) -> Result<(Vec<IpNet>, bool), String> {
    let (file, category) = if let Some(category) = text.strip_prefix("geoip:") {
        ("geoip.dat", category)
    } else if let Some(rest) = text.strip_prefix("ext:").or(text.strip_prefix("ext-ip:")) {
        file_and_category(text, rest)?
    } else if let Some(other) = text.strip_prefix('!') {
        return cidrs_of_text(other, geodata).map(|(cidrs, not)| (cidrs, !not));
    } else {
        return match parse_network(text) {
            Ok(cidr) => Ok((vec![cidr], false)),
            Err(e @ NetworkError::NotAnAddress(_)) => Err(format!(
                "{e}, expected such as `10.0.0.0/8`, `geoip:cn`, `geoip:!cn` or `ext:FILE:CATEGORY`"
            )),
            Err(e) => Err(e.to_string()),
        };
    };
    let (category, not) = match category.strip_prefix('!') {
        Some(category) => (category, true),
        None => (category, false),
    };
    let cidrs = geodata.networks(file, named(Some(category))?);
    cidrs.map(|cidrs| (cidrs, not)).map_err(|e| e.to_string())
}

/// `{"code": "cn", "inverseMatch": false}` or `{"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}`.
fn cidrs_of_object(object: &Object, geodata: &Geodata) -> Result<(Vec<IpNet>, bool), String> {
    let not = object.read_or("inverseMatch", false);
    let file = object.read_or("filePath", "geoip.dat".to_owned());
    let mut cidrs = Vec::new();
    for node in object.array("cidr") {
        let Some(cidr) = node.object() else { continue };
        let ip = match cidr.get("ip") {
            Some(bytes) => ip_of_bytes(&bytes),
            None => cidr.require::<String>("ipAddr"),
        };
        let len = cidr.read::<u8>("prefix");
        cidr.finish();
        if let Some(ip) = ip {
            let text = len.map_or(ip.clone(), |len| format!("{ip}/{len}"));
            match parse_network(&text) {
                Ok(cidr) => cidrs.push(cidr),
                Err(e) => node.error(e.to_string()),
            }
        }
    }
    let code = object.first(&["code", "countryCode"]);
    match code.and_then(|node| node.read::<String>()) {
        Some(code) if !code.is_empty() && cidrs.is_empty() => {
            let read = geodata.networks(&file, &code);
            cidrs = read.map_err(|e| e.to_string())?;
        }
        _ => {}
    }
    if cidrs.is_empty() {
        return Err("neither `code` nor `cidr` says which addresses".to_owned());
    }
    Ok((cidrs, not))
}

/// A protobuf's own spelling of an address: its 4 or 16 bytes in base64.
fn ip_of_bytes(node: &Node) -> Option<String> {
    let text: String = node.read()?;
    let bytes = STANDARD.decode(&text).unwrap_or_default();
    let four = <[u8; 4]>::try_from(&*bytes).map(IpAddr::from);
    let ip = four.or_else(|_| <[u8; 16]>::try_from(&*bytes).map(IpAddr::from));
    if ip.is_err() {
        let text = text.escape_debug();
        node.error(format!(
            "`{text}` is not an address in base64, expected one in `ipAddr`"
        ));
    }
    ip.ok().map(|ip| ip.to_string())
}

fn file_and_category<'t>(text: &str, rest: &'t str) -> Result<(&'t str, &'t str), String> {
    match rest.split_once(':') {
        Some((file, category)) if !file.is_empty() && !category.contains(':') => {
            Ok((file, category))
        }
        _ => Err(format!("`{text}` is not of the form `ext:FILE:CATEGORY`")),
    }
}

fn named(category: Option<&str>) -> Result<&str, String> {
    category
        .filter(|category| !category.is_empty())
        .ok_or_else(|| "no category is named behind the `:`".to_owned())
}

struct Entry<'a> {
    path: Path,
    value: Value<'a>,
}

enum Value<'a> {
    Text(String),
    Object(Object<'a>),
}

/// An array of strings and objects, or one string with commas.
fn entries<'a>(node: &Node<'a>) -> Vec<Entry<'a>> {
    let entry = |path: &Path, value| Entry {
        path: path.clone(),
        value,
    };
    if let Some(text) = node.value.as_str() {
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        return parts
            .map(|part| entry(&node.path, Value::Text(part.to_owned())))
            .collect();
    }
    let mut all = Vec::new();
    for node in node.array() {
        let value = if node.value.is_object() {
            node.object().map(Value::Object)
        } else {
            let text: Option<String> = node.read();
            text.filter(|t| !t.is_empty()).map(Value::Text)
        };
        all.extend(value.map(|value| entry(&node.path, value)));
    }
    all
}
