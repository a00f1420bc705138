//! Objects as the API server writes them, and what they come to.

use serde_json::{Value, json};

use palisade_api::workload::{Closing, Endpoint, Mtls, NamespaceSettings, Prefer, Scope};

use super::*;

/// A cluster of two nodes, to which objects are added as JSON.
fn cluster(objects: &[Value]) -> Cluster {
    let mut cluster = Cluster::default();
    for (node, zone) in [("n1", "z1"), ("n2", "z2")] {
        let address = format!("192.0.2.{}", &node[1..]);
        add(
            &mut cluster,
            &json!({
                "kind": "Node",
                "metadata": {"name": node, "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"addresses": [
                    {"type": "InternalIP", "address": address},
                    {"type": "Hostname", "address": node},
                ]},
            }),
        );
    }
    for object in objects {
        add(&mut cluster, object);
    }
    cluster
}

fn add(cluster: &mut Cluster, object: &Value) {
    let metadata = &object["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
    let name = Name {
        namespace: text("namespace"),
        name: text("name"),
    };
    fn read<T: serde::de::DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object.clone()).unwrap()
    }
    fn put<T>(map: &mut BTreeMap<Name, T>, name: Name, kept: Option<T>) {
        map.extend(kept.map(|kept| (name, kept)));
    }
    match object["kind"].as_str().unwrap() {
        "Pod" => put(&mut cluster.pods, name, Pod::keep(read(object))),
        "Service" => put(&mut cluster.services, name, Service::keep(read(object))),
        "EndpointSlice" => put(&mut cluster.slices, name, Slice::keep(read(object))),
        "Namespace" => put(&mut cluster.namespaces, name, Namespace::keep(read(object))),
        "Node" => put(&mut cluster.nodes, name, Node::keep(read(object))),
        other => panic!("{other}"),
    }
}

fn of(objects: &[Value]) -> Facts {
    let (facts, warnings) = with_warnings(objects);
    assert!(warnings.is_empty(), "{warnings:?}");
    facts
}

fn with_warnings(objects: &[Value]) -> (Facts, BTreeSet<String>) {
    facts(
        &"cluster.local".parse().unwrap(),
        &cluster(objects),
        Vec::new(),
        None,
    )
}

/// What is laid over an object: maps are merged, everything else is replaced.
fn with(mut object: Value, over: Value) -> Value {
    fn merge(into: &mut Value, over: Value) {
        match (into, over) {
            (Value::Object(into), Value::Object(over)) => {
                for (key, value) in over {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, over) => *into = over,
        }
    }
    merge(&mut object, over);
    object
}

/// A meshed pod of the namespace `shop` that runs on the first node.
fn pod(name: &str, ip: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-11-21T10:00:00Z", "labels": {"app": "orders"},
        },
        "spec": {
            "serviceAccountName": "orders", "nodeName": "n1",
            "containers": [{"name": "app"}],
            "initContainers": [{"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"}],
        },
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

fn plain(name: &str, ip: &str) -> Value {
    with(pod(name, ip), json!({"spec": {"initContainers": []}}))
}

fn service(over: Value) -> Value {
    let service = json!({
        "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd96::7"],
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    });
    with(service, over)
}

fn endpoint(pod: &str, ip: &str) -> Value {
    json!({
        "addresses": [ip],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "name": pod, "namespace": "shop", "uid": format!("uid-{pod}")},
    })
}

fn slice(name: &str, port: u16, endpoints: &[Value]) -> Value {
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "orders"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn only_service(facts: &Facts) -> &palisade_api::workload::Service {
    assert_eq!(facts.services.len(), 1, "{:?}", facts.services);
    &facts.services[0].1
}

fn pods_behind(facts: &Facts) -> Vec<(&str, bool)> {
    let endpoints = only_service(facts).endpoints.iter();
    let each = endpoints.map(|e: &Endpoint| (e.workload.name.as_str(), e.terminating));
    each.collect()
}

#[test]
fn a_pod_is_a_workload_with_its_account_labels_addresses_and_place() {
    let both = json!({"status": {"podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd10::1"}]}});
    let facts = of(&[with(pod("a", "10.1.0.1"), both)]);
    let [workload] = facts.workloads.as_slice() else {
        panic!("{:?}", facts.workloads);
    };
    assert_eq!(workload.key(), "shop/a");
    assert_eq!(
        workload.identity.to_string(),
        "spiffe://cluster.local/ns/shop/sa/orders"
    );
    assert_eq!(workload.addresses, ips(&["10.1.0.1", "fd10::1"]));
    assert_eq!(workload.labels["app"], "orders");
    assert_eq!(
        (workload.place.node.as_str(), workload.place.zone.as_str()),
        ("n1", "z1")
    );
    assert!(workload.meshed);
    assert_eq!(facts.uids["shop/a"], "uid-a");
    assert_eq!(facts.outside, ips(&["192.0.2.1", "192.0.2.2"]));
}

#[test]
fn the_ports_that_the_redirect_leaves_out_are_not_meshed() {
    let redirect = json!({"name": "palisade-redirect", "env": [
        {"name": "PALISADE_EXCLUDE_OUTBOUND_PORT", "value": "7"},
        {"name": "PALISADE_EXCLUDE_INBOUND_PORT", "value": "9090, 9100,none,0,65536"},
    ]});
    let sidecar = json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"});
    let containers = json!({"spec": {"initContainers": [redirect, sidecar]}});
    let facts = of(&[with(pod("a", "10.1.0.1"), containers)]);
    let workload = &facts.workloads[0];
    assert_eq!(workload.excluded_ports, [9090, 9100]);
    assert!(workload.is_meshed_at(80) && !workload.is_meshed_at(9100));
}

#[test]
fn what_a_pod_is_depends_on_its_phase_network_and_sidecar() {
    // Whether there is a workload, whether it is meshed, and under which account.
    let known = |meshed, account| Some((meshed, account));
    let cases = [
        ("as it is", json!({}), known(true, "orders")),
        (
            "pending",
            json!({"status": {"phase": "Pending"}}),
            known(true, "orders"),
        ),
        ("succeeded", json!({"status": {"phase": "Succeeded"}}), None),
        ("failed", json!({"status": {"phase": "Failed"}}), None),
        (
            "terminating",
            json!({"metadata": {"deletionTimestamp": "2026-11-21T10:00:00Z"}}),
            known(true, "orders"),
        ),
        (
            "in the node's network",
            json!({"spec": {"hostNetwork": true}}),
            None,
        ),
        (
            "no account",
            json!({"spec": {"serviceAccountName": null}}),
            known(true, "default"),
        ),
        (
            "no sidecar",
            json!({"spec": {"initContainers": null}}),
            known(false, "orders"),
        ),
        (
            "an init container of our name that ends",
            json!({"spec": {"initContainers": [{"name": "palisade-proxy"}]}}),
            known(false, "orders"),
        ),
        (
            "a sidecar of our name that runs another program",
            json!({"spec": {"initContainers": [
                {"name": "palisade-proxy", "command": ["sleep"], "args": ["run"], "restartPolicy": "Always"},
            ]}}),
            known(false, "orders"),
        ),
        (
            "a container of our name",
            json!({"spec": {"initContainers": [], "containers": [{"name": "palisade-proxy"}]}}),
            known(false, "orders"),
        ),
    ];
    for (case, over, expected) in cases {
        let facts = of(&[with(pod("a", "10.1.0.1"), over)]);
        let found = facts.workloads.first();
        let found = found.map(|w| (w.meshed, w.service_account.as_str()));
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn an_address_is_the_younger_pod_s_that_stays_and_a_host_s_is_nobody_s() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}});
    let young = json!({"metadata": {"creationTimestamp": "2026-11-21T11:00:00Z"}});
    let host = json!({"spec": {"hostNetwork": true}});
    let cases = [
        (
            "one that ended",
            with(pod("b", "10.1.0.1"), json!({"status": {"phase": "Failed"}})),
            "a",
        ),
        (
            "one that goes",
            with(pod("b", "10.1.0.1"), with(young.clone(), going)),
            "a",
        ),
        ("a younger one", with(pod("b", "10.1.0.1"), young), "b"),
    ];
    for (case, other, owner) in cases {
        let facts = of(&[pod("a", "10.1.0.1"), other]);
        let owners: Vec<_> = facts
            .workloads
            .iter()
            .filter(|workload| !workload.addresses.is_empty())
            .map(|workload| workload.name.as_str())
            .collect();
        assert_eq!(owners, [owner], "{case}");
    }
    let facts = of(&[with(pod("h", "192.0.2.9"), host)]);
    assert!(facts.workloads.is_empty() && facts.uids.is_empty());
    assert!(facts.outside.contains(&ips(&["192.0.2.9"])[0]));
}

#[test]
fn a_service_has_the_pods_of_its_slices_at_both_families_addresses() {
    let both = json!({"status": {"podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd10::1"}]}});
    let six = json!({"addressType": "IPv6"});
    let facts = of(&[
        with(pod("a", "10.1.0.1"), both),
        service(json!({})),
        slice("four", 8080, &[endpoint("a", "10.1.0.1")]),
        with(slice("six", 8080, &[endpoint("a", "fd10::1")]), six),
    ]);
    assert_eq!(facts.services[0].0, ips(&["10.96.0.7", "fd96::7"]));
    let service = only_service(&facts);
    assert_eq!(
        service.endpoints.len(),
        1,
        "one pod, though it is in two slices"
    );
    assert_eq!(service.target_port(&service.endpoints[0], 80), Some(8080));
    assert_eq!(
        (service.scope, service.prefer),
        (Scope::Cluster, Prefer::None)
    );
    assert_eq!(service.affinity, None);
}

#[test]
fn an_endpoint_is_used_as_kube_proxy_does() {
    let as_is = |ready: Value, serving: Value, terminating: Value| json!({"conditions": {"ready": ready, "serving": serving, "terminating": terminating}});
    let no = || as_is(json!(false), json!(false), json!(false));
    let last = || as_is(json!(false), json!(true), json!(true));
    let nothing_said = || as_is(Value::Null, Value::Null, Value::Null);
    let published = || as_is(json!(true), json!(true), json!(true));
    let cases = [
        ("nothing said", nothing_said(), no(), vec![("a", false)]),
        ("not ready", no(), no(), vec![]),
        ("the last one goes", last(), no(), vec![("a", true)]),
        (
            "one goes, one stays",
            last(),
            nothing_said(),
            vec![("b", false)],
        ),
        (
            "published though it goes",
            published(),
            no(),
            vec![("a", false)],
        ),
    ];
    for (case, first, second, expected) in cases {
        let facts = of(&[
            pod("a", "10.1.0.1"),
            pod("b", "10.1.0.2"),
            service(json!({})),
            slice(
                "s",
                8080,
                &[
                    with(endpoint("a", "10.1.0.1"), first),
                    with(endpoint("b", "10.1.0.2"), second),
                ],
            ),
        ]);
        assert_eq!(pods_behind(&facts), expected, "{case}");
    }
}

#[test]
fn nobody_is_an_endpoint_by_what_a_slice_says_alone() {
    let cases = [
        ("itself", json!({}), true),
        (
            "another's address",
            json!({"addresses": ["10.1.0.2"]}),
            false,
        ),
        ("another uid", json!({"targetRef": {"uid": "other"}}), false),
        (
            "another namespace",
            json!({"targetRef": {"namespace": "other"}}),
            false,
        ),
        ("no pod", json!({"targetRef": {"kind": "Node"}}), false),
        ("no target", json!({"targetRef": null}), false),
        (
            "one that is not there",
            json!({"targetRef": {"name": "c"}}),
            false,
        ),
    ];
    for (case, over, is_one) in cases {
        let facts = of(&[
            pod("a", "10.1.0.1"),
            pod("b", "10.1.0.2"),
            service(json!({})),
            slice(
                "s",
                8080,
                &[
                    with(endpoint("a", "10.1.0.1"), over),
                    endpoint("b", "10.1.0.2"),
                ],
            ),
        ]);
        let expected: &[_] = if is_one {
            &[("a", false), ("b", false)]
        } else {
            &[("b", false)]
        };
        assert_eq!(pods_behind(&facts), expected, "{case}");
    }
}

#[test]
fn a_service_is_outside_only_if_all_that_is_behind_it_is() {
    let host = json!({"spec": {"hostNetwork": true}});
    let foreign = || with(endpoint("x", "198.51.100.1"), json!({"targetRef": null}));
    let cases = [
        ("a meshed pod", vec![endpoint("a", "10.1.0.1")], false),
        (
            "one of them meshed",
            vec![endpoint("a", "10.1.0.1"), endpoint("p", "10.1.0.3")],
            false,
        ),
        ("a plain pod", vec![endpoint("p", "10.1.0.3")], true),
        ("a host", vec![endpoint("h", "192.0.2.1")], true),
        ("no pod at all", vec![foreign()], true),
        (
            "a pod that is not seen yet",
            vec![foreign(), endpoint("new", "10.1.0.9")],
            false,
        ),
        ("nothing", vec![], false),
    ];
    for (case, endpoints, is_outside) in cases {
        let facts = of(&[
            pod("a", "10.1.0.1"),
            plain("p", "10.1.0.3"),
            with(pod("h", "192.0.2.1"), host.clone()),
            service(json!({"spec": {"externalIPs": ["203.0.113.7"]}})),
            slice("s", 8080, &endpoints),
        ]);
        assert_eq!(facts.services.is_empty(), is_outside, "{case}");
        let own = ips(&["10.96.0.7"])[0];
        assert_eq!(facts.outside.contains(&own), is_outside, "{case}");
        // Not said of addresses that anybody could have chosen.
        assert!(!facts.outside.contains(&ips(&["203.0.113.7"])[0]), "{case}");
    }
}

#[test]
fn a_named_port_is_each_pod_s_own() {
    let named = json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}]}});
    let facts = of(&[
        pod("a", "10.1.0.1"),
        pod("b", "10.1.0.2"),
        service(named),
        slice("one", 8080, &[endpoint("a", "10.1.0.1")]),
        slice("two", 9090, &[endpoint("b", "10.1.0.2")]),
    ]);
    let service = only_service(&facts);
    let ports: Vec<_> = service
        .endpoints
        .iter()
        .map(|endpoint| service.target_port(endpoint, 80))
        .collect();
    assert_eq!(ports, [Some(8080), Some(9090)]);
}

#[test]
fn a_named_port_without_an_endpoint_is_a_port_all_the_same() {
    let named = json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}]}});
    let unready = with(
        endpoint("a", "10.1.0.1"),
        json!({"conditions": {"ready": false}}),
    );
    for objects in [
        vec![service(named.clone())],
        vec![
            pod("a", "10.1.0.1"),
            service(named.clone()),
            slice("one", 8080, &[unready]),
        ],
    ] {
        let facts = of(&objects);
        let service = only_service(&facts);
        assert!(service.endpoints.is_empty());
        assert!(service.ports.iter().any(|port| port.port == 80));
    }
    // One that none of its pods has leads nowhere.
    let mut other = slice("one", 8080, &[endpoint("a", "10.1.0.1")]);
    other["ports"][0]["name"] = "other".into();
    let facts = of(&[pod("a", "10.1.0.1"), service(named), other]);
    let service = only_service(&facts);
    assert_eq!((service.endpoints.len(), service.ports.len()), (1, 0));
}

#[test]
fn what_a_service_promises_is_kept() {
    let client_ip = |config: Value| json!({"spec": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}});
    let local = json!({"spec": {"internalTrafficPolicy": "Local"}});
    let prefers = |word: &str| json!({"spec": {"trafficDistribution": word}});
    let seconds = |s| Some(std::time::Duration::from_secs(s));
    let cases = [
        (json!({}), Scope::Cluster, Prefer::None, None),
        (local, Scope::Node, Prefer::None, None),
        (prefers("PreferClose"), Scope::Cluster, Prefer::Zone, None),
        (
            prefers("PreferSameZone"),
            Scope::Cluster,
            Prefer::Zone,
            None,
        ),
        (
            prefers("PreferSameNode"),
            Scope::Cluster,
            Prefer::Node,
            None,
        ),
        (prefers("Something"), Scope::Cluster, Prefer::None, None),
        (
            client_ip(json!(null)),
            Scope::Cluster,
            Prefer::None,
            seconds(10_800),
        ),
        (
            client_ip(json!({"clientIP": {"timeoutSeconds": 60}})),
            Scope::Cluster,
            Prefer::None,
            seconds(60),
        ),
    ];
    for (over, scope, prefer, affinity) in cases {
        let facts = of(&[service(over.clone())]);
        let service = only_service(&facts);
        assert_eq!(
            (service.scope, service.prefer, service.affinity),
            (scope, prefer, affinity),
            "{over}"
        );
    }
}

#[test]
fn external_addresses_lead_to_their_one_service_and_take_nobody_else_s() {
    let over = json!({
        "spec": {
            "internalTrafficPolicy": "Local",
            "externalIPs": ["203.0.113.7", "192.0.2.1", "203.0.113.8"],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"hostname": "lb"}]}},
    });
    let other = json!({
        "metadata": {"name": "other"},
        "spec": {"clusterIPs": ["10.96.0.8"], "externalIPs": ["203.0.113.8"]},
    });
    let facts = of(&[service(over), service(other)]);
    let of_orders: Vec<_> = facts
        .services
        .iter()
        .filter(|(_, service)| service.name == "orders")
        .map(|(ips, service)| (ips.clone(), service.scope))
        .collect();
    assert_eq!(
        of_orders,
        [
            (ips(&["10.96.0.7", "fd96::7"]), Scope::Node),
            (ips(&["203.0.113.7", "203.0.113.9"]), Scope::Cluster),
        ]
    );
    assert_eq!(facts.services.len(), 3);
}

#[test]
fn services_without_addresses_and_ports_that_are_not_tcp_are_left_out() {
    let headless = json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
    let name_only = json!({"spec": {"type": "ExternalName", "externalName": "example.org"}});
    for over in [headless, name_only] {
        assert!(of(&[service(over)]).services.is_empty());
    }
    let ports = json!({"spec": {"ports": [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]}});
    let facts = of(&[service(ports)]);
    let ports: Vec<_> = only_service(&facts).ports.iter().map(|p| p.port).collect();
    assert_eq!(ports, [53]);
}

#[test]
fn a_namespace_is_set_by_its_annotations_and_a_mistyped_word_opens_nothing() {
    let closed = NamespaceSettings::default();
    let open = NamespaceSettings {
        mtls: Mtls::Permissive,
        closing: Closing::Shadow,
    };
    let cases = [
        (json!({}), closed, 0),
        (json!({"palisade.dev/mtls": "strict"}), closed, 0),
        (
            json!({"palisade.dev/mtls": "permissive", "palisade.dev/authorization": "shadow"}),
            open,
            0,
        ),
        (
            json!({"palisade.dev/mtls": "Permissive", "palisade.dev/authorization": "none"}),
            closed,
            2,
        ),
    ];
    for (annotations, settings, wrong) in cases {
        let namespace =
            json!({"kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations}});
        let (facts, warnings) = with_warnings(&[namespace]);
        assert_eq!(facts.namespaces["shop"], settings, "{annotations}");
        assert_eq!(warnings.len(), wrong, "{warnings:?}");
    }
}

#[test]
fn a_sidecar_runs_by_its_own_state_and_not_by_its_pods_phase() {
    let state = |name: &str, state: &str| {
        json!({"name": name, "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": {state: {}}})
    };
    let runs = |states: Vec<Value>| {
        let pod = json!({
            "metadata": {"name": "x", "namespace": "shop", "uid": "u"},
            "spec": {"containers": [], "initContainers": [{"name": "palisade-proxy", "command": ["/palisade-proxy"],
                "args": ["run"], "restartPolicy": "Always"}]},
            "status": {"phase": "Pending", "initContainerStatuses": states},
        });
        Pod::keep(serde_json::from_value(pod).unwrap())
            .unwrap()
            .sidecar_runs
    };
    assert!(runs(vec![state("palisade-proxy", "running")]));
    assert!(!runs(vec![
        state("palisade-proxy", "waiting"),
        state("other", "running")
    ]));
    assert!(!runs(Vec::new()));
}
