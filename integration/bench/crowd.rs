//! Very many tunnels that carry: a GiB through 2,000 of them at once, and 100 busy ones among those that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::task::block_in_place;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::idle::{Group, most_tunnels, shares};
use super::load::Load;
use super::network::Network;
use super::program::Program;
use super::streams::peak;
use super::{Result, Run};

/// Tunnels that carry while all others wait.
const BUSY: usize = 100;

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    at_once(run, program, figures).await?;
    let idle = shares(run.options.many)?;
    // As many processes as hold all.
    let few = vec![BUSY.min(run.options.many).div_ceil(idle.len()); idle.len()];
    for (of_each, count) in [(&few, BUSY), (&idle, run.options.many)] {
        busy(run, program, of_each, few[0], count, figures).await?;
    }
    Ok(())
}

/// Four times the usual bytes, 1 GiB, by equal shares through many tunnels.
async fn at_once(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let count = run.options.crowd.min(most_tunnels()?);
    let network = Network::start(program, Role::Both, program, &Shape::default()).await?;
    network.load.connections(20).await?;
    let tunnels = network.load.idle_tunnels(count).await?;
    let ends = [
        (Role::Server, &network.server),
        (Role::Client, &network.client),
    ];
    let mut before = Vec::new();
    let over = Arc::<AtomicBool>::default();
    for (_, peer) in ends {
        let peak = tokio::spawn(peak(peer.pid(), over.clone()));
        before.push((peer.cpu()?, peer.rss()?, peak));
    }
    let len = run.options.bulk * 4;
    let begin = Instant::now();
    let done = Load::down_all(tunnels, len / count as u64).await;
    let time = begin.elapsed();
    over.store(true, Ordering::Relaxed);
    done?;
    let mut add = |role, what, value| {
        figures.add(Row(Setting::Plain, role, what), program.name(), value);
    };
    let mib = len as f64 / f64::from(1 << 20);
    add(Role::Both, What::CrowdRate(count), mib / time.as_secs_f64());
    for ((role, peer), (cpu, rss, peak)) in ends.into_iter().zip(before) {
        let cpu = (peer.cpu()? - cpu).as_secs_f64();
        add(role, What::BulkAtOnce(count), cpu / (mib / 1024.0));
        let grown = peak.await??.saturating_sub(rss) as f64;
        add(role, What::CrowdMemory(count), grown / f64::from(1 << 20));
    }
    Ok(())
}

/// What `each` tunnels of each group bring, while `count` are there.
async fn busy(
    run: &Run,
    program: &Program,
    shares: &[usize],
    each: usize,
    count: usize,
    figures: &mut Figures,
) -> Result<()> {
    let mut groups = Group::of(program, shares).await?;
    let time = run.options.flow * 2;
    let bytes = block_in_place(|| -> Result<u64> {
        for group in &mut groups {
            group.holder.carry(each, time)?;
        }
        let carried = groups.iter_mut().map(|group| group.holder.carried());
        carried.sum()
    })?;
    let mib = bytes as f64 / f64::from(1 << 20) / time.as_secs_f64();
    let row = Row(Setting::Plain, Role::Both, What::BusyAmong(count));
    figures.add(row, program.name(), mib);
    Ok(())
}
