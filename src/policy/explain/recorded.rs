//! A recorded connection, decided once more by the rules as they are now.

use anyhow::anyhow;
use serde::Serialize;
use time::OffsetDateTime;

use super::{ExplainArgs, Explained, explain_beside};
use crate::policy::rules::Rules;
use crate::policy::subject;
use crate::policy::traffic::{self, Denials, Edge, Workloads, rfc3339};

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
}

/// One answer for each workload that may have been called.
pub(super) fn explain(
    rules: &Rules,
    args: &ExplainArgs,
    conn: u128,
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Explained>> {
    let edge = traffic::connection(&args.traffic, &args.rules.mesh, conn)?;
    let edge = edge.ok_or_else(|| {
        anyhow!("no record of the connection {conn:032x} says what rules decided; name the files with --records, or more time with --since")
    })?;
    rules.reach(&edge.namespace)?;
    let workloads = Workloads::of(&rules.known);
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
        recorded: Some(recorded(&edge)),
        ..explain_beside(
            rules,
            &policy,
            (&edge.from, &beside.known, called, edge.port),
            now,
        )
    });
    Ok(answers.collect())
}

fn recorded(edge: &Edge) -> Recorded {
    Recorded {
        at: edge.first,
        decision: edge.was.as_str(),
        rule: edge.rule.as_deref().map(str::to_owned),
        reason: edge.reason.as_deref().map(str::to_owned),
    }
}
