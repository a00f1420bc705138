//! What records say was admitted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
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
        // Whoever looks for open ports finds nobody there: no rule need admit that.
        let answered = traffic.edges.iter().filter(|edge| edge.is_answered());
        let answered: HashSet<_> = answered.map(at).collect();
        for edge in traffic.edges {
            if edge.was == Was::Allowed && answered.contains(&at(&edge)) {
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
        Admitted {
            rules,
            by_namespace: by_namespace.collect(),
        }
    }
}

/// Which port of whom was called.
fn at(edge: &Edge) -> (Arc<str>, String, u16) {
    let name = edge.name().to_owned();
    (Arc::clone(&edge.namespace), name, edge.port)
}

/// A call, and whom it came to.
type Came<'a> = (&'a Edge, Whom<'a>);

/// Who was admitted, and by whom.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    rules: &'a Rules,
    by_namespace: BTreeMap<&'a str, Vec<Came<'a>>>,
}

impl<'a> Admitted<'a> {
    /// Who came that a rule admits, and at which ports, whatever rule admitted it then; none where it is not known of some
    /// whether they came to whom the rule protects.
    pub(super) fn fitting(&self, placed: &Placed<'_>) -> Option<BTreeSet<(&'a Caller, u16)>> {
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
        let came = called.flat_map(|(_, edges)| edges);
        let came = came.filter(|(edge, _)| fits(edge));
        let came = came.map(|(edge, whom)| Some((edge, is_protected(policy, edge, whom)?)));
        let came = came.filter_map(|one| match one {
            Some((edge, true)) => Some(Some((&edge.from, edge.port))),
            Some((_, false)) => None,
            None => Some(None),
        });
        came.collect()
    }
}

/// Whether rules of a policy are asked about a call; none where too little is known of the called one.
fn is_protected(policy: &AuthorizationPolicy, edge: &Edge, whom: &Whom<'_>) -> Option<bool> {
    let target = &policy.target;
    let (account, is_told) = match whom {
        Whom::Workloads(found) => {
            let found = found.iter();
            let mut selected =
                found.map(|one| policy.selects(&one.namespace, &one.service_account, &one.labels));
            let first = selected.next()?;
            return selected.all(|other| other == first).then_some(first);
        }
        Whom::Account(account) => (*account, target.labels.is_empty()),
        Whom::Unknown => {
            let account = target.service_account.as_deref();
            let is_told = account.is_none() && target.labels.is_empty();
            (account.unwrap_or_default(), is_told)
        }
    };
    let may_be = policy.selects(&edge.namespace, account, &target.labels);
    (is_told || !may_be).then_some(may_be)
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
