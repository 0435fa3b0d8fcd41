//! A hundred downloads at once: how much all of them bring, whether each gets its share, and what memory
//! they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::network::Network;
use super::program::Program;
use super::{Result, Run, proc};

const STREAMS: usize = 100;

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    for role in [Role::Server, Role::Client, Role::Both] {
        let network = Network::start(program, role, &run.other, &Shape::default()).await?;
        network.load.connections(20).await?;
        network.load.upload(run.options.bulk / 8).await?;

        let time = run.options.flow * 2;
        let peer = network.measured(role);
        let before = peer.rss()?;
        let over = Arc::<AtomicBool>::default();
        let peak = tokio::spawn(peak(peer.pid(), over.clone()));
        let bytes = network.load.streams(STREAMS, time).await;
        over.store(true, Ordering::Relaxed);
        let (bytes, peak) = (bytes?, peak.await??);

        let mut add =
            |what, value| figures.add(Row(Setting::Plain, role, what), program.name(), value);
        let sum = bytes.iter().sum::<u64>() as f64;
        let mib = sum / f64::from(1 << 20) / time.as_secs_f64();
        add(What::Streams, mib);
        let (least, most) = (bytes.iter().min(), bytes.iter().max());
        let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
        add(What::Fairness, least as f64 / most.max(1) as f64);
        let grown = peak.saturating_sub(before) as f64;
        add(What::PeakMemory, grown / 1024.0 / STREAMS as f64);
    }
    Ok(())
}

/// The highest RSS until it is `over`.
pub(crate) async fn peak(pid: u32, over: Arc<AtomicBool>) -> Result<u64> {
    let mut highest = 0;
    while !over.load(Ordering::Relaxed) {
        highest = highest.max(proc::rss(pid)?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(highest)
}
