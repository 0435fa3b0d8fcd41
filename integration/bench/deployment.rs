//! What a whole server side costs: all that stands between the client's TLS and the target.
//!
//! ```text
//! generator ──▶ sing-box ──▶ TLS ─[ nginx ▸ v2ray │ nginx ▸ mobula │ sing-box │ mobula ]──▶ sink
//! ```
//!
//! And what TLS tickets spare a client and the web server that it comes to.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::configs::{Shape, nginx};
use super::figures::{Figures, Role, Row, Setting, What};
use super::load::Load;
use super::network::free_port;
use super::program::{Peer, Program};
use super::sink::Sink;
use super::{Result, Run, idle, tunnel};

/// What people put on port 443.
struct Deployment {
    column: &'static str,
    program: Program,
    /// Who ends TLS, where the program does not.
    front: Option<Program>,
    /// mobula's site and its limits.
    whole: bool,
}

/// A server side that runs, from its door inwards.
struct Side {
    peers: Vec<Peer>,
    port: u16,
    _site: TempDir,
}

/// The GiB, the connection and the idle tunnel of every server side, in an order that is turned round every second round.
pub(crate) async fn measure(run: &Run, round: usize, figures: &mut Figures) -> Result<()> {
    let mut deployments = deployments(run)?;
    if round % 2 == 1 {
        deployments.reverse();
    }
    let mut failed = Vec::new();
    for deployment in &deployments {
        // The others are measured all the same.
        if let Err(error) = of(run, deployment, figures).await {
            failed.push(format!("{}: {error}", deployment.column));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ").into()),
    }
}

fn deployments(run: &Run) -> Result<Vec<Deployment>> {
    let nginx = Program::nginx()?;
    let alone = |column, program: &Program| Deployment {
        column,
        program: program.clone(),
        front: None,
        whole: false,
    };
    let behind = |column, program| Deployment {
        front: Some(nginx.clone()),
        ..alone(column, program)
    };
    let mobula = &run.programs[0];
    let mut all = vec![
        behind("nginx + v2ray", &Program::v2ray_4_45()?),
        behind("nginx + mobula", mobula),
        alone("sing-box", &run.other),
        alone("bare", mobula),
        Deployment {
            whole: true,
            ..alone("mobula", mobula)
        },
    ];
    let before = run.programs.iter().find(|p| p.name() == "before");
    all.extend(before.map(|program| alone("before", program)));
    Ok(all)
}

async fn of(run: &Run, deployment: &Deployment, figures: &mut Figures) -> Result<()> {
    let mut add = |what, value| {
        let row = Row(Setting::Deployment, Role::Server, what);
        figures.add(row, deployment.column, value);
    };
    let shape = tunnel::shape(Setting::Deployment)?;
    let sink = Sink::start().await?;
    let side = deployment.start(&shape).await?;
    let (near, load) = client(&run.other, &shape, side.port, &sink).await?;

    // Once through without a look: caches and allocators get warm.
    load.connections(run.options.connections / 20).await?;
    load.upload(run.options.bulk / 8).await?;
    let gib = run.options.bulk as f64 / f64::from(1 << 30);
    let begin = side.cpu()?;
    load.upload(run.options.bulk).await?;
    let middle = side.cpu()?;
    load.download(run.options.bulk).await?;
    let end = side.cpu()?;
    add(What::Up, (middle - begin).as_secs_f64() / gib);
    add(What::Down, (end - middle).as_secs_f64() / gib);
    add(What::Bulk, (end - begin).as_secs_f64() / gib / 2.0);

    let begin = side.cpu()?;
    load.connections(run.options.connections).await?;
    add(
        What::Connection,
        milliseconds_of_one(side.cpu()? - begin, run.options.connections),
    );
    drop((near, side));

    // What a burst leaves behind is another question.
    let side = deployment.start(&shape).await?;
    let (_near, load) = client(&run.other, &shape, side.port, &sink).await?;
    load.connections(50).await?;
    let count = run.options.tunnels.min(idle::most_tunnels()?);
    let before = side.rss()?;
    let tunnels = load.idle_tunnels(count).await?;
    tokio::time::sleep(run.options.flow / 2).await;
    let after = side.rss()?;
    drop(tunnels);
    let each = after.saturating_sub(before) as f64 / count as f64;
    add(What::Idle(count), each);
    Ok(())
}

/// A connection of `program` as the client of an nginx that gives tickets, and of one that does not.
pub(crate) async fn tickets(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    for (setting, tickets) in [(Setting::Tickets, true), (Setting::NoTickets, false)] {
        let shape = tunnel::shape(setting)?;
        let sink = Sink::start().await?;
        let side = behind_nginx(&Program::nginx()?, &run.other, &shape, tickets).await?;
        let (client, load) = client(program, &shape, side.port, &sink).await?;
        load.connections(run.options.connections / 20).await?;
        let count = run.options.connections;
        let (web, own) = (side.peers[0].family()?, client.cpu()?);
        let begin = web.cpu()?;
        load.connections(count).await?;
        let (far, near) = (web.cpu()? - begin, client.cpu()? - own);
        for (role, cpu) in [(Role::Server, far), (Role::Client, near)] {
            let row = Row(setting, role, What::Connection);
            figures.add(row, program.name(), milliseconds_of_one(cpu, count));
        }
    }
    Ok(())
}

impl Deployment {
    async fn start(&self, shape: &Shape) -> Result<Side> {
        if let Some(front) = &self.front {
            return behind_nginx(front, &self.program, shape, true).await;
        }
        let site = tempfile::tempdir()?;
        let port = free_port()?;
        let mut config = shape.server(self.program.kind, port);
        if self.whole {
            std::fs::write(site.path().join("index.html"), "<h1>A site</h1>")?;
            config["inbounds"][0]["streamSettings"]["fallback"] = json!(site.path());
            config["limits"] =
                json!({"connections": 100_000, "perSource": 50_000, "handshakes": 20_000});
        }
        let peers = vec![self.program.start(&config, port).await?];
        Ok(Side {
            peers,
            port,
            _site: site,
        })
    }
}

async fn behind_nginx(
    front: &Program,
    program: &Program,
    shape: &Shape,
    tickets: bool,
) -> Result<Side> {
    let plain = Shape {
        tls: None,
        ..shape.clone()
    };
    let (inner, port) = (free_port()?, free_port()?);
    let server = plain.server(program.kind, inner);
    let server = program.start(&server, inner).await?;
    let site = tempfile::tempdir()?;
    let text = nginx::front(shape, port, inner, site.path(), tickets)?;
    let front = front.start(&Value::String(text), port).await?;
    Ok(Side {
        peers: vec![front, server],
        port,
        _site: site,
    })
}

async fn client(program: &Program, shape: &Shape, port: u16, sink: &Sink) -> Result<(Peer, Load)> {
    let socks = free_port()?;
    let config = shape.client(program.kind, socks, port);
    let peer = program.start(&config, socks).await?;
    Ok((peer, Load::through(socks, sink)))
}

impl Side {
    /// Of all its processes.
    fn cpu(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for peer in &self.peers {
            sum += peer.family()?.cpu()?;
        }
        Ok(sum)
    }

    fn rss(&self) -> Result<u64> {
        let mut sum = 0;
        for peer in &self.peers {
            sum += peer.family()?.rss()?;
        }
        Ok(sum)
    }
}

fn milliseconds_of_one(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() / count as f64 * 1e3
}
