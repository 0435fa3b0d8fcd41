//! What fronts ask about a node, and how each answer is written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::place::{Ends, Stacks};
use super::scripted::Scripted;
use super::stun::NatType;

/// One thing that may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// The mean time from a request to the first byte of its answer.
    Rtt,
    /// The mean time from dialling to the first byte of an answer.
    Conn,
    /// The longest of the first kind.
    MaxRtt,
    /// All of the first kind.
    TotalRtt,
    /// All of the second kind.
    TotalConn,
    /// How much the first kind varies.
    SdRtt,
    /// How much the second kind varies.
    SdConn,
    /// The statuses.
    HttpCode,
    /// How many pings in a hundred failed.
    PacketLoss,
    /// Bytes a second.
    SpeedAverage,
    /// The best second.
    SpeedMax,
    /// Every second.
    SpeedPerSecond,
    /// What kind of NAT datagrams go through.
    UdpType,
    /// Where the server is.
    GeoInbound,
    /// Where its sessions leave.
    GeoOutbound,
    /// A script of the front.
    Script,
    /// Ours: why a node is dead, in words.
    Cause,
    /// Whatever else fronts ask.
    Invalid,
}

/// What has to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Macro {
    /// Pings.
    Ping,
    /// A download.
    Speed,
    /// Questions to a STUN server.
    Udp,
    /// Scripts.
    Script,
    /// Questions about addresses.
    Geo,
    /// Nothing.
    Nothing,
}

/// How one ping went that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinged {
    /// Milliseconds from the request to the first byte.
    pub rtt: u16,
    /// Milliseconds from dialling to the first byte.
    pub conn: u16,
    /// Of the answer.
    pub status: u16,
}

/// How a download went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    /// Bytes a second.
    pub average: u64,
    /// Bytes in each second.
    pub seconds: Vec<u64>,
    /// Bytes in all.
    pub bytes: u64,
}

/// All that was found out of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// `None` of a ping that failed.
    pub pings: Vec<Option<Pinged>>,
    /// There when it was asked for and could be had.
    pub speed: Speed,
    /// There when it was asked for.
    pub nat: Option<NatType>,
    /// What scripts say, by their ids.
    pub scripts: BTreeMap<String, Scripted>,
    /// Where it is.
    pub ends: Ends,
    /// Why it is dead, if it is.
    pub cause: Option<String>,
}

/// An answer: its type, and a JSON text in a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cell {
    /// As it was asked for, or `INVALID`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The answer.
    pub payload: String,
}

const NAMES: [(Matrix, &str); 17] = [
    (Matrix::Rtt, "TEST_PING_RTT"),
    (Matrix::Conn, "TEST_PING_CONN"),
    (Matrix::MaxRtt, "TEST_PING_MAX_RTT"),
    (Matrix::TotalRtt, "TEST_PING_TOTAL_RTT"),
    (Matrix::TotalConn, "TEST_PING_TOTAL_CONN"),
    (Matrix::SdRtt, "TEST_PING_SD_RTT"),
    (Matrix::SdConn, "TEST_PING_SD_CONN"),
    (Matrix::HttpCode, "TEST_HTTP_CODE"),
    (Matrix::PacketLoss, "TEST_PING_PACKET_LOSS"),
    (Matrix::SpeedAverage, "SPEED_AVERAGE"),
    (Matrix::SpeedMax, "SPEED_MAX"),
    (Matrix::SpeedPerSecond, "SPEED_PER_SECOND"),
    (Matrix::UdpType, "UDP_TYPE"),
    (Matrix::GeoInbound, "GEOIP_INBOUND"),
    (Matrix::GeoOutbound, "GEOIP_OUTBOUND"),
    (Matrix::Script, "TEST_SCRIPT"),
    (Matrix::Cause, "MOBULA_CAUSE"),
];

impl Matrix {
    /// What is meant by a word.
    pub fn named(word: &str) -> Self {
        let found = NAMES.into_iter().find(|(_, name)| *name == word);
        found.map_or(Self::Invalid, |(matrix, _)| matrix)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        let found = NAMES.into_iter().find(|(matrix, _)| *matrix == self);
        found.map_or("INVALID", |(_, name)| name)
    }

    /// What has to be done.
    pub fn needs(self) -> Macro {
        match self {
            Self::Rtt
            | Self::Conn
            | Self::MaxRtt
            | Self::TotalRtt
            | Self::TotalConn
            | Self::SdRtt
            | Self::SdConn
            | Self::HttpCode
            | Self::PacketLoss
            | Self::Cause => Macro::Ping,
            Self::SpeedAverage | Self::SpeedMax | Self::SpeedPerSecond => Macro::Speed,
            Self::UdpType => Macro::Udp,
            Self::Script => Macro::Script,
            Self::GeoInbound | Self::GeoOutbound => Macro::Geo,
            Self::Invalid => Macro::Nothing,
        }
    }

    /// The answer; `params` are those that came with the question.
    pub fn answer(self, measured: &Measured, params: &str) -> Cell {
        let rtts = || measured.each(|ping| ping.rtt);
        let conns = || measured.each(|ping| ping.conn);
        let value = |value: Value| json!({"Value": value});
        let payload = match self {
            Self::Rtt => value(mean(&rtts()).into()),
            Self::Conn => value(mean(&conns()).into()),
            Self::MaxRtt => value(rtts().into_iter().max().unwrap_or_default().into()),
            Self::TotalRtt => values(rtts()),
            Self::TotalConn => values(conns()),
            Self::SdRtt => value(number(deviation(&rtts()))),
            Self::SdConn => value(number(deviation(&conns()))),
            Self::HttpCode => values(measured.each(|ping| ping.status)),
            Self::PacketLoss => value(number(measured.loss() * 100.0)),
            Self::SpeedAverage => value(measured.speed.average.into()),
            Self::SpeedMax => value(measured.speed.max().into()),
            Self::SpeedPerSecond => {
                let speed = &measured.speed;
                let (max, average) = (speed.max(), speed.average);
                return self.cell(format!(
                    "{{\"Max\":{max},\"Average\":{average},\"Speeds\":{}}}",
                    Value::from(speed.seconds.clone())
                ));
            }
            Self::UdpType => value(measured.nat.unwrap_or(NatType::Unknown).name().into()),
            Self::GeoInbound => return self.place(&measured.ends.inbound),
            Self::GeoOutbound => return self.place(&measured.ends.outbound),
            Self::Script => {
                let said = measured.scripts.get(params);
                return self.cell(said.cloned().unwrap_or_default().payload(params));
            }
            Self::Cause => value(measured.cause.clone().into()),
            Self::Invalid => Map::new().into(),
        };
        self.cell(payload.to_string())
    }

    fn place(self, stacks: &Stacks) -> Cell {
        self.cell(serde_json::to_string(stacks).unwrap_or_default())
    }

    fn cell(self, payload: String) -> Cell {
        let kind = self.name().to_owned();
        Cell { kind, payload }
    }
}

impl Measured {
    /// Of each ping; 0 of one that failed.
    fn each(&self, what: impl Fn(Pinged) -> u16) -> Vec<u16> {
        self.pings
            .iter()
            .map(|ping| ping.map_or(0, &what))
            .collect()
    }

    /// The part of the pings that failed; all of none.
    pub fn loss(&self) -> f64 {
        let answered = self.pings.iter().flatten().count();
        match self.pings.len() {
            0 => 1.0,
            all => (all - answered) as f64 / all as f64,
        }
    }

    /// The mean time from a request to its answer; 0 of a dead node.
    pub fn rtt(&self) -> u16 {
        mean(&self.each(|ping| ping.rtt))
    }

    /// The mean time from dialling to an answer; 0 of a dead node.
    pub fn conn(&self) -> u16 {
        mean(&self.each(|ping| ping.conn))
    }

    /// The status of the last answer.
    pub fn status(&self) -> Option<u16> {
        self.pings.iter().flatten().last().map(|ping| ping.status)
    }
}

impl Speed {
    /// The best second.
    pub fn max(&self) -> u64 {
        self.seconds.iter().copied().max().unwrap_or_default()
    }
}

fn values(values: Vec<u16>) -> Value {
    match values.is_empty() {
        true => json!({"Values": null}),
        false => json!({"Values": values}),
    }
}

/// Failed ones do not count; of three and more neither do the highest and the lowest.
fn mean(values: &[u16]) -> u16 {
    let mut values: Vec<u16> = values.iter().copied().filter(|value| *value > 0).collect();
    values.sort_unstable();
    let values = match &values[..] {
        [_, middle @ .., _] if !middle.is_empty() => middle,
        all => all,
    };
    let sum: u64 = values.iter().copied().map(u64::from).sum();
    let mean = sum.checked_div(values.len() as u64);
    mean.and_then(|mean| u16::try_from(mean).ok())
        .unwrap_or_default()
}

/// Of the whole population, to one decimal.
fn deviation(values: &[u16]) -> f64 {
    let values: Vec<f64> = values
        .iter()
        .filter(|value| **value > 0)
        .map(|value| f64::from(*value))
        .collect();
    if values.is_empty() {
        return 0.0;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count;
    (variance.sqrt() * 10.0).round() / 10.0
}

/// As Go writes it: a whole one has no point.
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && (0.0..1e9).contains(&value) {
        true => (value as u64).into(),
        false => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a real answer.
    #[test]
    fn each_answer_is_written_as_miaospeed_writes_it() {
        let ping = |(rtt, conn)| {
            Some(Pinged {
                rtt,
                conn,
                status: 204,
            })
        };
        let measured = Measured {
            pings: [(37, 69), (32, 34), (30, 32)].map(ping).to_vec(),
            speed: Speed {
                average: 4_156_074,
                seconds: vec![4_145_152, 4_161_536, 4_161_536],
                bytes: 0,
            },
            nat: Some(NatType::FullCone),
            scripts: BTreeMap::from([(
                "key".to_owned(),
                Scripted {
                    text: "a \"text\"".to_owned(),
                    color: "#fff".to_owned(),
                    background: "#000".to_owned(),
                    millis: 12,
                },
            )]),
            ends: Ends::default(),
            cause: None,
        };
        let said = |name: &str| Matrix::named(name).answer(&measured, "key").payload;
        for (name, expected) in [
            ("TEST_PING_RTT", r#"{"Value":32}"#),
            ("TEST_PING_CONN", r#"{"Value":34}"#),
            ("TEST_PING_MAX_RTT", r#"{"Value":37}"#),
            ("TEST_PING_TOTAL_RTT", r#"{"Values":[37,32,30]}"#),
            ("TEST_PING_TOTAL_CONN", r#"{"Values":[69,34,32]}"#),
            ("TEST_PING_SD_RTT", r#"{"Value":2.9}"#),
            ("TEST_PING_SD_CONN", r#"{"Value":17}"#),
            ("TEST_HTTP_CODE", r#"{"Values":[204,204,204]}"#),
            ("TEST_PING_PACKET_LOSS", r#"{"Value":0}"#),
            ("TEST_PING_MAX_CONN", "{}"),
            ("SPEED_AVERAGE", r#"{"Value":4156074}"#),
            ("SPEED_MAX", r#"{"Value":4161536}"#),
            (
                "SPEED_PER_SECOND",
                r#"{"Max":4161536,"Average":4156074,"Speeds":[4145152,4161536,4161536]}"#,
            ),
            ("UDP_TYPE", r#"{"Value":"FullCone"}"#),
            (
                "TEST_SCRIPT",
                r##"{"Key":"key","Text":"a \"text\"","Color":"#fff","Background":"#000","TimeElapsed":12}"##,
            ),
        ] {
            assert_eq!(said(name), expected, "{name}");
        }
        // What has said nothing has empty texts.
        assert_eq!(
            Matrix::Script.answer(&measured, "<other>").payload,
            r#"{"Key":"<other>","Text":"","Color":"","Background":"","TimeElapsed":0}"#
        );
        assert_eq!(
            Matrix::named("DEBUG_SLEEP").answer(&measured, "").kind,
            "INVALID"
        );
    }

    #[test]
    fn a_dead_node_has_zeros_and_lost_every_ping() {
        let measured = Measured {
            pings: vec![None, None],
            ..Measured::default()
        };
        let said = |name: &str| Matrix::named(name).answer(&measured, "").payload;
        assert_eq!(said("TEST_PING_RTT"), r#"{"Value":0}"#);
        assert_eq!(said("TEST_PING_TOTAL_RTT"), r#"{"Values":[0,0]}"#);
        assert_eq!(said("TEST_PING_PACKET_LOSS"), r#"{"Value":100}"#);
        let unread = Measured::default();
        let said = |name: &str| Matrix::named(name).answer(&unread, "").payload;
        assert_eq!(said("TEST_PING_TOTAL_RTT"), r#"{"Values":null}"#);
        assert_eq!(said("TEST_PING_PACKET_LOSS"), r#"{"Value":100}"#);
    }
}
