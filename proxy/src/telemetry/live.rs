//! The live connections, and when the next event of each is due, without a timer for each.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Live connections by number, and two queues of what is due.
///
/// Every entry of a queue waits equally long, so each queue is in order and a sweep looks at what is due and
/// at nothing else. An entry of a connection that has ended is dropped when its time comes.
#[derive(Debug)]
pub(super) struct Live<T> {
    open_after: Duration,
    progress_every: Duration,
    connections: HashMap<u64, T>,
    opening: VecDeque<(Instant, u64)>,
    progressing: VecDeque<(Instant, u64)>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Open,
    Progress,
}

impl<T: Clone> Live<T> {
    /// No progress at all where `progress_every` is zero.
    pub(super) fn new(open_after: Duration, progress_every: Duration) -> Self {
        Self {
            open_after,
            progress_every,
            connections: HashMap::new(),
            opening: VecDeque::new(),
            progressing: VecDeque::new(),
        }
    }

    /// A connection carries bytes from now on. Says whether its `open` is due at once.
    pub(super) fn enter(&mut self, now: Instant, number: u64, connection: T) -> bool {
        self.connections.insert(number, connection);
        let at_once = self.open_after.is_zero();
        if at_once {
            self.expect_progress(now, number);
        } else {
            self.opening.push_back((now + self.open_after, number));
        }
        at_once
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.connections.remove(&number);
    }

    /// All that carry bytes.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.connections.values()
    }

    /// Everything that is due by `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Due, T)> {
        let mut due = Vec::new();
        while let Some(number) = pop_due(&mut self.progressing, now) {
            if let Some(connection) = self.connections.get(&number) {
                due.push((Due::Progress, connection.clone()));
                self.expect_progress(now, number);
            }
        }
        while let Some(number) = pop_due(&mut self.opening, now) {
            if let Some(connection) = self.connections.get(&number) {
                due.push((Due::Open, connection.clone()));
                self.expect_progress(now, number);
            }
        }
        due
    }

    fn expect_progress(&mut self, now: Instant, number: u64) {
        if !self.progress_every.is_zero() {
            self.progressing
                .push_back((now + self.progress_every, number));
        }
    }
}

fn pop_due(queue: &mut VecDeque<(Instant, u64)>, now: Instant) -> Option<u64> {
    let (at, number) = *queue.front()?;
    if at > now {
        return None;
    }
    queue.pop_front();
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn open_comes_once_and_progress_again_and_again() {
        let mut live = Live::new(SECOND, 60 * SECOND);
        let start = Instant::now();
        assert!(!live.enter(start, 1, 'a'));
        assert!(!live.enter(start, 2, 'b'));
        live.leave(2);
        assert_eq!(live.due(start), []);
        assert_eq!(live.due(start + SECOND), [(Due::Open, 'a')]);
        assert_eq!(live.due(start + 60 * SECOND), []);
        assert_eq!(live.due(start + 61 * SECOND), [(Due::Progress, 'a')]);
        assert_eq!(live.due(start + 121 * SECOND), [(Due::Progress, 'a')]);
        live.leave(1);
        assert_eq!(live.due(start + 200 * SECOND), []);
        assert!(live.opening.is_empty() && live.progressing.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn open_at_once_and_no_progress() {
        let mut live = Live::new(Duration::ZERO, Duration::ZERO);
        let start = Instant::now();
        assert!(live.enter(start, 1, 'a'));
        assert_eq!(live.due(start + 600 * SECOND), []);
    }
}
