//! The directory of rules, checked before anything starts; control checks it again, and every later change.

use std::path::Path;

use palisade_api::manifest::{self, Manifest};
use time::OffsetDateTime;

use crate::policy::{Mistakes, allow, rules};

/// Everything that is wrong with the rules of a mesh, with file, line, column and remedy.
#[derive(Debug, thiserror::Error)]
#[error("the rules have mistakes, and nothing was started:\n{0}")]
pub(crate) struct RulesError(Mistakes);

/// Reads all rules, and says all that is wrong with them at once.
pub(crate) fn check(directory: &Path) -> anyhow::Result<()> {
    match Mistakes::of(rules::texts_of_directory(directory)?) {
        Some(mistakes) => Err(RulesError(mistakes).into()),
        None => Ok(()),
    }
}

/// Removes the files that `palisade policy allow` made in a directory, once all that they say has expired.
///
/// They say nothing by then: it is tidiness, not enforcement. Files of other names, and what cannot be read, stay.
pub(crate) fn remove_expired(directory: &Path, now: OffsetDateTime) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(allow::PREFIX) || !name.ends_with(".yaml") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path())?;
        let is_over = |manifest: &Manifest| matches!(manifest, Manifest::Policy(policy) if policy.has_expired(now));
        let read = manifest::parse(&name, &text);
        if read.is_ok_and(|manifests| !manifests.is_empty() && manifests.iter().all(is_over)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_of_every_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let rule = "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: b}\nspec:\n  rules:\n  - {name: c, effect: permit, from: [{namespace: d}]}\n";
        for name in ["one.yaml", "two.yaml"] {
            std::fs::write(directory.path().join(name), rule).unwrap();
        }
        let error = check(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains("one.yaml:6:") && error.contains("two.yaml:6:"),
            "{error}"
        );
    }

    #[test]
    fn only_what_was_made_for_a_while_and_is_over_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let rule = |expires: &str| {
            format!(
                "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: a, namespace: b}}\nspec:\n  rules:\n  - {{name: c, effect: allow, from: [{{namespace: d}}]{expires}}}\n"
            )
        };
        let over = rule(", expires: 2026-01-01T00:00:00Z, reason: x");
        let later = rule(", expires: 2036-01-01T00:00:00Z, reason: x");
        for (name, text) in [
            ("break-glass-over.yaml", over.as_str()),
            ("break-glass-later.yaml", &later),
            ("break-glass-never.yaml", &rule("")),
            ("break-glass-broken.yaml", "a: ["),
            ("break-glass-empty.yaml", ""),
            ("mine.yaml", &over),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        remove_expired(
            directory.path(),
            time::macros::datetime!(2030-01-01 0:00 UTC),
        )
        .unwrap();
        let left = std::fs::read_dir(directory.path()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut left: Vec<_> = left.map(name).collect();
        left.sort();
        let expected =
            ["broken", "empty", "later", "never"].map(|name| format!("break-glass-{name}.yaml"));
        assert_eq!(
            left,
            [expected.as_slice(), &["mine.yaml".to_owned()]].concat()
        );
    }
}
