//! What is good and yet may not do what its author thinks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::{AuthorizationPolicy, Effect, From, Mode, Rule};

/// A line for each denial of an identity in a permissive namespace. Whoever comes there in clear is held to what is denied
/// to the workload that is known at its address; where none is known, a bearer of that identity is let in without it.
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
            "the rule `{}` denies identities in `{first}`{others}, which is permissive: {UNHELD}; {HOLD}",
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
    (rule.effect, rule.mode) == (Effect::Deny, Mode::Enforce)
        && rule.from.iter().any(is_identity)
        && !denies_all_in_clear(rule)
}

/// Whether nobody can come without an identity either.
fn denies_all_in_clear(rule: &Rule) -> bool {
    let denies = |everybody: fn(&IpNet) -> bool| {
        let mut sources = rule.from.iter();
        sources.any(|from| matches!(from, From::Unauthenticated(network) if everybody(network)))
    };
    denies(|network| matches!(network, IpNet::V4(v4) if v4.prefix_len() == 0))
        && denies(|network| matches!(network, IpNet::V6(v6) if v6.prefix_len() == 0))
}

/// Whom such a denial does not hold for.
const UNHELD: &str = "callers in clear are held to it by the workload at their address, so not where none is known (outside the mesh, behind NAT)";
const HOLD: &str = "make the namespace strict, or deny `unauthenticated` from there";

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
    fn a_denied_identity_is_warned_of_where_some_can_come_without_it() {
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
                "effect: deny, from: [{namespace: batch}, {unauthenticated: {cidr: 0.0.0.0/0}}]",
                &["shop"],
                1,
            ),
            (
                shop,
                "effect: deny, from: [{namespace: batch}, {unauthenticated: {cidr: 0.0.0.0/0}}, {unauthenticated: {cidr: \"::/0\"}}]",
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
        let expected = "the rule `no` denies identities in `shop`, which is permissive: callers in clear are held to it by the workload at their address, so not where none is known (outside the mesh, behind NAT); make the namespace strict, or deny `unauthenticated` from there";
        assert_eq!(warnings(&policy, &["web", "shop"]), [expected]);
        assert!(
            expected.len() <= 256,
            "longer warnings are cut by the API server"
        );
    }
}
