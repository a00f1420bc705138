//! The policy's decision on one connection, and the permit that it gives.

use std::net::{IpAddr, SocketAddr};
use std::slice;
use std::sync::Arc;

use palisade_api::policy::{
    AllowReason, Decision, Destination, Expiring, Policy, RuleName, Source, Verdict,
};
use palisade_api::workload::{AtAddress, NamespaceSettings, Workload};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::outcome::Denied;

/// What control said of the rules, so far.
#[derive(Debug, Clone, Default)]
pub enum PolicyState {
    /// Nothing yet: everything is denied, with a reason of its own.
    #[default]
    Waiting,
    /// The rules in force.
    Current(Arc<Rules>),
}

/// The rules that select the proxy's own workload, and what they are about.
#[derive(Debug)]
pub struct Rules {
    /// Control's revision of them.
    pub revision: u64,
    /// The own workload.
    pub own: Workload,
    /// How its namespace is set.
    pub settings: NamespaceSettings,
    /// The rules, compiled.
    pub policy: Policy,
    /// Their names.
    pub names: Vec<RuleName>,
    /// An object that was not understood and has no last good version: everything is denied.
    pub closed_by: Option<String>,
}

/// Leave to connect to the application: where to, and why. Made by [`authorize`] and [`authorize_in_clear`] only.
#[derive(Debug)]
pub struct Permit {
    dst: SocketAddr,
    decision: Decision,
    revision: u64,
    expiring: Option<Arc<Expiring>>,
}

impl Permit {
    /// Where to.
    pub fn dst(&self) -> SocketAddr {
        self.dst
    }

    /// Why.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// By which revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Until when the rule that gives it is there, and why, where it is there for a while only.
    pub fn expiring(&self) -> Option<&Expiring> {
        self.expiring.as_deref()
    }
}

/// A denial, and what it was decided by.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub denied: Denied,
    /// The decision, where rules made it.
    pub decision: Option<Box<Decision>>,
    /// The revision of the rules; 0 before there were any.
    pub revision: u64,
}

impl Refusal {
    /// Whether rules in shadow would allow it, were they enforced.
    pub fn is_allowed_in_shadow(&self) -> bool {
        let decision = self.decision.as_ref();
        decision.is_some_and(|decision| decision.is_allowed_in_shadow())
    }

    /// Itself, with nothing said of rules in shadow.
    #[must_use]
    pub fn without_shadow(mut self) -> Self {
        if let Some(decision) = &mut self.decision {
            decision.shadow = None;
        }
        self
    }
}

/// Decides whether `source` may reach `dst`, by the rules in force at `now`.
///
/// # Errors
///
/// The denial, with its reason.
pub fn authorize(
    state: &PolicyState,
    source: Source<'_>,
    dst: SocketAddr,
    now: OffsetDateTime,
) -> Result<Permit, Refusal> {
    permit(state, dst, |rules| {
        rules
            .policy
            .decide(source, &rules.destination(), dst.port(), now)
    })
}

/// Decides whether a caller without an identity may reach `dst`, at whose address that is known which is `beside` it:
/// nobody sheds a denied identity by going around the sidecar.
///
/// # Errors
///
/// The denial, with its reason.
pub fn authorize_in_clear(
    state: &PolicyState,
    (client, beside): (IpAddr, &AtAddress),
    dst: SocketAddr,
    now: OffsetDateTime,
) -> Result<Permit, Refusal> {
    let beside = match beside {
        AtAddress::Workload(workload) => slice::from_ref(&workload.identity),
        AtAddress::Service(_) | AtAddress::Outside | AtAddress::Unknown => &[],
    };
    permit(state, dst, |rules| {
        let destination = rules.destination();
        rules
            .policy
            .decide_in_clear((client, beside), &destination, dst.port(), now)
    })
}

fn permit(
    state: &PolicyState,
    dst: SocketAddr,
    decide: impl FnOnce(&Rules) -> Decision,
) -> Result<Permit, Refusal> {
    let rules = match state {
        PolicyState::Waiting => {
            return Err(Refusal {
                denied: Denied::NoPolicy,
                decision: None,
                revision: 0,
            });
        }
        PolicyState::Current(rules) => rules,
    };
    let revision = rules.revision;
    if let Some(object) = &rules.closed_by {
        let denied = Denied::NotUnderstood(object.clone());
        return Err(Refusal {
            denied,
            decision: None,
            revision,
        });
    }
    let decision = decide(rules);
    match &decision.verdict {
        Verdict::Allow(reason) => Ok(Permit {
            dst,
            expiring: match reason {
                AllowReason::Rule(rule) => rules.policy.expiring(rule).cloned(),
                AllowReason::Permissive | AllowReason::ClosingInShadow(_) => None,
            },
            decision,
            revision,
        }),
        Verdict::Deny(reason) => Err(Refusal {
            denied: reason.clone().into(),
            decision: Some(Box::new(decision)),
            revision,
        }),
    }
}

/// Resolves when `check` denies, which is asked again at every revision and every expiry of a rule since `decided`.
///
/// `states` must have been seen (`borrow_and_update`), and `decided` taken, before the connection was first decided, so
/// that whatever came between is noticed. Cancel safe.
pub async fn until_denied(
    mut states: watch::Receiver<PolicyState>,
    mut decided: OffsetDateTime,
    mut check: impl FnMut(&PolicyState, OffsetDateTime) -> Option<Refusal>,
) -> Refusal {
    let mut has_moved = false;
    loop {
        let now = OffsetDateTime::now_utc();
        let next = {
            let state = states.borrow_and_update();
            let has_expired = state.next_change(decided).is_some_and(|at| at <= now);
            if has_moved || state.has_changed() || has_expired {
                if let Some(refusal) = check(&state, now) {
                    return refusal;
                }
                decided = now;
            }
            state.next_change(decided)
        };
        // Wall-clock moments are looked at once a second at least: timers sleep when a laptop does.
        let pause = next.map(|at| (at - now).unsigned_abs().min(WALL_CLOCK_STEP));
        has_moved = tokio::select! {
            changed = states.changed() => match changed {
                Ok(()) => true,
                // Discovery ended with the proxy: the last policy stands.
                Err(_ended) => std::future::pending().await,
            },
            () = sleep_or_wait(pause) => false,
        }
    }
}

async fn sleep_or_wait(pause: Option<std::time::Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

impl PolicyState {
    /// The next moment at which a rule expires.
    fn next_change(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Waiting => None,
            Self::Current(rules) => rules.policy.next_change(now),
        }
    }

    /// The rules, if there are any yet.
    pub fn rules(&self) -> Option<&Arc<Rules>> {
        match self {
            Self::Waiting => None,
            Self::Current(rules) => Some(rules),
        }
    }
}

impl Rules {
    fn destination(&self) -> Destination<'_> {
        Destination {
            namespace: &self.own.namespace,
            service_account: &self.own.service_account,
            labels: &self.own.labels,
            trust_domain: self.own.identity.trust_domain(),
            settings: self.settings,
        }
    }
}

const WALL_CLOCK_STEP: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
pub(crate) mod tests;
