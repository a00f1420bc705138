//! How many handshakes one source may have in progress at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts handshakes in progress, by source address.
#[derive(Debug)]
pub struct Sources {
    most: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A handshake's place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    source: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Sources {
    /// At most `most` handshakes at once from one address.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            counts: Arc::default(),
        }
    }

    /// A place for one more handshake of `source`, if there is one.
    pub fn admit(&self, source: IpAddr) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place {
            source,
            counts: Arc::clone(&self.counts),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_places_and_leaves_nothing_behind() {
        let sources = Sources::new(2);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = sources.admit(one);
        let second = sources.admit(one);
        assert!(first.is_some() && second.is_some());
        assert!(sources.admit(one).is_none());
        assert!(sources.admit(other).is_some());
        drop(first);
        assert!(sources.admit(one).is_some());
        drop(second);
        assert!(sources.counts.lock().unwrap().is_empty());
    }
}
