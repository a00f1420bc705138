//! SVIDs that are renewed while streams move bytes and new ones begin.
//!
//! A mesh connection ends with the SVIDs that it was made with, as it must. What is promised is that a stream which is
//! done by then hears nothing of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::talk::Talk;
use super::{Ground, PLAN, Plan, began, mesh_connections};
use crate::harness::{at, wait_until};

#[test]
#[ignore = "needs root, takes 40 seconds"]
fn svid_rotation_under_load_loses_no_stream() {
    let ground = Ground::new(&Plan {
        svid_ttl: "20s",
        ..PLAN
    });
    let (pod, enough) = (ground.pod(), watch::Sender::new(false));
    let talks = [(LONG_ONES, LONG), (SHORT_ONES, SHORT)];
    let talking: Vec<_> = talks
        .into_iter()
        .flat_map(|(count, talk)| std::iter::repeat_n(talk, count))
        .map(|talk| {
            let enough = enough.subscribe();
            ground.apps.again_and_again(pod, talk, enough)
        })
        .collect();
    let first = wait_until("a mesh connection", || {
        let connections = mesh_connections(ground.orders[0]);
        (!connections.is_empty()).then_some(connections)
    });

    for direction in ["inbound", "outbound"] {
        wait_until("three rotations of either SVID", || {
            ground.apps.assert_none_lost();
            let shown = RefCell::new(BTreeSet::new());
            ground.mesh.count(|r| {
                let is_end = r["direction"] == direction && r["event"] == "close";
                is_end && shown.borrow_mut().insert(r["tls.peer_serial"].to_string())
            });
            (shown.borrow().len() > ROTATIONS).then_some(())
        });
    }
    enough.send_replace(true);
    let mut all = 0;
    for talking in talking {
        all += talking.result("the last talk");
    }
    ground.apps.assert_none_lost();
    println!("{all} streams, and none was lost");
    ground.assert_all_ended_well(all);

    let records = ground.mesh.records();
    for direction in ["inbound", "outbound"] {
        let lives = Lives::seen(&records, direction);
        let over = lives.streams_over_rotations();
        println!("{direction}: streams that went on over a rotation: {over:?}");
        assert!(over.len() >= ROTATIONS, "{over:?}");
        assert!(over.iter().all(|streams| *streams > 0), "{over:?}");
    }
    wait_until("the first mesh connections to end", || {
        let now = mesh_connections(ground.orders[0]);
        now.is_disjoint(&first).then_some(())
    });
}

/// The streams that one side saw, by the SVID that the peer showed for them: when each began and ended. In the order in
/// which the SVIDs came.
struct Lives(Vec<Vec<(OffsetDateTime, OffsetDateTime)>>);

impl Lives {
    fn seen(records: &[Value], direction: &str) -> Self {
        let mut lives: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in records {
            if record["direction"] == direction && record["event"] == "close" {
                let life = (began(record), at(record, "time"));
                // Newer SVIDs end later.
                let svid = at(record, "tls.peer_not_after");
                lives.entry(svid).or_default().push(life);
            }
        }
        Self(lives.into_values().collect())
    }

    /// For each SVID but the last, how many streams with it ended after the first with the next one had begun.
    fn streams_over_rotations(&self) -> Vec<usize> {
        let pairs = self.0.windows(2).map(|pair| {
            let rotated = pair[1].iter().map(|(began, _)| *began).min();
            let later = |(_, ended): &&(_, OffsetDateTime)| Some(*ended) > rotated;
            pair[0].iter().filter(later).count()
        });
        pairs.collect()
    }
}

const ROTATIONS: usize = 3;
const LONG_ONES: usize = 16;
const SHORT_ONES: usize = 2;
/// Some three seconds, of at least nine that a connection has when a stream begins on it: half of an SVID's life, and a
/// tenth less.
const LONG: Talk = Talk::rounds(60, 20_000, 20_000, Duration::from_millis(50));
const SHORT: Talk = Talk::rounds(1, 100, 1000, Duration::from_millis(10));
