//! What the process takes, under the names that Prometheus' clients have for it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// What the system does not tell is left out.
pub(super) fn register(registry: &mut Registry) {
    let registry = registry.sub_registry_with_prefix("process");
    let gauge = |value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge
    };
    if let Some(taken) = Taken::read() {
        let cpu = Counter::<f64, AtomicU64>::default();
        cpu.inc_by(taken.cpu.as_secs_f64());
        registry.register_with_unit("cpu", "Time of all its threads", Unit::Seconds, cpu);
        registry.register_with_unit(
            "start_time",
            "When it began, since 1970",
            Unit::Seconds,
            gauge(taken.began),
        );
        registry.register_with_unit(
            "resident_memory",
            "Memory that it has",
            Unit::Bytes,
            gauge(taken.resident),
        );
    }
    if let Some(files) = open_files() {
        registry.register("open_fds", "Files that are open", gauge(files));
    }
    let most = u64::try_from(crate::io::open_files::limit()).unwrap_or(u64::MAX);
    registry.register("max_fds", "Files that may be open", gauge(most));
}

/// How many files are open.
pub(super) fn open_files() -> Option<u64> {
    let files = fs::read_dir("/proc/self/fd").ok()?;
    Some(files.count() as u64)
}

/// What `/proc` says, proc(5).
pub(super) struct Taken {
    cpu: Duration,
    /// In seconds since 1970.
    pub(super) began: u64,
    /// In bytes.
    pub(super) resident: u64,
}

impl Taken {
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in brackets and may hold anything.
        let fields: Vec<u64> = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let ticks = |index: usize| Some(Duration::from_millis(fields.get(index)? * 1000 / TICKS));
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let booted = now.saturating_sub(Duration::from_secs_f64(uptime));
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
        Some(Self {
            // utime, stime and starttime are fields 14, 15 and 22; the first behind the name is 3.
            cpu: ticks(11)? + ticks(12)?,
            began: (booted + ticks(19)?).as_secs(),
            resident: resident * 1024,
        })
    }
}

/// Linux counts these in hundredths of a second for everybody (`USER_HZ`).
const TICKS: u64 = 100;
