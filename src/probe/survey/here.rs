//! The vantage point that is here.
//!
//! Nodes are pinged so many at a time, and those that failed once more, each alone: many handshakes at once make a slow line slower.
//! That takes no longer than a part of the first round, so that a list of the dead is not waited for twice. What answers is downloaded
//! through afterwards, one node at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{Row, Survey, Vantage};
use crate::probe::codec::Measured;
use crate::probe::lab::{Lab, Mounted};
use crate::probe::measure::{Pings, download, pings};
use crate::probe::node::Node;

/// What part of the first round the second one may take, and how many nodes have their second try in any case.
const SECOND_ROUND: f64 = 0.15;
const SURE: usize = 4;

/// How nodes are measured here.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// So many are pinged at a time.
    pub at_once: usize,
}

/// Measures all nodes; `tell` hears how many are done.
pub async fn here(
    lab: &Arc<Lab>,
    nodes: &Arc<Vec<Node>>,
    survey: &Survey,
    way: Way,
    tell: impl Fn(usize),
) -> Vantage {
    let began = Instant::now();
    let firsts = firsts(nodes);
    let mut found: Vec<Measured> = vec![Measured::default(); nodes.len()];
    let mut waiting = (0..nodes.len()).filter(|i| firsts[*i] == *i);
    let mut running = JoinSet::new();
    let mut done = 0;
    loop {
        while running.len() < way.at_once {
            let Some(i) = waiting.next() else { break };
            let (lab, nodes, plan) = (lab.clone(), nodes.clone(), survey.pings.clone());
            running.spawn(async move { (i, pinged(&lab, &nodes[i], &plan).await) });
        }
        match running.join_next().await {
            Some(Ok((i, measured))) => found[i] = measured,
            Some(Err(_)) => {}
            None => break,
        }
        done += 1;
        tell(done);
    }
    let first_round = began.elapsed();
    let failed = |i: &usize| firsts[*i] == *i && nodes[*i].outbound.is_ok() && found[*i].rtt() == 0;
    let failed: Vec<usize> = (0..nodes.len()).filter(failed).collect();
    let second_round = Instant::now();
    for (n, i) in failed.into_iter().enumerate() {
        if n >= SURE && second_round.elapsed() > first_round.mul_f64(SECOND_ROUND) {
            break;
        }
        let again = pinged(lab, &nodes[i], &survey.pings).await;
        if again.rtt() > 0 {
            found[i] = again;
        }
    }
    if let Some(plan) = &survey.download {
        for (i, node) in nodes.iter().enumerate() {
            if firsts[i] != i || found[i].rtt() == 0 {
                continue;
            }
            let downloaded = match lab.mount(node) {
                Ok(mounted) => download(&Arc::<Mounted>::new(mounted), plan).await,
                Err(why) => Err(why),
            };
            match downloaded {
                Ok(speed) => found[i].speed = speed,
                Err(why) => found[i].cause = Some(why),
            }
        }
    }
    let rows = nodes.iter().enumerate().map(|(i, node)| {
        let mut row = Row::of(
            node.info.clone(),
            &found[firsts[i]],
            survey.download.is_some(),
        );
        if firsts[i] != i {
            // It was not downloaded again.
            row.bytes = 0;
        }
        row
    });
    Vantage {
        name: "here".to_owned(),
        backend: None,
        version: format!("mobula {}", env!("CARGO_PKG_VERSION")),
        error: None,
        rows: rows.collect(),
        took: began.elapsed(),
    }
}

async fn pinged(lab: &Lab, node: &Node, plan: &Pings) -> Measured {
    let mut measured = Measured::default();
    match lab.mount(node) {
        Ok(mounted) => pings(&mounted, plan, &mut measured).await,
        Err(why) => measured.cause = Some(why),
    }
    measured
}

/// Of each node the first one that is the same but for its name.
pub(super) fn firsts(nodes: &[Node]) -> Vec<usize> {
    let mut by_address: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut firsts = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.iter().enumerate() {
        let same = by_address.entry(&node.info.address).or_default();
        let first = same
            .iter()
            .copied()
            .find(|first| is_same(&nodes[*first], node));
        if first.is_none() {
            same.push(i);
        }
        firsts.push(first.unwrap_or(i));
    }
    firsts
}

fn is_same(one: &Node, other: &Node) -> bool {
    match (&one.outbound, &other.outbound) {
        (Ok(one), Ok(other)) => {
            one.protocol == other.protocol
                && one.transport == other.transport
                && one.through == other.through
                && one.strategy == other.strategy
        }
        _ => false,
    }
}
