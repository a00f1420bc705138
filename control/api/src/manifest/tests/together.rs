//! What only several documents together can get wrong, and several mistakes at once.

use super::*;

fn read(files: &[(&str, &str)]) -> Vec<(String, Manifest)> {
    let mut all = Vec::new();
    for (file, text) in files {
        let manifests = parse(file, text).unwrap();
        all.extend(
            manifests
                .into_iter()
                .map(|manifest| ((*file).to_owned(), manifest)),
        );
    }
    all
}

#[test]
fn every_mistake_of_a_file_is_told_in_the_order_of_its_lines() {
    let text = POLICY
        .replace("effect: allow", "effect: maybe")
        .replace("[8080]", "[0, 80, 70000]")
        .replace("name: orders,", "");
    let text = [&text, NAMESPACE, &WORKLOAD.replace("Workload", "Pod")].join("---\n");
    assert_eq!(
        said(&text),
        "f:3:11: `name` is missing; write `name: …`\n\
         f:8:13: `effect` cannot be \"maybe\"; write `allow` or `deny`\n\
         f:11:13: 0 is no port; write a number from 1 to 65535\n\
         f:11:20: 70000 is no port; write a number from 1 to 65535\n\
         f:24:7: there is no kind \"Pod\"; write `AuthorizationPolicy`, `ClusterAuthorizationPolicy`, \
         `Workload`, `Service`, `Namespace`, `Revocations` or `TrustBundle`"
    );
}

#[test]
fn what_rules_get_wrong_together_is_told_beside_what_each_gets_wrong() {
    let more = "  - {name: web, effect: permit, from: [{namespace: a, trustDomain: b}], ports: []}
  - {name: no, effect: deny, from: [{identity: shop/web}], ports: [90-80]}
  - {name: no, effect: deny, from: [], mode: dark}
";
    let text = [&format!("{POLICY}{more}"), CLUSTER, CLUSTER].join("---\n");
    assert_eq!(
        said(&text),
        "f:13:12: the rule `web` has the name of the one in line 7; give each rule of a policy its own name\n\
         f:13:25: `effect` cannot be \"permit\"; write `allow` or `deny`\n\
         f:13:55: a source has exactly one key, not also \"trustDomain\"; begin a new entry with `- trustDomain:`; \
         a rule is about any one of its entries, never about two at once\n\
         f:13:80: `ports` is an empty list; leave `ports` out to mean all\n\
         f:14:48: \"shop/web\" is no SPIFFE ID: a SPIFFE ID begins with spiffe:// in lower case; \
         write it like spiffe://cluster.local/ns/shop/sa/web\n\
         f:14:68: the range 90-80 ends before it begins; write 80-90\n\
         f:15:12: the rule `no` has the name of the one in line 14; give each rule of a policy its own name\n\
         f:15:36: `from` is an empty list; say whom the rule is about, as in `- serviceAccount: shop/web`\n\
         f:15:46: `mode` cannot be \"dark\"; write `enforce` or `shadow`\n\
         f:25:1: there are two of ClusterAuthorizationPolicy baseline, the other in line 17; remove or rename one of them"
    );
}

/// Rules of the cluster are called as if it were a namespace.
#[test]
fn rules_that_records_could_not_tell_apart_are_refused() {
    let cluster = CLUSTER.replace("baseline", "orders");
    let own = POLICY.replace("namespace: shop", "namespace: cluster");
    assert_ne!(own, POLICY);
    assert_eq!(
        said(&[&cluster, &own].map(|text| text.as_str()).join("---\n")),
        "f:9:1: rules of AuthorizationPolicy cluster/orders are called as those of ClusterAuthorizationPolicy orders are, \
         in line 1: cluster/orders/…; rename one of them: records could not tell them apart"
    );
    let apart = said(&[&*cluster, POLICY].join("---\n"));
    assert!(apart.starts_with("good: "), "{apart}");
}

#[test]
fn two_objects_of_one_name_are_refused() {
    let two = "the other in line 1; remove or rename one of them";
    for (text, line, name) in [
        (POLICY, 14, "AuthorizationPolicy shop/orders"),
        (CLUSTER, 9, "ClusterAuthorizationPolicy baseline"),
        (NAMESPACE, 10, "Namespace shop"),
        (BUNDLE, 10, "TrustBundle partner.example"),
    ] {
        let expected = format!("f:{line}:1: there are two of {name}, {two}");
        assert_eq!(said(&[text, text].join("---\n")), expected);
        let found = check(&read(&[("a", text), ("b", text)]));
        let two = "there are two of";
        let else_where = "remove or rename one of them";
        let expected = format!("b: {two} {name}, the other in a; {else_where}");
        assert_eq!(shown(&found), expected);
        let documents = ["a", "b"].map(|file| super::read(file, text).unwrap());
        let found = together(documents.concat().iter());
        let expected = format!("b:1:1: {two} {name}, the other in a, line 1; {else_where}");
        assert_eq!(shown(&found), expected);
    }
}

#[test]
fn a_name_may_be_used_again_by_another_kind_or_namespace() {
    let other = POLICY.replace("namespace: shop", "namespace: other");
    let cluster = CLUSTER.replace("baseline", "orders");
    let all = read(&[
        ("a", POLICY),
        ("b", &other),
        ("c", &cluster),
        ("d", SERVICE),
    ]);
    assert_eq!(check(&all), []);
    let twice = read(&[("a", REVOCATIONS), ("b", REVOCATIONS)]);
    assert_eq!(check(&twice), []);
}

#[test]
fn an_address_has_one_owner() {
    let other = WORKLOAD.replace("orders-0", "orders-1");
    let service = SERVICE.replace("fd71::2", "fd70::7");
    let twice = |addr, owner| {
        format!("which {owner} has too, in a; give each workload and service its own")
            .replace("which", &format!("has the address {addr}, which"))
    };
    for (second, own, addrs) in [
        (
            &other,
            "Workload shop/orders-1",
            &["10.111.0.7", "fd70::7"][..],
        ),
        (&service, "Service shop/orders", &["fd70::7"]),
    ] {
        let found = check(&read(&[("a", WORKLOAD), ("b", second)]));
        let lines = addrs.iter().map(|addr| {
            let rest = twice(addr, "Workload shop/orders-0");
            format!("b: {own} {rest}")
        });
        assert_eq!(shown(&found), lines.collect::<Vec<_>>().join("\n"));
    }
}
