//! The figures of a run, as a table.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::gost;

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row(pub(crate) Setting, pub(crate) Role, pub(crate) What);

/// What the tunnel is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    Plain,
    Tls,
    ChaCha,
    V2ray,
    Shadowsocks,
    VlessTcp,
    Vless,
    VlessTls,
    VlessHttpUpgrade,
    VlessGrpc,
    TrojanTls,
    Deployment,
    Tickets,
    NoTickets,
    RelayWs,
    RelayMws,
    RelayWss,
    RelayMwss,
    Nodes,
}

/// Which end of the tunnel is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Server,
    Client,
    /// The same program at both ends.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Up,
    Down,
    Bulk,
    Connection,
    PingPong,
    FirstByte,
    RoundTrips,
    EarlyRoundTrips,
    SavedRoundTrips,
    Streams,
    Fairness,
    PeakMemory,
    Idle(usize),
    UsableAmong(usize),
    /// Through so many tunnels at once.
    CrowdRate(usize),
    BulkAtOnce(usize),
    CrowdMemory(usize),
    /// In 100 tunnels while so many are there.
    BusyAmong(usize),
    /// Of a server on so many cores.
    ConnectionsOn(usize),
    StreamsOn(usize),
    CoresTaken(usize),
    ConnectionAmong(usize),
    BulkAmong(usize),
    BulkAcross(usize),
    FindingUser,
    Refusal,
    Flood,
    FloodAtFullSpeed,
    Start,
    Size,
    Datagrams,
    Datagram,
    Nodes,
    NodesMemory(usize),
    DeadNodes(usize),
    /// Under a task of so many nodes, or none.
    BackEndMemory(usize),
    Scripts,
    ScriptsMemory,
    ScriptMemory,
}

/// The lowest, the middle and the highest of what was measured.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    low: f64,
    pub(crate) median: f64,
    high: f64,
}

#[derive(Default)]
pub(crate) struct Figures {
    values: BTreeMap<Row, BTreeMap<&'static str, Vec<f64>>>,
    /// What others took of the machine, by measure.
    foreign: BTreeMap<&'static str, Vec<f64>>,
    pub(crate) failures: Vec<String>,
}

impl Figures {
    pub(crate) fn add(&mut self, row: Row, column: &'static str, value: f64) {
        let columns = self.values.entry(row).or_default();
        columns.entry(column).or_default().push(value);
    }

    pub(crate) fn foreign(&mut self, measure: &'static str, share: f64) {
        self.foreign.entry(measure).or_default().push(share);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.values.keys().copied()
    }

    pub(crate) fn spread(&self, row: Row, column: &str) -> Option<Spread> {
        Spread::of(self.values.get(&row)?.get(column)?)
    }

    pub(crate) fn table(&self) -> String {
        let has = |name: &&str| self.values.values().any(|row| row.contains_key(name));
        let columns: Vec<&str> = COLUMNS.into_iter().filter(has).collect();
        let mut out = format!("| tunnel | role | measure | {} |\n", columns.join(" | "));
        let _ = writeln!(out, "|---|---|---|{}", "---|".repeat(columns.len()));
        for row in self.rows() {
            let Row(setting, role, what) = row;
            let cells = columns.iter().map(|column| self.cell(row, column));
            let cells = cells.collect::<Vec<_>>().join(" | ");
            let _ = writeln!(out, "| {setting} | {role} | {what} | {cells} |");
        }
        out.push_str("\nMedian (lowest to highest; ratio to sing-box, or to gost).\n");
        out
    }

    /// What else the machine did: a run beside other work shows itself.
    pub(crate) fn disturbance(&self) -> String {
        let mut out =
            String::from("CPU that others took meanwhile, of all cores (median, highest):");
        for (measure, shares) in &self.foreign {
            let Some(Spread { median, high, .. }) = Spread::of(shares) else {
                continue;
            };
            let (median, high) = (median * 100.0, high * 100.0);
            let _ = write!(out, " {measure} {median:.0} %, {high:.0} %;");
        }
        out.pop();
        out.push('\n');
        out
    }

    fn cell(&self, row: Row, column: &str) -> String {
        let Some(spread) = self.spread(row, column) else {
            return "–".to_owned();
        };
        let Spread { low, median, high } = spread;
        let mut cell = number(median);
        if low != high {
            let _ = write!(cell, " ({} to {}", number(low), number(high));
        }
        let others = ["sing-box", gost::COLUMN, gost::PUBLISHED];
        let other = others.into_iter().find_map(|other| self.spread(row, other));
        if let Some(other) = other.filter(|s| s.median > 0.0) {
            let open = if low == high { " (" } else { "; " };
            let _ = write!(cell, "{open}{:.2})", median / other.median);
        } else if low != high {
            cell.push(')');
        }
        cell
    }
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0
        };
        Some(Self {
            low: *values.first()?,
            median,
            high: *values.last()?,
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "ws",
            Self::Tls => "ws+tls",
            Self::ChaCha => "ws, ChaCha20",
            Self::V2ray => "ws, V2Ray 4.45 at the other end",
            Self::Shadowsocks => "Shadowsocks 2022 over tcp",
            Self::VlessTcp => "VLESS over tcp",
            Self::Vless => "VLESS over ws",
            Self::VlessTls => "VLESS over ws+tls",
            Self::VlessHttpUpgrade => "VLESS over httpupgrade",
            Self::VlessGrpc => "VLESS over grpc",
            Self::TrojanTls => "Trojan over ws+tls",
            Self::Deployment => "all of a server with ws+tls",
            Self::Tickets => "ws+tls, nginx with tickets",
            Self::NoTickets => "ws+tls, nginx without tickets",
            Self::RelayWs => "relay+ws",
            Self::RelayMws => "relay+mws",
            Self::RelayWss => "relay+wss",
            Self::RelayMwss => "relay+mwss",
            Self::Nodes => "nodes of Clash's form",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both ends",
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Up => "up, CPU-s/GiB",
            Self::Down => "down, CPU-s/GiB",
            Self::Bulk => "mean of up and down, CPU-s/GiB",
            Self::Connection => "CPU-ms per new connection",
            Self::PingPong => "1 KiB ping-pong p50, µs",
            Self::FirstByte => "connection to first byte p50, µs",
            Self::RoundTrips => "round trips to the first byte",
            Self::EarlyRoundTrips => "round trips to the first byte, early data",
            Self::SavedRoundTrips => "round trips that early data saves",
            Self::Streams => "100 streams down, MiB/s",
            Self::Fairness => "100 streams down, slowest ÷ fastest",
            Self::PeakMemory => "100 streams down, KiB of RSS per stream at the peak",
            Self::Idle(n) => return write!(f, "bytes per idle tunnel, {}", thousands(*n)),
            Self::UsableAmong(n) => {
                return write!(f, "new tunnel and ping among {} idle, ms", thousands(*n));
            }
            Self::CrowdRate(n) => {
                return write!(f, "1 GiB down {} tunnels at once, MiB/s", thousands(*n));
            }
            Self::BulkAtOnce(n) => {
                return write!(f, "1 GiB down {} tunnels at once, CPU-s", thousands(*n));
            }
            Self::CrowdMemory(n) => {
                return write!(
                    f,
                    "1 GiB down {} tunnels at once, MiB of RSS at the peak",
                    thousands(*n)
                );
            }
            Self::BusyAmong(n) => {
                return write!(f, "100 busy tunnels of {}, MiB/s", thousands(*n));
            }
            Self::ConnectionsOn(n) => return write!(f, "new connections a second, {n} cores"),
            Self::StreamsOn(n) => return write!(f, "100 streams down, MiB/s, {n} cores"),
            Self::CoresTaken(n) => return write!(f, "cores that these streams take of {n}"),
            Self::ConnectionAmong(n) => {
                return write!(f, "CPU-ms per connection among {}", thousands(*n));
            }
            Self::BulkAmong(n) => {
                return write!(f, "CPU-s/GiB in 10 tunnels among {}", thousands(*n));
            }
            Self::BulkAcross(n) => {
                return write!(f, "CPU-s/GiB across {} tunnels", thousands(*n));
            }
            Self::FindingUser => "finding a known user among 10,000, CPU-µs",
            Self::Refusal => "refusing an unknown id among 10,000 users, CPU-µs",
            Self::Flood => "share of a core at 1,000 unknown ids a second",
            Self::FloodAtFullSpeed => "share of a core, unknown ids as fast as they come",
            Self::Start => "start to accepting, ms",
            Self::Size => "stripped binary, MiB",
            Self::Datagrams => "UDP, datagrams a second",
            Self::Datagram => "UDP, CPU-µs per datagram",
            Self::Nodes => "nodes a second, half of them dead",
            Self::NodesMemory(n) => {
                return write!(f, "probe, MiB of RSS at the peak, {} nodes", thousands(*n));
            }
            Self::DeadNodes(n) => return write!(f, "{} dead nodes, s", thousands(*n)),
            Self::BackEndMemory(0) => "back end at rest, MiB of RSS",
            Self::BackEndMemory(n) => {
                return write!(
                    f,
                    "back end, MiB of RSS at the peak, {} nodes",
                    thousands(*n)
                );
            }
            Self::Scripts => "scripts a second, each asks for a page",
            Self::ScriptsMemory => "back end and its scripts' processes, MiB of RSS at the peak",
            Self::ScriptMemory => "a script's process, MiB of RSS at the peak",
        };
        f.write_str(text)
    }
}

/// With as many digits as mean something.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v < 1.0 => 3,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

fn thousands(n: usize) -> String {
    match (n / 1000, n % 1000) {
        (0, n) => n.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

/// `bare` is mobula without its site and without limits; `floor` is what takes the program's place and does the least that could be done: the relay or the trivial
/// program; `direct` is nothing in its place; `before` is another mobula.
const COLUMNS: [&str; 13] = [
    "mobula",
    "bare",
    "before",
    "nginx + mobula",
    "nginx + v2ray",
    "sing-box",
    "v2ray",
    "shoes",
    gost::TWICE,
    gost::COLUMN,
    gost::PUBLISHED,
    "floor",
    "direct",
];
