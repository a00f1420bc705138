//! The directory of rules, checked before anything starts; control checks it again, and every later change.

use std::path::Path;

use palisade_api::manifest;
use palisade_control::file::Directories;

/// Everything that is wrong with the rules of a mesh, with file, line, column and remedy.
#[derive(Debug, thiserror::Error)]
#[error("the rules have mistakes, and nothing was started:\n{0}")]
pub(crate) struct RulesError(String);

/// Reads all rules, and says all that is wrong with them at once.
pub(crate) fn check(directory: &Path) -> anyhow::Result<()> {
    let mut good = Vec::new();
    let mut mistakes = Vec::new();
    for (file, content) in Directories::read(&[directory.to_owned()])? {
        let text = content.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_not_utf8| "not UTF-8 text".to_owned())
        });
        match text {
            Ok(text) => match manifest::parse(&file, &text) {
                Ok(manifests) => good.extend(manifests.into_iter().map(|one| (file.clone(), one))),
                Err(found) => mistakes.extend(found.iter().map(ToString::to_string)),
            },
            Err(error) => mistakes.push(format!("{file}: {error}")),
        }
    }
    mistakes.extend(manifest::check(&good).iter().map(ToString::to_string));
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(RulesError(mistakes.join("\n")).into())
    }
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
}
