//! A recorded connection, decided once more by the rules as they are now.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::anyhow;
use serde::Serialize;
use time::OffsetDateTime;

use super::{ExplainArgs, Explained, explain_beside};
use crate::policy::rules::Rules;
use crate::policy::subject::{self, Called, Caller};
use crate::policy::traffic::{
    self, Connection, Denials, Edge, REFUSED_BY_PEER, Unsaid, Was, Whom, Workloads, rfc3339,
};
use crate::policy::warn;
use crate::records::in_words;

#[cfg(test)]
mod tests;

/// What was decided when the connection was made.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Recorded {
    #[serde(serialize_with = "rfc3339")]
    pub(crate) at: OffsetDateTime,
    /// `allow` or `deny`.
    pub(crate) decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Of which side the record is: `inbound`, the called one, which knows why; `outbound`, the calling one, which was told.
    pub(crate) direction: &'static str,
    /// How many connections its record counts, where that is more than this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// The record of the other side that counts it, where it has none of its own there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) among: Option<Among>,
}

/// Refusals that were put together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Among {
    /// The `conn.id` of the last of them.
    #[serde(rename = "conn.id")]
    pub(crate) conn: String,
    pub(crate) count: u64,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) at: OffsetDateTime,
}

/// Why nobody can tell what was decided.
#[derive(Debug, thiserror::Error)]
enum NoRecordError {
    #[error(
        "no record that was read has the conn.id {0}. Refusals that repeat within 10 s are one record, with the conn.id of the \
         last of them; others may be in other files (--records) or older (--since). Ask by names: {ASK}"
    )]
    None(String),
    #[error("the records of {conn} say nothing of what rules decide{why}. Ask by names: {ask}")]
    Unsaid {
        conn: String,
        why: String,
        ask: String,
    },
    #[error(
        "{conn} was refused as its caller's certificate is revoked, and it is not known whose that was: no name is recorded, and \
         the account at its address is not known; name a file that says who is there with -f, or ask by names: {ask}"
    )]
    NoCaller { conn: String, ask: String },
    #[error(
        "{conn} was refused as one of both was revoked, which may have been by a serial number, and some are revoked. Ask by \
         names: {ask}"
    )]
    MaybeByNumber { conn: String, ask: String },
}

/// One answer for each workload that may have been called.
pub(super) fn explain(
    rules: &Rules,
    args: &ExplainArgs,
    conn: u128,
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Explained>> {
    let mut connection = traffic::connection(&args.traffic, &args.rules.mesh, conn)?;
    decided(rules, &mut connection, conn, now)
}

fn decided(
    rules: &Rules,
    connection: &mut Connection,
    conn: u128,
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Explained>> {
    let workloads = Workloads::of(&rules.known);
    let found = connection.edge.take();
    let found = found.or_else(|| by_peer(rules, &workloads, connection.unsaid.as_ref()));
    let Some(found) = found else {
        return Err(unknown(rules, &workloads, conn, connection.unsaid.take()).into());
    };
    let told = connection.among.as_ref().unwrap_or(&found);
    let was_revoked = told.was_revoked();
    let conn = format!("{conn:032x}");
    let ask = || ask(rules, &workloads, &found, was_revoked);
    let named = if is_of_certificate(told) {
        let named = with_caller(rules, &workloads, &found);
        named.ok_or_else(|| NoRecordError::NoCaller {
            conn: conn.clone(),
            ask: ask(),
        })?
    } else {
        Cow::Borrowed(&found)
    };
    let presumed = matches!(named, Cow::Owned(_));
    let edge = &*named;
    let whom = workloads.whom(edge);
    let selected = subject::selected_labels(rules);
    let called = whom.called(rules, &selected, edge);
    let called = if is_revoked(rules, edge, &whom) {
        called.unwrap_or_else(|| vec![unlabelled(edge, &whom)])
    } else {
        if was_revoked && rules.revoked.has_serials() {
            return Err(NoRecordError::MaybeByNumber { conn, ask: ask() }.into());
        }
        rules.reach(&edge.namespace)?;
        called.ok_or_else(|| {
            anyhow!(
                "too little is known of {}: name a file that says which labels it has with -f",
                whom.shown(edge)
            )
        })?
    };
    let policy = rules.compiled();
    let trust_domain = edge.trust_domain(&rules.trust_domain);
    let beside = workloads.beside(edge, trust_domain);
    let denials = Denials::of(rules, now);
    let maybe = denials.maybe(&beside, &called, (trust_domain, edge.port));
    if let Some(rule) = maybe.first() {
        let from = &edge.from;
        warn(&[format!(
            "{from}: the account at this address is not known, and {rule} denies one that may be it; name a file that says who is there with -f"
        )]);
    }
    let answers = called.iter().map(|called| Explained {
        recorded: Some(recorded(edge, connection)),
        presumed,
        ..explain_beside(
            rules,
            &policy,
            (&edge.from, &beside.known, called, edge.port),
            now,
        )
    });
    Ok(answers.collect())
}

/// With the caller that its record does not name, where it is known who is at its address; it warns that this is presumed.
fn with_caller<'a>(
    rules: &Rules,
    workloads: &Workloads<'_>,
    found: &'a Edge,
) -> Option<Cow<'a, Edge>> {
    let named = workloads.with_caller(found, &rules.trust_domain)?;
    if let Cow::Owned(edge) = &named {
        let from = edge.from.short(&rules.trust_domain);
        warn(&[format!(
            "who refuses a certificate records no name of it: {from}, the account of who is at its address, is taken for the caller"
        )]);
    }
    Some(named)
}

/// Whether nothing but a certificate was looked at, of which no name is recorded where it was refused.
fn is_of_certificate(told: &Edge) -> bool {
    told.was_revoked() || told.reason.as_deref() == Some(REFUSED_BY_PEER)
}

/// A certificate that the other side refused, and did not say why: where one of both is revoked, that is why it would be
/// again.
fn by_peer(rules: &Rules, workloads: &Workloads<'_>, unsaid: Option<&Unsaid>) -> Option<Edge> {
    let unsaid = unsaid.filter(|unsaid| unsaid.error.as_deref() == Some(REFUSED_BY_PEER))?;
    let edge = unsaid.edge.as_ref()?;
    let named = workloads.with_caller(edge, &rules.trust_domain)?;
    let is_revoked = is_revoked(rules, &named, &workloads.whom(&named));
    is_revoked.then(|| Edge {
        reason: Some(REFUSED_BY_PEER.into()),
        ..edge.clone()
    })
}

/// Whether one of both is, whatever labels the called one has.
fn is_revoked(rules: &Rules, edge: &Edge, whom: &Whom<'_>) -> bool {
    let called = unlabelled(edge, whom);
    let settings = rules.known.settings(&called.namespace);
    let destination = called.destination(&rules.trust_domain, settings);
    rules.revoked.of_call_to(&edge.from, &destination).is_some()
}

/// What is known of the called one without its labels: enough where no rule is asked.
fn unlabelled(edge: &Edge, whom: &Whom<'_>) -> Called {
    let account = match whom {
        Whom::Workloads(found) => found.first().map(|one| &*one.service_account),
        Whom::Account(account) => Some(*account),
        Whom::Unknown => None,
    };
    Called {
        namespace: edge.namespace.to_string(),
        name: edge.name().to_owned(),
        service_account: account.unwrap_or_default().to_owned(),
        labels: BTreeMap::new(),
    }
}

/// What the called side says, of this connection or of those that it was one of, before what the calling side was told.
fn recorded(edge: &Edge, connection: &Connection) -> Recorded {
    let among = connection.among.as_ref();
    let told = among.unwrap_or(edge);
    let refused = (connection.is_by_caller && edge.was == Was::Denied).then_some(REFUSED);
    Recorded {
        at: edge.first,
        decision: edge.was.as_str(),
        rule: told.rule.as_deref().map(str::to_owned),
        reason: told.reason.as_deref().or(refused).map(str::to_owned),
        direction: if connection.is_by_caller {
            "outbound"
        } else {
            "inbound"
        },
        count: Some(edge.count).filter(|count| *count > 1),
        among: among.map(|among| Among {
            conn: among.conn(),
            count: among.count,
            at: among.last,
        }),
    }
}

/// Says how to ask instead: with the names, where a record has them.
fn unknown(
    rules: &Rules,
    workloads: &Workloads<'_>,
    conn: u128,
    unsaid: Option<Unsaid>,
) -> NoRecordError {
    let conn = format!("{conn:032x}");
    let Some(unsaid) = unsaid else {
        return NoRecordError::None(conn);
    };
    let edge = unsaid.edge.as_ref();
    let ask = edge.map(|edge| ask(rules, workloads, edge, unsaid.is_of_handshake));
    NoRecordError::Unsaid {
        conn,
        why: unsaid
            .error
            .map(|error| format!(" ({})", in_words(&error)))
            .unwrap_or_default(),
        ask: ask.unwrap_or_else(|| ASK.to_owned()),
    }
}

/// The same question by names, as it can be typed. Who was held to a certificate, and has no name, did not come in clear:
/// its account is named where it is known.
fn ask(rules: &Rules, workloads: &Workloads<'_>, edge: &Edge, is_of_handshake: bool) -> String {
    let named = if is_of_handshake {
        workloads.with_caller(edge, &rules.trust_domain)
    } else {
        Some(Cow::Borrowed(edge))
    };
    let from = named.map(|edge| match &edge.from {
        Caller::Identity(_) => edge.from.short(&rules.trust_domain),
        Caller::Address(addr) => addr.to_string(),
    });
    let from = from.unwrap_or_else(|| "CALLER".to_owned());
    let to = workloads.whom(edge).shown(edge);
    format!(
        "palisade policy explain --from {from} --to {to} --port {}",
        edge.port
    )
}

/// What the calling side is told, in the word of records.
const REFUSED: &str = "denied";
const ASK: &str = "palisade policy explain --from CALLER --to CALLED --port PORT";
