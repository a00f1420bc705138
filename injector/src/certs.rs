//! The serving certificate: a Secret that control writes and renews, in use from the next handshake on.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector::Lookup};
use kube::{Api, Client};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use palisade_api::cluster;

use crate::telemetry::metrics::Metrics;

/// A chain with its key.
pub(crate) struct Served {
    key: Arc<CertifiedKey>,
    pub(crate) not_after: OffsetDateTime,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Served");
        shown
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Served {
    /// What the Secret holds, if all of it fits together.
    pub(crate) fn read(secret: &Secret) -> Result<Self, CertificateError> {
        let part = |name: &'static str| {
            let all = secret.data.as_ref();
            let bytes = all.and_then(|parts| parts.get(name));
            bytes.ok_or(CertificateError::Missing(name))
        };
        let (chain, key) = (part(CHAIN)?, part(KEY)?);
        let chain = CertificateDer::pem_slice_iter(&chain.0)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| CertificateError::Pem(CHAIN, source))?;
        let key = PrivateKeyDer::from_pem_slice(&key.0)
            .map_err(|source| CertificateError::Pem(KEY, source))?;
        let not_after = not_after(&chain)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(CertificateError::Mismatch)?;
        let key = Arc::new(key);
        Ok(Self { key, not_after })
    }
}

fn not_after(chain: &[CertificateDer<'_>]) -> Result<OffsetDateTime, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::Missing(CHAIN))?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(CertificateError::Leaf)?;
    Ok(leaf.validity().not_after.to_datetime())
}

/// A configuration that serves with the newest certificate, and refuses handshakes while there is none.
pub(crate) fn tls(
    served: watch::Receiver<Option<Arc<Served>>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Newest(served)));
    // Not HTTP/2: the API server would keep one connection, and with it one replica of ours, for all its reviews,
    // and wait for that one for 45 s after its node is gone.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would go on with the certificate before.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Newest(watch::Receiver<Option<Arc<Served>>>);

impl ResolvesServerCert for Newest {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.borrow();
        served.as_ref().map(|served| Arc::clone(&served.key))
    }
}

/// Follows the Secret until it is dropped. What is unusable or gone never replaces what serves.
pub(crate) async fn follow(
    client: Client,
    namespace: String,
    served: watch::Sender<Option<Arc<Served>>>,
    metrics: Arc<Metrics>,
) {
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let only = format!("metadata.name={}", cluster::WEBHOOK_SECRET);
    let events = watcher(secrets, watcher::Config::default().fields(&only)).default_backoff();
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                if secret.name().as_deref() == Some(cluster::WEBHOOK_SECRET) {
                    take(&secret, &served, &metrics);
                }
            }
            Ok(Event::Delete(_)) => {
                tracing::warn!("the serving certificate was deleted; the last one serves on");
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => tracing::warn!(%error, "the serving certificate cannot be watched"),
        }
    }
}

fn take(secret: &Secret, served: &watch::Sender<Option<Arc<Served>>>, metrics: &Metrics) {
    match Served::read(secret) {
        Ok(new) => {
            metrics.certificate_ends(new.not_after);
            tracing::info!(not_after = %new.not_after, "a serving certificate is in use");
            served.send_replace(Some(Arc::new(new)));
        }
        Err(error) => {
            tracing::error!(error = %crate::telemetry::chain(&error), "the serving certificate is not used");
        }
    }
}

/// Why a Secret is no serving certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// A part is not there.
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    /// A part is no PEM.
    #[error("the Secret's {0} is not PEM")]
    Pem(&'static str, #[source] rustls_pki_types::pem::Error),
    /// The first certificate is none.
    #[error("the certificate cannot be read")]
    Leaf(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// The key is another certificate's, or of an unknown kind.
    #[error("the key does not fit the certificate")]
    Mismatch(#[source] rustls::Error),
}

const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::ByteString;
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

    use super::*;
    use crate::cluster_double::{BOUND, Cluster};

    /// A throw-away authority.
    pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        pub(crate) fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::self_signed(params, key).unwrap())
        }

        pub(crate) fn certificate(&self) -> CertificateDer<'static> {
            self.0.der().clone()
        }

        /// Chain and key of a server, as control writes them.
        pub(crate) fn secret(&self, not_after: OffsetDateTime) -> Secret {
            let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
            params.not_before = not_after - time::Duration::days(30);
            params.not_after = not_after;
            let key = KeyPair::generate().unwrap();
            let leaf = params.signed_by(&key, &self.0).unwrap();
            secret(&leaf.pem(), &key.serialize_pem())
        }
    }

    pub(crate) const NAME: &str = "palisade-injector.palisade-system.svc";

    pub(crate) fn served(authority: &Authority) -> Arc<Served> {
        let end = OffsetDateTime::now_utc() + time::Duration::days(1);
        Arc::new(Served::read(&authority.secret(end)).unwrap())
    }

    fn secret(chain: &str, key: &str) -> Secret {
        let part = |text: &str| ByteString(text.as_bytes().to_vec());
        let parts = [(CHAIN, part(chain)), (KEY, part(key))];
        let parts = parts.map(|(name, part)| (name.to_owned(), part));
        let mut secret = Secret {
            data: Some(parts.into()),
            ..Secret::default()
        };
        secret.metadata.name = Some(cluster::WEBHOOK_SECRET.to_owned());
        secret
    }

    #[test]
    fn what_does_not_fit_together_never_replaces_what_serves() {
        let authority = Authority::new();
        let end = time::macros::datetime!(2099-01-01 00:00 UTC);
        let (sender, served) = watch::channel(None);
        let metrics = Metrics::new();
        take(&authority.secret(end), &sender, &metrics);
        assert_eq!(served.borrow().as_ref().unwrap().not_after, end);
        let text = metrics.text().unwrap();
        let line = format!(
            "certificate_expiration_timestamp_seconds {}",
            end.unix_timestamp()
        );
        assert!(text.contains(&line), "{text}");

        let good = authority.secret(end + time::Duration::days(1));
        let other = authority.secret(end);
        let of = |secret: &Secret, name: &str| {
            String::from_utf8(secret.data.as_ref().unwrap()[name].0.clone()).unwrap()
        };
        let (chain, key) = (of(&good, CHAIN), of(&good, KEY));
        for bad in [
            secret("", &key),
            secret(&chain, ""),
            secret("nothing", &key),
            secret(&chain, &chain),
            secret(&chain, &of(&other, KEY)),
            secret(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key,
            ),
            Secret::default(),
        ] {
            assert!(Served::read(&bad).is_err(), "{bad:?}");
            take(&bad, &sender, &metrics);
            assert_eq!(served.borrow().as_ref().unwrap().not_after, end);
        }
    }

    #[tokio::test]
    async fn the_secret_of_that_name_is_followed() {
        let end = time::macros::datetime!(2099-01-01 00:00 UTC);
        let mut other = Authority::new().secret(end);
        other.metadata.name = Some("other".to_owned());
        let own = Authority::new().secret(end + time::Duration::days(1));
        let path = "/api/v1/namespaces/mesh/secrets";
        let cluster = Cluster::start([(path, serde_json::json!([other, own]))]).await;
        let (sender, mut served) = watch::channel(None);
        let metrics = Arc::new(Metrics::new());
        let following = follow(cluster.client.clone(), "mesh".to_owned(), sender, metrics);
        let seen = async {
            let served = served.wait_for(Option::is_some).await.unwrap();
            served.as_ref().unwrap().not_after
        };
        let seen = tokio::time::timeout(BOUND, async {
            tokio::select! {
                () = following => panic!("it ended"),
                not_after = seen => not_after,
            }
        });
        assert_eq!(seen.await.unwrap(), end + time::Duration::days(1));
    }

    #[test]
    fn no_debug_shows_a_key() {
        let shown = format!("{:?}", served(&Authority::new()));
        assert!(
            shown.starts_with("Served { not_after") && !shown.contains("key"),
            "{shown}"
        );
    }
}
