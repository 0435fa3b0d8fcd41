//! CPU time and memory, from `/proc`.

use std::fs;
use std::time::Duration;

use super::Result;

/// CPU time of all threads of `pid`, in nanoseconds' resolution: `/proc/PID/stat` counts in steps of
/// 10 ms, `schedstat` of each thread does not.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended since the folder was listed.
        let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = stat.split_whitespace().next().ok_or("an empty schedstat")?;
        nanos += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// A process and all that it has started.
pub(super) struct Family(Vec<u32>);

impl Family {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut all = vec![pid];
        let mut at = 0;
        while let Some(pid) = all.get(at).copied() {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let children = fs::read_to_string(task?.path().join("children"))?;
                for child in children.split_whitespace() {
                    all.push(child.parse()?);
                }
            }
            at += 1;
        }
        Ok(Self(all))
    }

    pub(super) fn cpu(&self) -> Result<Duration> {
        self.0.iter().map(|pid| cpu(*pid)).sum()
    }

    pub(super) fn rss(&self) -> Result<u64> {
        self.0.iter().map(|pid| rss(*pid)).sum()
    }

    /// Of each, that of the first one in front.
    pub(super) fn each_rss(&self) -> Result<Vec<u64>> {
        self.0.iter().map(|pid| rss(*pid)).collect()
    }
}

/// Resident memory of `pid` in bytes.
pub(super) fn rss(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

/// The most that it has been.
pub(super) fn peak(pid: u32) -> Result<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(name))
        .ok_or_else(|| format!("no {name} line"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// What the rest of the machine does while something is measured, in ticks of the clock.
pub(super) struct Watch {
    all: u64,
    busy: u64,
    own: u64,
}

impl Watch {
    pub(super) fn start() -> Result<Self> {
        let (all, busy) = machine()?;
        let own = own()?;
        Ok(Self { all, busy, own })
    }

    /// The share of all cores that others took since the start. The children that were started since
    /// must have ended: they count as ours from then on.
    pub(super) fn foreign(&self) -> Result<f64> {
        let now = Self::start()?;
        let foreign = (now.busy - self.busy).saturating_sub(now.own - self.own);
        Ok(foreign as f64 / (now.all - self.all).max(1) as f64)
    }
}

/// All time of all cores, and what of it was not idle.
fn machine() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("an empty /proc/stat")?;
    let columns = line.split_whitespace().skip(1).map(str::parse);
    let columns = columns.collect::<std::result::Result<Vec<u64>, _>>()?;
    let [user, nice, system, idle, wait, irq, softirq, steal, ..] = columns[..] else {
        return Err("a short line in /proc/stat".into());
    };
    let busy = user + nice + system + irq + softirq + steal;
    Ok((busy + idle + wait, busy))
}

/// This process and the children it has waited for.
fn own() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, behind_name) = stat.rsplit_once(')').ok_or("no name in the stat")?;
    let columns = behind_name.split_whitespace().skip(11).take(4);
    let mut sum = 0;
    for column in columns {
        sum += column.parse::<u64>()?;
    }
    Ok(sum)
}
