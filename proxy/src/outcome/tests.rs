//! Every end has its event and its words.

use palisade_api::policy::RuleName;

use super::*;
use crate::tls::error::PeerError;

fn rule() -> RuleName {
    RuleName {
        namespace: Some("shop".into()),
        policy: "orders".into(),
        rule: "no-batch".into(),
    }
}

fn refused(code: Code) -> Failure {
    Failure::PeerRefused { code, rule: None }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_end_has_its_words() {
    let io = |kind| io::Error::from(kind);
    let policy = Failure::Policy {
        revision: 7,
        denied: Denied::Rule(rule()),
    };
    let relay = |side| Failure::Relay {
        side,
        error: io(io::ErrorKind::BrokenPipe),
    };
    for (failure, event, by, error) in [
        (Failure::Cancelled, Event::Close, "error", "cancelled"),
        (
            HandshakeError::TimedOut.into(),
            Event::TlsFailed,
            "timeout",
            "timeout",
        ),
        (
            HandshakeError::Peer(PeerError::ManyUriNames).into(),
            Event::TlsFailed,
            "error",
            "many_uri_names",
        ),
        (Denied::Rule(rule()).into(), Event::Denied, "policy", "rule"),
        (
            Denied::NoRule(None).into(),
            Event::Denied,
            "policy",
            "no_rule",
        ),
        (Denied::Revoked.into(), Event::Denied, "revoked", "revoked"),
        (Denied::Expired.into(), Event::Denied, "expiry", "expired"),
        (
            RefusedReason::NotReady.into(),
            Event::Denied,
            "error",
            "not_ready",
        ),
        (
            RefusedReason::Draining.into(),
            Event::Denied,
            "drain",
            "draining",
        ),
        (
            Failure::Connect(Arc::new(io(io::ErrorKind::ConnectionRefused))),
            Event::Close,
            "error",
            "connect",
        ),
        (
            Failure::Connect(Arc::new(io(io::ErrorKind::TimedOut))),
            Event::Close,
            "timeout",
            "unreachable",
        ),
        (relay(Side::Client), Event::Close, "error", "relay_client"),
        (relay(Side::Peer), Event::Close, "error", "relay_peer"),
        (
            Failure::ResetByClient,
            Event::Close,
            "client",
            "reset_by_client",
        ),
        (
            Failure::ResetByServer,
            Event::Close,
            "server",
            "reset_by_server",
        ),
        (Failure::Timeout, Event::Close, "timeout", "idle"),
        (policy, Event::Close, "policy", "rule"),
        (Failure::Expiry, Event::Close, "expiry", "expired"),
        (Failure::Revoked, Event::Close, "revoked", "revoked"),
        (Failure::Drain, Event::Close, "drain", "drain"),
        (refused(Code::Denied), Event::Denied, "policy", "denied"),
        (refused(Code::Revoked), Event::Denied, "revoked", "revoked"),
        (
            refused(Code::Connect),
            Event::Close,
            "error",
            "peer_connect",
        ),
        (
            Failure::PeerEnded(Code::PolicyChanged),
            Event::Close,
            "policy",
            "policy_changed",
        ),
        (
            Failure::PeerEnded(Code::Expired),
            Event::Close,
            "expiry",
            "expired",
        ),
        (Failure::SessionCut, Event::Close, "error", "session_cut"),
    ] {
        assert_eq!(failure.event(), event, "{failure:?}");
        assert_eq!(failure.close_by(), by, "{failure:?}");
        assert_eq!(failure.error(), error, "{failure:?}");
        assert!(CLOSE_WORDS.contains(&by));
    }
}

#[test]
fn a_denial_ends_the_connection_in_the_same_way_on_both_sides() {
    for denied in [
        Denied::Rule(rule()),
        Denied::NoRule(None),
        Denied::Revoked,
        Denied::Expired,
        Denied::Untrusted,
        Denied::NotUnderstood("AuthorizationPolicy/shop/new".into()),
    ] {
        let there = refused(denied.code());
        assert_eq!(there.event(), Event::Denied, "{denied:?}");
        assert_eq!(there.close_by(), Failure::from(denied).close_by());
    }
}
