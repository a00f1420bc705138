//! By which part of their target rules are found.

use std::collections::BTreeMap;

use super::lists::ByName;
use super::{Destination, Target};

/// The one part of a target by which its rules are found; the rest of it is compared then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Anchor {
    Account(String),
    Label(String, String),
    Whole,
}

/// How many rules share each part of a target.
#[derive(Debug, Default)]
pub(super) struct Frequencies(BTreeMap<Anchor, usize>);

impl Frequencies {
    pub(super) fn of<'a>(targets: impl Iterator<Item = &'a Target>) -> Self {
        let mut frequencies = Self::default();
        for anchor in targets.flat_map(anchors) {
            *frequencies.0.entry(anchor).or_default() += 1;
        }
        frequencies
    }

    /// The part that the fewest rules share, so that few are compared in vain.
    pub(super) fn rarest(&self, target: &Target) -> Anchor {
        let rarest = anchors(target).min_by_key(|anchor| self.0.get(anchor));
        rarest.unwrap_or(Anchor::Whole)
    }
}

fn anchors(target: &Target) -> impl Iterator<Item = Anchor> {
    let account = target.service_account.clone().map(Anchor::Account);
    let labels = target.labels.iter();
    account
        .into_iter()
        .chain(labels.map(|(key, value)| Anchor::Label(key.clone(), value.clone())))
}

/// The anchors of one namespace, numbered.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    count: usize,
    whole: Option<usize>,
    accounts: ByName<usize>,
    labels: ByName<ByName<usize>>,
}

impl Anchors {
    /// The number of an anchor, which is a new one if it was not there.
    pub(super) fn number(&mut self, anchor: &Anchor) -> usize {
        let number = match anchor {
            Anchor::Whole => self.whole.get_or_insert(self.count),
            Anchor::Account(account) => self.accounts.entry(account.clone()).or_insert(self.count),
            Anchor::Label(key, value) => {
                let values = self.labels.entry(key.clone()).or_default();
                values.entry(value.clone()).or_insert(self.count)
            }
        };
        self.count = self.count.max(*number + 1);
        *number
    }

    /// Whether there is no rule.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The numbers of those that fit the destination.
    pub(super) fn of(&self, destination: &Destination<'_>) -> impl Iterator<Item = usize> {
        let account = self.accounts.get(destination.service_account);
        let labels = destination
            .labels
            .iter()
            .filter_map(|(key, value)| self.labels.get(key)?.get(value));
        self.whole.iter().chain(account).chain(labels).copied()
    }
}
