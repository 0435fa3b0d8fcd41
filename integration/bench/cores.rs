//! What a server does on one core, on two, and on as many as there are: a table for any machine.

use std::thread::available_parallelism;
use std::time::Instant;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::network::Network;
use super::program::Program;
use super::{Result, Run};

/// Downloads at once.
const STREAMS: usize = 100;

/// Generator and client have all cores, so on a small machine they take a part of the server's.
pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let all = available_parallelism()?.get();
    let mut counts: Vec<usize> = (0..).map(|n| 1 << n).take_while(|n| *n < all).collect();
    counts.push(all);
    for cores in counts {
        let server = program.on_cores(cores);
        let network = Network::start(&server, Role::Server, program, &Shape::default()).await?;
        network
            .load
            .connections(run.options.connections / 20)
            .await?;
        let mut add = |what, value| {
            let row = Row(Setting::Plain, Role::Server, what);
            figures.add(row, program.name(), value);
        };
        let (count, begin) = (run.options.connections, Instant::now());
        network.load.connections(count).await?;
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        add(What::ConnectionsOn(cores), rate);
        let time = run.options.flow * 2;
        let before = network.server.cpu()?;
        let begin = Instant::now();
        let bytes = network.load.streams(STREAMS, time).await?;
        let busy = (network.server.cpu()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
        let mib = bytes.iter().sum::<u64>() as f64 / f64::from(1 << 20);
        add(What::StreamsOn(cores), mib / time.as_secs_f64());
        add(What::CoresTaken(cores), busy);
    }
    Ok(())
}
