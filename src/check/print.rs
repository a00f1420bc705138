//! Findings as people read them.

use palisade_control::audit::{Finding, Severity};

use crate::records::{DIM, ERROR, GOOD, WAITING};

/// One line, and one more where there is something to do.
pub(super) fn text(finding: &Finding) -> String {
    let (word, style) = match finding.severity {
        Severity::Ok => ("ok", GOOD),
        Severity::Warning => ("warning", WAITING),
        Severity::Error => ("error", ERROR),
        Severity::Unknown => ("unknown", WAITING),
    };
    let place = if finding.place.is_empty() {
        String::new()
    } else {
        format!("{}: ", finding.place)
    };
    let (on, off) = (style.render(), style.render_reset());
    let mut text = format!(
        "{on}{word:<8}{off}{:<13} {place}{}\n",
        finding.check, finding.what
    );
    if !finding.remedy.is_empty() {
        let (dim, undim) = (DIM.render(), DIM.render_reset());
        text.push_str(&format!("{:<22}{dim}└{undim} {}\n", "", finding.remedy));
    }
    text
}

/// How many of each there are.
pub(super) fn summary(findings: &[Finding]) -> String {
    let count = |severity| {
        findings
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    };
    let named = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let mut parts = vec![
        named(count(Severity::Error), "error"),
        named(count(Severity::Warning), "warning"),
    ];
    let unknown = count(Severity::Unknown);
    if unknown > 0 {
        parts.push(format!("{unknown} could not be looked at"));
    }
    parts.join(", ")
}
