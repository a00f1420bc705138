use std::collections::BTreeMap;
use std::fs;

use palisade_api::usage::{Caller, Counted, Decided, EdgeKey, Seen, Totals, Use};
use palisade_api::workload::Place;

use super::*;

fn workload(name: &str) -> Workload {
    Workload {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        service_account: "orders".to_owned(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
        addresses: Vec::new(),
        meshed: true,
        identity: "spiffe://cluster.local/ns/shop/sa/orders".parse().unwrap(),
        place: Place::default(),
        excluded_ports: Vec::new(),
    }
}

fn edge(port: u16) -> EdgeKey {
    EdgeKey {
        caller: Caller::Identity("spiffe://cluster.local/ns/shop/sa/web".to_owned()),
        port,
        decided: Decided::AllowedByRule,
        rule: Some("shop/orders/web".to_owned()),
        reason: None,
        shadow: None,
    }
}

/// One edge and one rule, each seen so often.
fn report(epoch: &str, started: i64, count: u64) -> Report {
    let seen = Seen {
        count,
        first: started,
        last: started + 1,
        unanswered: 0,
    };
    let used = Use {
        count,
        last: started + 1,
        ..Use::default()
    };
    Report {
        epoch: epoch.to_owned(),
        started,
        totals: Totals {
            edges: [(edge(8080), seen)].into(),
            rules: [("shop/orders/web".to_owned(), used)].into(),
            others: BTreeMap::new(),
        },
        left_out: 0,
    }
}

fn table(workloads: usize, entries: usize) -> Table {
    Table::new(1, Room { workloads, entries })
}

/// The sum of one workload's connections, as whoever asks puts it together.
fn total(table: &Table, name: &str) -> u64 {
    let merged = usage::Usage::merge([table.all(None)]);
    let counted = merged.workloads.into_iter().find(|it| it.name == name);
    let totals = counted.unwrap().totals;
    assert_eq!(
        totals.rules["shop/orders/web"].count,
        totals.edges[&edge(8080)].count
    );
    totals.edges[&edge(8080)].count
}

/// Control knows nothing of addresses.
fn nobody(_ip: std::net::IpAddr) -> Option<&'static Workload> {
    None
}

fn hear(usage: &Usage, workload: &Workload, report: Report) {
    usage.hear(workload, report, &crate::index::tests::index(""));
}

#[test]
fn a_process_that_reports_again_counts_once_and_its_successor_adds_to_it() {
    let (mut table, orders) = (table(10, 100), workload("orders-0"));
    for count in [3, 5, 5, 4] {
        // The last one is late; what it says is older.
        table.hear(&orders, report("a", 10, count), nobody);
    }
    assert_eq!(total(&table, "orders-0"), 5);
    table.hear(&orders, report("b", 20, 1), nobody);
    assert_eq!(total(&table, "orders-0"), 6);
}

#[test]
fn of_many_processes_the_last_are_told_apart_and_none_is_lost() {
    let (mut table, orders) = (table(10, 100), workload("orders-0"));
    for number in 0..100_i64 {
        table.hear(&orders, report(&format!("e{number}"), number, 2), nobody);
        assert_eq!(
            table.all(None).workloads.len(),
            usize::try_from(number + 1).unwrap().min(5)
        );
    }
    assert_eq!(total(&table, "orders-0"), 200);
    // Its last words come after its successors'.
    table.hear(&orders, report("e90", 90, 2), nobody);
    assert_eq!(total(&table, "orders-0"), 200);
    let sum = table.all(None).workloads.remove(0);
    assert_eq!((sum.epoch.as_str(), sum.started), ("", 0));
}

#[test]
fn who_counted_nothing_is_known_and_makes_room_first_without_a_loss() {
    let mut table = table(3, 100);
    let nothing = Report {
        totals: Totals::default(),
        ..report("e", 1, 0)
    };
    table.hear(&workload("called"), report("e", 1, 1), nobody);
    for name in ["idle-1", "idle-2", "idle-3", "idle-4"] {
        table.hear(&workload(name), nothing.clone(), nobody);
    }
    let names = table.all(None).workloads.into_iter().map(|one| one.name);
    assert_eq!(names.collect::<Vec<_>>(), ["called", "idle-3", "idle-4"]);
    assert_eq!(table.forgotten(), 0);
    let merged = usage::Usage::merge([table.all(None), table.all(None)]);
    assert_eq!(merged.workloads.len(), 3);
}

#[test]
fn who_was_not_heard_of_for_longest_makes_room() {
    let mut table = table(3, 100);
    for name in ["a", "b", "c", "a", "d"] {
        table.hear(&workload(name), report("e", 1, 1), nobody);
    }
    let names = |table: &Table| -> Vec<String> {
        let all = table.all(None).workloads.into_iter();
        all.map(|counted| counted.name).collect()
    };
    assert_eq!(names(&table), ["a", "c", "d"]);
    assert_eq!(table.all(None).forgotten, 1);
}

#[test]
fn entries_are_bounded_too() {
    let mut table = table(1000, 20);
    for number in 0..1000 {
        table.hear(&workload(&number.to_string()), report("e", 1, 1), nobody);
    }
    let all = table.all(None);
    let entries: usize = all
        .workloads
        .iter()
        .map(|counted| counted.totals.len())
        .sum();
    assert_eq!((entries, all.forgotten), (20, 990));
    // A proxy that keeps to no bound has no more room than others.
    let mut greedy = report("e", 1, 1);
    for port in 1..=u16::MAX {
        let seen = Seen {
            count: 1,
            first: 1,
            last: 1,
            unanswered: 0,
        };
        greedy.totals.edges.insert(edge(port), seen);
    }
    table.hear(&workload("greedy"), greedy, nobody);
    let all = table.all(None).workloads;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].totals.edges.len(), 1024);
    assert_eq!(all[0].totals.others[&Decided::AllowedByRule], 65_535 - 1024);
}

#[test]
fn who_it_is_control_knows_and_one_namespace_is_shown_alone() {
    let mut table = table(10, 100);
    table.hear(&workload("orders-0"), report("e", 1, 1), nobody);
    let elsewhere = Workload {
        namespace: "other".to_owned(),
        ..workload("orders-0")
    };
    table.hear(&elsewhere, report("e", 1, 1), nobody);
    let shop: Vec<Counted> = table.all(Some("shop")).workloads;
    assert_eq!(shop.len(), 1);
    assert_eq!(
        (shop[0].namespace.as_str(), shop[0].labels["app"].as_str()),
        ("shop", "orders")
    );
    assert!(table.all(Some("nowhere")).workloads.is_empty());
}

fn open(store: &std::path::Path) -> Usage {
    let metrics = Arc::new(Metrics::new());
    Usage::open(Some(store.to_owned()), OffsetDateTime::UNIX_EPOCH, metrics)
}

#[test]
fn counts_outlive_control() {
    let store = tempfile::tempdir().unwrap();
    let usage = open(store.path());
    for number in 0..9 {
        hear(
            &usage,
            &workload("orders-0"),
            report(&format!("e{number}"), number, 1),
        );
    }
    usage.save();
    let again = open(store.path());
    assert_eq!(again.answer(None, []), usage.answer(None, []));
    // The proxy that was there before goes on.
    hear(&again, &workload("orders-0"), report("e8", 8, 5));
    let merged = usage::Usage::merge([again.answer(None, [])]);
    assert_eq!(merged.workloads[0].totals.edges[&edge(8080)].count, 13);
}

#[test]
fn what_did_not_change_is_not_written() {
    let store = tempfile::tempdir().unwrap();
    open(store.path()).save();
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

#[test]
fn a_broken_file_is_left_aside_and_does_not_keep_control_from_counting() {
    let store = tempfile::tempdir().unwrap();
    let file = store.path().join("usage.json");
    fs::write(&file, "{\"since\": 1, \"workloads\": [").unwrap();
    let usage = open(store.path());
    assert!(!file.exists());
    assert!(store.path().join("usage.json.broken").exists());
    hear(&usage, &workload("orders-0"), report("e", 1, 1));
    usage.save();
    assert_eq!(open(store.path()).answer(None, []).workloads.len(), 1);
}

#[test]
fn rules_in_force_are_told_as_far_as_their_namespace_is_asked_for() {
    let store = tempfile::tempdir().unwrap();
    let usage = open(store.path());
    assert!(usage.answer(None, []).rules_in_force.is_empty());
    let rule = "{name: a, effect: deny, from: [{namespace: batch}]}";
    let policy = |kind: &str, metadata: &str| {
        format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {{rules: [{rule}]}}\n---\n"
        )
    };
    let text = [
        policy("AuthorizationPolicy", "{name: orders, namespace: shop}"),
        policy("ClusterAuthorizationPolicy", "{name: baseline}"),
    ];
    let (_publish, index) = watch::channel(Arc::new(crate::index::tests::index(&text.concat())));
    usage.know(index);
    let names = |namespace| -> Vec<String> {
        let rules = usage.answer(namespace, []).rules_in_force.into_iter();
        rules.map(|rule| rule.name).collect()
    };
    assert_eq!(names(None), ["cluster/baseline/a", "shop/orders/a"]);
    assert_eq!(names(Some("shop")), ["shop/orders/a"]);
}

#[test]
fn a_caller_without_an_identity_is_named_by_controls_own_table() {
    let mut table = table(10, 100);
    let mut plaintext = report("e", 1, 1);
    let seen = plaintext.totals.edges[&edge(8080)];
    for ip in ["10.0.0.9", "10.0.0.10"] {
        let caller = Caller::Address(ip.parse().unwrap());
        plaintext
            .totals
            .edges
            .insert(EdgeKey { caller, ..edge(80) }, seen);
    }
    let legacy = workload("legacy-0");
    let lives_at = |ip: std::net::IpAddr| (ip.to_string() == "10.0.0.9").then_some(&legacy);
    table.hear(&workload("orders-0"), plaintext, lives_at);
    table.hear(&workload("orders-0"), report("f", 2, 1), nobody);
    let merged = usage::Usage::merge([table.all(None)]);
    let callers = &merged.workloads[0].callers;
    assert_eq!(callers.len(), 1);
    assert_eq!(callers[&"10.0.0.9".parse().unwrap()].name, "legacy-0");
}

#[test]
fn who_is_connected_is_told_of_the_namespace_that_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let usage = open(&folder.path().join("usage"));
    let connected = || ["shop/web-0", "shop/web-1", "shopping/web-0"].map(str::to_owned);
    let told = |namespace| usage.answer(namespace, connected()).connected.len();
    assert_eq!((told(None), told(Some("shop")), told(Some("x"))), (3, 2, 0));
}
