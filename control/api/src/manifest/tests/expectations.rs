//! `PolicyTest` documents, which are read by themselves.

use super::*;

const TEST: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {name: orders}
spec:
  at: 2026-12-01T00:00:00Z
  tests:
  - name: the web
    from: shop/web
    to: spiffe://a.test/ns/b/sa/c
    labels: {app: orders}
    port: 9000-9010
    expect: deny
    rule: orders/no-web
    reason: rule
    shadow: allow
  - {from: \"::ffff:10.0.0.7\", to: shop/orders, ports: [80, 90-91], expect: allow}
";

#[test]
fn every_field_is_read() {
    let [test] = read_tests("f", TEST).unwrap().try_into().unwrap();
    assert_eq!((&*test.file, test.name.as_str()), ("f", "orders"));
    assert!(test.at.is_some());
    let [first, second] = test.expectations.as_slice() else {
        panic!("{test:?}");
    };
    assert_eq!(first.name.as_deref(), Some("the web"));
    assert!(
        matches!(&first.from.value, Who::Named { namespace, name } if namespace == "shop" && name == "web")
    );
    assert_eq!(
        (
            first.from.at.line,
            first.from.at.column,
            first.from.at.width
        ),
        (8, 11, 8)
    );
    assert!(matches!(first.to.value, Who::Identity(_)));
    assert_eq!(
        first.ports,
        [crate::policy::PortRange {
            first: 9000,
            last: 9010
        }]
    );
    assert_eq!(first.expect, crate::policy::Effect::Deny);
    assert_eq!(first.rule.as_ref().unwrap().value, "orders/no-web");
    assert_eq!(
        (first.reason, first.shadow),
        (Some("rule"), Some(crate::policy::Effect::Allow))
    );
    assert_eq!(second.from.value, Who::Address("10.0.0.7".parse().unwrap()));
    assert_eq!(second.ports.len(), 2);
    assert_eq!(second.place.line, 16);
}

#[test]
fn rules_and_tests_in_one_file_are_read_each_by_its_own() {
    let both = format!("{POLICY}---\n{TEST}");
    let wrong = both.replace("from: shop/web\n", "from: web\n");
    for text in [&both, &wrong] {
        assert_eq!(read("f", text).unwrap().len(), 1, "{text}");
    }
    assert_eq!(read_tests("f", &both).unwrap().len(), 1);
    assert!(read_tests("f", &wrong).is_err());
    assert_eq!(read_tests("f", POLICY).unwrap(), []);
}

#[test]
fn what_is_good_of_a_document_with_mistakes_is_read_beside_them() {
    let text = TEST
        .replace("port: 9000-9010", "port: 0")
        .replace("name: orders", "name: O_")
        + "  - {from: shop/web, to: web, labels: [], rule: r, port: 80, expect: alow}\n  - text\n";
    let read = read_all_tests("f", &text);
    let lines: Vec<_> = read.mistakes.iter().map(|one| one.line).collect();
    assert_eq!(lines, [3, 11, 17, 17, 17, 18], "{:#?}", read.mistakes);
    let [test] = read.tests.as_slice() else {
        panic!("{:?}", read.tests);
    };
    assert!(test.at.is_some());
    let good: Vec<_> = test.expectations.iter().map(|one| one.place.line).collect();
    assert_eq!(good, [16]);
    let [first, second] = test.doubtful.as_slice() else {
        panic!("{:?}", test.doubtful);
    };
    assert_eq!(first.rule.as_ref().unwrap().value, "orders/no-web");
    assert_eq!(first.labels.len(), 1);
    assert!(first.from.is_some() && first.to.is_some(), "{first:?}");
    // Without its labels nobody knows who is called.
    assert!(second.from.is_some() && second.to.is_none(), "{second:?}");
    assert_eq!(second.rule.as_ref().unwrap().value, "r");
}

#[test]
fn a_mistake_is_refused_where_it_stands() {
    for (good, wrong, expected) in MISTAKES {
        assert!(TEST.contains(good), "{good}");
        let text = TEST.replacen(good, wrong, 1);
        let found = read_tests("f", &text).unwrap_err();
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(
            shown.iter().any(|one| one.starts_with(expected)),
            "{expected}: {shown:?}"
        );
    }
    let none = TEST.split("  tests:").next().unwrap().to_owned() + "  tests: []\n";
    let found = read_tests("f", &none).unwrap_err();
    assert!(found[0].message.contains("empty list"), "{found:?}");
}

/// What is good, what is written instead, and how the diagnostic begins.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "v1alpha1",
        "v1",
        "f:1:13: `apiVersion` cannot be \"palisade.dev/v1\"; ",
    ),
    (
        "  at: 2026-12-01T00:00:00Z",
        "  at: soon",
        "f:5:7: \"soon\" is no moment; write it like",
    ),
    (
        "from: shop/web",
        "form: shop/web",
        "f:8:5: `tests` has no field \"form\"; did you mean `from`?",
    ),
    (
        "from: shop/web",
        "from: web",
        "f:8:11: \"web\" names nobody; write NAMESPACE/NAME",
    ),
    (
        "to: spiffe://a.test/ns/b/sa/c",
        "to: \"spiffe://a.test/*\"",
        "f:9:9: `to` takes no wildcards",
    ),
    (
        "port: 9000-9010",
        "port: 9010-9000",
        "f:11:11: the range 9010-9000 ends before it begins; ",
    ),
    (
        "port: 9000-9010",
        "ports: []",
        "f:11:12: `ports` is an empty list; write `port: 8080`",
    ),
    (
        "port: 9000-9010",
        "port: {}",
        "f:11:11: what is a mapping is no port; ",
    ),
    (
        "port: 9000-9010\n",
        "port: 1\n    ports: [1]\n",
        "f:12:5: `port` and `ports` say the same; ",
    ),
    (
        "    port: 9000-9010\n",
        "",
        "f:7:5: `port` is missing; write `port: 8080`",
    ),
    (
        "expect: deny",
        "expect: denied",
        "f:12:13: `expect` cannot be \"denied\"; ",
    ),
    (
        "rule: orders/no-web",
        "rule: \"a b\"",
        "f:13:11: \"a b\" is no rule's name; ",
    ),
    (
        "reason: rule",
        "reason: why",
        "f:14:13: `reason` cannot be \"why\"; ",
    ),
    (
        "shadow: allow",
        "shadow: enforce",
        "f:15:13: `shadow` cannot be \"enforce\"; ",
    ),
];
