//! Findings, for people and for programs.

use std::io::Write;

use palisade_api::manifest::Diagnostic;
use palisade_api::policy;
use serde::Serialize;

use super::super::mistakes::shown;
use super::super::rules::Rules;
use super::finding::Finding;
use super::objects::Sheets;
use crate::records::{DIM, ERROR, GOOD, WAITING};

/// A rule, in English.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sentence {
    rule: String,
    place: String,
    says: String,
}

/// Every rule's sentence, in the order of the files.
pub(super) fn sentences(rules: &Rules, sheets: &Sheets) -> Vec<Sentence> {
    let policies = sheets
        .documents
        .iter()
        .filter_map(|document| document.manifest.policy());
    let sentences = policies.flat_map(|policy| {
        policy
            .rule_names()
            .zip(&policy.rules)
            .map(|(name, rule)| Sentence {
                place: rules.place(&name),
                rule: name.to_string(),
                says: policy::sentence(policy, rule),
            })
    });
    sentences.collect()
}

/// For people.
pub(super) fn text(rules: &Rules, found: &[Finding], sentences: &[Sentence]) -> String {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let sentences = sentences
        .iter()
        .map(|Sentence { rule, place, says }| format!("{rule}  {dim}{place}{undim}\n  {says}\n"));
    let mut text: String = sentences.collect();
    if !text.is_empty() {
        text.push('\n');
    }
    for one in found {
        let diagnostic = Diagnostic {
            file: place(one),
            message: format!("{} [{}]", one.diagnostic.message, one.code.as_str()),
            ..one.diagnostic.clone()
        };
        text.push_str(&shown(&diagnostic, &rules.texts));
        text.push_str("\n\n");
    }
    text.push_str(&summary(rules, found));
    text.push('\n');
    text
}

fn place(one: &Finding) -> String {
    match &one.field {
        Some(field) => format!("{}, {field}", one.diagnostic.file),
        None => one.diagnostic.file.clone(),
    }
}

fn summary(rules: &Rules, found: &[Finding]) -> String {
    let errors = found.iter().filter(|one| one.is_error()).count();
    let warnings = found.len() - errors;
    let rules_count = rules.policies.iter().map(|policy| policy.rules.len()).sum();
    let mut looked = counted(rules_count, "rule");
    if !rules.texts.is_empty() {
        looked.push_str(&format!(" in {}", counted(rules.texts.len(), "file")));
    }
    let style = match (errors, warnings) {
        (0, 0) => GOOD,
        (0, _) => WAITING,
        _ => ERROR,
    };
    let (on, off) = (style.render(), style.render_reset());
    format!(
        "{looked}: {on}{}, {}{off}",
        counted(errors, "mistake"),
        counted(warnings, "warning")
    )
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A finding, for programs.
#[derive(Debug, Serialize)]
struct Line<'a> {
    severity: &'static str,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    /// On a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    message: &'a str,
    remedy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// For programs: sentences first, one object a line.
pub(super) fn json(
    out: &mut impl Write,
    rules: &Rules,
    found: &[Finding],
    sentences: &[Sentence],
) -> anyhow::Result<()> {
    for sentence in sentences {
        writeln!(out, "{}", serde_json::to_string(sentence)?)?;
    }
    for one in found {
        let diagnostic = &one.diagnostic;
        let name = diagnostic.file.as_str();
        let is_file = !rules.texts.is_empty() && one.field.is_none();
        let known = |number: u64| (number > 0).then_some(number);
        let line = Line {
            severity: diagnostic.severity.as_str(),
            code: one.code.as_str(),
            file: is_file.then_some(name),
            line: known(diagnostic.line),
            column: known(diagnostic.column),
            object: (!is_file).then_some(name),
            field: one.field.as_deref(),
            message: &diagnostic.message,
            remedy: &diagnostic.remedy,
            rule: one.rule.as_ref().map(ToString::to_string),
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}
