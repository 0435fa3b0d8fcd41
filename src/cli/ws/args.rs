//! The flags of `mobula ws`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::super::listening::TlsArgs;

#[derive(Debug, ClapArgs)]
#[command(
    override_usage = "mobula ws [OPTIONS] <URL>\n       mobula ws [OPTIONS] --listen <ADDR> [--echo | --hub]"
)]
#[command(after_help = "\
Lines of standard input are text messages, messages are lines of standard output. At the end of the input it closes with \
code 1000 and prints what still comes. When the server closes it ends: with status 0 for code 1000, else with 1 and the \
code on standard error.

  mobula ws wss://example.com/ray -v           what a server says to an upgrade
  mobula ws --listen 127.0.0.1:8080            a server: what is typed goes to all who connect
  mobula ws --listen 127.0.0.1:8080 --hub --origin http://localhost:8000
                                               a page and a program at the same path find each other, and
                                               `curl -d question http://127.0.0.1:8080/room` prints the answer")]
pub(in crate::cli) struct WsArgs {
    /// ws://HOST:PORT/PATH, or wss://
    #[arg(
        value_name = "URL",
        required_unless_present = "listen",
        conflicts_with = "listen"
    )]
    pub(super) url: Option<String>,
    /// A header of the request, in place of one of the same name
    #[arg(
        short = 'H',
        long = "header",
        value_name = "K: V",
        conflicts_with = "listen"
    )]
    pub(super) headers: Vec<String>,
    /// Client: the Origin to send. Server: pages that are taken, `*` for all; a hub takes none otherwise
    #[arg(short, long, value_name = "ORIGIN")]
    pub(super) origin: Vec<String>,
    /// A subprotocol to offer, or to agree to; the one that is liked best first
    #[arg(short, long, value_name = "NAME")]
    pub(super) subprotocol: Vec<String>,
    /// Bytes instead of lines: what is read is sent as binary messages, what comes is written as it is
    #[arg(long)]
    pub(super) binary: bool,
    /// Stay so long after the end of the input
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "listen")]
    pub(super) wait: Option<Duration>,
    /// Ping so often, and print how long the answers take
    #[arg(long, value_name = "SECONDS", value_parser = period, conflicts_with = "listen")]
    pub(super) ping: Option<Duration>,
    /// Go through a proxy: http://USER:PASSWORD@HOST:PORT, with an account or without, or socks5://…
    #[arg(long, value_name = "URL", conflicts_with = "listen")]
    pub(super) proxy: Option<String>,
    /// Believe this authority, or this certificate, besides those of the system
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub(super) ca: Option<PathBuf>,
    /// Take any certificate
    #[arg(short = 'k', long, conflicts_with = "listen")]
    pub(super) insecure: bool,
    /// Show the headers of handshakes, pings and the end
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// Be a server: at HOST:PORT, `:PORT` for every address, or the path of a unix socket
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// Serve this path alone; of a hub also the rooms below it
    #[arg(long, value_name = "PATH", requires = "listen")]
    pub(super) path: Option<String>,
    /// Send every message back
    #[arg(long, requires = "listen", conflicts_with = "hub")]
    pub(super) echo: bool,
    /// Send every message to all others at the same path; POST says its body there and answers with what comes back
    #[arg(long, requires = "listen")]
    pub(super) hub: bool,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

/// A time that may be nothing.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number of seconds, such as 3 or 0.5".to_owned();
    let number: f64 = text.parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(number).ok();
    time.filter(|time| *time <= MAX).ok_or_else(wrong)
}

/// A time between two things.
fn period(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    match time >= Duration::from_millis(10) {
        true => Ok(time),
        false => Err("expected 0.01 seconds at least".to_owned()),
    }
}

/// A year.
const MAX: Duration = Duration::from_secs(365 * 24 * 3600);
