//! What objects of other meshes become.

mod any;
mod as_istio;
mod as_linkerd;
mod documented;
mod golden;
mod meaning;

use palisade_api::manifest::{self, Manifest};

use super::who::Domains;
use super::{Converted, File, ImportArgs, Mesh, Settings};
use crate::args::Output;

/// What a mesh is called whose settings nobody changed.
fn settings(mesh: Mesh) -> Settings {
    let mesh_namespace = match mesh {
        Mesh::Istio => "istio-system",
        Mesh::Linkerd => "linkerd",
    };
    Settings {
        domains: Domains {
            own: "cluster.local".parse().unwrap(),
            others: Vec::new(),
        },
        namespace: None,
        mesh_namespace: mesh_namespace.to_owned(),
    }
}

/// What one file becomes; nothing where it is no YAML.
fn convert(mesh: Mesh, text: &str, settings: &Settings) -> Option<Converted> {
    let file = File::new("file.yaml", text).ok()?;
    Some(mesh.convert(&[file], settings))
}

/// What is printed of it.
fn printed(converted: &Converted) -> String {
    let mut out = Vec::new();
    super::print::yaml(converted, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Whatever is converted is printed as what the validator reads as the same, and refused with reasons.
fn assert_sound(converted: &Converted) {
    let text = printed(converted);
    let read = manifest::parse("rules.yaml", &text);
    let read = read.unwrap_or_else(|wrong| panic!("{wrong:?} in\n{text}"));
    let mut policies = Vec::new();
    for manifest in &read {
        if let Manifest::Policy(policy) = manifest {
            policies.push(policy);
        }
    }
    assert!(
        policies
            .iter()
            .copied()
            .eq(converted.policies.iter().map(|one| &one.made)),
        "{text}"
    );
    assert_eq!(
        read.len(),
        converted.policies.len() + converted.namespaces.len(),
        "{text}"
    );
    for refusal in &converted.refused {
        assert!(!refusal.reasons.is_empty(), "{:?}", refusal.of);
    }
    let mut json = Vec::new();
    super::print::json(converted, &mut json).unwrap();
    for line in String::from_utf8(json).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["converted"]["kind"] != "Namespace" && !line["converted"].is_null() {
            let read = manifest::check_object(&line["converted"].to_string()).unwrap();
            assert!(
                matches!(&read, Manifest::Policy(policy) if policies.contains(&policy)),
                "{read:?}"
            );
        }
    }
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
