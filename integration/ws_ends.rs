//! Runs of `mobula ws`, and what stands at the other end of its WebSockets.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::{Stage, free_port, mobula, python, root, system};

/// What a run of `mobula ws` came to.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: String,
    pub(crate) took: Duration,
}

impl Run {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.out).expect("text")
    }
}

/// Runs the client with this standard input, which ends at once.
pub(crate) async fn ws(arguments: &[&str], input: impl AsRef<[u8]>) -> Run {
    let mut command = mobula();
    command.arg("ws").args(arguments);
    fed(command, input.as_ref().to_vec()).await
}

pub(crate) async fn fed(mut command: Command, input: Vec<u8>) -> Run {
    let running = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let writing = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("it ends");
        writing.join().expect("its thread ends");
        Run {
            code: output.status.code(),
            out: output.stdout,
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: began.elapsed(),
        }
    });
    running.await.expect("its thread ends")
}

/// Another end by Python's `websockets`.
pub(crate) fn peer(arguments: &[&str]) -> Command {
    let mut command = python();
    command
        .arg(root().join("integration/websocket_peers.py"))
        .args(arguments);
    command
}

/// A server of theirs; gives its port.
pub(crate) async fn theirs(stage: &mut Stage, handler: &str) -> u16 {
    stage
        .start(handler, &mut peer(&["serve", handler]), &[])
        .await;
    let log = stage
        .until_file_has(&format!("{handler}.log"), "port ")
        .await;
    let port = log.lines().find_map(|line| line.strip_prefix("port "));
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// A client of theirs, to its end.
pub(crate) async fn client(arguments: &[&str]) -> Run {
    fed(peer(arguments), Vec::new()).await
}

pub(crate) async fn works(arguments: &[&str]) -> Run {
    let run = client(arguments).await;
    let said = String::from_utf8_lossy(&run.out).into_owned();
    assert!(
        run.code == Some(0) && said.ends_with("ok\n"),
        "{said}{}",
        run.errors
    );
    run
}

/// A server of ours.
pub(crate) async fn ours(stage: &mut Stage, arguments: &[&str]) -> (u16, usize) {
    let port = free_port();
    let mut command = mobula();
    command
        .args(["ws", "--listen", &format!("127.0.0.1:{port}")])
        .args(arguments);
    let index = stage.start("ws", &mut command, &[port]).await;
    (port, index)
}

pub(crate) async fn curl(arguments: &[&str]) -> (String, String) {
    let mut command = system("curl");
    command.args([
        "-s",
        "-S",
        "--max-time",
        "30",
        "-w",
        "\n%{http_code} %{content_type}",
    ]);
    command.args(arguments);
    let run = fed(command, Vec::new()).await;
    let text = String::from_utf8_lossy(&run.out).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}
