//! A client and a server of it, running.

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use serde_json::Value;

use super::Result;
use super::configs::Shape;
use super::figures::Role;
use super::load::Load;
use super::program::{Peer, Program};
use super::sink::Sink;

pub(crate) struct Network {
    pub(crate) client: Peer,
    pub(crate) server: Peer,
    pub(crate) socks: u16,
    pub(crate) server_port: u16,
    pub(crate) load: Load,
    _sink: Sink,
}

impl Network {
    /// `program` in `role`, and `other` at the other end.
    pub(crate) async fn start(
        program: &Program,
        role: Role,
        other: &Program,
        shape: &Shape,
    ) -> Result<Self> {
        match role {
            Role::Server => Self::of(other, program, shape).await,
            Role::Client => Self::of(program, other, shape).await,
            Role::Both => Self::of(program, program, shape).await,
        }
    }

    async fn of(client: &Program, server: &Program, shape: &Shape) -> Result<Self> {
        let server_config = |port| shape.server(server.kind, port);
        let client_config = |socks, port| shape.client(client.kind, socks, port);
        Self::configured(client, client_config, server, server_config).await
    }

    /// Both with a config of their own: the server's of its port, the client's of its SOCKS port and that.
    pub(crate) async fn configured(
        client: &Program,
        client_config: impl Fn(u16, u16) -> Value,
        server: &Program,
        server_config: impl Fn(u16) -> Value,
    ) -> Result<Self> {
        let sink = Sink::start().await?;
        let (server_port, socks) = (free_port()?, free_port()?);
        let server = server
            .start(&server_config(server_port), server_port)
            .await?;
        let client = client
            .start(&client_config(socks, server_port), socks)
            .await?;
        Ok(Self {
            client,
            server,
            socks,
            server_port,
            load: Load::through(socks, &sink),
            _sink: sink,
        })
    }

    /// The process whose cost is asked for.
    pub(crate) fn measured(&self, role: Role) -> &Peer {
        match role {
            Role::Client => &self.client,
            Role::Server | Role::Both => &self.server,
        }
    }
}

/// A port that nobody has.
///
/// A connection through it is left behind in TIME_WAIT: the system then gives the port to nobody who
/// asks for any port, and yet to the child that asks for this one.
pub(crate) fn free_port() -> Result<u16> {
    let (listener, here) = loop {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let here = listener.local_addr()?;
        // Shadowsocks listens for datagrams there, too.
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, here.port())).is_ok() {
            break (listener, here);
        }
    };
    let near = TcpStream::connect(here)?;
    let (far, _) = listener.accept()?;
    drop(far);
    drop(near);
    Ok(here.port())
}
