//! Rules that let somebody in for a while only, and why: what records say of whom they let in.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::{AuthorizationPolicy, Effect, Policy, RuleName};

/// Until when a rule lets in, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// From this moment on it lets nobody in.
    pub expires: OffsetDateTime,
    /// The rule's reason, as it was written; empty: not said.
    pub reason: String,
}

/// The rules that allow and expire.
pub(super) type ExpiringRules = HashMap<RuleName, Arc<Expiring>>;

pub(super) fn of(objects: &[AuthorizationPolicy]) -> ExpiringRules {
    let rules = objects
        .iter()
        .flat_map(|object| object.rule_names().zip(&object.rules));
    rules
        .filter(|(_, rule)| rule.effect == Effect::Allow)
        .filter_map(|(name, rule)| {
            let expiring = Expiring {
                expires: rule.expires?,
                reason: rule.reason.clone(),
            };
            Some((name, Arc::new(expiring)))
        })
        .collect()
}

impl Policy {
    /// Until when a rule lets in, and why; none for one that denies, or that has no end.
    pub fn expiring(&self, rule: &RuleName) -> Option<&Arc<Expiring>> {
        self.expiring.get(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{From, Mode, Rule, Target};

    fn rule(name: &str, effect: Effect, expires: Option<OffsetDateTime>) -> Rule {
        Rule {
            name: name.to_owned(),
            effect,
            from: vec![From::Namespace("shop".to_owned())],
            ports: Vec::new(),
            mode: Mode::Enforce,
            expires,
            reason: "INC-1234".to_owned(),
        }
    }

    #[test]
    fn only_allowances_that_end_are_told_of() {
        let end = OffsetDateTime::UNIX_EPOCH;
        let policy = Policy::new(vec![AuthorizationPolicy {
            namespace: Some("shop".to_owned()),
            name: "orders".to_owned(),
            target: Target::default(),
            rules: vec![
                rule("a", Effect::Allow, Some(end)),
                rule("b", Effect::Allow, None),
                rule("c", Effect::Deny, Some(end)),
            ],
        }]);
        let name = |rule: &str| RuleName {
            namespace: Some("shop".to_owned()),
            policy: "orders".to_owned(),
            rule: rule.to_owned(),
        };
        let told = policy.expiring(&name("a")).unwrap();
        assert_eq!((told.expires, told.reason.as_str()), (end, "INC-1234"));
        assert_eq!(policy.expiring(&name("b")), None);
        assert_eq!(policy.expiring(&name("c")), None);
    }
}
