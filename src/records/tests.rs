use serde_json::json;

use super::*;

fn record(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn without_colour(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_close_says_who_what_how_long_and_by_which_rule() {
    let close = record(json!({
        "time": "2026-11-20T12:43:01.123456Z", "event": "close", "direction": "inbound",
        "src.workload": "web-0", "src.namespace": "shop",
        "dst.workload": "orders-0", "dst.namespace": "shop", "dst.port": 8080,
        "policy.decision": "allow", "policy.reason": "rule", "policy.rule": "shop/orders/web-places-orders",
        "bytes_sent": 120, "bytes_recv": 2048, "duration_ms": 3, "close.by": "client",
    }));
    let facts = "12:43:01.123 close      in  shop/web-0       → shop/orders-0:8080   ↑120 B    ↓2.0 KiB      3 ms";
    assert_eq!(
        without_colour(&text(&close, Some(140))),
        format!("{facts}  shop/orders/web-places-orders")
    );
    assert_eq!(
        without_colour(&text(&close, Some(100))),
        format!("{facts}\n             └ shop/orders/web-places-orders")
    );
}

#[test]
fn a_denial_says_why_once_on_a_line_of_its_own() {
    let line = text(
        &record(json!({
            "time": "2026-11-20T12:43:01Z", "event": "denied", "direction": "inbound",
            "src.identity": "spiffe://a/ns/shop/sa/intruder", "dst.identity": "spiffe://a/ns/shop/sa/orders",
            "dst.workload": "orders-0", "dst.namespace": "shop", "dst.port": 8080,
            "policy.decision": "deny", "policy.reason": "no_rule", "error": "no_rule",
            "policy.near_miss": "shop/orders/web-places-orders: from", "count": 7,
        })),
        None,
    );
    assert_eq!(
        without_colour(&line),
        "12:43:01     denied     in  shop/intruder    → shop/orders-0:8080\n             \
         └ no rule allows it; nearest: shop/orders/web-places-orders, but for its from; 7 times"
    );
    assert!(line.contains("\u{1b}[31m"), "a denial stands out: {line:?}");
}

#[test]
fn a_denying_rule_is_named() {
    let line = text(
        &record(json!({
            "event": "denied", "policy.decision": "deny", "policy.reason": "rule", "error": "rule",
            "policy.rule": "shop/orders/no-batch", "count": 1,
        })),
        None,
    );
    assert!(
        line.contains("└ shop/orders/no-batch denies it\u{1b}"),
        "what happened once needs no number: {line:?}"
    );
}

#[test]
fn what_will_not_stay_as_it_is_is_said() {
    let cases = [
        (
            json!({"policy.decision": "allow", "policy.mode": "shadow", "policy.reason": "no_rule",
                   "policy.near_miss": "shop/orders/web: ports"}),
            "let in by shadow: no rule allows it; nearest: shop/orders/web, but for its ports",
        ),
        (
            json!({"policy.decision": "allow", "policy.mode": "enforce", "policy.rule": "shop/orders/web",
                   "policy.shadow": "deny shop/orders/no-web"}),
            "shop/orders/no-web would deny it, but for shadow",
        ),
        (
            json!({"policy.decision": "deny", "policy.mode": "enforce", "policy.reason": "no_rule",
                   "policy.shadow": "allow shop/orders/soon"}),
            "no rule allows it; shop/orders/soon would allow it, but for shadow",
        ),
        (
            json!({"policy.decision": "allow", "policy.rule": "shop/break-glass-a/break-glass",
                   "policy.expires": "2026-11-22T10:00:00Z", "policy.because": "INC-1234"}),
            "let in until 2026-11-22T10:00:00Z: INC-1234",
        ),
    ];
    for (value, expected) in cases {
        let line = without_colour(&text(&record(value), None));
        let last = line.lines().last().unwrap();
        assert_eq!(last, format!("{INDENT}└ {expected}"), "{line}");
    }
}

#[test]
fn callers_are_named_as_short_as_is_safe() {
    let cases = [
        (
            json!({"src.workload": "web-0", "src.namespace": "shop"}),
            "shop/web-0",
        ),
        (
            json!({"src.identity": "spiffe://a/ns/shop/sa/web"}),
            "shop/web",
        ),
        (
            json!({"src.identity": "spiffe://b/ns/shop/sa/web"}),
            "spiffe://b/ns/shop/sa/web",
        ),
        (json!({"src.addr": "10.111.0.9:4000"}), "10.111.0.9:4000"),
        (json!({}), "unknown"),
    ];
    for (from, expected) in cases {
        let mut from = record(from);
        from.insert("dst.identity".into(), "spiffe://a/ns/shop/sa/orders".into());
        assert_eq!(source(&from), expected);
    }
}

#[test]
fn an_unusual_end_is_named() {
    let line = text(
        &record(json!({"event": "close", "duration_ms": 61_500, "close.by": "policy"})),
        None,
    );
    let plain = without_colour(&line);
    assert!(plain.ends_with("1m 1s  closed by policy"), "{plain}");
    let line = text(
        &record(json!({"event": "close", "close.by": "error", "error": "connect"})),
        None,
    );
    assert!(
        line.contains("└ the application could not be reached"),
        "{line}"
    );
}

#[test]
fn denials_and_failed_handshakes_are_refusals() {
    let cases = [
        (json!({"event": "denied"}), true),
        (json!({"event": "tls_failed"}), true),
        (json!({"event": "close", "policy.decision": "deny"}), true),
        (json!({"event": "close", "policy.decision": "allow"}), false),
    ];
    for (value, expected) in cases {
        assert_eq!(is_denied(&record(value.clone())), expected, "{value}");
    }
}

#[test]
fn a_workload_is_named_in_four_ways() {
    let of_web = record(json!({"workload": "shop/web-0"}));
    for (asked, expected) in [
        ("web", true),
        ("web-0", true),
        ("shop/web", true),
        ("shop/web-0", true),
        ("web-1", false),
        ("other/web", false),
        ("we", false),
    ] {
        assert_eq!(is_of(&of_web, asked), expected, "{asked}");
    }
}

#[test]
fn amounts_are_short() {
    for (count, expected) in [
        ("0", "0 B"),
        ("1023", "1023 B"),
        ("1536", "1.5 KiB"),
        ("1073741824", "1.0 GiB"),
    ] {
        assert_eq!(bytes(count), expected);
    }
}
