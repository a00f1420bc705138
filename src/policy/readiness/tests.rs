use super::super::usage::tests::{Counting, counts, shop};
use super::*;

const PERMISSIVE: &str = ", annotations: {palisade.dev/mtls: permissive}";
const OPEN: &str = ", annotations: {palisade.dev/authorization: shadow}";

fn broken(annotations: &str, edges: &[Counting<'_>]) -> Vec<(String, By)> {
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let report = report(&shop(annotations), &counts(edges), (None, i64::MIN), now);
    assert_eq!(report.ready, report.breaks.is_empty());
    report
        .breaks
        .into_iter()
        .map(|one| (one.from, one.by))
        .collect()
}

#[test]
fn each_caller_is_told_with_what_would_keep_it_out() {
    let clear = ("10.0.0.3", 80, Decided::AllowedAsPermissive, None);
    let named = "10.0.0.3 (legacy/old, in clear)".to_owned();
    assert_eq!(broken(PERMISSIVE, &[clear]), [(named, By::Mtls)]);
    let unruled = ("shop/batch", 80, Decided::AllowedByShadow, None);
    assert_eq!(
        broken(OPEN, &[unruled]),
        [("shop/batch".to_owned(), By::Authorization)]
    );
    let shadowed = (
        "shop/cart",
        80,
        Decided::AllowedByRule,
        Some("shop/orders/cart"),
    );
    assert_eq!(
        broken("", &[shadowed]),
        [("shop/cart".to_owned(), By::Mode)]
    );
}

#[test]
fn what_is_allowed_or_was_denied_breaks_nothing() {
    let web = (
        "shop/web",
        80,
        Decided::AllowedByRule,
        Some("shop/orders/web"),
    );
    let denied = ("shop/batch", 80, Decided::DeniedByNoRule, None);
    let gone = (
        "shop/gone",
        80,
        Decided::AllowedByRule,
        Some("shop/orders/gone"),
    );
    assert_eq!(broken("", &[web, denied, gone]), []);
}

#[test]
fn only_what_was_asked_for_counts_and_what_is_not_known_is_not_ready() {
    let rules = shop("");
    let mut usage = counts(&[("shop/cart", 80, Decided::AllowedByRule, None)]);
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let ready = |usage: &Usage, what: Option<&str>, least| {
        let what = what.map(|what| what.parse().unwrap());
        report(&rules, usage, (what.as_ref(), least), now).ready
    };
    assert!(!ready(&usage, None, i64::MIN));
    assert!(!ready(&usage, Some("shop/orders"), 20));
    assert!(ready(&usage, None, 21));
    assert!(ready(&usage, Some("other"), 0) && ready(&usage, Some("shop/web"), 0));
    usage = counts(&[]);
    usage.workloads[0]
        .totals
        .others
        .insert(Decided::AllowedByShadow, 1);
    assert!(!ready(&usage, None, i64::MIN));
    for wrong in ["", "/", "a/", "a/b/c"] {
        assert!(wrong.parse::<What>().is_err(), "{wrong}");
    }
}
