//! Tunnels that wait: what each takes of the memory, and whether the program is usable among very many.
//!
//! Very many do not fit into one process here: a tunnel takes two files of each end and two of the
//! generator, the system limits the files of a process, and a port has 28,000 others on one address to
//! talk to. So they are dealt out to as few groups of client, server and holder as hold them; a holder
//! is this program again, generator and sink in one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::load::{Load, median, ping};
use super::network::Network;
use super::program::Program;
use super::sink::Sink;
use super::{Result, Run, files_of_a_process, tunnel};

/// Memory in processes that have carried nothing else: what a burst leaves behind is another question.
pub(crate) async fn memory(
    run: &Run,
    program: &Program,
    setting: Setting,
    figures: &mut Figures,
) -> Result<()> {
    let count = match setting {
        // sing-box hands these on by splice, whose pipes are four more files for a tunnel.
        Setting::VlessTcp | Setting::VlessHttpUpgrade => run.options.tunnels / 4,
        _ => run.options.tunnels,
    };
    let count = count.min(most_tunnels()?);
    let shape = tunnel::shape(setting)?;
    for role in [Role::Server, Role::Client] {
        let network = Network::start(program, role, &run.other, &shape).await?;
        let each = of_one(run, &network, role, count).await?;
        let row = Row(setting, role, What::Idle(count));
        figures.add(row, program.name(), each);
    }
    Ok(())
}

/// The bytes that each of `count` tunnels takes in whoever has `role`.
pub(crate) async fn of_one(run: &Run, network: &Network, role: Role, count: usize) -> Result<f64> {
    network.load.connections(50).await?;
    let before = network.measured(role).rss()?;
    let tunnels = network.load.idle_tunnels(count).await?;
    tokio::time::sleep(run.options.flow / 2).await;
    let after = network.measured(role).rss()?;
    drop(tunnels);
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

/// Very many tunnels, and then new ones among them.
pub(crate) async fn many(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let count = run.options.many;
    let mut groups = Group::of(program, &shares(count)?).await?;
    tokio::time::sleep(run.options.flow / 2).await;

    let (mut server, mut client, mut slowest) = (0, 0, Duration::ZERO);
    for group in &mut groups {
        let (of_server, of_client) = group.grown()?;
        server += of_server;
        client += of_client;
        slowest = slowest.max(block_in_place(|| group.holder.probe())?);
    }
    let mut add = |role, what, value| {
        figures.add(Row(Setting::Plain, role, what), program.name(), value);
    };
    add(
        Role::Server,
        What::Idle(count),
        server as f64 / count as f64,
    );
    add(
        Role::Client,
        What::Idle(count),
        client as f64 / count as f64,
    );
    add(
        Role::Both,
        What::UsableAmong(count),
        slowest.as_secs_f64() * 1e3,
    );
    eprintln!("{count} tunnels in {} groups", groups.len());
    Ok(())
}

/// How many of `count` tunnels each group holds.
pub(crate) fn shares(count: usize) -> Result<Vec<usize>> {
    let most = most_tunnels()?.min(MOST_PORTS);
    let groups = count.div_ceil(most);
    Ok((0..groups)
        .map(|i| count / groups + usize::from(i < count % groups))
        .collect())
}

/// A client, a server, and who holds tunnels through them.
pub(crate) struct Group {
    network: Network,
    pub(crate) holder: Holder,
    /// The memory of the server and of the client without the tunnels.
    before: (u64, u64),
}

impl Group {
    /// One for each of the numbers of tunnels.
    pub(crate) async fn of(program: &Program, shares: &[usize]) -> Result<Vec<Self>> {
        let mut groups = Vec::new();
        for share in shares {
            let network = Network::start(program, Role::Both, program, &Shape::default()).await?;
            network.load.connections(20).await?;
            let before = (network.server.rss()?, network.client.rss()?);
            let holder = block_in_place(|| Holder::start(network.socks, *share))?;
            groups.push(Self {
                network,
                holder,
                before,
            });
        }
        Ok(groups)
    }

    /// What the server and the client have more of than before.
    pub(crate) fn grown(&self) -> Result<(u64, u64)> {
        Ok((
            self.network.server.rss()?.saturating_sub(self.before.0),
            self.network.client.rss()?.saturating_sub(self.before.1),
        ))
    }
}

/// How many tunnels one process can end.
pub(crate) fn most_tunnels() -> Result<usize> {
    Ok((files_of_a_process()? - SPARE) / 2)
}

/// Files that are not the tunnels'.
const SPARE: usize = 300;

/// Of the ports that Linux gives to those who ask for any.
const MOST_PORTS: usize = 25_000;

/// A process that holds tunnels.
pub(crate) struct Holder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What makes this program a holder.
pub(crate) const ARGUMENT: &str = "--as-holder";

/// New tunnels that are tried among the idle ones.
const PROBES: usize = 21;

impl Holder {
    fn start(socks: u16, count: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &format!("[{socks}, {count}]")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("stdin is a pipe")?;
        let answers = BufReader::new(child.stdout.take().ok_or("stdout is a pipe")?);
        let mut holder = Self {
            child,
            orders,
            answers,
        };
        holder.answer()?;
        Ok(holder)
    }

    /// How long a new tunnel with its ping takes, and a ping through an old one.
    fn probe(&mut self) -> Result<Duration> {
        self.orders.write_all(b"probe\n")?;
        Ok(Duration::from_micros(self.answer()?))
    }

    /// Has so many of its tunnels carry for a while; [`Self::carried`] tells how much they did.
    pub(crate) fn carry(&mut self, tunnels: usize, time: Duration) -> Result<()> {
        writeln!(self.orders, "carry {tunnels} {}", time.as_millis())?;
        Ok(())
    }

    /// The bytes that its tunnels have brought.
    pub(crate) fn carried(&mut self) -> Result<u64> {
        self.answer()
    }

    fn answer(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let line = line.trim();
        line.parse()
            .map_err(|_| format!("the holder of tunnels ended with `{line}`").into())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The holder's side: a number for each order, the first unasked.
pub(crate) async fn hold(ports: &str) -> Result<()> {
    let [socks, count]: [usize; 2] = serde_json::from_str(ports)?;
    let sink = Sink::start().await?;
    let load = Load::through(u16::try_from(socks)?, &sink);
    let mut tunnels = load.idle_tunnels(count).await?;
    println!("{}", tunnels.len());
    let mut lines = std::io::stdin().lock().lines();
    while let Some(Ok(line)) = lines.next() {
        if let Some(order) = line.strip_prefix("carry ") {
            let (count, millis) = order.split_once(' ').ok_or("carry COUNT MILLISECONDS")?;
            let busy = tunnels.split_off(tunnels.len().saturating_sub(count.parse()?));
            let bytes = Load::flow(busy, Duration::from_millis(millis.parse()?)).await?;
            println!("{}", bytes.iter().sum::<u64>());
            continue;
        }
        let mut times = Vec::new();
        for i in 0..PROBES {
            let begin = Instant::now();
            let mut tunnel = load.open(b'E', 1024).await?;
            ping(&mut tunnel).await?;
            let at = i * (count / PROBES);
            again(&mut tunnels[at]).await?;
            times.push(begin.elapsed());
        }
        println!("{}", median(times).as_micros());
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// A ping through a tunnel that has been idle.
async fn again(tunnel: &mut TcpStream) -> Result<()> {
    tunnel.write_all(&Load::echo(1024)).await?;
    ping(tunnel).await
}
