//! The end of a script's pipes that has the network.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::super::codec::{Location, ProxyInfo, Script, Scripted};
use super::super::lab::Mounted;
use super::super::measure::{fetch, netcat};
use super::runner::WORD;
use super::{Ask, Order, Question, frames, limit};

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

/// The node that a script is run for.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// What its network is.
    pub node: &'a Mounted,
    /// What it is told of it.
    pub info: &'a ProxyInfo,
}

/// What a script says of a node. It runs when there is a place for it, and ends in its time, or with this future.
pub async fn run(runner: &Runner, about: About<'_>, script: &Script) -> Scripted {
    let limit = limit(script.timeout_millis);
    let (said, took) = ask(runner, about, &script.content, Question::Node, limit).await;
    let said: Scripted = serde_json::from_str(&said).unwrap_or_default();
    Scripted {
        millis: millis(took),
        ..said.bounded()
    }
}

/// The addresses under which a node's sessions come: what a script says, or the one that is there for those without. And how
/// long it ran, for which it had a place.
pub async fn addresses(
    runner: &Runner,
    about: About<'_>,
    content: &str,
    limit: Duration,
) -> (Vec<IpAddr>, Duration) {
    let (said, took) = ask(runner, about, content, Question::Addresses, limit).await;
    let said: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap_or_default();
    let said = said.iter().filter_map(|one| one.as_str()?.parse().ok());
    (said.collect(), took)
}

/// Where an address is: what a script says; that which is there for fronts without one when it is empty. And how long it ran.
pub async fn location(
    runner: &Runner,
    about: About<'_>,
    content: &str,
    ip: IpAddr,
    limit: Duration,
) -> (Location, Duration) {
    let question = Question::Location(ip.to_string());
    let (said, took) = ask(runner, about, content, question, limit).await;
    let place = Location::read(&serde_json::from_str(&said).unwrap_or_default());
    (place, took)
}

/// What a script says to a question, as JSON, and how long it ran; nothing of one that said nothing. Waiting for a place is no
/// part of that.
async fn ask(
    runner: &Runner,
    about: About<'_>,
    content: &str,
    question: Question,
    limit: Duration,
) -> (String, Duration) {
    let _place = runner.places.acquire().await;
    let began = Instant::now();
    let order = Order {
        content: content.to_owned(),
        question,
        proxy: about.info.clone(),
        millis: millis(limit),
    };
    let said = match timeout(limit, converse(runner, about.node, &order)).await {
        Ok(Ok(said)) => said,
        Ok(Err(why)) => {
            debug!("a script's process ended without an answer: {why}");
            String::new()
        }
        Err(_) => {
            debug!("a script was stopped after {} ms", limit.as_millis());
            String::new()
        }
    };
    (said, began.elapsed())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn converse(runner: &Runner, node: &Mounted, order: &Order) -> io::Result<String> {
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
