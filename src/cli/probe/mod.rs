//! `mobula probe`: which nodes answer, how fast, and why the others do not; from here, or from back ends elsewhere.

mod args;
mod backends;
mod output;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(super) use args::ProbeArgs;

use super::{say, threads};
use crate::io::open_files;
use crate::observatory::Url;
use crate::probe::survey::{
    Remote, Source, Survey, Vantage, Way, here, read_source, remote, table, to_json,
};
use crate::probe::{Downloads, Lab, Pings};
use crate::transport::tls::Pem;

pub(super) fn run(args: &ProbeArgs) -> ExitCode {
    let plan = match plan(args) {
        Ok(plan) => plan,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let _ = open_files::raise();
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(all(args, &plan));
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

/// What is measured, and by whom.
struct Plan {
    survey: Survey,
    remotes: Vec<Remote>,
}

fn plan(args: &ProbeArgs) -> Result<Plan, String> {
    let url = Url::parse(&args.url).map_err(|e| format!("--url: {e}"))?;
    let download = args.download.as_deref().map(|text| {
        let url = Url::parse(text).map_err(|e| format!("--download: {e}"))?;
        Ok::<_, String>(Downloads {
            url: Ok(url),
            seconds: args.duration,
            threads: args.threads,
            limit: 0,
        })
    });
    let survey = Survey {
        pings: Pings {
            url: Ok(url),
            count: args.count,
            limit: Duration::from_millis(args.timeout.into()),
        },
        url: args.url.clone(),
        download: download.transpose()?,
        download_url: args.download.clone(),
    };
    let authorities = args
        .ca
        .as_ref()
        .map(|file| Pem::File(file.clone()).authorities());
    let authorities = authorities.transpose().map_err(|e| format!("--ca: {e}"))?;
    let remotes = backends::of(args, authorities.unwrap_or_default())?;
    Ok(Plan { survey, remotes })
}

async fn all(args: &ProbeArgs, plan: &Plan) -> ExitCode {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        eprintln!("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    let (stop, stopped) = watch::channel(false);
    let mut rounds = std::pin::pin!(rounds(args, plan, stopped));
    tokio::select! {
        code = &mut rounds => return code,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Back ends are told; what is found by then is of no use.
    let _ = stop.send(true);
    let _ = tokio::time::timeout(Duration::from_secs(1), rounds).await;
    ExitCode::from(130)
}

async fn rounds(args: &ProbeArgs, plan: &Plan, stop: watch::Receiver<bool>) -> ExitCode {
    loop {
        let code = match round(args, plan, &stop).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err((code, text)) => {
                eprintln!("{text}");
                ExitCode::from(code)
            }
        };
        let Some(seconds) = args.watch else {
            return code;
        };
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        if *stop.borrow() {
            return code;
        }
    }
}

/// Whether every vantage point has answered, and a node is alive.
async fn round(
    args: &ProbeArgs,
    plan: &Plan,
    stop: &watch::Receiver<bool>,
) -> Result<bool, (u8, String)> {
    let is_url = args.config.starts_with("http://") || args.config.starts_with("https://");
    let source = read_source(&args.config).await;
    let Source { nodes, config } = source.map_err(|text| (if is_url { 1 } else { 2 }, text))?;
    let nodes = Arc::new(nodes);
    let bar = Bar::new(nodes.len(), plan.remotes.len().max(1));
    let vantages = match &plan.remotes[..] {
        [] => {
            let lab = Arc::new(Lab::new(config).await.map_err(|text| (1, text))?);
            let way = Way {
                at_once: args.jobs.into(),
            };
            let mut stopped = stop.clone();
            let measured = here(&lab, &nodes, &plan.survey, way, |done| bar.tell(0, done));
            tokio::select! {
                vantage = measured => vec![vantage],
                _ = stopped.changed() => return Ok(false),
            }
        }
        remotes => {
            let each = remotes.iter().enumerate().map(|(n, one)| {
                let bar = &bar;
                remote(one, &nodes, &plan.survey, stop.clone(), move |done| {
                    bar.tell(n, done)
                })
            });
            join_all(each).await
        }
    };
    bar.clear();
    if *stop.borrow() {
        return Ok(false);
    }
    match args.json {
        true => say(format_args!("{:#}", to_json(&plan.survey, &vantages))),
        false => say(table::table(&vantages).trim_end()),
    }
    output::write(args, &nodes, &vantages)
        .await
        .map_err(|text| (1, text))?;
    let answered = vantages.iter().all(|one| one.error.is_none());
    Ok(answered && vantages.iter().any(|one: &Vantage| one.alive() > 0))
}

/// How far all vantage points are, on a terminal alone.
struct Bar {
    done: Vec<AtomicUsize>,
    all: usize,
    is_shown: bool,
}

impl Bar {
    fn new(nodes: usize, vantages: usize) -> Self {
        Self {
            done: (0..vantages).map(|_| AtomicUsize::new(0)).collect(),
            all: nodes * vantages,
            is_shown: std::io::stderr().is_terminal(),
        }
    }

    fn tell(&self, vantage: usize, done: usize) {
        self.done[vantage].store(done, Ordering::Relaxed);
        if !self.is_shown {
            return;
        }
        let done: usize = self
            .done
            .iter()
            .map(|one| one.load(Ordering::Relaxed))
            .sum();
        let part = 30 * done / self.all.max(1);
        let (full, empty) = ("█".repeat(part.min(30)), "░".repeat(30 - part.min(30)));
        let _ = write!(std::io::stderr(), "\r{full}{empty} {done}/{}", self.all);
    }

    fn clear(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
