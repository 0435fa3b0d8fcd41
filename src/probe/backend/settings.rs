//! What a back end is told.

use std::path::PathBuf;

use crate::http::Net;
use crate::probe::codec::{Tokens, Unsigned};
use crate::transport::{tcp, tls};

/// The flags of `mobula backend`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--listen`.
    pub listen: tcp::Listen,
    /// `--token` and `--build-token`.
    pub tokens: Tokens,
    /// `--path`, which begins with `/`: requests for any other one find no page.
    pub path: String,
    /// `--cert` and `--key`.
    pub tls: Option<tls::ServerSettings>,
    /// `--concurrency`: nodes that are pinged at one time, of all tasks.
    pub concurrency: usize,
    /// `--no-speed`: tasks with a download are refused.
    pub no_speed: bool,
    /// `--speed-limit`: bytes a second of a download; 0 is as many as come.
    pub speed_limit: u64,
    /// `--allow`: from where fronts may come; anywhere, when there is none.
    pub allow: Vec<Net>,
    /// `--invoker`: the ids of fronts that may ask; any, when there is none.
    pub invokers: Vec<String>,
    /// `--fulltclash`: requests whose nodes are not signed.
    pub unsigned: Unsigned,
    /// This program, of which each script has a process of its own.
    pub program: PathBuf,
}
