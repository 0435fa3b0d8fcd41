//! One vocabulary of failures: each code that a log line may end with is explained, by the program and in the documents.

use std::collections::BTreeSet;
use std::fs;

use mobula::cause::explained::{Explained, all as all_codes, explain};

use crate::peers::{mobula, root};

/// What stands between quotes in the functions named `code`.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let mut paths = vec![root().join("src/cause")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).expect("the room is there");
            paths.extend(inside.flatten().map(|one| one.path()));
            continue;
        }
        let text = fs::read_to_string(path).expect("sources are text");
        let functions = text.split("fn code(&self)").skip(1);
        for function in functions {
            let body = function.split("\n    }\n").next().unwrap_or_default();
            let quoted = body.split('"').skip(1).step_by(2);
            codes.extend(quoted.map(str::to_owned));
        }
    }
    codes
}

#[test]
fn every_code_is_explained_and_nothing_else_is() {
    let codes = codes();
    assert!(codes.len() > 50 && codes.contains("ws-path"), "{codes:?}");
    // A status stands for all of them.
    let (families, single): (Vec<_>, Vec<_>) = codes.iter().partition(|code| code.contains('{'));
    let missing: Vec<_> = single
        .iter()
        .filter(|code| explain(code).is_none())
        .collect();
    assert!(missing.is_empty(), "nothing explains {missing:?}");
    for family in families {
        let number = family.replace(&family[family.find('{').unwrap()..], "99");
        let number = match number.starts_with("grpc") {
            true => number,
            false => number + "9",
        };
        assert!(explain(&number).is_some(), "nothing explains {number}");
    }
    let known = |code: &str| {
        let is_status = ["ws-", "h2-", "grpc-"].iter().any(|family| {
            let number = code.strip_prefix(family);
            number.is_some_and(|n| n.chars().all(|c| c.is_ascii_digit() || c == 'N'))
        });
        is_status || single.iter().any(|one| *one == code)
    };
    let said = all_codes().flat_map(|one| one.codes);
    let idle: Vec<_> = said.filter(|code| !known(code)).collect();
    assert!(idle.is_empty(), "no line ends with {idle:?}");
}

#[test]
fn the_documents_say_what_the_program_says() {
    let path = root().join("docs/troubleshooting.md");
    let text = fs::read_to_string(&path).expect("it is there");
    let head = "| code | at | what it is | what to do |\n|---|---|---|---|\n";
    let (before, behind) = text.split_once(head).expect("the table of codes");
    let (there, after) = behind.split_once("\n\n").unwrap_or(("", behind));
    let rows: Vec<String> = all_codes().map(row).collect();
    let rows = rows.join("\n");
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        let text = format!("{before}{head}{rows}\n\n{}", after.trim_start());
        fs::write(&path, text).expect("docs can be written");
        return;
    }
    assert_eq!(
        there, rows,
        "docs/troubleshooting.md: WRITE_EXPECTED=1 writes the table"
    );
}

fn row(one: &Explained) -> String {
    let codes: Vec<String> = one.codes.iter().map(|code| format!("`{code}`")).collect();
    let more = one
        .more
        .map(|more| format!(" ([more]({more}))"))
        .unwrap_or_default();
    format!(
        "| {} | {} | {} | {}{more} |",
        codes.join(", "),
        one.at,
        one.what,
        one.cure
    )
}

#[test]
fn the_program_explains_each_code() {
    for one in all_codes() {
        for code in one.codes {
            let said = mobula().args(["explain", code]).output().unwrap();
            let text = String::from_utf8_lossy(&said.stdout);
            assert!(said.status.success(), "{code}");
            assert!(text.contains(one.what) && text.contains(one.cure), "{text}");
        }
    }
    let said = mobula()
        .args(["explain", "[ws-418]", "clock-skew", "--json"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(list[0]["code"], "ws-418");
    assert_eq!(list[1]["code"], "clock-skew");
    let all = mobula().arg("explain").output().unwrap();
    let lines = String::from_utf8_lossy(&all.stdout).lines().count();
    assert_eq!(lines, all_codes().count());
    let unknown = mobula().args(["explain", "ws-paht"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&unknown.stderr),
        "no code is called `ws-paht`: did you mean `ws-path`?\n"
    );
}
