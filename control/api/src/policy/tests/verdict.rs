//! What holds, by source, port, target, order and time.

use time::Duration;

use super::*;

#[test]
fn nothing_is_allowed_where_no_rule_is() {
    for source in [WEB, "10.0.0.1", "fd70::1"] {
        assert_eq!(
            Asked { source, ..ASKED }.verdict(&[]),
            closed(None),
            "{source}"
        );
        assert_eq!(
            Asked { source, ..ASKED }.verdict(&[policy(vec![])]),
            closed(None)
        );
    }
}

#[test]
fn each_form_of_source_means_these_and_no_others() {
    let partner = "spiffe://partner.example/ns/shop/sa/web";
    let odd = "spiffe://cluster.local/vm/web";
    let other = "spiffe://cluster.local/ns/shop/sa/batch";
    let elsewhere = "spiffe://cluster.local/ns/batch/sa/web";
    let everyone = [
        WEB,
        partner,
        odd,
        other,
        elsewhere,
        "10.2.3.4",
        "10.3.0.1",
        "fd70::1",
        "::ffff:10.2.3.4",
    ];
    let table = [
        (account("shop", "web"), &[WEB][..]),
        (From::Identity(WEB.parse().unwrap()), &[WEB]),
        (From::Identity(partner.parse().unwrap()), &[partner]),
        (From::Identity(odd.parse().unwrap()), &[odd]),
        (From::Namespace("shop".to_owned()), &[WEB, other]),
        (
            From::TrustDomain("cluster.local".parse().unwrap()),
            &[WEB, odd, other, elsewhere],
        ),
        (
            From::TrustDomain("partner.example".parse().unwrap()),
            &[partner],
        ),
        (network("10.2.0.0/16"), &["10.2.3.4", "::ffff:10.2.3.4"]),
        (
            network("0.0.0.0/0"),
            &["10.2.3.4", "10.3.0.1", "::ffff:10.2.3.4"],
        ),
        (network("::/0"), &["fd70::1"]),
    ];
    for (from, meant) in table {
        for source in everyone {
            let asked = Asked { source, ..ASKED };
            let is_meant = meant.contains(&source);
            let verdict = asked.verdict(&[policy(vec![allow("a", from.clone())])]);
            assert_eq!(
                verdict == allowed("a"),
                is_meant,
                "{from:?} allows {source}"
            );
            let both = [policy(vec![
                allow(
                    "everyone",
                    From::TrustDomain("cluster.local".parse().unwrap()),
                ),
                deny("d", from.clone()),
            ])];
            assert_eq!(
                asked.verdict(&both) == denied("d"),
                is_meant,
                "{from:?} denies {source}"
            );
        }
    }
}

#[test]
fn a_rule_is_about_its_ports_only() {
    let ports = [
        (&[][..], &[1, 8080, 65535][..], &[][..]),
        (&[(8080, 8080)], &[8080], &[8079, 8081]),
        (
            &[(9000, 9010), (80, 80)],
            &[9000, 9005, 9010, 80],
            &[8999, 9011, 81],
        ),
        (&[(1, 65535)], &[1, 65535], &[]),
    ];
    for (ranges, inside, outside) in ports {
        let policies = [policy(vec![on(ranges, allow("a", account("shop", "web")))])];
        for &port in inside {
            assert_eq!(
                Asked { port, ..ASKED }.verdict(&policies),
                allowed("a"),
                "{port}"
            );
        }
        for &port in outside {
            let miss = Some(("a", Difference::Port));
            assert_eq!(
                Asked { port, ..ASKED }.verdict(&policies),
                closed(miss),
                "{port}"
            );
        }
    }
}

#[test]
fn a_policy_protects_what_its_target_selects() {
    let by_account = |account: &str| Target {
        service_account: Some(account.to_owned()),
        ..labels(&[("app", "orders")])
    };
    for (target, is_selected) in [
        (labels(&[]), true),
        (labels(&[("app", "orders")]), true),
        (labels(&[("app", "orders"), ("tier", "back")]), true),
        (labels(&[("app", "web")]), false),
        (labels(&[("app", "orders"), ("tier", "front")]), false),
        (labels(&[("missing", "")]), false),
        (by_account("orders"), true),
        (by_account("web"), false),
    ] {
        let policies = [targeted(
            target.clone(),
            vec![allow("a", account("shop", "web"))],
        )];
        let miss = Some(("a", Difference::Target));
        let verdict = if is_selected {
            allowed("a")
        } else {
            closed(miss)
        };
        assert_eq!(ASKED.verdict(&policies), verdict, "{target:?}");
        let elsewhere = Asked {
            namespace: "other",
            ..ASKED
        };
        assert_eq!(elsewhere.verdict(&policies), closed(None), "{target:?}");
    }
}

#[test]
fn deny_comes_before_allow_before_the_default() {
    let web = || account("shop", "web");
    let namespace = || From::Namespace("shop".to_owned());
    for (rules, verdict) in [
        (vec![allow("a", web()), deny("d", web())], denied("d")),
        (vec![deny("d", web()), allow("a", web())], denied("d")),
        (vec![deny("d", namespace()), allow("a", web())], denied("d")),
        (
            vec![on(&[(9, 9)], deny("d", web())), allow("a", web())],
            allowed("a"),
        ),
        (
            vec![deny("d", account("shop", "x")), allow("a", web())],
            allowed("a"),
        ),
        (
            vec![allow("b", web()), allow("a", namespace())],
            allowed("a"),
        ),
        (vec![deny("d", account("shop", "x"))], closed(None)),
    ] {
        assert_eq!(ASKED.verdict(&[policy(rules)]), verdict);
    }
}

#[test]
fn a_namespace_cannot_override_a_cluster_denial() {
    let allowance = || policy(vec![allow("a", account("shop", "web"))]);
    let denial = Verdict::Deny(DenyReason::Rule(cluster_name("d")));
    for (namespaces, verdict) in [
        (&[][..], denial.clone()),
        (&["shop"], denial.clone()),
        (&["batch", "shop", "shop"], denial),
        (&["batch"], allowed("a")),
    ] {
        let baseline = cluster(
            namespaces,
            vec![deny("d", From::Namespace("shop".to_owned()))],
        );
        assert_eq!(
            ASKED.verdict(&[allowance(), baseline]),
            verdict,
            "{namespaces:?}"
        );
    }
    let baseline = cluster(&[], vec![allow("a", account("shop", "web"))]);
    let allowance = Verdict::Allow(AllowReason::Rule(cluster_name("a")));
    assert_eq!(ASKED.verdict(&[baseline]), allowance);
}

#[test]
fn a_rule_says_nothing_from_the_instant_at_which_it_expires() {
    let web = || account("shop", "web");
    let instant = Duration::nanoseconds(1);
    for (expires, is_alive) in [(NOW - instant, false), (NOW, false), (NOW + instant, true)] {
        let verdict = ASKED.verdict(&[policy(vec![until(expires, allow("a", web()))])]);
        let expired = closed(Some(("a", Difference::Expired)));
        assert_eq!(verdict, if is_alive { allowed("a") } else { expired });
        let both = vec![until(expires, deny("d", web())), allow("a", web())];
        let verdict = ASKED.verdict(&[policy(both)]);
        assert_eq!(verdict, if is_alive { denied("d") } else { allowed("a") });
    }
}

#[test]
fn the_next_change_is_the_next_expiry() {
    let hour = Duration::hours(1);
    let rule = |at| until(at, allow("a", account("shop", "web")));
    let policy = Policy::new(vec![policy(vec![
        rule(NOW + hour),
        rule(NOW),
        rule(NOW - hour),
    ])]);
    for (now, next) in [
        (NOW - hour * 2, Some(NOW - hour)),
        (NOW - hour, Some(NOW)),
        (NOW, Some(NOW + hour)),
        (NOW + hour, None),
    ] {
        assert_eq!(policy.next_change(now), next);
    }
    assert_eq!(Policy::default().next_change(NOW), None);
}
