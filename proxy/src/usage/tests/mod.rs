use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_api::policy::{AllowReason, Decision, Effect, RuleName, Source};
use palisade_api::spiffe::SpiffeId;
use palisade_api::usage::{Decided, Seen};
use time::OffsetDateTime;

use super::table::{Caller, Edge, MAX_EDGES, Table, Verdict};
use super::*;

mod report;

fn rule(name: &str) -> RuleName {
    RuleName {
        namespace: Some("shop".to_owned()),
        policy: "orders".to_owned(),
        rule: name.to_owned(),
    }
}

fn web() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

/// A connection in clear that a rule allows.
fn edge(ip: IpAddr, rule: &RuleName) -> Edge<&SpiffeId, &RuleName> {
    Edge {
        caller: Caller::Address(ip),
        port: 8080,
        verdict: Verdict::AllowedByRule(rule),
        shadow: None,
    }
}

fn address(number: usize) -> IpAddr {
    IpAddr::from(u32::try_from(number).unwrap().to_be_bytes())
}

#[test]
fn connections_that_are_alike_are_one_edge() {
    let (one, other) = (rule("one"), rule("other"));
    let mut table = Table::default();
    let ip = address(1);
    table.count(edge(ip, &one), 5, &[]);
    table.count(edge(ip, &one), 7, &[]);
    for different in [
        edge(address(2), &one),
        edge(ip, &other),
        Edge {
            port: 80,
            ..edge(ip, &one)
        },
        Edge {
            verdict: Verdict::DeniedByRule(&one),
            ..edge(ip, &one)
        },
        Edge {
            shadow: Some((Effect::Deny, &other)),
            ..edge(ip, &one)
        },
    ] {
        table.count(different, 9, &[]);
    }
    let news = table.tell();
    assert_eq!(news.edges.len(), 6);
    let of_the_first = news.edges.iter().find(|(_, seen)| seen.count == 2).unwrap();
    assert_eq!((of_the_first.1.first, of_the_first.1.last), (5, 7));
    let used = |name: &RuleName| news.rules.iter().find(|(rule, _)| rule == name).unwrap().1;
    assert_eq!((used(&one).count, used(&one).shadow_count), (6, 0));
    assert_eq!((used(&other).count, used(&other).shadow_count), (1, 1));
    assert_eq!(used(&other).shadow_last, 9);
}

#[test]
fn a_full_table_counts_on_by_rule_and_by_what_was_decided() {
    let allows = rule("allows");
    let mut table = Table::default();
    let callers = MAX_EDGES + 100;
    for _ in 0..2 {
        for number in 0..callers {
            table.count(edge(address(number), &allows), 1, &[]);
        }
    }
    let denied = Edge {
        verdict: Verdict::DeniedByNoRule,
        ..edge(address(callers), &allows)
    };
    table.count(denied, 1, &[]);
    let news = table.tell();
    assert_eq!(news.edges.len(), MAX_EDGES);
    assert!(news.edges.iter().all(|(_, seen)| seen.count == 2));
    let mut others = news.others;
    others.sort();
    assert_eq!(
        others,
        [(Decided::AllowedByRule, 200), (Decided::DeniedByNoRule, 1)]
    );
    // What rules did is exact all the same.
    assert_eq!(news.rules[0].1.count, u64::try_from(2 * callers).unwrap());
}

#[test]
fn rules_that_are_gone_make_room_and_those_in_force_stay() {
    let mut table = Table::default();
    let kept = rule("kept");
    for number in 0..10_000 {
        let passing = rule(&number.to_string());
        let in_force = [kept.clone(), passing.clone()];
        table.count(edge(address(1), &kept), 1, &in_force);
        table.count(edge(address(1), &passing), 1, &in_force);
    }
    let news = table.tell();
    assert!(news.rules.len() < 100, "{}", news.rules.len());
    let count = news
        .rules
        .iter()
        .find(|(rule, _)| *rule == kept)
        .unwrap()
        .1
        .count;
    assert_eq!(count, 10_000);
}

#[test]
fn only_what_changed_is_told_again_and_to_a_new_listener_everything() {
    let allows = rule("allows");
    let mut table = Table::default();
    assert!(!table.is_untold());
    table.count(edge(address(1), &allows), 1, &[]);
    table.count(edge(address(2), &allows), 1, &[]);
    assert_eq!(table.tell().edges.len(), 2);
    assert!(!table.is_untold());
    table.count(edge(address(2), &allows), 2, &[]);
    assert!(table.is_untold());
    let news = table.tell();
    // Totals, so that what is lost or comes twice does no harm.
    let counts: Vec<u64> = news.edges.iter().map(|(_, seen)| seen.count).collect();
    assert_eq!(counts, [2]);
    assert_eq!(news.rules[0].1.count, 3);
    table.forget_who_was_told();
    assert!(table.is_untold());
    assert_eq!(table.tell().edges.len(), 2);
}

#[test]
fn an_open_connection_keeps_its_edge_and_its_rule_in_use() {
    let (open, ended) = (rule("open"), rule("ended"));
    let mut table = Table::default();
    let held = table.count(edge(address(1), &open), 1, &[]);
    drop(table.count(edge(address(1), &ended), 1, &[]));
    table.tell();
    table.refresh(9);
    let news = table.tell();
    let seen = Seen {
        count: 1,
        first: 1,
        last: 9,
        unanswered: 0,
    };
    assert_eq!(news.edges.len(), 1);
    assert_eq!(news.edges[0].1, seen);
    assert_eq!(news.rules.len(), 1);
    assert_eq!((news.rules[0].1.count, news.rules[0].1.last), (1, 9));
    assert!(table.has_open());
    drop(held);
    table.refresh(10);
    assert!(!table.has_open() && !table.is_untold());
}

#[test]
fn what_nobody_was_there_for_is_told_of_its_edge_whenever_it_turns_out() {
    let allows = rule("allows");
    let mut table = Table::default();
    let held = table.count(edge(address(1), &allows), 1, &[]).unwrap();
    drop(table.count(edge(address(2), &allows), 1, &[]));
    table.tell();
    table.unanswered(&held);
    assert!(table.is_untold());
    let news = table.tell();
    let [(of, seen)] = news.edges.as_slice() else {
        panic!("{:?}", news.edges);
    };
    assert_eq!(of.caller, Caller::Address(address(1)));
    assert_eq!((seen.count, seen.unanswered), (1, 1));
    assert!(table.tell().edges.is_empty());
}

#[test]
fn a_table_of_nothing_takes_no_memory_beside_itself_and_has_nothing_to_tell() {
    let mut table = Table::default();
    assert_eq!(table.capacity(), 0);
    table.forget_who_was_told();
    assert!(!table.is_untold());
}

#[test]
fn an_open_connection_counts_for_another_rule_once_that_lets_it_in() {
    let usage = Usage::new(OffsetDateTime::UNIX_EPOCH).unwrap();
    let (id, state) = (web(), PolicyState::Waiting);
    let call = Call {
        source: Source::Authenticated(&id),
        port: 8080,
        state: &state,
    };
    let by = |name: &str| Decision {
        verdict: policy::Verdict::Allow(AllowReason::Rule(rule(name))),
        shadow: None,
    };
    let mut open = usage.permitted(call, &by("first"));
    usage.permitted_again(&mut open, call, &by("first"));
    usage.permitted_again(&mut open, call, &by("second"));
    usage.permitted_again(&mut open, call, &by("second"));
    let counts: BTreeMap<_, _> = usage
        .tell()
        .rules
        .into_iter()
        .map(|(rule, used)| (rule.rule, used.count))
        .collect();
    assert_eq!(
        counts,
        [("first".to_owned(), 1), ("second".to_owned(), 1)].into()
    );
    // Only what lets it in now is in use.
    usage.refresh();
    let in_use: Vec<_> = usage
        .tell()
        .rules
        .into_iter()
        .map(|(rule, _)| rule.rule)
        .collect();
    assert_eq!(in_use, ["second"]);
    drop(open);
    assert!(!usage.has_open());
}
