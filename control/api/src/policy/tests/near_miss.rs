//! What a denial says of the rule that came nearest.

use super::*;

#[test]
fn the_nearest_allowance_is_named_and_where_it_differed() {
    let web = || account("shop", "web");
    let batch = || account("shop", "batch");
    let rules = [
        (shadow(allow("mode", web())), Difference::Mode),
        (until(NOW, allow("expired", web())), Difference::Expired),
        (on(&[(1, 1)], allow("port", web())), Difference::Port),
        (allow("from", batch()), Difference::From),
    ];
    for nearest in 0..rules.len() {
        let rest = rules[nearest..].iter().rev().map(|(rule, _)| rule.clone());
        let (rule, differs) = &rules[nearest];
        let verdict = closed(Some((&rule.name, *differs)));
        assert_eq!(ASKED.verdict(&[policy(rest.collect())]), verdict);
    }
    for (rules, miss) in [
        (vec![deny("d", batch())], None),
        (vec![on(&[(1, 1)], allow("a", batch()))], None),
        (
            vec![allow("b", batch()), allow("a", batch())],
            Some(("a", Difference::From)),
        ),
        (
            vec![shadow(allow("a", batch())), allow("b", batch())],
            Some(("b", Difference::From)),
        ),
        (
            vec![until(NOW, shadow(allow("a", web())))],
            Some(("a", Difference::Expired)),
        ),
    ] {
        assert_eq!(
            ASKED.verdict(&[policy(rules.clone())]),
            closed(miss),
            "{rules:?}"
        );
    }
}

#[test]
fn a_name_says_where_a_rule_stands() {
    assert_eq!(name("a").to_string(), "shop/orders/a");
    assert_eq!(cluster_name("a").to_string(), "cluster/baseline/a");
    let miss = near(Some(("a", Difference::Port))).unwrap();
    assert_eq!(miss.to_string(), "shop/orders/a (ports)");
}
