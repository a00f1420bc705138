use super::*;
use crate::policy::rules::sample;

fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

const RULE: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules: [{name: web, effect: allow, from: [{serviceAccount: shop/web}]}]
---
";

fn workload(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop, labels: {{app: orders, hash: {name}}}}}
spec: {{serviceAccount: keeper, {rest}}}
---
"
    )
}

#[test]
fn what_people_type_is_a_name_an_identity_or_an_address() {
    assert_eq!(subject("::ffff:10.0.0.7"), subject("10.0.0.7"));
    assert!(matches!(
        subject("spiffe://a.test/ns/b/sa/c"),
        Subject::Identity(_)
    ));
    assert!(matches!(subject("shop/web"), Subject::Named { .. }));
    for wrong in [
        "",
        "web",
        "shop/",
        "/web",
        "a/b/c",
        "shop/W",
        "http://x",
        "shop/*",
        "shop/we\u{1b}b",
    ] {
        let error = wrong.parse::<Subject>().unwrap_err().to_string();
        assert!(
            error.contains("names nobody") && !error.contains('\u{1b}'),
            "{error}"
        );
    }
}

#[test]
fn replicas_that_rules_cannot_tell_apart_are_one() {
    let text = [
        RULE.to_owned(),
        workload("orders-0", "addresses: [10.0.0.1]"),
        workload("orders-1", "addresses: [10.0.0.2]"),
    ];
    let rules = sample::rules(&text.concat());
    for asked in ["shop/orders", "shop/orders-1", "shop/keeper", "10.0.0.2"] {
        let called = called(&rules, &subject(asked), &BTreeMap::new()).unwrap();
        let [one] = called.as_slice() else {
            panic!("{asked}: {called:?}");
        };
        assert_eq!(one.labels.len(), 1, "{asked}: {one:?}");
        assert_eq!(one.service_account, "keeper");
    }
}

#[test]
fn a_caller_without_a_sidecar_has_addresses_and_no_identity() {
    let text = workload(
        "legacy-0",
        "addresses: [10.0.0.1, \"fd00::1\"], meshed: false",
    );
    let rules = sample::rules(&text);
    let callers = callers(&rules, &subject("shop/legacy")).unwrap();
    assert_eq!(callers.len(), 2);
    assert!(
        callers.iter().all(|one| matches!(one, Caller::Address(_))),
        "{callers:?}"
    );
}

#[test]
fn who_is_not_there_is_told_with_who_is_near() {
    let mut rules = sample::rules(&workload("orders-0", "addresses: [10.0.0.1]"));
    rules.known.is_complete = true;
    let error = callers(&rules, &subject("shop/order"))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("did you mean shop/orders?"), "{error}");
    assert!(called(&rules, &subject("shop/nobody"), &BTreeMap::new()).is_err());
    assert!(called(&rules, &subject("10.9.9.9"), &BTreeMap::new()).is_err());
    // Where not all is known, it may be there.
    rules.known.is_complete = false;
    assert_eq!(callers(&rules, &subject("shop/order")).unwrap().len(), 1);
}

#[test]
fn of_a_name_that_nothing_names_that_is_told_with_who_is_near() {
    let text = workload("orders-0", "addresses: [10.0.0.1]");
    let mut rules = sample::rules(&text);
    for (asked, near) in [
        ("shop/keper", "; did you mean shop/keeper?"),
        (
            "spiffe://cluster.local/ns/shop/sa/keper",
            "; did you mean shop/keeper?",
        ),
        ("nowhere/near", ""),
    ] {
        let said = doubt(&rules, &subject(asked)).unwrap();
        assert!(said.starts_with("nothing that was read names "), "{said}");
        assert!(said.ends_with(&format!("not there yet{near}")), "{said}");
    }
    for sure in [
        "shop/orders",
        "shop/keeper",
        "spiffe://cluster.local/ns/shop/sa/keeper",
    ] {
        assert_eq!(doubt(&rules, &subject(sure)), None, "{sure}");
    }
    // Of another mesh nobody is known here, nor where nothing says who there is.
    let foreign = subject("spiffe://b.test/ns/shop/sa/keper");
    assert_eq!(doubt(&rules, &foreign), None);
    rules.known = sample::rules(RULE).known;
    assert_eq!(doubt(&rules, &subject("shop/keper")), None);
}

#[test]
fn labels_are_never_guessed() {
    let rules = sample::rules(RULE);
    let none = BTreeMap::new();
    let error = called(&rules, &subject("shop/orders"), &none).unwrap_err();
    assert!(matches!(error, WhoError::NoLabels(_)), "{error}");
    let labels = BTreeMap::from([("app".to_owned(), "orders".to_owned())]);
    let called_one = called(&rules, &subject("shop/orders"), &labels).unwrap();
    assert_eq!(called_one[0].labels, labels);
    // No rule of this namespace asks for labels.
    assert_eq!(
        called(&rules, &subject("other/orders"), &none)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn who_is_of_another_mesh_is_not_called_by_the_name_of_one_of_this() {
    let rules = sample::rules(&workload("orders-0", "addresses: [10.0.0.1]"));
    let ask = |domain: &str| {
        let id = subject(&format!("spiffe://{domain}/ns/shop/sa/keeper"));
        called(&rules, &id, &BTreeMap::new())
    };
    assert_eq!(ask("cluster.local").unwrap().len(), 1);
    let error = ask("b.test").unwrap_err().to_string();
    assert!(
        error.contains("is not of this mesh, whose trust domain is cluster.local"),
        "{error}"
    );
}
