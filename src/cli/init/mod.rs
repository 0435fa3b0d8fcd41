//! `mobula init`: a matched set of a server and its clients, from next to nothing.

mod args;
mod ask;
mod configs;
mod fronts;
mod plan;
mod unit;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

pub(super) use args::InitArgs;

use super::link::{picture, qr};
use super::say;
use crate::cause::system_words;
use crate::dialect::v2ray::{self, Input};
use crate::transport::tls;
use args::{Behind, Tls};
use plan::Plan;

pub(super) fn run(args: &InitArgs) -> ExitCode {
    let plan = match Plan::new(args) {
        Ok(plan) => plan,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let set = match Set::of(&plan) {
        Ok(set) => set,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(text) = set.check(&plan).and_then(|()| set.write(&plan, args.force)) {
        eprintln!("{text}");
        return ExitCode::FAILURE;
    }
    set.tell(&plan);
    match is_good(&plan, "server.json") && is_good(&plan, "client.json") {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// All files, before any is written.
struct Set {
    files: Vec<File>,
    links: Vec<String>,
}

struct File {
    name: String,
    bytes: Vec<u8>,
    /// There is an id, a password or a key in it.
    is_secret: bool,
}

impl Set {
    fn of(plan: &Plan) -> Result<Self, String> {
        let mut set = Self {
            files: Vec::new(),
            links: Vec::new(),
        };
        let made = match &plan.files {
            Some(files) if files.made => Some(tls::self_signed_pem(vec![plan.domain.to_string()])?),
            _ => None,
        };
        let certificate = made.as_ref().map(|(certificate, _)| &**certificate);
        set.add("server.json", json(&configs::server(plan)), true);
        set.add(
            "client.json",
            json(&configs::client(plan, certificate)),
            true,
        );
        let pin = certificate.map(pin).transpose()?;
        set.links = configs::links(plan, pin.as_deref())?;
        let lines: String = set.links.iter().map(|link| format!("{link}\n")).collect();
        set.add("links.txt", lines, true);
        for (user, link) in plan.users.iter().zip(set.links.clone()) {
            let code = qr::of(&link)?;
            set.add(&format!("{}.png", user.name), picture::png(&code), true);
            set.add(&format!("{}.svg", user.name), picture::svg(&code), true);
        }
        if let Some((name, text)) = fronts::file(plan) {
            set.add(name, text, false);
        }
        if plan.behind == Behind::Haproxy && plan.files.is_some() {
            let both = match (&made, &plan.files) {
                (Some((certificate, key)), _) => format!("{certificate}{key}"),
                (None, Some(files)) => read(&files.cert)? + &read(&files.key)?,
                (None, None) => String::new(),
            };
            set.add(fronts::HAPROXY_PEM, both, true);
        }
        if let Some((certificate, key)) = made {
            set.add("fullchain.pem", certificate, false);
            set.add("privkey.pem", key, true);
        }
        set.add("mobula.service", unit::unit(plan), false);
        Ok(set)
    }

    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>, is_secret: bool) {
        self.files.push(File {
            name: name.to_owned(),
            bytes: bytes.into(),
            is_secret,
        });
    }

    /// Whether the server could have its certificate issued; what else its config names is yet to be written.
    fn check(&self, plan: &Plan) -> Result<(), String> {
        let server = self.files.iter().find(|file| file.name == "server.json");
        let Some(server) = server.filter(|_| plan.ends_tls() && plan.tls == Tls::Acme) else {
            return Ok(());
        };
        let input = Input::Text {
            name: server.name.clone(),
            text: String::from_utf8_lossy(&server.bytes).into_owned(),
        };
        let loaded = v2ray::load(&[input], v2ray::Options::default());
        // A part that cannot work is left out with a warning.
        let told = loaded.errors.iter().chain(&loaded.warnings);
        let errors: Vec<String> = told.map(ToString::to_string).collect();
        match errors.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "--tls acme: {}: nothing was written, expected `self-signed`, `files` or a web server in front",
                errors.join("; ")
            )),
        }
    }

    /// Writes all of them, or none where one is there already.
    fn write(&self, plan: &Plan, force: bool) -> Result<(), String> {
        let there = |file: &&File| fs::symlink_metadata(plan.out.join(&file.name)).is_ok();
        let there: Vec<&str> = self
            .files
            .iter()
            .filter(there)
            .map(|file| &*file.name)
            .collect();
        if !there.is_empty() && !force {
            return Err(format!(
                "{} has {} already: nothing was written, `--force` overwrites",
                plan.out.display(),
                there.join(", ")
            ));
        }
        let fail = |path: &Path, e: io::Error| format!("{}: {}", path.display(), system_words(&e));
        fs::create_dir_all(&plan.out).map_err(|e| fail(&plan.out, e))?;
        if plan.ends_tls() && plan.tls == Tls::Acme {
            let folder = plan.out.join("acme");
            let mut folders = DirBuilder::new();
            let made = folders.recursive(true).mode(0o700).create(&folder);
            made.map_err(|e| fail(&folder, e))?;
        }
        for file in &self.files {
            let path = plan.out.join(&file.name);
            save(&path, file).map_err(|e| fail(&path, e))?;
        }
        Ok(())
    }

    fn tell(&self, plan: &Plan) {
        say(format_args!("written to {}:", plan.out.display()));
        for file in &self.files {
            say(format_args!("  {}", file.name));
        }
        say("\nwhat remains:");
        for command in unit::commands(plan) {
            say(format_args!("  {command}"));
        }
        say("\nlinks, for clients of each user:");
        for (user, link) in plan.users.iter().zip(&self.links) {
            say(format_args!("  {}: {link}", user.name));
        }
        // For a phone in front of the screen.
        if io::stdout().is_terminal()
            && let Some(code) = self.links.first().and_then(|link| qr::of(link).ok())
        {
            say(picture::terminal(&code));
        }
    }
}

/// A new file in the place of what was there: an old one may be another user's to read, or a link to somewhere.
fn save(path: &Path, file: &File) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mode = if file.is_secret { 0o600 } else { 0o644 };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options.open(path)?.write_all(&file.bytes)
}

fn read(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|e| format!("{}: {}", path.display(), system_words(&e)))?;
    Ok(text.trim_end().to_owned() + "\n")
}

fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Xray's pin of a certificate.
fn pin(pem: &str) -> Result<String, String> {
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
    let hash = Sha256::digest(&leaf);
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether what was written is a config; what is wrong with it is said, without the lines, which have secrets in them.
fn is_good(plan: &Plan, name: &str) -> bool {
    let input = Input::File(plan.out.join(name));
    let loaded = v2ray::load(&[input], v2ray::Options::default());
    for warning in &loaded.warnings {
        eprintln!("warning: {name}: {warning}");
    }
    for error in &loaded.errors {
        eprintln!("{name}: {error}");
    }
    loaded.config.is_some()
}
