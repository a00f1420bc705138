//! What stands beside rules in files.

use std::collections::BTreeMap;

use super::{objects, split};

/// What stands in a file and is for no mesh's rules.
#[derive(Debug)]
pub(crate) struct Others {
    /// As people call it: `Deployment shop/web` of Kubernetes's objects.
    pub(crate) titles: Vec<String>,
    /// Whether the file describes a local mesh.
    pub(crate) is_mesh: bool,
    /// The file's text without it.
    pub(crate) left: String,
}

/// What stands in files and is for no mesh's rules, by file.
pub(crate) fn others(texts: &BTreeMap<String, String>) -> BTreeMap<String, Others> {
    let others = texts.iter().map(|(file, text)| {
        let split = split::split(text);
        let mesh = split.is_mesh.then(|| "LocalMesh".to_owned());
        let others = Others {
            titles: mesh
                .into_iter()
                .chain(split.others.iter().map(objects::title))
                .collect(),
            is_mesh: split.is_mesh,
            left: split.alone,
        };
        (file.clone(), others)
    });
    others.collect()
}
