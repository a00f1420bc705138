//! Rules for tests.

use super::{Rules, of_files};

/// The rules of one file with this text.
pub(crate) fn rules(text: &str) -> Rules {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    of_files(&[file], None).unwrap()
}
