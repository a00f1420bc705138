//! One line of records, read for what tells who called whom, and what was decided.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::policy::allow;
use crate::policy::revoked::REVOKED;

/// What is wanted of a record. Nothing is copied where its texts have no escapes.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    time: Text<'a>,
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(rename = "conn.id", borrow)]
    conn_id: Text<'a>,
    #[serde(borrow)]
    direction: Text<'a>,
    #[serde(rename = "src.addr", borrow)]
    src_addr: Text<'a>,
    #[serde(rename = "src.identity", borrow)]
    src_identity: Option<Text<'a>>,
    #[serde(rename = "src.workload", borrow)]
    src_workload: Option<Text<'a>>,
    #[serde(rename = "src.namespace", borrow)]
    src_namespace: Option<Text<'a>>,
    #[serde(rename = "dst.identity", borrow)]
    dst_identity: Option<Text<'a>>,
    #[serde(rename = "dst.workload", borrow)]
    dst_workload: Option<Text<'a>>,
    #[serde(rename = "dst.namespace", borrow)]
    dst_namespace: Option<Text<'a>>,
    #[serde(rename = "dst.port")]
    pub(super) port: u16,
    #[serde(rename = "policy.decision", borrow)]
    decision: Option<Text<'a>>,
    #[serde(rename = "policy.reason", borrow)]
    reason: Option<Text<'a>>,
    #[serde(rename = "policy.rule", borrow)]
    rule: Option<Text<'a>>,
    #[serde(rename = "policy.expires", borrow)]
    expires: Option<Text<'a>>,
    #[serde(rename = "policy.because", borrow)]
    because: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    count: Option<u32>,
}

/// Serde borrows a text within an `Option` only where it has a type of its own.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Was {
    Allowed,
    Denied,
}

impl Was {
    /// In the word of records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Denied => "deny",
        }
    }
}

/// What a record says of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The called side says what it decided.
    Decided(Was),
    /// The calling side says that the connection went well.
    WentWell,
    /// The calling side was told that it is denied, but not why.
    Refused,
    /// One of both is revoked, and no rule was asked. Of a handshake each side writes a record of its own, and only the one
    /// that refused the other's certificate says why.
    Revoked,
}

impl Told {
    /// Whether the called side says so.
    pub(super) fn is_decided(self) -> bool {
        matches!(self, Self::Decided(_) | Self::Revoked)
    }

    pub(super) fn was(self) -> Was {
        match self {
            Self::Decided(was) => was,
            Self::WentWell => Was::Allowed,
            Self::Refused | Self::Revoked => Was::Denied,
        }
    }
}

/// When, and of which connection.
pub(super) type At = (OffsetDateTime, u128);

impl<'a> Line<'a> {
    /// None where the line is no record.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// A record with the moment at which it was written, and the connection that it is of.
    pub(super) fn placed(bytes: &'a [u8]) -> Option<(Self, At)> {
        let line = Self::of(bytes)?;
        let at = OffsetDateTime::parse(&line.time.0, &Rfc3339).ok()?;
        let conn = u128::from_str_radix(&line.conn_id.0, 16).ok()?;
        Some((line, (at, conn)))
    }

    /// None where it says nothing of what rules decided: a sidecar that was not ready, a certificate that was no good,
    /// a revoked identity. A refusal that the calling side was told of is the called side's to explain.
    pub(super) fn told(&self) -> Option<Told> {
        let is_called = matches!(&*self.direction.0, "inbound" | "both");
        let is_established = matches!(&*self.event.0, "open" | "progress" | "close");
        let reason = self.reason();
        match (is_called, self.decision.as_ref().map(|text| &*text.0)) {
            (true, Some("allow")) if is_established => Some(Told::Decided(Was::Allowed)),
            (true, Some("deny")) if matches!(reason, Some("rule" | "no_rule")) => {
                Some(Told::Decided(Was::Denied))
            }
            (false, None) if is_established => {
                let went_well = self.error.is_none() && self.dst_identity.is_some();
                went_well.then_some(Told::WentWell)
            }
            _ => None,
        }
    }

    /// The refusal that the calling side was told of, where rules may have decided it.
    pub(super) fn refused(&self) -> Option<Told> {
        let is_told = (&*self.direction.0, &*self.event.0, self.reason())
            == ("outbound", "denied", Some("denied"));
        is_told.then_some(Told::Refused)
    }

    /// The refusal of one who is revoked: in the handshake, or of one connection more of those that share it.
    pub(super) fn revoked(&self) -> Option<Told> {
        let word = match &*self.event.0 {
            "tls_failed" => self.error(),
            "denied" => self.reason(),
            _ => None,
        };
        (word == Some(REVOKED)).then_some(Told::Revoked)
    }

    /// Whether it is of refusals that the called side put together: their other records are not written.
    pub(super) fn is_of_many(&self) -> bool {
        self.count.is_some() && self.told() == Some(Told::Decided(Was::Denied))
    }

    /// Whether the other side refused the certificate of this one, which is not told why.
    pub(super) fn is_refused_by_peer(&self) -> bool {
        (&*self.event.0, self.error()) == ("tls_failed", Some(REFUSED_BY_PEER))
    }

    /// Whether a handshake failed: then each side gives the connection an id of its own.
    pub(super) fn is_of_handshake(&self) -> bool {
        &*self.event.0 == "tls_failed"
    }

    /// Whether the calling side wrote it.
    pub(super) fn is_by_caller(&self) -> bool {
        &*self.direction.0 == "outbound"
    }

    /// Whether the called side let it through, and its application was not there.
    pub(super) fn is_unanswered(&self) -> bool {
        self.told() == Some(Told::Decided(Was::Allowed)) && self.error() == Some("connect")
    }

    /// Why it came to nothing, in the word of records.
    pub(super) fn error(&self) -> Option<&str> {
        plain(&self.error)
    }

    /// Whether no other record of the same side tells of the same connection.
    pub(super) fn is_last(&self) -> bool {
        matches!(&*self.event.0, "close" | "denied")
    }

    /// For how many connections it stands: refusals that repeat are put together.
    pub(super) fn count(&self) -> u64 {
        self.count.unwrap_or(1).into()
    }

    /// The caller's proven name; none where it came without.
    pub(super) fn src_identity(&self) -> Option<&str> {
        plain(&self.src_identity)
    }

    /// Who is known at its address: namespace and replica.
    pub(super) fn src_workload(&self) -> Option<(&str, &str)> {
        plain(&self.src_namespace).zip(plain(&self.src_workload))
    }

    pub(super) fn src_ip(&self) -> Option<IpAddr> {
        let addr: SocketAddr = self.src_addr.0.parse().ok()?;
        Some(addr.ip().to_canonical())
    }

    pub(super) fn dst_identity(&self) -> Option<&str> {
        plain(&self.dst_identity)
    }

    pub(super) fn dst_workload(&self) -> Option<&str> {
        plain(&self.dst_workload)
    }

    pub(super) fn dst_namespace(&self) -> Option<&str> {
        plain(&self.dst_namespace)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        plain(&self.reason)
    }

    pub(super) fn rule(&self) -> Option<&str> {
        plain(&self.rule)
    }

    /// Whether the rule that decided is one that ends, such as those for emergencies.
    pub(super) fn is_by_passing_rule(&self) -> bool {
        let mut names = self.rule().into_iter().flat_map(|rule| rule.split('/'));
        plain(&self.expires).is_some() || names.any(|name| name.starts_with(allow::PREFIX))
    }

    /// Why there is such a rule, in the words of who made it.
    pub(super) fn because(&self) -> Option<&str> {
        plain(&self.because)
    }
}

/// The word of records.
pub(crate) const REFUSED_BY_PEER: &str = "refused_by_peer";

fn plain<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
    let text = text.as_ref().map(|text| &*text.0);
    text.filter(|text| !text.is_empty())
}
