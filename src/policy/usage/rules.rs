//! How often each rule decided; of those that never did, who does what they say.

use std::collections::{BTreeMap, HashMap};

use palisade_api::policy::{self, Mode, Rule, RuleName, Why};
use palisade_api::usage::{Usage, Use};
use serde::Serialize;
use time::OffsetDateTime;

use crate::policy::counted;
use crate::policy::rules::Rules;

/// How often a rule decided.
#[derive(Debug, Serialize)]
pub(crate) struct RuleUse {
    pub(crate) rule: String,
    pub(crate) effect: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) place: String,
    pub(crate) count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    /// How often it would have decided otherwise, in shadow.
    pub(crate) shadow_count: u64,
    /// It says nothing any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) expired: bool,
    /// Of one that never decided: the rule that allows, or denies, all that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repeats: Option<String>,
    /// Of one that never decided: the rule that denies all that it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) denied_by: Option<String>,
    /// Of one that never decided: the rules that let in whom it allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) instead: Vec<String>,
    #[serde(skip)]
    pub(crate) last_at: i64,
    #[serde(skip)]
    name: RuleName,
}

impl RuleUse {
    /// How often it did what it does now: decided, or would have decided.
    pub(crate) fn hits(&self) -> u64 {
        match self.mode {
            SHADOW => self.shadow_count,
            _ => self.count,
        }
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.hits() > 0
    }

    /// What it did in its other mode, in words, as long as that is counted.
    pub(super) fn before(&self) -> Option<String> {
        match (self.mode, self.count, self.shadow_count) {
            (SHADOW, 0, _) => None,
            (SHADOW, count, _) => Some(format!("{count}× when it was enforced")),
            (_, _, 0) => None,
            (_, _, count) => Some(format!("{count}× in shadow before")),
        }
    }

    /// Whether it ever acted, which one in shadow never does.
    pub(super) fn has_decided(&self) -> bool {
        self.count > 0
    }

    pub(super) fn name(&self) -> &RuleName {
        &self.name
    }
}

/// Each rule, those least used first.
pub(super) fn used(rules: &Rules, usage: &Usage, now: OffsetDateTime) -> Vec<RuleUse> {
    let mut uses: BTreeMap<&str, Use> = BTreeMap::new();
    for (name, each) in usage.workloads.iter().flat_map(|one| &one.totals.rules) {
        let held = uses.entry(name).or_default();
        held.count = held.count.saturating_add(each.count);
        held.shadow_count = held.shadow_count.saturating_add(each.shadow_count);
        held.last = held.last.max(each.last);
        held.shadow_last = held.shadow_last.max(each.shadow_last);
    }
    let mut listed: Vec<_> = each_rule(rules)
        .map(|(name, rule)| {
            let shown = name.to_string();
            let used = uses.get(shown.as_str()).copied().unwrap_or_default();
            let last_at = match rule.mode {
                Mode::Shadow => used.shadow_last,
                Mode::Enforce => used.last,
            };
            RuleUse {
                place: rules.place(&name),
                rule: shown,
                effect: rule.effect.as_str(),
                mode: rule.mode.as_str(),
                count: used.count,
                last: (last_at > 0).then(|| counted::moment(last_at)),
                shadow_count: used.shadow_count,
                expired: rule.has_expired(now),
                repeats: None,
                denied_by: None,
                instead: Vec::new(),
                last_at,
                name,
            }
        })
        .collect();
    listed.sort_by(|one, other| (one.hits(), &one.rule).cmp(&(other.hits(), &other.rule)));
    listed
}

const SHADOW: &str = Mode::Shadow.as_str();

fn each_rule(rules: &Rules) -> impl Iterator<Item = (RuleName, &Rule)> {
    let policies = rules.policies.iter();
    let known = policies.filter(|policy| {
        let mut own = policy.namespace.iter();
        own.all(|own| rules.sure_in(Some(own)).is_ok())
    });
    known.flat_map(|policy| policy.rule_names().zip(&policy.rules))
}

/// Says of rules that never decided which others do what they say.
pub(super) fn explain(
    listed: &mut [RuleUse],
    rules: &Rules,
    mut instead: HashMap<RuleName, std::collections::BTreeSet<String>>,
) {
    let unreachable = policy::unreachable(&rules.policies).into_iter();
    let mut unreachable: HashMap<_, _> = unreachable
        .map(|(rule, other, why)| (rule, (other, why)))
        .collect();
    for rule in listed.iter_mut().filter(|rule| !rule.is_hit()) {
        match unreachable.remove(&rule.name) {
            Some((other, Why::Repeated)) => rule.repeats = Some(other.to_string()),
            Some((other, Why::Denied)) => rule.denied_by = Some(other.to_string()),
            None => {}
        }
        let others = instead.remove(&rule.name);
        rule.instead = others.into_iter().flatten().collect();
    }
}
