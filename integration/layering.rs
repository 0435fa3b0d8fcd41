//! Who may look into whom.
//!
//! `docs/architecture.md` draws the floors; this reads `src/**` and holds them. A module may name its
//! own room and rooms on lower floors. Codecs know bytes alone: no sockets, clocks, chance or logs.
//! The sources are read as Rust, item by item: what only tests compile is left out, and nothing else.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};

use crate::peers::root;

/// Rooms by floor. Those that share a floor have no door between them.
const FLOORS: &[&[&str]] = &[
    &["copy"],
    &[
        "address", "aead", "session", "stats", "policy", "report", "secret", "wire",
    ],
    &["matching", "limits"],
    &["routing", "sniffing", "metrics"],
    &["io", "log"],
    &["cause"],
    &["seam", "http"],
    &["relay", "dns"],
    &["mux", "smux"],
    &["reverse"],
    &["transport", "protocol"],
    &["dispatch"],
    &["observatory"],
    &["config"],
    &["dialect"],
    &["app"],
    &["api", "exporter", "doctor", "probe", "websocket"],
    &["server"],
    &["main", "cli"],
];

/// Crates that a codec may not name.
const CRATES_NOT_IN_CODECS: [&str; 4] = ["tokio", "rand", "getrandom", "tracing"];

/// Types that a codec may not name.
const TYPES_NOT_IN_CODECS: [&str; 5] = [
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
];

#[test]
fn nobody_looks_upstairs() {
    let src = root().join("src");
    let mut found = Vec::new();
    let mut rooms = vec![src.clone()];
    while let Some(dir) = rooms.pop() {
        for entry in fs::read_dir(&dir).expect("src is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                rooms.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&src).expect("it was found under src");
                let text = fs::read_to_string(&path).expect("sources are text");
                found.extend(violations(name, &text));
            }
        }
    }
    found.sort();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// `file` is named from `src`.
fn violations(file: &Path, text: &str) -> Vec<String> {
    let mut parts = file.iter().map(|part| part.to_str().unwrap_or_default());
    let room = parts.next().unwrap_or_default().trim_end_matches(".rs");
    let in_folder = file.iter().any(|part| part == "tests");
    let only_for_tests = in_folder || file.to_string_lossy().ends_with("tests.rs");
    if only_for_tests || matches!(room, "lib" | "testing") {
        return Vec::new();
    }
    let code = code_of_the_program(text).unwrap_or_else(|e| panic!("src/{}: {e}", file.display()));
    let mut seen = Seen {
        depth: depth(file),
        ..Seen::default()
    };
    seen.read(code);
    let mut found = Vec::new();
    for other in seen.rooms.iter().filter(|other| !may(room, other)) {
        found.push(format!("src/{}: {room} looks into {other}", file.display()));
    }
    if parts.any(|part| part == "codec" || part == "codec.rs") {
        for word in &seen.not_in_codecs {
            found.push(format!("src/{}: a codec names {word}", file.display()));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// How many modules a file is below the root of the crate.
fn depth(file: &Path) -> usize {
    let parts = file.iter().count();
    match file.file_stem().is_some_and(|stem| stem == "mod") {
        true => parts - 1,
        false => parts,
    }
}

/// A file without the items that only tests compile, which may look anywhere.
fn code_of_the_program(text: &str) -> syn::Result<TokenStream> {
    let mut file = syn::parse_file(text)?;
    WithoutTests.visit_file_mut(&mut file);
    Ok(file.to_token_stream())
}

struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(is_for_the_program);
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(is_for_the_program);
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        block.items.retain(is_for_the_program);
        visit_mut::visit_item_impl_mut(self, block);
    }

    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(is_for_the_program);
        visit_mut::visit_block_mut(self, block);
    }
}

/// Whether none of the attributes in front is `#[cfg(test)]`.
fn is_for_the_program(item: &impl ToTokens) -> bool {
    let tokens: Vec<TokenTree> = item.to_token_stream().into_iter().collect();
    let is_hash = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == '#');
    let mut attributes = tokens.chunks(2).take_while(|pair| is_hash(&pair[0]));
    !attributes.any(|pair| {
        let attribute = pair.get(1).map(ToString::to_string).unwrap_or_default();
        attribute.replace(' ', "") == "[cfg(test)]"
    })
}

/// What the tokens of a file name, those inside macros included.
#[derive(Default)]
struct Seen {
    depth: usize,
    rooms: Vec<String>,
    not_in_codecs: Vec<String>,
}

impl Seen {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let rest = &tokens[at + 1..];
            match token {
                TokenTree::Group(group) => self.read(group.stream()),
                TokenTree::Ident(ident) => self.name(&ident.to_string(), rest),
                _ => {}
            }
        }
    }

    fn name(&mut self, name: &str, rest: &[TokenTree]) {
        if name == "crate" {
            self.rooms.extend(first_names(after_colons(rest)));
        } else if name == "super" {
            self.climb(rest);
        } else if CRATES_NOT_IN_CODECS.contains(&name) && after_colons(rest).is_some()
            || TYPES_NOT_IN_CODECS.contains(&name)
        {
            self.not_in_codecs.push(name.to_owned());
        }
    }

    /// `super::super::room` leads as far up as `crate::room` does.
    fn climb(&mut self, mut rest: &[TokenTree]) {
        let mut climbed = 1;
        while let Some([TokenTree::Ident(ident), further @ ..]) = after_colons(rest) {
            if ident != "super" {
                break;
            }
            climbed += 1;
            rest = further;
        }
        if climbed == self.depth {
            let names = first_names(after_colons(rest));
            let rooms = names.into_iter().filter(|name| floor(name).is_some());
            self.rooms.extend(rooms);
        }
    }
}

/// What stands behind `::`.
fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [TokenTree::Punct(a), TokenTree::Punct(b), rest @ ..]
            if a.as_char() == ':' && b.as_char() == ':' =>
        {
            Some(rest)
        }
        _ => None,
    }
}

/// `room` of `room::Thing`, or every one of `{room, other::Thing}`.
fn first_names(tokens: Option<&[TokenTree]>) -> Vec<String> {
    match tokens.and_then(<[_]>::first) {
        Some(TokenTree::Ident(ident)) => vec![ident.to_string()],
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let items: Vec<TokenTree> = group.stream().into_iter().collect();
            let is_comma = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ',');
            let items = items.split(is_comma).filter_map(<[_]>::first);
            items.map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn may(room: &str, other: &str) -> bool {
    room == other
        || matches!((floor(room), floor(other)), (Some(here), Some(there)) if there < here)
}

#[test]
fn the_check_sees_what_it_is_for() {
    let seen = |file: &str, text: &str| violations(Path::new(file), text);
    let transport = ["src/protocol/vmess/mod.rs: protocol looks into transport"];
    for text in [
        "use crate::transport::ws;",
        "#[cfg(test)] mod tests; use crate::transport::ws;",
        "impl A { #[cfg(test)] fn t() {} fn f() { crate::transport::f() } }",
        "fn f() { debug!(\"{}\", crate::transport::NAME) }",
        "use super::super::transport::ws;",
        "use super::super::{io, transport};",
    ] {
        assert_eq!(seen("protocol/vmess/mod.rs", text), transport, "{text}");
    }
    assert_eq!(
        seen("io/mod.rs", "use crate::{address::Host, config};"),
        ["src/io/mod.rs: io looks into config"]
    );
    assert_eq!(
        seen("relay.rs", "fn f() { crate::dispatch::run() }"),
        ["src/relay.rs: relay looks into dispatch"]
    );
    assert_eq!(
        seen("protocol/socks/codec.rs", "use tokio::io::AsyncRead;"),
        ["src/protocol/socks/codec.rs: a codec names tokio"]
    );
    assert_eq!(
        seen(
            "protocol/vmess/codec/kdf.rs",
            "use std::time::{Duration, Instant};"
        ),
        ["src/protocol/vmess/codec/kdf.rs: a codec names Instant"]
    );
    for text in [
        "// not crate::config\n#[cfg(test)] use crate::app;",
        "impl A { /// Text.\n #[cfg(test)] fn t() { crate::app::f() } }",
        "#[cfg(test)]\nmod tests { use crate::app; }",
    ] {
        assert!(seen("io/mod.rs", text).is_empty(), "{text}");
    }
    assert!(seen("dispatch.rs", "use crate::transport;\nuse crate::protocol;").is_empty());
}
