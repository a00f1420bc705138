//! Policy documents: their target, and what their rules are to each other.

use std::collections::HashMap;

use super::name::Form;
use super::node::Node;
use super::read::{Fields, Left, Reader};
use super::resource::{Metadata, cluster_metadata, metadata};
use super::{Manifest, Position, rule};
use crate::policy::{AuthorizationPolicy, Effect, Mode, Rule, Target, covers};

/// `AuthorizationPolicy`.
pub(super) fn of_namespace(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    let metadata = metadata(reader, document, Form::Subdomain);
    let own = metadata
        .as_ref()
        .map(|metadata| metadata.namespace.as_str());
    let spec = spec(reader, document, |reader, fields| {
        let Some(entry) = fields.find("namespaces") else {
            return Some(Vec::new());
        };
        let own = own.unwrap_or("…");
        let message =
            format!("this policy protects its own namespace, `{own}`, and names no others");
        let remedy = "remove `namespaces`, or make it a ClusterAuthorizationPolicy";
        reader.refuse(entry.key_at, message, remedy)
    });
    let (
        (target, rules),
        Metadata {
            namespace, name, ..
        },
    ) = spec.zip(metadata)?;
    Some(Manifest::Policy(AuthorizationPolicy {
        namespace: Some(namespace),
        name,
        target,
        rules,
    }))
}

/// `ClusterAuthorizationPolicy`.
pub(super) fn of_cluster(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    let remedy = "remove it and name the namespaces in `target`, or make it an AuthorizationPolicy";
    let metadata = cluster_metadata(reader, document, Form::Subdomain, remedy);
    let spec = spec(reader, document, |reader, fields| {
        let namespaces = reader.optional(fields, "namespaces", |reader, node| {
            let nodes = reader.list(node, "namespaces", "leave `namespaces` out to protect all")?;
            reader.each(nodes, |reader, node| {
                reader.name(node, "namespaces", Form::Label)
            })
        });
        namespaces.map(Option::unwrap_or_default)
    });
    let ((target, rules), (name, _)) = spec.zip(metadata)?;
    Some(Manifest::Policy(AuthorizationPolicy {
        namespace: None,
        name,
        target,
        rules,
    }))
}

fn spec(
    reader: &mut Reader<'_>,
    document: &Fields<'_>,
    namespaces: impl FnOnce(&mut Reader<'_>, &Fields<'_>) -> Option<Vec<String>>,
) -> Option<(Target, Vec<Rule>)> {
    let node = reader.required(document, "spec", "write `spec: {rules: […]}`")?;
    let fields = reader.fields(node, "spec", &["target", "rules"])?;
    let target = reader.optional(&fields, "target", |reader, node| {
        target(reader, node, namespaces)
    });
    let remedy =
        "name at least one rule, or remove the policy: a workload without any rule is closed";
    let rules = reader
        .required(&fields, "rules", remedy)
        .and_then(|node| reader.list(node, "rules", remedy))
        .and_then(|nodes| rules(reader, nodes));
    Some((target?.unwrap_or_default(), rules?))
}

fn target(
    reader: &mut Reader<'_>,
    node: &Node,
    namespaces: impl FnOnce(&mut Reader<'_>, &Fields<'_>) -> Option<Vec<String>>,
) -> Option<Target> {
    let fields = reader.fields(node, "target", &SELECTORS)?;
    let if_none = "leave it out to protect every workload";
    if !SELECTORS.iter().any(|key| fields.find(key).is_some()) {
        return reader.refuse(fields.at, "`target` selects by nothing", if_none);
    }
    let namespaces = namespaces(reader, &fields);
    let account = reader.optional(&fields, "serviceAccount", |reader, node| {
        let text = reader.text(node, "serviceAccount")?;
        if text.contains('/') {
            let message = "a target's `serviceAccount` has no namespace: that is said elsewhere";
            return reader.refuse(
                node.at,
                message,
                "write its name only, as in `serviceAccount: orders`",
            );
        }
        reader.name(node, "serviceAccount", Form::Subdomain)
    });
    let labels = reader.optional(&fields, "labels", |reader, node| {
        reader.labels(node, "labels", Some(if_none))
    });
    Some(Target {
        namespaces: namespaces?,
        service_account: account?,
        labels: labels?.unwrap_or_default(),
    })
}

fn rules(reader: &mut Reader<'_>, nodes: &[Node]) -> Option<Vec<Rule>> {
    refuse_repeated_names(reader, nodes);
    let placed = reader.each(nodes, rule::rule)?;
    let rules = placed.iter().map(|(rule, _)| rule);
    let denials: Vec<_> = rules.filter(|rule| rule.effect == Effect::Deny).collect();
    for (allowance, at) in &placed {
        let mut denials = denials.iter();
        if let Some(denial) = denials.find(|denial| overrules(denial, allowance)) {
            let message = format!(
                "the rule `{}` can never allow anything: `{}` denies all of it",
                allowance.name, denial.name
            );
            let remedy = format!("remove it, or narrow `{}`", denial.name);
            reader.note(*at, message, remedy, Left::All);
        }
    }
    Some(placed.into_iter().map(|(rule, _)| rule).collect())
}

/// Of rules that are refused for something else too.
fn refuse_repeated_names(reader: &mut Reader<'_>, nodes: &[Node]) {
    let mut named: HashMap<&str, Position> = HashMap::new();
    for (name, at) in nodes.iter().filter_map(rule::name) {
        let first = *named.entry(name).or_insert(at);
        if first != at {
            let message = format!(
                "the rule `{}` has the name of the one {}",
                name,
                reader.places().name(first)
            );
            let remedy = "give each rule of a policy its own name";
            reader.note(at, message, remedy, Left::All);
        }
    }
}

/// Whether a denial denies, for as long as an allowance stands, everything that it allows.
fn overrules(denial: &Rule, allowance: &Rule) -> bool {
    let meet = (denial.effect, denial.mode, allowance.effect);
    meet == (Effect::Deny, Mode::Enforce, Effect::Allow) && covers(denial, allowance)
}

const SELECTORS: [&str; 3] = ["labels", "serviceAccount", "namespaces"];
