//! Starts what lives long and stops it: the only place that does, beside the accept loops.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use palisade_api::spiffe::{SpiffeId, SpiffeIdError};

use crate::ca::{self, CaError};
use crate::config::{CaCommand, Cli, Command, Config, ConfigError, TokenArgs, TokenCommand};
use crate::file::{Directories, ReadError};
use crate::grpc::{identity_server::IdentityServer, mesh_server::MeshServer};
use crate::identity::{Attestor, IdentityService, chain};
use crate::index::{Ground, Index};
use crate::listen;
use crate::mesh::{MeshService, Roster};
use crate::source::Source;
use crate::telemetry::{admin, metrics::Metrics};
use crate::tls::{Identity, TlsError};
use crate::token::{self, CreateTokenError};

/// Does what the command line says. `run` returns after SIGTERM or SIGINT.
///
/// # Errors
///
/// Where a mistake in the command line, the store, the configuration or the system stops it.
pub fn run(cli: Cli) -> Result<(), RunError> {
    match cli.command {
        Command::Run(args) => {
            let config = Config::try_from(args)?;
            crate::telemetry::start();
            // One thread for connections; signing and the disk are on others.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(RunError::Runtime)?;
            runtime.block_on(until_signalled(config))
        }
        Command::Token(TokenCommand::Create(args)) => print_token(&args),
        Command::Ca(CaCommand::Init(args)) => {
            ca::load_or_create(&args.store, &args.trust_domain)?;
            Ok(())
        }
    }
}

fn print_token(args: &TokenArgs) -> Result<(), RunError> {
    let identity = SpiffeId::of_service_account(
        &args.store.trust_domain,
        &args.namespace,
        &args.service_account,
    )?;
    let now = OffsetDateTime::now_utc();
    let token = token::create(&args.store.store, &identity, args.ttl, now)?;
    writeln!(io::stdout(), "{token}").map_err(RunError::Output)
}

async fn until_signalled(config: Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let control = Control::start(config).await?;
    announce(control.listen()).map_err(RunError::Output)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    control.stop().await;
    Ok(())
}

fn announce(listen: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "control serves proxies at {listen}")?;
    } else {
        writeln!(out, r#"{{"ready":true,"listen":"{listen}"}}"#)?;
    }
    out.flush()
}

/// A running control service. Dropped, it ends at once; [`Control::stop`] tells its proxies first.
#[derive(Debug)]
pub struct Control {
    listen: SocketAddr,
    telemetry: Option<SocketAddr>,
    stopping: watch::Sender<bool>,
    /// Ends once every connection has.
    server: JoinSet<()>,
    tasks: JoinSet<()>,
}

impl Control {
    /// Serves, once the store and every file are good: a denial that cannot be read must not be a denial less.
    ///
    /// # Errors
    ///
    /// Where the store, a file or an address cannot be used.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        let ca = Arc::new(ca::load_or_create(&config.store, &config.trust_domain)?);
        let directories = Directories::watch(config.directories.clone());
        let (source, index) = first_index(&config, &ca)?;
        let (publish, index) = watch::channel(index);
        let identity = Identity {
            ca: Arc::clone(&ca),
            index: index.clone(),
        };
        let (tls, renewed) = watch::channel(identity.server(OffsetDateTime::now_utc(), OWN_TTL)?.0);
        let (stopping, stop) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let roster = Arc::new(Roster::default());

        let listener = bind("--listen", config.listen).await?;
        let listen = local_addr(&listener, config.listen)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(directories, source, publish, Arc::clone(&metrics)));
        tasks.spawn(renew(identity.clone(), tls));
        tasks.spawn(sweep(config.store.clone()));
        let telemetry = match config.telemetry {
            None => None,
            Some(addr) => {
                let listener = bind("--telemetry", addr).await?;
                let addr = local_addr(&listener, addr)?;
                let admin = admin::Admin {
                    metrics: Arc::clone(&metrics),
                    roster: Arc::clone(&roster),
                };
                tasks.spawn(admin::serve(listener, admin));
                Some(addr)
            }
        };
        let (accepted, connections) = mpsc::channel(QUEUED_CONNECTIONS);
        tasks.spawn(listen::accept(listener, identity, renewed, accepted));
        let issuing = IdentityService {
            ca,
            attestor: Attestor::JoinTokens {
                store: config.store,
            },
            svid_ttl: config.svid_ttl,
            index: index.clone(),
            metrics: Arc::clone(&metrics),
        };
        let watching = MeshService {
            index,
            stopping: stop.clone(),
            roster,
            metrics,
        };
        let mut server = JoinSet::new();
        server.spawn(serve(issuing, watching, connections, stop));
        Ok(Self {
            listen,
            telemetry,
            stopping,
            server,
            tasks,
        })
    }

    /// Where it serves proxies.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where it serves telemetry.
    pub fn telemetry(&self) -> Option<SocketAddr> {
        self.telemetry
    }

    /// Ends every watch with the reason, then everything else.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        let ended = async { while self.server.join_next().await.is_some() {} };
        if timeout(STOP_TIME, ended).await.is_err() {
            tracing::warn!("connections outlived the time to stop");
        }
        self.server.shutdown().await;
        self.tasks.shutdown().await;
    }
}

/// The first index takes every file or none.
fn first_index(config: &Config, ca: &ca::Ca) -> Result<(Source, Arc<Index>), RunError> {
    let mut source = Source::new(Ground {
        trust_domain: config.trust_domain.clone(),
        authorities: vec![ca.root().certificate().clone()],
        mesh: config.mesh_cidrs.clone(),
        outside: config.outside_cidrs.clone(),
    });
    let update = source.update(&Directories::read(&config.directories)?);
    match update.index {
        Some(index) if update.errors == 0 => Ok((source, index)),
        _ => Err(RunError::Files(update.new_errors.join("\n"))),
    }
}

/// Files to index, for as long as control lives.
async fn follow(
    directories: Directories,
    mut source: Source,
    publish: watch::Sender<Arc<Index>>,
    metrics: Arc<Metrics>,
) {
    let mut unreadable = None;
    loop {
        let found = match directories.changed().await {
            Ok(found) => found,
            Err(error) => {
                let message = chain(&error);
                if unreadable.as_ref() != Some(&message) {
                    tracing::error!(error = %message, "the last good configuration stays in force");
                    unreadable = Some(message);
                }
                metrics.config_errors(1);
                sleep(UNREADABLE_PAUSE).await;
                continue;
            }
        };
        unreadable = None;
        let update = source.update(&found);
        for error in update.new_errors {
            tracing::error!(%error, "the last good version of the file stays in force");
        }
        metrics.config_errors(update.errors);
        if let Some(index) = update.index {
            publish.send_replace(index);
        }
    }
}

/// Control's own SVID, renewed at half-life by the wall clock.
async fn renew(identity: Identity, tls: watch::Sender<Arc<ServerConfig>>) {
    let mut due = OffsetDateTime::now_utc() + OWN_TTL / 2;
    loop {
        sleep(CLOCK_CHECK).await;
        let now = OffsetDateTime::now_utc();
        if now < due {
            continue;
        }
        match identity.server(now, OWN_TTL) {
            Ok((config, not_after)) => {
                tls.send_replace(config);
                due = now + (not_after - now) / 2;
            }
            Err(error) => tracing::error!(error = %chain(&error), "control's SVID was not renewed"),
        }
    }
}

async fn sweep(store: PathBuf) {
    loop {
        let store = store.clone();
        let swept =
            tokio::task::spawn_blocking(move || token::sweep(&store, OffsetDateTime::now_utc()));
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "expired join tokens were not removed");
        }
        sleep(SWEEP_INTERVAL).await;
    }
}

async fn serve(
    issuing: IdentityService,
    watching: MeshService,
    connections: mpsc::Receiver<io::Result<listen::Connection>>,
    mut stop: watch::Receiver<bool>,
) {
    let stopped = async move {
        // Whoever could say so is gone otherwise, which is a stop too.
        stop.wait_for(|stopping| *stopping).await.ok();
    };
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(IdentityServer::new(issuing).max_decoding_message_size(MAX_ISSUE_BYTES))
        .add_service(MeshServer::new(watching).max_decoding_message_size(MAX_WATCH_BYTES))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped)
        .await;
    if let Err(error) = served {
        tracing::error!(error = %chain(&error), "the gRPC server ended");
    }
}

async fn bind(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(addr)
        .await
        .map_err(|source| RunError::Bind(flag, addr, source))
}

fn local_addr(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, RunError> {
    listener
        .local_addr()
        .map_err(|source| RunError::Bind("--listen", asked, source))
}

/// Why control does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line has mistakes.
    #[error("the command line has mistakes")]
    Config(#[from] ConfigError),
    /// The system gave no runtime, or no signals.
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    /// There is no authority.
    #[error("there is no authority to issue from")]
    Ca(#[from] CaError),
    /// No token was made.
    #[error("no token was made")]
    Token(#[from] CreateTokenError),
    /// A namespace or service account that makes no name.
    #[error("--namespace and --service-account make no SPIFFE ID")]
    Identity(#[from] SpiffeIdError),
    /// A directory cannot be read.
    #[error("the configuration cannot be read")]
    Read(#[from] ReadError),
    /// Files that do not validate.
    #[error("the configuration has mistakes:\n{0}")]
    Files(String),
    /// Control has no SVID.
    #[error("TLS cannot be served")]
    Tls(#[from] TlsError),
    /// The address is taken, or not ours.
    #[error("{0} {1} cannot be bound")]
    Bind(&'static str, SocketAddr, #[source] io::Error),
    /// Standard output is closed.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

/// Of control's own SVID.
const OWN_TTL: Duration = Duration::from_secs(24 * 3600);
const CLOCK_CHECK: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);
const STOP_TIME: Duration = Duration::from_secs(5);
/// A peer that vanished is known within two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const QUEUED_CONNECTIONS: usize = 64;
/// A proxy needs one watch, and one renewal now and then.
const MAX_STREAMS: u32 = 16;
const MAX_ISSUE_BYTES: usize = 64 * 1024;
/// An inventory of 65,536 addresses fits.
const MAX_WATCH_BYTES: usize = 8 * 1024 * 1024;
