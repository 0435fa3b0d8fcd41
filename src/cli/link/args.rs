//! The arguments of `mobula link`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without -c, links become elements of a config's `outbounds`: one link gives an object, several an array.
With -c, an outbound becomes a link; with --address, too, each user of an inbound does.
What a link cannot say, or an outbound cannot do, is told on standard error, item by item.")]
pub(in crate::cli) struct LinkArgs {
    /// vmess://, vless://, trojan:// or ss://; a PNG picture of a QR code; a file of links, as they are or in base64;
    /// `-` for standard input
    #[arg(value_name = "LINK")]
    pub(super) links: Vec<String>,
    /// Print the links of this config: of its outbounds, or with --address of its inbounds' users
    #[arg(short, long = "config", value_name = "FILE", conflicts_with = "links")]
    pub(super) config: Vec<PathBuf>,
    /// The name or address by which clients reach this server
    #[arg(long, value_name = "HOST", requires = "config")]
    pub(super) address: Option<String>,
    /// The port by which they do, if it is not the inbound's own
    #[arg(long, requires = "address", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Whether they speak TLS, if they do not as the inbound does: a web server in front may end it
    #[arg(long, value_enum, requires = "address")]
    pub(super) tls: Option<OnOff>,
    /// Write vmess:// as a URL, as Xray's proposal has it, not as v2rayN's JSON
    #[arg(long, requires = "config")]
    pub(super) url: bool,
    /// Show QR codes in place of text
    #[arg(long)]
    pub(super) qr: bool,
    /// Write a QR code to this file; several links give FILE-1, FILE-2, …
    #[arg(long, value_name = "FILE")]
    pub(super) png: Option<PathBuf>,
    /// The same as SVG
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Fail where something cannot be carried over
    #[arg(long)]
    pub(super) strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OnOff {
    On,
    Off,
}

impl From<OnOff> for bool {
    fn from(value: OnOff) -> Self {
        value == OnOff::On
    }
}
