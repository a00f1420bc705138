//! Allowances that act, found by the workload that they protect.

use std::collections::HashMap;

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Rule, RuleName, Target};
use time::OffsetDateTime;

use crate::policy::rules::Rules;
use crate::policy::subject::Called;

/// An allowance that acts, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance<'a> {
    pub(super) policy: &'a AuthorizationPolicy,
    pub(super) rule: &'a Rule,
    pub(super) has_decided: bool,
}

/// What the rules of one called workload permit one source.
#[derive(Debug)]
pub(super) struct Permitted<'a> {
    pub(super) from: &'a From,
    pub(super) by: Vec<Allowance<'a>>,
}

/// Policies with allowances that act, by what they select: a workload is held against those only that may mean it.
pub(super) struct Allowances<'a> {
    by_target: HashMap<Key<'a>, Vec<Acting<'a>>>,
}

/// A namespace, none for cluster policies, and what is asked for there.
type Key<'a> = (Option<&'a str>, Selects<'a>);

/// A policy, and its allowances that act.
type Acting<'a> = (&'a AuthorizationPolicy, Vec<Allowance<'a>>);

/// One thing that a policy asks for of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Selects<'a> {
    Any,
    Account(&'a str),
    Label(&'a str, &'a str),
}

impl<'a> Selects<'a> {
    fn of(target: &'a Target) -> Self {
        match (&target.service_account, target.labels.first_key_value()) {
            (Some(account), _) => Self::Account(account),
            (None, Some((key, value))) => Self::Label(key, value),
            (None, None) => Self::Any,
        }
    }
}

impl<'a> Allowances<'a> {
    pub(super) fn of(
        rules: &'a Rules,
        has_decided: &dyn Fn(&RuleName) -> bool,
        now: OffsetDateTime,
    ) -> Self {
        let mut by_target = HashMap::<_, Vec<_>>::new();
        for policy in &rules.policies {
            let all = policy.rule_names().zip(&policy.rules);
            let acting = all.filter(|(_, rule)| rule.acts(Effect::Allow, now));
            let acting = acting.map(|(name, rule)| Allowance {
                policy,
                rule,
                has_decided: has_decided(&name),
            });
            let key = (policy.namespace.as_deref(), Selects::of(&policy.target));
            let held = by_target.entry(key).or_default();
            held.push((policy, acting.collect()));
        }
        Self { by_target }
    }

    /// What those that protect a workload permit, by source.
    pub(super) fn of_called(&self, called: &Called) -> Vec<Permitted<'a>> {
        let labels = called.labels.iter();
        let labels = labels.map(|(key, value)| Selects::Label(key, value));
        let selects = [Selects::Any, Selects::Account(&called.service_account)];
        let (mut by_source, mut permitted) = (HashMap::new(), Vec::<Permitted<'_>>::new());
        for selects in selects.into_iter().chain(labels) {
            for namespace in [Some(called.namespace.as_str()), None] {
                let acting = self.by_target.get(&(namespace, selects));
                for (policy, allowances) in acting.into_iter().flatten() {
                    if !is_selected(policy, called) {
                        continue;
                    }
                    for one in allowances {
                        for from in &one.rule.from {
                            let index = *by_source.entry(from).or_insert(permitted.len());
                            match permitted.get_mut(index) {
                                Some(held) => held.by.push(*one),
                                None => permitted.push(Permitted {
                                    from,
                                    by: vec![*one],
                                }),
                            }
                        }
                    }
                }
            }
        }
        permitted
    }
}

fn is_selected(policy: &AuthorizationPolicy, called: &Called) -> bool {
    policy.selects(&called.namespace, &called.service_account, &called.labels)
}

impl Allowance<'_> {
    pub(super) fn name(&self) -> RuleName {
        RuleName {
            namespace: self.policy.namespace.clone(),
            policy: self.policy.name.clone(),
            rule: self.rule.name.clone(),
        }
    }
}
