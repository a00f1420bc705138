//! Pods: what `inject` decides, in the API server's terms.

use serde_json::{Value, json};

use super::review::Verdict;
use crate::inject::{Injection, NamespaceFacts, RefuseReason, Settings, inject};

/// What becomes of a new pod.
pub(crate) fn review(pod: &Value, settings: &Settings, namespace: &NamespaceFacts) -> Verdict {
    match inject(pod, settings, namespace) {
        Injection::Patch {
            operations,
            warnings,
        } => Verdict::Patch {
            operations: json!(operations),
            warnings,
        },
        Injection::AlreadyInjected => Verdict::allow(),
        Injection::Skip(reason) => Verdict::Skip {
            reason: reason.as_str(),
            warning: reason.to_string(),
        },
        Injection::Refuse(reasons) => refuse(&reasons),
    }
}

/// Every reason, one a line.
pub(crate) fn refuse(reasons: &[RefuseReason]) -> Verdict {
    let lines: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    Verdict::Refuse {
        code: FORBIDDEN,
        message: lines.join("\n"),
    }
}

const FORBIDDEN: u16 = 403;
