//! What is good and yet may not do what its author thinks.

use std::net::IpAddr;

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

/// A sentence for each rule that lets callers without an identity in from a range with a node in it; `nodes` are names
/// and addresses.
pub fn lets_nodes_in(policy: &AuthorizationPolicy, nodes: &[(String, IpAddr)]) -> Vec<String> {
    let allowing = policy
        .rules
        .iter()
        .filter(|rule| rule.effect == Effect::Allow);
    let sentence = |rule: &Rule| {
        let networks = rule.from.iter().filter_map(|from| match from {
            From::Unauthenticated(network) => Some(network),
            From::ServiceAccount { .. }
            | From::Identity(_)
            | From::Namespace(_)
            | From::TrustDomain(_) => None,
        });
        let mut found = networks.filter_map(|network| {
            let (node, _) = nodes.iter().find(|(_, addr)| network.contains(addr))?;
            Some((network, node))
        });
        let (network, node) = found.next()?;
        Some(format!(
            "the rule `{}` lets in all that comes by way of the node `{node}`, whose address is in {network}",
            rule.name
        ))
    };
    allowing.filter_map(sentence).collect()
}

/// What to do about a rule that lets nodes in.
pub const NARROW: &str =
    "name a narrower range, and externalTrafficPolicy: Local where a LoadBalancer is before it";

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

    fn policy(target: &str, rule: &str) -> AuthorizationPolicy {
        let text = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: ClusterAuthorizationPolicy\nmetadata: {{name: a}}\nspec: {{{target} rules: [{{name: r, {rule}}}]}}\n"
        );
        let Manifest::Policy(policy) = parse("f", &text).unwrap().remove(0) else {
            panic!("{text}");
        };
        policy
    }

    fn warned(target: &str, rule: &str, permissive: &[&str]) -> usize {
        warnings(&policy(target, rule), permissive).len()
    }

    #[test]
    fn a_range_with_a_node_in_it_is_told_where_it_lets_in() {
        let nodes = [("node1", "10.0.0.11"), ("node2", "fd00::12")];
        let nodes = nodes.map(|(name, addr)| (name.to_owned(), addr.parse().unwrap()));
        for (effect, cidr, expected) in [
            ("allow", "10.0.0.0/24", Some("node `node1`")),
            ("allow", "fd00::/64", Some("node `node2`")),
            ("allow", "10.0.1.0/24", None),
            ("deny", "10.0.0.0/24", None),
        ] {
            let rule =
                format!("effect: {effect}, from: [{{unauthenticated: {{cidr: \"{cidr}\"}}}}]");
            let told = lets_nodes_in(&policy("", &rule), &nodes);
            assert_eq!(
                told.len(),
                usize::from(expected.is_some()),
                "{rule}: {told:?}"
            );
            let named = told
                .iter()
                .zip(expected)
                .all(|(told, node)| told.contains(node));
            assert!(named, "{rule}: {told:?}");
        }
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
