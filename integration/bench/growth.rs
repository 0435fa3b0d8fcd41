//! Whether what one more connection or GiB costs depends on how many tunnels there are.

use tokio::net::TcpStream;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::idle::most_tunnels;
use super::load::Load;
use super::network::Network;
use super::program::Program;
use super::{Result, Run};

/// What goes up and down a tunnel in its turn.
const PIECE: u64 = 64 * 1024;

/// Tunnels that carry while all others wait.
const BUSY: usize = 10;

/// Files for the connections that come on top.
const ON_TOP: usize = 100;

/// The work is the same whatever the number of tunnels: as many connections, and as many pieces through a few
/// of the tunnels. Pieces through all of them by turns are told as well, but ask no program alone: the windows
/// of a new connection are small, and what many sockets touch is in no cache.
pub(crate) async fn measure(
    run: &Run,
    round: usize,
    program: &Program,
    figures: &mut Figures,
) -> Result<()> {
    let mut sizes = run.options.growth.clone();
    if round % 2 == 1 {
        sizes.reverse();
    }
    for size in sizes {
        let size = size.min(most_tunnels()? - ON_TOP);
        let network = Network::start(program, Role::Both, program, &Shape::default()).await?;
        let load = network.load;
        load.connections(run.options.connections / 20).await?;
        load.upload(run.options.bulk / 8).await?;
        let mut tunnels = load.idle_tunnels(size).await?;

        let cpu = || Ok::<_, super::Error>((network.server.cpu()?, network.client.cpu()?));
        let mut add = |role, what, value| {
            figures.add(Row(Setting::Plain, role, what), program.name(), value);
        };
        let count = run.options.connections;
        let before = cpu()?;
        load.connections(count).await?;
        let after = cpu()?;
        let each = 1e3 / count as f64;
        let (server, client) = (after.0 - before.0, after.1 - before.1);
        add(
            Role::Server,
            What::ConnectionAmong(size),
            server.as_secs_f64() * each,
        );
        add(
            Role::Client,
            What::ConnectionAmong(size),
            client.as_secs_f64() * each,
        );

        // A few carry all while the others wait; then each has its turn.
        let count = (run.options.bulk / PIECE) as usize;
        let waiting = tunnels.split_off(BUSY.min(size));
        tunnels = bulk(&network, tunnels, count * 2, |server, client| {
            add(Role::Server, What::BulkAmong(size), server);
            add(Role::Client, What::BulkAmong(size), client);
        })
        .await?;
        tunnels.extend(waiting);
        bulk(&network, tunnels, count.max(size), |server, client| {
            add(Role::Server, What::BulkAcross(size), server);
            add(Role::Client, What::BulkAcross(size), client);
        })
        .await?;
    }
    Ok(())
}

/// Tells the CPU-s/GiB of server and client for `count` pieces up and down.
async fn bulk(
    network: &Network,
    tunnels: Vec<TcpStream>,
    count: usize,
    tell: impl FnOnce(f64, f64),
) -> Result<Vec<TcpStream>> {
    let begin = (network.server.cpu()?, network.client.cpu()?);
    let tunnels = Load::pieces(tunnels, count, PIECE).await?;
    let end = (network.server.cpu()?, network.client.cpu()?);
    let gib = (2 * PIECE * count as u64) as f64 / f64::from(1 << 30);
    let (server, client) = (end.0 - begin.0, end.1 - begin.1);
    tell(server.as_secs_f64() / gib, client.as_secs_f64() / gib);
    Ok(tunnels)
}
