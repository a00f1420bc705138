//! What control knows from files and a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Known, RunError, Running, ground};
use crate::ca::{self, Ca};
use crate::config::{Config, Files};
use crate::file::Directories;
use crate::identity::{Attestor, chain};
use crate::index::Index;
use crate::source::{InForce, Source};
use crate::telemetry::metrics::Metrics;
use crate::token;

/// Reads everything once, and follows its changes; `tell` hears what is in force.
pub(super) fn known(
    config: &Config,
    files: &Files,
    (metrics, tell): (&Arc<Metrics>, watch::Sender<InForce>),
    running: &mut Running,
) -> Result<Known, RunError> {
    let ca = Arc::new(ca::load_or_create(&files.store, &config.trust_domain)?);
    let directories = Directories::watch(files.directories.clone());
    let (source, index) = first_index(config, files, &ca)?;
    tell.send_replace(source.in_force());
    let (publish, index) = watch::channel(index);
    running.tasks.spawn(follow(
        directories,
        source,
        (publish, tell),
        Arc::clone(metrics),
    ));
    running.tasks.spawn(sweep(files.store.clone()));
    Ok(Known {
        ca,
        attestor: Attestor::JoinTokens {
            store: files.store.clone(),
        },
        index,
    })
}

/// The first index takes every file or none.
fn first_index(config: &Config, files: &Files, ca: &Ca) -> Result<(Source, Arc<Index>), RunError> {
    let mut source = Source::new(ground(config, ca));
    let update = source.update(&Directories::read(&files.directories)?);
    match update.index {
        Some(index) if update.errors == 0 => Ok((source, index)),
        _ => Err(RunError::Files(update.new_errors.join("\n"))),
    }
}

/// Files to index, for as long as control lives.
async fn follow(
    directories: Directories,
    mut source: Source,
    (publish, tell): (watch::Sender<Arc<Index>>, watch::Sender<InForce>),
    metrics: Arc<Metrics>,
) {
    let mut unreadable = None;
    loop {
        let found = match directories.changed().await {
            Ok(found) => found,
            Err(error) => {
                let message = chain(&error);
                if unreadable.as_ref() != Some(&message) {
                    tracing::error!(error = %message, "the last good configuration stays in force");
                    unreadable = Some(message);
                }
                metrics.config_errors(1);
                sleep(UNREADABLE_PAUSE).await;
                continue;
            }
        };
        unreadable = None;
        let update = source.update(&found);
        for error in update.new_errors {
            tracing::error!(%error, "the last good version of the file stays in force");
        }
        metrics.config_errors(update.errors);
        if let Some(index) = update.index {
            tell.send_replace(source.in_force());
            publish.send_replace(index);
        }
    }
}

async fn sweep(store: PathBuf) {
    loop {
        let store = store.clone();
        let swept =
            tokio::task::spawn_blocking(move || token::sweep(&store, OffsetDateTime::now_utc()));
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "expired join tokens were not removed");
        }
        sleep(SWEEP_INTERVAL).await;
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);
