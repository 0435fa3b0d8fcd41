//! As a service: the unit and the commands of docs/service.md, and mobula in the place of Debian's `v2ray`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, copy_of_mobula, free_port, mobula, root, system};
use crate::scenario_recipes::{open, shown, with};
use crate::traffic::{self, To};

/// What systemd says to a unit of `folder`.
fn verified(folder: &Path, unit: &str) {
    let output = system("systemd-analyze")
        .arg("verify")
        .arg(unit)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{unit}: {said}"
    );
}

fn program() -> String {
    mobula().get_program().to_string_lossy().into_owned()
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_finds_safe() {
    let stage = Stage::new();
    let unit = &shown("service.md", "ini")[0];
    let file = fs::read_to_string(root().join("docs/mobula.service")).expect("it is there");
    assert_eq!(
        file.trim_end(),
        unit,
        "docs/mobula.service is the one that is shown"
    );
    let unit = with(unit, &[("/usr/local/bin/mobula", &program())]);
    let file = stage.write("mobula.service", format!("{unit}\n"));
    verified(&stage.path(""), "mobula.service");
    // 2.0 of 10; a unit that says nothing has 9.6, and Debian's of v2ray 5.
    let output = system("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=20"])
        .arg(file)
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // What it restarts after, and what not.
    assert!(unit.contains("RestartPreventExitStatus=23"));
    let config = stage.write("config.json", "{");
    let output = mobula().args(["run", "-c"]).arg(config).output();
    assert_eq!(output.expect("mobula runs").status.code(), Some(23));
}

#[tokio::test]
async fn mobula_takes_the_place_of_debians_v2ray() {
    let unit = "/lib/systemd/system/v2ray.service";
    let text = fs::read_to_string(unit).expect("Debian's package `v2ray` is installed");
    let drop_in = &shown("service.md", "ini")[1];
    let mut stage = Stage::new();
    fs::create_dir(stage.path("v2ray.service.d")).expect("ours");
    stage.write("v2ray.service", &text);
    let edited = with(drop_in, &[("/usr/local/bin/mobula", &program())]);
    stage.write("v2ray.service.d/mobula.conf", format!("{edited}\n"));
    verified(&stage.path(""), "v2ray.service");
    // The documented line is the unit's, with another program.
    let started = |text: &str| {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart="));
        lines
            .map(str::to_owned)
            .rfind(|line| !line.is_empty())
            .expect("a command")
    };
    let (theirs, ours) = (started(&text), started(drop_in));
    assert_eq!(
        with(&theirs, &[("/usr/bin/v2ray", "/usr/local/bin/mobula")]),
        ours
    );

    // Its own config is one for mobula, and with another one it runs, under the name of V2Ray as well.
    let output = mobula()
        .args(["test", "-config", "/etc/v2ray/config.json"])
        .output();
    let output = output.expect("mobula runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let link = stage.path("v2ray");
    std::os::unix::fs::symlink(program(), &link).expect("ours");
    let environment: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
        .collect();
    assert!(environment.contains_key("V2RAY_LOCATION_ASSET"), "{text}");
    let (server, socks) = (free_port(), free_port());
    let file = stage.write(
        "config.json",
        Vmess::ws().server(Mobula, server).to_string(),
    );
    let mut words = theirs.split_whitespace().skip(1).map(|word| match word {
        "/etc/v2ray/config.json" => file.display().to_string(),
        word => word.to_owned(),
    });
    let mut command = Command::new(link);
    command.args(words.by_ref()).envs(environment);
    stage.start("server", &mut command, &[server]).await;
    let config = Vmess::ws().client(V2ray445, socks, server);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
}

/// The commands of a block, but for those of other programs than `programs`.
fn commands(programs: &[&str]) -> Vec<Vec<String>> {
    let blocks = shown("service.md", "console");
    let lines = blocks.iter().flat_map(|block| block.lines());
    let lines = lines.filter_map(|line| line.strip_prefix("$ sudo "));
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
    words
        .filter(|words: &Vec<String>| programs.contains(&words[0].as_str()))
        .collect()
}

fn done(command: &mut Command) {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The user, the folders and the config as the commands make them, below a folder of the test's: that user reads the config, and
/// nobody else does.
#[tokio::test]
async fn the_commands_make_a_user_who_may_read_the_config() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    assert!(is_root, "only root makes users: `sudo -E`");
    let mut stage = Stage::new();
    open(&stage.path(""));
    let below = |path: &str| stage.path(path.trim_start_matches('/'));
    for folder in ["etc", "usr/local/bin"] {
        fs::create_dir_all(below(folder)).expect("ours");
        open(&below(folder));
    }
    for folder in ["usr", "usr/local"] {
        open(&below(folder));
    }
    for file in ["passwd", "group", "shadow", "gshadow"] {
        fs::copy(format!("/etc/{file}"), below(&format!("etc/{file}"))).expect("root may");
    }
    let port = free_port();
    let config = stage.write("config.json", Vmess::ws().server(Mobula, port).to_string());
    let mut ids = (String::new(), String::new());
    for words in commands(&["useradd", "install"]) {
        let mut command = system(&words[0]);
        if words[0] == "useradd" {
            done(
                command
                    .arg("--prefix")
                    .arg(stage.path(""))
                    .args(&words[1..]),
            );
            let users = fs::read_to_string(below("etc/passwd")).expect("root may");
            let user = users.lines().find(|line| line.starts_with("mobula:"));
            let fields: Vec<&str> = user.expect("a user").split(':').collect();
            assert_eq!(fields[6], "/usr/sbin/nologin");
            ids = (fields[2].to_owned(), fields[3].to_owned());
            continue;
        }
        for word in &words[1..] {
            match word.as_str() {
                // The test's users are not the machine's.
                "mobula" => command.arg(&ids.1),
                "config.json" => command.arg(&config),
                "target/dist/mobula" => command.arg(program()),
                path if path.starts_with('/') => command.arg(below(path)),
                word => command.arg(word),
            };
        }
        done(&mut command);
    }
    assert!(below("/usr/local/bin/mobula").exists());
    let config = below("/etc/mobula/config.json");
    let as_user = |user: &str, group: &str| {
        let mut command = system("setpriv");
        command.args([
            "--reuid",
            user,
            "--regid",
            group,
            "--clear-groups",
            "--no-new-privs",
        ]);
        command
            .arg(below("/usr/local/bin/mobula"))
            .args(["run", "-c"])
            .arg(&config);
        command
    };
    let nobody = as_user("65534", "65534").output().expect("setpriv runs");
    assert_eq!(nobody.status.code(), Some(23), "nobody reads the config");
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.to_lowercase().contains("permission denied"), "{said}");
    // Its log is a file here that its user may not open, so there is none.
    let text = fs::read_to_string(&config).expect("root may");
    fs::write(&config, with(&text, &[("access.log", "none")])).expect("root may");
    let mut command = as_user(&ids.0, &ids.1);
    stage.start("mobula", &mut command, &[port]).await;
}

/// `dpkg-divert` moves V2Ray aside, and mobula stands at its path.
#[test]
fn a_diversion_puts_mobula_at_the_path_of_v2ray() {
    let stage = Stage::new();
    for folder in ["usr/bin", "usr/local/bin", "var/lib/dpkg"] {
        fs::create_dir_all(stage.path(folder)).expect("ours");
    }
    copy_of_mobula(&stage.path("usr/local/bin/mobula"));
    let v2ray = stage.path("usr/bin/v2ray");
    fs::write(&v2ray, "V2Ray").expect("ours");
    let shown = commands(&["dpkg-divert", "ln"]);
    assert_eq!(shown.len(), 2, "{shown:?}");
    for words in shown {
        let mut command = system(&words[0]);
        if words[0] == "dpkg-divert" {
            command.arg("--root").arg(stage.path("")).args(&words[1..]);
        } else {
            let below = |path: &String| stage.path(path.trim_start_matches('/'));
            command
                .arg(&words[1])
                .arg(below(&words[2]))
                .arg(below(&words[3]));
        }
        done(&mut command);
    }
    assert_eq!(
        fs::read_to_string(stage.path("usr/bin/v2ray.distrib")).expect("moved"),
        "V2Ray"
    );
    let output = Command::new(&v2ray)
        .arg("-version")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("mobula"), "{said}");
    // And back, as the sentence below says.
    fs::remove_file(&v2ray).expect("the link");
    let back = ["--local", "--rename", "--remove", "/usr/bin/v2ray"];
    let text = fs::read_to_string(root().join("docs/service.md")).expect("it is there");
    assert!(text.contains(&format!("sudo dpkg-divert {}", back.join(" "))));
    done(
        system("dpkg-divert")
            .arg("--root")
            .arg(stage.path(""))
            .args(back),
    );
    assert_eq!(fs::read_to_string(&v2ray).expect("it is back"), "V2Ray");
}

/// Whoever copies has the Rust that is needed, or is told.
#[test]
fn the_rust_that_is_needed_is_named_where_it_is_built() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is there");
    let wanted = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let wanted = wanted.expect("a version").trim_end_matches('"');
    for file in ["README.md", "docs/service.md"] {
        let text = fs::read_to_string(root().join(file)).expect("it is there");
        assert!(
            text.contains(&format!("Rust {wanted} or newer")),
            "{file}: Rust {wanted}"
        );
        assert!(text.contains("rustup"), "{file}");
    }
}
