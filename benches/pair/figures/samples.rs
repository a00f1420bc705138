//! All figures, by what they are of, and the arithmetic of them.

use std::collections::BTreeMap;

use super::results::{Results, median};
use super::rows::Row;

/// The figures of each peer, work and name, by where they were taken.
pub(super) struct Samples<'a>(BTreeMap<Key<'a>, BTreeMap<Place, f64>>);

/// Peer, work and the figure's name.
type Key<'a> = (&'a str, &'a str, &'a str);

/// Which run, and which of its rounds.
type Place = (usize, u32);

impl<'a> Samples<'a> {
    /// All of them, with the physical floor as one more peer.
    pub(super) fn of(runs: &'a [Results]) -> Self {
        let mut samples = Self(BTreeMap::new());
        for (run, results) in runs.iter().enumerate() {
            for measure in &results.measures {
                for (name, &figure) in &measure.figures {
                    let key = (measure.peer.as_str(), measure.work.as_str(), name.as_str());
                    let places = samples.0.entry(key).or_default();
                    places.insert((run, measure.round), figure);
                }
            }
        }
        samples.add_physical_floor();
        samples
    }

    /// What a connection's bytes cost at least: a plain relay on each side, and a cipher between them.
    fn add_physical_floor(&mut self) {
        for (work, figure, cipher) in PHYSICAL {
            let (Some(plain), Some(cipher)) = (
                self.0.get(&(PLAIN, work, figure)),
                self.0.get(&(CIPHER, CIPHER_WORK, cipher)),
            ) else {
                continue;
            };
            let sum = |(place, plain): (&Place, &f64)| Some((*place, plain + cipher.get(place)?));
            let sums = plain.iter().filter_map(sum).collect();
            self.0.insert((PLAIN_AND_CIPHER, work, figure), sums);
        }
    }

    fn places<'b>(&'b self, peer: &'b str, row: &Row) -> Option<&'b BTreeMap<Place, f64>> {
        self.0.get(&(peer, row.work, row.figure))
    }

    /// The median of all rounds.
    pub(super) fn middle(&self, peer: &str, row: &Row) -> Option<f64> {
        median(self.places(peer, row)?.values().copied().collect())
    }

    /// The median of the ratios within each round: what disturbs a round disturbs both.
    pub(super) fn ratio(&self, peer: &str, to: &str, row: &Row) -> Option<f64> {
        let base = self.places(to, row)?;
        let ratio = |(place, figure): (&Place, &f64)| Some(figure / base.get(place)?);
        median(self.places(peer, row)?.iter().filter_map(ratio).collect())
    }
}

/// The column that ratios are to.
pub(crate) const ENVOY: &str = "envoy";
/// The relay pair that multiplexes and does nothing else.
pub(crate) const FLOOR: &str = "floor";
/// The relay pair that only copies.
pub(crate) const PLAIN: &str = "plain";
/// What the names of our own builds begin with.
pub(crate) const PALISADE: &str = "palisade";
/// The pseudo-peer whose figures are the cipher's.
pub(crate) const CIPHER: &str = "aes-128-gcm";
/// Its only work.
pub(crate) const CIPHER_WORK: &str = "aes";
/// What each work is counted in, and the same of the cipher. Handshakes are in none: they can be shared.
const PHYSICAL: [(&str, &str, &str); 6] = [
    ("http64", "cpu_us", "both_us_per_exchange"),
    ("http1", "cpu_us", "both_us_per_exchange"),
    ("conn", "cpu_us", "both_us_per_exchange"),
    ("bulk1", "cpu_s_per_gb", "both_s_per_gb"),
    ("bulk4", "cpu_s_per_gb", "both_s_per_gb"),
    ("bulk1r", "cpu_s_per_gb", "both_s_per_gb"),
];
/// What it costs at least.
pub(super) const PLAIN_AND_CIPHER: &str = "plain + AES-GCM";
