use serde_json::{Value, json};

use super::*;

fn pod(name: &str, meshed: bool, status: Value) -> Pod {
    let sidecar = json!({
        "name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always",
        "env": [{"name": "PALISADE_TRUST_DOMAIN", "value": "cluster.local"}],
    });
    let sidecars = if meshed { json!([sidecar]) } else { json!([]) };
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "containers": [], "initContainers": sidecars, "nodeName": "node1", "serviceAccountName": "web",
        },
        "status": status,
    }))
    .unwrap()
}

fn shop() -> BTreeMap<String, Namespace> {
    let namespace =
        json!({"metadata": {"name": "shop", "annotations": {"palisade.dev/inject": "enabled"}}});
    BTreeMap::from([("shop".into(), serde_json::from_value(namespace).unwrap())])
}

#[test]
fn states_come_with_their_reasons() {
    let ready = |value: &str| json!([{"type": "Ready", "status": value, "message": "containers with unready status: [app]"}]);
    let proxy = |ready: bool, state: Value| json!([{"name": "palisade-proxy", "ready": ready, "restartCount": 2, "image": "", "imageID": "", "state": state}]);
    for (status, expected) in [
        (
            json!({"phase": "Running", "conditions": ready("True")}),
            State::Ready,
        ),
        (
            json!({"phase": "Running", "conditions": ready("False"), "initContainerStatuses": proxy(false, json!({"running": {}}))}),
            State::NotReady(PROXY_NOT_READY.into()),
        ),
        (
            json!({"phase": "Running", "conditions": ready("False"), "initContainerStatuses": proxy(true, json!({"running": {}}))}),
            State::NotReady("containers with unready status: [app]".into()),
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": proxy(false, json!({"waiting": {"reason": "CrashLoopBackOff"}}))}),
            State::Restarting("palisade-proxy ends again and again".into()),
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": proxy(false, json!({"waiting": {"reason": "ImagePullBackOff"}}))}),
            State::NotReady("palisade-proxy: ImagePullBackOff".into()),
        ),
        (
            json!({"phase": "Succeeded"}),
            State::Ended("succeeded".into()),
        ),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]}),
            State::NotReady("0/2 nodes are available".into()),
        ),
    ] {
        assert_eq!(
            state(&pod("web", true, status.clone())),
            expected,
            "{status}"
        );
    }
}

#[test]
fn a_row_says_who_and_where() {
    let status = json!({
        "phase": "Running", "podIPs": [{"ip": "10.88.1.3"}, {"ip": "fd88::3"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "app", "ready": true, "restartCount": 3, "image": "", "imageID": ""}],
    });
    let found = rows(&[pod("web", true, status)], &BTreeMap::new());
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        json!([{
            "workload": "shop/web", "namespace": "shop", "name": "web",
            "spiffe_id": "spiffe://cluster.local/ns/shop/sa/web",
            "addresses": ["10.88.1.3", "fd88::3"], "node": "node1", "meshed": true,
            "state": "ready", "restarts": {"proxy": 0, "app": 3},
        }])
    );
}

#[test]
fn pods_that_should_be_meshed_are_listed_and_others_are_not() {
    let running = json!({"phase": "Running"});
    let pods = [
        pod("old", false, running.clone()),
        pod("done", false, json!({"phase": "Succeeded"})),
        pod("web", true, running),
    ];
    let names = |found: Vec<Row>| found.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(names(rows(&pods, &shop())), ["old", "web"]);
    assert_eq!(names(rows(&pods, &BTreeMap::new())), ["web"]);
}

#[test]
fn only_the_sidecars_own_words_are_a_reason() {
    assert_eq!(
        reasons("svid: none yet\npolicy: none yet\n").as_deref(),
        Some("svid: none yet; policy: none yet")
    );
    assert_eq!(reasons("error trying to reach service: dial tcp"), None);
    assert_eq!(reasons(""), None);
}
