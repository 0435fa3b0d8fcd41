//! What a run measures, and how much of it.

use std::time::Duration;

use super::Result;

/// One part of a run, by the name that `--only` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Bulk,
    Tls,
    ChaCha,
    V2ray,
    Shadowsocks,
    Vless,
    Trojan,
    HttpUpgrade,
    Grpc,
    Deployment,
    Tickets,
    Latency,
    Early,
    Streams,
    Idle,
    Many,
    Crowd,
    Cores,
    Growth,
    Users,
    Start,
    Udp,
    Gost,
    Nodes,
}

impl Measure {
    const ALL: [Self; 24] = [
        Self::Bulk,
        Self::Tls,
        Self::ChaCha,
        Self::V2ray,
        Self::Shadowsocks,
        Self::Vless,
        Self::Trojan,
        Self::HttpUpgrade,
        Self::Grpc,
        Self::Deployment,
        Self::Tickets,
        Self::Latency,
        Self::Early,
        Self::Streams,
        Self::Idle,
        Self::Many,
        Self::Crowd,
        Self::Cores,
        Self::Growth,
        Self::Users,
        Self::Start,
        Self::Udp,
        Self::Gost,
        Self::Nodes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Tls => "tls",
            Self::ChaCha => "chacha",
            Self::V2ray => "v2ray",
            Self::Shadowsocks => "shadowsocks",
            Self::Vless => "vless",
            Self::Trojan => "trojan",
            Self::HttpUpgrade => "httpupgrade",
            Self::Grpc => "grpc",
            Self::Deployment => "deployment",
            Self::Tickets => "tickets",
            Self::Latency => "latency",
            Self::Early => "early",
            Self::Streams => "streams",
            Self::Idle => "idle",
            Self::Many => "many",
            Self::Crowd => "crowd",
            Self::Cores => "cores",
            Self::Growth => "growth",
            Self::Users => "users",
            Self::Start => "start",
            Self::Udp => "udp",
            Self::Gost => "gost",
            Self::Nodes => "nodes",
        }
    }

    /// Whether a run that names no measure has it. One beside GOST takes as long as all the others.
    fn is_usual(self) -> bool {
        self != Self::Gost
    }

    /// What one measure of one program may take.
    pub(crate) fn limit(self) -> Duration {
        match self {
            // Four carriers, each at both ends.
            Self::Gost => Duration::from_secs(900),
            // Twice as many tunnels are opened as in `many`.
            Self::Crowd => Duration::from_secs(300),
            _ => Duration::from_secs(120),
        }
    }

    /// Whether it is done again in every round, or once: what is long and no ratio of small figures.
    pub(crate) fn every_round(self, mode: Mode) -> bool {
        match self {
            Self::Many | Self::Crowd => false,
            Self::Early | Self::Idle | Self::Cores | Self::Growth | Self::Users => {
                mode == Mode::Full
            }
            _ => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Full,
    /// Fewer rounds, shorter measures, and only the programs that a requirement names.
    Quick,
    /// Too little of everything to print a figure: only finds out whether everything runs.
    Smoke,
}

pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) rounds: usize,
    pub(crate) measures: Vec<Measure>,
    /// Bytes of one bulk measure.
    pub(crate) bulk: u64,
    pub(crate) connections: usize,
    pub(crate) pings: usize,
    /// How long streams and datagrams flow.
    pub(crate) flow: Duration,
    /// Idle tunnels, beside other programs and of mobula alone.
    pub(crate) tunnels: usize,
    pub(crate) many: usize,
    /// Tunnels that carry a GiB together.
    pub(crate) crowd: usize,
    /// Concurrent tunnels of the growth measure, the fewest first.
    pub(crate) growth: Vec<usize>,
    pub(crate) users: usize,
    /// That `mobula probe` tests.
    pub(crate) nodes: usize,
    pub(crate) starts: usize,
    /// Puts a second sing-box in mobula's place: its ratios show what the harness cannot tell apart.
    pub(crate) a_a: bool,
}

impl Options {
    fn of(mode: Mode) -> Self {
        let full = Self {
            mode,
            rounds: 4,
            measures: Measure::ALL.into_iter().filter(|m| m.is_usual()).collect(),
            bulk: 256 << 20,
            connections: 1500,
            pings: 1000,
            flow: Duration::from_millis(1500),
            tunnels: 5000,
            many: 50_000,
            crowd: 2000,
            growth: vec![10, 100, 1000, 10_000],
            users: 10_000,
            nodes: 1000,
            starts: 5,
            a_a: false,
        };
        match mode {
            Mode::Full => full,
            Mode::Quick => Self {
                rounds: 2,
                bulk: 128 << 20,
                connections: 600,
                pings: 400,
                flow: Duration::from_millis(1000),
                ..full
            },
            Mode::Smoke => Self {
                rounds: 1,
                measures: Measure::ALL
                    .into_iter()
                    .filter(|measure| *measure != Measure::Early)
                    .collect(),
                bulk: 4 << 20,
                connections: 20,
                pings: 5,
                flow: Duration::from_millis(50),
                tunnels: 50,
                many: 60,
                crowd: 40,
                growth: vec![5, 20],
                users: 100,
                nodes: 20,
                starts: 1,
                ..full
            },
        }
    }

    pub(crate) fn parse() -> Result<Self> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let mode = |flag: &str| args.iter().any(|arg| arg == flag);
        let mut options = Self::of(if mode("--smoke") {
            Mode::Smoke
        } else if mode("--quick") {
            Mode::Quick
        } else {
            Mode::Full
        });
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--tunnels" => options.tunnels = value()?.parse()?,
                "--many" => options.many = value()?.parse()?,
                "--only" => options.measures = named(value()?)?,
                "--a-a" => options.a_a = true,
                // `--bench` is what cargo adds when it runs a benchmark.
                "--quick" | "--smoke" | "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}

fn named(names: &str) -> Result<Vec<Measure>> {
    let find = |name: &str| {
        let measure = Measure::ALL.into_iter().find(|m| m.name() == name);
        measure.ok_or_else(|| {
            let all = Measure::ALL.map(Measure::name).join(", ");
            format!("no measure is called {name}, there are {all}").into()
        })
    };
    names.split(',').map(find).collect()
}
