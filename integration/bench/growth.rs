//! Whether what one more connection or GiB costs depends on how many tunnels there are.

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::idle::most_tunnels;
use super::load::Load;
use super::network::Network;
use super::program::Program;
use super::{Result, Run};

/// What goes up and down a tunnel in its turn.
const PIECE: u64 = 64 * 1024;

/// Files for the connections that come on top.
const ON_TOP: usize = 100;

/// The work is the same whatever the number of tunnels: as many connections beside them, and as many pieces,
/// some at a time, in all of them by turns.
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
        let tunnels = load.idle_tunnels(size).await?;

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

        // Each tunnel gets its turn, and few tunnels carry as much as many.
        let count = (run.options.bulk / PIECE) as usize;
        let count = count.max(size) * 2;
        let before = cpu()?;
        Load::pieces(tunnels, count, PIECE).await?;
        let after = cpu()?;
        let gib = (2 * PIECE * count as u64) as f64 / f64::from(1 << 30);
        let (server, client) = (after.0 - before.0, after.1 - before.1);
        add(
            Role::Server,
            What::BulkAmong(size),
            server.as_secs_f64() / gib,
        );
        add(
            Role::Client,
            What::BulkAmong(size),
            client.as_secs_f64() / gib,
        );
    }
    Ok(())
}
