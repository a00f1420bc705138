//! When control is told, and in which messages.

use std::sync::Arc;
use std::time::Duration;

use palisade_api::convert::{edge_to_wire, others_to_wire, use_to_wire};
use palisade_api::policy::RuleName;
use palisade_api::usage::{self, EdgeKey, Shadow};
use palisade_api::wire;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Usage;
use super::table::{Caller, Kept, News, Verdict};
use crate::lifecycle::{Phase, reached};
use crate::random;

/// Tells control of what changed, a while after it did, and now and then of what is open: a proxy that nobody calls, or
/// holds a connection to, never wakes for it.
#[derive(Debug)]
pub struct Reporter {
    usage: Arc<Usage>,
    phases: watch::Receiver<Phase>,
    ending: watch::Receiver<bool>,
    due: Option<Instant>,
    /// When what is open is to be told again, as in use.
    refresh: Instant,
    /// The proxy drains, and what it counted until then was told at once.
    was_hurried: bool,
    /// Control, at the other end of this stream, understands it.
    is_heard: bool,
    /// It was told nothing on this stream yet.
    is_new: bool,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Something, and more will come.
    Some,
    /// The last of it.
    Last,
}

impl Reporter {
    /// `ending` becomes true once nothing will be counted any more.
    pub fn new(
        usage: Arc<Usage>,
        phases: watch::Receiver<Phase>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            usage,
            phases,
            ending,
            due: None,
            refresh: Instant::now(),
            was_hurried: false,
            is_heard: false,
            is_new: false,
        }
    }

    /// There is a new stream, to a control that takes reports or does not: it may know nothing, and is told at once, if
    /// only that nothing was counted. Who was not heard of may have been called; streams do not begin all at once.
    pub(crate) fn begin(&mut self, is_heard: bool) {
        self.again();
        self.is_heard = is_heard;
        self.is_new = is_heard;
    }

    /// What was told is lost: all of it is told again, a while later.
    pub(crate) fn again(&mut self) {
        self.usage.forget_who_was_told();
        self.due = None;
    }

    /// Resolves when there is something to tell, and at the end. Cancel safe.
    pub(crate) async fn due(&mut self) -> Due {
        let mut ending = self.ending.clone();
        tokio::select! {
            () = self.due_next() => Due::Some,
            () = ended(&mut ending) => Due::Last,
        }
    }

    async fn due_next(&mut self) {
        if !self.is_heard {
            std::future::pending::<()>().await;
        }
        if self.is_new {
            return;
        }
        // A connection that begins is told, so whether one is open need not be asked again while this waits.
        let has_open = self.usage.has_open();
        let pause = tokio::select! {
            () = self.usage.untold() => PAUSE,
            () = sleep_until(self.refresh), if has_open => Duration::ZERO,
        };
        let due = *self.due.get_or_insert_with(|| after(pause));
        tokio::select! {
            () = sleep_until(due) => {}
            // The proxy may be killed before its connections have ended.
            () = reached(&mut self.phases, Phase::Draining), if !self.was_hurried => {
                self.was_hurried = true;
            }
        }
    }

    /// What is to be told; it counts as told.
    pub(crate) fn take(&mut self) -> Vec<wire::Usage> {
        self.due = None;
        if !self.is_heard {
            return Vec::new();
        }
        if Instant::now() >= self.refresh {
            self.usage.refresh();
            self.refresh = after(REFRESH);
        }
        let mut messages = self.messages(self.usage.tell());
        if std::mem::take(&mut self.is_new) && messages.is_empty() {
            messages.push(self.nothing());
        }
        messages
    }

    /// That this process is there.
    fn nothing(&self) -> wire::Usage {
        wire::Usage {
            epoch: self.usage.epoch.clone(),
            started: self.usage.started,
            ..wire::Usage::default()
        }
    }

    /// Every message is far below what gRPC takes.
    fn messages(&self, news: News) -> Vec<wire::Usage> {
        let mut messages = Vec::new();
        for edges in news.edges.chunks(MAX_ENTRIES) {
            let edges = edges
                .iter()
                .map(|(edge, seen)| edge_to_wire(&key(edge), *seen));
            messages.push(wire::Usage {
                edges: edges.collect(),
                ..self.nothing()
            });
        }
        for rules in news.rules.chunks(MAX_ENTRIES) {
            let rules = rules
                .iter()
                .map(|(rule, used)| use_to_wire(rule.to_string(), *used));
            messages.push(wire::Usage {
                rules: rules.collect(),
                ..self.nothing()
            });
        }
        if !news.others.is_empty() {
            let others = news.others.into_iter();
            let others = others.map(|(decided, count)| others_to_wire(decided, count));
            messages.push(wire::Usage {
                others: others.collect(),
                ..self.nothing()
            });
        }
        messages
    }
}

/// Give or take a fifth, so that many proxies do not speak at once.
fn after(pause: Duration) -> Instant {
    Instant::now() + pause.mul_f64(0.8 + 0.4 * random::fraction())
}

async fn ended(ending: &mut watch::Receiver<bool>) {
    if ending.wait_for(|ending| *ending).await.is_err() {
        // Nobody waits for the end.
        std::future::pending::<()>().await;
    }
}

/// The edge in control's words.
fn key(edge: &Kept) -> EdgeKey {
    let reason = match &edge.verdict {
        Verdict::Denied(word) => Some((*word).to_owned()),
        Verdict::AllowedByRule(_)
        | Verdict::AllowedAsPermissive
        | Verdict::AllowedByShadow
        | Verdict::DeniedByRule(_)
        | Verdict::DeniedByNoRule => None,
    };
    let shadow = edge.shadow.as_ref().map(|(effect, rule)| Shadow {
        effect: (*effect).into(),
        rule: rule.to_string(),
    });
    EdgeKey {
        caller: match &edge.caller {
            Caller::Identity(id) => usage::Caller::Identity(id.as_str().to_owned()),
            Caller::Address(ip) => usage::Caller::Address(*ip),
        },
        port: edge.port,
        decided: edge.verdict.decided(),
        rule: edge.verdict.rule().map(RuleName::to_string),
        reason,
        shadow,
    }
}

/// From a change to its report.
const PAUSE: Duration = Duration::from_secs(10);
/// From one report that a connection is still open to the next.
const REFRESH: Duration = Duration::from_secs(30);
/// An entry has 4 KiB at most.
const MAX_ENTRIES: usize = 256;
