//! Every way to name a destination.

use super::{
    TALK, assert_carried, client, client_and_server, ends, is_between, listening, run, server,
};
use crate::harness::{Mesh, allow, stdout};

#[test]
#[ignore = "needs python3"]
fn both_families_are_carried() {
    let mesh = client_and_server();
    for (family, pod) in [("v4", "10.111."), ("v6", "fd70::")] {
        let arguments = ["server", "7001", "hello", "5", family];
        assert_eq!(stdout(&run(&mesh, "client", TALK, &arguments)), "hello\n");
        let records = mesh.both_sides("close", |r| {
            let addr = r["dst.addr"].as_str().unwrap_or_default();
            is_between(r, "client-0", "server-0", 7001)
                && addr.trim_start_matches('[').starts_with(pod)
        });
        assert_carried(&records, 5, 5);
    }
}

#[test]
#[ignore = "needs python3"]
fn a_replica_is_addressed_by_its_name_and_by_its_address() {
    let workloads = format!("{}{}", client(""), server("store", "replicas: 3,"));
    let mesh = Mesh::up(&workloads, &allow("store", "client"));
    let address_of = |replica: &str, family: usize| {
        let pods = mesh.ps();
        let pod = pods.iter().find(|pod| pod["name"] == replica);
        pod.unwrap()["addresses"][family]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for replica in ["store-0", "store-1", "store-2"] {
        listening(&mesh, &format!("shop/{replica}"), 7008);
        for name in [
            replica.to_owned(),
            format!("{replica}.store"),
            format!("{replica}.store.shop.svc"),
            address_of(replica, 0),
            address_of(replica, 1),
        ] {
            let length = replica.len().to_string();
            let arguments = [&name, "7008", "", &*length];
            let answer = stdout(&run(&mesh, "client", TALK, &arguments));
            assert_eq!(answer.trim(), replica, "at {name}");
        }
        let of_replica = |r: &serde_json::Value| is_between(r, "client-0", replica, 7008);
        let (_, inbound) = mesh.both_sides("close", of_replica);
        assert_eq!(inbound["policy.decision"], "allow");
        super::wait_for_records(&mesh, 10, |r| r["event"] == "close" && of_replica(r));
    }
}

#[test]
#[ignore = "needs python3"]
fn a_service_that_calls_itself_is_authorized_as_itself_and_recorded_on_both_sides() {
    let workloads = format!("{}{}", server("selfish", ""), server("shy", ""));
    let mesh = Mesh::up(&workloads, &allow("selfish", "selfish"));
    for workload in ["selfish", "shy"] {
        listening(&mesh, workload, 7008);
    }
    // What a pod says to its own address stays inside of it, and is nobody else's: no proxy sees it.
    for address in ["selfish-0", "10.111.0.2", "fd70::2"] {
        let arguments = [address, "7008", "", "9"];
        assert_eq!(
            stdout(&run(&mesh, "selfish", TALK, &arguments)),
            "selfish-0\n"
        );
    }
    for family in ["v4", "v6"] {
        let arguments = ["selfish", "7001", "hello", "5", family];
        assert_eq!(stdout(&run(&mesh, "selfish", TALK, &arguments)), "hello\n");
    }
    let records = ends(&mesh, "selfish-0", "selfish-0", 7001);
    assert_carried(&records, 5, 5);
    let inbound = &records.1;
    assert_eq!(
        inbound["src.identity"],
        "spiffe://cluster.local/ns/shop/sa/selfish"
    );
    assert_eq!(
        inbound["policy.rule"],
        "shop/selfish-from-selfish/selfish-calls-selfish"
    );
    assert_eq!(mesh.count(|r| r["dst.port"] == 7008), 0);
    // Without a rule it may not.
    let denied = run(&mesh, "shy", TALK, &["shy", "7001", "hello", "5"]);
    assert!(!denied.status.success());
    let (outbound, inbound) = mesh.both_sides("denied", |r| is_between(r, "shy-0", "shy-0", 7001));
    assert_eq!(inbound["policy.reason"], "no_rule");
    assert_eq!(outbound["policy.decision"], "deny");
}
