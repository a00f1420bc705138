use super::*;

#[test]
fn a_rule_that_lets_a_nodes_address_in_is_told() {
    let rule = |name: &str, effect: &str, cidr: &str| {
        let rule =
            json!({"name": "lb", "effect": effect, "from": [{"unauthenticated": {"cidr": cidr}}]});
        json!({
            "apiVersion": "palisade.dev/v1alpha1", "kind": "AuthorizationPolicy",
            "metadata": {"namespace": "shop", "name": name}, "spec": {"rules": [rule]},
        })
    };
    let node = json!({"metadata": {"name": "node1"}, "status": {"addresses": [
        {"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "10.0.0.11"},
    ]}});
    let mut snapshot = Snapshot {
        policies: Ok(all(vec![
            rule("open", "allow", "10.0.0.0/8"),
            rule("shut", "deny", "10.0.0.0/8"),
            rule("elsewhere", "allow", "10.1.0.0/16"),
        ])),
        ..blind()
    };
    snapshot.platform.nodes = Ok(all(vec![node]));
    let warnings = wrong(&crate::audit::nodes::judge(&snapshot), Severity::Warning);
    assert_eq!(
        warnings,
        [
            "AuthorizationPolicy shop/open: the rule `lb` lets in all that comes by way of the node `node1`, whose address \
          is in 10.0.0.0/8"
        ]
    );
}
