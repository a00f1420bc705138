//! What a judgement says.

use serde::Serialize;

use super::snapshot::Looked;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, in one word.
    pub check: &'static str,
    /// Where: `shop`, `Deployment shop/web`; empty for the whole cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// What is the case.
    pub what: String,
    /// What to do; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Looked at, and well.
    Ok,
    /// It holds, and perhaps should not be so.
    Warning,
    /// Something does not work, or is not protected.
    Error,
    /// Could not look.
    Unknown,
}

impl Finding {
    /// That all is well.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Ok,
            check,
            place: String::new(),
            what: what.into(),
            remedy: String::new(),
        }
    }

    /// That something is wrong.
    pub fn error(
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

    /// That something may not be meant.
    pub fn warning(
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

    /// That nobody knows.
    pub fn unknown(check: &'static str, why: &str) -> Self {
        Self {
            severity: Severity::Unknown,
            ..Self::error(check, "", format!("could not look: {why}"), "")
        }
    }
}

/// Judges what could be looked at. Where nothing is to be said, `fine` says that it was looked at.
pub fn look<T>(
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
pub(super) fn both<'a, A, B>(one: &'a Looked<A>, other: &'a Looked<B>) -> Looked<(&'a A, &'a B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
    }
}
