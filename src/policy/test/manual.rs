//! The examples of the manual, and those beside it: what they say is held against what they do.

use std::path::{Path, PathBuf};

use palisade_api::manifest;

use super::super::rules;
use super::print::{details, title};
use super::{expectations, report};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies")
}

/// Asks the rules of a file or directory what its own expectations expect; says how many there were.
fn run(path: &Path, min_coverage: u8) -> usize {
    let paths = [path.to_owned()];
    let tests = expectations(&paths).unwrap().tests;
    let rules = rules::of_files(&paths, None).unwrap();
    let report = report(&rules, &tests, Some(min_coverage)).unwrap();
    for outcome in &report.outcomes {
        let (title, details) = (title(outcome), details(outcome));
        assert!(outcome.is_as_expected(), "{title}: {details}");
    }
    assert!(report.coverage.is_enough(), "{:?}", report.coverage);
    report.outcomes.len()
}

#[test]
fn every_example_of_the_manual_is_good_and_does_what_it_says() {
    let manual = std::fs::read_to_string(directory().join("README.md")).unwrap();
    let blocks: Vec<&str> = manual
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    let mut asked = 0;
    for (number, block) in blocks.iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&file, block).unwrap();
        let read = manifest::read("README.md", block);
        assert!(read.is_ok_and(|documents| !documents.is_empty()), "{block}");
        if block.contains("kind: PolicyTest") {
            asked += run(&file, 0);
        }
    }
    assert!(asked >= 15, "{asked}");
}

#[test]
fn the_manual_names_every_field_of_the_language() {
    let manual = std::fs::read_to_string(directory().join("README.md")).unwrap();
    // What the validator tells of fields that are known, it tells where one is not.
    for (text, at_least) in [(RULE, 7), (TARGET, 3), (SOURCE, 5), (EXPECTATION, 10)] {
        let found = manifest::read("f", text).err().unwrap_or_default();
        let found = found
            .into_iter()
            .chain(manifest::read_tests("f", text).err().unwrap_or_default());
        let unknown = found.filter(|one| one.message.contains("qqqqqqqqqq"));
        let remedies: String = unknown.map(|one| one.remedy).collect();
        let fields: Vec<&str> = remedies.split('`').skip(1).step_by(2).collect();
        assert!(fields.len() >= at_least, "{remedies}");
        for field in fields {
            let field = field.trim_end_matches(':');
            assert!(
                manual.contains(field),
                "the manual says nothing of `{field}`"
            );
        }
    }
}

#[test]
fn the_rules_beside_the_manual_do_what_is_expected_of_them() {
    assert!(run(&directory(), 100) >= 8);
}

const RULE: &str = "{apiVersion: palisade.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: a, namespace: b}, spec: {rules: [{qqqqqqqqqq: x}]}}";
const TARGET: &str = "{apiVersion: palisade.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: a, namespace: b}, spec: {target: {qqqqqqqqqq: x}, rules: []}}";
const SOURCE: &str = "{apiVersion: palisade.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: a, namespace: b}, spec: {rules: [{name: a, effect: allow, from: [{qqqqqqqqqq: x}]}]}}";
const EXPECTATION: &str = "{apiVersion: palisade.dev/v1alpha1, kind: PolicyTest, metadata: {name: a}, spec: {tests: [{qqqqqqqqqq: x}]}}";
