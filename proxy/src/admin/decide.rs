//! `/decide?source=…&port=…`: what the proxy would decide now, by the rules that it enforces.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use palisade_api::policy::{Decision, Effect, Source, Verdict};
use palisade_api::spiffe::SpiffeId;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::authorize::{Permit, PolicyState, Refusal, authorize};
use crate::discovery::addresses::AddressBook;
use crate::inbound::clear::{self, Decided, Turned};
use crate::outcome::Denied;

/// A question that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("ask for /decide?source=SPIFFE-ID-OR-ADDRESS&port=1..65535")]
pub(super) struct QuestionError;

/// Who asks for which port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    caller: Caller,
    port: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum Caller {
    Identity(SpiffeId),
    /// One without.
    Address(IpAddr),
}

impl Question {
    /// Of a page's query.
    ///
    /// # Errors
    ///
    /// Where it does not name a source and a port.
    pub(super) fn of(query: &str) -> Result<Self, QuestionError> {
        let (mut asked, mut port) = (None, None);
        for (key, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            match key {
                "source" => asked = Some(value),
                "port" => port = value.parse::<u16>().ok().filter(|port| *port > 0),
                _ => return Err(QuestionError),
            }
        }
        let (asked, port) = asked.zip(port).ok_or(QuestionError)?;
        let caller = match (asked.parse::<SpiffeId>(), asked.parse::<IpAddr>()) {
            (Ok(id), _) => Caller::Identity(id),
            (Err(_), Ok(addr)) => Caller::Address(addr.to_canonical()),
            (Err(_), Err(_)) => return Err(QuestionError),
        };
        Ok(Self { caller, port })
    }

    /// Of one that proves who it is.
    pub(super) fn identity(&self) -> Option<&SpiffeId> {
        match &self.caller {
            Caller::Identity(id) => Some(id),
            Caller::Address(_) => None,
        }
    }
}

/// Answers one question as the data path would, with the words of records. Nothing is counted or recorded. Control is
/// asked who is known at a caller's address, for so long as there is patience.
pub(super) async fn decide(
    policy: &watch::Receiver<PolicyState>,
    (book, patience): (&AddressBook, Duration),
    question: &Question,
) -> Value {
    // Rules ask for the port only: whose address it is was settled by the redirect.
    let dst = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), question.port);
    match &question.caller {
        Caller::Identity(id) => {
            let source = Source::Authenticated(id);
            let decided = authorize(&policy.borrow(), source, dst, OffsetDateTime::now_utc());
            decided.map_or_else(|refusal| refused(&refusal), |permit| permitted(&permit))
        }
        Caller::Address(addr) => {
            let decided = clear::decide(policy, (book, patience), *addr, dst).await;
            let Decided { state, verdict } = decided;
            match verdict {
                Ok(passed) => permitted(&passed.permit),
                Err(Turned::Denied(refusal)) => refused(&refusal),
                Err(Turned::Refused(reason)) => {
                    let revision = state.rules().map_or(0, |rules| rules.revision);
                    said(revision, reason.as_str(), None)
                }
            }
        }
    }
}

/// The answer for a name that is revoked: no rule is asked, and none has a revision.
pub(super) fn revoked() -> Value {
    said(0, Denied::Revoked.as_str(), None)
}

fn permitted(permit: &Permit) -> Value {
    said(permit.revision(), "rule", Some(permit.decision()))
}

fn refused(refusal: &Refusal) -> Value {
    let decision = refusal.decision.as_deref();
    said(refusal.revision, refusal.denied.as_str(), decision)
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
    use std::collections::HashMap;
    use std::sync::Arc;

    use palisade_api::policy::{Mode, Rule};
    use palisade_api::workload::{AtAddress, Workload};

    use super::*;
    use crate::authorize::tests::{anyone, own, rule, state, web, web_id};

    const PATIENCE: Duration = Duration::from_secs(3);
    const IN_CLEAR: &str = "source=10.0.0.9&port=80";

    #[test]
    fn a_question_names_one_source_and_a_port() {
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
            assert_eq!(Question::of(wrong), Err(QuestionError), "{wrong}");
        }
        for right in ["10.0.0.1", "fd00::1", "spiffe://a.test/ns/b/sa/c"] {
            assert!(Question::of(&format!("source={right}&port=80")).is_ok());
        }
        let mapped = Question::of("source=::ffff:10.0.0.9&port=80");
        assert_eq!(mapped, Question::of(IN_CLEAR));
    }

    /// The decision, the reason, and the rule that decided or would have.
    async fn asked(state: PolicyState, book: &AddressBook, query: &str) -> [String; 3] {
        let (_states, policy) = watch::channel(state);
        let question = Question::of(query).unwrap();
        let answer = decide(&policy, (book, PATIENCE), &question).await;
        let shadow = &answer["shadow"]["rule"];
        let rule = if shadow.is_null() {
            &answer["rule"]
        } else {
            shadow
        };
        let words = [&answer["decision"], &answer["reason"], rule];
        words.map(|word| word.as_str().unwrap_or("none").to_owned())
    }

    fn rules(others: &[Rule]) -> PolicyState {
        let anyone = rule("anyone", Effect::Allow, anyone());
        state(7, [&[anyone], others].concat())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_denied_without_that_is_looked_up_nowhere() {
        let (book, mut lookups) = AddressBook::new();
        for source in ["10.0.0.9", "spiffe://a.test/ns/b/sa/c"] {
            let query = format!("source={source}&port=80");
            let answer = asked(PolicyState::Waiting, &book, &query).await;
            assert_eq!(answer, ["deny", "no_policy", "none"]);
        }
        let nobody = state(7, Vec::new());
        let answer = asked(nobody, &book, IN_CLEAR).await;
        assert_eq!(answer, ["deny", "no_rule", "none"]);
        assert!(lookups.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_in_clear_is_held_to_what_is_known_at_its_address() {
        let (book, _lookups) = AddressBook::new();
        let not_web = |mode| Rule {
            mode,
            ..rule("not-web", Effect::Deny, web())
        };
        let silent = asked(rules(&[]), &book, IN_CLEAR).await;
        assert_eq!(silent, ["deny", "unknown_address", "none"]);
        let workload = Arc::new(Workload {
            identity: web_id(),
            ..own()
        });
        let at = IpAddr::from([10, 0, 0, 9]);
        book.replace(HashMap::from([(at, AtAddress::Workload(workload))]));
        let name = |rule: &str| format!("shop/orders/{rule}");
        for (others, answer) in [
            (vec![], ["allow", "rule", &name("anyone")]),
            (
                vec![not_web(Mode::Enforce)],
                ["deny", "rule", &name("not-web")],
            ),
            (
                vec![not_web(Mode::Shadow)],
                ["allow", "rule", &name("not-web")],
            ),
        ] {
            assert_eq!(asked(rules(&others), &book, IN_CLEAR).await, answer);
        }
    }
}
