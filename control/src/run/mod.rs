//! Starts what lives long and stops it: the only place that does, beside the accept loops.

mod cluster;
mod files;
mod pages;

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
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

use crate::ca::{self, Ca, CaError};
use crate::config::{CaCommand, Cli, Command, Config, ConfigError, Mode, TokenArgs, TokenCommand};
use crate::file::ReadError;
use crate::grpc::{identity_server::IdentityServer, mesh_server::MeshServer};
use crate::identity::{Attestor, IdentityService, chain};
use crate::index::{Ground, Index};
use crate::kubernetes::{self, ConnectError};
use crate::listen;
use crate::mesh::{MeshService, Roster};
use crate::source::InForce;
use crate::telemetry::{admin, metrics::Metrics};
use crate::tls::{Identity, TlsError};
use crate::token::{self, CreateTokenError};
use crate::usage::Usage;

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
    // In a cluster this waits for the API server, and may be told to stop meanwhile.
    let control = tokio::select! {
        control = Control::start(config) => control?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
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
    ready: watch::Sender<bool>,
    usage: Arc<Usage>,
    running: Running,
}

/// The tasks of a control service.
#[derive(Debug, Default)]
struct Running {
    /// They end by themselves once control stops: the server, when every connection has.
    ending: JoinSet<()>,
    /// They are ended.
    tasks: JoinSet<()>,
}

/// What control serves from, wherever it is found out.
struct Known {
    ca: Arc<Ca>,
    attestor: Attestor,
    index: watch::Receiver<Arc<Index>>,
}

impl Control {
    /// Serves, once everything is known that was written: a denial that is not must not be a denial less.
    ///
    /// From files that is so at once, or never; from a cluster, when the API server has listed everything.
    ///
    /// # Errors
    ///
    /// Where the store, a file, the cluster's configuration or an address cannot be used.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        let (stopping, stop) = watch::channel(false);
        let (ready, is_ready) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let roster = Arc::new(Roster::default());
        let usage = Arc::new(counted(&config, &metrics));
        let (awaits, awaited) = watch::channel(String::new());
        let (tell, in_force) = watch::channel(InForce::default());
        let mut running = Running::default();
        let admin = admin::Admin {
            metrics: Arc::clone(&metrics),
            proxies: matches!(config.mode, Mode::Files(_)).then(|| admin::Proxies {
                roster: Arc::clone(&roster),
                usage: Arc::clone(&usage),
                in_force,
            }),
            ready: is_ready,
            awaited,
        };
        let telemetry = pages::show(&config, admin, &mut running.tasks).await?;
        let known = match &config.mode {
            Mode::Files(files) => files::known(&config, files, (&metrics, tell), &mut running)?,
            Mode::Kubernetes(replica) => {
                let shared = cluster::Shared {
                    shown: kubernetes::Shown {
                        metrics: Arc::clone(&metrics),
                        awaited: awaits,
                    },
                    roster: &roster,
                    usage: &usage,
                    stop: &stop,
                };
                cluster::known(&config, replica, shared, &mut running).await?
            }
        };

        usage.know(known.index.clone());
        running.tasks.spawn(Arc::clone(&usage).keep_saving());
        let watching = MeshService {
            index: known.index.clone(),
            stopping: stop,
            roster,
            usage: Arc::clone(&usage),
            metrics,
        };
        let listen = serve_proxies(&config, known, watching, &mut running).await?;
        ready.send_replace(true);
        Ok(Self {
            listen,
            telemetry,
            stopping,
            ready,
            usage,
            running,
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
        self.ready.send_replace(false);
        self.stopping.send_replace(true);
        let Running { ending, tasks } = &mut self.running;
        let ended = async { while ending.join_next().await.is_some() {} };
        if timeout(STOP_TIME, ended).await.is_err() {
            tracing::warn!("connections outlived the time to stop");
        }
        ending.shutdown().await;
        tasks.shutdown().await;
        self.usage.save();
    }
}

/// What proxies counted before; only files have a store that keeps it.
fn counted(config: &Config, metrics: &Arc<Metrics>) -> Usage {
    let store = match &config.mode {
        Mode::Files(files) => Some(files.store.clone()),
        Mode::Kubernetes(_) => None,
    };
    Usage::open(store, OffsetDateTime::now_utc(), Arc::clone(metrics))
}

/// Binds, and serves proxies from now on.
async fn serve_proxies(
    config: &Config,
    known: Known,
    watching: MeshService,
    running: &mut Running,
) -> Result<SocketAddr, RunError> {
    let Known {
        ca,
        attestor,
        index,
    } = known;
    let identity = Identity {
        ca: Arc::clone(&ca),
        index: index.clone(),
    };
    let (tls, renewed) = watch::channel(identity.server(OffsetDateTime::now_utc(), OWN_TTL)?.0);
    let listener = bind("--listen", config.listen).await?;
    let listen = local_addr(&listener, config.listen)?;
    let stop = watching.stopping.clone();
    let (accepted, connections) = mpsc::channel(QUEUED_CONNECTIONS);
    running.tasks.spawn(renew(identity.clone(), tls));
    running
        .tasks
        .spawn(listen::accept(listener, identity, renewed, accepted));
    let issuing = IdentityService {
        ca,
        attestor,
        svid_ttl: config.svid_ttl,
        index,
        metrics: Arc::clone(&watching.metrics),
    };
    running
        .ending
        .spawn(serve(issuing, watching, connections, stop));
    Ok(listen)
}

/// What every index stands on.
fn ground(config: &Config, ca: &Ca) -> Ground {
    Ground {
        trust_domain: config.trust_domain.clone(),
        authorities: vec![ca.root().certificate().clone()],
        mesh: config.mesh_cidrs.clone(),
        outside: config.outside_cidrs.clone(),
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

/// Where a system has no IPv6, all of its addresses are all of IPv4's.
async fn bind(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = match TcpListener::bind(addr).await {
        Err(error) if addr.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, addr.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| RunError::Bind(flag, addr, source))
}

/// The kernel was built or started without it.
fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
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
    /// There is no way to an API server.
    #[error("the cluster cannot be reached")]
    Connect(#[from] ConnectError),
    /// The task that watches the cluster is gone.
    #[error("the cluster is not watched any more")]
    Unwatched,
    /// Control has no SVID.
    #[error("TLS cannot be served")]
    Tls(#[from] TlsError),
    /// The address is taken, or not ours.
    #[error("{0} {1} cannot be bound")]
    Bind(&'static str, SocketAddr, #[source] io::Error),
    /// The socket cannot be made.
    #[error(
        "--telemetry-socket {0} cannot be made; choose a place in a directory that this user may write"
    )]
    Socket(PathBuf, #[source] io::Error),
    /// Standard output is closed.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

/// Of control's own SVID.
const OWN_TTL: Duration = Duration::from_secs(24 * 3600);
const CLOCK_CHECK: Duration = Duration::from_secs(60);
const STOP_TIME: Duration = Duration::from_secs(5);
/// A peer that vanished is known within two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const QUEUED_CONNECTIONS: usize = 64;
/// A proxy needs one watch, and one renewal now and then.
const MAX_STREAMS: u32 = 16;
const MAX_ISSUE_BYTES: usize = 64 * 1024;
/// An inventory of 65,536 addresses fits.
const MAX_WATCH_BYTES: usize = 8 * 1024 * 1024;
/// The number of `EAFNOSUPPORT` on Linux, for which the standard library has no name.
const EAFNOSUPPORT: i32 = 97;
