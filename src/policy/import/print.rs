//! What was made, printed: rules on standard output, and what is to be said of them on standard error.

use std::io::{self, Write};

use palisade_api::policy::AuthorizationPolicy;
use serde_json::{Value, json};

use super::object::{annotations, of_namespace, of_policy};
use super::{Converted, Made, NamespaceSetting, Note, Origin, Refusal};
use crate::args::Output;
use crate::records::{DIM, ERROR, WAITING};

/// Prints all of it.
pub(super) fn print(converted: &Converted, output: Output) -> io::Result<()> {
    let stdout = io::stdout().lock();
    match output {
        Output::Json => json(converted, stdout),
        Output::Text => {
            yaml(converted, stdout)?;
            anstream::eprint!("{}", said(converted));
            Ok(())
        }
    }
}

/// What is to be said of all of it: notes, then refusals, then how much there is.
pub(super) fn said(converted: &Converted) -> String {
    let notes = converted.notes.iter().map(note_line);
    let refused = converted.refused.iter().map(refusal_lines);
    // Of nothing there is no sum: why there is nothing is said as an error.
    let summary = (!converted.is_nothing()).then(|| summary(converted));
    let lines = notes.chain(refused).chain(summary);
    lines.map(|line| line + "\n").collect()
}

/// Says why there is nothing to print.
pub(super) fn error(why: &str) {
    anstream::eprintln!("{}error:{} {why}", ERROR.render(), ERROR.render_reset());
}

/// Documents for `kubectl apply` and for directories of rules, each with what it was made of.
pub(crate) fn yaml(converted: &Converted, mut out: impl Write) -> io::Result<()> {
    let namespaces = converted.namespaces.iter().map(namespace_text);
    let policies = converted.policies.iter().map(policy_text);
    for (index, text) in namespaces.chain(policies).enumerate() {
        if index > 0 {
            writeln!(out, "---")?;
        }
        write!(out, "{text}")?;
    }
    out.flush()
}

fn policy_text(policy: &Made<AuthorizationPolicy>) -> String {
    format!(
        "{}{}",
        made_of(&policy.of),
        palisade_api::manifest::print(&policy.made)
    )
}

fn namespace_text(namespace: &Made<NamespaceSetting>) -> String {
    let NamespaceSetting { name, .. } = &namespace.made;
    let mut text = made_of(&namespace.of);
    let said = annotations(&namespace.made);
    for (key, value) in &said {
        text.push_str(&format!(
            "# in a cluster: kubectl annotate namespace {name} {key}={value}\n"
        ));
    }
    text.push_str(&format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: Namespace\nmetadata:\n  name: {name}\n  annotations:\n"
    ));
    for (key, value) in &said {
        text.push_str(&format!("    {key}: {value}\n"));
    }
    text
}

fn made_of(origins: &[Origin]) -> String {
    origins
        .iter()
        .map(|of| format!("# {}:{}: {}\n", of.file, of.line, of.object))
        .collect()
}

fn note_line(Note { of, text }: &Note) -> String {
    let (on, off) = (WAITING.render(), WAITING.render_reset());
    match of {
        Some(of) => format!("{on}note:{off} {}: {text}", place(of, of.line)),
        None => format!("{on}note:{off} {text}"),
    }
}

/// One line for the object, and two for each reason.
fn refusal_lines(Refusal { of, reasons }: &Refusal) -> String {
    let (on, off) = (ERROR.render(), ERROR.render_reset());
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let mut text = format!("{on}refused:{off} {}", place(of, of.line));
    for reason in reasons {
        let field = match reason.field.as_str() {
            "" => String::new(),
            field => format!("{field}: "),
        };
        text.push_str(&format!(
            "\n  {}:{}: {field}{}\n    {dim}└{undim} {}",
            of.file, reason.line, reason.reason, reason.remedy
        ));
    }
    text
}

fn place(of: &Origin, line: usize) -> String {
    format!("{}:{line}: {}", of.file, of.object)
}

/// How much of it there is.
fn summary(converted: &Converted) -> String {
    let made = converted.policies.len() + converted.namespaces.len();
    let named = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    format!(
        "{} printed, {} refused",
        named(made, "object"),
        converted.refused.len()
    )
}

/// A line for each thing that was made, noted or refused.
pub(crate) fn json(converted: &Converted, mut out: impl Write) -> io::Result<()> {
    let namespaces = converted
        .namespaces
        .iter()
        .map(|one| json!({"converted": of_namespace(&one.made), "of": origins(&one.of)}));
    let policies = converted
        .policies
        .iter()
        .map(|one| json!({"converted": of_policy(&one.made), "of": origins(&one.of)}));
    let notes = converted.notes.iter().map(|note| {
        let of: Vec<_> = note.of.iter().map(origin).collect();
        json!({"note": note.text, "of": of})
    });
    let refused = converted.refused.iter().map(|refusal| {
        let reasons = refusal.reasons.iter().map(|reason| {
            json!({
                "line": reason.line,
                "field": reason.field,
                "reason": reason.reason,
                "remedy": reason.remedy,
            })
        });
        json!({"refused": reasons.collect::<Vec<_>>(), "of": [origin(&refusal.of)]})
    });
    for line in namespaces.chain(policies).chain(notes).chain(refused) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn origins(of: &[Origin]) -> Vec<Value> {
    of.iter().map(origin).collect()
}

fn origin(of: &Origin) -> Value {
    json!({"file": of.file, "line": of.line, "object": of.object})
}
