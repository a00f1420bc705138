//! Which endpoint a connection tries first: of the nearest the one with fewer connections of two random ones, and
//! those that failed lately last.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::choose::Distance;

/// What is known of endpoints from using them.
#[derive(Debug, Default)]
pub struct Endpoints {
    used: Arc<Mutex<HashMap<SocketAddr, Use>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Use {
    active: usize,
    failed_at: Option<Instant>,
}

/// An endpoint's connection, counted until this is dropped.
#[derive(Debug)]
pub struct Active {
    addr: SocketAddr,
    used: Arc<Mutex<HashMap<SocketAddr, Use>>>,
}

impl Endpoints {
    /// The order in which to try `addrs`, as indexes; each once. `random` is asked for numbers below its
    /// argument.
    pub(super) fn order(
        &self,
        addrs: &[(SocketAddr, Distance)],
        now: Instant,
        mut random: impl FnMut(usize) -> usize,
    ) -> Vec<usize> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let use_of = |index: &usize| {
            addrs
                .get(*index)
                .and_then(|(addr, _)| used.get(addr))
                .copied()
                .unwrap_or_default()
        };
        let distance = |index: &usize| addrs.get(*index).map(|(_, distance)| *distance);
        let mut order: Vec<_> = (0..addrs.len()).collect();
        let rank = |index: &usize| (failed_lately(use_of(index), now), distance(index));
        order.sort_by_key(rank);
        let first = order.first().map(rank);
        let nearest = order.iter().take_while(|index| Some(rank(index)) == first);
        let nearest = nearest.count();
        if nearest > 1 {
            // Two different random ones to the front, the less used of them first.
            order.swap(0, random(nearest));
            order.swap(1, 1 + random(nearest - 1));
            if order.get(1).map(use_of).map(|u| u.active)
                < order.first().map(use_of).map(|u| u.active)
            {
                order.swap(0, 1);
            }
        }
        order
    }

    /// Whether `addr` did not answer lately.
    pub(super) fn is_shunned(&self, addr: SocketAddr, now: Instant) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(&addr)
            .is_some_and(|known| failed_lately(*known, now))
    }

    /// Counts a connection to `addr`.
    pub fn begin(&self, addr: SocketAddr) -> Active {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.entry(addr).or_default().active += 1;
        Active {
            addr,
            used: Arc::clone(&self.used),
        }
    }

    /// Remembers that `addr` did not answer: it is tried last for a while.
    pub fn failed(&self, addr: SocketAddr, now: Instant) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // What failed long ago and carries nothing is forgotten here, so that the table stays small.
        used.retain(|_, known| known.active > 0 || failed_lately(*known, now));
        used.entry(addr).or_default().failed_at = Some(now);
    }

    /// Remembers that `addr` answered.
    pub fn answered(&self, addr: SocketAddr) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = used.get_mut(&addr) {
            known.failed_at = None;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = used.get_mut(&self.addr) {
            known.active -= 1;
            if known.active == 0 && known.failed_at.is_none() {
                used.remove(&self.addr);
            }
        }
    }
}

fn failed_lately(known: Use, now: Instant) -> bool {
    known
        .failed_at
        .is_some_and(|at| now.duration_since(at) < SHUNNED)
}

/// How long a dead endpoint is tried last.
const SHUNNED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn near(last: u8) -> (SocketAddr, Distance) {
        (addr(last), Distance::Nearest)
    }

    #[tokio::test(start_paused = true)]
    async fn every_endpoint_is_tried_once_and_dead_ones_last() {
        let endpoints = Endpoints::default();
        let addrs: Vec<_> = (0..5).map(near).collect();
        endpoints.failed(addr(0), Instant::now());
        for n in 0..20 {
            let order = endpoints.order(&addrs, Instant::now(), |below| n % below);
            assert_eq!(order.last(), Some(&0));
            let mut all = order.clone();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4]);
        }
        tokio::time::advance(SHUNNED).await;
        let order = endpoints.order(&addrs, Instant::now(), |_| 0);
        assert_eq!(order.first(), Some(&0), "tried again after a while");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_random_ones_the_less_used_comes_first() {
        let endpoints = Endpoints::default();
        let addrs = [near(0), near(1)];
        let _busy = endpoints.begin(addr(0));
        for n in 0..10 {
            let order = endpoints.order(&addrs, Instant::now(), |below| n % below);
            assert_eq!(order, [1, 0]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nearer_ones_come_first_and_farther_ones_before_those_that_failed() {
        let endpoints = Endpoints::default();
        let addrs = [
            (addr(0), Distance::Far),
            near(1),
            (addr(2), Distance::Near),
            near(3),
        ];
        for n in 0..10 {
            let order = endpoints.order(&addrs, Instant::now(), |below| n % below);
            assert!(
                matches!(order[..], [1, 3, 2, 0] | [3, 1, 2, 0]),
                "{order:?}"
            );
        }
        endpoints.failed(addr(1), Instant::now());
        endpoints.failed(addr(3), Instant::now());
        let order = endpoints.order(&addrs, Instant::now(), |_| 0);
        assert_eq!(order, [2, 0, 1, 3]);
        assert!(endpoints.is_shunned(addr(1), Instant::now()));
        assert!(!endpoints.is_shunned(addr(2), Instant::now()));
    }

    #[test]
    fn connections_that_ended_leave_nothing_behind() {
        let endpoints = Endpoints::default();
        drop(endpoints.begin(addr(0)));
        assert!(endpoints.used.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_or_no_endpoint_is_an_order_too() {
        let endpoints = Endpoints::default();
        assert_eq!(endpoints.order(&[near(0)], Instant::now(), |_| 0), [0]);
        assert!(endpoints.order(&[], Instant::now(), |_| 0).is_empty());
    }
}
