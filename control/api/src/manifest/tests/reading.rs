//! What is still read of a file with mistakes, to look for more of them.

use super::*;
use crate::policy::{Effect, From, Mode};

/// A policy's rules in text, behind what every policy begins with.
fn with_rules(rules: &str) -> String {
    let head = POLICY.split("  - name").next().unwrap();
    format!("{head}{rules}")
}

fn doubtful(text: &str) -> Vec<AuthorizationPolicy> {
    let read = read_all("f", text);
    assert!(!read.mistakes.is_empty(), "{text}");
    assert!(read.documents.is_empty(), "{:?}", read.documents);
    let policies = read.doubtful.into_iter().map(|one| {
        let Manifest::Policy(policy) = one.manifest else {
            panic!("{one:?}");
        };
        policy
    });
    policies.collect()
}

#[test]
fn a_rule_with_a_mistake_is_read_without_what_is_wrong() {
    for (rule, from, ports) in [
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}, {serviceAcount: shop/x}]}\n",
            1,
            0,
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], ports: [80, 0]}\n",
            1,
            1,
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], mode: dark, more: 1}\n",
            1,
            0,
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], expires: never}\n",
            1,
            0,
        ),
    ] {
        let read = doubtful(&with_rules(rule));
        let [policy] = read.as_slice() else {
            panic!("{rule}: {read:?}");
        };
        let [rule] = policy.rules.as_slice() else {
            panic!("{policy:?}");
        };
        assert_eq!((rule.from.len(), rule.ports.len()), (from, ports));
    }
}

#[test]
fn what_a_rule_cannot_be_without_takes_the_rule_with_it_and_places_stay_right() {
    let good = "  - name: b\n    effect: deny\n    from: [{namespace: batch}]\n";
    for bad in [
        "  - {name: a, effect: allow, from: []}\n",
        "  - {name: a, effect: allow, from: [{serviceAcount: shop/web}]}\n",
        "  - text\n",
    ] {
        let read = read_all("f", &with_rules(&format!("{bad}{good}")));
        let [document] = read.doubtful.as_slice() else {
            panic!("{bad}: {read:?}");
        };
        let Manifest::Policy(policy) = &document.manifest else {
            panic!("{document:?}");
        };
        assert_eq!(policy.rules[0].from, [From::Namespace("batch".into())]);
        assert_eq!((policy.rules.len(), document.rules.len()), (1, 1));
        assert_eq!(document.rules[0].name.line, 8, "{bad}");
    }
}

#[test]
fn whom_a_rule_is_about_is_read_though_what_it_does_or_is_called_cannot_be() {
    use Effect::{Allow, Deny};
    let in_shadow = (Deny, Mode::Shadow);
    for (bad, name, expected) in [
        // What was most likely meant.
        ("name: a, effect: alow", "a", (Allow, Mode::Enforce)),
        (
            "name: a, effect: dney, mode: shadow",
            "a",
            (Deny, Mode::Shadow),
        ),
        // Nobody knows: it decides nothing.
        ("name: a, effect: permit", "a", in_shadow),
        ("name: a, effect: true, ports: [0]", "a", in_shadow),
        ("name: a", "a", in_shadow),
        ("name: A_, effect: allow", "…", (Allow, Mode::Enforce)),
        ("effect: allow", "…", (Allow, Mode::Enforce)),
    ] {
        let bad = format!("  - {{{bad}, from: [{{serviceAccount: shop/web}}]}}\n");
        let [policy] = doubtful(&with_rules(&bad)).try_into().unwrap();
        let policy: AuthorizationPolicy = policy;
        let [rule] = policy.rules.as_slice() else {
            panic!("{bad}: {policy:?}");
        };
        assert_eq!((&*rule.name, (rule.effect, rule.mode)), (name, expected));
        assert_eq!(rule.from.len(), 1, "{bad}");
    }
}

#[test]
fn what_rules_are_to_each_other_is_told_by_the_effect_that_was_most_likely_meant() {
    let text = with_rules(
        "  - {name: a, effect: alow, from: [{serviceAccount: shop/web}]}
  - {name: b, effect: deny, from: [{namespace: shop}]}
  - {name: c, effect: permit, from: [{serviceAccount: shop/web}]}
",
    );
    let said: Vec<_> = read_all("f", &text)
        .mistakes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "f:7:12: the rule `a` can never allow anything: `b` denies all of it; remove it, or narrow `b`",
            "f:7:23: `effect` cannot be \"alow\"; did you mean `allow`?",
            "f:9:23: `effect` cannot be \"permit\"; write `allow` or `deny`",
        ]
    );
}

#[test]
fn nothing_is_read_of_what_has_nothing_left() {
    for text in [
        with_rules("  - {name: a}\n"),
        with_rules("  - text\n"),
        POLICY.replace("metadata:", "about:"),
        POLICY.replace("AuthorizationPolicy", "Policy"),
        "- a\n- b\n".to_owned(),
    ] {
        assert_eq!(doubtful(&text), [], "{text}");
    }
}

#[test]
fn what_was_most_likely_meant_is_read() {
    let whole = read("f", POLICY).unwrap().remove(0);
    for (good, bad) in [
        ("palisade.dev/v1alpha1", "palisade.dev/v1"),
        ("palisade.dev/v1alpha1", "7"),
        ("palisade.dev/v1alpha1", "[]"),
        ("apiVersion:", "apiversion:"),
        ("kind: AuthorizationPolicy", "kind: AuthorisationPolicy"),
        ("kind: AuthorizationPolicy", "Kind: authorizationPolicy"),
        ("spec:", "specs:"),
        ("rules:", "rule:"),
        ("    from:", "    form:"),
        ("{app: orders}", "{app: orders}, label: {}"),
    ] {
        assert_eq!(POLICY.matches(good).count(), 1, "{good}");
        let found = read_all("f", &POLICY.replace(good, bad));
        assert!(
            !found.mistakes.is_empty() && found.documents.is_empty(),
            "{bad}"
        );
        let [doubtful] = found.doubtful.as_slice() else {
            panic!("{bad}: {found:?}");
        };
        assert_eq!(doubtful.manifest, whole.manifest, "{bad}");
        assert_eq!(doubtful.rules.len(), whole.rules.len(), "{bad}");
    }
    let headless = POLICY.replace("apiVersion: palisade.dev/v1alpha1\n", "");
    let found = read_all("f", &headless);
    assert_eq!(found.doubtful[0].manifest, whole.manifest);
}

#[test]
fn rules_that_are_wrong_only_beside_each_other_are_all_read() {
    let rules = "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}]}
  - {name: a, effect: deny, from: [{namespace: shop}], expires: 2020-01-01T00:00:00Z, reason: x}
  - {name: b, effect: allow, from: [{serviceAccount: shop/web}, {nobody: x}]}
  - {name: c, effect: deny, from: [{namespace: shop}]}
";
    let [policy] = doubtful(&with_rules(rules)).try_into().unwrap();
    let policy: AuthorizationPolicy = policy;
    let names: Vec<_> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["a", "a", "b", "c"]);
    assert!(policy.rules[1].expires.is_some());
}

#[test]
fn a_document_that_is_no_yaml_hides_no_other_and_moves_no_lines() {
    let broken = "a: [\n";
    let wrong = POLICY.replace("effect: allow", "effect: maybe");
    let wrong = wrong.replace("name: orders,", "name: other,");
    let text =
        format!("{POLICY}---\n{broken}---\n{CLUSTER}--- # more\n{wrong}---\na: &x 1\na: 2\n");
    let read = read_all("f", &text);
    let names: Vec<_> = read.documents.iter().map(|one| one.name.line).collect();
    assert_eq!(names, [3, 18], "{:?}", read.mistakes);
    let lines: Vec<_> = read.mistakes.iter().map(|one| one.line).collect();
    let effect = text
        .lines()
        .position(|line| line.contains("maybe"))
        .unwrap()
        + 1;
    assert_eq!(lines[1..], [u64::try_from(effect).unwrap(), 38]);
    assert!((14..=15).contains(&lines[0]), "{lines:?}");
}

#[test]
fn whatever_ends_its_lines_a_document_that_is_no_yaml_hides_no_other() {
    let wrong = POLICY.replace("[8080]", "[0]");
    let other = wrong.replace("name: orders,", "name: other,");
    let text = [&wrong, "---\na: [1\n---\n", &other].concat();
    let expected = said(&text);
    let places: Vec<_> = expected.lines().map(|line| &line[..7]).collect();
    assert_eq!(places, ["f:11:13", "f:14:4:", "f:26:13"]);
    for end in ["\r\n", "\r"] {
        assert_eq!(said(&text.replace('\n', end)), expected, "{end:?}");
        assert_eq!(said(&text.replacen('\n', end, 20)), expected, "{end:?}");
    }
}

#[test]
fn files_are_refused_as_a_whole_and_told_of_together() {
    let wrong = format!("{CLUSTER}---\n{}", POLICY.replace("[8080]", "[0]"));
    let files = [("a", POLICY), ("b", wrong.as_str()), ("c", CLUSTER)];
    let files = files.map(|(file, text)| (file.to_owned(), text.to_owned()));
    let read = read_together(&files.into());
    let files: Vec<_> = read.documents.iter().map(|one| &*one.file).collect();
    assert_eq!(files, ["a", "c"]);
    let said: Vec<_> = read.mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].starts_with("b:19:13: 0 is no port"), "{said:#?}");
    assert!(
        said[1..].iter().all(|one| one.contains("there are two of")),
        "{said:#?}"
    );
}
