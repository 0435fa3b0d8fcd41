//! How many round trips lie before the first byte, with and without early data: counted, over a wire that is
//! long.
//!
//! The wire is a TUN device in a network namespace of its own, and this program again holds its other end.
//! It keeps every packet for half a round trip, and then sends it back with its two addresses exchanged:
//! a client that dials the far address finds the server on the near one, and each sees the other as far
//! away. Checksums do not mind the exchange.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::configs::{Certificate, Shape};
use super::figures::{Figures, Role, Row, Setting, What};
use super::network::Network;
use super::program::Program;
use super::{Result, Run};

/// What makes this program the inside of the namespace.
pub(crate) const ARGUMENT: &str = "--as-namespace";

const ROUND_TRIP: Duration = Duration::from_millis(50);

const NEAR: &str = "10.9.0.1";
const FAR: &str = "10.9.0.2";

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let inside = (run.programs.iter())
        .position(|one| one.name() == program.name())
        .ok_or("the program is one of the run's")?;
    let mut command = Command::new("unshare");
    command.arg("--net");
    // Only root may make a network; in a user namespace anybody is.
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .arg(std::env::current_exe()?)
        .args([ARGUMENT, &inside.to_string()]);
    let output = block_in_place(|| command.output())?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(format!("in the network namespace: {}", log.trim()).into());
    }
    let times: BTreeMap<String, f64> = serde_json::from_slice(&output.stdout)?;
    let trips = |name: &str| {
        let time = times.get(name).ok_or("the namespace says both times")?;
        Ok::<_, super::Error>(time / ROUND_TRIP.as_secs_f64())
    };
    for setting in [Setting::Plain, Setting::Tls] {
        let late = trips(name(setting, false))?;
        let early = trips(name(setting, true))?;
        let mut add = |what, value| {
            let row = Row(setting, Role::Both, what);
            figures.add(row, program.name(), value);
        };
        add(What::RoundTrips, late);
        add(What::EarlyRoundTrips, early);
        add(What::SavedRoundTrips, late.round() - early.round());
    }
    Ok(())
}

/// What a measure is called on the way out of the namespace.
fn name(setting: Setting, early_data: bool) -> &'static str {
    match (setting, early_data) {
        (Setting::Tls, false) => "late, TLS",
        (Setting::Tls, true) => "early, TLS",
        (_, false) => "late",
        (_, true) => "early",
    }
}

/// Inside the namespace: prints the seconds to the first byte.
pub(crate) async fn inside(programs: &[Program], index: &str) -> Result<()> {
    let program = programs.get(index.parse::<usize>()?);
    let program = program.ok_or("there are fewer programs")?;
    wire(ROUND_TRIP / 2)?;
    let mut times = BTreeMap::new();
    let certificate = Certificate::new()?;
    for (setting, early_data) in [
        (Setting::Plain, false),
        (Setting::Plain, true),
        (Setting::Tls, false),
        (Setting::Tls, true),
    ] {
        let shape = Shape {
            early_data,
            tls: (setting == Setting::Tls).then(|| certificate.clone()),
            host: FAR,
            ..Shape::default()
        };
        let network = Network::start(program, Role::Both, program, &shape).await?;
        network.load.first_byte(1).await?;
        let time = network.load.first_byte(TIMES).await?;
        times.insert(name(setting, early_data), time.as_secs_f64());
    }
    println!("{}", serde_json::to_string(&times)?);
    Ok(())
}

/// First bytes that the median is of.
const TIMES: usize = 3;

/// Lays the wire; it lasts as long as the process.
fn wire(delay: Duration) -> Result<()> {
    let device = Arc::new(DeviceBuilder::new().name("wire").mtu(1500).build_sync()?);
    let near = format!("{NEAR}/24");
    for args in [
        ["address", "add", &near, "dev", "wire"].as_slice(),
        &["link", "set", "wire", "up"],
        &["link", "set", "lo", "up"],
    ] {
        let status = Command::new("ip").args(args).status()?;
        if !status.success() {
            return Err(format!("ip {} fails", args.join(" ")).into());
        }
    }
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let outgoing = device.clone();
    thread::spawn(move || take(&outgoing, &sender, delay));
    thread::spawn(move || {
        for (due, packet) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A packet may get lost, as anywhere.
            let _ = device.send(&packet);
        }
    });
    Ok(())
}

fn take(device: &SyncDevice, sender: &mpsc::Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buf = [0; 2048];
    while let Ok(n) = device.recv(&mut buf) {
        let due = Instant::now() + delay;
        let packet = &mut buf[..n];
        // Source and destination of an IPv4 header.
        if n >= 20 && packet[0] >> 4 == 4 {
            let (head, rest) = packet.split_at_mut(16);
            head[12..].swap_with_slice(&mut rest[..4]);
            if sender.send((due, packet.to_vec())).is_err() {
                return;
            }
        }
    }
}
