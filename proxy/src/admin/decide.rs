//! `/decide?source=…&port=…`: what the proxy would decide now, by the rules that it enforces.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use palisade_api::policy::{Decision, Effect, Source, Verdict};
use palisade_api::spiffe::SpiffeId;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::authorize::{PolicyState, authorize};

/// A question that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("ask for /decide?source=SPIFFE-ID-OR-ADDRESS&port=1..65535")]
pub(super) struct QuestionError;

/// Answers one question, with the words of records. Nothing is counted or recorded.
///
/// # Errors
///
/// Where the query does not name a source and a port.
pub(super) fn decide(
    state: &PolicyState,
    query: &str,
    now: OffsetDateTime,
) -> Result<Value, QuestionError> {
    let (mut asked, mut port) = (None, None);
    for (key, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        match key {
            "source" => asked = Some(value),
            "port" => port = value.parse::<u16>().ok().filter(|port| *port > 0),
            _ => return Err(QuestionError),
        }
    }
    let (asked, port) = asked.zip(port).ok_or(QuestionError)?;
    let id = asked.parse::<SpiffeId>();
    let addr = asked.parse::<IpAddr>();
    let source = match (&id, addr) {
        (Ok(id), _) => Source::Authenticated(id),
        (Err(_), Ok(addr)) => Source::Unauthenticated(addr),
        (Err(_), Err(_)) => return Err(QuestionError),
    };
    // Rules ask for the port only: whose address it is was settled by the redirect.
    let dst = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    Ok(match authorize(state, source, dst, now) {
        Ok(permit) => said(permit.revision(), "rule", Some(permit.decision())),
        Err(refusal) => said(
            refusal.revision,
            refusal.denied.as_str(),
            refusal.decision.as_deref(),
        ),
    })
}

/// `otherwise` is the reason where no rule was asked.
fn said(revision: u64, otherwise: &'static str, decision: Option<&Decision>) -> Value {
    let verdict = decision.map(|decision| &decision.verdict);
    let effect = verdict.map_or(Effect::Deny, Verdict::effect);
    let near_miss = verdict
        .and_then(Verdict::near_miss)
        .map(|near| json!({"rule": near.rule.to_string(), "differs": near.differs.as_str()}));
    let shadow = decision.and_then(|decision| decision.shadow.as_ref());
    json!({
        "revision": revision,
        "decision": effect.as_str(),
        "reason": verdict.map_or(otherwise, Verdict::reason),
        "rule": verdict.and_then(Verdict::rule).map(ToString::to_string),
        "near_miss": near_miss,
        "shadow": shadow.map(|(effect, rule)| json!({"would": effect.as_str(), "rule": rule.to_string()})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_one_source_and_a_port() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for wrong in [
            "",
            "source=10.0.0.1",
            "port=80",
            "source=10.0.0.1&port=0",
            "source=10.0.0.1&port=65536",
            "source=web&port=80",
            "source=spiffe://&port=80",
            "source=10.0.0.1&port=80&more=1",
        ] {
            assert_eq!(
                decide(&PolicyState::Waiting, wrong, now),
                Err(QuestionError),
                "{wrong}"
            );
        }
        for source in ["10.0.0.1", "fd00::1", "spiffe://a.test/ns/b/sa/c"] {
            let answer = decide(
                &PolicyState::Waiting,
                &format!("source={source}&port=80"),
                now,
            );
            let answer = answer.unwrap();
            assert_eq!(
                (&answer["decision"], &answer["reason"]),
                (&json!("deny"), &json!("no_policy"))
            );
        }
    }
}
