//! Lists of rules: how they are kept, and how several are read as one.

use std::collections::HashMap;

/// What is found by a name.
pub(super) type ByName<T> = HashMap<String, T>;

/// A rule and the anchor that it is found by, as their numbers. Rules are numbered in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Anchored {
    pub(super) anchor: usize,
    pub(super) rule: usize,
}

/// Rules about one source, by their anchors.
///
/// One list, as most are short: nearly every source has but a few rules.
#[derive(Debug, Default)]
pub(super) struct ByAnchor(Vec<Anchored>);

impl ByAnchor {
    pub(super) fn push(&mut self, rule: Anchored) {
        self.0.push(rule);
    }

    /// To be called once all are there, and before any is looked for.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
        // A rule may name a source twice.
        self.0.dedup();
        self.0.shrink_to_fit();
    }

    /// The numbers of all rules, in the order of their anchors.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|anchored| anchored.rule)
    }

    /// The rules of one anchor, in the order of their names.
    pub(super) fn at(&self, anchor: usize) -> &[Anchored] {
        let first = self.0.partition_point(|rule| rule.anchor < anchor);
        let rest = self.0.get(first..).unwrap_or_default();
        let count = rest.partition_point(|rule| rule.anchor == anchor);
        rest.get(..count).unwrap_or_default()
    }
}

/// Lists of rules as one, which is made only as far as it is read: in the order of their names, each once.
#[derive(Debug, Default)]
pub(super) struct Merged<'a>(Vec<&'a [Anchored]>);

impl<'a> Merged<'a> {
    /// A list in the order of names.
    pub(super) fn add(&mut self, list: &'a [Anchored]) {
        if !list.is_empty() {
            self.0.push(list);
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let firsts = self.0.iter().filter_map(|list| list.first());
        let least = firsts.map(|first| first.rule).min()?;
        for list in &mut self.0 {
            if let Some((first, rest)) = list.split_first()
                && first.rule == least
            {
                *list = rest;
            }
        }
        Some(least)
    }
}
