//! Starts what lives long and stops it: the only place that does, beside the accept loops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::{Config, ConfigError};
use crate::namespaces::{self, Store};
use crate::readiness::Readiness;
use crate::telemetry::{admin, metrics::Metrics};
use crate::webhook::{MAX_REVIEWS, Webhook};
use crate::{certs, control, event, listen};

/// Answers reviews until SIGTERM or SIGINT, and what is asked by then.
///
/// # Errors
///
/// Where the cluster cannot be found, or an address cannot be bound.
pub(crate) async fn run(config: Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let client = Client::try_default()
        .await
        .map_err(|source| RunError::Cluster(source.into()))?;
    let (stopping, stop) = watch::channel(false);
    let (accepting, stop_accepting) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut server = start(&config, client, [stop, stop_accepting], &mut tasks).await?;
    tracing::info!(listen = %config.listen, "the injector listens");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stopping.send_replace(true);
    // Not ready from now on; new connections still come until every node has heard of it.
    sleep(NOTICE_TIME).await;
    accepting.send_replace(true);
    let ended = async { while server.join_next().await.is_some() {} };
    if timeout(STOP_TIME, ended).await.is_err() {
        tracing::warn!("connections outlived the time to stop");
    }
    tasks.shutdown().await;
    Ok(())
}

async fn start(
    config: &Config,
    client: Client,
    [stopping, stop_accepting]: [watch::Receiver<bool>; 2],
    tasks: &mut JoinSet<()>,
) -> Result<JoinSet<()>, RunError> {
    let reviews = bind("--listen", config.listen).await?;
    let telemetry = bind("--telemetry", config.telemetry).await?;
    let metrics = Arc::new(Metrics::new());
    let store = Arc::new(Store::default());
    let (served, certificate) = watch::channel(None);
    let (addresses, control) = watch::channel(Vec::new());
    let (skipped, skips) = mpsc::channel(event::MAX_WAITING);
    let own = || config.system_namespace.clone();

    tasks.spawn(certs::follow(
        client.clone(),
        own(),
        served,
        Arc::clone(&metrics),
    ));
    tasks.spawn(control::follow(
        client.clone(),
        own(),
        config.control_port,
        addresses,
    ));
    tasks.spawn(event::write(client.clone(), skips));
    let (watching, held) = (client.clone(), Arc::clone(&store));
    tasks.spawn(async move { namespaces::follow(watching, &held).await });
    let readiness = Readiness {
        certificate: certificate.clone(),
        control: control.clone(),
        namespaces: Arc::clone(&store),
        stopping,
    };
    let shown = Arc::clone(&metrics);
    tasks.spawn(admin::serve(
        telemetry,
        admin::Admin {
            metrics: shown,
            readiness,
        },
    ));

    let webhook = Arc::new(Webhook {
        settings: config.settings(),
        control,
        system_namespace: own(),
        store,
        cluster: Some(client),
        skipped,
        metrics,
        reviews: Semaphore::new(MAX_REVIEWS),
    });
    let tls = certs::tls(certificate).map_err(RunError::Tls)?;
    let mut server = JoinSet::new();
    server.spawn(listen::serve(reviews, tls, webhook, stop_accepting));
    Ok(server)
}

async fn bind(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(addr)
        .await
        .map_err(|source| RunError::Bind(flag, addr, source))
}

/// Why the injector does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line has mistakes.
    #[error("the command line has mistakes")]
    Config(#[from] ConfigError),
    /// The system gave no runtime, or no signals.
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    /// Neither a pod's service account nor a kubeconfig leads to an API server.
    #[error("no cluster can be reached from here; run it in a pod, or set KUBECONFIG")]
    Cluster(#[source] Box<kube::Error>),
    /// rustls refused the configuration.
    #[error("TLS cannot be served")]
    Tls(#[source] rustls::Error),
    /// The address is taken, or not ours.
    #[error("{0} {1} cannot be bound")]
    Bind(&'static str, SocketAddr, #[source] io::Error),
}

/// Endpoints reach kube-proxy within a second or two.
const NOTICE_TIME: Duration = Duration::from_secs(3);
const STOP_TIME: Duration = Duration::from_secs(10);
