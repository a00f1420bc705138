use super::*;

fn edge(caller: &str, port: u16) -> EdgeKey {
    EdgeKey {
        caller: Caller::Identity(format!("spiffe://cluster.local/ns/shop/sa/{caller}")),
        port,
        decided: Decided::AllowedByRule,
        rule: Some("shop/orders/web-places-orders".to_owned()),
        reason: None,
        shadow: None,
    }
}

fn counted(epoch: &str, started: i64, count: u64) -> Counted {
    let used = Use {
        count,
        last: started + 5,
        ..Use::default()
    };
    let seen = Seen {
        count,
        first: started,
        last: started + 5,
        unanswered: count,
    };
    Counted {
        namespace: "shop".to_owned(),
        name: "orders-0".to_owned(),
        epoch: epoch.to_owned(),
        started,
        totals: Totals {
            edges: [(edge("web", 8080), seen)].into(),
            rules: [("shop/orders/web-places-orders".to_owned(), used)].into(),
            others: [(Decided::Denied, count)].into(),
        },
        ..Counted::default()
    }
}

fn sum(epochs: &[&str], count: u64) -> Counted {
    Counted {
        epoch: String::new(),
        summed: epochs.iter().map(|epoch| (*epoch).to_owned()).collect(),
        ..counted("", 1, count)
    }
}

fn answer(workloads: &[Counted]) -> Usage {
    Usage {
        since: 1,
        workloads: workloads.to_vec(),
        ..Usage::default()
    }
}

/// The one workload's connections, by its edge, its rule and its others, which must say the same.
fn count(answers: &[Usage]) -> u64 {
    let merged = Usage::merge(answers.to_vec());
    assert_eq!(merged.workloads.len(), 1);
    let totals = &merged.workloads[0].totals;
    let counts = [
        totals.edges[&edge("web", 8080)].count,
        totals.edges[&edge("web", 8080)].unanswered,
        totals.rules["shop/orders/web-places-orders"].count,
        totals.others[&Decided::Denied],
    ];
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    counts[0]
}

#[test]
fn an_epoch_that_two_replicas_heard_of_counts_once() {
    let (one, other) = (
        answer(&[counted("a", 10, 7)]),
        answer(&[counted("a", 10, 9)]),
    );
    assert_eq!(count(&[one.clone(), other.clone()]), 9);
    assert_eq!(count(&[other, one]), 9);
}

#[test]
fn epochs_of_one_workload_add_up() {
    let merged = Usage::merge([
        answer(&[counted("a", 10, 7)]),
        answer(&[counted("b", 20, 1)]),
    ]);
    let workload = &merged.workloads[0];
    assert_eq!(workload.started, 10);
    assert_eq!(workload.summed, ["a", "b"]);
    let seen = workload.totals.edges[&edge("web", 8080)];
    assert_eq!(
        seen,
        Seen {
            count: 8,
            first: 10,
            last: 25,
            unanswered: 8,
        }
    );
}

#[test]
fn an_epoch_that_is_in_a_sum_already_is_not_added_to_it() {
    let (whole, alone) = (
        answer(&[sum(&["a", "b"], 10), counted("c", 30, 1)]),
        answer(&[counted("a", 10, 4)]),
    );
    assert_eq!(count(&[whole.clone(), alone]), 11);
    // Sums that share an epoch are not added; others are.
    assert_eq!(count(&[whole.clone(), answer(&[sum(&["b", "d"], 6)])]), 11);
    assert_eq!(count(&[whole, answer(&[sum(&["d", "e"], 6)])]), 17);
}

#[test]
fn what_is_too_much_is_counted_as_others_and_the_last_seen_stay() {
    let mut totals = Totals::default();
    for port in 1..=10 {
        let seen = Seen {
            count: 1,
            first: 1,
            last: port.into(),
            unanswered: 0,
        };
        totals.edges.insert(edge("web", port), seen);
        let used = Use {
            last: port.into(),
            ..Use::default()
        };
        totals.rules.insert(format!("shop/orders/{port}"), used);
    }
    totals.keep(3, 2);
    let ports: Vec<u16> = totals.edges.keys().map(|edge| edge.port).collect();
    assert_eq!(ports, [8, 9, 10]);
    assert_eq!(totals.others, [(Decided::AllowedByRule, 7)].into());
    assert_eq!(totals.rules.len(), 2);
}

#[test]
fn it_reads_what_it_writes_and_is_plain_to_read() {
    let mut usage = answer(&[counted("a", 10, 7)]);
    let plaintext = EdgeKey {
        caller: Caller::Address("10.9.0.1".parse().unwrap()),
        decided: Decided::Denied,
        rule: None,
        reason: Some("not_understood".to_owned()),
        shadow: Some(Shadow {
            effect: Word::Deny,
            rule: "shop/orders/soon".to_owned(),
        }),
        ..edge("web", 80)
    };
    let seen = Seen {
        count: 1,
        first: 2,
        last: 2,
        unanswered: 0,
    };
    usage.workloads[0].totals.edges.insert(plaintext, seen);
    let text = serde_json::to_string(&usage).unwrap();
    assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
    let value = serde_json::to_value(&usage).unwrap();
    assert_eq!(
        value["workloads"][0]["edges"][1],
        serde_json::json!({"address": "10.9.0.1", "port": 80, "decided": "denied", "reason": "not_understood",
            "shadow": {"effect": "deny", "rule": "shop/orders/soon"}, "count": 1, "first": 2, "last": 2})
    );
    assert_eq!(value["workloads"][0]["others"]["denied"], 7);
}

#[test]
fn rules_are_in_the_words_of_their_files() {
    let policy = AuthorizationPolicy {
        namespace: Some("shop".to_owned()),
        name: "orders".to_owned(),
        target: policy::Target {
            labels: [("app".to_owned(), "orders".to_owned())].into(),
            ..policy::Target::default()
        },
        rules: vec![policy::Rule {
            name: "b".to_owned(),
            effect: Effect::Allow,
            from: vec![policy::From::Unauthenticated("10.0.0.0/8".parse().unwrap())],
            ports: vec![policy::PortRange {
                first: 80,
                last: 90,
            }],
            mode: Mode::Shadow,
            expires: None,
            reason: String::new(),
        }],
    };
    let value = serde_json::to_value(rules_in_force([&policy])).unwrap();
    assert_eq!(
        value,
        serde_json::json!([{"name": "shop/orders/b", "namespace": "shop", "effect": "allow", "is_shadow": true,
            "from": [{"unauthenticated": {"cidr": "10.0.0.0/8"}}], "ports": [[80, 90]],
            "target": {"labels": {"app": "orders"}}}])
    );
}
