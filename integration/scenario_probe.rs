//! `mobula probe`: nodes from every source, tested here and at back ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::configs::{Certificate, ID};
use crate::peers::{Stage, free_port, listen, mobula, python};
use crate::probing::{FILE, Site, TOKEN, backend, dead, run, servers};
use crate::scenario_documents::blocks;

/// What it prints as JSON, and its exit code.
async fn probe(arguments: &[&str]) -> (Value, Option<i32>) {
    let mut command = mobula();
    command
        .arg("probe")
        .arg("--json")
        .args(arguments)
        .env_remove("MOBULA_TOKEN");
    let (code, out, errors) = output(command).await;
    let value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{errors}"));
    (value, code)
}

async fn output(mut command: Command) -> (Option<i32>, String, String) {
    let running = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let output = running.await.expect("its thread ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn yaml(nodes: &[Value]) -> String {
    let nodes: String = nodes.iter().map(|node| format!("  - {node}\n")).collect();
    format!("proxies:\n{nodes}")
}

fn names(value: &Value) -> Vec<&str> {
    let nodes = value["vantages"][0]["nodes"].as_array().expect("nodes");
    nodes
        .iter()
        .map(|node| node["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn the_living_are_measured_and_the_dead_say_why() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let mut nodes = servers(&mut stage).await;
    let alive = nodes.len();
    let first = &mut nodes[0];
    first["interface-name"] = json!("lo");
    first["routing-mark"] = json!(0);
    first["udp"] = json!(false);
    first["client_fingerprint"] = json!("chrome");
    first["ws-opts"]["of-another"] = json!({"list": ["a", 1, true]});
    let first = first.clone();
    let dead = dead(&site).await;
    nodes.extend(dead.iter().map(|(node, _)| node.clone()));
    // The same but for its name.
    let mut same = nodes[0].clone();
    same["name"] = "the same".into();
    nodes.push(same);
    let source = stage
        .write("nodes.yaml", yaml(&nodes))
        .display()
        .to_string();
    let files = ["alive.yaml", "picture.svg", "picture.png"]
        .map(|name| stage.path(name).display().to_string());
    let (url, file) = (site.url("/204"), site.url("/file"));
    let arguments = [
        "-c",
        &source,
        "--url",
        &url,
        "--timeout",
        "2000",
        "--count",
        "2",
        "--download",
        &file,
        "--duration",
        "1",
        "--alive",
        &files[0],
        "--svg",
        &files[1],
        "--png",
        &files[2],
    ];
    let before = site.asked.load(Ordering::SeqCst);
    let (said, code) = probe(&arguments).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&said["url"], &said["download"]),
        (&json!(url), &json!(file))
    );
    let vantage = &said["vantages"][0];
    assert_eq!(
        (&vantage["backend"], &vantage["error"]),
        (&Value::Null, &Value::Null)
    );
    let rows = vantage["nodes"].as_array().unwrap();
    assert_eq!(rows.len(), nodes.len());
    for (n, (row, node)) in rows.iter().zip(&nodes).enumerate() {
        assert_eq!(row["name"], node["name"], "in the order of the source");
        let is_alive = n < alive || n + 1 == nodes.len();
        assert_eq!(row["ok"], is_alive, "{row}");
        if is_alive {
            assert!(
                row["rtt_ms"].as_u64() > Some(0) && row["http_ms"].as_u64() > Some(0),
                "{row}"
            );
            assert_eq!(
                (&row["status"], &row["loss"], &row["error"]),
                (&json!(204), &json!(0.0), &Value::Null)
            );
            assert!(row["speed"].as_u64() > Some(FILE as u64 / 8), "{row}");
        } else {
            let (_, cause) = &dead[n - alive];
            assert!(row["error"].as_str().unwrap().contains(cause), "{row}");
            assert_eq!(
                (&row["rtt_ms"], &row["http_ms"], &row["loss"]),
                (&Value::Null, &Value::Null, &json!(1.0))
            );
        }
    }
    assert!(site.asked.load(Ordering::SeqCst) > before);
    // The living, by a reader of YAML that is not ours, and by the program itself.
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(text.matches("\n  - ").count(), alive + 1, "{text}");
    // Words that only another program knows are there as they were.
    let line = text.lines().nth(1).unwrap().trim_start_matches("  - ");
    let kept: Value = serde_json::from_str(line).unwrap();
    for key in [
        "interface-name",
        "routing-mark",
        "udp",
        "client_fingerprint",
        "port",
    ] {
        assert_eq!(kept[key], first[key], "{key}: {line}");
    }
    let of_ws = |node: &Value| node["ws-opts"]["of-another"].clone();
    assert_eq!(of_ws(&kept), of_ws(&first), "{line}");
    let (again, code) = probe(&["-c", &files[0], "--url", &url]).await;
    assert_eq!(code, Some(0));
    assert_eq!(names(&again)[..alive], names(&said)[..alive]);
    let svg = std::fs::read_to_string(&files[1]).unwrap();
    assert!(
        svg.contains("🇯🇵 vmess-tcp") && svg.contains("tcp-refused"),
        "{svg}"
    );
    let png = std::fs::read(&files[2]).unwrap();
    assert!(png.starts_with(b"\x89PNG"), "{} bytes", png.len());
    // A table, for a person.
    let mut command = mobula();
    command.args(["probe", "-c", &source, "--url", &url, "--timeout", "1000"]);
    let (code, table, errors) = output(command).await;
    assert_eq!(code, Some(0));
    assert!(
        table.contains("香港 vmess-ws") && table.contains("5 of 11 nodes answer"),
        "{table}"
    );
    assert!(!table.contains(ID) && errors.is_empty(), "{errors}");
}

#[tokio::test]
async fn back_ends_measure_at_once_and_say_the_same() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let certificate = Certificate::new(&stage);
    let paths = [&certificate.chain, &certificate.key, &certificate.authority]
        .map(|path| path.display().to_string());
    let mut nodes = servers(&mut stage).await;
    nodes.extend(dead(&site).await.into_iter().map(|(node, _)| node));
    let source = stage
        .write("nodes.yaml", yaml(&nodes))
        .display()
        .to_string();
    let plain = backend(&mut stage, &["--path", "/a b"]).await;
    let sealed = backend(&mut stage, &["--cert", &paths[0], "--key", &paths[1]]).await;
    let urls = [
        format!("ws://127.0.0.1:{plain}/a%20b"),
        format!("wss://localhost:{sealed}/"),
        format!("ws://127.0.0.1:{plain}/other"),
        format!("ws://127.0.0.1:{}/", free_port()),
    ];
    let url = site.url("/204");
    let common = [
        "-c",
        &source,
        "--url",
        &url,
        "--timeout",
        "2000",
        "--token",
        TOKEN,
    ];
    let (here, _) = probe(&common).await;
    let mut two = common.to_vec();
    two.extend([
        "--backend",
        &urls[0],
        "--backend",
        &urls[1],
        "--ca",
        &paths[2],
    ]);
    let (said, code) = probe(&two).await;
    assert_eq!(code, Some(0), "{said}");
    let local = here["vantages"][0]["nodes"].as_array().unwrap();
    for vantage in said["vantages"].as_array().unwrap() {
        assert_eq!(vantage["error"], Value::Null, "{vantage}");
        for (there, here) in vantage["nodes"].as_array().unwrap().iter().zip(local) {
            for key in ["name", "type", "address", "ok", "status", "error"] {
                assert_eq!(there[key], here[key], "{key}: {there}");
            }
        }
    }
    // Any of them that does not answer is told, and the others go on.
    for (place, more, cause) in [
        (&urls[2], &[][..], "404"),
        (&urls[3], &[], "refused"),
        (&urls[1], &[], "certificate"),
        (
            &urls[0],
            &["--token", "another"],
            "cannot verify the request",
        ),
    ] {
        let mut arguments = common.to_vec();
        arguments.extend(["--backend", &urls[0], "--backend", place]);
        arguments.extend(more);
        let (said, code) = probe(&arguments).await;
        assert_eq!(code, Some(1), "{said}");
        let error = said["vantages"][1]["error"].as_str();
        let error = error.unwrap_or_else(|| panic!("{place}: {said}"));
        assert!(error.contains(cause), "{error}");
        assert_eq!(said["vantages"][0]["error"], Value::Null);
    }
    // The files that fronts have: what the document shows.
    for (place, text) in blocks("yaml")
        .into_iter()
        .filter(|(place, _)| place.starts_with("probe.md"))
    {
        let text = text.replace("192.0.2.7:8765", &format!("127.0.0.1:{plain}"));
        let text = text
            .replace("/not-a-simple-path", "/a b")
            .replace("LONG-RANDOM-TEXT", TOKEN);
        let file = stage.write("front.yaml", &text).display().to_string();
        let (said, code) = probe(&[
            "-c",
            &source,
            "--url",
            &url,
            "--timeout",
            "2000",
            "--backends",
            &file,
        ])
        .await;
        assert_eq!(code, Some(0), "{place}: {said}");
        assert_eq!(said["vantages"][0]["name"], "東京", "{place}");
    }
}

#[tokio::test]
async fn nodes_come_from_configs_links_and_subscriptions() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let nodes = servers(&mut stage).await;
    let port = nodes[1]["port"].as_u64().unwrap();
    let url = site.url("/204");
    let link = format!("vmess://{ID}@127.0.0.1:{port}?encryption=auto#%E9%A6%99%E6%B8%AF");
    let config = json!({
        "inbounds": [{"port": 1, "listen": "127.0.0.1", "protocol": "socks"}],
        "outbounds": [
            {"tag": "香港", "protocol": "vmess", "settings": {"address": "127.0.0.1", "port": port, "id": ID}},
            {"tag": "behind", "protocol": "vmess", "proxySettings": {"tag": "香港"},
             "settings": {"address": "127.0.0.1", "port": port, "id": ID}},
            {"protocol": "freedom"},
        ],
    });
    let config = stage
        .write("config.json", config.to_string())
        .display()
        .to_string();
    let lines = format!("{link}\nvmess://nonsense\n");
    let listener = listen();
    let place = format!("http://{}/sub", listener.local_addr().unwrap());
    let body = STANDARD.encode(&lines);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let (front, rest) = body.split_at(10);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{front}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
                rest.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let file = stage.write("links.txt", &lines).display().to_string();
    for (source, expected) in [
        (&link, vec![true]),
        (&config, vec![true, true]),
        (&place, vec![true, false]),
        (&file, vec![true, false]),
    ] {
        let (said, code) = probe(&["-c", source, "--url", &url]).await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(names(&said)[0], "香港");
        let nodes = said["vantages"][0]["nodes"].as_array().unwrap();
        let alive: Vec<_> = nodes.iter().map(|node| node["ok"] == true).collect();
        assert_eq!(alive, expected, "{said}");
    }
    // What cannot be used, and its code.
    let gone = free_port();
    let link = format!("vmess://{ID}@127.0.0.1:{gone}");
    let (said, code) = probe(&["-c", &link, "--url", &url]).await;
    assert_eq!(code, Some(1));
    assert!(
        said["vantages"][0]["nodes"][0]["error"]
            .as_str()
            .unwrap()
            .contains("refused")
    );
    for (arguments, code) in [
        (vec!["-c", "/nowhere/at/all"], 2),
        (vec!["-c", &link, "--url", "nonsense"], 2),
        (vec!["-c", &link, "--backend", "ws://127.0.0.1:1/"], 2),
        (vec!["-c", "http://127.0.0.1:1/sub"], 1),
        (vec![], 2),
    ] {
        let mut command = mobula();
        command
            .arg("probe")
            .args(&arguments)
            .env_remove("MOBULA_TOKEN");
        let (found, out, errors) = output(command).await;
        assert_eq!(found, Some(code), "{arguments:?}: {out}{errors}");
        assert!(out.is_empty() && !errors.is_empty(), "{out}");
    }
}

/// The most memory that was resident in KiB, and what was said.
async fn peak(source: &Path, url: &str) -> (u64, Value) {
    let measured = "import resource, subprocess, sys\n\
                    out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE).stdout\n\
                    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
                    sys.stdout.write(out.decode())";
    let mut command = Command::new("/usr/bin/env");
    command
        .arg(python().get_program())
        .args(["-c", measured])
        .arg(mobula().get_program())
        .args(["probe", "--json", "--url", url, "--timeout", "2000", "-c"])
        .arg(source);
    let said = run(command).await;
    let (kib, said) = said.split_once('\n').unwrap();
    (kib.parse().unwrap(), serde_json::from_str(said).unwrap())
}

/// In a thousand, half of them dead, each has its turn and little memory is taken.
#[tokio::test]
async fn a_thousand_nodes_take_little_memory() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let living = servers(&mut stage).await;
    let nodes: Vec<Value> = (0..1000_u16)
        .map(|n| {
            let mut node = living[usize::from(n) % 2].clone();
            node["name"] = json!(format!("节点 {n}"));
            // Each is another one.
            match n % 2 {
                0 => node["ws-opts"]["headers"] = json!({"X-Number": n.to_string()}),
                _ => {
                    node["server"] = json!(format!("127.0.{}.{}", n / 250, n % 250 + 1));
                    node["port"] = json!(1);
                }
            }
            node
        })
        .collect();
    let url = site.url("/204");
    // The program itself is some 28 MiB of it where it is not optimised.
    let few = stage.write("few.yaml", yaml(&nodes[..2]));
    let (own, _) = peak(&few, &url).await;
    let source = stage.write("nodes.yaml", yaml(&nodes));
    let began = Instant::now();
    let (kib, said) = peak(&source, &url).await;
    let nodes = said["vantages"][0]["nodes"].as_array().unwrap();
    let alive = nodes.iter().filter(|node| node["ok"] == true).count();
    assert_eq!((nodes.len(), alive), (1000, 500));
    let added = kib.saturating_sub(own) / 1024;
    assert!(added <= 11, "{added} MiB more than for two nodes");
    if !cfg!(debug_assertions) {
        assert!(kib / 1024 <= 40, "{} MiB", kib / 1024);
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

/// Somebody sits at a terminal, and has nothing to paste after all.
#[tokio::test]
async fn an_interrupt_ends_it_while_it_waits_for_its_standard_input() {
    let mut command = mobula();
    command.args(["probe", "-c", "-"]).stdin(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let stopped = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if stopped.elapsed() > Duration::from_secs(5) {
            child.kill().unwrap();
            panic!("it still waits for its standard input");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn an_interrupt_ends_it_and_back_ends_hear_of_it() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let nodes = servers(&mut stage).await;
    let source = stage
        .write("nodes.yaml", yaml(&nodes[..1]))
        .display()
        .to_string();
    let port = backend(&mut stage, &[]).await;
    let (url, slow) = (site.url("/204"), site.url("/slow"));
    let there = format!("ws://127.0.0.1:{port}/");
    for more in [&[][..], &["--backend", &there, "--token", TOKEN]] {
        let mut command = mobula();
        command
            .args([
                "probe",
                "-c",
                &source,
                "--url",
                &url,
                "--download",
                &slow,
                "--duration",
                "30",
            ])
            .args(more);
        let index = stage.start("probe", &mut command, &[]).await;
        let began = Instant::now();
        while site.open.load(Ordering::SeqCst) < 2 {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "no download begins"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stopped = Instant::now();
        stage.child(index).signal("INT");
        stage.child(index).ended(Duration::from_secs(10)).await;
        assert!(
            stopped.elapsed() < Duration::from_secs(5),
            "{:?}",
            stopped.elapsed()
        );
        while site.open.load(Ordering::SeqCst) > 0 {
            assert!(
                stopped.elapsed() < Duration::from_secs(10),
                "the download goes on"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whatever is asked of it, and however it is looked at.
#[tokio::test]
async fn a_terminal_shows_how_far_it_is_and_a_watch_begins_anew() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let nodes = servers(&mut stage).await;
    let source = stage.write("nodes.yaml", yaml(&nodes));
    let source = source.display().to_string();
    let url = site.url("/204");
    let mut command = mobula();
    command.args(["probe", "-c", &source, "--url", &url]);
    // Its standard error is a terminal of Python's making.
    let mut terminal = python();
    terminal.args(["-c", "import pty, sys; pty.spawn(sys.argv[1:])"]);
    terminal.arg(command.get_program()).args(command.get_args());
    let (code, shown, errors) = output(terminal).await;
    assert_eq!(code, Some(0), "{shown}{errors}");
    let all = nodes.len();
    assert!(
        shown.contains(&format!("\r{} {all}/{all}", "█".repeat(30))),
        "{shown:?}"
    );
    let (_, table) = shown.rsplit_once("\r\x1b[K").expect("it goes away");
    assert!(
        table.contains(&format!("{all} of {all} nodes answer")),
        "{table}"
    );

    command.args(["--watch", "1"]);
    let index = stage.start("watch", &mut command, &[]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while stage
        .read_so_far("watch.log")
        .matches("nodes answer")
        .count()
        < 3
    {
        assert!(Instant::now() < deadline, "{}", stage.read("watch.log"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.child(index).signal("INT");
    let ended = stage.child(index).ended(Duration::from_secs(2)).await;
    assert_eq!(ended.code(), Some(130));
    let log = stage.read("watch.log");
    assert!(!log.contains('█') && !log.contains('\r'), "{log:?}");
}
