//! Events in, indexes out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::kubernetes::policies::SETTLE;

mod reuse;

fn ground() -> Ground {
    Ground {
        trust_domain: "cluster.local".parse().unwrap(),
        authorities: vec![vec![1, 2, 3].into()],
        mesh: vec!["10.0.0.0/8".parse().unwrap()],
        outside: Vec::new(),
    }
}

fn name(namespace: &str, name: &str) -> Name {
    Name {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn pod(ip: &str) -> Pod {
    let pod = json!({
        "metadata": {"name": "x", "namespace": "shop", "uid": format!("uid-{ip}"), "labels": {
            "app": "orders", "pod-template-hash": "6bc7f8d9f5", "version": "v1",
        }},
        "spec": {
            "serviceAccountName": "orders", "nodeName": "n1", "containers": [],
            "initContainers": [{"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": ip}]},
    });
    Pod::keep(serde_json::from_value(pod).unwrap()).unwrap()
}

fn object(generation: i64, from: &str) -> Object {
    let account = json!([{"serviceAccount": from}]);
    let rule = json!({"name": "only", "effect": "allow", "from": account});
    Object {
        uid: "u".to_owned(),
        generation,
        content: [("spec".to_owned(), json!({"rules": [rule]}))]
            .into_iter()
            .collect(),
        status: None,
    }
}

fn definition() -> Change<Definition> {
    let definition = Definition {
        uid: "1".to_owned(),
        terminating: false,
        age: Duration::ZERO,
    };
    Change::All([(Name::default(), definition)].into())
}

/// Everything that is awaited, each as a first list.
fn lists() -> Vec<Heard> {
    let rule = (name("shop", "orders"), object(1, "shop/web"));
    vec![
        Heard::Pods(Change::All(
            [(name("shop", "orders-0"), pod("10.1.0.1"))].into(),
        )),
        Heard::Services(Change::All(BTreeMap::new())),
        Heard::Slices(Change::All(BTreeMap::new())),
        Heard::Namespaces(Change::All(BTreeMap::new())),
        Heard::Nodes(Change::All(BTreeMap::new())),
        Heard::Accounts(Change::All([(name("shop", "web"), ())].into())),
        Heard::Definitions(Kind::Namespaced, definition()),
        Heard::Definitions(Kind::Cluster, definition()),
        Heard::Policies(Kind::Namespaced, Change::All([rule].into())),
        Heard::Policies(Kind::Cluster, Change::All(BTreeMap::new())),
    ]
}

fn assembled() -> Assembly {
    let mut assembly = Assembly::new(ground(), [None, None]);
    for list in lists() {
        assembly.hear(list, Instant::now());
    }
    assembly
}

#[test]
fn nothing_is_assembled_until_every_list_is_there() {
    for missing in 0..lists().len() {
        let mut assembly = Assembly::new(ground(), [None, None]);
        let now = Instant::now();
        for (at, list) in lists().into_iter().enumerate() {
            if at != missing {
                assembly.hear(list, now);
            }
        }
        assert_eq!(assembly.awaited().len(), 1, "{missing}");
        assert!(assembly.assemble().is_none(), "{missing}");
    }
    let mut assembly = assembled();
    let index = assembly.assemble().unwrap().index.unwrap();
    assert!(index.workload("shop/orders-0").is_some());
    assert_eq!(index.workload_uid("shop/orders-0"), Some("uid-10.1.0.1"));
    assert_eq!(
        index.selected("AuthorizationPolicy/shop/orders"),
        ["shop/orders-0"]
    );
}

#[test]
fn an_index_is_new_only_if_its_content_is() {
    let mut assembly = assembled();
    assert!(assembly.assemble().unwrap().index.is_some());
    assert!(assembly.assemble().is_none(), "nothing happened");
    let now = Instant::now();
    let set = |ip: &str| Heard::Pods(Change::Set(name("shop", "orders-0"), pod(ip)));
    // The same object again, as after a write of what is not kept of it.
    assembly.hear(set("10.1.0.1"), now);
    assert!(assembly.assemble().is_none());
    // A list that says the same, as after an outage.
    assembly.hear(lists().swap_remove(0), now);
    assert!(assembly.assemble().is_none());
    // A rule's status.
    let mut same = object(1, "shop/web");
    same.status = Some(json!({"enforcing": 1}));
    let set_rule = |object| {
        let change = Change::Set(name("shop", "orders"), object);
        Heard::Policies(Kind::Namespaced, change)
    };
    assembly.hear(set_rule(same), now);
    let after_status = assembly.assemble().unwrap();
    assert!(after_status.index.is_none());
    assert_eq!(
        after_status.policies[0].status,
        Some(json!({"enforcing": 1}))
    );

    assembly.hear(set_rule(object(2, "shop/batch")), now);
    assert!(assembly.assemble().unwrap().index.is_some());
    assembly.hear(set("10.1.0.2"), now);
    assert!(assembly.assemble().unwrap().index.is_some());
    assembly.hear(Heard::Pods(Change::Gone(name("shop", "orders-0"))), now);
    let index = assembly.assemble().unwrap().index.unwrap();
    assert!(index.workload("shop/orders-0").is_none());
}

#[test]
fn rules_outlive_their_definition_until_it_is_back_and_settled() {
    let mut assembly = assembled();
    assembly.assemble().unwrap();
    let mut now = Instant::now();
    let gone = Heard::Policies(Kind::Namespaced, Change::Gone(name("shop", "orders")));
    assembly.hear(gone, now);
    let doubts = assembly.rules(Kind::Namespaced).doubts().unwrap();
    let notice = assembly.hear(Heard::Asked(Kind::Namespaced, doubts, None), now);
    assert_eq!(notice, Some((Kind::Namespaced, Notice::Frozen)));
    let frozen = assembly.assemble().unwrap();
    assert!(frozen.index.is_none(), "nothing that is enforced changed");
    assert_eq!(frozen.warnings.len(), 1, "{:?}", frozen.warnings);

    let back = Definition {
        uid: "2".to_owned(),
        terminating: false,
        age: Duration::ZERO,
    };
    let back = Change::Set(Name::default(), back);
    assembly.hear(Heard::Definitions(Kind::Namespaced, back), now);
    assert_eq!(assembly.due(), Some(now + SETTLE));
    now += SETTLE + Duration::from_millis(1);
    let notice = assembly.settle(now);
    assert_eq!(notice, Some((Kind::Namespaced, Notice::Settled)));
    let settled = assembly.assemble().unwrap();
    assert_eq!(settled.index.unwrap().policies().count(), 0);
    assert!(settled.warnings.is_empty());
}

#[test]
fn a_control_that_starts_serves_no_rules_that_are_fewer_than_were_recorded() {
    let now = Instant::now();
    let recorded = Record {
        uid: "0".to_owned(),
        rules: 2,
        missing: 0,
        until: None,
    };
    let mut assembly = Assembly::new(ground(), [Some(recorded), None]);
    for list in lists() {
        assembly.hear(list, now);
    }
    assert!(assembly.assemble().is_none());
    let awaited = assembly.awaited().join(", ");
    let said = "AuthorizationPolicy (1 rules that were in force are not there";
    assert!(awaited.contains(said), "{awaited}");
    let [missing, _] = assembly.records().map(|record| record.unwrap());
    assert_eq!(
        (missing.uid.as_str(), missing.rules, missing.missing),
        ("0", 2, 1)
    );
    assert_eq!(missing.until, Some(now + SETTLE));
    assert_eq!(assembly.settle(now), None);
    let again = Change::Set(name("shop", "web"), object(1, "shop/web"));
    assembly.hear(Heard::Policies(Kind::Namespaced, again), now);
    let notice = assembly.settle(now);
    assert_eq!(notice, Some((Kind::Namespaced, Notice::Settled)));
    let index = assembly.assemble().unwrap().index.unwrap();
    assert_eq!(index.policies().count(), 2);
    let [whole, _] = assembly.records().map(|record| record.unwrap());
    assert_eq!(
        (whole.uid.as_str(), whole.rules, whole.missing),
        ("1", 2, 0)
    );
}

#[test]
fn a_wrong_rule_is_told_of_with_what_is_in_force_and_whom_it_closes() {
    let mut assembly = assembled();
    assembly.assemble().unwrap();
    let mut wrong = object(2, "shop/web");
    wrong
        .content
        .insert("spec".to_owned(), json!({"rules": []}));
    let set = |rule: &str| {
        let change = Change::Set(name("shop", rule), wrong.clone());
        Heard::Policies(Kind::Namespaced, change)
    };
    assembly.hear(set("orders"), Instant::now());
    assembly.hear(set("never-right"), Instant::now());
    let told = assembly.assemble().unwrap().policies;
    let in_force = |policy: &Selecting| policy.in_force.as_ref().map(|rule| rule.generation);
    let told: Vec<_> = told
        .iter()
        .map(|policy| (policy.name.as_str(), in_force(policy), policy.generation))
        .collect();
    assert_eq!(told, [("never-right", None, 2), ("orders", Some(1), 2)]);
    let told = assembled().assemble().unwrap().policies;
    assert!(
        told.iter().all(|policy| policy.errors.is_empty()),
        "{told:?}"
    );
}

#[test]
fn a_pod_counts_as_idle_until_its_sidecar_runs_which_is_no_new_index() {
    let mut assembly = assembled();
    let told = assembly.assemble().unwrap().policies;
    assert_eq!(told[0].workloads, ["shop/orders-0".to_owned()].into());
    assert_eq!(told[0].idle, told[0].workloads);
    let mut running = pod("10.1.0.1");
    running.sidecar_runs = true;
    let set = Change::Set(name("shop", "orders-0"), running);
    assembly.hear(Heard::Pods(set), Instant::now());
    let assembled = assembly.assemble().unwrap();
    assert!(assembled.index.is_none());
    assert_eq!(assembled.policies[0].idle, BTreeSet::new());
}

#[test]
fn a_rule_that_names_nobody_is_remarked() {
    let mut assembly = assembled();
    assert!(assembly.assemble().unwrap().remarks.is_empty());
    let accounts = Change::Gone(name("shop", "web"));
    assembly.hear(Heard::Accounts(accounts), Instant::now());
    let remarks = assembly.assemble().unwrap().remarks;
    assert!(
        remarks
            .first()
            .is_some_and(|said| said.contains("shop/web")),
        "{remarks:?}"
    );
}
