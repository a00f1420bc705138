//! Which pods were refused an identity lately, and why: by tokens that the API server vouched for, so that nobody
//! else is named here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Refusal;
use crate::attest::BoundPod;

/// By pod, `shop/web-0`: the reason in one word, and in a sentence.
pub(crate) type Refused = BTreeMap<String, (String, String)>;

/// Those of this replica.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    lately: Mutex<BTreeMap<String, Noted>>,
}

/// The last of a pod's.
#[derive(Debug)]
struct Noted {
    at: Instant,
    reason: &'static str,
    why: String,
}

impl Noted {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.at) < KEPT
    }
}

impl Refusals {
    /// Takes note of what became of a pod's request.
    pub(super) fn note(&self, pod: &BoundPod, judged: Result<(), &Refusal>, now: Instant) {
        let pod = format!("{}/{}", pod.namespace, pod.name);
        // Whoever panicked with the lock left no half-made entry: each change is one insertion.
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        match judged {
            // It asks again in a moment.
            Ok(()) | Err(Refusal::NotVisibleYet(_)) => drop(lately.remove(&pod)),
            Err(refusal) => {
                lately.retain(|_, noted| noted.is_fresh(now));
                if lately.len() < MOST || lately.contains_key(&pod) {
                    lately.insert(
                        pod,
                        Noted {
                            at: now,
                            reason: refusal.reason(),
                            why: refusal.to_string(),
                        },
                    );
                }
            }
        }
    }

    /// Whoever was refused, and not let in since.
    pub(crate) fn lately(&self, now: Instant) -> Refused {
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = lately.iter().filter(|(_, noted)| noted.is_fresh(now));
        fresh
            .map(|(pod, noted)| (pod.clone(), (noted.reason.to_owned(), noted.why.clone())))
            .collect()
    }
}

/// A refused proxy asks again long before.
const KEPT: Duration = Duration::from_secs(300);
/// More than these have one cause.
const MOST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_until_the_pod_is_let_in_or_asks_no_more() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let pod = |name: &str| format!("shop/{name}/u").parse().unwrap();
        let gone = Refusal::PodGone("shop/a/u".into());
        refusals.note(&pod("a"), Err(&gone), start);
        refusals.note(&pod("b"), Err(&gone), start);
        let names = |at| refusals.lately(at).into_keys().collect::<Vec<_>>();
        assert_eq!(names(start), ["shop/a", "shop/b"]);
        assert_eq!(refusals.lately(start)["shop/a"].0, "pod_gone");
        refusals.note(&pod("a"), Ok(()), start);
        assert_eq!(names(start), ["shop/b"]);
        assert!(names(start + KEPT).is_empty());
        for number in 0..2 * MOST {
            refusals.note(&pod(&number.to_string()), Err(&gone), start + KEPT);
        }
        assert_eq!(names(start + KEPT).len(), MOST);
    }
}
