//! What is good and yet may not do what its author thinks.

use crate::policy::{AuthorizationPolicy, Effect, From, Mode, Rule};

/// A line for each denial of an identity in a permissive namespace: its bearer can come there without its sidecar,
/// and so without its identity.
///
/// `permissive` names the namespaces whose `palisade.dev/mtls` says so.
pub fn warnings(policy: &AuthorizationPolicy, permissive: &[&str]) -> Vec<String> {
    let mut open: Vec<_> = permissive
        .iter()
        .copied()
        .filter(|namespace| concerns(policy, namespace))
        .collect();
    open.sort_unstable();
    let Some((first, others)) = open.split_first() else {
        return Vec::new();
    };
    let others = match others.len() {
        0 => String::new(),
        count => format!(" (and in {count} more)"),
    };
    let denials = policy.rules.iter().filter(|rule| denies_an_identity(rule));
    let warning = |rule: &Rule| {
        format!(
            "the rule `{}` denies identities in `{first}`{others}, which is permissive: they can come in clear instead; make the namespace strict, or deny `unauthenticated` too",
            rule.name
        )
    };
    denials.map(warning).collect()
}

fn concerns(policy: &AuthorizationPolicy, namespace: &str) -> bool {
    match &policy.namespace {
        Some(own) => own == namespace,
        None => {
            let named = &policy.target.namespaces;
            named.is_empty() || named.iter().any(|named| named == namespace)
        }
    }
}

fn denies_an_identity(rule: &Rule) -> bool {
    let is_identity = |from: &From| match from {
        From::ServiceAccount { .. }
        | From::Identity(_)
        | From::Namespace(_)
        | From::TrustDomain(_) => true,
        From::Unauthenticated(_) => false,
    };
    (rule.effect, rule.mode) == (Effect::Deny, Mode::Enforce) && rule.from.iter().any(is_identity)
}

#[cfg(test)]
mod tests {
    use super::super::{Manifest, parse};
    use super::*;

    fn warned(target: &str, rule: &str, permissive: &[&str]) -> usize {
        let text = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: ClusterAuthorizationPolicy\nmetadata: {{name: a}}\nspec: {{{target} rules: [{{name: r, {rule}}}]}}\n"
        );
        let Manifest::Policy(policy) = parse("f", &text).unwrap().remove(0) else {
            panic!("{text}");
        };
        warnings(&policy, permissive).len()
    }

    #[test]
    fn a_denied_identity_is_warned_of_where_it_can_come_in_clear() {
        let deny = "effect: deny, from: [{namespace: batch}]";
        let shop = "target: {namespaces: [shop]},";
        for (target, rule, permissive, expected) in [
            (shop, deny, &["shop"][..], 1),
            ("", deny, &["shop", "web"], 1),
            (shop, deny, &["web"], 0),
            (shop, deny, &[], 0),
            (
                shop,
                "effect: allow, from: [{namespace: batch}]",
                &["shop"],
                0,
            ),
            (
                shop,
                "effect: deny, mode: shadow, from: [{namespace: batch}]",
                &["shop"],
                0,
            ),
            (
                shop,
                "effect: deny, from: [{unauthenticated: {cidr: 0.0.0.0/0}}]",
                &["shop"],
                0,
            ),
            (
                shop,
                "effect: deny, from: [{trustDomain: a.test}]",
                &["shop"],
                1,
            ),
        ] {
            assert_eq!(
                warned(target, rule, permissive),
                expected,
                "{target} {rule} {permissive:?}"
            );
        }
    }

    #[test]
    fn a_policy_of_a_namespace_concerns_that_one_only() {
        let policy = AuthorizationPolicy {
            namespace: Some("shop".to_owned()),
            name: "a".to_owned(),
            target: Default::default(),
            rules: vec![Rule {
                name: "no".to_owned(),
                effect: Effect::Deny,
                from: vec![From::Namespace("batch".to_owned())],
                ports: Vec::new(),
                mode: Mode::Enforce,
                expires: None,
                reason: String::new(),
            }],
        };
        assert!(warnings(&policy, &["web"]).is_empty());
        let expected = "the rule `no` denies identities in `shop`, which is permissive: they can come in clear instead; make the namespace strict, or deny `unauthenticated` too";
        assert_eq!(warnings(&policy, &["web", "shop"]), [expected]);
    }
}
