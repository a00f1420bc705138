//! What a cluster takes of files of rules: no Revocations, and nothing of how namespaces are set.

use palisade_api::workload::{Closing, Mtls, NamespaceSettings};

use super::revoked::{DENY_INSTEAD, Revoked};
use super::rules::Rules;

/// Leaves out of files whom they revoke, and says so.
pub(super) fn leave_out_revocations(files: &mut Rules) {
    if files.revoked.is_empty() {
        return;
    }
    files.revoked = Revoked::default();
    files.warnings.push(format!(
        "a cluster takes no Revocations: what they revoke is left out; {DENY_INSTEAD}"
    ));
}

/// How a namespace of a cluster is set.
pub(super) fn annotate(namespace: &str, settings: NamespaceSettings) -> String {
    let mtls = match settings.mtls {
        Mtls::Strict => "strict",
        Mtls::Permissive => "permissive",
    };
    let closing = match settings.closing {
        Closing::Enforce => "enforce",
        Closing::Shadow => "shadow",
    };
    format!(
        "kubectl annotate --overwrite namespace {namespace} palisade.dev/mtls={mtls} palisade.dev/authorization={closing}"
    )
}
