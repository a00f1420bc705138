//! The memory of many streams: two thousand, of which half are stalled, and one too many.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use palisade_proxy::transport::Budget;

use super::peak::Peak;
use super::talk::{Talk, Way};
use super::{Ground, KIB, NONE_FAILED, PLAN, Plan};
use crate::harness::wait_until;

#[test]
#[ignore = "needs root, 5,000 open files"]
fn memory_stays_within_the_budget_of_2000_streams_half_stalled() {
    take_open_files();
    let ground = Ground::new(&PLAN);
    let (apps, to) = (&ground.apps, ground.pod());
    ground.kernels_keep_little();
    let warm_up = apps.all(to, vec![talk(2 * HALF)]);
    assert_eq!(warm_up.result("a talk"), NONE_FAILED);
    let peaks = ["web-0", "orders-0"].map(|pod| Peak::of(ground.mesh.pid_of(pod, "proxy")));

    // Half of the stalled readers are clients, half are servers: both proxies keep what is not read.
    let begins = |number| talk(number).beginning_with_others();
    let stalls = |number| begins(number).stopping_after(READ_BEFORE);
    let stalled = apps.all(to, (0..HALF).map(stalls).collect());
    let unstalled = apps.all(to, (HALF..2 * HALF).map(begins).collect());
    // All are there before one of them needs more than the least.
    apps.begin(2 * HALF + 1);
    assert_eq!(unstalled.result("those who go on"), NONE_FAILED);
    for number in 0..HALF {
        wait_until("its reader to stop", || {
            (apps.arrived(number) == READ_BEFORE).then_some(())
        });
    }
    for (peak, side) in peaks.iter().zip(["client's", "server's"]) {
        let grown = peak.grown();
        println!(
            "{HALF} stalled readers: the {side} proxy grew by {} KiB",
            grown / KIB
        );
        assert!(grown < BUDGET + BESIDES, "{side}: {grown}");
        // Else nothing was put to the test.
        assert!(grown > BUDGET / 4, "{side}: {grown}");
    }
    apps.go_on();
    assert_eq!(stalled.result("the stalled ones"), NONE_FAILED);
    ground.assert_all_ended_well(2 * HALF as usize + 1);
    assert_eq!(ground.mesh.count(|r| r["event"] == "denied"), 0);
}

#[test]
#[ignore = "needs root"]
fn a_stream_for_which_no_memory_is_left_is_refused_with_that_reason_and_costs_no_other() {
    let ground = Ground::new(&Plan {
        variables: &[("PALISADE_STREAM_BUDGET_BYTES", "1048576")],
        ..PLAN
    });
    let (apps, to) = (&ground.apps, ground.pod());
    let begins = |number| talk(number).beginning_with_others();
    let all_there_is = apps.all(to, (0..ROOM).map(begins).collect());
    wait_until("the budget to be used up", || {
        (apps.greeted() == ROOM).then_some(())
    });
    let beyond = (ROOM..ROOM + BEYOND).map(begins).collect();
    let refused = apps.all(to, beyond).result("those beyond it");
    assert_eq!(refused.len(), BEYOND as usize, "{refused:?}");
    apps.begin(ROOM);
    assert_eq!(all_there_is.result("the others"), NONE_FAILED);
    // What they had is there for others again.
    assert_eq!(apps.all(to, vec![talk(0)]).result("one more"), NONE_FAILED);
    ground.assert_all_ended_well(ROOM as usize + 1);

    let counted = || {
        let records = ground.mesh.records().into_iter();
        let denied = records.filter(|r| r["event"] == "denied");
        denied
            .inspect(|r| assert_eq!(r["error"], "no_memory", "{r}"))
            .map(|r| r["count"].as_u64().unwrap_or(1))
            .sum::<u64>()
    };
    wait_until("each refusal to be recorded", || {
        (counted() == u64::from(BEYOND)).then_some(())
    });
}

/// Every other one is an upload.
fn talk(number: u32) -> Talk {
    let way = if number.is_multiple_of(2) {
        Way::Up
    } else {
        Way::Down
    };
    Talk::bulk(way, LENGTH).numbered(number)
}

/// Each stream is two sockets here.
fn take_open_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    assert!(most > 5 * u64::from(HALF), "{most} open files");
}

const HALF: u32 = 1000;
/// Streams that begin within a mebibyte, at 16 KiB each, and some more.
const ROOM: u32 = 64;
const BEYOND: u32 = 16;
/// More than the buffers of the kernel take, by far more than a thousandth of the budget.
const LENGTH: u32 = 640 << 10;
const READ_BEFORE: u64 = 16 * KIB;
/// For data that was received and not read: what a proxy has if nothing else is said.
const BUDGET: u64 = Budget::DEFAULT_BYTES as u64;
/// For 2,000 connections themselves, and what is being written for them: 16 KiB each.
const BESIDES: u64 = 2 * HALF as u64 * 16 * KIB;
