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
    /// What is not in force as it was applied, or not known to be, and why.
    unsettled: BTreeMap<String, String>,
    /// Where several policies are counted each for itself: the same sidecar is among those of more than one.
    by_policy: Vec<OfPolicy>,
    /// Of one policy alone: pods whose sidecars do not run, and are waited for by nobody.
    not_running: usize,
}

/// How many sidecars enforce a policy, and how many it concerns.
#[derive(Debug, Clone, Serialize)]
pub(super) struct OfPolicy {
    pub(super) policy: String,
    pub(super) proxies: usize,
    pub(super) enforcing: usize,
    /// Pods beside these whose sidecars do not run.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) not_running: usize,
}

/// The same, as it is printed for programs.
#[derive(Debug, Serialize)]
pub(in crate::policy) struct Reported<'a> {
    /// None where policies are counted each for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxies: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforcing: Option<usize>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [OfPolicy],
    #[serde(skip_serializing_if = "is_zero")]
    not_running: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<u128>,
    stragglers: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unsettled: &'a BTreeMap<String, String>,
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

    /// This policy is not in force as it was applied, or nobody knows.
    pub(super) fn unsettled(&mut self, policy: String, why: String) {
        self.unsettled.insert(policy, why);
    }

    /// What is known of each of several policies; of one alone it is what is known of all.
    pub(super) fn of_policies(&mut self, mut policies: Vec<OfPolicy>) {
        // Of one that was not looked at, it is not known whom it concerns.
        policies.retain(|one| one.proxies > 0 || !self.unsettled.contains_key(&one.policy));
        match policies.as_slice() {
            [] => {}
            [one] => self.not_running = one.not_running,
            _several => self.by_policy = policies,
        }
    }

    /// Whether all do.
    pub(in crate::policy) fn is_done(&self) -> bool {
        self.stragglers.is_empty() && self.unnamed == 0 && self.unsettled.is_empty()
    }

    pub(in crate::policy) fn report(&self) -> Reported<'_> {
        let ms = |percent| Some(self.percentile(percent)?.as_millis());
        let enforcing = self.took.len();
        let all = enforcing + self.stragglers.len() + self.unnamed;
        let is_together = self.by_policy.is_empty();
        Reported {
            proxies: is_together.then_some(all),
            enforcing: is_together.then_some(enforcing),
            policies: &self.by_policy,
            not_running: self.not_running,
            p50_ms: ms(50),
            p99_ms: ms(99),
            stragglers: &self.stragglers,
            unsettled: &self.unsettled,
        }
    }

    /// For people.
    pub(in crate::policy) fn lines(&self) -> Vec<String> {
        let report = self.report();
        let took = match (report.p50_ms, report.p99_ms) {
            (Some(p50), Some(p99)) => Some(format!("p50 {p50} ms, p99 {p99} ms")),
            _ => None,
        };
        let mut lines = Vec::new();
        match (report.proxies, report.enforcing) {
            (Some(0), _) if self.unsettled.is_empty() => {
                lines.push("no running workload is concerned".to_owned());
            }
            (Some(0), _) => {}
            (Some(all), Some(enforcing)) => {
                let took = took.map(|took| format!(": {took}")).unwrap_or_default();
                lines.push(format!("enforced by {enforcing} of {all} sidecars{took}"));
            }
            (None, _) | (_, None) => {
                lines.extend(self.by_policy.iter().map(OfPolicy::line));
                lines.extend(took);
            }
        }
        lines.extend(idle(self.not_running));
        lines.extend(
            self.unsettled
                .iter()
                .map(|(policy, why)| format!("{policy}: {why}")),
        );
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

impl OfPolicy {
    fn line(&self) -> String {
        let Self {
            policy,
            proxies,
            enforcing,
            not_running,
        } = self;
        let line = match proxies {
            0 => format!("{policy}: no running workload is concerned"),
            _ => format!("{policy}: enforced by {enforcing} of {proxies} sidecars"),
        };
        let idle = idle(*not_running).map(|idle| format!("; {idle}"));
        line + &idle.unwrap_or_default()
    }
}

/// What is said of pods that nobody waits for.
fn idle(pods: usize) -> Option<String> {
    let pods = match pods {
        0 => return None,
        1 => "1 pod does".to_owned(),
        pods => format!("{pods} pods do"),
    };
    Some(format!(
        "{pods} not run yet, and will enforce it from the start"
    ))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_policies_are_counted_each_for_itself() {
        let of = |policy: &str, enforcing, proxies, not_running| OfPolicy {
            policy: policy.to_owned(),
            proxies,
            enforcing,
            not_running,
        };
        let mut progress = Progress::default();
        progress.of_policies(vec![of("a", 2, 2, 3), of("b", 0, 0, 0)]);
        (1..=2).for_each(|ms| progress.enforces(Duration::from_millis(ms)));
        progress.unsettled("c".to_owned(), "why".to_owned());
        assert!(!progress.is_done());
        let expected = "a: enforced by 2 of 2 sidecars; 3 pods do not run yet, and will enforce it from the start\nb: no running workload is concerned\n\
                        p50 1 ms, p99 2 ms\nc: why";
        assert_eq!(progress.lines().join("\n"), expected);
        let said = serde_json::to_value(progress.report()).unwrap();
        assert_eq!(said.get("proxies"), None);
        assert_eq!(said["policies"][0]["enforcing"], 2);
        assert_eq!(said["unsettled"]["c"], "why");

        let mut changed = Progress::default();
        changed.unsettled("a".to_owned(), "why".to_owned());
        changed.of_policies(vec![of("a", 0, 0, 0), of("b", 1, 1, 0), of("c", 0, 0, 0)]);
        let expected =
            "b: enforced by 1 of 1 sidecars\nc: no running workload is concerned\na: why";
        assert_eq!(changed.lines().join("\n"), expected);

        let mut alone = Progress::default();
        alone.enforces(Duration::from_millis(4));
        alone.of_policies(vec![of("a", 1, 1, 1)]);
        assert!(alone.is_done(), "nobody waits for them");
        let expected = "enforced by 1 of 1 sidecars: p50 4 ms, p99 4 ms\n\
                        1 pod does not run yet, and will enforce it from the start";
        assert_eq!(alone.lines().join("\n"), expected);
        let said = serde_json::to_value(alone.report()).unwrap();
        assert_eq!(said["not_running"], 1);
    }

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
