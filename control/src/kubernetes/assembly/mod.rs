//! What the watches told, put together: events in, an index out whenever its content changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_api::policy::{AuthorizationPolicy, From};
use serde_json::Value;
use tokio::time::Instant;

use super::acks::Rule;
use super::facts::{self, Cluster, Name, Namespace, Node, Pod, Service, Slice};
use super::leader::Selecting;
use super::policies::{Definition, Kind, Notice, Object, Policies, Record};
use crate::index::{Facts, Ground, Index};

/// A change of the objects of one kind.
#[derive(Debug)]
pub(crate) enum Change<T> {
    /// All of them, anew: what is not among them is not there any more.
    All(BTreeMap<Name, T>),
    Set(Name, T),
    Gone(Name),
}

/// What a watch told.
#[derive(Debug)]
pub(crate) enum Heard {
    Pods(Change<Pod>),
    Services(Change<Service>),
    Slices(Change<Slice>),
    Namespaces(Change<Namespace>),
    Nodes(Change<Node>),
    /// Service accounts are their names.
    Accounts(Change<()>),
    Definitions(Kind, Change<Definition>),
    Policies(Kind, Change<Object>),
    /// The definition, asked for after these deletions.
    Asked(Kind, BTreeSet<Name>, Option<Definition>),
}

/// How each object of the rules stands, by the name that proxies know it by.
pub(crate) type Standing = BTreeMap<String, Ruling>;

/// How one object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    pub(crate) uid: String,
    /// The newest generation.
    pub(crate) generation: i64,
    /// The generation that is in force; none, if none was ever right.
    pub(crate) in_force: Option<i64>,
    /// What is wrong with the newest generation.
    pub(crate) errors: Vec<String>,
    /// What its status says.
    pub(crate) status: Option<Value>,
}

/// What is known of a cluster.
#[derive(Debug)]
pub(crate) struct Assembly {
    ground: Ground,
    cluster: Cluster,
    accounts: BTreeMap<Name, ()>,
    rules: [Policies; 2],
    /// The watches that have not told all of theirs yet.
    awaited: BTreeSet<&'static str>,
    changed: bool,
    last: Option<Arc<Index>>,
}

/// What changed.
#[derive(Debug)]
pub(crate) struct Assembled {
    /// The new index, if what it says is new.
    pub(crate) index: Option<Arc<Index>>,
    pub(crate) standing: Standing,
    /// Every policy, with whom it concerns.
    pub(crate) policies: Vec<Selecting>,
    /// What is wrong, each with its remedy.
    pub(crate) warnings: BTreeSet<String>,
    /// What may be wrong: it is so for a moment whenever things are created one after the other.
    pub(crate) remarks: BTreeSet<String>,
}

impl Assembly {
    /// Nothing is known yet but what was recorded of either kind.
    pub(crate) fn new(ground: Ground, recorded: [Option<Record>; 2]) -> Self {
        let [namespaced, cluster] = recorded;
        Self {
            ground,
            cluster: Cluster::default(),
            accounts: BTreeMap::new(),
            rules: [
                Policies::new(Kind::Namespaced, namespaced),
                Policies::new(Kind::Cluster, cluster),
            ],
            awaited: WATCHES.into(),
            changed: true,
            last: None,
        }
    }

    /// Takes what a watch told. What comes back is to be told to people.
    pub(crate) fn hear(&mut self, heard: Heard, now: Instant) -> Option<(Kind, Notice)> {
        let cluster = &mut self.cluster;
        let awaited = &mut self.awaited;
        let changed = match heard {
            Heard::Pods(change) => take(&mut cluster.pods, change, awaited, PODS),
            Heard::Services(change) => take(&mut cluster.services, change, awaited, SERVICES),
            Heard::Slices(change) => take(&mut cluster.slices, change, awaited, SLICES),
            Heard::Namespaces(change) => take(&mut cluster.namespaces, change, awaited, NAMESPACES),
            Heard::Nodes(change) => take(&mut cluster.nodes, change, awaited, NODES),
            Heard::Accounts(change) => take(&mut self.accounts, change, awaited, ACCOUNTS),
            Heard::Policies(kind, change) => {
                let rules = self.rules(kind);
                match change {
                    Change::All(objects) => rules.list(&objects),
                    Change::Set(name, object) => rules.set(name, &object),
                    Change::Gone(name) => rules.gone(name),
                }
                true
            }
            Heard::Definitions(kind, change) => {
                self.changed = true;
                let notice = self.rules(kind).define(definition(change).as_ref(), now);
                return notice.map(|notice| (kind, notice));
            }
            Heard::Asked(kind, doubts, found) => {
                self.changed = true;
                let notice = self.rules(kind).resolve(&doubts, found.as_ref(), now);
                return notice.map(|notice| (kind, notice));
            }
        };
        self.changed |= changed;
        None
    }

    /// Takes note of the time.
    pub(crate) fn settle(&mut self, now: Instant) -> Option<(Kind, Notice)> {
        let settled = self.rules.iter_mut().find_map(|rules| {
            let notice = rules.settle(now)?;
            Some((rules.kind(), notice))
        });
        self.changed |= settled.is_some();
        settled
    }

    /// When it is to be called again, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.rules.iter().filter_map(Policies::due).min()
    }

    /// The policies of one kind.
    pub(crate) fn rules(&mut self, kind: Kind) -> &mut Policies {
        let [namespaced, cluster] = &mut self.rules;
        match kind {
            Kind::Namespaced => namespaced,
            Kind::Cluster => cluster,
        }
    }

    /// What is not known yet: as long as there is something, nothing is served.
    pub(crate) fn awaited(&self) -> Vec<String> {
        let incomplete = self.rules.iter().filter(|rules| !rules.is_complete());
        let watches = self.awaited.iter().map(|watch| (*watch).to_owned());
        watches.chain(incomplete.map(unknown)).collect()
    }

    /// What is to be on record of either kind.
    pub(crate) fn records(&self) -> [Option<Record>; 2] {
        self.rules.each_ref().map(Policies::record)
    }

    /// Puts everything together, if anything changed and everything is known.
    pub(crate) fn assemble(&mut self) -> Option<Assembled> {
        if !self.changed || !self.awaited().is_empty() {
            return None;
        }
        self.changed = false;
        let policies: Vec<_> = self
            .rules
            .iter()
            .flat_map(Policies::in_force)
            .cloned()
            .collect();
        let remarks = self.unknown_accounts(&policies);
        let former = self.last.as_ref().map(|last| last.facts());
        let (facts, mut warnings) =
            facts::facts(&self.ground.trust_domain, &self.cluster, policies, former);
        let standing = self.standing();
        for (name, ruling) in &standing {
            let errors = ruling.errors.iter();
            warnings.extend(errors.map(|error| wrong(name, ruling, error)));
        }
        let frozen = self.rules.iter().filter(|rules| rules.is_frozen());
        warnings.extend(frozen.map(|rules| {
            let definition = rules.kind().definition();
            format!(
                "rules are in force that the API server does not list, because {definition} went away; \
                 apply it and them again"
            )
        }));
        let (index, is_new) = self.index(facts);
        Some(Assembled {
            policies: selecting(&index, &standing, &self.idle()),
            index: is_new.then_some(index),
            standing,
            warnings,
            remarks,
        })
    }

    /// The index of these facts, and whether it is another than the last.
    fn index(&mut self, facts: Facts) -> (Arc<Index>, bool) {
        if let Some(last) = &self.last
            && *last.facts() == facts
        {
            return (Arc::clone(last), false);
        }
        let index = Index::build(self.ground.clone(), facts, self.last.as_deref());
        let index = Arc::new(index);
        self.last = Some(Arc::clone(&index));
        (index, true)
    }

    /// The pods whose sidecar does not run, by the keys of their workloads.
    fn idle(&self) -> BTreeSet<String> {
        let pods = self.cluster.pods.iter();
        let idle = pods.filter(|(_, pod)| pod.meshed && !pod.sidecar_runs);
        idle.map(|(name, _)| name.to_string()).collect()
    }

    fn standing(&self) -> Standing {
        let each = self.rules.iter().flat_map(|rules| {
            let kind = rules.kind();
            rules.held().map(move |(name, held)| {
                let ruling = Ruling {
                    kind,
                    name: name.clone(),
                    uid: held.uid.clone(),
                    generation: held.generation,
                    in_force: held.good.as_ref().map(|(generation, _)| *generation),
                    errors: held.errors.clone(),
                    status: held.status.clone(),
                };
                (kind.object_name(name), ruling)
            })
        });
        each.collect()
    }

    /// Rules that let in somebody who is not there: perhaps a typing error, perhaps somebody who comes soon.
    fn unknown_accounts(&self, policies: &[AuthorizationPolicy]) -> BTreeSet<String> {
        let mut remarks = BTreeSet::new();
        for policy in policies {
            for from in policy.rules.iter().flat_map(|rule| &rule.from) {
                let From::ServiceAccount { namespace, name } = from else {
                    continue;
                };
                let account = Name {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                if !self.accounts.contains_key(&account) {
                    let policy =
                        crate::index::policy_name(policy.namespace.as_deref(), &policy.name);
                    remarks.insert(format!(
                        "{policy} names the service account {account}, which there is none of; \
                         create it, or correct the name"
                    ));
                }
            }
        }
        remarks
    }
}

fn selecting(index: &Index, standing: &Standing, idle: &BTreeSet<String>) -> Vec<Selecting> {
    let each = standing.iter().map(|(name, ruling)| {
        let namespace = &ruling.name.namespace;
        let selected = index.selected(name).into_iter();
        let workloads: BTreeSet<_> = selected.map(str::to_owned).collect();
        Selecting {
            namespace: (!namespace.is_empty()).then(|| namespace.clone()),
            name: ruling.name.name.clone(),
            generation: ruling.generation,
            errors: ruling.errors.clone(),
            in_force: ruling.in_force.map(|generation| Rule {
                name: name.clone(),
                generation,
            }),
            idle: workloads.intersection(idle).cloned().collect(),
            workloads,
            status: ruling.status.clone(),
        }
    });
    each.collect()
}

fn wrong(name: &str, ruling: &Ruling, error: &str) -> String {
    match ruling.in_force {
        Some(generation) => {
            format!("{name} is wrong, and its generation {generation} stays in force: {error}")
        }
        None => {
            format!("{name} is wrong, and was never right: whom it may be about is closed: {error}")
        }
    }
}

/// Whether anything is different now.
fn take<T: PartialEq>(
    objects: &mut BTreeMap<Name, T>,
    change: Change<T>,
    awaited: &mut BTreeSet<&'static str>,
    watch: &'static str,
) -> bool {
    match change {
        Change::All(all) => {
            let is_first = awaited.remove(watch);
            let is_other = *objects != all;
            *objects = all;
            is_first || is_other
        }
        Change::Set(name, object) => {
            let is_other = objects.get(&name) != Some(&object);
            objects.insert(name, object);
            is_other
        }
        Change::Gone(name) => objects.remove(&name).is_some(),
    }
}

/// What of these rules is not known yet.
fn unknown(rules: &Policies) -> String {
    let kind = rules.kind();
    match rules.missing() {
        0 => kind.as_str().to_owned(),
        missing => format!(
            "{} ({missing} rules that were in force are not there since {} went away; apply them again)",
            kind.as_str(),
            kind.definition()
        ),
    }
}

/// The one definition that a watch is of.
fn definition(change: Change<Definition>) -> Option<Definition> {
    match change {
        Change::All(all) => all.into_values().next(),
        Change::Set(_, definition) => Some(definition),
        Change::Gone(_) => None,
    }
}

/// The watches, as they are called in logs.
pub(crate) const PODS: &str = "pods";
pub(crate) const SERVICES: &str = "services";
pub(crate) const SLICES: &str = "endpointslices";
pub(crate) const NAMESPACES: &str = "namespaces";
pub(crate) const NODES: &str = "nodes";
pub(crate) const ACCOUNTS: &str = "serviceaccounts";
const WATCHES: [&str; 6] = [PODS, SERVICES, SLICES, NAMESPACES, NODES, ACCOUNTS];

#[cfg(test)]
mod tests;
