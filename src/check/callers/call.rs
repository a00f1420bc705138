//! A record of a caller without an identity.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use time::OffsetDateTime;

use crate::records::field_of;
use crate::records::filter::Timed;

/// What the sidecars recorded of callers without an identity.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) calls: Vec<Call>,
    /// How many sidecars' records were read, and of how many.
    pub(crate) read: usize,
    pub(crate) sidecars: usize,
    /// Why some could not be read, for each reason once.
    pub(crate) unread: BTreeSet<String>,
}

/// One such call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) at: OffsetDateTime,
    /// Whom it called: `shop/web-0`.
    pub(super) called: String,
    pub(super) port: String,
    pub(super) caller: Caller,
    pub(super) verdict: Verdict,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Refused,
    /// By this rule; by none where its namespace is permissive.
    LetIn(Option<String>),
}

/// Who it was, as far as control knew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// `other/legacy-0`.
    Workload(String),
    /// An address that is no pod's.
    Address(String),
}

impl Call {
    /// What a record of this sidecar says of one; none where the caller had an identity, or none was asked for.
    pub(crate) fn of(called: &str, Timed { at, record }: &Timed) -> Option<Self> {
        let field = |key| field_of(record, key);
        let event = field("event")?;
        let is_plain = field("direction")? == "inbound" && field("src.identity").is_none();
        let verdict = match event.as_str() {
            "open" | "progress" | "close" => Verdict::LetIn(field("policy.rule")),
            "denied" => Verdict::Refused,
            _ => return None,
        };
        // What a rule decided, and not that a sidecar was not ready yet, or an application not there.
        let reason = field("policy.reason");
        let was_decided = match verdict {
            Verdict::LetIn(_) => field("policy.decision").is_some(),
            Verdict::Refused => matches!(reason.as_deref(), Some("no_rule" | "rule")),
        };
        let addr: SocketAddr = field("src.addr")?.parse().ok()?;
        let caller = match (field("src.namespace"), field("src.workload")) {
            (Some(namespace), Some(name)) => Caller::Workload(format!("{namespace}/{name}")),
            _ => Caller::Address(addr.ip().to_canonical().to_string()),
        };
        (is_plain && was_decided).then_some(Self {
            at: *at,
            called: called.to_owned(),
            port: field("dst.port")?,
            caller,
            verdict,
        })
    }
}
