//! A server with ten thousand users: what finding one costs, and what somebody costs who is none of them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::load::many;
use super::network::Network;
use super::program::Program;
use super::{Result, Run};

/// Unknown ids a second.
const RATE: u32 = 1000;

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let mut add = |what, value| {
        let row = Row(Setting::Plain, Role::Server, what);
        figures.add(row, program.name(), value);
    };
    let ids: Vec<String> = (1..=run.options.users as u128)
        .map(|i| Uuid::from_u128(i << 64).to_string())
        .collect();
    // Far apart in the server's list, so that no connection finds what one shortly before had found. The
    // step is prime: every user has its turn.
    let scattered = (0..ids.len()).map(|i| ids[i * 7919 % ids.len()].clone());
    let crowd = Shape {
        used: scattered.collect(),
        known: ids,
        ..Shape::default()
    };
    let alone = connection(run, program, &Shape::default()).await?;
    let among = connection(run, program, &crowd).await?;
    add(What::FindingUser, (among - alone) * 1e6);

    let network = Network::start(program, Role::Both, program, &crowd).await?;
    let (port, server) = (network.server_port, &network.server);
    many(50, |_| stranger(port)).await?;

    let begin = (Instant::now(), server.cpu()?);
    let count = steady(port, RATE, run.options.flow).await?;
    settle().await;
    let took = (server.cpu()? - begin.1).as_secs_f64();
    let each = took / count as f64;
    add(What::Refusal, each * 1e6);
    add(What::Flood, each * f64::from(RATE));

    let begin = (Instant::now(), server.cpu()?);
    while begin.0.elapsed() < run.options.flow {
        many(100, |_| stranger(port)).await?;
    }
    let took = server.cpu()? - begin.1;
    let share = took.as_secs_f64() / begin.0.elapsed().as_secs_f64();
    add(What::FloodAtFullSpeed, share);
    Ok(())
}

/// The server's CPU-s per new connection.
async fn connection(run: &Run, program: &Program, shape: &Shape) -> Result<f64> {
    let network = Network::start(program, Role::Both, program, shape).await?;
    network.load.connections(100).await?;
    let count = run.options.connections * 2;
    let begin = network.server.cpu()?;
    network.load.connections(count).await?;
    Ok((network.server.cpu()? - begin).as_secs_f64() / count as f64)
}

/// Sends `rate` strangers a second; gives their number.
async fn steady(port: u16, rate: u32, time: Duration) -> Result<u32> {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut running = JoinSet::new();
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < time {
        ticks.tick().await;
        for _ in 0..rate / 100 {
            running.spawn(stranger(port));
            count += 1;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(count)
}

/// Somebody whose WebSocket is right and whose id nobody has; leaves when all is sent.
async fn stranger(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(UPGRADE).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 101") {
        return Err("the server does not open a WebSocket".into());
    }
    // A mask of zeros leaves the bytes as they are.
    let mut frame = [0; 6 + FLIGHT];
    frame[..2].copy_from_slice(&[0x82, 0x80 | FLIGHT as u8]);
    getrandom::fill(&mut frame[6..])?;
    stream.write_all(&frame).await?;
    Ok(())
}

/// The server has read what lies in its sockets.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Bytes that a stranger sends; a whole header is about as long.
const FLIGHT: usize = 100;

const UPGRADE: &[u8] = b"GET /ray HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
