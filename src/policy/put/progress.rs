//! How far sidecars are with a change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Which sidecars enforce a change, and how long each took.
#[derive(Debug, Default)]
pub(in crate::policy) struct Progress {
    took: Vec<Duration>,
    /// By name: why it is not among them.
    stragglers: BTreeMap<String, String>,
    /// Stragglers that were counted and not named.
    unnamed: usize,
}

/// The same, as it is printed for programs.
#[derive(Debug, Serialize)]
pub(in crate::policy) struct Reported<'a> {
    proxies: usize,
    enforcing: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<u128>,
    stragglers: &'a BTreeMap<String, String>,
}

impl Progress {
    /// One more sidecar enforces it, so long after it was put in force.
    pub(super) fn enforces(&mut self, took: Duration) {
        self.took.push(took);
    }

    /// Those that do not, as known at the end.
    pub(super) fn left(&mut self, stragglers: BTreeMap<String, String>, unnamed: usize) {
        self.stragglers = stragglers;
        self.unnamed = unnamed;
    }

    /// Whether all do.
    pub(in crate::policy) fn is_done(&self) -> bool {
        self.stragglers.is_empty() && self.unnamed == 0
    }

    pub(in crate::policy) fn report(&self) -> Reported<'_> {
        let ms = |percent| Some(self.percentile(percent)?.as_millis());
        Reported {
            proxies: self.took.len() + self.stragglers.len() + self.unnamed,
            enforcing: self.took.len(),
            p50_ms: ms(50),
            p99_ms: ms(99),
            stragglers: &self.stragglers,
        }
    }

    /// For people.
    pub(in crate::policy) fn lines(&self) -> Vec<String> {
        let report = self.report();
        let (all, enforcing) = (report.proxies, report.enforcing);
        let mut lines = Vec::new();
        if all == 0 {
            lines.push("no running workload is concerned".to_owned());
            return lines;
        }
        let took = match (report.p50_ms, report.p99_ms) {
            (Some(p50), Some(p99)) => format!(": p50 {p50} ms, p99 {p99} ms"),
            _ => String::new(),
        };
        lines.push(format!("enforced by {enforcing} of {all} sidecars{took}"));
        lines.extend(
            self.stragglers
                .iter()
                .map(|(name, why)| format!("not by {name}: {why}")),
        );
        if self.unnamed > 0 {
            lines.push(format!("nor by {} more", self.unnamed));
        }
        lines
    }

    /// The least time that so many percent of those who enforce it took at most.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut took = self.took.clone();
        took.sort_unstable();
        let rank = (took.len() * percent).div_ceil(100);
        took.get(rank.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_who_enforce_it() {
        let mut progress = Progress::default();
        assert_eq!(progress.percentile(50), None);
        (1..=200)
            .rev()
            .for_each(|ms| progress.enforces(Duration::from_millis(ms)));
        assert_eq!(progress.percentile(50), Some(Duration::from_millis(100)));
        assert_eq!(progress.percentile(99), Some(Duration::from_millis(198)));
        assert!(progress.is_done());
        progress.left(
            [("shop/web-0".to_owned(), "not connected".to_owned())].into(),
            3,
        );
        assert!(!progress.is_done());
        let lines = progress.lines().join("\n");
        let expected = "enforced by 200 of 204 sidecars: p50 100 ms, p99 198 ms\nnot by shop/web-0: not connected\nnor by 3 more";
        assert_eq!(lines, expected);
    }
}
