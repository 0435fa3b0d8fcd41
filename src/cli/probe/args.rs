//! The arguments of `mobula probe`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::probe::codec::BUILD_TOKEN;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The exit code is 0 where every vantage point has answered and a node is alive, 1 where not, 2 for what cannot be read.
Without --download nothing but small pages is fetched. Nodes that are the same but for their names are tested once.")]
pub(in crate::cli) struct ProbeArgs {
    /// Where nodes are: a config, a link, the URL of a subscription, Clash's YAML; `-` for standard input
    #[arg(short, long = "config", value_name = "SOURCE")]
    pub(super) config: String,
    /// What is asked for through each node
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://www.gstatic.com/generate_204"
    )]
    pub(super) url: String,
    /// Download this through each node that answers
    #[arg(long, value_name = "URL")]
    pub(super) download: Option<String>,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub(super) duration: u32,
    /// By how many connections
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(super) threads: u32,
    /// How often each node is asked
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) count: u16,
    /// How long an answer may take
    #[arg(long, value_name = "MS", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(10..=10000))]
    pub(super) timeout: u32,
    /// How many nodes are asked at a time
    #[arg(short = 'j', long = "jobs", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: u16,
    /// Print one JSON object, and nothing else
    #[arg(long)]
    pub(super) json: bool,
    /// Draw a picture
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Draw it as PNG: a browser or another program of this machine does so, with the fonts that it has
    #[arg(long, value_name = "FILE")]
    pub(super) png: Option<PathBuf>,
    /// Write the nodes that answer, in Clash's form
    #[arg(long, value_name = "FILE")]
    pub(super) alive: Option<PathBuf>,
    /// Do all of it again, so many seconds after the last time
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub(super) watch: Option<u32>,
    /// Measure from a back end of MiaoSpeed: ws://HOST:PORT/PATH or wss://; several measure at once
    #[arg(long, value_name = "URL")]
    pub(super) backend: Vec<String>,
    /// What that back end must be told; one that is missing is the last given, or `MOBULA_TOKEN` of the environment
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Vec<String>,
    /// The back ends of a file: `slaveconfig` of FullTclash, or `slaveConfig` of koipy
    #[arg(long, value_name = "FILE")]
    pub(super) backends: Option<PathBuf>,
    /// Believe this authority at back ends, too
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Take any certificate of a back end: whoever sits in between reads the nodes and their passwords
    #[arg(long)]
    pub(super) insecure: bool,
    /// The build token, if it is not the public one
    #[arg(long, value_name = "A|B|C", default_value = BUILD_TOKEN, hide_default_value = true)]
    pub(super) build_token: String,
}
