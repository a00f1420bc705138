//! What less of a rule means, what rules that change nothing do, and the index on very many questions.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use time::Duration;

use super::plain::{Asked, NOW, allows, plain};
use super::properties::policies;
use crate::policy::*;
use crate::workload::{Closing, Mtls, NamespaceSettings};

/// A way to make a rule say less.
#[derive(Debug, Clone, Copy)]
enum Less {
    Source,
    Ports,
    Label,
    Account,
    Shadow,
    Expired,
    Everything,
}

const WAYS: [Less; 7] = [
    Less::Source,
    Less::Ports,
    Less::Label,
    Less::Account,
    Less::Shadow,
    Less::Expired,
    Less::Everything,
];

/// Makes one rule of a policy say less; a narrower target is that of all its rules.
fn narrow(policy: &mut AuthorizationPolicy, at: Index, way: Less) {
    let count = policy.rules.len();
    let rule = &mut policy.rules[at.index(count)];
    match way {
        Less::Source => {
            rule.from.pop();
        }
        Less::Ports => match rule.ports.pop() {
            Some(range) if range.first < range.last => rule.ports.push(PortRange {
                last: range.last - 1,
                ..range
            }),
            // Its last port: no ports at all would mean all.
            Some(_) if rule.ports.is_empty() => rule.from.clear(),
            Some(_) => {}
            None => rule.ports.push(PortRange { first: 2, last: 9 }),
        },
        Less::Label => {
            let label = ("a".to_owned(), "b".to_owned());
            policy.target.labels.entry(label.0).or_insert(label.1);
        }
        Less::Account => {
            let account = &mut policy.target.service_account;
            account.get_or_insert("b".to_owned());
        }
        Less::Shadow => rule.mode = Mode::Shadow,
        Less::Expired => rule.expires = Some(NOW - Duration::seconds(1)),
        Less::Everything => {
            policy.rules.remove(at.index(count));
        }
    }
}

/// Rule sets, before and after one policy whose rules are all of this effect was made to say less.
fn narrowed(
    effect: Effect,
) -> impl Strategy<Value = (Vec<AuthorizationPolicy>, Vec<AuthorizationPolicy>)> {
    let has_rules = |all: &Vec<AuthorizationPolicy>| all.iter().any(|one| !one.rules.is_empty());
    let policies = policies().prop_filter("some rule must be there", has_rules);
    let choice = (any::<Index>(), any::<Index>(), select(&WAYS[..]));
    (policies, choice).prop_map(move |(mut before, (policy, rule, way))| {
        before.retain(|one| !one.rules.is_empty());
        let chosen = policy.index(before.len());
        for rule in &mut before[chosen].rules {
            rule.effect = effect;
        }
        let mut after = before.clone();
        narrow(&mut after[chosen], rule, way);
        (before, after)
    })
}

/// Rule sets without the rules that others make up for.
fn without_unreachable(policies: &[AuthorizationPolicy]) -> Vec<AuthorizationPolicy> {
    let found = unreachable(policies);
    let mut left = policies.to_vec();
    for policy in &mut left {
        let names: Vec<_> = policy.rule_names().collect();
        let mut names = names.iter();
        let is_found = |name: Option<&RuleName>| found.iter().any(|(rule, ..)| Some(rule) == name);
        policy.rules.retain(|_| !is_found(names.next()));
    }
    left
}

/// The rules that others make up for, found by comparing each with each.
fn plainly_unreachable(policies: &[AuthorizationPolicy]) -> Vec<RuleName> {
    let scope = |policy: &AuthorizationPolicy| Target {
        namespaces: policy
            .namespace
            .iter()
            .chain(&policy.target.namespaces)
            .cloned()
            .collect(),
        ..policy.target.clone()
    };
    let all: Vec<_> = policies
        .iter()
        .flat_map(|policy| {
            let rules = policy.rule_names().zip(&policy.rules);
            rules.map(move |(name, rule)| (name, scope(policy), rule))
        })
        .collect();
    let is_covered = |(name, target, rule): &(RuleName, Target, &Rule)| {
        all.iter().any(|(other, wide, by)| {
            let covered = wide.covers(target) && covers(by, rule);
            let mutual = target.covers(wide) && covers(rule, by);
            other != name
                && covered
                && match (by.effect, rule.effect) {
                    (Effect::Deny, Effect::Allow) => by.mode == Mode::Enforce,
                    (one, same) => one == same && (other < name || !mutual),
                }
        })
    };
    let mut found: Vec<_> = all
        .iter()
        .filter(|one| is_covered(one))
        .map(|(name, ..)| name.clone())
        .collect();
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_allowance_that_says_less_allows_no_more(
        (before, after) in narrowed(Effect::Allow),
        first: Index,
    ) {
        for (was, is) in allowed(before, first).zip(allowed(after, first)) {
            prop_assert!(was || !is);
        }
    }

    #[test]
    fn a_denial_that_says_less_denies_no_more(
        (before, after) in narrowed(Effect::Deny),
        first: Index,
    ) {
        for (was, is) in allowed(before, first).zip(allowed(after, first)) {
            prop_assert!(is || !was);
        }
    }

    #[test]
    fn rules_that_others_make_up_for_change_no_verdict(policies in policies(), first: Index) {
        let left = without_unreachable(&policies);
        for (was, is) in allowed(policies, first).zip(allowed(left, first)) {
            prop_assert_eq!(was, is);
        }
    }

    #[test]
    fn what_others_make_up_for_is_found_as_by_comparing_all(policies in policies()) {
        let found: Vec<_> = unreachable(&policies).into_iter().map(|(rule, ..)| rule).collect();
        prop_assert_eq!(found, plainly_unreachable(&policies));
    }
}

/// Whether each of many questions, from one of them on, is allowed.
fn allowed(policies: Vec<AuthorizationPolicy>, first: Index) -> impl Iterator<Item = bool> {
    let policy = Policy::new(policies);
    some_questions(first).take(100).map(move |asked| {
        let decision =
            asked.with(|source, destination| policy.decide(source, destination, asked.port, NOW));
        allows(&decision)
    })
}

/// Questions that are far from each other, from one of them on, and none twice before all were there.
fn some_questions(first: Index) -> impl Iterator<Item = &'static Asked> {
    let count = QUESTIONS.len();
    let numbers = std::iter::successors(Some(first.index(count)), move |number| {
        Some((number + STEP) % count)
    });
    numbers.map(|number| &QUESTIONS[number])
}

static QUESTIONS: LazyLock<Vec<Asked>> = LazyLock::new(questions);
/// A prime that does not divide the number of questions.
const STEP: usize = 1_009;

/// Every question that the rules of these tests can tell apart.
fn questions() -> Vec<Asked> {
    let domains = ["one.test", "two.test"];
    let words = ["a", "b"];
    let mut sources = Vec::new();
    for (domain, kind) in domains
        .into_iter()
        .flat_map(|domain| ["ns", "vm"].map(|kind| (domain, kind)))
    {
        for (namespace, name) in words
            .into_iter()
            .flat_map(|word| words.map(|name| (word, name)))
        {
            let id = format!("spiffe://{domain}/{kind}/{namespace}/sa/{name}")
                .parse()
                .unwrap();
            sources.push((Some(id), "10.0.0.1"));
        }
    }
    sources.extend(
        [
            "10.0.0.1",
            "10.1.1.1",
            "192.0.2.1",
            "fd00::1",
            "2001:db8::1",
        ]
        .map(|addr| (None, addr)),
    );
    let value = [None, Some("a"), Some("b")];
    let mut questions = Vec::new();
    for (id, addr) in sources {
        for number in 0..2 * 2 * 3 * 3 * 2 * 2 * 5_usize {
            let digit = |place: usize, base: usize| number / place % base;
            let labels = [("a", value[digit(4, 3)]), ("b", value[digit(12, 3)])];
            let labels = labels
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
            questions.push(Asked {
                id: id.clone(),
                addr: addr.parse().unwrap(),
                namespace: words[digit(1, 2)],
                account: words[digit(2, 2)],
                labels: labels.collect(),
                settings: NamespaceSettings {
                    mtls: [Mtls::Strict, Mtls::Permissive][digit(36, 2)],
                    closing: [Closing::Enforce, Closing::Shadow][digit(72, 2)],
                },
                port: u16::try_from(digit(144, 5) + 1).unwrap(),
            });
        }
    }
    questions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A million cases.
    #[test]
    fn the_index_agrees_with_a_plain_reading_on_many_questions(policies in policies(), first: Index) {
        let policy = Policy::new(policies.clone());
        for asked in some_questions(first).take(500) {
            let decision = asked.with(|source, destination| policy.decide(source, destination, asked.port, NOW));
            prop_assert_eq!(decision, plain(&policies, asked), "{:?}", asked);
        }
    }
}
