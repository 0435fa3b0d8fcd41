//! What `mobula probe` finds out: each node, from each vantage point.

mod here;
pub mod picture;
mod remote;
mod source;
pub mod table;
mod widths;

pub use here::{Way, here};
pub use remote::{Remote, Trust, remote};
pub use source::{Source, read as read_source};

use std::time::Duration;

use serde_json::{Value, json};

use super::codec::{Measured, ProxyInfo};
use super::measure::{Downloads, Pings};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Pings of each node.
    pub pings: Pings,
    /// As it was given.
    pub url: String,
    /// A download through each node that answers.
    pub download: Option<Downloads>,
    /// As it was given.
    pub download_url: Option<String>,
}

/// What was found out of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Which one it is.
    pub info: ProxyInfo,
    /// Milliseconds from a request to its answer; `None` of the dead.
    pub rtt: Option<u16>,
    /// Milliseconds from dialling to the first byte of an answer; `None` of the dead.
    pub http: Option<u16>,
    /// The part of the pings that failed.
    pub loss: f64,
    /// Of the last answer.
    pub status: Option<u16>,
    /// Why it is dead, or what else went wrong.
    pub error: Option<String>,
    /// Bytes a second, where something was downloaded.
    pub speed: Option<u64>,
    /// The best second.
    pub speed_max: Option<u64>,
    /// Each second.
    pub speeds: Vec<u64>,
    /// Bytes that were downloaded.
    pub bytes: u64,
}

/// What one vantage point says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vantage {
    /// What it is called.
    pub name: String,
    /// The URL of a back end; `None` is here.
    pub backend: Option<String>,
    /// What measures there.
    pub version: String,
    /// Why there is nothing, or not all.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// In the order of the source.
    pub rows: Vec<Row>,
}

impl Row {
    /// Of what was measured here.
    pub fn of(info: ProxyInfo, measured: &Measured, downloads: bool) -> Self {
        let some = |value: u16| (value > 0).then_some(value);
        let speed = &measured.speed;
        Self {
            info,
            rtt: some(measured.rtt()),
            http: some(measured.conn()),
            loss: measured.loss(),
            status: measured.status(),
            error: measured.cause.clone(),
            speed: downloads.then_some(speed.average),
            speed_max: downloads.then(|| speed.max()),
            speeds: speed.seconds.clone(),
            bytes: speed.bytes,
        }
    }

    /// Of a node that was not measured.
    pub fn dead(info: ProxyInfo, why: String) -> Self {
        Self {
            info,
            loss: 1.0,
            error: Some(why),
            ..Self::default()
        }
    }

    /// Whether it answers.
    pub fn is_alive(&self) -> bool {
        self.rtt.is_some()
    }

    fn to_json(&self) -> Value {
        let ProxyInfo {
            name,
            address,
            kind,
        } = &self.info;
        json!({
            "name": name, "type": kind, "address": address, "ok": self.is_alive(), "rtt_ms": self.rtt, "http_ms": self.http,
            "loss": self.loss, "status": self.status, "error": self.error, "speed": self.speed,
            "speed_max": self.speed_max, "speeds": self.speeds,
        })
    }
}

impl Vantage {
    /// How many answer.
    pub fn alive(&self) -> usize {
        self.rows.iter().filter(|row| row.is_alive()).count()
    }

    fn to_json(&self) -> Value {
        let nodes: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({
            "name": self.name, "backend": self.backend, "version": self.version, "error": self.error,
            "seconds": (self.took.as_secs_f64() * 1000.0).round() / 1000.0, "nodes": nodes,
        })
    }
}

/// All of it, as one object.
pub fn to_json(survey: &Survey, vantages: &[Vantage]) -> Value {
    let all: Vec<Value> = vantages.iter().map(Vantage::to_json).collect();
    json!({"url": survey.url, "download": survey.download_url, "vantages": all})
}
