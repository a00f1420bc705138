//! When a task looks again: soon after a change, later and later after failures, and where it asked for it.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use kube::api::Resource;
use kube::runtime::reflector::{self, Lookup, Store};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::{Instant, sleep_until};

/// Something that is watched changed, or could not be watched.
pub(super) type Changes = Pin<Box<dyn Stream<Item = Result<(), watcher::Error>> + Send>>;

/// The objects of a watch as they stand, and a word for each change of them.
pub(super) fn watched<K>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
) -> (Store<K>, Changes)
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let changes = reflector::reflector(writer, events.default_backoff());
    let changes = changes.map(|change| change.map(drop));
    (store, Box::pin(changes))
}

/// Whether a store holds all that there is; before that, what is missing in it may be there.
pub(super) fn is_complete<K>(store: &Store<K>) -> bool
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    matches!(store.wait_until_ready().now_or_never(), Some(Ok(())))
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// All is as it should be, so far as is known.
    Done,
    /// It is, and will need another look after this time even if nothing changes.
    For(Duration),
    /// Something could not be written, which has been logged.
    Failed,
}

impl Settled {
    /// After some writes of which so many failed.
    pub(super) fn after(failures: usize) -> Self {
        if failures == 0 {
            Self::Done
        } else {
            Self::Failed
        }
    }
}

/// One task's time of the next look.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
    backoff: Option<Duration>,
}

impl Pace {
    /// Takes note of a change.
    pub(super) fn note(&mut self, change: Option<Result<(), watcher::Error>>, now: Instant) {
        match change {
            Some(Ok(())) => self.changed(now),
            Some(Err(error)) => tracing::warn!(%error, "what the leader watches cannot be watched"),
            // Watches end only with the client.
            None => {}
        }
    }

    fn changed(&mut self, now: Instant) {
        // A cluster in motion must not turn a failure into a storm.
        if self.backoff.is_none() {
            let soon = now + GATHER;
            self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
        }
    }

    /// Takes note of what a look came to.
    pub(super) fn settled(&mut self, settled: Settled, now: Instant) {
        (self.due, self.backoff) = match settled {
            Settled::Done => (None, None),
            Settled::For(time) => (Some(now + time), None),
            Settled::Failed => {
                let backoff = self
                    .backoff
                    .map_or(MIN_BACKOFF, |last| MAX_BACKOFF.min(last.saturating_mul(2)));
                (Some(now + backoff), Some(backoff))
            }
        };
    }

    /// Until the next look.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

/// Whether somebody else's write came before ours; the watch brings it, and the task looks again then.
pub(super) fn is_overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

/// Does some writes, a few at a time, and says how many failed. Each writes its own line about it.
pub(super) async fn failures<W: Future<Output = usize>>(writes: Vec<W>) -> usize {
    let failed: Vec<usize> = stream::iter(writes)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    failed.into_iter().sum()
}

/// A cluster has thousands of namespaces, and an API server.
const AT_ONCE: usize = 8;
/// Changes come in groups.
const GATHER: Duration = Duration::from_millis(50);
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_follows_soon_after_a_change_and_later_after_each_failure() {
        let start = Instant::now();
        let after = |pace: &Pace| pace.due.map(|due| due - start);
        let mut pace = Pace::default();
        assert_eq!(after(&pace), None);
        pace.changed(start);
        pace.changed(start + GATHER / 2);
        assert_eq!(after(&pace), Some(GATHER));

        for expected in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            pace.settled(Settled::Failed, start);
            pace.changed(start);
            assert_eq!(after(&pace), Some(Duration::from_millis(expected)));
        }
        pace.settled(Settled::For(Duration::from_secs(600)), start);
        assert_eq!(after(&pace), Some(Duration::from_secs(600)));
        pace.changed(start);
        assert_eq!(after(&pace), Some(GATHER));
        pace.settled(Settled::Done, start);
        assert_eq!(after(&pace), None);
    }
}
