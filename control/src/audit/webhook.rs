//! Whether the API server trusts the injector's answers.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use kube::ResourceExt;
use palisade_api::cluster;

use super::certificate;
use super::finding::{Finding, both, look};
use super::installed::REINSTALL;
use super::snapshot::Snapshot;

/// The webhooks' configurations, and their CA.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "the injector's certificate is trusted by the API server";
    let configured = both(&snapshot.mutating, &snapshot.validating);
    look("webhooks", &configured, fine, |(mutating, validating)| {
        let mut findings = Vec::new();
        let ours = mutating
            .iter()
            .find(|one| one.name_any() == cluster::INJECTOR);
        let webhooks = ours.map(|one| one.webhooks.iter().flatten());
        let webhooks =
            webhooks.map(|all| all.map(|hook| (&*hook.name, &hook.client_config)).collect());
        findings.extend(judge_one(
            snapshot,
            "MutatingWebhookConfiguration",
            webhooks,
        ));
        let ours = validating
            .iter()
            .find(|one| one.name_any() == cluster::INJECTOR);
        let webhooks = ours.map(|one| one.webhooks.iter().flatten());
        let webhooks =
            webhooks.map(|all| all.map(|hook| (&*hook.name, &hook.client_config)).collect());
        findings.extend(judge_one(
            snapshot,
            "ValidatingWebhookConfiguration",
            webhooks,
        ));
        findings
    })
}

/// A configuration's webhooks with their names; none where it does not exist.
fn judge_one(
    snapshot: &Snapshot,
    kind: &str,
    webhooks: Option<Vec<(&str, &WebhookClientConfig)>>,
) -> Vec<Finding> {
    let place = format!("{kind} {}", cluster::INJECTOR);
    let Some(webhooks) = webhooks else {
        let what = "it is not there: new pods get no sidecar, and wrong rules are not refused";
        return vec![Finding::error("webhooks", place, what, REINSTALL)];
    };
    let anchors = certificate::anchors(snapshot);
    let mut findings = Vec::new();
    for (name, config) in webhooks {
        let bundle = config
            .ca_bundle
            .as_ref()
            .map(|ByteString(pem)| certificate::parse(pem));
        let error = |what: &str| {
            let remedy = "control's leader writes it: see that control runs, and what it logs";
            Finding::error("webhooks", format!("{place}, {name}"), what, remedy)
        };
        match (bundle, &anchors) {
            (None, _) => findings.push(error("it has no CA: the API server trusts no injector")),
            (Some(Err(why)), _) => findings.push(error(&format!("its CA cannot be read: {why}"))),
            (Some(Ok(bundle)), Some(anchors)) if bundle != *anchors => {
                findings.push(error(
                    "its CA is not the mesh's: the API server trusts another injector",
                ));
            }
            (Some(Ok(_)), _) => {}
        }
    }
    findings
}
