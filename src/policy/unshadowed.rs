//! The rules as they would be, were some of those in shadow enforced.

use palisade_api::policy::{Effect, Mode, Policy, Rule};

use super::rules::Rules;

/// The allowances in shadow alone, compiled as enforced ones.
pub(crate) fn allowances(rules: &Rules) -> Policy {
    let mut policies = rules.policies.clone();
    for policy in &mut policies {
        let is_meant = |rule: &Rule| (rule.effect, rule.mode) == (Effect::Allow, Mode::Shadow);
        policy.rules.retain(is_meant);
        for rule in &mut policy.rules {
            rule.mode = Mode::Enforce;
        }
    }
    Policy::new(policies)
}

/// All rules compiled, those that are `meant` as enforced ones.
pub(crate) fn with(rules: &Rules, meant: impl Fn(&Rule) -> bool) -> Policy {
    let mut policies = rules.policies.clone();
    let all = policies.iter_mut().flat_map(|policy| &mut policy.rules);
    all.filter(|rule| meant(rule))
        .for_each(|rule| rule.mode = Mode::Enforce);
    Policy::new(policies)
}
