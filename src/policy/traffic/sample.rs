//! Edges for tests.

use time::macros::datetime;

use super::edges::Passing;
use super::{Edge, Traffic, Was};

/// Ten connections of a caller, by SPIFFE ID or address, to a replica of the namespace `shop`, of the account of the
/// same name.
pub(crate) fn edge(from: &str, to: &str, port: u16, was: Was) -> Edge {
    let from = match from.parse() {
        Ok(addr) => crate::policy::subject::Caller::Address(addr),
        Err(_) => crate::policy::subject::Caller::Identity(from.parse().unwrap()),
    };
    let account = to.rsplit_once('-').map_or(to, |(name, _)| name);
    let identity = format!("spiffe://cluster.local/ns/shop/sa/{account}");
    Edge {
        from,
        at: None,
        namespace: "shop".into(),
        workload: Some(to.into()),
        identity: Some(identity.parse().unwrap()),
        port,
        was,
        reason: Some("rule".into()),
        rule: None,
        count: 10,
        first: datetime!(2026-11-22 02:23:12 UTC),
        last: datetime!(2026-11-22 02:30:00 UTC),
        conn: 0xa1,
        passing: Passing::default(),
        one_sided: 0,
        unanswered: 0,
    }
}

/// The SPIFFE ID of an account of the namespace `shop`.
pub(crate) fn of_shop(account: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
}

pub(crate) fn traffic(edges: Vec<Edge>) -> Traffic {
    let (revoked, edges) = edges.into_iter().partition(Edge::was_revoked);
    Traffic {
        edges,
        revoked,
        warnings: Vec::new(),
    }
}
