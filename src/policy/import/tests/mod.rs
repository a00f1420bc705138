//! What objects of other meshes become.

mod any;
mod as_istio;
mod as_linkerd;
mod documented;
mod golden;
mod meaning;
mod sound;

use super::{ImportArgs, Mesh};
use crate::args::Output;
use sound::{assert_sound, convert, printed, settings};

/// To pass over a denial would widen what is allowed beside it.
#[test]
fn a_rule_without_a_good_api_version_is_refused_and_what_it_may_narrow_with_it() {
    let allow = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\n\
                 spec: {action: ALLOW, rules: [{from: [{source: {namespaces: [shop]}}]}]}\n---\n";
    let deny = "kind: AuthorizationPolicy\nmetadata: {name: d, namespace: shop}\n\
                spec: {action: DENY, rules: [{from: [{source: {namespaces: [bad]}}]}]}\n";
    let good = "apiVersion: security.istio.io/v1\n";
    let read = |text: &str| convert(Mesh::Istio, text, &settings(Mesh::Istio)).unwrap();
    assert!(read(&format!("{allow}{good}{deny}")).refused.is_empty());
    for (bad, reason) in [
        ("", "it has no apiVersion"),
        ("apiversion: security.istio.io/v1\n", "it has no apiVersion"),
        (
            "apiVersion: v1\n",
            "v1 is no apiVersion of AuthorizationPolicy",
        ),
        (
            "apiVersion: security.istio.oi/v1\n",
            "security.istio.oi/v1 is no apiVersion of AuthorizationPolicy",
        ),
    ] {
        let converted = read(&format!("{allow}{bad}{deny}"));
        assert!(converted.policies.is_empty(), "{bad}");
        let mut reasons = converted.refused.iter().flat_map(|one| &one.reasons);
        assert!(
            reasons.any(|one| one.reason == reason),
            "{:?}",
            converted.refused
        );
    }
    let server =
        "kind: Server\nmetadata: {name: web, namespace: shop}\nspec: {podSelector: {}, port: 80}\n";
    let converted = convert(Mesh::Linkerd, server, &settings(Mesh::Linkerd)).unwrap();
    assert_eq!(converted.refused.len(), 1);
}

#[test]
fn files_of_another_mesh_or_of_none_are_told() {
    let server = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: web, namespace: shop}\n\
                  spec: {podSelector: {}, port: 80}\n";
    let peers = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: shop}\n\
                 spec: {mtls: {mode: STRICT}}\n";
    let empty = "apiVersion: v1\nkind: List\nitems: []\n";
    for (mesh, text, expected) in [
        (
            Mesh::Istio,
            server,
            Some(
                "no rule of Istio's (security.istio.io) in a.yaml; there are objects of Linkerd's",
            ),
        ),
        (
            Mesh::Linkerd,
            peers,
            Some(
                "no rule of Linkerd's (policy.linkerd.io) in a.yaml; there are objects of Istio's",
            ),
        ),
        (
            Mesh::Istio,
            empty,
            Some("no rule of Istio's (security.istio.io) in a.yaml; --help shows"),
        ),
        // Nothing is to be written for these, which is said of each.
        (Mesh::Linkerd, server, None),
        (Mesh::Istio, peers, None),
    ] {
        let converted = convert(mesh, text, &settings(mesh)).unwrap();
        assert_eq!(converted.is_nothing(), expected.is_some(), "{text}");
        let others = convert(mesh.other(), text, &settings(mesh.other())).unwrap();
        let said = args(mesh).nothing(&others);
        assert!(expected.is_none_or(|part| said.contains(part)), "{said}");
    }
}

fn args(mesh: Mesh) -> ImportArgs {
    ImportArgs {
        mesh,
        files: vec!["a.yaml".into()],
        namespace: None,
        trust_domain: "cluster.local".parse().unwrap(),
        trust_domain_alias: Vec::new(),
        mesh_namespace: None,
        output: Output::Text,
    }
}
