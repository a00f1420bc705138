//! Refusals of who was revoked, as records tell of them.

use super::*;

/// Who is refused is not told why, and each side gives the connection an id of its own.
#[test]
fn a_refused_certificate_is_found_in_what_the_other_side_says() {
    let failed = |conn: &str, direction: &str, error: &str, second: u32| {
        json!({
            "time": format!("2026-11-22T02:23:{second:02}Z"), "conn.id": conn, "direction": direction,
            "event": "tls_failed", "error": error, "src.namespace": "shop", "src.workload": "web-0",
            "policy.decision": null, "policy.reason": null, "policy.rule": null,
        })
    };
    let unnamed = |conn: &str, second: u32, replica: &str| {
        let mut record = failed(conn, "inbound", "revoked", second);
        record["src.identity"] = Value::Null;
        record["src.workload"] = replica.into();
        record
    };
    let own = failed("a1", "outbound", "refused_by_peer", 12);
    let records = [
        unnamed("b1", 12, "batch-0"),
        unnamed("b2", 40, "web-0"),
        failed("b3", "inbound", "expired", 12),
        failed("b4", "outbound", "revoked", 12),
        own.clone(),
        unnamed("b5", 14, "web-0"),
    ];
    let found = one(&records);
    assert!(found.is_by_caller);
    let (edge, among) = (found.edge.unwrap(), found.among.unwrap());
    assert_eq!((edge.from.kind(), among.conn), ("authenticated", 0xb5));
    assert!(among.was_revoked() && !edge.was_revoked());
    let alone = one(&[own]);
    assert!(alone.edge.is_none() && alone.unsaid.unwrap().is_of_handshake);
    // The side that refused says so itself, whichever it is.
    for (direction, is_by_caller) in [("inbound", false), ("outbound", true)] {
        let found = one(&[failed("a1", direction, "revoked", 12)]);
        assert!(found.edge.unwrap().was_revoked() && found.among.is_none());
        assert_eq!(found.is_by_caller, is_by_caller);
    }
}

/// Of a handshake each side writes a record of its own, and only who refused the other's certificate says why.
#[test]
fn refusals_of_revoked_ones_are_edges_of_their_own_and_no_decisions_of_rules() {
    let failed = |conn: &str, direction: &str, error: &str| {
        json!({
            "conn.id": conn, "direction": direction, "event": "tls_failed", "error": error,
            "policy.decision": null, "policy.reason": null, "policy.rule": null,
        })
    };
    let mut inbound = failed("b1", "inbound", "revoked");
    for (key, value) in [
        ("src.identity", Value::Null),
        ("src.namespace", "shop".into()),
        ("src.workload", "web-0".into()),
    ] {
        inbound[key] = value;
    }
    inbound["count"] = 3.into();
    let one_more = |direction: &str, decision: Value| {
        json!({
            "conn.id": "c1", "direction": direction, "event": "denied", "policy.decision": decision,
            "policy.reason": "revoked", "policy.rule": null,
        })
    };
    let records = [
        json!({}),
        inbound,
        failed("b2", "outbound", "refused_by_peer"),
        failed("b3", "inbound", "expired"),
        failed("b4", "outbound", "revoked"),
        one_more("outbound", "deny".into()),
        one_more("inbound", "deny".into()),
    ];
    let mut edges = Edges::new(Most::default(), None);
    for one in &records {
        edges.take(&record(one));
    }
    let traffic = finished(edges, Vec::new());
    assert_eq!(traffic.edges.len(), 1, "{:?}", traffic.edges);
    let mut told: Vec<_> = traffic
        .revoked
        .iter()
        .map(|edge| (edge.from.kind(), edge.at.is_some(), edge.was, edge.count))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            ("authenticated", false, Was::Denied, 2),
            ("unauthenticated", true, Was::Denied, 3),
        ]
    );
}
