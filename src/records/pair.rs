//! The two sides of a connection, as one record.

use std::collections::VecDeque;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::filter::Timed;

/// The direction of a record that both sides told.
pub(crate) const BOTH: &str = "both";

/// Records that wait for their other side. They come out in the order in which they came in.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    timed: Timed,
    /// Its other side has come, or never will.
    settled: bool,
}

impl Pairs {
    /// Takes a record, and gives those that need not wait any longer.
    pub(crate) fn push(&mut self, timed: Timed) -> Vec<Timed> {
        let now = timed.at;
        let mut waiting = self.waiting.iter_mut();
        match waiting.find(|one| !one.settled && are_sides(&one.timed, &timed)) {
            Some(first) => {
                join(&mut first.timed, timed);
                first.settled = true;
            }
            None => {
                let settled = side(&timed).is_none();
                self.waiting.push_back(Waiting { timed, settled });
            }
        }
        self.due(now)
    }

    /// Those that have waited long enough at a moment.
    pub(crate) fn due(&mut self, now: OffsetDateTime) -> Vec<Timed> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.front()
            && (first.settled || first.timed.at + PATIENCE <= now)
        {
            due.extend(self.waiting.pop_front().map(|one| one.timed));
        }
        due
    }

    /// All that are left, when nothing more will come.
    pub(crate) fn finish(self) -> impl Iterator<Item = Timed> {
        self.waiting.into_iter().map(|one| one.timed)
    }

    /// Whether something waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Whether two records are of the two sides of one connection, and both of its begin or both of its end.
fn are_sides(one: &Timed, other: &Timed) -> bool {
    let is_open = |timed: &Timed| {
        timed
            .record
            .get("event")
            .is_some_and(|event| event == "open")
    };
    one.record.get("conn.id") == other.record.get("conn.id")
        && is_open(one) == is_open(other)
        && side(one) != side(other)
}

fn side(timed: &Timed) -> Option<&str> {
    let direction = timed.record.get("direction").and_then(Value::as_str);
    direction.filter(|direction| matches!(*direction, "inbound" | "outbound"))
}

/// The called side decides, so what it says stands; the calling side adds what only it knows, such as the service
/// that was asked for.
fn join(first: &mut Timed, second: Timed) {
    let (called, calling) = if side(first) == Some("inbound") {
        (first.record.clone(), second.record)
    } else {
        (second.record, std::mem::take(&mut first.record))
    };
    first.record = called;
    for (key, value) in calling {
        first.record.entry(key).or_insert(value);
    }
    first.record.insert("direction".into(), BOTH.into());
    // Two workloads wrote it; both are named as the connection's ends.
    first.record.remove("workload");
}

/// How long the other side may take: the proxies' clocks and their nodes' logs differ.
const PATIENCE: Duration = Duration::seconds(2);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(second: u32, id: &str, direction: &str, event: &str) -> Timed {
        let value = json!({
            "time": format!("2026-11-21T12:00:{second:02}.000Z"), "event": event, "conn.id": id,
            "direction": direction, format!("only.{direction}"): true, "policy.reason": direction,
        });
        Timed::of(value.as_object().unwrap().clone()).unwrap()
    }

    fn told(timed: &[Timed]) -> Vec<String> {
        let field = |timed: &Timed, key: &str| timed.record[key].as_str().unwrap().to_owned();
        let mut told = Vec::new();
        for one in timed {
            told.push(format!(
                "{} {}",
                field(one, "conn.id"),
                field(one, "direction")
            ));
        }
        told
    }

    #[test]
    fn two_sides_become_one_in_which_the_called_one_decides() {
        for order in [["inbound", "outbound"], ["outbound", "inbound"]] {
            let mut pairs = Pairs::default();
            assert!(pairs.push(record(0, "a", order[0], "close")).is_empty());
            let joined = pairs.push(record(1, "a", order[1], "close"));
            assert_eq!(told(&joined), ["a both"], "{order:?}");
            let joined = &joined[0].record;
            assert_eq!(joined["policy.reason"], "inbound");
            assert!(joined.contains_key("only.inbound") && joined.contains_key("only.outbound"));
            assert!(pairs.is_empty());
        }
    }

    #[test]
    fn a_refusal_and_its_end_at_the_caller_are_one_but_begin_and_end_are_two() {
        let mut pairs = Pairs::default();
        pairs.push(record(0, "a", "outbound", "open"));
        assert!(pairs.push(record(0, "a", "inbound", "denied")).is_empty());
        let out = pairs.push(record(0, "a", "outbound", "close"));
        assert!(out.is_empty(), "the open one stands before: {out:?}");
        let rest: Vec<Timed> = pairs.finish().collect();
        assert_eq!(told(&rest), ["a outbound", "a both"]);
    }

    #[test]
    fn order_is_kept_and_nobody_waits_for_ever() {
        let mut pairs = Pairs::default();
        assert!(
            pairs
                .push(record(0, "alone", "outbound", "close"))
                .is_empty()
        );
        assert!(pairs.push(record(1, "b", "outbound", "close")).is_empty());
        assert!(pairs.push(record(1, "b", "inbound", "close")).is_empty());
        let out = pairs.push(record(2, "c", "outbound", "close"));
        assert_eq!(told(&out), ["alone outbound", "b both"]);
        assert_eq!(told(&pairs.due(record(4, "", "", "").at)), ["c outbound"]);
    }
}
