//! What Kubernetes promises of Services holds in the mesh.

use std::collections::BTreeSet;

use crate::harness::{BOUND, Mesh, wait_for};

use super::Shop;

/// Services that are each somehow special, all of them of the same two pods.
const SPECIAL: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  internalTrafficPolicy: Local
  ports: [{port: 80, targetPort: http}]
"#;

#[test]
fn a_service_balances_and_keeps_its_affinity_and_its_scope_in_both_families() {
    let mesh = Mesh::shared();
    let shop = Shop::meshed(&mesh, "services");
    shop.namespace.apply(SPECIAL);
    let pods = BTreeSet::from([shop.near.0.clone(), shop.far.0.clone()]);
    for family in ["-4", "-6"] {
        // Named target port; half of the connections for either endpoint.
        wait_for(&format!("both pods' answers {family}"), BOUND, || {
            (who(&shop, family, "web") == pods).then_some(())
        });
        let near = BTreeSet::from([shop.near.0.clone()]);
        assert_eq!(who(&shop, family, "local"), near, "{family}");
        assert_eq!(who(&shop, family, "sticky").len(), 1, "{family}");
    }
}

#[test]
fn pods_of_a_stateful_set_answer_by_their_own_names() {
    let mesh = Mesh::shared();
    let shop = Shop::meshed(&mesh, "headless");
    for (pod, _) in [&shop.near, &shop.far] {
        for family in ["-4", "-6"] {
            let said = shop.answer(&[family, &format!("http://{pod}.each:8080/")]);
            assert_eq!(said.trim(), pod, "{family}");
        }
    }
    // The name of all of them resolves to each.
    let said = shop.answer(&["http://each:8080/"]);
    assert!([&shop.near.0, &shop.far.0].contains(&&said.trim().to_owned()));
    // The API server is not in the mesh; its certificate is its own, so nobody is between.
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script = format!(
        "curl --silent --show-error --max-time 10 --fail --cacert {account}/ca.crt \
         --header \"Authorization: Bearer $(cat {account}/token)\" https://kubernetes.default:443/version"
    );
    let output = shop.namespace.exec("client", &["sh", "-c", &script]);
    assert!(crate::harness::stdout(&output).contains("gitVersion"));
}

/// Who answers, of so many connections that each of two would be among them.
fn who(shop: &Shop, family: &str, service: &str) -> BTreeSet<String> {
    // The server ends each connection after its answer.
    let url = format!("http://{service}/?[1-24]");
    let said = shop.answer(&[family, &url]);
    said.split_whitespace().map(str::to_owned).collect()
}
