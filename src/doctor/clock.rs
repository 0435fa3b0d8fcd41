//! Whether this machine's clock is set by somebody.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Synchronised,
    /// The system says so.
    Alone,
    /// Nothing here tells.
    Unknown,
}

/// Asks systemd, and chrony where that does not know.
pub(super) async fn ask() -> Clock {
    let args = ["show", "--property=NTPSynchronized", "--value"];
    match output("timedatectl", &args).await.as_deref().map(str::trim) {
        Some("yes") => return Clock::Synchronised,
        Some("no") => return Clock::Alone,
        _ => {}
    }
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Clock::Synchronised;
    }
    let tracking = output("chronyc", &["-n", "tracking"]).await;
    let leap = tracking.as_deref().and_then(|text| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix("Leap status")?.split(':').nth(1))
    });
    match leap.map(str::trim) {
        Some("Normal" | "Insert second" | "Delete second") => Clock::Synchronised,
        Some("Not synchronised") => Clock::Alone,
        _ => Clock::Unknown,
    }
}

async fn output(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_secs(3), command.output()).await;
    let output = output.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
