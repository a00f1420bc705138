//! What a check says.

use serde::Serialize;

use super::snapshot::Looked;
use crate::records::{DIM, ERROR, GOOD, WAITING};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What was looked at, in one word.
    pub(crate) check: &'static str,
    /// Where: `shop`, `Deployment shop/web`; empty for the whole cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) place: String,
    /// What is the case.
    pub(crate) what: String,
    /// What to do; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) remedy: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    Ok,
    Warning,
    Error,
    /// Could not look.
    Unknown,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Ok,
            check,
            place: String::new(),
            what: what.into(),
            remedy: String::new(),
        }
    }

    pub(crate) fn error(
        check: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            check,
            place: place.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn warning(
        check: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(check, place, what, remedy)
        }
    }

    pub(crate) fn unknown(check: &'static str, why: &str) -> Self {
        Self {
            severity: Severity::Unknown,
            ..Self::error(check, "", format!("could not look: {why}"), "")
        }
    }

    /// One line, and one more where there is something to do.
    pub(crate) fn text(&self) -> String {
        let (word, style) = match self.severity {
            Severity::Ok => ("ok", GOOD),
            Severity::Warning => ("warning", WAITING),
            Severity::Error => ("error", ERROR),
            Severity::Unknown => ("unknown", WAITING),
        };
        let place = if self.place.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.place)
        };
        let (on, off) = (style.render(), style.render_reset());
        let mut text = format!(
            "{on}{word:<8}{off}{:<13} {place}{}\n",
            self.check, self.what
        );
        if !self.remedy.is_empty() {
            let (dim, undim) = (DIM.render(), DIM.render_reset());
            text.push_str(&format!("{:<22}{dim}└{undim} {}\n", "", self.remedy));
        }
        text
    }
}

/// How many of each there are.
pub(crate) fn summary(findings: &[Finding]) -> String {
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

/// Judges what could be looked at. Where nothing is to be said, `fine` says that it was looked at.
pub(crate) fn look<T>(
    check: &'static str,
    looked: &Looked<T>,
    fine: &str,
    judge: impl FnOnce(&T) -> Vec<Finding>,
) -> Vec<Finding> {
    let findings = match looked {
        Ok(found) => judge(found),
        Err(why) => return vec![Finding::unknown(check, why)],
    };
    if findings.is_empty() {
        return vec![Finding::ok(check, fine)];
    }
    findings
}

/// Two things that are judged together.
pub(crate) fn both<'a, A, B>(one: &'a Looked<A>, other: &'a Looked<B>) -> Looked<(&'a A, &'a B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
    }
}
