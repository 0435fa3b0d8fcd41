//! `docs/cli.md`: what `--help` says of every command. `WRITE_EXPECTED=1 cargo test --test integration command_line` writes it anew.

use std::fs;

use crate::peers::{mobula, root};

#[test]
fn the_document_says_what_help_says() {
    let file = root().join("docs/cli.md");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let mut expected = HEAD.to_owned();
    let count = write(&mut expected, &[]);
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        fs::write(&file, &expected).expect("the document can be written");
    }
    let differs = expected.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        expected == text || std::env::var_os("WRITE_EXPECTED").is_some(),
        "docs/cli.md is not what the program says, first at {differs:?}"
    );
    assert!(count > 20, "{count} commands");
}

const HEAD: &str = "# The command line

Every command and flag, as `mobula help` and `mobula COMMAND --help` print them. Flags may have one dash or two, as in V2Ray; V2Ray 4's and Xray's
spellings work as well ([compatibility](compatibility.md#commands)). Exit codes: 0, 1 where something was found wanting, 2 for a command line that
cannot be read, 23 for a config that cannot be used.

Completion: `mobula completions bash > /etc/bash_completion.d/mobula`, `mobula completions zsh > \"${fpath[1]}/_mobula\"`,
`mobula completions fish > ~/.config/fish/completions/mobula.fish`.
";

/// A command with all below it; how many these are.
fn write(out: &mut String, command: &[&str]) -> usize {
    let help = mobula()
        .args(command)
        .arg("--help")
        .output()
        .expect("mobula runs");
    let help = String::from_utf8(help.stdout).expect("it is text");
    let level = "#".repeat(2 + command.len().min(2));
    let name = ["mobula"]
        .iter()
        .chain(command)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    if !command.is_empty() {
        *out += &format!("\n{level} {name}\n");
    }
    *out += &format!("\n```text\n{}\n```\n", help.trim_end());
    let below = help
        .split_once("\nCommands:\n")
        .map_or("", |(_, rest)| rest);
    let below = below.lines().take_while(|line| !line.is_empty());
    let names = below.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut count = 1;
    for name in names.filter(|name| !name.is_empty() && *name != "help") {
        let command: Vec<&str> = command.iter().copied().chain([name]).collect();
        count += write(out, &command);
    }
    count
}
