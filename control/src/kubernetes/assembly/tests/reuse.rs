//! What is taken from the index before: everything that did not change, and nothing that did.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::Value;

use palisade_api::wire;

use super::*;

/// Something that happens to a small cluster, in which addresses and names are given again and again.
#[derive(Debug, Clone)]
enum Happens {
    Pod(usize, Option<Value>),
    Service(usize, Option<Value>),
    Slice(usize, Option<Value>),
    Node(usize, Value),
    Rule(i64),
}

fn heard(happens: Happens, generation: i64) -> Heard {
    match happens {
        Happens::Pod(n, object) => {
            let kept = object.map(|object| Pod::keep(serde_json::from_value(object).unwrap()));
            Heard::Pods(change(format!("pod-{n}"), kept.flatten()))
        }
        Happens::Service(n, object) => {
            let kept = object.map(|object| Service::keep(serde_json::from_value(object).unwrap()));
            Heard::Services(change(format!("s{n}"), kept.flatten()))
        }
        Happens::Slice(n, object) => {
            let kept = object.map(|object| Slice::keep(serde_json::from_value(object).unwrap()));
            Heard::Slices(change(format!("s{n}"), kept.flatten()))
        }
        Happens::Node(n, object) => {
            let node = Node::keep(serde_json::from_value(object).unwrap());
            let named = Name {
                namespace: String::new(),
                name: format!("n{n}"),
            };
            Heard::Nodes(Change::Set(named, node.unwrap()))
        }
        Happens::Rule(from) => {
            let object = object(generation, &format!("shop/web-{from}"));
            let change = Change::Set(name("shop", "orders"), object);
            Heard::Policies(Kind::Namespaced, change)
        }
    }
}

fn change<T>(named: String, kept: Option<T>) -> Change<T> {
    let named = name("shop", &named);
    match kept {
        Some(kept) => Change::Set(named, kept),
        None => Change::Gone(named),
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    let service = (0..3_usize, any::<bool>(), any::<bool>()).prop_map(|(ip, local, external)| {
        json!({"spec": {
            "clusterIPs": [format!("10.96.0.{ip}")],
            "externalIPs": if external { json!(["192.0.2.1"]) } else { json!([]) },
            "internalTrafficPolicy": if local { "Local" } else { "Cluster" },
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        }})
    });
    let node = (0..2_usize).prop_map(
        |zone| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": format!("z{zone}")}}}),
    );
    prop_oneof![
        4 => (0..4_usize, proptest::option::weighted(0.9, pods())).prop_map(|(n, it)| Happens::Pod(n, it)),
        2 => (0..3_usize, proptest::option::weighted(0.8, service)).prop_map(|(n, it)| Happens::Service(n, it)),
        3 => (0..3_usize, proptest::option::weighted(0.9, slices())).prop_map(|(n, it)| Happens::Slice(n, it)),
        1 => (0..2_usize, node).prop_map(|(n, it)| Happens::Node(n, it)),
        1 => (0..2_i64).prop_map(Happens::Rule),
    ]
}

fn pods() -> impl Strategy<Value = Value> {
    (any::<[bool; 5]>(), 0..5_usize, 0..2_usize, 0..2_usize).prop_map(
        |([meshed, host, going, ended, excludes], ip, node, account)| {
            let mut sidecars = Vec::new();
            if excludes {
                sidecars.push(json!({"name": "palisade-redirect", "env": [
                    {"name": "PALISADE_EXCLUDE_INBOUND_PORT", "value": "9090"},
                ]}));
            }
            if meshed {
                sidecars.push(json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"}));
            }
            let deleted = going.then_some("2026-11-21T12:00:00Z");
            json!({
                "metadata": {
                    "uid": format!("u{ip}{node}"), "labels": {"app": format!("a{account}")},
                    "deletionTimestamp": deleted,
                },
                "spec": {
                    "serviceAccountName": format!("account-{account}"), "nodeName": format!("n{node}"),
                    "hostNetwork": host, "containers": [], "initContainers": sidecars,
                },
                "status": {
                    "phase": if ended { "Failed" } else { "Running" },
                    "podIPs": [{"ip": format!("10.1.0.{ip}")}, {"ip": format!("fd00::{ip}")}],
                },
            })
        },
    )
}

fn slices() -> impl Strategy<Value = Value> {
    (0..3_usize, proptest::collection::vec((0..4_usize, 0..5_usize), 0..4)).prop_map(
        |(service, endpoints)| {
            let endpoint = |(pod, ip): (usize, usize)| {
                json!({
                    "addresses": [format!("10.1.0.{ip}")],
                    "targetRef": {"kind": "Pod", "name": format!("pod-{pod}")},
                })
            };
            let endpoints: Vec<Value> = endpoints.into_iter().map(endpoint).collect();
            json!({
                "metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": format!("s{service}")}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
            })
        },
    )
}

/// All that an index says, in objects.
fn said(index: &Index) -> Vec<wire::Object> {
    let pods = (0..5).flat_map(|n| [format!("10.1.0.{n}"), format!("fd00::{n}")]);
    let services = (0..3).map(|n| format!("10.96.0.{n}"));
    let addresses = pods.chain(services).chain(["192.0.2.1".to_owned()]);
    let mut said: Vec<_> = addresses
        .map(|ip| index.address(ip.parse::<IpAddr>().unwrap()))
        .collect();
    for workload in (0..4).filter_map(|n| index.workload(&format!("shop/pod-{n}"))) {
        said.extend(index.rules(workload));
    }
    said.iter()
        .map(|object| wire::Object::clone(object))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_index_is_the_same_whatever_was_known_before(story in proptest::collection::vec(happens(), 1..30)) {
        let mut assembly = assembled();
        for (at, happens) in story.into_iter().enumerate() {
            let generation = i64::try_from(at).unwrap() + 2;
            assembly.hear(heard(happens, generation), Instant::now());
            assembly.assemble();
            let domain = &assembly.ground.trust_domain;
            let rules = assembly.rules.iter().flat_map(Policies::in_force).cloned().collect();
            let (facts, _warnings) = facts::facts(domain, &assembly.cluster, rules, None);
            let reused = assembly.last.as_ref().unwrap();
            prop_assert_eq!(reused.facts(), &facts);
            let whole = Index::build(assembly.ground.clone(), facts, None);
            prop_assert_eq!(said(reused), said(&whole));
        }
    }
}

#[test]
fn of_a_changed_pod_only_what_names_it_is_made_anew() {
    let mut assembly = crowd(20);
    let before = assembly.assemble().unwrap().index.unwrap();
    let changed = Change::Set(name("shop", "orders-7"), pod("10.2.0.1"));
    assembly.hear(Heard::Pods(changed), Instant::now());
    let after = assembly.assemble().unwrap().index.unwrap();
    let is_same = |ip: String| {
        let ip = ip.parse().unwrap();
        Arc::ptr_eq(&before.address(ip), &after.address(ip))
    };
    for n in (0..20).filter(|n| *n != 7) {
        assert!(is_same(pod_ip(n)), "{n}");
    }
    assert!(!is_same("10.96.0.1".into()), "the pod was behind it");
    assert!(is_same("10.96.0.2".into()));
}

/// 2,000 pods and 200 services with ten endpoints each; prints what one changed pod costs, and what the whole does, in
/// time of a CPU.
#[test]
#[ignore = "a measurement: run it with --nocapture, and control and its contract optimized"]
fn what_a_change_costs_with_two_thousand_pods() {
    let mut assembly = crowd(2000);
    let (mut whole, mut each) = (Vec::new(), Vec::new());
    for n in 0..20 {
        assembly.last = None;
        assembly.changed = true;
        whole.push(took(&mut assembly));
        let ip = format!("10.2.0.{}", n + 1);
        let changed = Change::Set(name("shop", "orders-7"), pod(&ip));
        assembly.hear(Heard::Pods(changed), Instant::now());
        each.push(took(&mut assembly));
    }
    for (what, mut took) in [("from nothing", whole), ("one pod's change", each)] {
        took.sort_unstable();
        println!(
            "{what}: {:?} in the middle, {:?} at worst",
            took[10], took[19]
        );
    }
}

/// How long this thread had a CPU for it: other programs share the machine.
fn took(assembly: &mut Assembly) -> Duration {
    let begun = on_cpu();
    assert!(assembly.assemble().unwrap().index.is_some());
    on_cpu() - begun
}

fn on_cpu() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(said.split(' ').next().unwrap().parse().unwrap())
}

/// So many pods, ten behind each service.
fn crowd(size: usize) -> Assembly {
    let mut assembly = assembled();
    let now = Instant::now();
    let pods = (0..size).map(|n| (name("shop", &format!("orders-{n}")), pod(&pod_ip(n))));
    assembly.hear(Heard::Pods(Change::All(pods.collect())), now);
    for s in 0..size / 10 {
        let service = json!({
            "spec": {
                "clusterIPs": [format!("10.96.0.{}", s + 1)],
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        });
        assembly.hear(heard(Happens::Service(s, Some(service)), 0), now);
        let endpoint = |n: usize| {
            json!({
                "addresses": [pod_ip(n)],
                "targetRef": {"kind": "Pod", "name": format!("orders-{n}"), "namespace": "shop"},
            })
        };
        let endpoints: Vec<Value> = (s * 10..s * 10 + 10).map(endpoint).collect();
        let slice = json!({
            "metadata": {
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": format!("s{s}")},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": endpoints,
        });
        assembly.hear(heard(Happens::Slice(s, Some(slice)), 0), now);
    }
    assembly
}

fn pod_ip(n: usize) -> String {
    format!("10.1.{}.{}", n / 250, n % 250 + 1)
}
