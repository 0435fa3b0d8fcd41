//! What mobula costs beside v2ray, sing-box, shoes and gost, in one interleaved run on the same topology:
//!
//! ```text
//! generator ──▶ client ──▶ server ──▶ sink        all on loopback, VMess over WebSocket
//! ```
//!
//! Absolute figures drift from machine to machine and from minute to minute; ratios within one run do not.
//! So every round measures every program, in an order that is reversed every second round, with processes
//! started afresh, and the table gives medians, their spread and the ratio to sing-box. What must hold is
//! in [`bounds`], and every run ends with a line for each requirement.
//!
//! `integration/bench/run` starts it; `docs/benchmarks.md` says what is measured and how.

#![allow(
    clippy::disallowed_methods,
    reason = "tests have no session to log for"
)]

mod bounds;
mod configs;
mod cores;
mod crowd;
mod deployment;
mod early;
mod figures;
mod floor;
mod gost;
mod growth;
mod idle;
mod load;
mod network;
mod nodes;
mod options;
mod proc;
mod program;
mod scripts;
mod sink;
mod startup;
mod streams;
mod tunnel;
mod udp;
mod users;

use std::path::PathBuf;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::timeout;

use figures::{Figures, Setting};
use options::{Measure, Mode, Options};
use program::{Kind, Program};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What all measures of a run share.
pub(crate) struct Run {
    options: Options,
    programs: Vec<Program>,
    /// What stands at the other end of what is measured.
    other: Program,
    floor: Program,
}

fn main() -> Result<()> {
    let limit = files_of_a_process()? as u64;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let args: Vec<String> = std::env::args().skip(1).take(2).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [floor::ARGUMENT, ports] => floor::run(ports),
        [idle::ARGUMENT, ports] => runtime.block_on(idle::hold(ports)),
        [early::ARGUMENT, index] => runtime.block_on(early::inside(&programs(), index)),
        _ => runtime.block_on(run()),
    }
}

/// `MOBULA` names another mobula than the one that was built along.
fn programs() -> Vec<Program> {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_mobula"));
    Program::installed(&std::env::var_os("MOBULA").map_or_else(built, PathBuf::from))
}

/// The files a process may have open; the most that the system allows.
pub(crate) fn files_of_a_process() -> Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(hard)?.min(1 << 20))
}

async fn run() -> Result<()> {
    let mut run = Run {
        options: Options::parse()?,
        programs: programs(),
        other: Program::sing_box()?,
        floor: Program::floor()?,
    };
    if run.options.a_a {
        run.programs[0] = run.other.called("mobula");
    }
    let mut figures = Figures::default();
    let begin = Instant::now();
    for round in 0..run.options.rounds {
        for measure in &run.options.measures {
            if round > 0 && !measure.every_round(run.options.mode) {
                continue;
            }
            let watch = proc::Watch::start()?;
            let mut programs = run.takes_part(*measure);
            if round % 2 == 1 {
                programs.reverse();
            }
            for program in programs {
                let done = run.measure(*measure, round, program, &mut figures);
                let done = timeout(measure.limit(), done).await.unwrap_or_else(|_| {
                    Err(format!("not over after {} s", measure.limit().as_secs()).into())
                });
                if let Err(error) = done {
                    let (name, measure) = (program.name(), measure.name());
                    let failure = format!("{measure}, {name}: {error}");
                    eprintln!("{failure}");
                    figures.failures.push(failure);
                }
            }
            let foreign = watch.foreign()?;
            figures.foreign(measure.name(), foreign);
            let (round, rounds, name) = (round + 1, run.options.rounds, measure.name());
            let (at, foreign) = (begin.elapsed().as_secs(), foreign * 100.0);
            eprintln!("{at} s, round {round} of {rounds}: {name}, others took {foreign:.0} %");
        }
    }
    run.report(&figures)
}

impl Run {
    /// The programs that `measure` is about.
    fn takes_part(&self, measure: Measure) -> Vec<&Program> {
        let full = self.options.mode == Mode::Full;
        let of = |kinds: &[Kind]| {
            let programs = self.programs.iter().chain([&self.floor]);
            programs.filter(|p| kinds.contains(&p.kind)).collect()
        };
        let (mobula, sing_box) = (self.programs[0].kind, Kind::SingBox);
        match measure {
            Measure::Bulk | Measure::Latency | Measure::Start => {
                of(&[mobula, sing_box, Kind::V2ray, Kind::Shoes, Kind::Floor])
            }
            Measure::Many
            | Measure::Crowd
            | Measure::Cores
            | Measure::Growth
            | Measure::Users
            | Measure::Deployment
            | Measure::Nodes => {
                vec![&self.programs[0]]
            }
            Measure::Vless => of(&[mobula, sing_box, Kind::Floor]),
            Measure::Early
            | Measure::Shadowsocks
            | Measure::Trojan
            | Measure::HttpUpgrade
            | Measure::Grpc
            | Measure::Tickets => of(&[mobula, sing_box]),
            Measure::Gost => of(&[mobula, Kind::Gost]),
            Measure::Idle if full => of(&[mobula, sing_box, Kind::V2ray, Kind::Shoes]),
            // As a server, shoes gives datagrams of sing-box's back in one piece.
            Measure::Udp if full => of(&[mobula, sing_box, Kind::V2ray]),
            _ if full => of(&[mobula, sing_box, Kind::Shoes]),
            _ => of(&[mobula, sing_box]),
        }
    }

    async fn measure(
        &self,
        measure: Measure,
        round: usize,
        program: &Program,
        figures: &mut Figures,
    ) -> Result<()> {
        match measure {
            Measure::Bulk => tunnel::bulk(self, program, Setting::Plain, figures).await,
            Measure::Tls => tunnel::bulk(self, program, Setting::Tls, figures).await,
            Measure::ChaCha => tunnel::bulk(self, program, Setting::ChaCha, figures).await,
            Measure::V2ray => tunnel::bulk(self, program, Setting::V2ray, figures).await,
            Measure::Shadowsocks => self.whole(&[Setting::Shadowsocks], program, figures).await,
            Measure::Vless if program.kind == Kind::Floor => {
                tunnel::bulk(self, program, Setting::Vless, figures).await
            }
            Measure::Vless => {
                let settings = [Setting::Vless, Setting::VlessTls];
                self.whole(&settings, program, figures).await
            }
            Measure::Trojan => self.whole(&[Setting::TrojanTls], program, figures).await,
            // Nothing is left of HTTP behind the answer: it must cost what the bare connection does.
            Measure::HttpUpgrade => {
                let settings = [Setting::VlessTcp, Setting::VlessHttpUpgrade];
                self.whole(&settings, program, figures).await
            }
            Measure::Grpc => self.whole(&[Setting::VlessGrpc], program, figures).await,
            Measure::Deployment => deployment::measure(self, round, figures).await,
            Measure::Tickets => deployment::tickets(self, program, figures).await,
            Measure::Latency => tunnel::latency(self, program, figures).await,
            Measure::Early => early::measure(self, program, figures).await,
            Measure::Streams => streams::measure(self, program, figures).await,
            Measure::Idle => {
                idle::memory(self, program, Setting::Plain, figures).await?;
                if self.options.mode == Mode::Full {
                    idle::memory(self, program, Setting::Tls, figures).await?;
                }
                Ok(())
            }
            Measure::Many => idle::many(self, program, figures).await,
            Measure::Crowd => crowd::measure(self, program, figures).await,
            Measure::Cores => cores::measure(self, program, figures).await,
            Measure::Growth => growth::measure(self, round, program, figures).await,
            Measure::Users => users::measure(self, program, figures).await,
            Measure::Start => startup::measure(self, program, figures).await,
            Measure::Udp => udp::measure(self, program, figures).await,
            Measure::Gost => gost::measure(self, program, figures).await,
            Measure::Nodes => nodes::measure(self, program, figures).await,
        }
    }

    /// The GiB, the connection and the idle tunnel.
    async fn whole(
        &self,
        settings: &[Setting],
        program: &Program,
        figures: &mut Figures,
    ) -> Result<()> {
        for setting in settings {
            tunnel::bulk(self, program, *setting, figures).await?;
            idle::memory(self, program, *setting, figures).await?;
        }
        Ok(())
    }

    fn report(&self, figures: &Figures) -> Result<()> {
        let names: Vec<&str> = self.programs.iter().map(Program::name).collect();
        if self.options.mode == Mode::Smoke {
            let measures: Vec<&str> = self.options.measures.iter().map(|m| m.name()).collect();
            println!("{}: each ran; {}", measures.join(", "), names.join(", "));
        } else {
            println!("{}\n{}", figures.table(), figures.disturbance());
            print!("{}", bounds::verdicts(figures));
        }
        for failure in &figures.failures {
            println!("failed: {failure}");
        }
        // V2Ray and shoes fail now and then without a fault of ours.
        let ours = |failure: &&String| {
            let strangers = [Kind::V2ray.name(), Kind::Shoes.name()];
            !strangers.iter().any(|name| failure.contains(name))
        };
        match figures.failures.iter().find(ours) {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }
}
