//! What objects of other meshes become.

mod any;
mod as_istio;
mod as_linkerd;
mod documented;
mod golden;
mod meaning;

use palisade_api::manifest::{self, Manifest};

use super::who::Domains;
use super::{Converted, File, Mesh, Settings};

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
    let files = [file];
    Some(match mesh {
        Mesh::Istio => super::istio::convert(&files, settings),
        Mesh::Linkerd => super::linkerd::convert(&files, settings),
    })
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
