//! The generator and the sink: what goes through the tunnels.
//!
//! The sink's protocol is a command byte and a length of 8 bytes (big endian): `U` takes that many bytes
//! and answers one, `D` gives that many, `E` echoes all that comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::Result;

const BLOCK: usize = 256 * 1024;

pub(crate) struct Load {
    socks: u16,
    sink: u16,
    serving: AbortHandle,
}

impl Load {
    /// Starts the sink; tunnels are opened through the SOCKS port.
    pub(crate) async fn start(socks: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sink = listener.local_addr()?.port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self {
            socks,
            sink,
            serving: serving.abort_handle(),
        })
    }

    pub(crate) async fn upload(&self, len: u64) -> Result<()> {
        let mut tunnel = self.open(b'U', len).await?;
        write_zeros(&mut tunnel, len).await?;
        tunnel.read_u8().await?;
        Ok(())
    }

    pub(crate) async fn download(&self, len: u64) -> Result<()> {
        let mut tunnel = self.open(b'D', len).await?;
        read_all(&mut tunnel, len).await?;
        Ok(())
    }

    /// Opens `count` connections, `at_once` at a time, each with one byte there and back.
    pub(crate) async fn connections(&self, count: usize, at_once: usize) -> Result<()> {
        let places = Arc::new(Semaphore::new(at_once));
        let mut running = JoinSet::new();
        for _ in 0..count {
            let place = places.clone().acquire_owned().await?;
            let (socks, sink) = (self.socks, self.sink);
            running.spawn(async move {
                let result = open(socks, sink, b'D', 1).await;
                let result = match result {
                    Ok(mut tunnel) => tunnel.read_u8().await.map(drop).map_err(Into::into),
                    Err(e) => Err(e),
                };
                drop(place);
                result
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Median time of 1 KiB there and back.
    pub(crate) async fn ping_pong(&self, count: usize) -> Result<Duration> {
        let mut tunnel = self.open(b'E', 0).await?;
        let mut block = [0; 1024];
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            tunnel.write_all(&block).await?;
            tunnel.read_exact(&mut block).await?;
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

    /// Tunnels that have carried 1 KiB each way and stay open until they are dropped.
    pub(crate) async fn idle_tunnels(&self, count: usize) -> Result<Vec<TcpStream>> {
        let mut tunnels = Vec::with_capacity(count);
        for _ in 0..count {
            let mut tunnel = self.open(b'E', 0).await?;
            let mut block = [0; 1024];
            tunnel.write_all(&block).await?;
            tunnel.read_exact(&mut block).await?;
            tunnels.push(tunnel);
        }
        Ok(tunnels)
    }

    async fn open(&self, command: u8, len: u64) -> Result<TcpStream> {
        open(self.socks, self.sink, command, len).await
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A tunnel to the sink, with the sink's command on its way.
async fn open(socks: u16, sink: u16, command: u8, len: u64) -> Result<TcpStream> {
    let mut tunnel = TcpStream::connect(("127.0.0.1", socks)).await?;
    tunnel.set_nodelay(true)?;
    tunnel.write_all(&[5, 1, 0]).await?;
    let mut answer = [0; 2];
    tunnel.read_exact(&mut answer).await?;
    let [high, low] = sink.to_be_bytes();
    tunnel
        .write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low])
        .await?;
    let mut answer = [0; 10];
    tunnel.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(format!("the SOCKS server refuses with {}", answer[1]).into());
    }
    let mut request = [0; 9];
    request[0] = command;
    request[1..].copy_from_slice(&len.to_be_bytes());
    tunnel.write_all(&request).await?;
    Ok(tunnel)
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let command = stream.read_u8().await?;
    let len = stream.read_u64().await?;
    match command {
        b'U' => {
            read_all(&mut stream, len).await?;
            stream.write_u8(1).await?;
        }
        b'D' => write_zeros(&mut stream, len).await?,
        _ => {
            let mut block = [0; 1024];
            loop {
                let n = stream.read(&mut block).await?;
                if n == 0 {
                    return Ok(());
                }
                stream.write_all(&block[..n]).await?;
            }
        }
    }
    // The peer ends the connection, so that no measure depends on who closes first.
    let _ = stream.read(&mut [0; 1]).await;
    Ok(())
}

async fn write_zeros(stream: &mut TcpStream, mut len: u64) -> Result<()> {
    let block = vec![0; BLOCK];
    while len > 0 {
        let n = len.min(BLOCK as u64);
        stream.write_all(&block[..n as usize]).await?;
        len -= n;
    }
    Ok(())
}

async fn read_all(stream: &mut TcpStream, mut len: u64) -> Result<()> {
    let mut block = vec![0; BLOCK];
    while len > 0 {
        let n = stream.read(&mut block).await?;
        if n == 0 {
            return Err(format!("the stream ended {len} bytes early").into());
        }
        len -= n as u64;
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
