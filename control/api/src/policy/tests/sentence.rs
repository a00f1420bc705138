//! Rules in words.

use super::*;

fn said(policy: &AuthorizationPolicy) -> Vec<String> {
    let rules = policy.rules.iter();
    rules.map(|rule| sentence(policy, rule)).collect()
}

fn identity(id: &str) -> From {
    From::Identity(id.parse().unwrap())
}

fn about(from: Vec<From>, rule: Rule) -> Rule {
    Rule { from, ..rule }
}

#[test]
fn an_allowance_says_who_may_reach_what() {
    let web = allow("a", account("shop", "web"));
    let both = Rule {
        from: vec![account("shop", "web"), From::Namespace("batch".to_owned())],
        ..web.clone()
    };
    let all = vec![
        account("shop", "web"),
        identity("spiffe://a.test/x"),
        From::TrustDomain("a.test".parse().unwrap()),
        network("10.2.0.0/16"),
        network("::/0"),
    ];
    let policy = targeted(
        labels(&[("app", "orders")]),
        vec![
            on(&[(8080, 8080), (9000, 9010)], web.clone()),
            on(&[(9000, 9010)], both),
            on(&[(80, 80)], about(all, web)),
        ],
    );
    assert_eq!(
        said(&policy),
        [
            "`shop/web` may reach workloads of `shop` labelled app=orders on ports 8080 and 9000 to 9010.",
            "`shop/web` and anyone of the namespace `batch` may reach workloads of `shop` labelled app=orders on ports 9000 to 9010.",
            "`shop/web`, `spiffe://a.test/x`, anyone of the trust domain `a.test`, anyone without an identity from 10.2.0.0/16 and anyone without an identity from any IPv6 address may reach workloads of `shop` labelled app=orders on port 80.",
        ]
    );
}

#[test]
fn a_denial_says_who_may_not() {
    let batch = From::Namespace("batch".to_owned());
    let many = vec![
        account("shop", "web"),
        batch.clone(),
        network("10.0.0.1/32"),
    ];
    let policy = policy(vec![
        deny("a", account("shop", "web")),
        on(&[(80, 80)], deny("b", batch.clone())),
        deny("c", From::TrustDomain("a.test".parse().unwrap())),
        deny("d", network("0.0.0.0/0")),
        about(many[..2].to_vec(), deny("e", batch.clone())),
        about(many, deny("f", batch)),
        deny("g", identity("spiffe://a.test/x")),
    ]);
    let rest = "reach any workload of `shop` on any port, whatever else is allowed.";
    assert_eq!(
        said(&policy),
        [
            format!("`shop/web` may not {rest}"),
            format!(
                "Nobody of the namespace `batch` may {}",
                rest.replace("any port", "port 80")
            ),
            format!("Nobody of the trust domain `a.test` may {rest}"),
            format!("Nobody without an identity from any IPv4 address may {rest}"),
            format!("Neither `shop/web` nor anyone of the namespace `batch` may {rest}"),
            format!(
                "Neither `shop/web`, anyone of the namespace `batch` nor anyone without an identity from 10.0.0.1/32 may {rest}"
            ),
            format!("`spiffe://a.test/x` may not {rest}"),
        ]
    );
}

#[test]
fn what_is_protected_is_told_by_namespace_account_and_labels() {
    let rules = vec![allow("a", account("shop", "web"))];
    let orders = Target {
        service_account: Some("orders".to_owned()),
        ..Target::default()
    };
    let everything = Target {
        labels: labels(&[("app", "orders"), ("canary", "")]).labels,
        ..orders.clone()
    };
    for (policy, object) in [
        (policy(rules.clone()), "any workload of `shop`"),
        (
            targeted(orders, rules.clone()),
            "workloads of `shop` with the service account `orders`",
        ),
        (
            targeted(everything, rules.clone()),
            "workloads of `shop` with the service account `orders` labelled app=orders and canary=\"\"",
        ),
        (cluster(&[], rules.clone()), "any workload of any namespace"),
        (cluster(&["shop"], rules.clone()), "any workload of `shop`"),
        (
            cluster(&["shop", "batch", "web"], rules.clone()),
            "any workload of `shop`, `batch` and `web`",
        ),
    ] {
        let expected = format!("`shop/web` may reach {object} on any port.");
        assert_eq!(said(&policy), [expected]);
    }
}

#[test]
fn shadow_expiry_and_reason_are_told() {
    let because = |reason: &str, rule| Rule {
        reason: reason.to_owned(),
        ..rule
    };
    let web = account("shop", "web");
    let end = datetime!(2026-12-01 01:00 +1);
    let policy = policy(vec![
        shadow(allow("a", web.clone())),
        shadow(deny("b", From::Namespace("batch".to_owned()))),
        because("INC-1234", until(end, allow("c", web.clone()))),
        because("a \"b\"\n\u{1b}c", deny("d", web.clone())),
        until(end + time::Duration::seconds(5), shadow(deny("e", web))),
    ]);
    assert_eq!(
        said(&policy),
        [
            "`shop/web` would be allowed to reach any workload of `shop` on any port; in shadow, so only counted.",
            "Anyone of the namespace `batch` would be denied access to any workload of `shop` on any port; in shadow, so only counted.",
            "`shop/web` may reach any workload of `shop` on any port until 2026-12-01 00:00 UTC (\"INC-1234\").",
            "`shop/web` may not reach any workload of `shop` on any port, whatever else is allowed (\"a \\\"b\\\"\\n\\u{1b}c\").",
            "`shop/web` would be denied access to any workload of `shop` on any port until 2026-12-01 00:00:05 UTC; in shadow, so only counted.",
        ]
    );
}
