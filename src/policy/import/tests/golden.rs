//! Files of other meshes, and beside each what is printed of it and said about it.
//!
//! `PALISADE_REGENERATE=1 cargo test import::tests::golden` writes what is said now; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{File, Mesh};
use super::*;

#[test]
fn files_become_what_stands_beside_them() {
    let regenerate = std::env::var("PALISADE_REGENERATE").is_ok_and(|value| value == "1");
    let mut seen = 0;
    for (mesh, directory) in [(Mesh::Istio, "istio"), (Mesh::Linkerd, "linkerd")] {
        for input in inputs(directory) {
            let said = said(mesh, &input);
            let golden = input.with_extension("out");
            if regenerate {
                fs::write(&golden, &said).unwrap();
            }
            let expected = fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(said, expected, "{}", input.display());
            seen += 1;
        }
    }
    assert!(seen > 12, "{seen} files");
}

fn inputs(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/policy/import/tests")
        .join(directory);
    let entries = fs::read_dir(directory).unwrap();
    let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    inputs.sort();
    inputs
}

fn said(mesh: Mesh, input: &Path) -> String {
    let text = fs::read_to_string(input).unwrap();
    let name = input.file_name().unwrap().to_str().unwrap();
    let files = [File::new(name, &text).unwrap()];
    let settings = settings(mesh);
    let converted = match mesh {
        Mesh::Istio => super::super::istio::convert(&files, &settings),
        Mesh::Linkerd => super::super::linkerd::convert(&files, &settings),
    };
    assert_sound(&converted);
    let said = super::super::print::said(&converted);
    let said = anstream::adapter::strip_str(&said).to_string();
    format!("{}===\n{said}", printed(&converted))
}
