use super::*;
use crate::policy::rules::sample;

const SHOP: &str = "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-0, namespace: shop, labels: {app: orders, version: v2}}
spec: {serviceAccount: keeper, addresses: [10.0.0.1]}
---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - {name: batch, effect: deny, from: [{serviceAccount: shop/batch}]}
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}]}
";

fn args(from: &str) -> AllowArgs {
    AllowArgs {
        from: from.parse().unwrap(),
        to: "shop/orders".parse().unwrap(),
        port: 8080,
        span: Duration::from_secs(60),
        reason: "INC-1: \"x\"".to_owned(),
        timeout: Duration::from_secs(1),
        mesh: MeshArgs {
            name: None,
            output: None,
            kube: Default::default(),
            scope: Default::default(),
        },
    }
}

fn made(rules: &Rules, args: &AllowArgs) -> (AuthorizationPolicy, Option<Settled>) {
    let callers = subject::callers(rules, &args.from).unwrap();
    let called = subject::called(rules, &args.to, &BTreeMap::new()).unwrap();
    let now = OffsetDateTime::now_utc();
    let expires = end(now, args.span).unwrap();
    let policy = policy(rules, args, (&callers, &called), expires).unwrap();
    let settled = settled(rules, &policy, (&callers, &called, args.port), now);
    (policy, settled)
}

#[test]
fn the_rule_is_no_wider_than_what_was_said_and_reads_as_a_file() {
    let rules = sample::rules(SHOP);
    for (from, expected) in [
        ("shop/cron", "serviceAccount: shop/cron"),
        (
            "spiffe://b.test/ns/x/sa/y",
            "identity: spiffe://b.test/ns/x/sa/y",
        ),
        ("10.2.0.7", "cidr: 10.2.0.7/32"),
        ("fd00::1", "fd00::1/128"),
    ] {
        let (policy, settled) = made(&rules, &args(from));
        assert_eq!(settled, None, "{from}");
        let text = text(&policy);
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("app: orders") && !text.contains("version"),
            "{text}"
        );
        assert!(text.contains("serviceAccount: keeper"), "{text}");
        let read = manifest::parse("f", &text).unwrap();
        assert_eq!(read, [manifest::Manifest::Policy(policy)]);
    }
}

#[test]
fn what_is_allowed_or_denied_anyway_is_told() {
    let rules = sample::rules(SHOP);
    let (_, allowed) = made(&rules, &args("shop/web"));
    assert_eq!(
        allowed,
        Some(Settled::Allowed("by the rule shop/orders/web".to_owned()))
    );
    let (_, denied) = made(&rules, &args("shop/batch"));
    assert_eq!(
        denied,
        Some(Settled::Denied("shop/orders/batch".to_owned()))
    );
}

#[test]
fn what_allows_it_now_and_ends_before_is_no_reason_to_do_nothing() {
    let end = OffsetDateTime::now_utc() + Duration::from_secs(2);
    let end = end.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    let soon = SHOP.replace(
        "name: web, effect: allow",
        &format!("name: web, expires: {end}, reason: x, effect: allow"),
    );
    assert_ne!(soon, SHOP);
    let (_, settled) = made(&sample::rules(&soon), &args("shop/web"));
    assert_eq!(settled, None);
}

#[test]
fn the_same_again_has_the_same_name_and_one_that_is_too_long_is_told() {
    let (one, two) = (args("shop/cron"), args("shop/cron"));
    assert_eq!(
        name(&one.from, &one.to, 80).unwrap(),
        name(&two.from, &two.to, 80).unwrap()
    );
    assert_eq!(
        name(&one.from, &one.to, 80).unwrap(),
        "break-glass-shop.cron-to-shop.orders-80"
    );
    // Two identities that differ in what no name can have.
    let of = |id: &str| name(&id.parse().unwrap(), &one.to, 80).unwrap();
    assert_ne!(of("spiffe://a.test/Ana_x"), of("spiffe://a.test/ana-x"));
    let long = format!(
        "spiffe://a.test/ns/{}/sa/{}",
        "n".repeat(60),
        "s".repeat(250)
    );
    let error = name(&long.parse().unwrap(), &one.to, 80).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[test]
fn it_lasts_no_shorter_than_was_asked_for() {
    let now = time::macros::datetime!(2026-11-22 03:00:00.5 UTC);
    let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).unwrap();
    for (now, span, expected) in [
        (now, 1000, "2026-11-22T03:00:02Z"),
        (now, 1500, "2026-11-22T03:00:02Z"),
        (now, 1501, "2026-11-22T03:00:03Z"),
    ] {
        let end = end(now, Duration::from_millis(span)).unwrap();
        assert_eq!(end, at(expected), "{span}");
    }
}

#[test]
fn the_same_again_for_a_shorter_time_is_told() {
    let rules = sample::rules(SHOP);
    let (long, _) = made(&rules, &args("shop/cron"));
    let mut held = sample::rules(SHOP);
    held.policies.push(long.clone());
    let mut short = args("shop/cron");
    short.span = Duration::from_secs(5);
    let (short, _) = made(&rules, &short);
    assert_eq!(sooner(&held, &short), long.rules[0].expires);
    assert_eq!(sooner(&held, &long), None);
    assert_eq!(sooner(&rules, &short), None);
}

#[test]
fn times_and_reasons_are_bounded() {
    for (text, is_good) in [
        ("30m", true),
        ("7d", true),
        ("8d", false),
        ("0s", false),
        ("x", false),
    ] {
        assert_eq!(span(text).is_ok(), is_good, "{text}");
    }
    assert!(reason("INC-1").is_ok() && reason(" ").is_err() && reason("a\u{1b}b").is_err());
}

#[test]
fn nobody_sheds_a_denial_by_coming_from_its_address_without_a_sidecar() {
    let outside = "---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: batch-0, namespace: shop}
spec: {serviceAccount: batch, addresses: [10.0.0.9], meshed: false}
";
    let open = SHOP.replace(
        "serviceAccount: shop/web}",
        "unauthenticated: {cidr: 10.0.0.0/8}}",
    );
    for text in [SHOP, &open] {
        let rules = sample::rules(&format!("{text}{outside}"));
        for from in ["10.0.0.9", "shop/batch"] {
            let (_, denied) = made(&rules, &args(from));
            assert_eq!(
                denied,
                Some(Settled::Denied("shop/orders/batch".to_owned())),
                "{from}"
            );
        }
    }
}

#[test]
fn who_has_no_identity_is_let_in_by_its_address_which_is_told() {
    let cron = "---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: cron-0, namespace: shop}
spec: {serviceAccount: cron, addresses: [10.0.0.9, \"fd00::9\"], meshed: false}
";
    let rules = sample::rules(&format!("{SHOP}{cron}"));
    let told = |from: &str| {
        let from = from.parse().unwrap();
        in_clear(&from, &subject::callers(&rules, &from).unwrap())
    };
    let warning = told("shop/cron").unwrap();
    assert!(
        warning.contains("whoever comes from 10.0.0.9 and fd00::9 is let in"),
        "{warning}"
    );
    assert_eq!((told("shop/orders"), told("10.0.0.9")), (None, None));
}

#[test]
fn where_no_sidecar_is_nothing_is_done_and_where_some_are_that_is_told() {
    let without = "---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-1, namespace: shop, labels: {app: orders, version: v2}}
spec: {serviceAccount: keeper, addresses: [10.0.0.2], meshed: false}
";
    let told = |text: &str| {
        let rules = sample::rules(text);
        let called = subject::called(&rules, &args("shop/web").to, &BTreeMap::new()).unwrap();
        enforced(&rules, &called, 8080).map_err(|error| error.to_string())
    };
    assert_eq!(told(SHOP), Ok(Vec::new()));
    let mixed = format!("{SHOP}{without}");
    assert_eq!(told(&mixed), Ok(vec!["shop/orders-1".to_owned()]));
    let none = SHOP.replace("[10.0.0.1]", "[10.0.0.1], meshed: false");
    let error = told(&none).unwrap_err();
    assert!(
        error.starts_with("there is no sidecar at shop/orders-0, so"),
        "{error}"
    );
}

#[test]
fn at_a_port_that_no_sidecar_sees_nothing_is_done() {
    let mut rules = sample::rules(SHOP);
    let called = subject::called(&rules, &args("shop/web").to, &BTreeMap::new()).unwrap();
    rules.known.workloads[0].excluded_ports = [9090].into();
    assert_eq!(enforced(&rules, &called, 8080).unwrap(), [""; 0]);
    let error = enforced(&rules, &called, 9090).unwrap_err().to_string();
    assert!(
        error.starts_with("not enforced at port 9090 of shop/orders"),
        "{error}"
    );
    assert!(error.ends_with("; nothing was done"), "{error}");
}

#[test]
fn names_are_those_that_objects_may_have() {
    for (from, to) in [
        ("spiffe://partner.example/a_/b", "shop/orders"),
        ("spiffe://partner_.example/-", "shop/orders"),
        ("shop/web", "shop/orders.v2"),
        ("fd70::3", "shop/orders"),
        ("::1", "shop/orders"),
        ("10.0.0.9", "shop/orders"),
    ] {
        let name = name(&from.parse().unwrap(), &to.parse().unwrap(), 8080).unwrap();
        for label in name.split('.') {
            let ends = [label.chars().next(), label.chars().last()];
            let fit = |end: &Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
            assert!(ends.iter().all(fit), "{name}");
        }
    }
}

#[test]
fn whom_the_mesh_revokes_no_rule_lets_in_whatever_is_allowed() {
    let revoked = |account: &str| {
        let text = format!(
            "{SHOP}---
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {{identities: [spiffe://cluster.local/ns/shop/sa/{account}]}}
"
        );
        sample::rules(&text)
    };
    let settled = |rules: &Rules, from: &str| made(rules, &args(from)).1;
    // Its own account as a caller, that of the called workload, and one that a rule allows.
    for (account, from) in [
        ("cron", "shop/cron"),
        ("keeper", "shop/cron"),
        ("web", "shop/web"),
    ] {
        let rules = revoked(account);
        let Some(Settled::Revoked(one)) = settled(&rules, from) else {
            panic!("{account}");
        };
        assert!(one.identity.ends_with(account), "{one:?}");
        let said = Settled::Revoked(one);
        assert!(said.to_string().contains("rules.yaml:"), "{said}");
        assert_eq!(said.json()["decision"], "deny");
        assert!(said.json()["revoked"]["identity"].is_string());
    }
    // Who comes in clear is asked for no name.
    assert_eq!(settled(&revoked("keeper"), "10.2.0.7"), None);
    assert_eq!(settled(&revoked("web"), "shop/cron"), None);
}

/// Where an older version is in force, a rule beside it may let them in; where none is, sidecars close.
#[test]
fn beside_an_object_with_mistakes_a_rule_is_put_where_it_can_let_in() {
    let refused = |said: &str, good| {
        let objects = sample::list(&[sample::mistaken(said, good)]);
        let server = sample::readable().has(&sample::own_rules("shop"), objects);
        let args = AllowArgs {
            mesh: server.mesh(Some("shop")),
            ..args("shop/orders")
        };
        run(&args).unwrap_err().to_string()
    };
    let closed = refused("proxies stay with what it said before", None);
    let nothing = "nothing was done, as no rule would let anybody in there: AuthorizationPolicy shop/orders has mistakes: ";
    assert!(closed.starts_with(nothing), "{closed}");
    assert!(
        closed.contains("put it right and apply it again, or delete it"),
        "{closed}"
    );
    // It was tried, which this user may not.
    let tried = refused("generation 3 stays in force: no", Some(3));
    assert!(
        tried.contains("break-glass-shop.orders-to-shop.orders-8080 is refused"),
        "{tried}"
    );
}
