mod revoked;

use palisade_api::spiffe::SpiffeId;
use serde_json::{Value, json};

use super::edges::{Edges, Most};
use super::*;
use crate::policy::subject::Caller;

/// A record of the called side of a call of web to orders that was allowed, with other fields.
fn record(fields: &Value) -> Vec<u8> {
    let mut record = json!({
        "time": "2026-11-22T02:23:12.500Z", "event": "close", "conn.id": "a1", "direction": "inbound",
        "src.addr": "10.0.0.1:4000", "src.identity": "spiffe://a.test/ns/shop/sa/web",
        "dst.addr": "10.0.0.2:8080", "dst.identity": "spiffe://a.test/ns/shop/sa/orders",
        "dst.namespace": "shop", "dst.workload": "orders-0", "dst.port": 8080,
        "policy.decision": "allow", "policy.reason": "rule", "policy.rule": "shop/orders/web",
        "bytes_sent": 1, "bytes_recv": 1, "duration_ms": 2,
    });
    let fields = fields.as_object().unwrap();
    for (key, value) in fields {
        record[key] = value.clone();
    }
    serde_json::to_vec(&record).unwrap()
}

fn outbound(conn: &str) -> Value {
    json!({
        "conn.id": conn, "direction": "outbound", "policy.decision": null, "policy.reason": null, "policy.rule": null,
    })
}

fn edges(records: &[Value]) -> (Vec<Edge>, Read) {
    bounded(records, Most::default())
}

fn bounded(records: &[Value], most: Most) -> (Vec<Edge>, Read) {
    let mut edges = Edges::new(most, None);
    for one in records {
        edges.take(&record(one));
    }
    edges.finish()
}

#[test]
fn a_connection_counts_once_whatever_was_written_of_it() {
    let opened = |event: &str| json!({"conn.id": "b2", "event": event});
    let records = [
        json!({}),
        outbound("a1"),
        outbound("b2"),
        opened("open"),
        opened("progress"),
        opened("close"),
        json!({"conn.id": "c3", "time": "2026-11-22T02:23:40Z"}),
        json!({"conn.id": "c3"}),
    ];
    let (found, _) = edges(&records);
    let [edge] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((edge.count, edge.one_sided), (3, 0));
    assert_eq!(moment(edge.first), "2026-11-22 02:23:12Z");
    assert_eq!(moment(edge.last), "2026-11-22 02:23:40Z");
    assert_eq!(edge.conn(), format!("{:0>32}", "c3"));
    assert_eq!(edge.rule.as_deref(), Some("shop/orders/web"));
}

#[test]
fn what_only_the_calling_side_tells_counts_where_it_went_well() {
    let (found, read) = edges(&[outbound("a1")]);
    assert_eq!((found.len(), found[0].was), (1, Was::Allowed));
    assert_eq!((found[0].count, found[0].one_sided), (1, 1));
    assert_eq!(read.undecided, 0);
    let mut failed = outbound("a1");
    failed["error"] = "not_ready".into();
    let mut outside = outbound("a2");
    outside["dst.identity"] = Value::Null;
    let (found, read) = edges(&[failed, outside]);
    assert_eq!((found.len(), read.undecided), (0, 2));
}

#[test]
fn the_called_side_decides_also_where_it_speaks_last() {
    let denied = json!({
        "event": "denied", "policy.decision": "deny", "policy.reason": "no_rule", "policy.rule": null,
    });
    let (found, _) = edges(&[outbound("a1"), denied]);
    let [edge] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((edge.was, edge.count), (Was::Denied, 1));
    assert_eq!(edge.reason.as_deref(), Some("no_rule"));
}

#[test]
fn only_what_rules_decide_is_an_edge() {
    for (reason, is_decided) in [
        ("no_rule", true),
        ("rule", true),
        ("expired", false),
        ("untrusted", false),
        ("no_policy", false),
        ("not_understood", false),
        ("not_ready", false),
    ] {
        let denied = json!({"event": "denied", "policy.decision": "deny", "policy.reason": reason});
        let (found, read) = edges(&[denied]);
        assert_eq!(found.len(), usize::from(is_decided), "{reason}");
        assert_eq!(read.undecided, u64::from(!is_decided), "{reason}");
    }
    let told = json!({
        "event": "denied", "direction": "outbound", "policy.decision": "deny", "policy.reason": "denied",
    });
    let failed = json!({"event": "tls_failed", "policy.decision": null});
    assert_eq!(edges(&[told, failed]).0, []);
}

#[test]
fn refusals_that_were_put_together_count_as_often_as_they_happened() {
    let denied = |conn: &str, count: Value| {
        json!({
            "event": "denied", "conn.id": conn, "count": count, "policy.decision": "deny", "policy.reason": "no_rule",
        })
    };
    let (found, _) = edges(&[denied("a1", Value::Null), denied("a2", 7.into())]);
    assert_eq!(found[0].count, 8);
}

#[test]
fn a_caller_without_an_identity_is_its_address() {
    let plain = json!({"src.identity": null, "src.addr": "[::ffff:10.0.0.9]:4000"});
    let (found, _) = edges(&[plain]);
    assert_eq!(found[0].from, Caller::Address([10, 0, 0, 9].into()));
    let domain = "a.test".parse().unwrap();
    assert_eq!(
        found[0].from.short(&domain),
        "10.0.0.9, without an identity"
    );
    let id: SpiffeId = "spiffe://a.test/ns/shop/sa/web".parse().unwrap();
    let caller = Caller::Identity(id);
    assert_eq!(caller.short(&domain), "shop/web");
    assert_eq!(
        caller.short(&"b.test".parse().unwrap()),
        "spiffe://a.test/ns/shop/sa/web"
    );
}

#[test]
fn lines_that_are_no_records_are_counted_and_forged_names_are_no_edges() {
    let mut edges = Edges::new(Most::default(), None);
    for line in [
        "2026-11-22T02:23:12Z INFO ready",
        "{}",
        "[1]",
        "\u{1b}",
        r#"{"records_dropped": 3}"#,
    ] {
        assert!(!edges.take(line.as_bytes()), "{line}");
    }
    for forged in [
        json!({"dst.workload": "x\u{1b}[31m"}),
        json!({"dst.namespace": "a/b"}),
        json!({"src.identity": "nobody"}),
        json!({"dst.identity": "spiffe://a"}),
    ] {
        assert!(edges.take(&record(&forged)));
    }
    assert!(!edges.take(&record(&json!({"conn.id": "no number"}))));
    let (found, read) = edges.finish();
    assert_eq!((found, read.undecided), (vec![], 4));
}

#[test]
fn what_is_kept_is_bounded_and_what_is_left_out_is_told() {
    let to = |conn: u32, port: u16| json!({"conn.id": format!("{conn:x}"), "dst.port": port});
    let most = Most { edges: 2, conns: 2 };
    let mut opened = to(9, 1);
    opened["event"] = "open".into();
    let records = [to(1, 1), to(2, 2), to(3, 3), to(4, 1), to(1, 1), opened];
    let (found, read) = bounded(&records, most);
    let counts: Vec<_> = found.iter().map(|edge| (edge.port, edge.count)).collect();
    assert_eq!(
        counts,
        [(1, 2), (2, 1)],
        "the fourth is no longer remembered"
    );
    assert_eq!(read.beyond, 1);
    assert!(told(&read)[0].contains("1 records are left out"));
}

#[test]
fn a_line_that_is_too_long_is_no_record() {
    let mut text = vec![b'x'; 300_000];
    text.push(b'\n');
    text.extend(record(&json!({})));
    let mut edges = Edges::new(Most::default(), None);
    let mut skipped = read::Skipped::default();
    let take: &mut Take<'_> = &mut |line| edges.take(line);
    read::lines(text.as_slice(), "a.json", &mut skipped, take).unwrap();
    assert_eq!(edges.finish().0.len(), 1);
    assert_eq!(
        skipped.told(),
        ["1 of 2 lines are no records, and were skipped; the first is a.json:1"]
    );
}

#[test]
fn what_has_no_record_is_no_file_of_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    let read = |content: &[u8], path: &std::path::Path| {
        std::fs::write(folder.path().join("b.json"), content).unwrap();
        let mut edges = Edges::new(Most::default(), None);
        read::files(&[path.to_owned()], &mut |line| edges.take(line))
    };
    for content in [
        &b""[..],
        b"\n",
        b"# Words\n",
        b"{}\n[]\n3\n",
        b"\x7fELF\0\xff\x1b[31m",
    ] {
        let error = read(content, &path).unwrap_err().to_string();
        assert!(error.contains("palisade logs -o json >"), "{error}");
        assert!(!error.contains(char::is_control), "{error:?}");
        assert!(read(content, folder.path()).is_err(), "a directory of such");
    }
    std::fs::write(folder.path().join("a.json"), record(&json!({}))).unwrap();
    let told = read(b"\nwords\n", folder.path()).unwrap().told();
    assert!(
        told[0].starts_with("1 of 2 lines") && told[0].ends_with("b.json:2"),
        "{told:?}"
    );
    assert!(told[1].contains("no record in"), "{told:?}");
}

#[test]
fn what_a_rule_let_in_that_ends_is_counted_apart() {
    let emergency = "shop/break-glass-shop.web-to-shop.orders-8080/break-glass";
    let records = [
        json!({}),
        json!({"conn.id": "b2", "policy.rule": emergency}),
        json!({"conn.id": "c3", "policy.expires": "2026-11-22T03:00:00Z", "policy.because": "INC-7\u{1b}[1m"}),
        outbound("b2"),
    ];
    let (found, _) = edges(&records);
    assert_eq!((found[0].count, found[0].passing.count), (3, 2));
    assert_eq!(found[0].passing.because.as_deref(), Some("INC-7[1m"));
}

#[test]
fn what_was_let_in_and_reached_nobody_is_told_apart() {
    let refused = json!({"error": "connect", "close.by": "error"});
    let mut caller = outbound("a1");
    caller["error"] = "peer_connect".into();
    for order in [[refused.clone(), caller.clone()], [caller, refused]] {
        let (found, _) = edges(&[&order[..], &[json!({"conn.id": "b2"})]].concat());
        let [edge] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((edge.count, edge.unanswered), (2, 1));
    }
}

/// What is said of the connection `a1`.
fn one(records: &[Value]) -> Connection {
    let mut one = One::new(0xa1, None);
    for each in records {
        assert!(one.take(&record(each)));
    }
    one.finish()
}

fn refused(conn: &str, fields: &Value) -> Value {
    let mut record = json!({
        "event": "denied", "conn.id": conn, "policy.decision": "deny", "policy.reason": "no_rule",
        "policy.rule": null,
    });
    for (key, value) in fields.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

#[test]
fn a_refusal_that_the_called_side_only_counted_is_found_by_what_the_caller_wrote() {
    let told = json!({"direction": "outbound", "policy.reason": "denied"});
    let counted = |conn: &str, second: u32, fields: Value| {
        let mut counted = refused(conn, &fields);
        counted["time"] = format!("2026-11-22T02:23:{second:02}Z").into();
        counted["count"] = 7.into();
        counted
    };
    let rule = json!({"policy.reason": "rule", "policy.rule": "shop/orders/no-web"});
    let records = [
        counted("b1", 11, json!({})),
        counted("b2", 40, json!({})),
        counted("b3", 15, json!({"dst.port": 81})),
        counted(
            "b4",
            15,
            json!({"src.identity": "spiffe://a.test/ns/shop/sa/batch"}),
        ),
        counted("b5", 22, rule),
        // It stands for itself alone.
        refused("b6", &json!({})),
    ];
    let own = refused("a1", &told);
    for order in [
        [&records[..], std::slice::from_ref(&own)].concat(),
        [std::slice::from_ref(&own), &records[..]].concat(),
    ] {
        let found = one(&order);
        let edge = found.edge.unwrap();
        assert_eq!((edge.was, edge.reason), (Was::Denied, None));
        assert!(found.is_by_caller);
        let among = found.among.unwrap();
        assert_eq!((among.conn, among.count), (0xb5, 7));
        assert_eq!(among.rule.as_deref(), Some("shop/orders/no-web"));
    }
    // What the called side says of itself is all that counts, also where the other one speaks later.
    let mut later = own.clone();
    later["time"] = "2026-11-22T02:23:13Z".into();
    for order in [
        [later.clone(), refused("a1", &json!({}))],
        [refused("a1", &json!({})), later],
    ] {
        let decided = one(&[&order[..], &[records[4].clone()]].concat());
        assert_eq!(decided.edge.unwrap().reason.as_deref(), Some("no_rule"));
        assert!(!decided.is_by_caller && decided.among.is_none());
    }
    let alone = one(&[own]);
    assert!(alone.is_by_caller && alone.among.is_none());
}

#[test]
fn a_record_that_says_nothing_of_rules_still_names_both_ends() {
    let mut failed = outbound("a1");
    failed["event"] = "tls_failed".into();
    failed["error"] = "untrusted".into();
    let found = one(&[failed, json!({"conn.id": "b2"})]);
    assert!(found.edge.is_none());
    let unsaid = found.unsaid.unwrap();
    assert_eq!(unsaid.error.as_deref(), Some("untrusted"));
    let edge = unsaid.edge.unwrap();
    assert_eq!((&*edge.namespace, edge.port), ("shop", 8080));
    let nothing = one(&[json!({"conn.id": "b2"})]);
    assert!(nothing.edge.is_none() && nothing.unsaid.is_none());
}
