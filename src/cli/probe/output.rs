//! What is written into files.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::ProbeArgs;
use crate::cause::system_words;
use crate::cli::link::picture::save;
use crate::dialect::payload;
use crate::probe::Node;
use crate::probe::survey::{Vantage, picture};

/// How long a program may draw.
const DRAWING: Duration = Duration::from_secs(60);

pub(super) async fn write(
    args: &ProbeArgs,
    nodes: &[Node],
    vantages: &[Vantage],
) -> Result<(), String> {
    let failed =
        |path: &Path, e: &std::io::Error| format!("{}: {}", path.display(), system_words(e));
    if let Some(path) = &args.alive {
        save(path, alive(nodes, vantages).as_bytes()).map_err(|e| failed(path, &e))?;
    }
    if args.svg.is_none() && args.png.is_none() {
        return Ok(());
    }
    let (svg, width, height) = picture::svg(vantages, &args.url);
    if let Some(path) = &args.svg {
        save(path, svg.as_bytes()).map_err(|e| failed(path, &e))?;
    }
    match &args.png {
        Some(path) => png(&svg, width, height, path).await,
        None => Ok(()),
    }
}

/// Those that answer at one vantage point at least.
fn alive(nodes: &[Node], vantages: &[Vantage]) -> String {
    let mut text = String::from("proxies:\n");
    for (i, node) in nodes.iter().enumerate() {
        let answers = |one: &Vantage| one.rows.get(i).is_some_and(|row| row.is_alive());
        if !vantages.iter().any(answers) {
            continue;
        }
        let written = node
            .outbound
            .as_ref()
            .map_err(String::clone)
            .and_then(payload::write);
        match written {
            Ok(mut map) => {
                if let Some(given) = &node.given {
                    given.complete(&mut map);
                }
                map.insert("name".to_owned(), node.info.name.as_str().into());
                let _ = writeln!(text, "  - {}", Value::Object(map));
            }
            Err(why) => eprintln!(
                "--alive: `{}` is left out: {why}",
                node.info.name.escape_debug()
            ),
        }
    }
    if text.ends_with(":\n") {
        text = "proxies: []\n".to_owned();
    }
    text
}

/// Has the first program draw the picture that this machine has: its fonts are the machine's, Chinese and emoji, too.
async fn png(svg: &str, width: usize, height: usize, path: &Path) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("mobula-probe-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).map_err(|e| format!("--png: {}", system_words(&e)))?;
    let drawn = draw(svg, width, height, &folder, path).await;
    let _ = std::fs::remove_dir_all(&folder);
    drawn
}

async fn draw(
    svg: &str,
    width: usize,
    height: usize,
    folder: &Path,
    path: &Path,
) -> Result<(), String> {
    let (from, to) = (folder.join("probe.svg"), folder.join("probe.png"));
    save(&from, svg.as_bytes()).map_err(|e| format!("--png: {}", system_words(&e)))?;
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let size = format!("--window-size={width},{height}");
    let shot = format!("--screenshot={to}");
    let page = format!("file://{from}");
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let browser = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        &size,
        &shot,
        &profile,
        &page,
    ];
    let programs: [(&str, Vec<&str>); 6] = [
        ("rsvg-convert", vec!["-o", &to, &from]),
        ("resvg", vec![&from, &to]),
        ("inkscape", vec!["-o", &to, &from]),
        ("chromium", browser.to_vec()),
        ("google-chrome", browser.to_vec()),
        ("chromium-browser", browser.to_vec()),
    ];
    for (program, arguments) in programs {
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let ended = timeout(DRAWING, command.status()).await;
        if !matches!(ended, Ok(Ok(_))) {
            continue;
        }
        if let Ok(bytes) = std::fs::read(&to) {
            return save(path, &bytes)
                .map_err(|e| format!("{}: {}", path.display(), system_words(&e)));
        }
    }
    Err("--png: no program here draws it, expected `rsvg-convert` (librsvg2-bin), `resvg`, `inkscape` or `chromium`; --svg needs none".to_owned())
}
