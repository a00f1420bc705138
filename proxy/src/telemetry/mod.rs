//! What the proxy says about itself: one record per connection, and metrics.
//!
//! A [`Record`] opens at accept and is closed exactly once. Its lines go to a [`Writer`], which never makes the
//! data path wait. One task, [`Telemetry::sweep`], writes what is due by time; no connection has a timer of its
//! own for that.

mod bypass;
mod facts;
mod fold;
mod labels;
mod line;
mod live;
mod metrics;
mod object;
mod record;
mod said;
mod writer;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};

use crate::outcome::{Event, Outcome, close_by, event};

pub use facts::{ConnId, Direction, TlsFacts};
pub use line::Format;
pub use metrics::{Carrier, Metrics, PoolState};
pub use record::{ByteCounts, Record};
pub use writer::Writer;

use facts::{End, Facts};
use fold::{FoldKey, FoldSource, Folds};
use line::Happening;
use live::{Due, Live};
use record::Connection;

thread_local! {
    /// Lent while a line is rendered.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSettings {
    /// JSON by default.
    pub format: Format,
    /// `open` is written once a connection has been established for this long; 1 s by default. Zero writes it
    /// at once, and so two lines for every connection, however short.
    pub open_after: Duration,
    /// `progress` is written this often; 60 s by default, off with zero.
    pub progress_every: Duration,
    /// Refusals that repeat within this time are written as one; 10 s by default.
    pub fold_within: Duration,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self {
            format: Format::Json,
            open_after: Duration::from_secs(1),
            progress_every: Duration::from_secs(60),
            fold_within: Duration::from_secs(10),
        }
    }
}

/// Records and metrics of one proxy.
#[derive(Debug)]
pub struct Telemetry {
    format: Format,
    metrics: Arc<Metrics>,
    writer: Writer,
    live: Mutex<Live<Arc<Connection>>>,
    folds: Mutex<Folds<Ended>>,
    opened: AtomicU64,
    /// Makes local connection names that nobody can guess.
    names: [RandomState; 2],
}

/// A connection that ended, and how, until it is written.
#[derive(Debug)]
struct Ended {
    connection: Arc<Connection>,
    event: Event,
    close_by: &'static str,
    error: Option<&'static str>,
    duration: Duration,
}

impl Telemetry {
    /// Records go to `writer`, which should count what it drops in [`Metrics::records_dropped`].
    pub fn new(settings: RecordSettings, metrics: Arc<Metrics>, writer: Writer) -> Arc<Self> {
        Arc::new(Self {
            format: settings.format,
            metrics,
            writer,
            live: Mutex::new(Live::new(settings.open_after, settings.progress_every)),
            folds: Mutex::new(Folds::new(settings.fold_within)),
            opened: AtomicU64::new(0),
            names: [RandomState::new(), RandomState::new()],
        })
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The metrics, for whoever serves them.
    pub fn shared_metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Connections that are open now, in both directions.
    pub fn open_connections(&self) -> usize {
        self.metrics.connections_open()
    }

    /// The bytes so far of all open connections, where the pod's own applications have ended their half of each; none
    /// where one may still speak.
    pub fn left_behind(&self) -> Option<u64> {
        let live = self.live();
        let left = live.all().map(|connection| connection.left_with());
        let (mut bytes, mut count) = (0, 0);
        for moved in left {
            bytes += moved?;
            count += 1;
        }
        drop(live);
        // Others are being made, or refused.
        (count == self.open_connections()).then_some(bytes)
    }

    /// Opens the record of a connection that was accepted. `dst` is the original destination.
    pub fn open_record(
        self: &Arc<Self>,
        direction: Direction,
        src: SocketAddr,
        dst: SocketAddr,
    ) -> Record {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let facts = Facts {
            conn_id: self.local_id(number),
            direction,
            src: End::at(src),
            dst: End::at(dst),
            src_claimed: None,
            dst_service: None,
            tls: None,
            policy: None,
        };
        Record::open(self, facts, number)
    }

    /// Writes `open`, `progress` and what was folded when they are due, for ever. One task of it is needed.
    pub async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut dropped_before = 0;
        loop {
            let now = ticks.tick().await;
            self.write_due(now);
            let dropped = self.metrics.records_dropped().get();
            if dropped > dropped_before {
                tracing::warn!(
                    lines = dropped - dropped_before,
                    "records dropped: nobody takes them in time"
                );
            }
            dropped_before = dropped;
        }
    }

    /// Writes what is folded, and waits for the writer, at most for `within`. Blocks; says whether all is out.
    pub fn close(&self, within: Duration) -> bool {
        let folded = self.folds().all();
        self.write_folded(folded);
        self.writer.close(within)
    }

    fn write_due(&self, now: Instant) {
        let due = self.live().due(now);
        for (what, connection) in due {
            let event = match what {
                Due::Open => Event::Open,
                Due::Progress => Event::Progress,
            };
            self.write_living(&connection, event);
        }
        let folded = self.folds().due(now);
        self.write_folded(folded);
    }

    fn established(&self, connection: &Arc<Connection>) {
        let at_once = self
            .live()
            .enter(Instant::now(), connection.number, Arc::clone(connection));
        if at_once {
            self.write_living(connection, Event::Open);
        }
    }

    fn ended(&self, connection: &Arc<Connection>, outcome: &Outcome) {
        self.metrics.connection_closed(outcome);
        if connection.established.load(Ordering::Relaxed) {
            self.live().leave(connection.number);
        }
        let ended = Ended {
            connection: Arc::clone(connection),
            event: event(outcome),
            close_by: close_by(outcome),
            error: outcome.as_ref().err().map(|failure| failure.error()),
            duration: connection.opened.elapsed(),
        };
        let at_once = match ended.fold_key() {
            Some(key) => self.folds().admit(Instant::now(), key, ended),
            None => Some(ended),
        };
        if let Some(ended) = at_once {
            self.write_ended(&ended, None);
        }
    }

    fn write_living(&self, connection: &Connection, event: Event) {
        let facts = connection.facts();
        // Under the same lock that an end takes first, so that nothing follows a `close`.
        if connection.has_ended() {
            return;
        }
        let happening = connection.happening(event, connection.opened.elapsed());
        self.write(&facts, &happening);
    }

    fn write_ended(&self, ended: &Ended, count: Option<u32>) {
        let happening = Happening {
            close_by: Some(ended.close_by),
            error: ended.error,
            count,
            ..ended.connection.happening(ended.event, ended.duration)
        };
        let facts = ended.connection.facts();
        self.write(&facts, &happening);
    }

    fn write(&self, facts: &Facts, happening: &Happening) {
        let mut line = LINE.take();
        line.clear();
        line::render(self.format, facts, happening, &mut line);
        self.writer.submit(&line);
        LINE.set(line);
    }

    fn write_folded(&self, folded: Vec<(Ended, u32)>) {
        for (ended, count) in folded {
            self.write_ended(&ended, Some(count));
        }
    }

    fn local_id(&self, number: u64) -> ConnId {
        let [high, low] = &self.names;
        let id = u128::from(high.hash_one(number)) << 64 | u128::from(low.hash_one(number));
        ConnId(id.to_be_bytes())
    }

    fn live(&self) -> MutexGuard<'_, Live<Arc<Connection>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folds(&self) -> MutexGuard<'_, Folds<Ended>> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn happening(&self, event: Event, duration: Duration) -> Happening {
        Happening {
            event,
            at: OffsetDateTime::now_utc(),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_recv: self.received.load(Ordering::Relaxed),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            close_by: None,
            error: None,
            count: None,
        }
    }
}

impl Ended {
    /// What never began repeats often; what carried bytes is always a line of its own.
    fn fold_key(&self) -> Option<FoldKey> {
        if !matches!(self.event, Event::Denied | Event::TlsFailed) {
            return None;
        }
        let facts = self.connection.facts();
        let source = match &facts.src.identity {
            Some(identity) => FoldSource::Identity(identity.clone()),
            None => FoldSource::Addr(facts.src.addr.ip()),
        };
        Some(FoldKey {
            event: self.event,
            source,
            dst: facts.dst.addr.ip(),
            port: facts.dst.addr.port(),
            error: self.error.unwrap_or_default(),
        })
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
