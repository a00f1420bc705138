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

/// Asks the rules for such callers; of one that they let in, what is known at its address, for so long as there is
/// patience; and then whether that is denied by name. Where control does not say in time nobody can tell, and the caller
/// is refused.
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
    if let Err(refusal) = authorize(&state, source, dst, OffsetDateTime::now_utc()) {
        return Decided {
            state,
            verdict: Err(Turned::Denied(refusal)),
        };
    }
    let Some(beside) = book.answer(client, patience).await else {
        return Decided {
            state,
            verdict: Err(Turned::Refused(RefusedReason::UnknownAddress)),
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
