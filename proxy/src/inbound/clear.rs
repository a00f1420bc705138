//! The decision on a caller without an identity: one for its connections, and for whoever asks what would become of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use palisade_api::policy::Source;
use palisade_api::workload::AtAddress;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::authorize::{Permit, PolicyState, Refusal, authorize, authorize_in_clear};
use crate::discovery::addresses::AddressBook;
use crate::outcome::RefusedReason;

/// What was decided, and by which rules.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) state: PolicyState,
    pub(crate) verdict: Result<Passed, Turned>,
}

/// A caller that may pass.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) permit: Permit,
    /// What is known at its address.
    pub(crate) beside: Arc<AtAddress>,
}

/// Why one may not.
#[derive(Debug)]
pub(crate) enum Turned {
    Denied(Refusal),
    Refused(RefusedReason),
}

/// Asks the rules for such callers; of one that they let in, or would were those in shadow enforced, what is known at its
/// address, for so long as there is patience; and then whether that is denied by name. Where control does not say in time
/// nobody can tell: the caller is refused, and nothing is said of rules in shadow.
///
/// Counts and records nothing. Cancel safe.
pub(crate) async fn decide(
    policy: &watch::Receiver<PolicyState>,
    (book, patience): (&AddressBook, Duration),
    client: IpAddr,
    dst: SocketAddr,
) -> Decided {
    let state = policy.borrow().clone();
    let source = Source::Unauthenticated(client);
    let refusal = authorize(&state, source, dst, OffsetDateTime::now_utc()).err();
    let refusal = match refusal {
        // It costs nobody a question.
        Some(refusal) if !refusal.is_allowed_in_shadow() => {
            return Decided {
                state,
                verdict: Err(Turned::Denied(refusal)),
            };
        }
        other => other,
    };
    let Some(beside) = book.answer(client, patience).await else {
        let turned = match refusal {
            Some(refusal) => Turned::Denied(refusal.without_shadow()),
            None => Turned::Refused(RefusedReason::UnknownAddress),
        };
        return Decided {
            state,
            verdict: Err(turned),
        };
    };
    // There may be other rules by now.
    let state = policy.borrow().clone();
    let now = OffsetDateTime::now_utc();
    let verdict = match authorize_in_clear(&state, (client, &beside), dst, now) {
        Ok(permit) => Ok(Passed { permit, beside }),
        Err(refusal) => Err(Turned::Denied(refusal)),
    };
    Decided { state, verdict }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use palisade_api::policy::{Effect, Mode, Rule};
    use palisade_api::workload::Workload;

    use super::*;
    use crate::authorize::tests::{anyone, own, rule, state, web, web_id};
    use crate::discovery::addresses::Ask;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn client() -> IpAddr {
        IpAddr::from([10, 0, 0, 9])
    }

    fn in_shadow() -> Rule {
        Rule {
            mode: Mode::Shadow,
            ..rule("anyone", Effect::Allow, anyone())
        }
    }

    /// The effect that rules in shadow would have on one that is denied, where control says that web is at its address,
    /// or nothing; and whether control was asked.
    async fn would(rules: Vec<Rule>, is_answered: bool) -> (Option<Effect>, bool) {
        let (_states, policy) = watch::channel(state(1, rules));
        let (book, mut asked) = AddressBook::new();
        let decide = async {
            let dst = SocketAddr::from(([10, 0, 0, 1], 8080));
            decide(&policy, (&book, PATIENCE), client(), dst).await
        };
        let answer = async {
            let ask = asked.recv().await;
            let workload = Workload {
                identity: web_id(),
                ..own()
            };
            if is_answered {
                let at = AtAddress::Workload(Arc::new(workload));
                book.replace(HashMap::from([(client(), at)]));
            }
            assert_eq!(ask, Some(Ask::Subscribe(client())));
            std::future::pending::<()>().await;
        };
        let decided = tokio::select! {
            biased;
            decided = decide => decided,
            () = answer => panic!("it waits"),
        };
        let Err(Turned::Denied(refusal)) = decided.verdict else {
            panic!("{decided:?}");
        };
        let is_asked = !book.asked().is_empty();
        let shadow = refusal.decision.and_then(|decision| decision.shadow);
        (shadow.map(|(effect, _)| effect), is_asked)
    }

    #[tokio::test(start_paused = true)]
    async fn whom_rules_in_shadow_would_allow_is_looked_up_first_and_nobody_else_who_is_denied() {
        let not_web = rule("not-web", Effect::Deny, web());
        let allow = Some(Effect::Allow);
        assert_eq!(would(vec![in_shadow()], true).await, (allow, true));
        let both = || vec![in_shadow(), not_web.clone()];
        assert_eq!(would(both(), true).await, (None, true));
        assert_eq!(would(vec![not_web.clone()], true).await, (None, false));
    }

    #[tokio::test(start_paused = true)]
    async fn where_control_is_silent_nothing_is_said_of_rules_in_shadow() {
        assert_eq!(would(vec![in_shadow()], false).await, (None, true));
    }
}
