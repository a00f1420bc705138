use serde_json::json;

use super::*;

fn timed(value: Value) -> Timed {
    let mut record = json!({"time": "2026-11-21T12:00:00.000Z", "event": "close", "conn.id": "ab"});
    let record = record.as_object_mut().unwrap();
    record.extend(value.as_object().unwrap().clone());
    Timed::of(record.clone()).unwrap()
}

#[test]
fn only_records_are_records() {
    for (line, expected) in [
        (
            r#"{"time":"2026-11-21T12:00:00.000Z","event":"open","conn.id":"ab"}"#,
            true,
        ),
        (
            r#"{"time":"yesterday","event":"open","conn.id":"ab"}"#,
            false,
        ),
        (
            r#"{"time":"2026-11-21T12:00:00.000Z","level":"WARN"}"#,
            false,
        ),
        (
            "2026-11-21T12:00:00Z  WARN palisade_proxy: no SVID yet",
            false,
        ),
        ("[1]", false),
        ("", false),
    ] {
        assert_eq!(Timed::of_line(line).is_some(), expected, "{line}");
    }
}

#[test]
fn ends_are_named_by_workload_account_or_service() {
    let record = timed(json!({
        "src.workload": "web-6d4f5c9b7d-x2w4p", "src.namespace": "shop",
        "src.identity": "spiffe://cluster.local/ns/shop/sa/front",
        "dst.workload": "orders-0", "dst.namespace": "back", "dst.service": "back/orders-api",
    }));
    let wants = |from: Option<&str>, to: Option<&str>| {
        let parsed = |text: &str| text.parse().unwrap();
        let (from, to) = (from.map(parsed), to.map(parsed));
        Filter {
            from,
            to,
            ..Filter::default()
        }
        .wants(&record)
    };
    for (from, to, expected) in [
        (Some("web"), None, true),
        (Some("shop/web"), None, true),
        (Some("shop/front"), None, true),
        (Some("front"), Some("orders"), true),
        (Some("shop/*"), Some("back/*"), true),
        (Some("orders"), None, false),
        (None, Some("back/orders-api"), true),
        (None, Some("shop/orders"), false),
        (Some("we"), None, false),
    ] {
        assert_eq!(wants(from, to), expected, "{from:?} {to:?}");
    }
}

#[test]
fn time_and_refusal_count() {
    let old = timed(json!({"time": "2026-11-21T11:00:00.000Z"}));
    let new = timed(json!({"event": "denied"}));
    let since = Filter {
        since: Some(new.at),
        ..Filter::default()
    };
    assert!(!since.wants(&old) && since.wants(&new));
    let denied = Filter {
        denied: true,
        ..Filter::default()
    };
    assert!(!denied.wants(&old) && denied.wants(&new));
}

#[test]
fn replicas_have_the_names_that_kubernetes_gives_them() {
    for (pod, workload, expected) in [
        ("web-0", "web", true),
        ("web-6d4f5c9b7d-x2w4p", "web", true),
        ("night-29381234-bcdfg", "night", true),
        ("agent-bcdfg", "agent", true),
        ("web-admin-0", "web", false),
        ("web-admin-6d4f5c9b7d-x2w4p", "web", false),
        ("web", "we", false),
        ("web-", "web", false),
    ] {
        assert_eq!(is_replica(pod, workload), expected, "{pod}");
    }
}
