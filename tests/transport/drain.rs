//! Proxies that drain and are replaced, one after the other, while streams move bytes and, at servers, new ones begin.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::talk::Talk;
use super::{Ground, NONE_FAILED, PLAN, Plan, began};
use crate::harness::{at, signal, wait_until};

#[test]
#[ignore = "needs root"]
fn goaway_under_load_loses_no_stream() {
    let ground = Ground::new(&Plan {
        replicas: PODS.len(),
        variables: &[("PALISADE_DRAIN_TIMEOUT", "2m")],
        ..PLAN
    });
    let (service, enough) = (ground.service(), watch::Sender::new(false));
    let talks = [(LONG_ONES, LONG), (SHORT_ONES, SHORT)];
    let talking: Vec<_> = talks
        .into_iter()
        .flat_map(|(count, talk)| std::iter::repeat_n(talk, count))
        .map(|talk| {
            let enough = enough.subscribe();
            ground.apps.again_and_again(service, talk, enough)
        })
        .collect();

    for pod in PODS {
        // Under load, on both.
        let now = OffsetDateTime::now_utc();
        for pod in PODS {
            wait_until("streams on both", || {
                ground.apps.assert_none_lost();
                let ended = ground.mesh.count(|r| has_ended(r, pod, now));
                (ended >= MOVING).then_some(())
            });
        }
        let old = ground.mesh.pid_of(pod, "proxy");
        let told = OffsetDateTime::now_utc();
        signal(old, "TERM");
        wait_until("another proxy", || {
            (ground.mesh.pid_of(pod, "proxy") != old).then_some(())
        });
        ground.mesh.wait_for_state(pod, "ready");
        let went_on = |r: &Value| has_ended(r, pod, told) && began(r) < told;
        let went_on = ground.mesh.count(went_on);
        println!("{went_on} streams went on while {pod} drained");
        assert!(went_on >= MOVING, "{went_on} streams went on");
    }

    enough.send_replace(true);
    let mut all = 0;
    for talking in talking {
        all += talking.result("the last talk");
    }
    ground.apps.assert_none_lost();
    println!("{all} streams, and none was lost");
    ground.assert_all_ended_well(all);
}

#[test]
#[ignore = "needs root"]
fn a_client_that_drains_carries_its_streams_to_their_end() {
    let ground = Ground::new(&Plan {
        variables: &[("PALISADE_DRAIN_TIMEOUT", "2m")],
        ..PLAN
    });
    let (apps, count) = (&ground.apps, u32::try_from(LONG_ONES).unwrap());
    let talks = (0..count).map(|number| LONG.numbered(number).beginning_with_others());
    let talking = apps.all(ground.pod(), talks.collect());
    apps.begin(count);
    wait_until("bytes on all", || {
        (0..count)
            .all(|number| apps.arrived(number) > 0)
            .then_some(())
    });

    let old = ground.mesh.pid_of("web-0", "proxy");
    let told = OffsetDateTime::now_utc();
    signal(old, "TERM");
    assert_eq!(talking.result("the last talk"), NONE_FAILED);
    ground.assert_all_ended_well(LONG_ONES);
    let went_on = ground
        .mesh
        .count(|r| r["direction"] == "outbound" && r["event"] == "close" && at(r, "time") > told);
    assert_eq!(went_on, LONG_ONES, "none had ended before");

    // Another one takes its place.
    wait_until("another proxy", || {
        (ground.mesh.pid_of("web-0", "proxy") != old).then_some(())
    });
    ground.mesh.wait_for_state("web-0", "ready");
    let again = apps.all(ground.pod(), vec![SHORT.numbered(count)]);
    assert_eq!(again.result("a talk through the new proxy"), NONE_FAILED);
}

/// Whether a record is of a stream to a pod that ended after a moment.
fn has_ended(record: &Value, pod: &str, after: OffsetDateTime) -> bool {
    record["direction"] == "inbound"
        && record["event"] == "close"
        && record["dst.workload"] == pod
        && at(record, "time") > after
}

const PODS: [&str; 2] = ["orders-0", "orders-1"];
const LONG_ONES: usize = 32;
const SHORT_ONES: usize = 4;
/// Streams that must have been there when a proxy was told to end.
const MOVING: usize = 8;
/// Some two seconds.
const LONG: Talk = Talk::rounds(40, 30_000, 30_000, Duration::from_millis(50));
const SHORT: Talk = Talk::rounds(1, 100, 1000, Duration::from_millis(10));
