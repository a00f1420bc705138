//! Under which definition how many rules are in force, in a ConfigMap of control's own namespace: it outlives control,
//! and each of its replicas.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use palisade_api::cluster::RULES_CONFIG_MAP;
use palisade_api::in_force::InForce;

use super::managed_by_us;
use super::policies::{Kind, Record};

/// Of either kind, in the order of [`Kind::ALL`].
pub(crate) type Records = [Option<Record>; 2];

/// What was recorded; nothing where the mesh is new.
///
/// # Errors
///
/// Where it cannot be read: rules may be missing then, and nobody would know.
pub(crate) async fn recorded(client: &Client, namespace: &str) -> Result<Records, RecordError> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = config_maps.get_opt(RULES_CONFIG_MAP).await;
    let found = found.map_err(|error| RecordError::Read(Box::new(error)))?;
    read(&found.and_then(|found| found.data).unwrap_or_default())
}

fn read(data: &BTreeMap<String, String>) -> Result<Records, RecordError> {
    let [namespaced, cluster] = Kind::ALL.map(|kind| {
        let Some(text) = data.get(&kind.definition()) else {
            return Ok(None);
        };
        let read: InForce = serde_json::from_str(text)
            .map_err(|error| RecordError::Malformed(kind.definition(), error))?;
        Ok(Some(Record {
            uid: read.definition,
            rules: read.rules,
            missing: read.missing,
            until: None,
        }))
    });
    Ok([namespaced?, cluster?])
}

/// What is written, if there is something. `wall` is the time of day at `now`.
pub(super) fn config_map(
    records: &Records,
    now: Instant,
    wall: OffsetDateTime,
) -> Option<ConfigMap> {
    let written = Kind::ALL.into_iter().zip(records);
    let data: BTreeMap<String, String> = written
        .filter_map(|(kind, record)| {
            let record = record.as_ref()?;
            let in_force = InForce {
                definition: record.uid.clone(),
                rules: record.rules,
                missing: record.missing,
                until: record.until.and_then(|until| at(until, now, wall)),
            };
            Some((kind.definition(), serde_json::to_string(&in_force).ok()?))
        })
        .collect();
    (!data.is_empty()).then(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(RULES_CONFIG_MAP.to_owned()),
            labels: Some(managed_by_us()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    })
}

fn at(until: Instant, now: Instant, wall: OffsetDateTime) -> Option<String> {
    let left = until.saturating_duration_since(now);
    let at = wall.checked_add(left.try_into().ok()?)?;
    at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

/// Why it is not known what was in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The API server does not show it.
    #[error(
        "the ConfigMap {RULES_CONFIG_MAP} cannot be read; see that control's service account may get it in its namespace"
    )]
    Read(#[source] Box<kube::Error>),
    /// Somebody else wrote it.
    #[error(
        "the ConfigMap {RULES_CONFIG_MAP} does not say how many rules of {0} were in force; see that all rules are \
         there that should be, then delete it"
    )]
    Malformed(String, #[source] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_is_recorded_is_read_and_nothing_else_is_taken_for_it() {
        let now = Instant::now();
        let frozen = Record {
            uid: "u".into(),
            rules: 3,
            missing: 2,
            until: Some(now + Duration::from_secs(90)),
        };
        let wall = datetime!(2026-11-21 12:00 UTC);
        let written = config_map(&[None, Some(frozen.clone())], now, wall).unwrap();
        let mut data = written.data.unwrap();
        let text = &data["clusterauthorizationpolicies.palisade.dev"];
        assert!(text.contains(r#""until":"2026-11-21T12:01:30Z""#), "{text}");
        // How long it takes is found out anew.
        let until = None;
        let expected = [None, Some(Record { until, ..frozen })];
        assert_eq!(read(&data).unwrap(), expected);
        assert_eq!(config_map(&[None, None], now, wall), None);
        let name = "authorizationpolicies.palisade.dev";
        data.insert(name.into(), "3".into());
        let error = read(&data).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
