//! What `palisade policy apply` of a file would change on a cluster, which takes rules only.

use super::*;
use crate::kubernetes::served::Server;
use crate::policy::rules::sample::in_shop;

const FILE: &str = "apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata: {name: shop, annotations: {palisade.dev/mtls: strict}}
---
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {identities: [spiffe://cluster.local/ns/shop/sa/web]}
---
";

#[test]
fn what_apply_leaves_out_makes_no_difference() {
    let shadow = serde_json::json!({"palisade.dev/authorization": "shadow"});
    let shop = serde_json::json!({"metadata": {"name": "shop", "annotations": shadow}});
    let server = in_shop(Server::start()).has("/api/v1/namespaces/shop", shop);
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("rules.yaml");
    let rules = policy(
        ORDERS,
        &["effect: allow, from: [{serviceAccount: shop/web}]"],
    );
    std::fs::write(&first, FILE.to_owned() + &rules).unwrap();
    for instead in [false, true] {
        let args = DiffArgs {
            first: first.clone(),
            second: None,
            instead,
            who: Vec::new(),
            at: None,
            most: 1,
            trust_domain: None,
            mesh: server.mesh(Some("shop")),
        };
        let (before, after) = both(&args).unwrap();
        let sides = Sides {
            before: &before,
            after: &after,
            trust_domain: &before.trust_domain,
        };
        let [was, is] = changed::settings(sides, "shop");
        assert_eq!(was, is);
        assert_ne!(was, Default::default());
        assert!(after.revoked.is_empty());
        let said = after.warnings.join("\n");
        for part in [
            "a cluster takes no Revocations",
            "deny each identity in a ClusterAuthorizationPolicy",
            "kubectl annotate --overwrite namespace shop palisade.dev/mtls=strict palisade.dev/authorization=enforce",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
