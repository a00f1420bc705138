//! What was counted, asked for through the API server: by those who may know, and by those who may not.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, Running, stdout, text, wait_for};
use crate::shop::Shop;

#[test]
fn what_is_counted_is_answered_to_those_who_may_know() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh, "usage", 1);
    let name = shop.namespace.name();
    shop.namespace.apply(&shop.rule(5432));
    shop.answered("client", OffsetDateTime::now_utc());
    let usage = wait_for("both callers to be counted", BOUND, || {
        let usage = counters(&mesh, &["-n", name]);
        let both = ["client", "stranger"].map(|who| edge(&usage, name, who).is_some());
        (both == [true, true]).then_some(usage)
    });
    let rule = format!("{name}/servers/callers");
    let client = edge(&usage, name, "client").unwrap();
    assert_eq!(client["decided"], "allowed_by_rule");
    assert_eq!(client["rule"], rule.as_str());
    let stranger = edge(&usage, name, "stranger").unwrap();
    assert_eq!(stranger["decided"], "denied_by_no_rule");
    let in_force = usage["rules_in_force"].as_array().unwrap();
    let names: Vec<&Value> = in_force.iter().map(|rule| &rule["name"]).collect();
    assert_eq!(names, [rule.as_str()]);
    // Of one namespace nothing else is told, of all of them this one too.
    let workloads = usage["workloads"].as_array().unwrap();
    assert!(
        workloads.iter().all(|one| one["namespace"] == name),
        "{usage}"
    );
    for whole in [&["-A"][..], &[]] {
        assert!(edge(&counters(&mesh, whole), name, "client").is_some());
    }

    control_itself_asks_for_the_right(&mesh, &shop.namespace);
    there_is_no_way_but_forwarding(&mesh);
    the_command_says_which_right_is_missing(&mesh, &shop.namespace);
}

/// By every token but those that may, as control answers it.
fn control_itself_asks_for_the_right(mesh: &Mesh, namespace: &Namespace) {
    let name = namespace.name();
    let pod = format!("pod/{}", of_control(mesh, "{.items[0].metadata.name}"));
    let forward = [
        "kubectl",
        "-n",
        "palisade-system",
        "port-forward",
        &pod,
        "15913:15013",
    ];
    let forwarded = Running::start(mesh.cluster(), &forward);
    forwarded.prints("Forwarding from 127.0.0.1:15913");
    let reader = token(&mesh.system(&["create", "token", "palisade-reader", AUDIENCE]));
    let of_proxies =
        token(&mesh.system(&["create", "token", "palisade-reader", "--audience=palisade"]));
    let of_the_api = token(&mesh.system(&["create", "token", "palisade-reader"]));
    let nobody = token(&namespace.kubectl(&["create", "token", "default", AUDIENCE]));
    let here = format!("/usage?namespace={name}");
    for (token, path, status, says) in [
        (&*reader, "/usage", "200", name),
        (&reader, &here, "200", name),
        ("", &here, "401", "a token is missing"),
        ("a.b.c", &here, "401", "audience palisade-ask"),
        (&of_proxies, &here, "401", "audience palisade-ask"),
        (&of_the_api, &here, "401", "audience palisade-ask"),
        (
            &nobody,
            &here,
            "403",
            "may not get usages.palisade.dev in namespace",
        ),
        (&nobody, "/usage", "403", "in all namespaces"),
        (&reader, "/proxies", "404", "/usage"),
    ] {
        let (found, body) = ask(mesh.cluster(), token, path);
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(says), "{path}: {body}");
    }

    // A right that ends at the namespace.
    namespace.apply(OWN_RIGHT);
    let account = format!("--serviceaccount={name}:default");
    stdout(&namespace.kubectl(&["create", "rolebinding", "usages", "--role=usages", &account]));
    wait_for("the right to count", BOUND, || {
        (ask(mesh.cluster(), &nobody, &here).0 == "200").then_some(())
    });
    assert_eq!(ask(mesh.cluster(), &nobody, "/usage").0, "403");
    assert_eq!(
        ask(mesh.cluster(), &nobody, "/usage?namespace=default").0,
        "403"
    );
}

fn there_is_no_way_but_forwarding(mesh: &Mesh) {
    let addr = of_control(mesh, "{.items[0].status.podIP}");
    let direct = format!("http://{addr}:15013/usage");
    let direct = mesh
        .cluster()
        .run(&["exec", "curl", "-sS", "--max-time", "5", &direct]);
    assert!(!direct.status.success(), "{}", text(&direct.stdout));
}

fn the_command_says_which_right_is_missing(mesh: &Mesh, namespace: &Namespace) {
    let name = namespace.name();
    stdout(&namespace.kubectl(&["create", "serviceaccount", "person"]));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let admin = ["config", "view", "--raw", "--minify", "-o", "json"];
    let mut kubeconfig: Value =
        serde_json::from_str(&stdout(&mesh.cluster().kubectl(&admin))).unwrap();
    let person = token(&namespace.kubectl(&["create", "token", "person"]));
    kubeconfig["users"][0]["user"] = json!({"token": person});
    fs::write(&config, kubeconfig.to_string()).unwrap();
    let asked = || {
        let with = ["--kubeconfig", config.to_str().unwrap()];
        mesh.palisade(&[&["policy", "counters", "-n", name], &with[..]].concat())
    };
    let refused = asked();
    let said = text(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("serviceaccounts \"palisade-viewer\" is forbidden"),
        "{said}"
    );
    assert!(
        said.contains("Role palisade-ask in palisade-system"),
        "{said}"
    );

    let account = format!("--serviceaccount={name}:person");
    let bind = [
        "create",
        "rolebinding",
        name,
        "--role=palisade-ask",
        &account,
    ];
    stdout(&mesh.system(&bind));
    let counted = wait_for("the role to count", BOUND, || {
        let counted = asked();
        counted.status.success().then(|| stdout(&counted))
    });
    stdout(&mesh.system(&["delete", "rolebinding", name]));
    let usage: Value = serde_json::from_str(&counted).unwrap();
    assert!(edge(&usage, name, "client").is_some(), "{usage}");
}

/// The status and what is said, over the port that is forwarded.
fn ask(cluster: &Cluster, token: &str, path: &str) -> (String, String) {
    let authorization = format!("authorization: Bearer {token}");
    let url = format!("http://127.0.0.1:15913{path}");
    let mut curl = vec![
        "exec",
        "curl",
        "-sS",
        "--max-time",
        "20",
        "-w",
        "\n%{http_code}",
    ];
    if !token.is_empty() {
        curl.extend(["-H", &authorization]);
    }
    curl.push(&url);
    let said = stdout(&cluster.run(&curl));
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// Of the pods of control.
fn of_control(mesh: &Mesh, path: &str) -> String {
    let path = format!("jsonpath={path}");
    stdout(&mesh.system(&["get", "pods", "-l", CONTROL, "-o", &path]))
}

fn counters(mesh: &Mesh, scope: &[&str]) -> Value {
    let counted = mesh.palisade(&[&["policy", "counters"], scope].concat());
    serde_json::from_str(&stdout(&counted)).unwrap()
}

/// The edge from an account of a namespace to its server.
fn edge<'u>(usage: &'u Value, namespace: &str, account: &str) -> Option<&'u Value> {
    let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
    let workloads = usage["workloads"].as_array().unwrap().iter();
    let mut edges = workloads
        .filter(|one| one["labels"]["app"] == "server")
        .flat_map(|one| one["edges"].as_array().unwrap());
    edges.find(|edge| edge["identity"] == identity.as_str() && edge["port"] == 5432)
}

fn token(made: &Output) -> String {
    stdout(made).trim().to_owned()
}

/// As text: kubectl makes roles of resources that have objects only.
const OWN_RIGHT: &str = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: usages}, rules: \
    [{apiGroups: [palisade.dev], resources: [usages], verbs: [get]}]}";
const CONTROL: &str = "app.kubernetes.io/name=palisade-control";
const AUDIENCE: &str = "--audience=palisade-ask";
