//! Nodes that are tested, by `mobula probe` and by `mobula backend`: how long many take, and in what memory; scripts about one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::network::free_port;
use super::program::{Peer, Program};
use super::{Result, Run, proc, scripts};

const TOKEN: &str = "bench";

const MIB: f64 = (1 << 20) as f64;

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let mut add = |what, value| {
        let row = Row(Setting::Nodes, Role::Client, what);
        figures.add(row, program.name(), value);
    };
    let server_port = free_port()?;
    let shape = Shape::default();
    let _server = program
        .start(&shape.server(program.kind, server_port), server_port)
        .await?;
    let site = site().await?;
    let dir = tempfile::tempdir()?;
    let count = run.options.nodes;
    let half = nodes(dir.path(), count, |n| (n % 2 == 0).then_some(server_port))?;
    let dead = nodes(dir.path(), count * 3 / 2, |_| None)?;
    let few = nodes(dir.path(), count / 2, |_| Some(server_port))?;

    let (took, peak) = probe(program, &half, site, &[]).await?;
    add(What::Nodes, count as f64 / took.as_secs_f64());
    add(What::NodesMemory(count), peak as f64 / MIB);
    let (took, _) = probe(program, &dead, site, &[]).await?;
    add(What::DeadNodes(count * 3 / 2), took.as_secs_f64());

    let port = free_port()?;
    let mut command = Command::new(&program.path);
    command.args(["backend", "--listen", &format!("127.0.0.1:{port}")]);
    let back_end = Peer::spawn(command.args(["--token", TOKEN]), tempfile::tempdir()?)?;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    add(What::BackEndMemory(0), back_end.rss()? as f64 / MIB);
    let url = format!("ws://127.0.0.1:{port}/");
    probe(program, &few, site, &["--backend", &url, "--token", TOKEN]).await?;
    let peak = proc::peak(back_end.pid())?;
    add(What::BackEndMemory(count / 2), peak as f64 / MIB);

    let node = serde_json::json!({
        "name": "node", "type": "vmess", "server": "127.0.0.1", "port": server_port, "uuid": shape.known[0], "alterId": 0,
        "cipher": "auto", "network": "ws", "ws-opts": {"path": "/ray"},
    });
    let page = format!("http://127.0.0.1:{site}/");
    let ran = scripts::run(&back_end, port, TOKEN, &node, &page, count).await?;
    add(What::Scripts, ran.a_second);
    add(What::ScriptsMemory, ran.peak as f64 / MIB);
    add(What::ScriptMemory, ran.of_one as f64 / MIB);
    Ok(())
}

/// A web server with nothing to say.
async fn site() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
                    stream.write_all(answer).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    Ok(port)
}

/// A file of Clash's form with so many nodes, each another one: at the server of the port that is given, or where nobody is.
fn nodes(dir: &Path, count: usize, port: impl Fn(usize) -> Option<u16>) -> Result<PathBuf> {
    let id = &Shape::default().known[0];
    let mut text = String::from("proxies:\n");
    for n in 0..count {
        let (server, port) = match port(n) {
            Some(port) => ("127.0.0.1".to_owned(), port),
            None => (format!("127.1.{}.{}", n / 250, n % 250 + 1), 1),
        };
        writeln!(
            text,
            "  - {{name: \"node {n}\", type: vmess, server: {server}, port: {port}, uuid: {id}, alterId: 0, cipher: auto, \
             network: ws, ws-opts: {{path: /ray, headers: {{X-Number: \"{n}\"}}}}}}"
        )?;
    }
    let file = dir.join(format!("nodes-{}.yaml", fs::read_dir(dir)?.count()));
    fs::write(&file, text)?;
    Ok(file)
}

/// How long a probe of these nodes takes, and the most memory that it has.
async fn probe(
    program: &Program,
    nodes: &Path,
    site: u16,
    more: &[&str],
) -> Result<(Duration, u64)> {
    let mut command = Command::new(&program.path);
    let url = format!("http://127.0.0.1:{site}/");
    command.args(["probe", "--json", "--url", &url, "-c"]);
    let begin = Instant::now();
    let mut peer = Peer::spawn(command.arg(nodes).args(more), TempDir::new()?)?;
    let mut peak = 0;
    while !peer.has_ended()? {
        // Its last words are of little use once it has ended.
        peak = proc::peak(peer.pid()).unwrap_or(peak);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok((begin.elapsed(), peak))
}
