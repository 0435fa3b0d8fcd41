//! What must hold, requirement by requirement, and by how much it does not.

use std::collections::BTreeMap;
use std::fmt::Write;

use mobula::io::scratch;

use super::figures::{Figures, Role, Row, Setting, What, number};
use super::gost;

/// One inequality about mobula's column.
struct Bound {
    requirement: u8,
    row: Row,
    over: Over,
    limit: Limit,
}

/// What the figure is divided by.
#[derive(Clone, Copy)]
enum Over {
    Nothing,
    /// The same measure of another program.
    Column(&'static str),
    /// Another measure of mobula.
    Row(Row),
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};
use Over::{Column, Nothing};
use Role::{Both, Client, Server};
use Setting::{
    ChaCha, Deployment, NoTickets, Nodes, Plain, Shadowsocks, Tickets, Tls, TrojanTls, V2ray,
    Vless, VlessGrpc, VlessHttpUpgrade, VlessTcp, VlessTls,
};

/// What each stands for is said in `docs/benchmarks.md`.
#[rustfmt::skip]
const BOUNDS: [(u8, Row, Over, Limit); 36 + 22 + 8 + 3] = [
    (1, Row(Plain, Server, What::Bulk), Column("sing-box"), AtMost(0.40)),
    (1, Row(Plain, Client, What::Bulk), Column("sing-box"), AtMost(0.45)),
    (1, Row(Plain, Server, What::Bulk), Column("floor"), AtMost(1.35)),
    (1, Row(Plain, Client, What::Bulk), Column("floor"), AtMost(1.35)),
    (1, Row(Tls, Server, What::Bulk), Column("sing-box"), AtMost(0.60)),
    (1, Row(Tls, Client, What::Bulk), Column("sing-box"), AtMost(0.60)),
    (1, Row(ChaCha, Server, What::Bulk), Column("sing-box"), AtMost(0.80)),
    (1, Row(ChaCha, Client, What::Bulk), Column("sing-box"), AtMost(0.80)),
    (1, Row(V2ray, Server, What::Bulk), Column("sing-box"), AtMost(0.20)),
    (1, Row(V2ray, Client, What::Bulk), Column("sing-box"), AtMost(0.20)),
    (1, Row(Shadowsocks, Server, What::Bulk), Column("sing-box"), AtMost(0.50)),
    (1, Row(Shadowsocks, Client, What::Bulk), Column("sing-box"), AtMost(0.50)),
    (2, Row(Shadowsocks, Server, What::Connection), Column("sing-box"), AtMost(0.45)),
    (2, Row(Shadowsocks, Client, What::Connection), Column("sing-box"), AtMost(0.45)),
    (2, Row(Plain, Server, What::Connection), Column("sing-box"), AtMost(0.40)),
    (2, Row(Plain, Client, What::Connection), Column("sing-box"), AtMost(0.40)),
    (2, Row(Plain, Server, What::Connection), Column("shoes"), AtMost(1.0)),
    (2, Row(Plain, Client, What::Connection), Column("shoes"), AtMost(1.0)),
    (3, Row(Plain, Server, What::Idle(5_000)), Column("sing-box"), AtMost(0.15)),
    (3, Row(Shadowsocks, Server, What::Idle(5_000)), Nothing, AtMost(6_000.0)),
    (3, Row(Plain, Both, What::UsableAmong(50_000)), Nothing, AtMost(USABLE_MS)),
    (4, Row(Plain, Both, What::PingPong), Column("sing-box"), AtMost(0.50)),
    (4, Row(Plain, Both, What::FirstByte), Column("sing-box"), AtMost(0.35)),
    (4, Row(Plain, Both, What::SavedRoundTrips), Nothing, AtLeast(1.0)),
    (4, Row(Tls, Both, What::EarlyRoundTrips), Nothing, AtMost(2.3)),
    (5, Row(Plain, Server, What::Streams), Column("sing-box"), AtLeast(1.3)),
    (5, Row(Plain, Both, What::Streams), Column("sing-box"), AtLeast(1.3)),
    (5, Row(Plain, Server, What::Fairness), Nothing, AtLeast(0.5)),
    (5, Row(Plain, Both, What::Fairness), Nothing, AtLeast(0.5)),
    (5, Row(Plain, Server, What::PeakMemory), Nothing, AtMost(STREAM_KIB)),
    (6, Row(Plain, Server, What::FindingUser), Nothing, AtMost(100.0)),
    (6, Row(Plain, Server, What::Flood), Nothing, AtMost(FLOOD_SHARE)),
    (7, Row(Plain, Server, What::Start), Column("floor"), AtMost(2.0)),
    (7, Row(Plain, Server, What::Size), Nothing, AtMost(10.0)),
    (8, Row(Plain, Server, What::Datagram), Column("sing-box"), AtMost(0.60)),
    (8, Row(Plain, Client, What::Datagram), Column("sing-box"), AtMost(0.60)),
    (9, Row(Vless, Server, What::Bulk), Column("sing-box"), AtMost(0.60)),
    (9, Row(Vless, Server, What::Bulk), Column("floor"), AtMost(1.10)),
    (9, Row(VlessTls, Server, What::Bulk), Column("sing-box"), AtMost(0.55)),
    (9, Row(TrojanTls, Server, What::Bulk), Column("sing-box"), AtMost(0.55)),
    (9, Row(VlessGrpc, Server, What::Bulk), Column("sing-box"), AtMost(0.70)),
    (9, Row(VlessGrpc, Client, What::Bulk), Column("sing-box"), AtMost(0.70)),
    (9, Row(VlessHttpUpgrade, Server, What::Bulk), Over::Row(Row(VlessTcp, Server, What::Bulk)), AtMost(1.05)),
    (9, Row(VlessHttpUpgrade, Client, What::Bulk), Over::Row(Row(VlessTcp, Client, What::Bulk)), AtMost(1.05)),
    (9, Row(Vless, Server, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(Vless, Client, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(VlessTls, Server, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(VlessTls, Client, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(TrojanTls, Server, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(TrojanTls, Client, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(VlessHttpUpgrade, Server, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(VlessHttpUpgrade, Client, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(VlessGrpc, Server, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(VlessGrpc, Client, What::Connection), Column("sing-box"), AtMost(0.45)),
    (9, Row(Vless, Server, What::Idle(5_000)), Nothing, AtMost(6_000.0)),
    (9, Row(TrojanTls, Server, What::Idle(5_000)), Nothing, AtMost(12_000.0)),
    (9, Row(VlessHttpUpgrade, Server, What::Idle(1_250)), Nothing, AtMost(6_000.0)),
    (9, Row(VlessGrpc, Server, What::Idle(5_000)), Nothing, AtMost(6_000.0)),
    (10, Row(Deployment, Server, What::Bulk), Column("nginx + v2ray"), AtMost(0.25)),
    (10, Row(Deployment, Server, What::Bulk), Column("sing-box"), AtMost(0.69)),
    (10, Row(Deployment, Server, What::Bulk), Column("bare"), AtMost(1.03)),
    (10, Row(Deployment, Server, What::Connection), Column("nginx + v2ray"), AtMost(0.26)),
    (10, Row(Deployment, Server, What::Connection), Column("sing-box"), AtMost(0.38)),
    (10, Row(Deployment, Server, What::Connection), Column("bare"), AtMost(1.03)),
    (10, Row(Deployment, Server, What::Idle(5_000)), Nothing, AtMost(12_000.0)),
    (10, Row(Tickets, Client, What::Connection), Over::Row(Row(NoTickets, Client, What::Connection)), AtMost(1.0)),
    (12, Row(Nodes, Client, What::NodesMemory(1000)), Nothing, AtMost(40.0)),
    (12, Row(Nodes, Client, What::DeadNodes(1500)), Nothing, AtMost(25.0 / 3.0)),
    (12, Row(Nodes, Client, What::BackEndMemory(500)), Nothing, AtMost(60.0)),
];

/// A new tunnel and a ping through it while 50,000 others are idle, in milliseconds.
const USABLE_MS: f64 = 20.0;

/// RSS of one stream among 100 at full speed: what one read of a worker's buffer may leave behind in each
/// direction.
const STREAM_KIB: f64 = (2 * scratch::LEN / 1024) as f64;

/// Of one core, for 1,000 unknown ids a second among 10,000 users.
const FLOOD_SHARE: f64 = 0.5;

/// How much dearer anything may get from 10 tunnels to 10,000.
const FLAT: f64 = 1.15;

/// How the bounds of one requirement came out.
#[derive(Default)]
struct Outcome {
    /// Of the bound that is passed by most, or else is nearest.
    worst: Option<(f64, String)>,
    not_measured: usize,
}

/// One line for each bound, and one for each requirement, about its worst bound.
pub(crate) fn verdicts(figures: &Figures) -> String {
    let mut out = String::new();
    let mut outcomes: BTreeMap<u8, Outcome> = BTreeMap::new();
    for bound in bounds(figures) {
        let outcome = outcomes.entry(bound.requirement).or_default();
        let Some((excess, text)) = bound.judge(figures) else {
            outcome.not_measured += 1;
            continue;
        };
        let _ = writeln!(out, "  {}: {text}", verdict(excess));
        if outcome
            .worst
            .as_ref()
            .is_none_or(|(most, _)| excess > *most)
        {
            outcome.worst = Some((excess, text));
        }
    }
    out.push('\n');
    for (number, outcome) in outcomes {
        let _ = match outcome.worst {
            Some((excess, text)) => write!(out, "{number}. {}: {text}", verdict(excess)),
            None => write!(out, "{number}. not measured"),
        };
        let _ = match outcome.not_measured {
            0 => writeln!(out),
            n => writeln!(out, " ({n} of its bounds not measured)"),
        };
    }
    out
}

fn bounds(figures: &Figures) -> Vec<Bound> {
    let fixed = BOUNDS.map(|(requirement, row, over, limit)| Bound {
        requirement,
        row,
        over,
        limit,
    });
    let growth = figures.rows().filter_map(|row| {
        let Row(setting, role, what) = row;
        let few = match what {
            What::ConnectionAmong(11..) => What::ConnectionAmong(10),
            What::BulkAmong(11..) => What::BulkAmong(10),
            _ => return None,
        };
        Some(Bound {
            requirement: 6,
            row,
            over: Over::Row(Row(setting, role, few)),
            limit: AtMost(FLAT),
        })
    });
    let beside_gost = figures.rows().filter_map(|row| beside_gost(row, figures));
    let mut bounds: Vec<Bound> = fixed.into_iter().chain(growth).chain(beside_gost).collect();
    bounds.sort_by_key(|bound| bound.requirement);
    bounds
}

/// At most so much of what GOST takes: to receive a GiB, to send one, for a connection, for an idle tunnel.
const BESIDE_GOST: [(Setting, [f64; 4]); 4] = [
    (Setting::RelayWs, [0.20, 0.80, 0.40, 0.15]),
    (Setting::RelayMws, [0.25, 0.40, 0.40, 0.15]),
    (Setting::RelayWss, [0.35, 0.80, 0.40, 0.30]),
    (Setting::RelayMwss, [0.35, 0.80, 0.50, 0.30]),
];

fn beside_gost(row: Row, figures: &Figures) -> Option<Bound> {
    let Row(setting, role, what) = row;
    let mut all = BESIDE_GOST.into_iter();
    let (_, [receiving, sending, connection, idle]) = all.find(|(one, _)| *one == setting)?;
    let limit = match (what, role) {
        (What::Up, Server) | (What::Down, Client) => receiving,
        (What::Down, Server) | (What::Up, Client) => sending,
        (What::Connection, _) => connection,
        (What::Idle(_), _) => idle,
        _ => return None,
    };
    let is_there = figures.spread(row, gost::COLUMN).is_some();
    let column = if is_there {
        gost::COLUMN
    } else {
        gost::PUBLISHED
    };
    Some(Bound {
        requirement: 11,
        row,
        over: Column(column),
        limit: AtMost(limit),
    })
}

impl Bound {
    /// By what part the limit is passed (below zero when it holds), and the figures in words; nothing when
    /// it was not measured.
    fn judge(&self, figures: &Figures) -> Option<(f64, String)> {
        let own = figures.spread(self.row, "mobula")?.median;
        let (value, of) = match self.over {
            Nothing => (own, String::new()),
            Column(name) => {
                let other = figures.spread(self.row, name)?.median;
                (own / other, format!(" of {name}"))
            }
            Over::Row(row) => {
                let other = figures.spread(row, "mobula")?.median;
                let Row(_, _, what) = row;
                let of = match what {
                    What::ConnectionAmong(n) | What::BulkAmong(n) => format!(" of that at {n}"),
                    _ => format!(" of that of {}", row.0),
                };
                (own / other, of)
            }
        };
        let (excess, sign, limit) = match self.limit {
            AtMost(limit) => (value / limit - 1.0, "at most", limit),
            AtLeast(limit) => (1.0 - value / limit, "at least", limit),
        };
        let Row(setting, role, what) = self.row;
        let (value, limit) = (number(value), number(limit));
        let text = format!("{setting}, {role}, {what}: {value}{of}, {sign} {limit}");
        Some((excess, text))
    }
}

fn verdict(excess: f64) -> String {
    if excess <= 0.0 {
        "holds".to_owned()
    } else {
        format!("falls short by {:.0} %", (excess * 100.0).max(1.0))
    }
}
