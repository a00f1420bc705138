//! The authority in a Secret: created once, by whichever replica is first, and never overwritten nor replaced.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use time::OffsetDateTime;

use palisade_api::cluster::{CA_SECRET, TRUST_CONFIG_MAP};
use palisade_api::spiffe::TrustDomain;

use super::{is_managed_by_us, managed_by_us};
use crate::ca::{self, Ca, GenerateError, PairError};

/// The authority of the Secret, which is created where there is none and nobody trusts one yet.
///
/// One that somebody provided is used: one root certificate with its key, whose only name is the trust domain's.
///
/// # Errors
///
/// Where the Secret cannot be read or created, was lost, or is not an authority of this trust domain. It is left as
/// it is.
pub(crate) async fn load_or_create(
    client: &Client,
    namespace: &str,
    trust_domain: &TrustDomain,
) -> Result<Ca, AuthorityError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(secret) = read(&secrets).await? {
        return authority(&secret, trust_domain);
    }
    if let Some(namespace) = trusting(client).await? {
        // It is created before it is trusted, so another replica may just have done both.
        let secret = read(&secrets).await?;
        let secret = secret.ok_or(AuthorityError::Lost { namespace })?;
        return authority(&secret, trust_domain);
    }
    match secrets
        .create(&PostParams::default(), &generated(trust_domain)?)
        .await
    {
        Ok(created) => {
            tracing::info!(secret = CA_SECRET, namespace, "an authority was created");
            authority(&created, trust_domain)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let secret = read(&secrets).await?.ok_or(AuthorityError::Vanished)?;
            authority(&secret, trust_domain)
        }
        Err(error) => Err(AuthorityError::Create(Box::new(error))),
    }
}

async fn read(secrets: &Api<Secret>) -> Result<Option<Secret>, AuthorityError> {
    secrets
        .get_opt(CA_SECRET)
        .await
        .map_err(|error| AuthorityError::Read(Box::new(error)))
}

/// A namespace that was told of an authority: one is in use, and pods of another would not know its pods.
async fn trusting(client: &Client) -> Result<Option<String>, AuthorityError> {
    let config_maps: Api<ConfigMap> = Api::all(client.clone());
    // A selector by name, so that a right by name is enough.
    let named = ListParams::default().fields(&format!("metadata.name={TRUST_CONFIG_MAP}"));
    let found = config_maps
        .list_metadata(&named)
        .await
        .map_err(|error| AuthorityError::Trust(Box::new(error)))?;
    let mut ours = found
        .into_iter()
        .filter(|map| is_managed_by_us(&map.metadata));
    Ok(ours.next().and_then(|map| map.namespace()))
}

fn generated(trust_domain: &TrustDomain) -> Result<Secret, AuthorityError> {
    let made = ca::generate(trust_domain, OffsetDateTime::now_utc())?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(CA_SECRET.to_owned()),
            labels: Some(managed_by_us()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            [
                (CERTIFICATE, made.cert_pem.into_bytes()),
                (KEY, made.key_pem.as_bytes().to_vec()),
            ]
            .map(|(key, value)| (key.to_owned(), ByteString(value)))
            .into(),
        ),
        ..Secret::default()
    })
}

/// What a Secret holds.
fn authority(secret: &Secret, trust_domain: &TrustDomain) -> Result<Ca, AuthorityError> {
    let part = |key: &'static str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .map(|value| value.0.as_slice())
            .filter(|value| !value.is_empty())
            .ok_or(AuthorityError::Half(key))
    };
    ca::from_pem(part(CERTIFICATE)?, part(KEY)?, trust_domain).map_err(AuthorityError::Foreign)
}

/// Why there is no authority to issue from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The API server does not show the Secret.
    #[error(
        "the Secret {CA_SECRET} cannot be read; see that control's service account may get it in its namespace"
    )]
    Read(#[source] Box<kube::Error>),
    /// The API server does not show who trusts one.
    #[error(
        "the ConfigMaps {TRUST_CONFIG_MAP} cannot be listed; see that control's service account may list those of that \
         name in the whole cluster"
    )]
    Trust(#[source] Box<kube::Error>),
    /// It was there once, and is in use.
    #[error(
        "the Secret {CA_SECRET} is gone, and namespace {namespace} trusts what was in it; another authority would \
         split the mesh: restore the Secret from a backup or, where there is none, scale control to 0, delete every \
         ConfigMap {TRUST_CONFIG_MAP}, scale control up, and restart every meshed pod"
    )]
    Lost {
        /// One of those that trust it.
        namespace: String,
    },
    /// The API server does not create it.
    #[error(
        "the Secret {CA_SECRET} cannot be created; see that control's service account may create Secrets in its \
         namespace"
    )]
    Create(#[source] Box<kube::Error>),
    /// No authority could be made.
    #[error("no authority could be made")]
    Generate(#[from] GenerateError),
    /// It was there, and then was not.
    #[error("the Secret {CA_SECRET} was deleted while it was read; start again")]
    Vanished,
    /// A part of it is missing.
    #[error(
        "the Secret {CA_SECRET} has no {0}; restore it from a backup, or delete the Secret if nothing was ever issued \
         from it"
    )]
    Half(&'static str),
    /// What is in it is not ours to use.
    #[error(
        "the Secret {CA_SECRET} is not this mesh's authority; provide one root certificate (tls.crt, its only name \
         being the trust domain's URI) and its key (tls.key), restore both from a backup, or delete the Secret if \
         nothing was ever issued from it"
    )]
    Foreign(#[source] PairError),
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        "cluster.local".parse().unwrap()
    }

    #[test]
    fn what_is_generated_is_loaded() {
        let secret = generated(&domain()).unwrap();
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        let first = authority(&secret, &domain()).unwrap();
        let again = authority(&secret, &domain()).unwrap();
        assert_eq!(first.root().certificate(), again.root().certificate());
    }

    #[test]
    fn each_of_these_secrets_is_refused_with_what_to_do() {
        type Spoil = fn(&mut std::collections::BTreeMap<String, ByteString>);
        type Refused = fn(&AuthorityError) -> bool;
        let spoils: [(Spoil, Refused); 5] = [
            (
                |data| drop(data.remove(CERTIFICATE)),
                |error| matches!(error, AuthorityError::Half(CERTIFICATE)),
            ),
            (
                |data| drop(data.insert(KEY.into(), ByteString(Vec::new()))),
                |error| matches!(error, AuthorityError::Half(KEY)),
            ),
            (
                |data| {
                    let other = generated(&domain()).unwrap().data.unwrap();
                    data.insert(KEY.into(), other[KEY].clone());
                },
                |error| matches!(error, AuthorityError::Foreign(PairError::Mismatch)),
            ),
            (
                |data| {
                    let other = generated(&"partner.example".parse().unwrap()).unwrap();
                    *data = other.data.unwrap();
                },
                |error| matches!(error, AuthorityError::Foreign(PairError::TrustDomain(_))),
            ),
            (
                |data| {
                    let twice = data[CERTIFICATE].0.repeat(2);
                    data.insert(CERTIFICATE.into(), ByteString(twice));
                },
                |error| matches!(error, AuthorityError::Foreign(PairError::Certificate)),
            ),
        ];
        for (at, (spoil, refused)) in spoils.into_iter().enumerate() {
            let mut secret = generated(&domain()).unwrap();
            spoil(secret.data.as_mut().unwrap());
            let error = authority(&secret, &domain()).unwrap_err();
            assert!(refused(&error), "{at}: {error:?}");
            let said = error.to_string();
            assert!(
                said.contains("backup") && said.contains(CA_SECRET),
                "{said}"
            );
        }
    }
}
