//! The chart's templates, in the order in which a cluster needs their objects.

use serde_json::{Value, json};

use super::render::{self, RenderError};

/// Why the chart cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the chart's template {file}")]
pub(super) struct ChartError {
    file: &'static str,
    #[source]
    error: RenderError,
}

/// All manifests, as one stream of YAML documents.
pub(super) fn manifests(namespace: &str, values: &Value) -> Result<String, ChartError> {
    let scope = json!({"Values": values, "Release": {"Namespace": namespace}});
    let mut stream = String::new();
    for (file, template) in TEMPLATES {
        let manifest =
            render::render(template, &scope).map_err(|error| ChartError { file, error })?;
        stream.push_str("---\n");
        stream.push_str(manifest.trim());
        stream.push('\n');
    }
    Ok(stream)
}

/// The objects of a stream, in its order.
pub(super) fn objects(stream: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(stream)?;
    Ok(documents
        .into_iter()
        .filter(|object| !object.is_null())
        .collect())
}

/// The chart's values with their defaults.
pub(super) const VALUES: &str = include_str!("../../injector/chart/palisade/values.yaml");

macro_rules! templates {
    ($($file:literal),* $(,)?) => {
        [$(($file, include_str!(concat!("../../injector/chart/palisade/templates/", $file)))),*]
    };
}

/// The webhooks come last: before they exist nothing waits for an injector that is not there yet.
pub(super) const TEMPLATES: [(&str, &str); 15] = templates![
    "namespace.yaml",
    "authorizationpolicies.yaml",
    "clusterauthorizationpolicies.yaml",
    "control-rbac.yaml",
    "injector-rbac.yaml",
    "policy-roles.yaml",
    "ask-rbac.yaml",
    "services.yaml",
    "control.yaml",
    "injector.yaml",
    "sidecar-required.yaml",
    "sidecar-kept.yaml",
    "control-limits.yaml",
    "definitions-kept.yaml",
    "webhooks.yaml",
];
