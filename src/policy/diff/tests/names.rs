//! No change is told twice: by two names of one, or by a name that covers another.

use super::*;

/// One replica.
fn workload(name: &str, account: &str, labels: &str, addr: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop, labels: {labels}}}
spec: {{serviceAccount: {account}, addresses: [{addr}]}}
---
"
    )
}

fn named(policy: String, name: &str) -> String {
    policy.replace("name: p,", &format!("name: {name},"))
}

const CANARY: &str = "{labels: {app: orders, track: canary}}";
const NOBODY: &str = "effect: deny, from: [{serviceAccount: shop/nobody}]";

#[test]
fn replicas_that_rules_tell_apart_are_one_where_the_same_is_said_of_them() {
    let known = workload("orders-0", "orders", "{app: orders}", "10.0.0.1")
        + &workload(
            "orders-1",
            "orders",
            "{app: orders, track: canary}",
            "10.0.0.2",
        );
    let apart = named(policy(CANARY, &[NOBODY]), "apart");
    let before = apart.clone() + &policy(ORDERS, &[NOBODY]) + &known;
    let after = apart + &policy(ORDERS, &[WEB]) + &known;
    assert_eq!(
        diff(&before, &after),
        ["+ shop/web → shop/orders all ports"]
    );
    let more = named(
        policy(
            CANARY,
            &["effect: deny, from: [{serviceAccount: shop/web}], ports: [9]"],
        ),
        "apart",
    );
    assert_eq!(
        diff(&before, &(more + &policy(ORDERS, &[WEB]) + &known)),
        [
            "+ shop/web → shop/orders (app=orders) all ports",
            "+ shop/web → shop/orders (app=orders, track=canary) 1-8, 10-65535",
        ]
    );
    // Nothing is told of the other one.
    let only = |rule: &str| policy("{labels: {track: canary}}", &[rule]) + &known;
    assert_eq!(
        diff(&only(NOBODY), &only(WEB)),
        ["+ shop/web → shop/orders (track=canary) all ports"]
    );
}

#[test]
fn a_name_for_all_who_have_a_label_covers_nobody_of_whom_another_line_tells() {
    let canary = workload(
        "canary-0",
        "orders",
        "{app: orders, track: canary}",
        "10.0.0.2",
    );
    let apart = named(policy(CANARY, &[NOBODY]), "apart");
    let before = apart.clone() + &policy(ORDERS, &[NOBODY]);
    let after = apart + &policy(ORDERS, &[WEB]);
    assert_eq!(
        diff(&(before.clone() + &canary), &(after.clone() + &canary)),
        [
            "+ shop/web → any other workload of shop labelled app=orders all ports",
            "+ shop/web → shop/canary all ports",
        ]
    );
    let denied = named(
        policy(
            CANARY,
            &["effect: deny, from: [{serviceAccount: shop/web}], ports: [1-99]"],
        ),
        "apart",
    );
    assert_eq!(
        diff(&before, &(denied + &policy(ORDERS, &[WEB]))),
        [
            "+ shop/web → any other workload of shop labelled app=orders all ports",
            "+ shop/web → any workload of shop labelled app=orders, track=canary 100-65535",
        ]
    );
}

#[test]
fn one_who_comes_with_and_without_its_identity_is_told_of_once() {
    let web = |number: u8, addr: &str| workload(&format!("web-{number}"), "web", "{}", addr);
    let known = web(0, "10.2.0.7") + &web(1, "10.3.0.7");
    let both = "effect: allow, from: [{serviceAccount: shop/web}, \
                {unauthenticated: {cidr: 10.2.0.7/32}}, {unauthenticated: {cidr: 10.3.0.7/32}}]";
    assert_eq!(
        diff(
            &(policy(ORDERS, &[NOBODY]) + &known),
            &(policy(ORDERS, &[both]) + &known)
        ),
        [
            "+ shop/web, also in clear from 10.2.0.7, 10.3.0.7 → any workload of shop labelled app=orders all ports"
        ]
    );
    let in_clear = both.replace("{serviceAccount: shop/web}, ", "");
    assert_eq!(
        diff(
            &(policy(ORDERS, &[NOBODY]) + &known),
            &(policy(ORDERS, &[&in_clear]) + &known)
        ),
        [
            "+ shop/web, in clear from 10.2.0.7, 10.3.0.7 → any workload of shop labelled app=orders all ports"
        ]
    );
}
