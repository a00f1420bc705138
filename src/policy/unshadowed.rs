//! The rules as they would be, were some of those in shadow enforced.

use palisade_api::policy::{Mode, Policy, Rule};

use super::rules::Rules;

/// All rules compiled, those that are `meant` as enforced ones.
pub(crate) fn with(rules: &Rules, meant: impl Fn(&Rule) -> bool) -> Policy {
    let mut policies = rules.policies.clone();
    let all = policies.iter_mut().flat_map(|policy| &mut policy.rules);
    all.filter(|rule| meant(rule))
        .for_each(|rule| rule.mode = Mode::Enforce);
    Policy::new(policies)
}
