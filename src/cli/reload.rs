//! SIGHUP: the config is read again, and what differs is changed while tunnels run.

use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::args::ConfigArgs;
use super::{inputs, notify};
use crate::config::Config;
use crate::dialect::v2ray::{self, Input};
use crate::log::{self, NOTICE};
use crate::report::Message;
use crate::server::Server;

/// Reads the config again, by the arguments of the start, and makes it run. What keeps it from that is said, and nothing
/// has changed then.
pub(super) async fn reload(server: &mut Server, args: Option<&ConfigArgs>) {
    let Some(args) = args else {
        return log::repeated(
            "SIGHUP is ignored: the config is in no file that could be read again",
        );
    };
    notify::reloading();
    match reloaded(server, args).await {
        Ok(()) => notify::ready(),
        Err(lines) => {
            for line in &lines {
                error!("{line}");
            }
            warn!("the config was not taken over, all goes on as it was");
            notify::not_reloaded();
        }
    }
}

async fn reloaded(server: &mut Server, args: &ConfigArgs) -> Result<(), Vec<String>> {
    let one = |text: String| vec![text];
    let (config, warnings) = read(args).await?;
    let log = log::prepare(&config.log).map_err(one)?;
    let changed = server
        .change(config)
        .await
        .map_err(|e| one(e.to_string()))?;
    let waiting = log.map(log::Change::apply).unwrap_or_default();
    for warning in waiting {
        warn!("{warning}");
    }
    for warning in warnings {
        warn!("{warning}");
    }
    for part in &changed.restart {
        warn!(
            "{part} has changed in the config, and stays as it was until the service is started again"
        );
    }
    info!(target: NOTICE, "the config was read again: {changed}");
    Ok(())
}

/// Files may hang, so they are read by a thread that nobody needs.
async fn read(args: &ConfigArgs) -> Result<(Config, Vec<Message>), Vec<String>> {
    let one = |text: String| vec![text];
    let inputs = inputs::find(args).map_err(one)?;
    if inputs.is_empty() {
        return Err(one("there is no config any more".to_owned()));
    }
    if inputs.contains(&Input::Stdin) {
        let text =
            "the config came by standard input, which cannot be read again: give it as a file";
        return Err(one(text.to_owned()));
    }
    let options = args.options();
    let loaded = spawn_blocking(move || v2ray::load(&inputs, options)).await;
    let loaded = loaded.map_err(|e| one(e.to_string()))?;
    match loaded.config {
        Some(config) => Ok((config, loaded.warnings)),
        None => Err(loaded.errors.iter().map(ToString::to_string).collect()),
    }
}
