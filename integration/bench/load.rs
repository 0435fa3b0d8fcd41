//! The generator: opens tunnels to the sink and sends through them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};

use super::Result;
use super::sink::{BLOCK, Sink, read_all, write_zeros};

/// How many connections are on their way at once.
const AT_ONCE: usize = 16;

/// More than any measure carries.
pub(crate) const ENDLESS: u64 = 1 << 60;

/// When a stream flows: this has come through.
const FLOWING: u64 = 1 << 20;

/// Opens tunnels to the sink.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    socks: Option<u16>,
    sink: u16,
}

impl Load {
    /// Tunnels are opened through a SOCKS port.
    pub(crate) fn through(socks: u16, sink: &Sink) -> Self {
        let (socks, sink) = (Some(socks), sink.port);
        Self { socks, sink }
    }

    /// The port is the sink's, or that of a relay to it.
    pub(crate) fn direct(port: u16) -> Self {
        let (socks, sink) = (None, port);
        Self { socks, sink }
    }

    pub(crate) async fn upload(&self, len: u64) -> Result<()> {
        upload(&mut self.open(b'U', len).await?, len).await
    }

    pub(crate) async fn download(&self, len: u64) -> Result<()> {
        read_all(&mut self.open(b'D', len).await?, len).await
    }

    /// Opens `count` connections, some at a time, each with one byte there and back.
    pub(crate) async fn connections(self, count: usize) -> Result<()> {
        many(count, move |_| async move {
            let mut tunnel = self.open(b'D', 1).await?;
            Ok(tunnel.read_u8().await?)
        })
        .await?;
        Ok(())
    }

    /// Median time of 1 KiB there and back.
    pub(crate) async fn ping_pong(&self, count: usize) -> Result<Duration> {
        let mut tunnel = self.open(b'E', ENDLESS).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            ping(&mut tunnel).await?;
            times.push(begin.elapsed());
        }
        Ok(median(times))
    }

    /// Median time from the connection to the SOCKS port to the first byte from the target.
    pub(crate) async fn first_byte(&self, count: usize) -> Result<Duration> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            let mut tunnel = self.open(b'D', 1).await?;
            tunnel.read_u8().await?;
            times.push(begin.elapsed());
        }
        Ok(median(times))
    }

    /// Tunnels that have carried 1 KiB each way and wait for commands until they are dropped.
    pub(crate) async fn idle_tunnels(self, count: usize) -> Result<Vec<TcpStream>> {
        many(count, move |_| async move {
            let mut tunnel = self.open(b'E', 1024).await?;
            ping(&mut tunnel).await?;
            Ok(tunnel)
        })
        .await
    }

    /// Bytes that each of `count` tunnels brought within `time`, all of them at once.
    pub(crate) async fn streams(self, count: usize, time: Duration) -> Result<Vec<u64>> {
        Self::flow(self.idle_tunnels(count).await?, time).await
    }

    /// As [`Self::streams`], of tunnels that are there.
    pub(crate) async fn flow(mut tunnels: Vec<TcpStream>, time: Duration) -> Result<Vec<u64>> {
        for tunnel in &mut tunnels {
            tunnel.write_all(&command(b'D', ENDLESS)).await?;
        }
        let counters: Vec<_> = tunnels
            .iter()
            .map(|_| Arc::<AtomicU64>::default())
            .collect();
        let mut reading = JoinSet::new();
        for (mut tunnel, counter) in tunnels.into_iter().zip(counters.clone()) {
            reading.spawn(async move {
                let mut block = vec![0; BLOCK];
                while let Ok(n @ 1..) = tunnel.read(&mut block).await {
                    counter.fetch_add(n as u64, Ordering::Relaxed);
                    yield_now().await;
                }
            });
        }
        let read = || {
            counters
                .iter()
                .map(|counter| counter.load(Ordering::Relaxed))
        };
        // The streams flow when all buffers on their ways are full; one that starves does not hold us up.
        let begin = Instant::now();
        while read().any(|bytes| bytes < FLOWING) && begin.elapsed() < time * 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let before: Vec<u64> = read().collect();
        tokio::time::sleep(time).await;
        let bytes = read().zip(before).map(|(after, before)| after - before);
        let bytes = bytes.collect();
        if reading.try_join_next().is_some() {
            return Err("a stream ended early".into());
        }
        Ok(bytes)
    }

    /// Carries a piece of `len` bytes up and one down, `count` times, in all `tunnels` by turns, some at
    /// a time; gives the tunnels back.
    pub(crate) async fn pieces(
        tunnels: Vec<TcpStream>,
        count: usize,
        len: u64,
    ) -> Result<Vec<TcpStream>> {
        let n = AT_ONCE.min(tunnels.len());
        let mut lanes: Vec<Vec<TcpStream>> = Vec::new();
        lanes.resize_with(n, Vec::new);
        for (i, tunnel) in tunnels.into_iter().enumerate() {
            lanes[i % n].push(tunnel);
        }
        let mut running: JoinSet<Result<Vec<TcpStream>>> = JoinSet::new();
        for mut lane in lanes {
            running.spawn(async move {
                for i in 0..count / n {
                    let at = i % lane.len();
                    let tunnel = &mut lane[at];
                    tunnel.write_all(&command(b'U', len)).await?;
                    upload(tunnel, len).await?;
                    tunnel.write_all(&command(b'D', len)).await?;
                    read_all(tunnel, len).await?;
                }
                Ok(lane)
            });
        }
        let mut tunnels = Vec::new();
        while let Some(lane) = running.join_next().await {
            tunnels.extend(lane??);
        }
        Ok(tunnels)
    }

    /// Brings `len` bytes down each of `tunnels`, all of them at once.
    pub(crate) async fn down_all(tunnels: Vec<TcpStream>, len: u64) -> Result<()> {
        let mut running: JoinSet<Result<()>> = JoinSet::new();
        for mut tunnel in tunnels {
            running.spawn(async move {
                tunnel.write_all(&command(b'D', len)).await?;
                read_all(&mut tunnel, len).await
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// What a tunnel that waits for commands must be told before `len` bytes are echoed.
    pub(crate) fn echo(len: u64) -> [u8; 9] {
        command(b'E', len)
    }

    /// A tunnel to the sink, with the sink's first command on its way.
    pub(crate) async fn open(self, name: u8, len: u64) -> Result<TcpStream> {
        let port = self.socks.unwrap_or(self.sink);
        let mut tunnel = TcpStream::connect(("127.0.0.1", port)).await?;
        tunnel.set_nodelay(true)?;
        if self.socks.is_some() {
            let [high, low] = self.sink.to_be_bytes();
            greet(&mut tunnel, [5, 1, 0, 1, 127, 0, 0, 1, high, low]).await?;
        }
        tunnel.write_all(&command(name, len)).await?;
        Ok(tunnel)
    }
}

/// The handshake of SOCKS 5 with `request`; gives the port that the answer names.
pub(crate) async fn greet(stream: &mut TcpStream, request: [u8; 10]) -> Result<u16> {
    stream.write_all(&[5, 1, 0]).await?;
    stream.read_exact(&mut [0; 2]).await?;
    stream.write_all(&request).await?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(format!("the SOCKS server refuses with {}", answer[1]).into());
    }
    Ok(u16::from_be_bytes([answer[8], answer[9]]))
}

/// 1 KiB there and back.
pub(crate) async fn ping(tunnel: &mut TcpStream) -> Result<()> {
    let mut block = [0; 1024];
    tunnel.write_all(&block).await?;
    tunnel.read_exact(&mut block).await?;
    Ok(())
}

/// Runs `act` `count` times, some at a time.
pub(crate) async fn many<T, F>(count: usize, act: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let mut done = Vec::with_capacity(count);
    for i in 0..count {
        let place = places.clone().acquire_owned().await?;
        let acting = act(i);
        running.spawn(async move {
            let result = acting.await;
            drop(place);
            result
        });
        while let Some(ended) = running.try_join_next() {
            done.push(ended??);
        }
    }
    while let Some(ended) = running.join_next().await {
        done.push(ended??);
    }
    Ok(done)
}

fn command(name: u8, len: u64) -> [u8; 9] {
    let mut command = [name; 9];
    command[1..].copy_from_slice(&len.to_be_bytes());
    command
}

async fn upload(stream: &mut TcpStream, len: u64) -> Result<()> {
    write_zeros(stream, len).await?;
    stream.read_u8().await?;
    Ok(())
}

pub(crate) fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
