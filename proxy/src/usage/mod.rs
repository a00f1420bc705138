//! Who reached the own workload, and by which rules: counted where it is decided, and told to control.
//!
//! Connections are counted when they are decided for the first time, inbound only; one that is open is told of again now and
//! then, as in use. A table that is full counts on, by rule and by what was decided.

mod report;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_api::policy::{self, AllowReason, Decision, DenyReason, RuleName, Source};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::authorize::{PolicyState, Refusal};
use crate::outcome::{Denied, RefusedReason, nobody_listens};
use table::{Asked, Caller, Edge, Held, News, Table, Verdict};

pub(crate) use report::Due;
pub use report::Reporter;

/// The counts of this process.
#[derive(Debug)]
pub struct Usage {
    table: Mutex<Table>,
    /// Something is to be told.
    news: Notify,
    epoch: String,
    started: i64,
}

/// A connection that was let through, for as long as it is open.
#[derive(Debug)]
#[must_use = "the connection counts as ended once this is dropped"]
pub struct Open {
    /// None of an edge for which the table had no room.
    edge: Option<Held>,
}

/// Who asked for which port, and by which rules that was decided.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Who asked.
    pub source: Source<'a>,
    /// The own port.
    pub port: u16,
    /// The rules.
    pub state: &'a PolicyState,
}

impl Usage {
    /// Nothing was counted yet.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness, by which control tells this process from the next.
    pub fn new(now: OffsetDateTime) -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_unspecified| io::Error::other("no randomness"))?;
        let epoch = bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        });
        Ok(Self {
            table: Mutex::default(),
            news: Notify::new(),
            epoch,
            started: now.unix_timestamp(),
        })
    }

    /// A connection was let through. Its edge is in use until what is returned is dropped.
    pub fn permitted(&self, call: Call<'_>, decision: &Decision) -> Open {
        Open {
            edge: self.count(call, verdict_of(decision), Some(decision)),
        }
    }

    /// A connection that was let through did not reach the application, and this is why.
    pub fn not_reached(&self, open: &Open, error: &io::Error) {
        let Some(held) = open.edge.as_ref().filter(|_| nobody_listens(error)) else {
            return;
        };
        let mut table = self.table();
        let was_untold = table.is_untold();
        table.unanswered(held);
        drop(table);
        if !was_untold {
            self.news.notify_one();
        }
    }

    /// A connection that is open was decided again: where another rule lets it in now, or another in shadow would not, that
    /// one's edge is in use from now on, and it is counted there, too.
    pub fn permitted_again(&self, open: &mut Open, call: Call<'_>, decision: &Decision) {
        let Some(held) = &open.edge else {
            return;
        };
        let verdict = verdict_of(decision);
        if !self
            .table()
            .holds(held, asked(call, verdict, Some(decision)))
        {
            open.edge = self.count(call, verdict, Some(decision));
        }
    }

    /// A connection was denied.
    pub fn denied(&self, call: Call<'_>, refusal: &Refusal) {
        let verdict = match &refusal.denied {
            Denied::Rule(rule) => Verdict::DeniedByRule(rule),
            Denied::NoRule(_) => Verdict::DeniedByNoRule,
            denied @ (Denied::Revoked
            | Denied::Expired
            | Denied::Untrusted
            | Denied::NoPolicy
            | Denied::NotUnderstood(_)) => Verdict::Denied(denied.as_str()),
        };
        self.count(call, verdict, refusal.decision.as_deref());
    }

    /// A connection was refused, whatever rules say.
    pub fn refused(&self, call: Call<'_>, reason: RefusedReason) {
        self.count(call, Verdict::Denied(reason.as_str()), None);
    }

    /// Whether control was not told everything yet.
    pub fn is_untold(&self) -> bool {
        self.table().is_untold()
    }

    /// What holds the edge open, where there is room for it.
    fn count(
        &self,
        call: Call<'_>,
        verdict: Verdict<&RuleName>,
        decision: Option<&Decision>,
    ) -> Option<Held> {
        let edge = asked(call, verdict, decision);
        let in_force = call.state.rules().map_or(&[][..], |rules| &rules.names);
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut table = self.table();
        let was_untold = table.is_untold();
        let held = table.count(edge, now, in_force);
        drop(table);
        if !was_untold {
            self.news.notify_one();
        }
        held
    }

    /// Whether a connection is open that was counted.
    fn has_open(&self) -> bool {
        self.table().has_open()
    }

    /// What is open is in use now.
    fn refresh(&self) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.table().refresh(now);
    }

    /// Resolves once there is something to tell. Cancel safe.
    async fn untold(&self) {
        while !self.is_untold() {
            self.news.notified().await;
        }
    }

    /// Whoever panicked with the lock left numbers that are too small by one at most.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_who_was_told(&self) {
        self.table().forget_who_was_told();
    }

    fn tell(&self) -> News {
        self.table().tell()
    }
}

fn verdict_of(decision: &Decision) -> Verdict<&RuleName> {
    match &decision.verdict {
        policy::Verdict::Allow(AllowReason::Rule(rule)) => Verdict::AllowedByRule(rule),
        policy::Verdict::Allow(AllowReason::Permissive) => Verdict::AllowedAsPermissive,
        policy::Verdict::Allow(AllowReason::ClosingInShadow(_)) => Verdict::AllowedByShadow,
        policy::Verdict::Deny(DenyReason::Rule(rule)) => Verdict::DeniedByRule(rule),
        policy::Verdict::Deny(DenyReason::NoRule(_)) => Verdict::DeniedByNoRule,
    }
}

fn asked<'a>(
    call: Call<'a>,
    verdict: Verdict<&'a RuleName>,
    decision: Option<&'a Decision>,
) -> Asked<'a> {
    let shadow = decision.and_then(|decision| decision.shadow.as_ref());
    Edge {
        caller: match call.source {
            Source::Authenticated(id) => Caller::Identity(id),
            Source::Unauthenticated(ip) => Caller::Address(ip.to_canonical()),
        },
        port: call.port,
        verdict,
        shadow: shadow.map(|(effect, rule)| (*effect, rule)),
    }
}
