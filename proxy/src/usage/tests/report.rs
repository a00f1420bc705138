//! When control is told, and of what.

use std::sync::Arc;
use std::time::Duration;

use palisade_api::convert::usage_from_wire;
use palisade_api::usage::Totals;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::*;
use crate::lifecycle::Phase;
use crate::outcome::Denied;

struct Told {
    usage: Arc<Usage>,
    reporter: Reporter,
    phase: watch::Sender<Phase>,
    ending: watch::Sender<bool>,
}

fn told() -> Told {
    let usage = Arc::new(Usage::new(OffsetDateTime::now_utc()).unwrap());
    let (phase, phases) = watch::channel(Phase::Running);
    let (ending, ends) = watch::channel(false);
    let reporter = Reporter::new(Arc::clone(&usage), phases, ends);
    Told {
        usage,
        reporter,
        phase,
        ending,
    }
}

impl Told {
    fn permit(&self) -> Open {
        let (id, state) = (web(), PolicyState::Waiting);
        let decision = Decision {
            verdict: policy::Verdict::Allow(AllowReason::Rule(rule("allows"))),
            shadow: None,
        };
        let call = Call {
            source: Source::Authenticated(&id),
            port: 8080,
            state: &state,
        };
        self.usage.permitted(call, &decision)
    }

    /// There is a stream, and control has been told that nothing was counted.
    fn listens(&mut self) {
        self.reporter.begin(true);
        assert!(self.totals().is_empty());
    }

    /// What control makes of the next report.
    fn totals(&mut self) -> Totals {
        let mut totals = Totals::default();
        for message in self.reporter.take() {
            totals.raise(usage_from_wire(message).unwrap().totals);
        }
        totals
    }
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_new_stream_is_told_at_once_what_there_is_and_that_there_is_nothing() {
    let mut told = told();
    let began = Instant::now();
    for stream in 0..2 {
        told.reporter.begin(true);
        assert_eq!(told.reporter.due().await, Due::Some, "{stream}");
        let messages = told.reporter.take();
        let [message] = messages.as_slice() else {
            panic!("{messages:?}");
        };
        let report = usage_from_wire(message.clone()).unwrap();
        assert!(report.totals.is_empty(), "{stream}");
        assert!(told.reporter.take().is_empty(), "once a stream");
    }
    drop(told.permit());
    told.reporter.begin(true);
    assert_eq!(told.reporter.due().await, Due::Some);
    assert_eq!(told.totals().len(), 2);
    assert_eq!(began.elapsed(), Duration::ZERO);
    // What control was too slow for is no reason to hurry.
    told.reporter.again();
    assert_eq!(told.reporter.due().await, Due::Some);
    assert!(began.elapsed() >= Duration::from_secs(8));
    assert_eq!(told.totals().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_a_while_later_and_silence_wakes_nobody() {
    let mut told = told();
    told.listens();
    assert!(timeout(LONG, told.reporter.due()).await.is_err());
    drop(told.permit());
    let before = Instant::now();
    assert_eq!(told.reporter.due().await, Due::Some);
    let waited = before.elapsed().as_secs();
    assert!((8..=12).contains(&waited), "{waited}");
    let totals = told.totals();
    assert_eq!(totals.edges.values().map(|seen| seen.count).sum::<u64>(), 1);
    assert_eq!(totals.rules["shop/orders/allows"].count, 1);
    assert!(timeout(LONG, told.reporter.due()).await.is_err());
    // A new stream hears it again.
    told.reporter.begin(true);
    assert_eq!(told.reporter.due().await, Due::Some);
    assert_eq!(told.totals().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_open_is_told_again_until_it_ends() {
    let mut told = told();
    told.listens();
    let (one, other) = (told.permit(), told.permit());
    assert_eq!(told.reporter.due().await, Due::Some);
    told.totals();
    drop(one);
    // Half a minute after the stream began, for the first time.
    assert_eq!(told.reporter.due().await, Due::Some);
    told.totals();
    for _ in 0..3 {
        let before = Instant::now();
        assert_eq!(told.reporter.due().await, Due::Some);
        let waited = before.elapsed().as_secs();
        assert!((24..=36).contains(&waited), "{waited}");
        // Neither count goes up.
        let totals = told.totals();
        assert_eq!(totals.edges.values().map(|seen| seen.count).sum::<u64>(), 2);
        assert_eq!(totals.rules["shop/orders/allows"].count, 2);
    }
    drop(other);
    assert!(timeout(LONG, told.reporter.due()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_ends_does_not_wait() {
    let mut told = told();
    told.listens();
    drop(told.permit());
    let before = Instant::now();
    told.phase.send_replace(Phase::Draining);
    assert_eq!(told.reporter.due().await, Due::Some);
    assert_eq!(told.totals().len(), 2);
    drop(told.permit());
    told.ending.send_replace(true);
    assert_eq!(told.reporter.due().await, Due::Last);
    assert_eq!(told.totals().rules["shop/orders/allows"].count, 2);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_older_control_is_told_nothing() {
    let mut told = told();
    told.reporter.begin(false);
    drop(told.permit());
    assert!(timeout(LONG, told.reporter.due()).await.is_err());
    assert!(told.reporter.take().is_empty());
    assert!(told.usage.is_untold());
}

#[test]
fn a_report_of_a_full_table_comes_in_messages_that_grpc_takes() {
    let mut told = told();
    told.reporter.begin(true);
    let (id, state) = (web(), PolicyState::Waiting);
    for port in 1..2000 {
        let refusal = Refusal {
            denied: Denied::NotUnderstood("AuthorizationPolicy/shop/orders".to_owned()),
            decision: None,
            revision: 1,
        };
        let call = Call {
            source: Source::Authenticated(&id),
            port,
            state: &state,
        };
        told.usage.denied(call, &refusal);
    }
    let messages = told.reporter.take();
    assert_eq!(messages.len(), 5);
    for message in &messages {
        assert!(prost::Message::encoded_len(message) < 1 << 20);
    }
    let mut totals = Totals::default();
    for message in messages {
        let report = usage_from_wire(message).unwrap();
        assert_eq!(report.left_out, 0);
        totals.raise(report.totals);
    }
    assert_eq!(totals.edges.len(), MAX_EDGES);
    assert_eq!(totals.others[&Decided::Denied], 1999 - 1024);
    let reasons = totals.edges.keys().map(|edge| edge.reason.as_deref());
    assert!(
        reasons
            .clone()
            .all(|reason| reason == Some("not_understood"))
    );
}

#[test]
fn only_a_refusal_says_that_nobody_listens() {
    let told = told();
    let open = told.permit();
    let errors = [
        io::ErrorKind::TimedOut.into(),
        io::ErrorKind::ConnectionReset.into(),
        io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32),
        io::Error::from_raw_os_error(nix::errno::Errno::EHOSTUNREACH as i32),
    ];
    for error in errors {
        told.usage.not_reached(&open, &error);
    }
    assert_eq!(told.usage.tell().edges[0].1.unanswered, 0);
    let refused = io::Error::from_raw_os_error(nix::errno::Errno::ECONNREFUSED as i32);
    told.usage.not_reached(&open, &refused);
    assert_eq!(told.usage.tell().edges[0].1.unanswered, 1);
}
