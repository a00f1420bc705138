//! From an empty cluster to a mesh, and back.

use crate::harness::{Cluster, Mesh, stdout};

#[test]
fn what_install_prints_makes_a_working_mesh() {
    let mesh = Mesh::alone();
    println!("install to ready: {:?}", mesh.installed_in());
    let findings = stdout(&mesh.palisade(&["check", "-o", "json"]));
    for finding in findings.lines() {
        assert!(
            !finding.contains(r#""severity":"error""#)
                && !finding.contains(r#""severity":"unknown""#),
            "{finding}"
        );
    }
}

#[test]
fn helm_makes_the_same_objects() {
    let cluster = Cluster::shared();
    let helm = stdout(&cluster.run(&["exec", "sh", "-c", "command -v helm"]));
    crate::chart::same_as_helm(helm.trim().as_ref());
}
