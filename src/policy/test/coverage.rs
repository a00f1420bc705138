//! Which rules no expectation exercised.

use std::collections::BTreeSet;

use palisade_api::policy::RuleName;
use serde::Serialize;

use super::super::rules::Rules;

/// How many rules decided something, or would have if they were not in shadow.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Coverage {
    pub(super) rules: usize,
    pub(super) exercised: usize,
    /// In the order of their names.
    pub(super) unexercised: Vec<Idle>,
    #[serde(rename = "min_percent", skip_serializing_if = "Option::is_none")]
    min: Option<u8>,
    percent: usize,
}

/// A rule that decided nothing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Idle {
    pub(super) rule: String,
    pub(super) place: String,
}

impl Coverage {
    /// `min` is the percentage that is enough; none: any.
    pub(super) fn new(rules: &Rules, exercised: &BTreeSet<RuleName>, min: Option<u8>) -> Self {
        let all = rules.policies.iter().flat_map(|policy| policy.rule_names());
        let all: BTreeSet<_> = all.collect();
        let idle = all.difference(exercised).map(|rule| Idle {
            rule: rule.to_string(),
            place: rules.place(rule),
        });
        let unexercised: Vec<_> = idle.collect();
        let done = all.len() - unexercised.len();
        Self {
            rules: all.len(),
            exercised: done,
            unexercised,
            min,
            // Rounded down: 100 means all.
            percent: (done * 100).checked_div(all.len()).unwrap_or(100),
        }
    }

    pub(super) fn is_enough(&self) -> bool {
        self.min.is_none_or(|min| self.percent >= usize::from(min))
    }

    /// What is enough, where something is.
    pub(super) fn min_percent(&self) -> Option<u8> {
        self.min
    }

    /// In a line.
    pub(super) fn in_words(&self) -> String {
        let Self {
            rules,
            exercised,
            percent,
            ..
        } = self;
        let enough = match self.min {
            Some(min) if !self.is_enough() => format!(", and {min} % are asked for"),
            _ => String::new(),
        };
        format!("coverage: {exercised} of {rules} rules ({percent} %){enough}")
    }
}
