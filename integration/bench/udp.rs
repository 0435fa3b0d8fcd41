//! Datagrams through SOCKS's UDP and VMess: how many, and what one costs.
//!
//! ```text
//! | 0 0 | fragment 0 | type 1 | address 4 | port 2 | payload |
//! ```
//! A window of datagrams is on its way; each that comes back makes room for another, and a window that got
//! lost is sent again.

use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UdpSocket};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::load::greet;
use super::network::Network;
use super::program::Program;
use super::{Result, Run};

const PAYLOAD: usize = 512;
const HEADER: usize = 10;
const WINDOW: usize = 32;

/// When a window is believed to be lost.
const LOST: Duration = Duration::from_millis(200);

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    for role in [Role::Server, Role::Client] {
        let network = Network::start(program, role, &run.other, &Shape::default()).await?;
        let echo = Echo::start().await?;
        let mut way = Way::open(network.socks, echo.port).await?;
        way.flow(run.options.flow / 5).await?;

        let begin = (Instant::now(), network.measured(role).cpu()?);
        let count = way.flow(run.options.flow).await?;
        let took = begin.0.elapsed().as_secs_f64();
        let cpu = (network.measured(role).cpu()? - begin.1).as_secs_f64();
        let mut add =
            |what, value| figures.add(Row(Setting::Plain, role, what), program.name(), value);
        // There and back are two.
        let count = 2.0 * count as f64;
        add(What::Datagrams, count / took);
        add(What::Datagram, cpu * 1e6 / count);
    }
    Ok(())
}

/// Gives back what comes.
struct Echo {
    port: u16,
    serving: AbortHandle,
}

impl Echo {
    async fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let port = socket.local_addr()?.port();
        let serving = tokio::spawn(async move {
            let mut buf = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buf).await {
                let _ = socket.send_to(&buf[..n], from).await;
            }
        });
        Ok(Self {
            port,
            serving: serving.abort_handle(),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The generator's socket, and the connection that keeps its permission.
struct Way {
    socket: UdpSocket,
    _control: TcpStream,
    datagram: [u8; HEADER + PAYLOAD],
}

impl Way {
    async fn open(socks: u16, echo: u16) -> Result<Self> {
        let mut control = TcpStream::connect(("127.0.0.1", socks)).await?;
        let relay = greet(&mut control, [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(("127.0.0.1", relay)).await?;
        let mut datagram = [0x55; HEADER + PAYLOAD];
        let [high, low] = echo.to_be_bytes();
        datagram[..HEADER].copy_from_slice(&[0, 0, 0, 1, 127, 0, 0, 1, high, low]);
        Ok(Self {
            socket,
            _control: control,
            datagram,
        })
    }

    /// How many came back within `time`.
    async fn flow(&mut self, time: Duration) -> Result<usize> {
        let mut buf = [0; 2048];
        let (begin, mut count, mut windows) = (Instant::now(), 0, 0);
        while begin.elapsed() < time {
            windows += 1;
            for _ in 0..WINDOW {
                self.socket.send(&self.datagram).await?;
            }
            while let Ok(received) = timeout(LOST, self.socket.recv(&mut buf)).await {
                let n = received?;
                if buf[..n].get(HEADER..) != Some(&self.datagram[HEADER..]) {
                    return Err(format!("an echo of {n} bytes is not what was sent").into());
                }
                count += 1;
                if begin.elapsed() >= time {
                    break;
                }
                self.socket.send(&self.datagram).await?;
            }
        }
        if windows > 1 {
            eprintln!(
                "{} windows of {WINDOW} datagrams came to a halt",
                windows - 1
            );
        }
        if count == 0 {
            return Err("no datagram came back".into());
        }
        Ok(count)
    }
}
