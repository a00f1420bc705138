//! By which authority the API server believes the webhooks: `caBundle`, which no manifest carries.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

/// The patch that makes every webhook of a configuration believed.
pub(super) fn mutating(found: &MutatingWebhookConfiguration, pem: &str) -> Option<Value> {
    let webhooks = found.webhooks.iter().flatten();
    let named = webhooks.map(|webhook| (webhook.name.as_str(), &webhook.client_config));
    correction(&found.metadata, named, pem)
}

/// The same for the other kind.
pub(super) fn validating(found: &ValidatingWebhookConfiguration, pem: &str) -> Option<Value> {
    let webhooks = found.webhooks.iter().flatten();
    let named = webhooks.map(|webhook| (webhook.name.as_str(), &webhook.client_config));
    correction(&found.metadata, named, pem)
}

/// A strategic merge patch, which finds webhooks by their names and leaves the rest of them alone.
fn correction<'a>(
    found: &ObjectMeta,
    webhooks: impl Iterator<Item = (&'a str, &'a WebhookClientConfig)>,
    pem: &str,
) -> Option<Value> {
    let wanted = ByteString(pem.as_bytes().to_vec());
    let wrong: Vec<_> = webhooks
        .filter(|(_name, client)| client.ca_bundle.as_ref() != Some(&wanted))
        .map(|(name, _client)| json!({"name": name, "clientConfig": {"caBundle": wanted}}))
        .collect();
    (!wrong.is_empty()).then(|| {
        json!({
            // Over what was read, or a webhook that has gone since would come back by half.
            "metadata": {"resourceVersion": found.resource_version},
            "webhooks": wrong,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: [Option<&str>; 2]) -> Value {
        let [first, second] = bundles.map(|bundle| bundle.map(|pem| ByteString(pem.into())));
        let webhook = |name: &str, bundle| {
            json!({
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"caBundle": bundle, "service": {"name": "s", "namespace": "n"}}
            })
        };
        json!({
            "metadata": {"name": "palisade-injector", "resourceVersion": "7"},
            "webhooks": [webhook("a", first), webhook("b", second)],
        })
    }

    #[test]
    fn every_webhook_with_another_bundle_is_corrected_and_no_other() {
        let entry = |name: &str| json!({"name": name, "clientConfig": {"caBundle": "UEVN"}});
        let patch = |webhooks: Vec<Value>| {
            Some(json!({"metadata": {"resourceVersion": "7"}, "webhooks": webhooks}))
        };
        let cases = [
            ([Some("PEM"), Some("PEM")], None),
            ([None, Some("PEM")], patch(vec![entry("a")])),
            ([Some("PEM"), Some("old")], patch(vec![entry("b")])),
            ([None, None], patch(vec![entry("a"), entry("b")])),
        ];
        for (bundles, expected) in cases {
            let found = || configuration(bundles);
            let found_mutating = serde_json::from_value(found()).unwrap();
            assert_eq!(mutating(&found_mutating, "PEM"), expected);
            let found_validating = serde_json::from_value(found()).unwrap();
            assert_eq!(validating(&found_validating, "PEM"), expected);
        }
    }
}
