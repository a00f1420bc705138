//! What records say was admitted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use palisade_api::policy::AuthorizationPolicy;

use super::super::rules::Rules;
use super::super::subject::Caller;
use super::super::traffic::{self, Edge, Was, Whom, Workloads};
use super::finding::Placed;

/// Who was admitted where, by the namespace that was called.
#[derive(Debug)]
pub(super) struct Seen(BTreeMap<Arc<str>, Vec<Edge>>);

impl Seen {
    /// Reads files of records; warns of lines that are none.
    pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let traffic = traffic::of_files(files)?;
        super::super::warn(&traffic.warnings);
        let mut admitted: BTreeMap<Arc<str>, Vec<Edge>> = BTreeMap::new();
        for edge in traffic.edges {
            if edge.was == Was::Allowed {
                let namespace = Arc::clone(&edge.namespace);
                admitted.entry(namespace).or_default().push(edge);
            }
        }
        if admitted.is_empty() {
            bail!("no record there tells of a connection that was admitted");
        }
        Ok(Self(admitted))
    }

    /// The same, with who was called.
    pub(super) fn admitted<'a>(&'a self, rules: &'a Rules) -> Admitted<'a> {
        let workloads = Workloads::of(&rules.known);
        let by_namespace = self.0.iter().map(|(namespace, edges)| {
            let edges = edges.iter().map(|edge| (edge, workloads.whom(edge)));
            (&**namespace, edges.collect())
        });
        let by_rule = rules.policies.iter().flat_map(|policy| {
            let names = policy.rule_names();
            names.map(move |name| (name.to_string(), policy))
        });
        Admitted {
            rules,
            by_namespace: by_namespace.collect(),
            by_rule: by_rule.collect(),
        }
    }
}

/// A call, and whom it came to.
type Came<'a> = (&'a Edge, Whom<'a>);

/// Who was admitted, and by whom.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    rules: &'a Rules,
    by_namespace: BTreeMap<&'a str, Vec<Came<'a>>>,
    by_rule: BTreeMap<String, &'a AuthorizationPolicy>,
}

impl<'a> Admitted<'a> {
    /// Who came that a rule admits, and at which ports, whatever rule admitted it then.
    pub(super) fn fitting(&self, placed: &Placed<'_>) -> BTreeSet<(&'a Caller, u16)> {
        let Placed { policy, rule, .. } = placed;
        let called = self.by_namespace.iter().filter(|(namespace, _)| {
            let own = policy.namespace.as_deref();
            own.is_none_or(|own| own == **namespace)
        });
        let fits = |edge: &Edge| {
            let mut sources = rule.from.iter();
            let is_at_port =
                rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(edge.port));
            is_at_port
                && sources.any(|from| from.fits(edge.from.source(), &self.rules.trust_domain))
        };
        called
            .flat_map(|(_, edges)| edges)
            .filter(|(edge, whom)| fits(edge) && self.is_protected(policy, edge, whom))
            .map(|(edge, _)| (&edge.from, edge.port))
            .collect()
    }

    /// Also where it only may be: nobody is told to remove a rule because too little is known.
    fn is_protected(&self, policy: &AuthorizationPolicy, edge: &Edge, whom: &Whom<'_>) -> bool {
        let target = &policy.target;
        let account = match whom {
            Whom::Workloads(found) => {
                return found
                    .iter()
                    .any(|one| policy.selects(&one.namespace, &one.service_account, &one.labels));
            }
            Whom::Account(account) => account,
            Whom::Unknown => target.service_account.as_deref().unwrap_or_default(),
        };
        // The rule that admitted it tells some of its labels.
        let admitting = edge.rule.as_deref().and_then(|rule| self.by_rule.get(rule));
        let is_another = admitting.is_some_and(|other| {
            let mut labels = other.target.labels.iter();
            labels.any(|(key, value)| target.labels.get(key).is_some_and(|own| own != value))
        });
        !is_another && policy.selects(&edge.namespace, account, &target.labels)
    }
}

/// The smallest network that all of some addresses of one family are in.
pub(super) fn network(addrs: &[IpAddr]) -> Option<ipnet::IpNet> {
    let (first, others) = addrs.split_first()?;
    let mut network = ipnet::IpNet::from(*first);
    while !others.iter().all(|addr| network.contains(addr)) {
        network = network.supernet()?;
    }
    Some(network)
}
