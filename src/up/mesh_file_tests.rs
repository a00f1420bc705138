use super::*;

fn parse_in_temp(workloads: &str) -> Result<Mesh, String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("rules")).unwrap();
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: LocalMesh\nmetadata: {{name: shop}}\nspec:\n  rules: rules\n  workloads:\n{workloads}"
    );
    let file = directory.path().join("mesh.yaml");
    parse("mesh.yaml", file, &text).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

#[test]
fn defaults_are_as_documented() {
    let mesh = parse_in_temp("  - {name: orders, command: [x], ports: [8080]}").unwrap();
    let orders = mesh.workloads.first().unwrap();
    assert_eq!(mesh.svid_ttl, Duration::from_secs(3600));
    assert_eq!(orders.namespace, "default");
    assert_eq!(
        orders.identity.as_str(),
        "spiffe://cluster.local/ns/default/sa/orders"
    );
    assert_eq!(orders.labels["app"], "orders");
    assert_eq!(orders.replicas, 1);
    assert_eq!(orders.run_as_user, 0);
    assert_eq!(orders.ports, [(8080, 8080)]);
    assert!(orders.meshed);
    assert_eq!(orders.restart, Restart::Always);
}

#[test]
fn a_service_port_can_lead_elsewhere() {
    let mesh = parse_in_temp("  - {name: a, command: [x], ports: [{port: 80, targetPort: 8080}]}")
        .unwrap();
    assert_eq!(mesh.workloads.first().unwrap().ports, [(80, 8080)]);
}

#[test]
fn mistakes_are_named_with_their_place_and_a_remedy() {
    let cases = [
        (
            "  - {name: Orders, command: [x]}",
            "mesh.yaml:7:12: \"Orders\" cannot be a name; use",
        ),
        (
            "  - {name: a, command: []}",
            "mesh.yaml:7:24: a workload needs a command; write",
        ),
        (
            "  - {name: a, command: [x], runAsUser: 1337}",
            "user 1337 is the proxy's; choose",
        ),
        (
            "  - {name: a, command: [x], replicas: 0}",
            "replicas cannot be run; write 1 to 500",
        ),
        (
            "  - {name: a, command: [x], ports: [15006]}",
            "port 15006 is the proxy's; let",
        ),
        (
            "  - {name: a, command: [x], ports: [80, 80]}",
            "port 80 stands here twice; list",
        ),
        (
            "  - {name: a, comand: [x]}",
            "mesh.yaml:7:15: unknown field `comand`",
        ),
        (
            "  - {name: a, command: [x]}\n  - {name: a, command: [x]}",
            "mesh.yaml:8:12: the name \"a\" is taken in its namespace; name",
        ),
        (
            "  - {name: a, command: [x]}\n  - {name: a-0, command: [x]}",
            "the name \"a-0\" is taken",
        ),
        (
            "  - {name: a, command: [x], workingDirectory: nowhere}",
            "there is no directory",
        ),
    ];
    for (workloads, expected) in cases {
        let message = parse_in_temp(workloads).unwrap_err();
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let message =
        parse_in_temp("  - {name: A, command: []}\n  - {name: b, command: [x], replicas: 0}")
            .unwrap_err();
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn labels_are_dns_labels() {
    let long = "a".repeat(64);
    for (name, expected) in [
        ("a", true),
        ("a-1", true),
        ("", false),
        ("-a", false),
        ("a-", false),
        ("a.b", false),
        ("../x", false),
        (long.as_str(), false),
    ] {
        assert_eq!(is_label(name), expected, "{name}");
    }
}
