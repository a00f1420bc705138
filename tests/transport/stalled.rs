//! A reader that stops.

use std::time::Duration;

use super::peak::Peak;
use super::talk::{Talk, Way};
use super::{Ground, KIB, MIB, NONE_FAILED, PLAN, Plan, mesh_connections};
use crate::harness::wait_until;

#[test]
#[ignore = "needs root"]
fn a_stalled_reader_holds_up_its_own_stream_only_and_memory_stays_within_the_budget() {
    let budget = (BUDGET_MIB * MIB).to_string();
    let ground = Ground::new(&Plan {
        variables: &[("PALISADE_STREAM_BUDGET_BYTES", &budget)],
        ..PLAN
    });
    let (apps, to) = (&ground.apps, ground.pod());
    ground.kernels_keep_little();
    for number in 0..WARM_UPS {
        let one = apps.all(to, vec![a_little(number)]);
        assert_eq!(one.result("a talk"), NONE_FAILED);
    }
    let before = mesh_connections(ground.orders[0]);
    assert_eq!(before.len(), 1, "what is small shares one connection");
    let peaks = ["web-0", "orders-0"].map(|pod| Peak::of(ground.mesh.pid_of(pod, "proxy")));

    // Until there is no mesh connection on which not one of them is, and none can be added: what follows rides beside them.
    let mut stalled = Vec::new();
    while stalled.len() < DEEP || mesh_connections(ground.orders[0]).len() < MOST_CONNECTIONS {
        assert!(stalled.len() < 8 * DEEP, "bulk does not spread");
        let number = FIRST_STALLED + u32::try_from(stalled.len()).unwrap();
        stalled.push((number, apps.all(to, vec![stalls(number)])));
        wait_until("its reader to stop", || {
            (apps.arrived(number) == READ_BEFORE).then_some(())
        });
    }

    let small = (0..SMALL).map(|number| a_little(number + WARM_UPS));
    let small = apps.all(to, small.collect());
    let bulk = [(BULK, Way::Up), (BULK + 1, Way::Down)];
    let bulk = bulk.map(|(number, way)| Talk::bulk(way, LONG).numbered(number));
    let bulk = apps.all(to, bulk.to_vec());
    assert_eq!(small.result("small talks beside them"), NONE_FAILED);
    assert_eq!(bulk.result("bulk beside them"), NONE_FAILED);
    let connections = mesh_connections(ground.orders[0]).len();
    assert_eq!(connections, MOST_CONNECTIONS, "they shared those");
    for (number, _) in &stalled {
        assert_eq!(apps.arrived(*number), READ_BEFORE, "it goes on stalling");
    }
    for (peak, side) in peaks.iter().zip(["client's", "server's"]) {
        let (grown, stalled) = (peak.grown(), stalled.len());
        println!(
            "{stalled} stalled readers: the {side} proxy grew by {} KiB",
            grown / KIB
        );
        assert!(grown < (BUDGET_MIB + BESIDES_MIB) * MIB, "{side}: {grown}");
    }

    let all = WARM_UPS + SMALL + 2 + u32::try_from(stalled.len()).unwrap();
    apps.go_on();
    for (_, stalled) in stalled {
        assert_eq!(stalled.result("a stalled talk's rest"), NONE_FAILED);
    }
    ground.assert_all_ended_well(usize::try_from(all).unwrap());
}

/// Small enough not to be bulk.
fn a_little(number: u32) -> Talk {
    Talk::rounds(4, 20_000, 100_000, Duration::ZERO).numbered(number)
}

/// One whose server stops reading.
fn stalls(number: u32) -> Talk {
    Talk::bulk(Way::Up, LONG)
        .numbered(number)
        .stopping_after(READ_BEFORE)
}

/// Readers that stop.
const DEEP: usize = 8;
/// TLS connections between two proxies, at most.
const MOST_CONNECTIONS: usize = 4;
/// Enough to be taken for bulk.
const READ_BEFORE: u64 = 2 * MIB;
/// More than all buffers take.
const LONG: u32 = 12 << 20;
const WARM_UPS: u32 = 32;
const SMALL: u32 = 200;
const BULK: u32 = 1000;
const FIRST_STALLED: u32 = 1500;
const BUDGET_MIB: u64 = 16;
/// What moves on two hundred other streams, and code that was not used before.
const BESIDES_MIB: u64 = 16;
