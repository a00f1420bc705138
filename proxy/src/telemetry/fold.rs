//! What repeats is put together: the first is written at once, the others of a window as one, counted.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use palisade_api::spiffe::SpiffeId;
use tokio::time::Instant;

use crate::outcome::Event;

/// What makes two refusals the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FoldKey {
    pub(super) event: Event,
    pub(super) source: FoldSource,
    pub(super) dst: IpAddr,
    pub(super) port: u16,
    pub(super) error: &'static str,
}

/// Who was refused: the proven name, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum FoldSource {
    Identity(SpiffeId),
    Addr(IpAddr),
}

/// The open windows, each with the last `T` that fell into it.
#[derive(Debug)]
pub(super) struct Folds<T> {
    within: Duration,
    windows: HashMap<FoldKey, Window<T>>,
    /// In the order in which windows close: they all last equally long.
    closing: VecDeque<(Instant, FoldKey)>,
}

#[derive(Debug)]
struct Window<T> {
    last: Option<T>,
    count: u32,
}

impl<T> Folds<T> {
    pub(super) fn new(within: Duration) -> Self {
        Self {
            within,
            windows: HashMap::new(),
            closing: VecDeque::new(),
        }
    }

    /// Gives `item` back if it is to be written at once: the first of its kind, or one more kind than fits.
    pub(super) fn admit(&mut self, now: Instant, key: FoldKey, item: T) -> Option<T> {
        if let Some(window) = self.windows.get_mut(&key) {
            window.last = Some(item);
            window.count = window.count.saturating_add(1);
            return None;
        }
        if self.windows.len() < MAX_WINDOWS {
            self.closing.push_back((now + self.within, key.clone()));
            self.windows.insert(
                key,
                Window {
                    last: None,
                    count: 0,
                },
            );
        }
        Some(item)
    }

    /// Closes the windows whose time is over: what was counted, and how often.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(T, u32)> {
        let over = self.closing.partition_point(|(at, _)| *at <= now);
        self.close(over)
    }

    /// Closes all windows.
    pub(super) fn all(&mut self) -> Vec<(T, u32)> {
        self.close(self.closing.len())
    }

    fn close(&mut self, first: usize) -> Vec<(T, u32)> {
        let windows = &mut self.windows;
        self.closing
            .drain(..first)
            .filter_map(|(_, key)| windows.remove(&key))
            .filter_map(|window| Some((window.last?, window.count)))
            .collect()
    }
}

const MAX_WINDOWS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FoldKey {
        FoldKey {
            event: Event::Denied,
            source: FoldSource::Addr([10, 0, 0, 1].into()),
            dst: [10, 0, 0, 2].into(),
            port,
            error: "no_rule",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_passes_and_the_others_are_counted_until_the_window_closes() {
        let mut folds = Folds::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(folds.admit(start, key(1), 'a'), Some('a'));
        assert_eq!(folds.admit(start, key(1), 'b'), None);
        assert_eq!(folds.admit(start, key(2), 'x'), Some('x'));
        assert_eq!(
            folds.admit(start + Duration::from_secs(9), key(1), 'c'),
            None
        );
        assert_eq!(folds.due(start + Duration::from_secs(9)), []);
        assert_eq!(folds.due(start + Duration::from_secs(10)), [('c', 2)]);
        assert_eq!(
            folds.admit(start + Duration::from_secs(10), key(1), 'd'),
            Some('d')
        );
        assert_eq!(
            folds.admit(start + Duration::from_secs(10), key(1), 'e'),
            None
        );
        assert_eq!(folds.all(), [('e', 1)]);
        assert!(folds.windows.is_empty() && folds.closing.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_what_does_not_fit_is_written() {
        let mut folds = Folds::new(Duration::from_secs(10));
        let now = Instant::now();
        for port in 0..2000 {
            assert_eq!(folds.admit(now, key(port), ()), Some(()));
        }
        assert_eq!(folds.windows.len(), MAX_WINDOWS);
        assert_eq!(folds.admit(now, key(1999), ()), Some(()));
    }
}
