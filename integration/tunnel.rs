//! A tunnel between two programs: an application's SOCKS port at one end, freedom at the other.

use crate::configs::Vmess;
use crate::peers::{Peer, Stage, free_port};
use crate::traffic::{self, To};

/// A running pair; it ends when dropped.
pub struct Tunnel {
    /// Where the client listens.
    pub socks: u16,
    /// Keeps both running.
    _stage: Stage,
}

impl Tunnel {
    /// Both ends agree.
    pub async fn start(client: Peer, server: Peer, vmess: &Vmess) -> Self {
        println!("{client:?} to {server:?}, {vmess:?}");
        Self::start_on(Stage::new(), client, vmess, server, vmess).await
    }

    /// Each end has its own idea.
    pub async fn start_on(
        mut stage: Stage,
        client: Peer,
        client_vmess: &Vmess,
        server: Peer,
        server_vmess: &Vmess,
    ) -> Self {
        let (port, socks) = (free_port(), free_port());
        let config = server_vmess.server(server, port);
        stage.run(server, "server", &config, &[port]).await;
        let config = client_vmess.client(client, socks, port);
        stage.run(client, "client", &config, &[socks]).await;
        Self {
            socks,
            _stage: stage,
        }
    }

    /// What every tunnel must do.
    pub async fn carries_all(&self) {
        self.carries_streams().await;
        traffic::datagrams(self.socks, &[1, 60, 512, 1200, 1400]).await;
    }

    pub async fn carries_streams(&self) {
        traffic::word(self.socks, &To::Ip(traffic::echo().await)).await;
        let port = traffic::echo().await.port();
        traffic::word(self.socks, &To::Name("localhost", port)).await;
        traffic::server_speaks_first(self.socks).await;
        traffic::both_ways(self.socks, EIGHT_MIB).await;
    }
}

pub const EIGHT_MIB: usize = 8 * 1024 * 1024;
