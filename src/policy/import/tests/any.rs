//! Whatever is given, nothing panics, and what is converted is good.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::super::Mesh;
use super::*;

/// Names of fields, of both meshes.
const KEYS: [&str; 46] = [
    "selector",
    "matchLabels",
    "matchExpressions",
    "action",
    "rules",
    "from",
    "source",
    "to",
    "operation",
    "when",
    "key",
    "values",
    "notValues",
    "principals",
    "notPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "ipBlocks",
    "trustDomains",
    "ports",
    "notPorts",
    "paths",
    "mtls",
    "mode",
    "portLevelMtls",
    "podSelector",
    "port",
    "accessPolicy",
    "proxyProtocol",
    "server",
    "client",
    "name",
    "namespace",
    "group",
    "kind",
    "targetRef",
    "requiredAuthenticationRefs",
    "identities",
    "identityRefs",
    "networks",
    "cidr",
    "meshTLS",
    "unauthenticated",
    "operator",
    "app",
];

/// What may stand in them.
const WORDS: [&str; 40] = [
    "*",
    "",
    "shop",
    "shop/web",
    "web",
    "cluster.local",
    "cluster.local/ns/shop/sa/web",
    "cluster.local/ns/shop/*",
    "*/ns/shop/sa/web",
    "cluster.local/*",
    "a*",
    "ALLOW",
    "DENY",
    "AUDIT",
    "CUSTOM",
    "STRICT",
    "PERMISSIVE",
    "DISABLE",
    "UNSET",
    "8080",
    "0",
    "70000",
    "-1",
    "source.principal",
    "source.namespace",
    "destination.port",
    "source.ip",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "In",
    "Exists",
    "policy.linkerd.io",
    "Server",
    "ServiceAccount",
    "Namespace",
    "MeshTLSAuthentication",
    "all-authenticated",
    "web.shop.serviceaccount.identity.linkerd.cluster.local",
    "*.shop.serviceaccount.identity.linkerd.cluster.local",
];

const KINDS: [(&str, &str); 11] = [
    ("security.istio.io/v1", "AuthorizationPolicy"),
    ("security.istio.io/v1beta1", "PeerAuthentication"),
    ("security.istio.io/v2", "AuthorizationPolicy"),
    ("policy.linkerd.io/v1beta3", "Server"),
    ("policy.linkerd.io/v1beta1", "ServerAuthorization"),
    ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy"),
    ("policy.linkerd.io/v1alpha1", "MeshTLSAuthentication"),
    ("policy.linkerd.io/v1alpha1", "NetworkAuthentication"),
    ("policy.linkerd.io/v1beta3", "HTTPRoute"),
    ("v1", "Namespace"),
    ("v1", "List"),
];

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..70_000_u32).prop_map(Value::from),
        select(&WORDS[..]).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((select(&KEYS[..]), inner), 0..5).prop_map(|fields| {
                let fields = fields.into_iter();
                Value::from_iter(fields.map(|(key, value)| (key.to_owned(), value)))
            }),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    let name = select(&["web", "a.b", "Bad_Name", "x"][..]);
    let namespace = select(&["shop", "istio-system", "linkerd", "bad name"][..]);
    (select(&KINDS[..]), name, namespace, tree()).prop_map(
        |((version, kind), name, namespace, spec)| {
            json!({
                "apiVersion": version,
                "kind": kind,
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "annotations": {"config.linkerd.io/default-inbound-policy": "all-authenticated"},
                },
                "spec": spec.clone(),
                "items": [spec],
            })
        },
    )
}

/// A policy whose form is right and whose values are any.
fn formed() -> impl Strategy<Value = Value> {
    let words = || proptest::collection::vec(select(&WORDS[..]), 0..3);
    let list = || {
        select(
            &[
                "principals",
                "namespaces",
                "serviceAccounts",
                "trustDomains",
                "notPrincipals",
            ][..],
        )
    };
    let source = (list(), words()).prop_map(|(list, words)| json!({"source": {list: words}}));
    let from = proptest::collection::vec(source, 0..3);
    let ports = proptest::collection::vec(0..70_000_u32, 0..3);
    let action = select(&["ALLOW", "DENY"][..]);
    let labels = select(&["orders", "-", ""][..]);
    (from, ports, action, labels, any::<bool>()).prop_map(|(from, ports, action, label, is_some)| {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let mut rule = Map::new();
        rule.insert("from".into(), from.into());
        if is_some {
            rule.insert("to".into(), json!([{"operation": {"ports": ports}}]));
        }
        json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "formed", "namespace": "shop"},
            "spec": {"action": action, "selector": {"matchLabels": {"app": label}}, "rules": [rule]},
        })
    })
}

fn assert_all_sound(text: &str) {
    for mesh in [Mesh::Istio, Mesh::Linkerd] {
        if let Some(converted) = convert(mesh, text, &settings(mesh)) {
            assert_sound(&converted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn objects_of_any_form_convert_well_or_not_at_all(objects in proptest::collection::vec(object(), 1..5)) {
        let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
        assert_all_sound(&documents.join("\n---\n"));
    }

    #[test]
    fn policies_with_any_values_convert_well_or_not_at_all(objects in proptest::collection::vec(formed(), 1..3)) {
        let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
        assert_all_sound(&documents.join("\n---\n"));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|[-:\\[\\]{},&*#|>'\"a \n]{0,60}") {
        assert_all_sound(&text);
    }

    #[test]
    fn files_with_lines_out_of_place_convert_well_or_not_at_all(
        file in select(&FILES[..]),
        moves in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 1..6),
    ) {
        let mut lines: Vec<_> = file.lines().collect();
        for (from, to, is_copied) in moves {
            let line = lines[from % lines.len()];
            if !is_copied && lines.len() > 1 {
                lines.remove(from % lines.len());
            }
            lines.insert(to % lines.len(), line);
        }
        assert_all_sound(&lines.join("\n"));
    }
}

const FILES: [&str; 7] = [
    include_str!("istio/callers.yaml"),
    include_str!("istio/denials.yaml"),
    include_str!("istio/mtls.yaml"),
    include_str!("istio/when.yaml"),
    include_str!("linkerd/authentications.yaml"),
    include_str!("linkerd/servers.yaml"),
    include_str!("linkerd/open.yaml"),
];
