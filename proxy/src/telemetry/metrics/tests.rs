//! What happens, as a scrape reads it.

use palisade_api::policy::{AllowReason, Effect, Verdict};

use super::*;
use crate::outcome::{CloseBy, Failure};

fn rule(name: &str) -> RuleName {
    RuleName {
        namespace: Some("shop".into()),
        policy: "orders".into(),
        rule: name.into(),
    }
}

fn allow(name: &str, shadow: Option<&str>) -> Decision {
    Decision {
        verdict: Verdict::Allow(AllowReason::Rule(rule(name))),
        shadow: shadow.map(|name| (Effect::Deny, rule(name))),
    }
}

#[test]
fn what_happened_is_in_the_text_under_the_promised_names() {
    let metrics = Metrics::new();
    metrics.connection_opened();
    metrics.connection_opened();
    metrics.connection_opened();
    metrics.connection_closed(&Ok(CloseBy::Client));
    metrics.connection_closed(&Err(Failure::Expiry));
    metrics.bytes_sent(Direction::Outbound, 3);
    metrics.bytes_received(Direction::Inbound, 5);
    metrics.policy_applied(7, [rule("a"), rule("b")]);
    metrics.decided(&allow("a", Some("b")));
    metrics.handshake_finished("X25519MLKEM768", Duration::from_millis(3));
    metrics.handshake_failed(&HandshakeError::NotMesh);
    metrics.stream_opened(Carrier::Reused);
    metrics.pool_is(1, 2, 0);
    metrics.svid_renewed(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(99));
    metrics.records_dropped().inc();
    let text = metrics.text();
    for line in [
        "palisade_connections_opened_total 3",
        "palisade_connections_closed_total{by=\"client\"} 1",
        "palisade_connections_closed_total{by=\"policy\"} 0",
        "palisade_connections_terminated_total{reason=\"expired\"} 1",
        "palisade_connections_open 1",
        "palisade_bytes_total{direction=\"outbound\",flow=\"sent\"} 3",
        "palisade_bytes_total{direction=\"inbound\",flow=\"received\"} 5",
        "palisade_decisions_total{decision=\"allow\",mode=\"enforce\",rule=\"shop/orders/a\"} 1",
        "palisade_decisions_total{decision=\"deny\",mode=\"shadow\",rule=\"shop/orders/b\"} 1",
        "palisade_handshakes_total{outcome=\"ok\",group=\"X25519MLKEM768\"} 1",
        "palisade_handshakes_total{outcome=\"not_mesh\",group=\"\"} 1",
        "palisade_handshake_seconds_count 1",
        "palisade_streams_total{reused=\"true\"} 1",
        "palisade_streams_total{reused=\"false\"} 0",
        "palisade_policy_revision 7",
        "palisade_svid_expiration_timestamp_seconds 99",
        "palisade_pool_connections{state=\"active\"} 2",
        "palisade_pool_connections{state=\"idle\"} 1",
        "palisade_records_dropped_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.contains("palisade_bypass_packets_total{family=\"ipv4\",protocol=\"udp\"} "));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn only_rules_in_force_are_labels() {
    let metrics = Metrics::new();
    metrics.policy_applied(1, [rule("a"), rule("b")]);
    metrics.decided(&allow("a", None));
    metrics.decided(&allow("b", None));
    metrics.policy_applied(2, [rule("b")]);
    metrics.decided(&allow("a", None));
    let text = metrics.text();
    assert!(!text.contains("shop/orders/a"), "{text}");
    assert!(text.contains("shop/orders/b\"} 1"), "{text}");
    assert!(text.contains("mode=\"enforce\",rule=\"\"} 1"), "{text}");
}
