//! The arguments of `mobula init`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// `:PORT` is every address, as elsewhere.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.replacen("localhost:", "127.0.0.1:", 1),
    };
    let expected = |_| "expected such as `127.0.0.1:10000` or `:8443`".to_owned();
    text.parse().map_err(expected)
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
On a terminal, what is missing is asked for; with --yes, and without a terminal, defaults are taken.
Nothing is overwritten without --force.")]
pub(in crate::cli) struct InitArgs {
    /// The name (or address) by which clients reach the server
    #[arg(long, value_name = "NAME")]
    pub(super) domain: Option<String>,
    /// The path of the tunnel; a random one by default
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<String>,
    /// The web server in front, which then ends TLS
    #[arg(long, value_enum)]
    pub(super) behind: Option<Behind>,
    /// Where the certificate comes from; `acme` by default, for an address `self-signed`
    #[arg(long, value_enum)]
    pub(super) tls: Option<Tls>,
    /// The certificate's chain, of `--tls files`
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// How many users there are
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) users: Option<u16>,
    /// What the tunnel speaks
    #[arg(long, value_enum)]
    pub(super) protocol: Option<Protocol>,
    /// Where mobula listens; behind a web server 127.0.0.1:10000 by default
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub(super) listen: Option<SocketAddr>,
    /// The port that clients connect to; 443 by default, without TLS 80
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Overwrite what is there
    #[arg(long)]
    pub(super) force: bool,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Ask nothing
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Behind {
    Nginx,
    Caddy,
    Haproxy,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tls {
    /// From Let's Encrypt
    Acme,
    /// One that is made here, and that the client's config and the links vouch for
    SelfSigned,
    /// From --cert and --key
    Files,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    Vmess,
    Vless,
    Trojan,
}

/// As the flags have it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vmess => "vmess",
            Self::Vless => "vless",
            Self::Trojan => "trojan",
        })
    }
}
