//! The picture at the head of the README: `init` and `doctor` at work, in a little Internet with a real nginx, which at first forgets to
//! pass on `Upgrade`. `WRITE_EXPECTED=1 cargo test --test integration first_hour_picture` draws it anew; without, it is held to what the
//! program says today, but for figures.

use std::fmt::Write;
use std::fs;

use regex::Regex;

use crate::peers::{mobula, root, system};
use crate::world::{self, SERVER_NAME, World};

const PICTURE: &str = "docs/first-hour.svg";
const COLUMNS: usize = 118;

/// Where the name of a step stands.
const STEP: usize = 9;

/// What of the terminal is shown.
#[derive(Default)]
struct Terminal(Vec<String>);

#[test]
fn the_readme_shows_init_and_doctor_at_work() {
    world::run(|mut world| async move {
        let mut terminal = Terminal::default();
        let init = [
            "init",
            "--domain",
            SERVER_NAME,
            "--behind",
            "nginx",
            "--tls",
            "files",
            "--cert",
            "/usr/local/etc/v2ray/fullchain.pem",
            "--key",
            "/usr/local/etc/v2ray/privkey.pem",
            "--out",
            "server",
            "--yes",
        ];
        let said = said(&world, &init).await;
        terminal.typed(&format!("mobula {}", init.join(" ")));
        terminal.shows(said.lines().take_while(|line| !line.is_empty()));
        let remains = said.lines().skip_while(|line| !line.is_empty());
        terminal.shows(remains.take(4).chain(["  …", ""]));

        serve(&mut world).await;
        let file = world.stage.path("server/nginx.conf");
        let right = fs::read_to_string(&file).expect("it is written");
        // At port 80 the targets of this world are.
        let right = right
            .replace("listen 80;", "listen 8080;")
            .replace("listen [::]:80;", "");
        let wrong: Vec<&str> = right
            .lines()
            .filter(|line| !line.contains("Upgrade"))
            .collect();
        assert_ne!(wrong.len(), right.lines().count(), "{right}");
        fs::write(&file, wrong.join("\n")).expect("the test's folder is ours");
        let nginx = nginx(&mut world).await;
        let doctor = [
            "doctor",
            "-c",
            "server/client.json",
            "--url",
            "http://www.example.com/",
        ];
        let typed = "mobula doctor -c client.json";
        terminal.typed(typed);
        terminal.shows(self::said(&world, &doctor).await.lines().chain([""]));

        world.stage.child(nginx).signal("TERM");
        let _ = world.stage.child(nginx).ended(crate::traffic::LIMIT).await;
        fs::write(&file, right).expect("the test's folder is ours");
        self::nginx(&mut world).await;
        terminal.typed(typed);
        terminal.shows(self::said(&world, &doctor).await.lines());

        let drawn = terminal
            .drawn()
            .replace(&world.stage.path("").display().to_string(), "/etc/mobula/");
        let shown = terminal.0.join("\n");
        for text in ["BROKEN   upgrade", "cure: ", "ok       request"] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        let kept = root().join(PICTURE);
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(&kept, &drawn).expect("the picture can be written");
        }
        let kept = fs::read_to_string(kept).expect("it is there");
        assert_eq!(without_figures(&kept), without_figures(&drawn));
    });
}

/// What mobula says to these words.
async fn said(world: &World, words: &[&str]) -> String {
    let mut command = tokio::process::Command::from(mobula());
    command.args(words).current_dir(world.stage.path(""));
    command.env("SSL_CERT_FILE", world.stage.path("authority.pem"));
    // Names are answered meanwhile.
    let output = command.output().await.expect("mobula runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn serve(world: &mut World) {
    let file = world.stage.path("server/server.json");
    let config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("it is written")).expect("JSON");
    let port = config["inbounds"][0]["port"].as_u64().expect("a port") as u16;
    let mut command = mobula();
    command.args(["run", "-c"]).arg(&file);
    world.start("server", &mut command, &[port]).await;
}

async fn nginx(world: &mut World) -> usize {
    fs::create_dir_all("/var/log/nginx").expect("a folder of the world");
    let pid = world.stage.path("nginx.pid").display().to_string();
    let mut nginx = system("nginx");
    nginx.arg("-c").arg(world.stage.path("server/nginx.conf"));
    nginx.arg("-g").arg(format!("daemon off; pid {pid};"));
    world.start("nginx", &mut nginx, &[443]).await
}

/// Times, ids and paths are others each time.
fn without_figures(text: &str) -> String {
    let figures = Regex::new("\u{a0}*[0-9a-f]*[0-9][0-9a-f]*").expect("an expression");
    figures.replace_all(text, "#").into_owned()
}

impl Terminal {
    fn typed(&mut self, command: &str) {
        self.shows([&*format!("$ {command}")].into_iter());
    }

    fn shows<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            let is_step = ["ok ", "BROKEN "].iter().any(|word| line.starts_with(word));
            let indent = match is_step {
                true => STEP,
                false => line.len() - line.trim_start().len(),
            };
            let mut rest = line.to_owned();
            while rest.chars().count() > COLUMNS {
                let until = rest
                    .char_indices()
                    .nth(COLUMNS)
                    .map_or(rest.len(), |(at, _)| at);
                let cut = rest[..until]
                    .rfind(' ')
                    .filter(|cut| *cut > indent)
                    .unwrap_or(until);
                let next = format!("{}{}", " ".repeat(indent), rest[cut..].trim_start());
                rest.truncate(cut);
                self.0.push(std::mem::replace(&mut rest, next));
            }
            self.0.push(rest);
        }
    }

    /// As a picture whose text is text.
    fn drawn(&self) -> String {
        const LINE: usize = 19;
        let (width, height) = (COLUMNS * 8 + 40, self.0.len() * LINE + 40);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"mobula init and mobula doctor in a terminal\">\n\
             <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#14181f\"/>\n\
             <g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"13\" fill=\"#d5dbe3\">\n"
        );
        for (i, line) in self.0.iter().enumerate() {
            let y = 20 + (i + 1) * LINE - 5;
            let (first, rest) = line.split_at(line.len().min(mark(line)));
            let colour = match first.trim() {
                "$" => "#7fd18b",
                "ok" => "#7fd18b",
                "BROKEN" => "#ff7b72",
                "cure:" => "#f2cc60",
                _ => "#d5dbe3",
            };
            let _ = writeln!(
                out,
                "<text x=\"20\" y=\"{y}\"><tspan fill=\"{colour}\">{}</tspan>{}</text>",
                escaped(first),
                escaped(rest)
            );
        }
        out.push_str("</g>\n</svg>\n");
        out
    }
}

/// How long the first word is, with what stands before it.
fn mark(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    indent + line[indent..].find(' ').unwrap_or(line.len() - indent)
}

/// Of several spaces a picture shows one, if they could break a line.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace(' ', "\u{a0}")
}
