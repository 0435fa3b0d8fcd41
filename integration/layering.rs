//! Who may look into whom.
//!
//! `docs/architecture.md` draws the floors; this reads `src/**` and holds them. A module may name its
//! own room and rooms on lower floors. Codecs know bytes alone: no sockets, clocks, chance or logs.

use std::fs;
use std::path::Path;

use crate::peers::root;

/// Rooms by floor. Those that share a floor have no door between them, but for [`DOORS`].
const FLOORS: [&[&str]; 9] = [
    &["address", "session", "stats", "policy", "json"],
    &["routing", "sniffing"],
    &["io", "log"],
    &["relay", "dns"],
    &["transport", "protocol", "mux"],
    &["dispatch"],
    &["observatory"],
    &["app", "api", "config"],
    &["main", "cli"],
];

/// Doors besides the stairs.
const DOORS: [(&str, &str); 6] = [
    ("api", "app"),
    ("api", "config"),
    ("app", "config"),
    ("mux", "protocol"),
    ("protocol", "mux"),
    ("sniffing", "routing"),
];

/// What a codec's code may not name.
const NOT_IN_CODECS: [&str; 10] = [
    "tokio::",
    "std::net::Tcp",
    "TcpStream",
    "std::time::Instant",
    "std::time::SystemTime",
    "SystemTime::now",
    "Instant::now",
    "rand::",
    "getrandom::",
    "tracing::",
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
    let mut found = Vec::new();
    let only_for_tests = file.to_string_lossy().ends_with("tests.rs");
    if !only_for_tests && !matches!(room, "lib" | "testing") {
        // What is only compiled for tests may look anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().map(without_comment).collect();
        for other in rooms_named(&code) {
            if !may(room, &other) {
                found.push(format!("src/{}: {room} looks into {other}", file.display()));
            }
        }
        if parts.any(|part| part == "codec" || part == "codec.rs") {
            for word in NOT_IN_CODECS.iter().filter(|word| code.contains(**word)) {
                found.push(format!(
                    "src/{}: a codec names {}",
                    file.display(),
                    word.trim_end_matches("::")
                ));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn without_comment(line: &str) -> String {
    let code = line.split("//").next().unwrap_or_default();
    format!("{code}\n")
}

/// Every `room` of `crate::room` and of `crate::{room, other::Thing}`.
fn rooms_named(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            rooms.push(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                rooms.push(word(item.trim()));
                item.clear();
            } else {
                item.push(c);
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn may(room: &str, other: &str) -> bool {
    let floor = |name: &str| FLOORS.iter().position(|rooms| rooms.contains(&name));
    room == other
        || DOORS.contains(&(room, other))
        || matches!((floor(room), floor(other)), (Some(here), Some(there)) if there < here)
}

#[test]
fn the_check_sees_what_it_is_for() {
    let seen = |file: &str, text: &str| violations(Path::new(file), text);
    assert_eq!(
        seen("protocol/vmess/mod.rs", "use crate::transport::ws;\n"),
        ["src/protocol/vmess/mod.rs: protocol looks into transport"]
    );
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
    assert!(seen("dispatch.rs", "use crate::transport;\nuse crate::protocol;").is_empty());
    assert!(
        seen(
            "io/mod.rs",
            "// not crate::config\n#[cfg(test)] use crate::app;"
        )
        .is_empty()
    );
}
