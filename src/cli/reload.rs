//! SIGHUP: the config is read again, and what differs is changed while tunnels run.

use std::pin::Pin;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::args::ConfigArgs;
use super::given::Source;
use super::load::{Meant, load};
use super::run::Again;
use super::{inputs, notify};
use crate::config::Config;
use crate::log::{self, NOTICE};
use crate::report::Message;
use crate::server::Server;

/// Reads the config again, by the arguments of the start, and makes it run. What keeps it from that is said, and nothing
/// has changed then.
pub(super) async fn reload(server: &mut Server, again: &Again<'_>) {
    let reading: BoxFuture<'_, _> = match again {
        Again::Never => {
            return log::repeated(
                "SIGHUP is ignored: the config is in no file that could be read again",
            );
        }
        Again::Config(reader) => Box::pin(aside(reader.clone())),
        Again::Program(args, _) => Box::pin(read(&args.config)),
    };
    notify::reloading();
    match reloaded(server, reading).await {
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

async fn reloaded(
    server: &mut Server,
    reading: BoxFuture<'_, Result<Fresh, Vec<String>>>,
) -> Result<(), Vec<String>> {
    let one = |text: String| vec![text];
    let Fresh {
        config,
        warnings,
        understood,
    } = reading.await?;
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
    for line in understood {
        info!(target: NOTICE, "{line}");
    }
    Ok(())
}

/// What runs next, and what is said of it.
pub(super) struct Fresh {
    pub(super) config: Config,
    pub(super) warnings: Vec<String>,
    pub(super) understood: Vec<String>,
}

impl Fresh {
    /// Of what a dialect has read.
    pub(super) fn of(
        config: Option<Config>,
        errors: &[Message],
        warnings: &[Message],
        understood: Vec<String>,
    ) -> Result<Self, Vec<String>> {
        let lines = |messages: &[Message]| messages.iter().map(ToString::to_string).collect();
        match config {
            Some(config) => Ok(Self {
                config,
                warnings: lines(warnings),
                understood,
            }),
            None => Err(lines(errors)),
        }
    }
}

/// Reads the config of a dialect again; lines say why there is none.
pub(super) type Reader = Arc<dyn Fn() -> Result<Fresh, Vec<String>> + Send + Sync>;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// By a thread that nobody needs, too.
async fn aside(reader: Reader) -> Result<Fresh, Vec<String>> {
    let read = spawn_blocking(move || reader()).await;
    read.unwrap_or_else(|e| Err(vec![e.to_string()]))
}

/// Files and other machines may hang, so they are read by a thread that nobody needs.
async fn read(args: &ConfigArgs) -> Result<Fresh, Vec<String>> {
    let one = |text: String| vec![text];
    let inputs = inputs::find(args).map_err(one)?;
    if inputs.is_empty() {
        return Err(one("there is no config any more".to_owned()));
    }
    if inputs.contains(&Source::Stdin) {
        let text =
            "the config came by standard input, which cannot be read again: give it as a file";
        return Err(one(text.to_owned()));
    }
    let options = args.options();
    let read = spawn_blocking(move || load(&inputs, options)).await;
    let Meant {
        loaded,
        left_out,
        understood,
        ..
    } = read.map_err(|e| one(e.to_string()))?;
    let left_out = left_out.iter().map(|line| format!("left out: {line}"));
    let fresh = Fresh::of(loaded.config, &loaded.errors, &loaded.warnings, understood);
    match fresh {
        Ok(mut fresh) => {
            fresh.warnings.extend(left_out);
            Ok(fresh)
        }
        // Among them is why something could not be read.
        Err(errors) => Err(left_out.chain(errors).collect()),
    }
}
