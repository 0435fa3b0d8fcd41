//! The sink: where the tunnels end.
//!
//! A connection is a run of commands, a byte and a length of 8 bytes (big endian): `U` takes that many bytes
//! and answers one, `D` gives that many, `E` echoes that many.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, yield_now};

use super::Result;

/// What is written and read at once.
pub(crate) const BLOCK: usize = 256 * 1024;

/// Takes and gives bytes; ends when it is dropped.
pub(crate) struct Sink {
    pub(crate) port: u16,
    serving: AbortHandle,
}

impl Sink {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self {
            port,
            serving: serving.abort_handle(),
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        // The peer ends the connection, so that no measure depends on who closes first.
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
                let mut left = len;
                while left > 0 {
                    let most = left.min(block.len() as u64) as usize;
                    let n = stream.read(&mut block[..most]).await?;
                    if n == 0 {
                        return Ok(());
                    }
                    stream.write_all(&block[..n]).await?;
                    left -= n as u64;
                }
            }
        }
    }
}

pub(crate) async fn write_zeros(stream: &mut TcpStream, mut len: u64) -> Result<()> {
    let block = vec![0; len.min(BLOCK as u64) as usize];
    while len > 0 {
        let n = len.min(BLOCK as u64);
        stream.write_all(&block[..n as usize]).await?;
        len -= n;
        // Among many streams none of them shall owe its share to us.
        yield_now().await;
    }
    Ok(())
}

pub(crate) async fn read_all(stream: &mut TcpStream, mut len: u64) -> Result<()> {
    let mut block = vec![0; len.min(BLOCK as u64) as usize];
    while len > 0 {
        let n = stream.read(&mut block).await?;
        if n == 0 {
            return Err(format!("the stream ended {len} bytes early").into());
        }
        len -= n as u64;
    }
    Ok(())
}
