//! What holds for all that is converted.
//!
//! `tests/fuzz` has this module, too.

use palisade_api::manifest::{self, Manifest};

use crate::policy::import::{Converted, Domains, File, Mesh, Reason, Settings, print};

/// What a mesh is called whose settings nobody changed.
pub(super) fn settings(mesh: Mesh) -> Settings {
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
pub(super) fn convert(mesh: Mesh, text: &str, settings: &Settings) -> Option<Converted> {
    let file = File::new("file.yaml", text).ok()?;
    Some(mesh.convert(&[file], settings))
}

/// What is printed of it.
pub(super) fn printed(converted: &Converted) -> String {
    let mut out = Vec::new();
    print::yaml(converted, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Whatever is converted is printed as what the validator reads as the same, and refused with reasons.
pub(super) fn assert_sound(converted: &Converted) {
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
        let is_said = |one: &Reason| !one.reason.is_empty() && !one.remedy.is_empty();
        assert!(!refusal.reasons.is_empty(), "{:?}", refusal.of);
        assert!(refusal.reasons.iter().all(is_said), "{refusal:?}");
    }
    let mut json = Vec::new();
    print::json(converted, &mut json).unwrap();
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
