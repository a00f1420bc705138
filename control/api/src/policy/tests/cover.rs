//! Which rules change nothing where others are.

use super::*;

fn found(policies: &[AuthorizationPolicy]) -> Vec<(String, String, Why)> {
    let found = unreachable(policies).into_iter();
    found
        .map(|(rule, other, why)| (rule.to_string(), other.to_string(), why))
        .collect()
}

fn expected(all: &[(&str, &str, Why)]) -> Vec<(String, String, Why)> {
    let all = all.iter();
    all.map(|(rule, other, why)| ((*rule).to_owned(), (*other).to_owned(), *why))
        .collect()
}

#[test]
fn ports_are_covered_by_ranges_that_meet() {
    let web = || allow("a", account("shop", "web"));
    for (wide, narrow, is_covered) in [
        (&[(80, 85), (86, 90)][..], &[(84, 88)][..], true),
        (&[(86, 90), (80, 86)], &[(80, 90)], true),
        (&[(80, 85), (87, 90)], &[(84, 88)], false),
        (&[(1, 65535)], &[(80, 80), (65535, 65535)], true),
        // All ports are more than those that can be named one by one.
        (&[(1, 65535)], &[], false),
        (&[], &[(1, 65535)], true),
    ] {
        let is = covers(&on(wide, web()), &on(narrow, web()));
        assert_eq!(is, is_covered, "{wide:?} {narrow:?}");
    }
}

#[test]
fn a_rule_in_shadow_covers_none_that_acts() {
    let web = allow("a", account("shop", "web"));
    let dark = shadow(web.clone());
    assert!(covers(&web, &dark) && covers(&dark, &dark) && covers(&web, &web));
    assert!(!covers(&dark, &web));
}

#[test]
fn a_target_covers_one_that_selects_more_closely() {
    let of = |namespaces: &[&str], account: Option<&str>, pairs: &[(&str, &str)]| Target {
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        service_account: account.map(str::to_owned),
        ..labels(pairs)
    };
    let all = of(&[], None, &[]);
    let shop = of(&["shop", "web"], None, &[]);
    let orders = of(&["shop"], Some("orders"), &[]);
    let app = of(&["shop"], None, &[("app", "a")]);
    let both = of(&["shop"], Some("orders"), &[("app", "a"), ("tier", "b")]);
    for (wide, narrow) in [
        (&all, &shop),
        (&shop, &orders),
        (&shop, &app),
        (&orders, &both),
        (&app, &both),
    ] {
        assert!(wide.covers(narrow) && !narrow.covers(wide), "{wide:?}");
        assert!(wide.covers(wide));
    }
    assert!(!orders.covers(&app) && !app.covers(&orders));
}

#[test]
fn rules_of_other_policies_are_looked_at_too() {
    let batch = || From::Namespace("batch".to_owned());
    let job = || account("batch", "job");
    let policies = [
        cluster(&["shop", "web"], vec![deny("no-batch", batch())]),
        policy(vec![
            allow("job", job()),
            allow("web", account("shop", "web")),
        ]),
        AuthorizationPolicy {
            namespace: Some("other".to_owned()),
            ..policy(vec![allow("job", job())])
        },
        AuthorizationPolicy {
            name: "orders-too".to_owned(),
            ..targeted(
                labels(&[("app", "orders")]),
                vec![on(&[(80, 80)], allow("web", account("shop", "web")))],
            )
        },
    ];
    let found = found(&policies);
    let job = ("shop/orders/job", "cluster/baseline/no-batch", Why::Denied);
    let web = ("shop/orders-too/web", "shop/orders/web", Why::Repeated);
    assert_eq!(found, expected(&[job, web]));
}

#[test]
fn of_rules_that_say_the_same_the_first_by_name_stays() {
    let web = |name| allow(name, account("shop", "web"));
    let policies = [policy(vec![web("c"), web("a"), web("b"), shadow(web("d"))])];
    let repeated = |name| (name, "shop/orders/a", Why::Repeated);
    assert_eq!(
        found(&policies),
        expected(&["shop/orders/b", "shop/orders/c", "shop/orders/d"].map(repeated))
    );
}

#[test]
fn what_differs_in_one_respect_is_reached() {
    let web = || account("shop", "web");
    let wide = || deny("wide", From::Namespace("shop".to_owned()));
    for (wide, narrow) in [
        (shadow(wide()), allow("a", web())),
        (wide(), allow("a", account("batch", "web"))),
        (on(&[(80, 80)], wide()), allow("a", web())),
        (until(NOW, wide()), allow("a", web())),
        (
            allow("wide", From::Namespace("shop".to_owned())),
            deny("a", web()),
        ),
        (
            allow("wide", network("10.0.0.0/8")),
            allow("a", network("11.0.0.0/8")),
        ),
    ] {
        let rules = [policy(vec![wide, narrow])];
        assert_eq!(found(&rules), [], "{rules:?}");
    }
    let networks = policy(vec![
        allow("wide", network("10.0.0.0/8")),
        allow("narrow", network("10.1.0.0/16")),
    ]);
    let one = ("shop/orders/narrow", "shop/orders/wide", Why::Repeated);
    assert_eq!(found(&[networks]), expected(&[one]));
}
