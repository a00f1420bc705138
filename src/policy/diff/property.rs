//! What is told of is exactly what flips, whoever is asked about.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::{Destination, Effect, PortRange, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

use super::called::Place;
use super::callers::{Callers, Classes};
use super::changed;
use super::compare::{Compared, Flip, compare};
use super::merge::{self, Line, Told};
use super::sample::{Question, any_question, any_sides};
use super::{Rules, Sides};
use crate::policy::beside;
use crate::policy::subject::Caller;

const NOW: OffsetDateTime = datetime!(2026-11-22 03:00 UTC);

fn tells_of((line, callers, places): &Told<'_>, flip: &Flip) -> bool {
    let is_at_port = |ports: &PortRange| ports.contains(flip.ports.first);
    callers.contains(&flip.from) && places.contains(&flip.to) && line.ports.iter().any(is_at_port)
}

/// Whether people would take a line to tell of this one, as they read its name.
fn names(line: &Line, place: &Place) -> bool {
    let namespace = &place.after.namespace;
    if line.to == place.shown || line.to == format!("every workload of {namespace}") {
        return true;
    }
    // Written as `any workload of b of account x labelled app=1, tier=2`.
    let all = format!("any workload of {namespace}");
    let Some(asked) = line.to.strip_prefix(&all) else {
        return false;
    };
    if !asked.starts_with(' ') {
        return false;
    }
    let (account, labels) = asked.split_once(" labelled ").unwrap_or((asked, ""));
    let labels = labels.split(", ").filter_map(|one| one.split_once('='));
    let labels: BTreeMap<&str, &str> = labels.collect();
    let account = account.strip_prefix(" of account ");
    [&place.before, &place.after].into_iter().any(|called| {
        account.is_none_or(|name| name == called.service_account)
            && labels
                .iter()
                .all(|(key, value)| called.labels.get(*key).is_some_and(|own| own == value))
    })
}

/// The narrowest class that the caller is of.
fn class(caller: &Caller, all: &Classes) -> Callers {
    let own = "cluster.local";
    let known = |class: Callers| all.contains_key(&class).then_some(class);
    match caller {
        Caller::Identity(id) => {
            let domain = id.trust_domain();
            let account = id.service_account().filter(|_| domain.as_str() == own);
            known(Callers::Identity(id.clone()))
                .or_else(|| known(Callers::OtherOf(account?.0.to_owned())))
                .or_else(|| known(Callers::OtherIn(domain.clone())))
                .unwrap_or(Callers::OtherIdentity)
        }
        Caller::Address(addr) => {
            let is_there = |class: &&Callers| matches!(class, Callers::InClear(who) if who.addresses.contains(addr));
            let in_clear = all.keys().find(is_there);
            if let Some(class) = in_clear {
                return class.clone();
            }
            let networks = all.keys().filter_map(Callers::network);
            let networks = networks.filter(|net| net.contains(addr));
            let narrowest = networks.max_by_key(|net| net.prefix_len());
            narrowest.map_or(Callers::OtherAddress, Callers::Network)
        }
    }
}

/// What the comparison says becomes of it; none where it says nothing.
fn told(sides: Sides<'_>, compared: &Compared, question: &Question) -> Option<bool> {
    let is_named = |name: &str| changed::namespaces(sides).contains(name);
    let shown = match is_named(&question.namespace) {
        true => &[&*question.namespace][..],
        false => &["any namespace", "any other namespace"],
    };
    let mut namespaces = compared.namespaces.iter();
    let namespace = namespaces.find(|one| shown.contains(&&*one.shown))?;
    let sentences = changed::Sentences::of(sides);
    let revoked = changed::revoked_accounts(sides, &question.namespace);
    let targets = |account: &str, labels: &BTreeMap<String, String>| {
        let fits = |target: &Target| {
            target
                .service_account
                .as_deref()
                .is_none_or(|own| own == account)
                && target
                    .labels
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
        };
        let all = sentences.about(&question.namespace);
        let fitting: Vec<bool> = all.map(|sentence| fits(sentence.target)).collect();
        let account = account.to_owned();
        (fitting, revoked.contains_key(&*account).then_some(account))
    };
    let asked = targets(&question.account, &question.labels);
    let mut places = namespace.places.iter();
    let mut is_asked =
        |place: &&Place| targets(&place.after.service_account, &place.after.labels) == asked;
    let place = places.find(&mut is_asked);
    let Some(place) = place else {
        let is_revoked = revoked.contains_key(&*question.account);
        assert!(
            is_revoked || !namespace.is_everybody,
            "everybody is of some class"
        );
        return None;
    };
    let from = class(&question.caller, &compared.callers);
    let mut flips = namespace.flips.iter();
    let flip = flips.find(|flip| {
        flip.from == from && flip.to == *place && flip.ports.contains(question.port)
    })?;
    Some(flip.why.becomes == crate::policy::traffic::Was::Allowed)
}

/// Whether an account is called that is revoked and of which no target asks: of such workloads only those that are known
/// are told of.
fn is_unnamed(sides: Sides<'_>, question: &Question) -> bool {
    let account = Some(&*question.account);
    let revoked = changed::revoked_accounts(sides, &question.namespace);
    let sentences = changed::Sentences::of(sides);
    let mut about = sentences.about(&question.namespace);
    let is_named = changed::namespaces(sides).contains(&*question.namespace);
    let is_revoked = revoked.contains_key(&*question.account);
    is_revoked
        && (!is_named
            || about.all(|sentence| sentence.target.service_account.as_deref() != account))
}

fn is_allowed(rules: &Rules, question: &Question) -> bool {
    let destination = Destination {
        namespace: &question.namespace,
        service_account: &question.account,
        labels: &question.labels,
        trust_domain: &rules.trust_domain,
        settings: rules.known.settings(&question.namespace),
    };
    let beside = beside::of(rules, &question.caller);
    let caller = (&question.caller, &*beside);
    let at = (question.port, NOW);
    let answer = rules
        .revoked
        .decide(&rules.compiled(), caller, &destination, at);
    answer.effect() == Effect::Allow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_difference_is_told_of_where_answers_differ_and_nowhere_else(
        [before, after] in any_sides(),
        questions in vec(any_question(), 100),
    ) {
        let sides = Sides { before: &before, after: &after, trust_domain: &after.trust_domain };
        let compared = compare(sides, NOW, 1_000_000).unwrap();
        for question in questions {
            let (was, is) = (is_allowed(&before, &question), is_allowed(&after, &question));
            let expected = (was != is).then_some(is);
            let said = told(sides, &compared, &question);
            if said.is_some() || !is_unnamed(sides, &question) {
                prop_assert_eq!(said, expected, "{:?}", question);
            }
        }
    }

    #[test]
    fn no_caller_called_one_and_port_is_told_of_in_two_lines([before, after] in any_sides()) {
        let sides = Sides { before: &before, after: &after, trust_domain: &after.trust_domain };
        let compared = compare(sides, NOW, 1_000_000).unwrap();
        let lines = merge::told(&compared, sides.trust_domain);
        for flip in compared.namespaces.iter().flat_map(|one| &one.flips) {
            let of: Vec<_> = lines.iter().filter(|line| tells_of(line, flip)).collect();
            prop_assert_eq!(of.len(), 1, "{:?}: {:?}", flip, of);
            prop_assert_eq!(of[0].0.why.becomes, flip.why.becomes);
        }
        let all = compared.namespaces.iter().flat_map(|one| &one.places);
        for place in all {
            for caller in compared.callers.keys() {
                let of = lines.iter().filter(|(line, callers, _)| {
                    callers.contains(caller) && names(line, place)
                });
                let mut ports: Vec<_> = of.flat_map(|(line, ..)| &line.ports).collect();
                ports.sort_unstable();
                let meet = ports.windows(2).find(|two| two[0].last >= two[1].first);
                prop_assert_eq!(meet, None, "{:?} to {:?}", caller, place);
            }
        }
        let said: BTreeSet<_> = lines.iter().map(|(line, ..)| (&line.from, &line.to, &line.why)).collect();
        prop_assert_eq!(said.len(), lines.len(), "{:?}", lines);
    }
}
