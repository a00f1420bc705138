//! The results of a run, as they are kept in a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A run, or what there is of it so far.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) setting: Setting,
    pub(crate) measures: Vec<Measure>,
}

/// Where and how it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// UTC, by RFC 3339.
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) rounds: u32,
    /// Of one measurement.
    pub(crate) seconds: u32,
    /// What each peer's program calls itself; of Palisade also which program the sidecar is.
    pub(crate) peers: BTreeMap<String, String>,
}

/// One piece of work on one pair, in one round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) round: u32,
    pub(crate) peer: String,
    pub(crate) work: String,
    /// By name; the name ends with the unit where there is one.
    pub(crate) figures: Figures,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// Figures by their names.
pub(crate) type Figures = BTreeMap<String, f64>;

/// The ratio of what is never answered: JSON has no infinity.
pub(crate) const BLOCKED: f64 = 1e9;

/// Named figures.
pub(crate) fn named<const N: usize>(figures: [(&str, f64); N]) -> Figures {
    let own = figures.map(|(name, figure)| (name.to_owned(), figure));
    BTreeMap::from(own)
}

/// The middle one, or the mean of the two that are.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    let high = *figures.get(upper)?;
    if figures.len() % 2 == 1 {
        return Some(high);
    }
    Some((figures.get(upper - 1)? + high) / 2.0)
}
