//! A recorded connection, decided once more by the rules as they are now.

use anyhow::anyhow;
use serde::Serialize;
use time::OffsetDateTime;

use super::{ExplainArgs, Explained, explain_beside};
use crate::policy::rules::Rules;
use crate::policy::subject;
use crate::policy::traffic::{self, Connection, Denials, Edge, Unsaid, Was, Workloads, rfc3339};
use crate::records::in_words;

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
    /// The called side's record that counts it, where it has none of its own there.
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
}

/// One answer for each workload that may have been called.
pub(super) fn explain(
    rules: &Rules,
    args: &ExplainArgs,
    conn: u128,
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Explained>> {
    let mut connection = traffic::connection(&args.traffic, &args.rules.mesh, conn)?;
    let workloads = Workloads::of(&rules.known);
    let Some(edge) = connection.edge.take() else {
        return Err(unknown(rules, &workloads, conn, connection.unsaid).into());
    };
    rules.reach(&edge.namespace)?;
    let whom = workloads.whom(&edge);
    let selected = subject::selected_labels(rules);
    let called = whom.called(rules, &selected, &edge).ok_or_else(|| {
        anyhow!(
            "too little is known of {}: name a file that says which labels it has with -f",
            whom.shown(&edge)
        )
    })?;
    let policy = rules.compiled();
    let trust_domain = edge.trust_domain(&rules.trust_domain);
    let beside = workloads.beside(&edge, trust_domain);
    let denials = Denials::of(rules, now);
    let maybe = denials.maybe(&beside, &called, (trust_domain, edge.port));
    if let Some(rule) = maybe.first() {
        let from = &edge.from;
        super::super::warn(&[format!(
            "{from}: the account at this address is not known, and {rule} denies one that may be it; name a file that says who is there with -f"
        )]);
    }
    let answers = called.iter().map(|called| Explained {
        recorded: Some(recorded(&edge, &connection)),
        ..explain_beside(
            rules,
            &policy,
            (&edge.from, &beside.known, called, edge.port),
            now,
        )
    });
    Ok(answers.collect())
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
    let ask = unsaid.edge.as_ref().map(|edge| {
        let from = edge.from.short(edge.trust_domain(&rules.trust_domain));
        let to = workloads.whom(edge).shown(edge);
        format!(
            "palisade policy explain --from {from} --to {to} --port {}",
            edge.port
        )
    });
    NoRecordError::Unsaid {
        conn,
        why: unsaid
            .error
            .map(|error| format!(" ({})", in_words(&error)))
            .unwrap_or_default(),
        ask: ask.unwrap_or_else(|| ASK.to_owned()),
    }
}

/// What the calling side is told, in the word of records.
const REFUSED: &str = "denied";
const ASK: &str = "palisade policy explain --from CALLER --to CALLED --port PORT";
