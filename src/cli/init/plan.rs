//! What is to be written, as values: the arguments, the answers, and what chance adds.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::args::{Behind, InitArgs, Protocol, Tls};
use super::ask;
use crate::address::Host;
use crate::transport::tls::{KeyPair, Pem};

/// A whole set.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) domain: Host,
    pub(super) path: String,
    pub(super) behind: Behind,
    pub(super) tls: Tls,
    /// The certificate's two files, where there are any.
    pub(super) files: Option<Files>,
    pub(super) users: Vec<User>,
    pub(super) protocol: Protocol,
    pub(super) listen: SocketAddr,
    pub(super) port: u16,
    /// An absolute path.
    pub(super) out: PathBuf,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// Whether they are made here.
    pub(super) made: bool,
}

/// Who may use the server.
#[derive(Debug)]
pub(super) struct User {
    pub(super) name: String,
    /// An id, or a password.
    pub(super) secret: String,
}

/// Where mobula listens behind a web server.
const BEHIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10000);

impl Plan {
    /// Takes the arguments, and asks for what is missing if somebody can answer.
    ///
    /// # Errors
    ///
    /// When something that must be said is not, or what is said contradicts itself.
    pub(super) fn new(args: &InitArgs) -> Result<Self, String> {
        let asks = !args.yes && ask::is_possible();
        let domain = match (&args.domain, asks) {
            (Some(text), _) => domain(text).map_err(|e| format!("--domain: {e}"))?,
            (None, true) => ask::ask("The name by which clients reach this server", None, domain)?,
            (None, false) => {
                return Err(
                    "--domain is missing: the name by which clients reach this server".to_owned(),
                );
            }
        };
        let behind = match (args.behind, asks) {
            (Some(behind), _) => behind,
            (None, true) => ask::choose("The web server in front", "none")?,
            (None, false) => Behind::None,
        };
        let by_itself = match domain {
            Host::Domain(_) => "acme",
            Host::Ip(_) => "self-signed",
        };
        let tls = match (args.tls, &args.cert, asks) {
            (Some(tls), ..) => tls,
            (None, Some(_), _) => Tls::Files,
            (None, None, true) => ask::choose("Where the certificate comes from", by_itself)?,
            (None, None, false) if by_itself == "acme" => Tls::Acme,
            (None, None, false) => Tls::SelfSigned,
        };
        let protocol = match (args.protocol, asks) {
            (Some(protocol), _) => protocol,
            (None, true) => ask::choose("What the tunnel speaks", "vmess")?,
            (None, false) => Protocol::Vmess,
        };
        let count = match (args.users, asks) {
            (Some(count), _) => count,
            (None, true) => ask::ask("How many users there are", Some("1"), |answer| {
                let number = answer.parse().ok().filter(|n| (1..=1000).contains(n));
                number.ok_or_else(|| "expected 1 to 1000".to_owned())
            })?,
            (None, false) => 1,
        };
        let out = match (&args.out, asks) {
            (Some(out), _) => out.clone(),
            (None, true) => ask::ask("The folder to write to", Some("/etc/mobula"), |answer| {
                Ok::<_, String>(PathBuf::from(answer))
            })?,
            (None, false) => return Err("--out is missing: the folder to write to".to_owned()),
        };
        let port = args.port.unwrap_or(match tls {
            Tls::None => 80,
            _ => 443,
        });
        let listen = args.listen.unwrap_or(match behind {
            Behind::None => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            _ => BEHIND,
        });
        let out = std::path::absolute(&out).map_err(|e| format!("{}: {e}", out.display()))?;
        let plan = Self {
            files: files(args, (tls, behind), &domain, &out)?,
            path: match &args.path {
                Some(text) => path(text).map_err(|e| format!("--path: {e}"))?,
                None => random_path(),
            },
            users: (1..=count).map(|n| User::new(n, protocol)).collect(),
            domain,
            behind,
            tls,
            protocol,
            listen,
            port,
            out,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        let is_ip = matches!(self.domain, Host::Ip(_));
        if is_ip && self.tls == Tls::Acme {
            return Err(format!(
                "--tls acme: {} is an address, and certificates are issued for names: expected a name, or `self-signed`",
                self.domain
            ));
        }
        let is_local = |name: &str| {
            name.eq_ignore_ascii_case("localhost") || !name.trim_end_matches('.').contains('.')
        };
        if let Host::Domain(name) = &self.domain
            && self.tls == Tls::Acme
            && is_local(name)
        {
            return Err(format!(
                "--tls acme: nobody issues certificates for `{name}`: expected a public name, or `self-signed`"
            ));
        }
        if self.tls != Tls::None && self.port == 80 {
            return Err(
                "--port 80: that is the port of HTTP in the clear: expected another one, 443 by default, or `--tls none`"
                    .to_owned(),
            );
        }
        if self.tls == Tls::Acme && self.port != 443 && self.behind == Behind::None {
            return Err(format!(
                "--port {}: who issues the certificate asks at port 443: expected that, or `--tls self-signed` or `files`",
                self.port
            ));
        }
        let fronted = self.behind != Behind::None;
        // The web server listens at every address, and so at this one.
        if fronted && self.listen.port() == self.port {
            return Err(format!(
                "--listen {}: the web server in front has that port, expected another one, such as {BEHIND}",
                self.listen
            ));
        }
        if self.listen.port() == 0 {
            return Err("--listen: port 0 is none that a client could know".to_owned());
        }
        // What a config, a unit and a web server's file could all hold.
        let text = self.out.to_str().filter(|text| {
            !text
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || "\"'\\$;{}%#".contains(c))
        });
        if text.is_none() {
            return Err(format!(
                "--out: {} has characters that files of web servers cannot hold, expected a plain path",
                self.out.display()
            ));
        }
        Ok(())
    }

    /// Whether mobula itself speaks TLS.
    pub(super) fn ends_tls(&self) -> bool {
        self.behind == Behind::None && self.tls != Tls::None
    }

    /// Where a file of this name is written.
    pub(super) fn at(&self, name: &str) -> String {
        self.out.join(name).display().to_string()
    }

    /// This program, as a unit of systemd names it.
    pub(super) fn program() -> String {
        let own = env::current_exe().ok();
        let own = own.filter(|path| path.starts_with("/usr"));
        own.map_or_else(
            || "/usr/local/bin/mobula".to_owned(),
            |path| path.display().to_string(),
        )
    }
}

impl User {
    fn new(n: u16, protocol: Protocol) -> Self {
        let id = Uuid::new_v4();
        Self {
            name: format!("user{n}"),
            secret: match protocol {
                Protocol::Vmess | Protocol::Vless => id.to_string(),
                Protocol::Trojan => id.simple().to_string(),
            },
        }
    }
}

/// The certificate's files: those that are given, or those that will be made.
fn files(
    args: &InitArgs,
    (tls, behind): (Tls, Behind),
    host: &Host,
    out: &Path,
) -> Result<Option<Files>, String> {
    let made = || Files {
        cert: out.join("fullchain.pem"),
        key: out.join("privkey.pem"),
        made: true,
    };
    match (tls, &args.cert, &args.key) {
        (Tls::Files, Some(cert), Some(key)) => {
            let whole = |path: &Path| {
                // A link stays one: certbot moves its links to what is renewed.
                std::path::absolute(path)
                    .map_err(|e| format!("{}: {}", path.display(), crate::cause::system_words(&e)))
            };
            let (cert, key) = (whole(cert)?, whole(key)?);
            let pair = KeyPair::new(Pem::File(cert.clone()), Pem::File(key.clone()));
            pair.check().map_err(|e| format!("--cert, --key: {e}"))?;
            tell_of_strangers(&pair, host);
            let made = false;
            Ok(Some(Files { cert, key, made }))
        }
        (Tls::Files, ..) => Err("--tls files wants --cert and --key".to_owned()),
        (_, Some(_), _) => Err("--cert and --key are for `--tls files`".to_owned()),
        (Tls::SelfSigned, ..) => Ok(Some(made())),
        // These start with a certificate only: one of our making stands in until certbot has the true one.
        (Tls::Acme, ..) if matches!(behind, Behind::Nginx | Behind::Haproxy) => Ok(Some(made())),
        (Tls::Acme | Tls::None, ..) => Ok(None),
    }
}

/// A CDN in front may believe what clients do not.
fn tell_of_strangers(pair: &KeyPair, host: &Host) {
    let Some(shown) = pair.shown() else { return };
    if let Host::Domain(name) = host
        && !shown.is_for(&name.to_ascii_lowercase())
    {
        let names = match &shown.names[..] {
            [] => "no name".to_owned(),
            names => names.join(", "),
        };
        eprintln!(
            "warning: --cert: it is for {names}, and clients ask for {name}: they do not believe it, unless a CDN in front has another one"
        );
    }
    if shown.pin.is_some() {
        eprintln!(
            "warning: --cert: nobody but itself vouches for it, and clients do not believe it by themselves: `--tls self-signed` makes one that they pin"
        );
    }
}

fn domain(text: &str) -> Result<Host, String> {
    let text = text.trim();
    if text.contains("://") || text.contains('/') {
        return Err(format!(
            "`{}` is a URL, expected its name alone",
            text.escape_debug()
        ));
    }
    let host = Host::parse(text).map_err(|e| format!("`{}`: {e}", text.escape_debug()))?;
    match &host {
        Host::Domain(name) if name.parse::<SocketAddr>().is_ok() || name.contains(':') => Err(
            format!("`{}` has a port, which `--port` takes", text.escape_debug()),
        ),
        _ => Ok(host),
    }
}

/// A path that means the same in every file.
fn path(text: &str) -> Result<String, String> {
    let path = crate::http::request::with_slash(text.to_owned());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    match path.chars().all(is_plain) {
        true if path.len() > 1 && !path.ends_with('/') => Ok(path),
        true => Err(format!(
            "`{path}` would be the whole site, expected one like `/tunnel`"
        )),
        false => Err(format!(
            "`{}` has other characters than letters, digits and `-_.~/`",
            path.escape_debug()
        )),
    }
}

/// As hard to guess as is needed, and short enough for a link.
fn random_path() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("/{}", &id[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_what_every_file_can_hold() {
        assert_eq!(path("ray").unwrap(), "/ray");
        assert_eq!(path("/a/b-c").unwrap(), "/a/b-c");
        for wrong in ["/", "", "/a b", "/a?ed=1", "/a;", "/{", "/a/"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        assert!(domain("example.com").is_ok() && domain("192.0.2.1").is_ok());
        for wrong in [
            "https://example.com",
            "example.com/ray",
            "example.com:443",
            "",
            "a b",
        ] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
        let (one, other) = (random_path(), random_path());
        assert!(one != other && path(&one).is_ok());
    }
}
