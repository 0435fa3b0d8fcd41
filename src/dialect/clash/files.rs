//! What providers name, files and places on the web: what is there is put where the config itself would have it.

use std::fmt::Display;

use super::mrs;
use crate::dialect::clients::beside::{self, Beside, Ways, lines};
use crate::dialect::clients::packed::Budget;
use crate::dialect::clients::sets::{is_here, is_of_geodata};
use crate::dialect::form::{self, Form, Outside, Page, Target, Way, shown};
use crate::dialect::tree::keys::Notes;
use crate::dialect::tree::{At, Node, Value, text};
use crate::matching::{Geodata, geodata};

/// What a provider gives.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rules,
    Proxies,
}

impl Kind {
    /// Says why nothing was read. Nodes that are missing may have been all but those that go straight there; what becomes of rules
    /// says whoever needs them.
    fn tell(self, at: &At, text: impl Display, notes: &Notes) {
        match self {
            Self::Proxies => notes.astray(at, text),
            Self::Rules => notes.left_out(at, text),
        }
    }
}

/// Panels give who says so proxies in this form.
const AGENT: &str = concat!("clash.meta mobula/", env!("CARGO_PKG_VERSION"));

/// Gives the providers of a file what they name.
pub(super) fn take_in(root: &mut Node, beside: &Beside, notes: &Notes) -> Ways {
    let mut wanted = Vec::new();
    let (geodata, budget) = (Geodata::new(geodata::folders()), Budget::default());
    each(root, |kind, n, provider| {
        // The same comes from elsewhere.
        if kind == Kind::Rules && is_fetched(provider) && is_here(provider, "url", &geodata) {
            return;
        }
        let file = file_of(provider).map(|(path, at)| (beside.bytes(&path), path, at));
        match file {
            Some((Ok(content), path, _)) => {
                fill(kind, provider, content, &path, &budget, notes);
            }
            // One that is fetched may have none yet.
            _ if is_fetched(provider) => {
                let page = page_of(provider);
                wanted.extend(page.map(|page| (kind, n, page)));
            }
            Some((Err(e), path, at)) if !is_of_geodata(provider, "path") => {
                kind.tell(&at, format!("`{}`: {e}", path.escape_debug()), notes);
            }
            _ => {}
        }
    });
    let pages: Vec<Page> = wanted.iter().map(|(.., page)| page.clone()).collect();
    let ways = beside.ways(pages.iter());
    let mut found = beside.pages(pages).into_iter();
    let mut wanted = wanted.into_iter().peekable();
    each(root, |kind, n, provider| {
        let is_this = |(of, at, _): &(Kind, usize, Page)| (*of, *at) == (kind, n);
        if wanted.next_if(is_this).is_none() {
            return;
        }
        let at = provider.get("url").map_or(&provider.at, |url| &url.at);
        match found.next() {
            Some(Ok(content)) => {
                let source = shown(text_of(provider, "url").unwrap_or_default());
                fill(kind, provider, content, &source, &budget, notes);
            }
            Some(Err(e)) => kind.tell(&at.without_line(), e, notes),
            None => {}
        }
    });
    ways
}

/// Calls `visit` with each provider, and which of its kind it is.
fn each(root: &mut Node, mut visit: impl FnMut(Kind, usize, &mut Node)) {
    for (section, kind) in [
        ("rule-providers", Kind::Rules),
        ("proxy-providers", Kind::Proxies),
    ] {
        if let Some(Value::Map(all)) = root.get_mut(section).map(|node| &mut node.value) {
            let all = all.iter_mut().enumerate();
            all.for_each(|(n, (_, provider))| visit(kind, n, provider));
        }
    }
}

fn text_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.as_text()
}

fn is_fetched(provider: &Node) -> bool {
    text_of(provider, "type") == Some("http")
}

/// The file of a provider, which of one that is fetched was written when it was fetched last.
fn file_of(provider: &Node) -> Option<(String, At)> {
    let is_named = matches!(text_of(provider, "type"), Some("file" | "http"));
    let path = provider.get("path")?;
    let text = path.as_text()?.to_owned();
    is_named.then(|| (text, path.at.clone()))
}

/// Where a provider is fetched from, and which way.
fn page_of(provider: &Node) -> Option<Page> {
    let way = match text_of(provider, "proxy") {
        None | Some("") => Way::Rules,
        Some("DIRECT") => Way::Straight,
        Some(name) => Way::By(name.to_owned()),
    };
    let mut headers = vec![("User-Agent".to_owned(), AGENT.to_owned())];
    for (name, values) in provider
        .get("header")
        .map(Node::entries)
        .unwrap_or_default()
    {
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        let values = values.items().iter().filter_map(Node::as_text);
        headers.extend(values.map(|value| (name.clone(), value.to_owned())));
    }
    let url = text_of(provider, "url")?.to_owned();
    Some(Page { url, headers, way })
}

/// Reads what a provider names.
fn fill(
    kind: Kind,
    provider: &mut Node,
    content: Vec<u8>,
    source: &str,
    budget: &Budget,
    notes: &Notes,
) {
    let at = At {
        source: source.into(),
        ..At::default()
    };
    let read = match kind {
        Kind::Rules => rules(provider, content, &at, budget),
        Kind::Proxies => proxies(content, &at),
    };
    match read {
        Ok(payload) => {
            let at = provider.at.clone();
            provider.set("type", Node::text("inline", &at));
            provider.set("payload", payload);
        }
        Err(e) => kind.tell(&at, e, notes),
    }
}

fn rules(provider: &Node, content: Vec<u8>, at: &At, budget: &Budget) -> Result<Node, String> {
    if text_of(provider, "format") != Some("mrs") {
        return beside::text_of(content).map(|text| lines(&text, at));
    }
    let behavior = text_of(provider, "behavior").unwrap_or_default();
    let lines = mrs::lines(&content, behavior, budget).map_err(|e| e.to_string())?;
    let lines = lines.into_iter().map(|line| Node::text(line, at));
    Ok(Node::new(Value::List(lines.collect()), at))
}

/// Proxies in Clash's own form, or links to such.
fn proxies(content: Vec<u8>, at: &At) -> Result<Node, String> {
    let text = beside::text_of(content)?;
    let (form, inner) = form::recognise(&text);
    let text = match form {
        Form::Links => {
            let read = form::read_as(form, &inner, &at.source, Outside::NOTHING);
            let read = read.map_err(|messages| first(messages.iter()))?;
            let written = form::write(&read, &inner, Target::Clash);
            written.map_err(|lines| first(lines.iter()))?.text
        }
        _ => text,
    };
    let tree = text::read(&text, &at.source).ok();
    let list = tree.and_then(|mut tree| tree.take("proxies"));
    let list = list.filter(|list| !list.items().is_empty());
    list.ok_or_else(|| "nothing in it can be read here".to_owned())
}

fn first<T: ToString>(mut lines: impl Iterator<Item = T>) -> String {
    lines
        .next()
        .map(|line| line.to_string())
        .unwrap_or_default()
}
