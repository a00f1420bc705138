//! A rule as a NetworkPolicy, as far as one can say it.

use std::collections::BTreeMap;

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule};
use time::OffsetDateTime;

/// One NetworkPolicy, or only a comment that says why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// None where it is for no namespace that is known.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// What a NetworkPolicy cannot say.
    pub(super) notes: Vec<String>,
    /// Whom it protects: pods with these labels; none: all.
    pub(super) labels: BTreeMap<String, String>,
    /// Who may reach them; empty: there is nothing to say, and no NetworkPolicy.
    pub(super) ingress: Vec<Ingress>,
}

/// One rule's sources and ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ingress {
    pub(super) rule: String,
    pub(super) notes: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) networks: Vec<String>,
    pub(super) ports: Vec<PortRange>,
}

/// The NetworkPolicies of one policy: one for each namespace that it protects, of those that are `known`.
pub(super) fn convert(
    policy: &AuthorizationPolicy,
    known: &[String],
    now: OffsetDateTime,
) -> Vec<Document> {
    let (name, namespaces) = match &policy.namespace {
        Some(namespace) => (format!("palisade-{}", policy.name), vec![namespace.clone()]),
        None if policy.target.namespaces.is_empty() => {
            (format!("palisade-cluster-{}", policy.name), known.to_vec())
        }
        None => (
            format!("palisade-cluster-{}", policy.name),
            policy.target.namespaces.clone(),
        ),
    };
    let mut notes = Vec::new();
    if let Some(account) = &policy.target.service_account {
        notes.push(format!(
            "wider than the rule, which protects the service account {account} only: pods cannot be chosen by theirs"
        ));
    }
    let mut ingress = Vec::new();
    for rule in &policy.rules {
        match said(rule, now) {
            Ok(one) => ingress.push(one),
            Err(note) => notes.push(note),
        }
    }
    let document = |namespace| Document {
        namespace,
        name: name.clone(),
        notes: notes.clone(),
        labels: policy.target.labels.clone(),
        ingress: ingress.clone(),
    };
    if namespaces.is_empty() {
        let mut none = document(None);
        none.ingress.clear();
        none.notes
            .push("no namespace is known that it protects".into());
        return vec![none];
    }
    namespaces
        .into_iter()
        .map(|namespace| document(Some(namespace)))
        .collect()
}

/// What a NetworkPolicy can say of a rule, or why it says nothing.
fn said(rule: &Rule, now: OffsetDateTime) -> Result<Ingress, String> {
    let name = &rule.name;
    if rule.mode == Mode::Shadow {
        return Err(format!(
            "left out: the rule {name} is in shadow mode, and does nothing"
        ));
    }
    if rule.has_expired(now) {
        return Err(format!("left out: the rule {name} has expired"));
    }
    if rule.effect == Effect::Deny {
        return Err(format!(
            "left out: the rule {name} denies, and a NetworkPolicy can only allow; the mesh enforces it"
        ));
    }
    let mut ingress = Ingress {
        rule: name.clone(),
        ports: rule.ports.clone(),
        ..Ingress::default()
    };
    if let Some(expires) = rule.expires {
        ingress.notes.push(format!(
            "expires at {}; a NetworkPolicy does not, so print them again then",
            expires.date()
        ));
    }
    for source in &rule.from {
        ingress.admit(source);
    }
    ingress.namespaces.sort();
    ingress.namespaces.dedup();
    if ingress.namespaces.is_empty() && ingress.networks.is_empty() {
        return Err(format!(
            "left out: the rule {name}: {}",
            ingress.notes.join("; ")
        ));
    }
    Ok(ingress)
}

impl Ingress {
    fn admit(&mut self, source: &From) {
        match source {
            From::Namespace(namespace) => self.namespaces.push(namespace.clone()),
            From::ServiceAccount { namespace, name } => {
                self.notes.push(format!(
                    "wider than the rule, which allows the service account {namespace}/{name} only"
                ));
                self.namespaces.push(namespace.clone());
            }
            From::Unauthenticated(network) => self.networks.push(network.to_string()),
            From::Identity(id) => self.notes.push(format!(
                "{id} cannot be chosen: add its addresses as an ipBlock"
            )),
            From::TrustDomain(domain) => self.notes.push(format!(
                "the trust domain {domain} cannot be chosen: add its addresses as an ipBlock"
            )),
        }
    }
}
