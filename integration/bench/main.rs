//! What mobula costs beside v2ray and sing-box, in one interleaved run on the same topology:
//!
//! ```text
//! generator ──▶ client ──▶ server ──▶ sink        all on loopback, VMess over WebSocket
//! ```
//!
//! Absolute figures drift from machine to machine and from minute to minute; ratios within one run do not.
//! So every round measures every program, in an order that is reversed every second round, with processes
//! started afresh, and the table gives medians, their spread and the ratio to sing-box.
//!
//! `integration/bench/run [--quick] [--rounds N] [--tunnels N] [--cipher NAME] [--with-v2ray-peer]`
//!
//! sing-box is at the other end, or V2Ray 4.45 with `--with-v2ray-peer`. `--smoke` only finds out whether
//! everything runs: it is too short to compare anything, so it prints no figure.

mod load;
mod peer;
mod proc;
mod table;

use std::error::Error;
use std::path::PathBuf;

use load::Load;
use peer::{Network, Peer, Program};
use table::{Figures, Measure};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of one bulk measure.
const BULK: u64 = 384 << 20;
/// Connections of one connection measure, and how many are open at once.
const CONNECTIONS: usize = 1500;
const AT_ONCE: usize = 16;

struct Options {
    rounds: usize,
    tunnels: usize,
    bulk: u64,
    connections: usize,
    cipher: String,
    other: Program,
    /// Too little of everything to print a figure.
    smoke: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse()?;
    let programs = Program::installed(&PathBuf::from(env!("CARGO_BIN_EXE_mobula")));
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        let mut order = programs.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for program in &order {
            for role in [Role::Server, Role::Client] {
                eprintln!(
                    "round {} of {}: {} as {role:?}",
                    round + 1,
                    options.rounds,
                    program.name()
                );
                let measured = measure(program, role, &options, &mut figures).await;
                match (program, measured) {
                    (_, Ok(())) => {}
                    // V2Ray drops a connection of a thousand now and then: what was measured counts.
                    (Program::V2ray(_), Err(e)) if !options.smoke => eprintln!("v2ray failed: {e}"),
                    (_, Err(e)) => return Err(e),
                }
            }
        }
    }
    if options.smoke {
        let names: Vec<_> = programs.iter().map(Program::name).collect();
        println!("{}: each ran as server and as client", names.join(", "));
    } else {
        print!("{}", figures.table(&programs));
    }
    Ok(())
}

/// Which end of the tunnel is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Server,
    Client,
}

async fn measure(
    program: &Program,
    role: Role,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let network = Network::start(program, role, &options.other, &options.cipher).await?;
    let measured: &Peer = match role {
        Role::Server => &network.server,
        Role::Client => &network.client,
    };
    let load = Load::start(network.socks).await?;
    // Once through without a look: caches, allocators and JITs of the kernel's kind get warm.
    load.connections(50, AT_ONCE).await?;
    load.upload(options.bulk / 8).await?;

    let mut add = |measure, value| figures.add(program, role, measure, value);
    let gib = options.bulk as f64 / f64::from(1 << 30);

    let before = measured.cpu()?;
    load.upload(options.bulk).await?;
    let up = measured.cpu()? - before;
    add(Measure::Up, up.as_secs_f64() / gib);

    let before = measured.cpu()?;
    load.download(options.bulk).await?;
    let down = measured.cpu()? - before;
    add(Measure::Down, down.as_secs_f64() / gib);
    add(Measure::Bulk, (up + down).as_secs_f64() / gib / 2.0);

    let before = measured.cpu()?;
    load.connections(options.connections, AT_ONCE).await?;
    let connections = measured.cpu()? - before;
    add(
        Measure::Connection,
        connections.as_secs_f64() * 1e3 / options.connections as f64,
    );

    add(
        Measure::PingPong,
        load.ping_pong(400).await?.as_secs_f64() * 1e6,
    );
    add(
        Measure::FirstByte,
        load.first_byte(200).await?.as_secs_f64() * 1e6,
    );
    drop(load);
    drop(network);

    // Memory in a process that has carried nothing else: what a burst leaves behind is another question.
    let network = Network::start(program, role, &options.other, &options.cipher).await?;
    let measured = match role {
        Role::Server => &network.server,
        Role::Client => &network.client,
    };
    let load = Load::start(network.socks).await?;
    load.connections(50, AT_ONCE).await?;
    let before = measured.rss()?;
    let tunnels = load.idle_tunnels(options.tunnels).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let after = measured.rss()?;
    drop(tunnels);
    add(
        Measure::Idle,
        after.saturating_sub(before) as f64 / options.tunnels as f64,
    );
    Ok(())
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self {
            rounds: 5,
            tunnels: 1000,
            bulk: BULK,
            connections: CONNECTIONS,
            cipher: "aes-128-gcm".to_owned(),
            other: Program::other_end(false)?,
            smoke: false,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => (options.rounds, options.bulk) = (2, BULK / 2),
                "--smoke" => {
                    (options.rounds, options.bulk) = (1, 32 << 20);
                    (options.tunnels, options.connections) = (100, 100);
                    options.smoke = true;
                }
                "--rounds" => options.rounds = value()?.parse()?,
                "--tunnels" => options.tunnels = value()?.parse()?,
                "--cipher" => options.cipher = value()?,
                "--with-v2ray-peer" => options.other = Program::other_end(true)?,
                // What cargo adds when it runs a benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}
