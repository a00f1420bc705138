//! Clients that stay with an endpoint: a pod is one client, so there is one endpoint for each service.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Which workload each service was last reached at, for as long as that counts.
#[derive(Debug, Default)]
pub struct Affinity {
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    workload: String,
    until: Instant,
}

/// What a connection must know to stay with its service's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    /// `namespace/name` of the service.
    pub(super) service: String,
    /// For how long.
    pub(super) time: Duration,
}

impl Affinity {
    /// The workload, `namespace/name`, that the service's connections stay with.
    pub(super) fn workload(&self, service: &str, now: Instant) -> Option<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let found = held.get(service).filter(|held| now < held.until)?;
        Some(found.workload.clone())
    }

    /// A connection to `workload` begins.
    pub(super) fn begin(&self, stay: &Stay, workload: String, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST_SERVICES && !held.contains_key(&stay.service) {
            held.retain(|_, held| now < held.until);
            let soonest = held.iter().min_by_key(|(_, held)| held.until);
            if held.len() >= MOST_SERVICES
                && let Some(soonest) = soonest.map(|(service, _)| service.clone())
            {
                held.remove(&soonest);
            }
        }
        let until = now + stay.time;
        held.insert(stay.service.clone(), Held { workload, until });
    }

    /// A connection to `workload` has ended: its time begins anew, unless another took its place.
    pub(super) fn end(&self, stay: &Stay, workload: &str, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.get_mut(&stay.service)
            && held.workload == workload
        {
            held.until = now + stay.time;
        }
    }
}

/// Most services that are remembered; of more, those whose time ends first are forgotten.
const MOST_SERVICES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn stay(service: &str) -> Stay {
        Stay {
            service: service.into(),
            time: HOUR,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_stays_for_its_time_after_the_last_connection() {
        let affinity = Affinity::default();
        let orders = stay("shop/orders");
        let held = || affinity.workload("shop/orders", Instant::now());
        assert_eq!(held(), None);
        affinity.begin(&orders, "shop/a".into(), Instant::now());
        tokio::time::advance(HOUR / 2).await;
        assert_eq!(held().as_deref(), Some("shop/a"));
        affinity.end(&orders, "shop/a", Instant::now());
        tokio::time::advance(HOUR - Duration::from_millis(1)).await;
        assert_eq!(held().as_deref(), Some("shop/a"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(held(), None);
        assert_eq!(affinity.workload("shop/web", Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_endpoint_counts_however_late_an_older_connection_ends() {
        let affinity = Affinity::default();
        let orders = stay("shop/orders");
        affinity.begin(&orders, "shop/a".into(), Instant::now());
        affinity.begin(&orders, "shop/b".into(), Instant::now());
        affinity.end(&orders, "shop/a", Instant::now());
        let held = affinity.workload("shop/orders", Instant::now());
        assert_eq!(held.as_deref(), Some("shop/b"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_forgets_what_ends_first() {
        let affinity = Affinity::default();
        for n in 0..=MOST_SERVICES {
            affinity.begin(&stay(&n.to_string()), "a".into(), Instant::now());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(affinity.held.lock().unwrap().len(), MOST_SERVICES);
        assert_eq!(affinity.workload("0", Instant::now()), None);
        assert!(affinity.workload("1", Instant::now()).is_some());
    }
}
