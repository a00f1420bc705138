//! What is known of a connection so far.

use std::fmt;
use std::net::SocketAddr;

use palisade_api::policy::{AllowReason, Decision, DenyReason, NearMiss, Verdict};
use palisade_api::spiffe::SpiffeId;
use time::OffsetDateTime;

use super::said::said;
use crate::outcome::{Denied, Event, Failure, Outcome};
use crate::tls::Established;

/// Seen from the application of the proxy that records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the application.
    Inbound,
    /// From the application.
    Outbound,
}

impl Direction {
    /// The word in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// `conn.id`: one connection's name, the same on both sides where it was derived from their TLS session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId(pub [u8; 16]);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a mesh handshake established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1_3`.
    pub version: &'static str,
    /// The key exchange: `X25519MLKEM768` or `X25519`.
    pub group: &'static str,
    /// The serial number of the peer's leaf, in hexadecimal.
    pub peer_serial: Box<str>,
    /// When the peer's leaf expires.
    pub peer_not_after: OffsetDateTime,
}

impl From<&Established> for TlsFacts {
    fn from(established: &Established) -> Self {
        Self {
            version: established.version,
            group: established.group.unwrap_or("unknown"),
            peer_serial: established.peer.serial().into(),
            peer_not_after: established.peer.not_after(),
        }
    }
}

/// Everything of a record but its bytes and its end.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) conn_id: ConnId,
    pub(super) direction: Direction,
    pub(super) src: End,
    pub(super) dst: End,
    pub(super) src_claimed: Option<Box<str>>,
    pub(super) dst_service: Option<Box<str>>,
    pub(super) tls: Option<Box<TlsFacts>>,
    pub(super) policy: Option<Box<PolicyFacts>>,
}

/// One end of the connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) addr: SocketAddr,
    pub(super) identity: Option<SpiffeId>,
    pub(super) workload: Option<Box<str>>,
    namespace: Option<Box<str>>,
}

impl End {
    pub(super) fn at(addr: SocketAddr) -> Self {
        Self {
            addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            identity: None,
            workload: None,
            namespace: None,
        }
    }

    pub(super) fn is_workload(&mut self, namespace: &str, name: &str) {
        self.namespace = Some(namespace.into());
        self.workload = Some(name.into());
    }

    /// What control's table says; where it says nothing, what the identity says.
    pub(super) fn namespace(&self) -> Option<&str> {
        let of_identity = || {
            self.identity
                .as_ref()?
                .service_account()
                .map(|(namespace, _)| namespace)
        };
        self.namespace.as_deref().or_else(of_identity)
    }
}

/// What was decided, in the record's words.
#[derive(Debug, Default)]
pub(super) struct PolicyFacts {
    pub(super) decision: Option<&'static str>,
    pub(super) mode: Option<&'static str>,
    pub(super) rule: Option<Box<str>>,
    pub(super) revision: Option<u64>,
    pub(super) reason: Box<str>,
    pub(super) near_miss: Option<Box<str>>,
    pub(super) shadow: Option<Box<str>>,
    /// Of the rule that let it in for a while only, whatever became of it.
    pub(super) expires: Option<OffsetDateTime>,
    pub(super) because: Option<Box<str>>,
}

impl PolicyFacts {
    pub(super) fn of(decision: &Decision, revision: u64) -> Self {
        let shadow = decision
            .shadow
            .as_ref()
            .map(|(effect, rule)| format!("{} {rule}", effect.as_str()).into());
        let facts = match &decision.verdict {
            Verdict::Allow(reason) => Self::allowed(reason),
            Verdict::Deny(DenyReason::Rule(rule)) => Self::denied(&Denied::Rule(rule.clone())),
            Verdict::Deny(DenyReason::NoRule(near)) => Self::denied(&Denied::NoRule(near.clone())),
        };
        Self {
            mode: Some(mode_word(&decision.verdict)),
            revision: Some(revision),
            shadow,
            ..facts
        }
    }

    fn allowed(reason: &AllowReason) -> Self {
        let (reason, rule, near_miss) = match reason {
            AllowReason::Rule(rule) => ("rule", Some(rule.to_string().into()), None),
            AllowReason::Permissive => ("permissive", None, None),
            AllowReason::ClosingInShadow(near) => {
                ("no_rule", None, near.as_ref().map(near_miss_text))
            }
        };
        Self {
            decision: Some("allow"),
            rule,
            reason: reason.into(),
            near_miss,
            ..Self::default()
        }
    }

    fn denied(denied: &Denied) -> Self {
        let (rule, near_miss) = match denied {
            Denied::Rule(rule) => (Some(rule.to_string().into()), None),
            Denied::NoRule(near) => (None, near.as_ref().map(near_miss_text)),
            Denied::Revoked
            | Denied::Expired
            | Denied::Untrusted
            | Denied::NoPolicy
            | Denied::NotUnderstood(_) => (None, None),
        };
        Self {
            decision: Some("deny"),
            rule,
            reason: denied.as_str().into(),
            near_miss,
            ..Self::default()
        }
    }
}

impl Facts {
    /// Takes over what an end says about the decision, where nothing else said it before.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        if let Some(policy) = outcome
            .as_ref()
            .err()
            .and_then(|failure| self.policy_of(failure))
        {
            let before = self.policy.take();
            let (expires, because) = before.map_or((None, None), |it| (it.expires, it.because));
            self.policy = Some(Box::new(PolicyFacts {
                expires,
                because,
                ..policy
            }));
        }
    }

    fn policy_of(&self, failure: &Failure) -> Option<PolicyFacts> {
        if let Failure::Policy { revision, denied } = failure {
            return Some(PolicyFacts {
                mode: Some("enforce"),
                revision: Some(*revision),
                ..PolicyFacts::denied(denied)
            });
        }
        if let Failure::PeerRefused { code, rule } = failure {
            return Some(PolicyFacts {
                decision: (failure.event() == Event::Denied).then_some("deny"),
                rule: rule.as_deref().map(said),
                reason: code.name().into(),
                ..PolicyFacts::default()
            });
        }
        let before = self.policy.as_deref();
        let Failure::Denied(denied) = failure else {
            return None;
        };
        let unsaid = before.is_none_or(|policy| policy.decision != Some("deny"));
        unsaid.then(|| PolicyFacts {
            revision: before.and_then(|policy| policy.revision),
            ..PolicyFacts::denied(denied)
        })
    }
}

/// `policy.mode`, and the metric's label.
pub(super) fn mode_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow(AllowReason::Rule(_)) | Verdict::Deny(_) => "enforce",
        Verdict::Allow(AllowReason::Permissive) => "permissive",
        Verdict::Allow(AllowReason::ClosingInShadow(_)) => "shadow",
    }
}

fn near_miss_text(near: &NearMiss) -> Box<str> {
    format!("{}: {}", near.rule, near.differs.as_str()).into()
}
