//! What was seen, by called workload and caller.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;

use super::Wanted;
use super::judges::{Judges, Says};
use super::target::Selected;
use crate::policy::rules::Rules;
use crate::policy::subject::{self, Caller};
use crate::policy::traffic::{self, Edge, Traffic, Was, Workloads};

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) targets: BTreeMap<Selected, Seen>,
    /// Connections that existing rules admit.
    pub(super) admitted: u64,
    pub(super) warnings: Vec<String>,
}

/// What was seen of one called workload.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) selected: Selected,
    pub(super) trust_domain: TrustDomain,
    /// What is to be admitted.
    pub(super) callers: BTreeMap<From, Calls>,
    /// What was denied, by caller and port.
    pub(super) denied: BTreeMap<(Caller, u16), Calls>,
    /// What was let in and reached nobody, by caller and port.
    pub(super) unanswered: BTreeMap<(Caller, u16), Calls>,
    /// The ports at which somebody was there, whoever called.
    pub(super) answered: BTreeSet<u16>,
    /// Rules admit some calls already.
    pub(super) is_admitted: bool,
    /// What allowances in shadow would admit, by caller and these.
    pub(super) in_shadow: BTreeMap<(Caller, BTreeSet<String>), Calls>,
    /// What no rule lets in, by caller and which of both is revoked.
    pub(super) revoked: BTreeMap<(Caller, SpiffeId), Calls>,
}

/// Whom a rule is to name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    Caller(Caller),
    /// So many service accounts of it were seen.
    Namespace(String, usize),
}

/// Calls of one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) ports: BTreeSet<u16>,
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) first: OffsetDateTime,
    pub(super) last: OffsetDateTime,
    /// The `conn.id` of the latest.
    pub(super) conn: String,
    /// How many more were denied, of what is to be admitted as others were allowed.
    pub(super) refused: u64,
    /// The rules that did deny some, as records say it.
    pub(super) refused_by: BTreeSet<String>,
    /// How many of those that were allowed were so by rules that end.
    pub(super) passing: u64,
    /// These rules, with their reasons.
    pub(super) passing_by: BTreeSet<String>,
    /// Those of the ports at which some were let in by what lasts, as the called side says.
    pub(super) lasting: BTreeSet<u16>,
    /// Those at which only the caller's side tells of some.
    pub(super) one_sided: BTreeSet<u16>,
    /// Rules that deny it whatever is allowed.
    pub(super) denied_by: BTreeSet<String>,
    /// Rules that may, by who is at its address.
    pub(super) may_be_denied_by: BTreeSet<String>,
    /// Those of the ports where nobody was there for this caller.
    pub(super) unanswered: BTreeSet<u16>,
    /// Who else is admitted, as a whole namespace is, and was denied: at which port, and how often.
    pub(super) widened: BTreeMap<(Caller, u16), u64>,
}

/// Puts together what rules are to be made of.
pub(super) fn gather(
    rules: &Rules,
    traffic: &Traffic,
    wanted: Wanted,
    now: OffsetDateTime,
) -> Gathered {
    let selected = subject::selected_labels(rules);
    let workloads = Workloads::of(&rules.known);
    let judges = Judges::new(rules, now);
    let mut gathered = Gathered::default();
    let mut nameless = 0_u64;
    for edge in &traffic.edges {
        let whom = workloads.whom(edge);
        let Some(target) = Selected::of(&rules.known, edge, &whom) else {
            nameless = nameless.saturating_add(edge.count);
            continue;
        };
        let called = whom.called(rules, &selected, edge).unwrap_or_default();
        let trust_domain = edge.trust_domain(&rules.trust_domain);
        let beside = workloads.beside(edge, trust_domain);
        let says = judges.say(edge, &called, &beside);
        let seen = gathered.targets.entry(target.clone());
        let seen = seen.or_insert_with(|| Seen {
            selected: target,
            trust_domain: edge.trust_domain(&rules.trust_domain).clone(),
            callers: BTreeMap::new(),
            denied: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            answered: BTreeSet::new(),
            is_admitted: false,
            in_shadow: BTreeMap::new(),
            revoked: BTreeMap::new(),
        });
        if edge.is_answered() {
            seen.answered.insert(edge.port);
        }
        if let Some(id) = says.revoked {
            let calls = Calls::of(edge, BTreeSet::new());
            join(&mut seen.revoked, (edge.from.clone(), id), calls);
        } else if says.is_admitted {
            gathered.admitted = gathered.admitted.saturating_add(edge.count);
            seen.is_admitted = true;
        } else {
            seen.take(edge, wanted, says);
        }
    }
    if nameless > 0 {
        gathered.warnings.push(format!(
            "{} left out: their records say neither which workload nor which service account was called",
            traffic::counted(nameless, "connection")
        ));
    }
    gathered
        .targets
        .values_mut()
        .for_each(|seen| seen.settle(wanted));
    gathered.targets.retain(|_, seen| seen.has_any());
    gathered
}

impl Seen {
    fn take(&mut self, edge: &Edge, wanted: Wanted, says: Says) {
        let mut calls = Calls::of(edge, says.denied_by);
        calls.may_be_denied_by = says.may_be_denied_by;
        let caller = edge.from.clone();
        if edge.was == Was::Denied && !wanted.include_denied {
            join(&mut self.denied, (caller, edge.port), calls);
        } else if edge.was == Was::Allowed && !edge.is_answered() && says.in_shadow.is_empty() {
            join(&mut self.unanswered, (caller, edge.port), calls);
        } else if says.in_shadow.is_empty() {
            join(&mut self.callers, From::Caller(caller), calls);
        } else {
            join(&mut self.in_shadow, (caller, says.in_shadow), calls);
        }
    }

    /// What reached nobody is left out, but at ports where somebody else was answered: there it is a doubt of its rule.
    /// What was also allowed is another, and not left out. Then namespaces take the place of accounts, where they are to.
    fn settle(&mut self, wanted: Wanted) {
        let callers = &mut self.callers;
        let unanswered = std::mem::take(&mut self.unanswered);
        for ((caller, port), mut calls) in unanswered {
            let from = From::Caller(caller);
            let is_elsewhere = callers
                .get(&from)
                .is_some_and(|held| held.ports.contains(&port));
            if is_elsewhere {
                join(callers, from, calls);
            } else if self.answered.contains(&port) {
                calls.unanswered.insert(port);
                join(callers, from, calls);
            } else if let From::Caller(caller) = from {
                self.unanswered.insert((caller, port), calls);
            }
        }
        self.denied.retain(|(caller, port), denied| {
            let allowed = callers.get_mut(&From::Caller(caller.clone()));
            let Some(allowed) = allowed.filter(|calls| calls.ports.contains(port)) else {
                return true;
            };
            allowed.refuse(denied);
            false
        });
        if wanted.by_namespace {
            self.widen();
        }
    }

    /// Whether there is more to say of it than that rules admit all.
    fn has_any(&self) -> bool {
        let is_none = self.callers.is_empty()
            && self.denied.is_empty()
            && self.unanswered.is_empty()
            && self.in_shadow.is_empty()
            && self.revoked.is_empty();
        !is_none
    }

    fn widen(&mut self) {
        let mut accounts: BTreeMap<String, Vec<From>> = BTreeMap::new();
        for from in self.callers.keys() {
            if let From::Caller(Caller::Identity(id)) = from
                && let Some((namespace, _)) = account(id, &self.trust_domain)
            {
                let held = accounts.entry(namespace.to_owned()).or_default();
                held.push(from.clone());
            }
        }
        for (namespace, callers) in accounts.into_iter().filter(|(_, all)| all.len() > 1) {
            let wide = From::Namespace(namespace, callers.len());
            for caller in callers {
                if let Some(calls) = self.callers.remove(&caller) {
                    join(&mut self.callers, wide.clone(), calls);
                }
            }
            self.admit_denied(&wide);
        }
    }

    /// Who was denied and is of a namespace that is admitted is not left out, but a doubt of that.
    fn admit_denied(&mut self, wide: &From) {
        let (Some(calls), From::Namespace(namespace, _)) = (self.callers.get_mut(wide), wide)
        else {
            return;
        };
        self.denied.retain(|(caller, port), denied| {
            let is_of_it = match caller {
                Caller::Identity(id) => {
                    account(id, &self.trust_domain).is_some_and(|(own, _)| own == namespace)
                }
                Caller::Address(_) => false,
            };
            let is_admitted = is_of_it && calls.ports.contains(port);
            if is_admitted {
                let key = (caller.clone(), *port);
                calls.widened.insert(key, denied.denied);
            }
            !is_admitted
        });
    }
}

/// Namespace and name, where rules of this trust domain can name it so.
pub(super) fn account<'a>(
    id: &'a SpiffeId,
    trust_domain: &TrustDomain,
) -> Option<(&'a str, &'a str)> {
    let account = id.service_account();
    account.filter(|_| id.trust_domain() == trust_domain)
}

fn join<K: Ord>(held: &mut BTreeMap<K, Calls>, key: K, calls: Calls) {
    match held.get_mut(&key) {
        Some(held) => held.add(calls),
        None => {
            held.insert(key, calls);
        }
    }
}

impl Calls {
    fn of(edge: &Edge, denied_by: BTreeSet<String>) -> Self {
        let (allowed, denied) = match edge.was {
            Was::Allowed => (edge.count, 0),
            Was::Denied => (0, edge.count),
        };
        let rule = edge.rule.as_deref().filter(|_| edge.was == Was::Denied);
        let passing = &edge.passing;
        let known = allowed.saturating_sub(passing.count.saturating_add(edge.one_sided));
        let at = |count: u64| (count > 0).then_some(edge.port).into_iter().collect();
        let passing_by = passing.rule.as_deref().map(|rule| match &passing.because {
            Some(because) => format!("{rule} ({because})"),
            None => rule.to_owned(),
        });
        Self {
            ports: BTreeSet::from([edge.port]),
            allowed,
            denied,
            first: edge.first,
            last: edge.last,
            conn: edge.conn(),
            refused: 0,
            refused_by: rule.map(str::to_owned).into_iter().collect(),
            passing: passing.count,
            passing_by: passing_by.into_iter().collect(),
            lasting: at(known),
            one_sided: at(edge.one_sided.min(allowed)),
            denied_by,
            may_be_denied_by: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            widened: BTreeMap::new(),
        }
    }

    fn add(&mut self, other: Self) {
        self.ports.extend(other.ports);
        self.allowed = self.allowed.saturating_add(other.allowed);
        self.denied = self.denied.saturating_add(other.denied);
        self.first = self.first.min(other.first);
        if other.last > self.last {
            self.last = other.last;
            self.conn = other.conn;
        }
        self.refused = self.refused.saturating_add(other.refused);
        self.refused_by.extend(other.refused_by);
        self.passing = self.passing.saturating_add(other.passing);
        self.passing_by.extend(other.passing_by);
        self.lasting.extend(other.lasting);
        self.one_sided.extend(other.one_sided);
        self.denied_by.extend(other.denied_by);
        self.may_be_denied_by.extend(other.may_be_denied_by);
        self.unanswered.extend(other.unanswered);
        self.widened.extend(other.widened);
    }

    /// Takes over what is known of calls that were denied, but not the calls.
    fn refuse(&mut self, denied: &Self) {
        self.refused = self.refused.saturating_add(denied.denied);
        self.refused_by.extend(denied.refused_by.iter().cloned());
        self.denied_by.extend(denied.denied_by.iter().cloned());
        let maybe = denied.may_be_denied_by.iter().cloned();
        self.may_be_denied_by.extend(maybe);
    }

    pub(super) fn count(&self) -> u64 {
        self.allowed.saturating_add(self.denied)
    }
}
