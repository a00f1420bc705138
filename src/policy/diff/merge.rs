//! Differences put together, so that people can read them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use palisade_api::policy::PortRange;
use palisade_api::spiffe::TrustDomain;

use super::called::Place;
use super::callers::Callers;
use super::compare::{Compared, Namespace, Why};
use super::groups::Groups;
use super::names::Names;
use crate::policy::traffic::Was;

/// Who may, or may no longer, reach whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) ports: Vec<PortRange>,
    pub(super) why: Why,
}

/// A line, and of whom it tells.
pub(super) type Told<'a> = (Line, Rc<BTreeSet<&'a Callers>>, BTreeSet<&'a Place>);

/// Puts together ports, callers and called ones of which the same is to be said.
pub(super) fn lines(compared: &Compared, own: &TrustDomain) -> Vec<Line> {
    let told = told(compared, own).into_iter();
    told.map(|(line, ..)| line).collect()
}

/// The same, in the same order: of one caller, called one and port there is one line at most.
pub(super) fn told<'a>(compared: &'a Compared, own: &'a TrustDomain) -> Vec<Told<'a>> {
    let mut all = Vec::new();
    let groups = Groups::of(&compared.callers, own);
    for namespace in &compared.namespaces {
        let mut callers: By<'_, &Place, &Callers> = By::new();
        let names = Names::of(namespace);
        for ((why, from, to), ports) in by_ports(namespace, &names) {
            let held = callers.entry((why, ports, to)).or_default();
            held.insert(from);
        }
        let mut called: BTreeMap<_, (Rc<_>, BTreeSet<&Place>)> = BTreeMap::new();
        for ((why, ports, to), from) in callers {
            for (name, classes) in groups.shown(from) {
                let held = called.entry((why, ports.clone(), name));
                let (_, places) = held.or_insert_with(|| (Rc::new(classes), BTreeSet::new()));
                places.insert(to);
            }
        }
        for ((why, ports, from), (classes, to)) in called {
            for (to, places) in names.of_all(&to) {
                let line = Line {
                    to,
                    from: from.clone(),
                    ports: ports.clone(),
                    why: why.clone(),
                };
                all.push((line, Rc::clone(&classes), places));
            }
        }
    }
    all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    all
}

/// What the same is to be said of, at the same ports.
type By<'a, K, V> = BTreeMap<(&'a Why, Vec<PortRange>, K), BTreeSet<V>>;
type Edge<'a> = (&'a Why, &'a Callers, &'a Place);

/// Of one who has all that makes others a class, and more, the same is said as of that class where the same becomes of it,
/// whatever decides it.
fn by_ports<'a>(namespace: &'a Namespace, names: &Names<'a>) -> BTreeMap<Edge<'a>, Vec<PortRange>> {
    let mut by_ends: BTreeMap<(&Place, &Callers), Vec<Decided<'_>>> = BTreeMap::new();
    for flip in &namespace.flips {
        let held = by_ends.entry((&flip.to, &flip.from)).or_default();
        held.push((&flip.why, flip.ports));
    }
    let mut merged: BTreeMap<Edge<'_>, Vec<PortRange>> = BTreeMap::new();
    for ((to, from), own) in &by_ends {
        let mut around = names.around(to).iter();
        let same = around.find_map(|wider| {
            let theirs = by_ends.get(&(*wider, *from))?;
            (outcome(theirs) == outcome(own)).then_some(theirs)
        });
        for (why, ports) in same.unwrap_or(own) {
            let held = merged.entry((*why, *from, *to)).or_default();
            meet(held, *ports);
        }
    }
    merged
}

/// What decides at some ports.
type Decided<'a> = (&'a Why, PortRange);

/// What becomes of calls at which ports, whatever decides it.
fn outcome(decided: &[Decided<'_>]) -> BTreeMap<Was, Vec<PortRange>> {
    let mut outcome: BTreeMap<Was, Vec<PortRange>> = BTreeMap::new();
    for (why, ports) in decided {
        meet(outcome.entry(why.becomes).or_default(), *ports);
    }
    outcome
}

/// Adds ports after others; those that they meet become longer.
fn meet(held: &mut Vec<PortRange>, ports: PortRange) {
    match held.last_mut() {
        Some(last) if last.last.checked_add(1) == Some(ports.first) => last.last = ports.last,
        _ => held.push(ports),
    }
}
