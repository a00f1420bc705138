//! Records as they come, of pods that come and go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::read::{Read, Source, Span};
use super::{Asked, Warned, pods};
use crate::kubernetes::pod;
use crate::records::filter::Timed;
use crate::records::plain;
use crate::records::print::Printer;

/// Prints records until Ctrl-C; says how many lines were none.
pub(super) async fn follow(
    client: &Client,
    asked: &Asked,
    first: Vec<Pod>,
    mut printer: Printer,
    mut warned: Warned,
) -> anyhow::Result<u64> {
    let (sender, mut records) = mpsc::channel(AHEAD);
    let mut readers = Readers::new(client.clone(), sender);
    readers.start(&first, asked.age);
    let mut reorder = Reorder::default();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.reset();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut skipped = 0;
    loop {
        let due = reorder.due().unwrap_or_else(|| Instant::now() + LOOK_EVERY);
        tokio::select! {
            Some(timed) = records.recv() => {
                if readers.is_new(&timed) {
                    reorder.push(Instant::now(), timed);
                }
            }
            () = sleep_until(due) => {}
            _ = &mut interrupted => break,
            Some(ended) = readers.running.join_next() => {
                let (key, read): (String, Read) = ended?;
                skipped += read.skipped;
                readers.names.remove(&key);
                if let Some(error) = read.error {
                    warned.unreadable(&key, &error);
                }
            }
            _ = look.tick() => {
                printer.pass_time(OffsetDateTime::now_utc())?;
                // An API server that is away, or a workload that is at zero, comes back.
                if let Ok(now) = pods(client, asked, &mut warned).await {
                    readers.start(&now, None);
                }
            }
        }
        for timed in reorder.take(Instant::now()) {
            printer.take(timed)?;
        }
    }
    for timed in reorder.take(Instant::now() + WINDOW) {
        printer.take(timed)?;
    }
    printer.finish()?;
    Ok(skipped)
}

/// The streams that are being read, and how far.
struct Readers {
    client: Client,
    sender: mpsc::Sender<Timed>,
    running: JoinSet<(String, Read)>,
    names: BTreeSet<String>,
    seen: BTreeMap<String, Seen>,
}

impl Readers {
    fn new(client: Client, sender: mpsc::Sender<Timed>) -> Self {
        Self {
            client,
            sender,
            running: JoinSet::new(),
            names: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Reads those that are not being read: from where they stood, or else from `age` on.
    fn start(&mut self, pods: &[Pod], age: Option<Duration>) {
        for source in pods
            .iter()
            .filter(|one| !pod::is_finished(one))
            .map(Source::of)
        {
            if !self.names.insert(source.key.clone()) {
                continue;
            }
            let age = self.seen.get(&source.key).map_or(age, Seen::age);
            let span = Span { age, follow: true };
            let (client, sender) = (self.client.clone(), self.sender.clone());
            self.running.spawn(async move {
                let read = source.read(client, span, sender).await;
                (source.key, read)
            });
        }
    }

    fn is_new(&mut self, timed: &Timed) -> bool {
        let workload = timed.record.get("workload").and_then(|name| name.as_str());
        let seen = self.seen.entry(workload.unwrap_or_default().to_owned());
        seen.or_default().is_new(timed)
    }
}

/// How far a log was read, so that a stream that begins again repeats nothing: the API server counts whole seconds.
#[derive(Debug, Default)]
struct Seen {
    last: Option<OffsetDateTime>,
    /// The records of the last seconds.
    recent: BTreeSet<(OffsetDateTime, String)>,
}

impl Seen {
    fn is_new(&mut self, timed: &Timed) -> bool {
        let field = |key| timed.record.get(key).map(plain).unwrap_or_default();
        let name = format!("{} {}", field("conn.id"), field("event"));
        if !self.recent.insert((timed.at, name)) {
            return false;
        }
        let last = self.last.map_or(timed.at, |last| last.max(timed.at));
        self.last = Some(last);
        let earliest = last - OVERLAP;
        while self.recent.first().is_some_and(|(at, _)| *at < earliest) {
            self.recent.pop_first();
        }
        true
    }

    /// How long ago the last record was, and a little more.
    fn age(&self) -> Option<Duration> {
        let last = self.last?;
        Duration::try_from(OffsetDateTime::now_utc() - last + time::Duration::SECOND).ok()
    }
}

/// Brings records of many streams into the order of their time, as far as a short wait can.
#[derive(Debug, Default)]
struct Reorder {
    earliest: BinaryHeap<Reverse<Held>>,
    /// When each must be shown, in the order in which they came.
    deadlines: VecDeque<(Instant, OffsetDateTime)>,
    arrived: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Held {
    timed: Timed,
    arrived: u64,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |held: &Self| (held.timed.at, held.arrived);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Reorder {
    fn push(&mut self, now: Instant, timed: Timed) {
        self.arrived += 1;
        self.deadlines.push_back((now + WINDOW, timed.at));
        let arrived = self.arrived;
        self.earliest.push(Reverse(Held { timed, arrived }));
    }

    /// When the next must be shown.
    fn due(&self) -> Option<Instant> {
        self.deadlines.front().map(|(due, _)| *due)
    }

    /// Those whose time has come, and all that belong before them.
    fn take(&mut self, now: Instant) -> Vec<Timed> {
        let mut until = None;
        while let Some((due, at)) = self.deadlines.front()
            && *due <= now
        {
            until = until.max(Some(*at));
            self.deadlines.pop_front();
        }
        let mut taken = Vec::new();
        while let Some(Reverse(first)) = self.earliest.peek()
            && Some(first.timed.at) <= until
        {
            taken.extend(self.earliest.pop().map(|Reverse(held)| held.timed));
        }
        taken
    }
}

/// How many records are read ahead.
const AHEAD: usize = 1024;
/// How long a record waits for an earlier one.
const WINDOW: Duration = Duration::from_millis(500);
/// How often new pods, and streams that ended, are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How much a stream that begins again may repeat.
const OVERLAP: time::Duration = time::Duration::seconds(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(millisecond: u32) -> Timed {
        let line = format!(
            r#"{{"time":"2026-11-21T12:00:00.{millisecond:03}Z","event":"close","conn.id":"{millisecond}"}}"#
        );
        Timed::of_line(&line).unwrap()
    }

    fn ids(records: Vec<Timed>) -> Vec<String> {
        let id = |timed: Timed| timed.record["conn.id"].as_str().unwrap().to_owned();
        records.into_iter().map(id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_record_is_put_right_and_none_waits_longer_than_the_window() {
        let mut reorder = Reorder::default();
        let start = Instant::now();
        reorder.push(start, timed(30));
        reorder.push(start + WINDOW / 2, timed(10));
        reorder.push(start + WINDOW / 2, timed(50));
        assert!(reorder.take(start + WINDOW / 2).is_empty());
        assert_eq!(reorder.due(), Some(start + WINDOW));
        assert_eq!(ids(reorder.take(start + WINDOW)), ["10", "30"]);
        assert_eq!(ids(reorder.take(start + WINDOW * 2)), ["50"]);
        assert_eq!(reorder.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_of_the_past_is_shown_when_it_comes_too_late() {
        let mut reorder = Reorder::default();
        let start = Instant::now();
        reorder.push(start, timed(30));
        assert_eq!(ids(reorder.take(start + WINDOW)), ["30"]);
        reorder.push(start + WINDOW, timed(10));
        assert_eq!(ids(reorder.take(start + WINDOW * 2)), ["10"]);
    }

    #[test]
    fn a_stream_that_begins_again_repeats_nothing_and_loses_nothing() {
        let mut seen = Seen::default();
        let first: Vec<bool> = [1, 2, 2, 3].map(|at| seen.is_new(&timed(at))).into();
        assert_eq!(first, [true, true, false, true]);
        let mut same_moment = timed(3);
        same_moment.record.insert("conn.id".into(), "other".into());
        assert!(!seen.is_new(&timed(3)));
        assert!(seen.is_new(&same_moment));
        assert!(seen.is_new(&timed(4)));
    }
}
