//! What proxies counted, kept beyond their ends: who reached which workload, and by which rules.

mod store;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use palisade_api::convert::Report;
use palisade_api::usage::{self, rules_in_force};
use palisade_api::workload::Workload;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::identity::chain;
use crate::index::Index;
use crate::telemetry::metrics::Metrics;
use table::{Room, Table};

/// The counts of all proxies.
#[derive(Debug)]
pub(crate) struct Usage {
    kept: Mutex<Kept>,
    /// Where they outlive control; nowhere in a cluster.
    store: Option<PathBuf>,
    /// What the rules in force are taken from, once it is known.
    index: OnceLock<watch::Receiver<Arc<Index>>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Kept {
    table: Table,
    is_saved: bool,
}

impl Usage {
    /// What the store has, where there is one. What cannot be read is said, and left aside: counts decide nothing.
    pub(crate) fn open(store: Option<PathBuf>, now: OffsetDateTime, metrics: Arc<Metrics>) -> Self {
        let found = store.as_deref().map(store::load);
        let table = match found {
            None | Some(Ok(None)) => Table::new(now.unix_timestamp(), ROOM),
            Some(Ok(Some(usage))) => Table::of(usage, ROOM),
            Some(Err(error)) => {
                let aside = store.as_deref().map(store::set_aside);
                let aside = aside.and_then(Result::ok);
                let aside = aside.map(|path| path.display().to_string());
                tracing::error!(error = %chain(&error), aside, "what was counted before is lost");
                Table::new(now.unix_timestamp(), ROOM)
            }
        };
        Self {
            kept: Mutex::new(Kept {
                table,
                is_saved: true,
            }),
            store,
            index: OnceLock::new(),
            metrics,
        }
    }

    /// From now on it is known which rules are in force.
    pub(crate) fn know(&self, index: watch::Receiver<Arc<Index>>) {
        // Whoever came first knows as well.
        self.index.set(index).ok();
    }

    /// Takes a report of a workload's proxy.
    pub(crate) fn hear(&self, workload: &Workload, report: Report, index: &Index) {
        self.metrics
            .usage_left_out("not_understood", report.left_out);
        let mut kept = self.kept();
        let before = kept.table.forgotten();
        kept.table
            .hear(workload, report, |ip| index.workload_at(ip));
        kept.is_saved = false;
        let forgotten = kept.table.forgotten() - before;
        drop(kept);
        let forgotten = usize::try_from(forgotten).unwrap_or(usize::MAX);
        self.metrics.usage_left_out("forgotten", forgotten);
    }

    /// All that is known, or all of one namespace: its workloads, and the rules that its own policies have. `connected` are
    /// the workloads whose proxies have a stream.
    pub(crate) fn answer(
        &self,
        namespace: Option<&str>,
        connected: impl IntoIterator<Item = String>,
    ) -> usage::Usage {
        let mut answer = self.kept().table.all(namespace);
        let is_within = |workload: &String| {
            let of = workload.split_once('/').map(|(of, _)| of);
            namespace.is_none_or(|it| of == Some(it))
        };
        answer.connected = connected.into_iter().filter(is_within).collect();
        if let Some(index) = self.index.get() {
            let index = Arc::clone(&index.borrow());
            let policies = index.facts().policies.iter();
            let within = policies.filter(|policy| {
                namespace.is_none_or(|it| policy.namespace.as_deref() == Some(it))
            });
            answer.rules_in_force = rules_in_force(within);
        }
        answer
    }

    /// Writes what changed, every now and then, for as long as control lives.
    pub(crate) async fn keep_saving(self: Arc<Self>) {
        loop {
            sleep(SAVE_INTERVAL).await;
            let usage = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || usage.save())
                .await
                .is_err()
            {
                tracing::error!("what was counted was not saved");
            }
        }
    }

    /// Writes what changed since it was written last.
    pub(crate) fn save(&self) {
        let Some(store) = &self.store else {
            return;
        };
        let usage = {
            let mut kept = self.kept();
            if std::mem::replace(&mut kept.is_saved, true) {
                return;
            }
            kept.table.all(None)
        };
        if let Err(error) = store::save(store, &usage) {
            self.kept().is_saved = false;
            tracing::error!(error = %chain(&error), "what was counted would be lost if control ended now");
        }
    }

    /// Whoever panicked with the lock left numbers that are too small at most.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some 300 bytes an entry.
const ROOM: Room = Room {
    workloads: 20_000,
    entries: 100_000,
};
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
