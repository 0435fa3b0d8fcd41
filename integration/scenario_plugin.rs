//! mobula as the process that a Shadowsocks program starts: how it ends, what it says of mistakes, and its flags.

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::interop_plugin::Plugin::Ours;
use crate::interop_plugin::{PASSWORD, alone, bare, libev, ss_local, ss_server};
use crate::peers::{Stage, free_port, listener, listening, mobula, system};
use crate::traffic::{self, LIMIT, To};

async fn until_closed(port: u16) {
    let deadline = Instant::now() + LIMIT;
    while listening(port) {
        assert!(Instant::now() < deadline, "the plugin outlives its parent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// It is told to end, or it finds out; a tunnel that is open holds up neither.
#[tokio::test]
async fn it_ends_with_its_parent() {
    for signal in ["TERM", "KILL"] {
        let (mut stage, port) = (Stage::new(), free_port());
        let server = ss_server(&mut stage, port, &Ours.program(), "server").await;
        let socks = ss_local(&mut stage, port, &Ours.program(), "").await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS");
        traffic::exchange(&mut stream, b"a word").await;
        stage.child(server).signal(signal);
        stage.child(server).ended(LIMIT).await;
        until_closed(port).await;
    }
}

/// ss-local is gone before its plugin has begun when its own port is taken.
#[tokio::test]
async fn it_does_not_outlive_a_parent_that_ends_at_once() {
    let taken = listener();
    let socks = taken.local_addr().unwrap().port();
    let remote = free_port();
    for _ in 0..5 {
        let mut client = libev("ss-local", remote, &Ours.program(), "");
        client.args(["-b", "127.0.0.1", "-l", &socks.to_string()]);
        let (code, said) = ended(&mut client);
        assert!(
            code != Some(0) && said.contains("in use"),
            "{code:?} {said}"
        );
    }
    let deadline = Instant::now() + LIMIT;
    while of_remote(remote) > 0 {
        assert!(Instant::now() < deadline, "a plugin is left behind");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many processes have this port in the environment of a plugin.
fn of_remote(port: u16) -> usize {
    let wanted = format!("SS_REMOTE_PORT={port}");
    let all = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    let environments = all.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments
        .filter(|bytes| {
            bytes
                .split(|byte| *byte == 0)
                .any(|one| one == wanted.as_bytes())
        })
        .count()
}

/// Its parent is then not who was asked to start it.
#[tokio::test]
async fn it_lives_on_under_a_daemon() {
    let (mut stage, port) = (Stage::new(), free_port());
    let pid = stage.path("pid");
    let mut server = libev("ss-server", port, &Ours.program(), "server");
    server.arg("-f").arg(&pid);
    let index = stage.start("ss-server", &mut server, &[]).await;
    stage.child(index).ended(LIMIT).await;
    let deadline = Instant::now() + LIMIT;
    while !listening(port) {
        assert!(Instant::now() < deadline, "the plugin does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Twice as long as it would take to notice.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let socks = ss_local(&mut stage, port, &Ours.program(), "").await;
    traffic::both_ways(socks, 100_000).await;
    let pid = std::fs::read_to_string(pid).expect("the daemon's number");
    let killed = Command::new("kill").arg(pid.trim()).status();
    assert!(killed.is_ok_and(|status| status.success()));
    until_closed(port).await;
}

/// Who has started it may close what it reads from.
#[tokio::test]
async fn a_closed_standard_input_means_nothing() {
    let (remote, local) = (free_port(), free_port());
    let mut child = alone(remote, local, "")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("mobula runs");
    drop(child.stdin.take());
    let deadline = Instant::now() + LIMIT;
    while !listening(local) {
        assert!(Instant::now() < deadline, "it does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(listening(local));
    let told = Command::new("kill").arg(child.id().to_string()).status();
    assert!(told.is_ok_and(|status| status.success()));
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let Output { status, stderr, .. } = output;
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn mistakes_end_it_with_a_line_for_each() {
    let (remote, local) = (free_port(), free_port());
    let said = ended(&mut alone(remote, local, "server;tsl;mux=many"));
    let expected = "SS_PLUGIN_OPTIONS: tsl: no option has this name, did you mean `tls`?\n\
                    SS_PLUGIN_OPTIONS: mux: `many` is not a number, expected 0 (none) or how many connections share one\n";
    assert_eq!(said, (Some(23), expected.to_owned()));

    let said = ended(&mut alone(remote, local, "mode=quic;tls"));
    assert_eq!(said.0, Some(23));
    assert!(
        said.1
            .contains("mode: `quic` is not built, expected `websocket`"),
        "{said:?}"
    );

    let said = ended(&mut alone(remote, local, r"path=/a\"));
    assert!(
        said.1.starts_with("SS_PLUGIN_OPTIONS: a backslash ends it"),
        "{said:?}"
    );

    let said = ended(alone(remote, local, "").env_remove("SS_REMOTE_PORT"));
    assert_eq!(said.0, Some(23));
    assert!(
        said.1.starts_with("SS_REMOTE_PORT: missing beside"),
        "{said:?}"
    );

    let taken = listener();
    let port = taken.local_addr().unwrap().port();
    let said = ended(&mut alone(remote, port, ""));
    let expected = format!("plugin: cannot listen on 127.0.0.1:{port}: address already in use\n");
    assert_eq!(said, (Some(1), expected));
}

/// A link, or the file itself under the name.
#[tokio::test]
async fn called_v2ray_plugin_it_takes_flags() {
    let mut stage = Stage::new();
    let link = stage.path("v2ray-plugin");
    symlink(mobula().get_program(), &link).expect("a link");
    let says = |flag: &str| {
        let output = Command::new(&link).arg(flag).output().expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let version = says("-version");
    assert!(version.1.starts_with("v2ray-plugin 1."), "{version:?}");
    let (code, help) = says("-h");
    assert_eq!(code, Some(0));
    for flag in ["-server", "-fast-open", "-certRaw", "-localAddr", "-mux N"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    let said = ended(Command::new(&link).arg("-nosuch"));
    assert_eq!(said.0, Some(2));
    assert!(said.1.starts_with("`-nosuch` is no flag"), "{said:?}");

    // By flags alone, and as a plugin.
    let (port, behind) = (free_port(), free_port());
    let mut server = bare("ss-server", behind, PASSWORD);
    stage.start("ss-server", &mut server, &[behind]).await;
    for mut plugin in [Command::new(&link), system("ss-v2ray-plugin"), {
        let mut ours = mobula();
        ours.arg("plugin");
        ours
    }] {
        plugin.args(["-server", "--path=/ray", "-localPort", &port.to_string()]);
        plugin.args([
            "-remoteAddr",
            "127.0.0.1",
            "-remotePort",
            &behind.to_string(),
        ]);
        let index = stage.start("plugin", &mut plugin, &[port]).await;
        let link = link.to_string_lossy().into_owned();
        let socks = ss_local(&mut stage, port, &link, "path=/ray").await;
        traffic::both_ways(socks, 100_000).await;
        stage.child(index).signal("TERM");
        stage.child(index).ended(LIMIT).await;
    }
}

/// The environment of a plugin is no reason not to do what is asked for.
#[test]
fn a_command_goes_before_the_environment() {
    let (remote, local) = (free_port(), free_port());
    let mut version = alone(remote, local, "server");
    let output = version.arg("version").output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("mobula "));
}
