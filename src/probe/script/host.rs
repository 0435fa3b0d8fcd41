//! The end of a script's pipes that has the network.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::super::codec::{ProxyInfo, Script, Scripted};
use super::super::lab::Mounted;
use super::super::measure::{fetch, netcat};
use super::runner::WORD;
use super::{Ask, Order, frames, limit};

/// Scripts that run at one time.
const AT_ONCE: usize = 16;

/// Requests of one script.
const MAX_ASKED: usize = 256;

/// What runs scripts: processes of a program, so many at a time.
#[derive(Debug)]
pub struct Runner {
    /// This program.
    program: PathBuf,
    places: Semaphore,
}

impl Runner {
    /// By processes of `program`, whose `main` gives way to [`main`](super::main) when [`WORD`] is its argument.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            places: Semaphore::new(AT_ONCE),
        }
    }

    fn start(&self) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .arg(WORD)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command.spawn().map(|child| Process(Some(child)))
    }
}

/// A process that ends with this, and is not left behind as a zombie.
struct Process(Option<Child>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.start_kill();
            crate::io::spawn(async move { child.wait().await });
        }
    }
}

/// Runs a script for a node when there is a place; it ends in its time, or with this future.
pub async fn run(runner: &Runner, node: &Mounted, script: &Script, about: &ProxyInfo) -> Scripted {
    let _place = runner.places.acquire().await;
    let began = Instant::now();
    let limit = limit(script.timeout_millis);
    let order = Order {
        content: script.content.clone(),
        proxy: about.clone(),
        millis: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    };
    let said = match timeout(limit, converse(runner, node, &order)).await {
        Ok(Ok(said)) => said.bounded(),
        Ok(Err(why)) => {
            debug!("a script's process ended without an answer: {why}");
            Scripted::default()
        }
        Err(_) => {
            debug!("a script was stopped after {} ms", limit.as_millis());
            Scripted::default()
        }
    };
    Scripted {
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..said
    }
}

async fn converse(runner: &Runner, node: &Mounted, order: &Order) -> io::Result<Scripted> {
    let mut process = runner.start()?;
    let child = process.0.as_mut();
    let pipes = child.and_then(|child| child.stdin.take().zip(child.stdout.take()));
    let (mut to, mut from) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
    frames::tell(&mut to, &serde_json::to_vec(order)?).await?;
    for _ in 0..=MAX_ASKED {
        let (head, body) = match serde_json::from_slice(&frames::hear(&mut from).await?) {
            Ok(Ask::Done(said)) => return Ok(said),
            Ok(Ask::Fetch(asked)) => match fetch(node, &asked).await {
                Some(answer) => (answer.head().to_string(), answer.body),
                None => (String::new(), Vec::new()),
            },
            Ok(Ask::Netcat(asked)) => {
                let (error, data) = netcat(node, &asked).await;
                (serde_json::json!({"error": error}).to_string(), data)
            }
            // Half a character that was left in a request, say.
            Err(_) => (String::new(), Vec::new()),
        };
        frames::tell(&mut to, head.as_bytes()).await?;
        if !head.is_empty() {
            frames::tell(&mut to, &body).await?;
        }
    }
    Err(io::Error::other("it asks without end"))
}
