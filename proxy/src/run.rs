//! Starts the proxy's tasks and stops them: the only place that spawns long-lived work.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use palisade_api::sidecar;
use palisade_api::spiffe::SpiffeId;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::{self, Admin, Pages};
use crate::authorize::PolicyState;
use crate::canary::Canary;
use crate::config::{Config, RecordFormat};
use crate::dial::Dial;
use crate::discovery::addresses::AddressBook;
use crate::discovery::{self, Discovery};
use crate::drain::{drain, terminated};
use crate::identity::control::ControlAddr;
use crate::identity::{Identity, Snapshot, rotate};
use crate::inbound::{self, Inbound, Sources};
use crate::lifecycle::{Alive, Phase};
use crate::list::List;
use crate::listen::{self, Listener};
use crate::outbound::{self, Affinity, Endpoints, Outbound, OwnCall, Peers};
use crate::pod::Pod;
use crate::probe::Prober;
use crate::readiness::{Condition, Readiness};
use crate::telemetry::{Format, Metrics, RecordSettings, Telemetry, Writer};
use crate::transport::{Budget, Settings};
use crate::usage::{Reporter, Usage};

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port is taken, or the kernel refuses.
    #[error("port {port} cannot be listened on; another proxy may run in this pod")]
    Listen {
        /// Which.
        port: u16,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Anything else that the system refuses at start.
    #[error("{what} cannot be set up")]
    System {
        /// What.
        what: &'static str,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

/// Runs the proxy until it is told to stop and its connections have drained.
///
/// # Errors
///
/// Where it cannot start. Once it runs, it refuses connections rather than end.
pub async fn run(config: Config) -> Result<(), RunError> {
    take_open_files();
    let telemetry = start_telemetry(&config)?;
    let identity = Arc::new(Identity::new(config.trust_domain.clone()));
    let (book, asked) = AddressBook::new();
    let discovery = Discovery::new(
        Arc::clone(&identity),
        book.clone(),
        List::all(&config.args.outside_cidr),
    );
    let (readiness, ready) = watch::channel(Readiness::starting());
    let (rotation_state, rotation_states) = watch::channel(rotate::RotationState::default());
    let (phase, phases) = watch::channel(Phase::Running);
    let dial = Dial {
        mark: config.mark(),
        timeout: config.args.connect_timeout,
    };
    let pod = Arc::new(Pod {
        usage: Arc::new(random(Usage::new(OffsetDateTime::now_utc()))?),
        identity: Arc::clone(&identity),
        policy: discovery.rules(),
        book,
        telemetry: Arc::clone(&telemetry),
        budget: Budget::new(config.args.stream_budget_bytes),
        dial,
        readiness: ready.clone(),
        phases,
        sessions: Alive::default(),
        rotation: rotation_states,
        trouble: discovery.trouble(),
        config,
    });
    let canary = random(Canary::new())?;
    let servers = Servers::bind(&pod)?;

    tokio::spawn(keep_svid(rotation(&pod), identity, rotation_state));
    tokio::spawn(Arc::clone(&telemetry).sweep());
    let (ending, ends) = watch::channel(false);
    let reporter = Reporter::new(Arc::clone(&pod.usage), pod.phases.clone(), ends);
    let watching = tokio::spawn(discovery::run(discovery, control(&pod), asked, reporter));
    tokio::spawn(canary.clone().probe(dial, readiness.clone()));
    tokio::spawn(follow_conditions(Arc::clone(&pod), readiness.clone()));
    start_admin(&pod).await?;
    let outbound = servers.spawn(&pod, canary);
    tokio::spawn(outbound::sweep(Arc::clone(&outbound)));

    terminated().await.map_err(|error| RunError::System {
        what: "signals",
        error,
    })?;
    drain(&pod, &outbound.peers, &readiness, &phase).await;
    tell_last(&pod.usage, &ending, watching).await;
    telemetry.close(FLUSH);
    Ok(())
}

fn random<T>(made: io::Result<T>) -> Result<T, RunError> {
    made.map_err(|error| RunError::System {
        what: "randomness",
        error,
    })
}

/// Lets control hear what was counted last. Where it cannot be reached, that is lost.
async fn tell_last(usage: &Usage, ending: &watch::Sender<bool>, watching: JoinHandle<()>) {
    if usage.is_untold() {
        ending.send_replace(true);
        timeout(LAST_COUNTS, watching).await.ok();
    }
}

/// Takes as many open files as the system allows. The usual limit, 1024, spares programs that call `select`; each
/// connection is a file here.
fn take_open_files() {
    let taken = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = taken {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

/// The listeners, bound before anything is promised.
struct Servers {
    inbound: Listener,
    outbound: Listener,
}

impl Servers {
    fn bind(pod: &Pod) -> Result<Self, RunError> {
        let bind = |port| {
            Listener::bind(port, pod.config.args.max_connections)
                .map_err(|error| RunError::Listen { port, error })
        };
        Ok(Self {
            inbound: bind(sidecar::INBOUND_PORT)?,
            outbound: bind(sidecar::OUTBOUND_PORT)?,
        })
    }

    fn spawn(self, pod: &Arc<Pod>, canary: Canary) -> Arc<Outbound> {
        let (own, own_calls) = mpsc::channel(64);
        let sources = Sources::new(pod.config.args.max_handshakes_per_source);
        let inbound = Arc::new(Inbound {
            pod: Arc::clone(pod),
            sources,
        });
        let outbound = Arc::new(Outbound {
            pod: Arc::clone(pod),
            peers: Peers::new(
                Settings::default(),
                pod.budget.clone(),
                CONNECTIONS_PER_PEER,
            ),
            endpoints: Endpoints::default(),
            affinity: Affinity::default(),
            canary,
            own,
        });
        tokio::spawn(accept_inbound(self.inbound, Arc::clone(&inbound)));
        tokio::spawn(accept_own(own_calls, inbound));
        tokio::spawn(accept_outbound(self.outbound, Arc::clone(&outbound)));
        outbound
    }
}

async fn accept_inbound(listener: Listener, inbound: Arc<Inbound>) {
    loop {
        let accepted = listener.accept().await;
        tokio::spawn(inbound::serve(Arc::clone(&inbound), accepted));
    }
}

async fn accept_outbound(listener: Listener, outbound: Arc<Outbound>) {
    loop {
        let accepted = listener.accept().await;
        tokio::spawn(outbound::serve(Arc::clone(&outbound), accepted));
    }
}

async fn accept_own(mut calls: mpsc::Receiver<OwnCall>, inbound: Arc<Inbound>) {
    while let Some(OwnCall { hop, client, dst }) = calls.recv().await {
        tokio::spawn(inbound::serve_own(Arc::clone(&inbound), hop, client, dst));
    }
}

fn start_telemetry(config: &Config) -> Result<Arc<Telemetry>, RunError> {
    let settings = RecordSettings {
        format: match config.args.record_format {
            RecordFormat::Json => Format::Json,
            RecordFormat::Text => Format::Text,
        },
        open_after: config.args.record_open_after,
        progress_every: config.args.record_progress,
        ..RecordSettings::default()
    };
    let metrics = Arc::new(Metrics::new());
    // The descriptor itself: the standard library's stdout would be flushed at every line.
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let writer = stdout.and_then(|stdout| Writer::start(stdout, metrics.records_dropped().clone()));
    let writer = writer.map_err(|error| RunError::System {
        what: "the record writer",
        error,
    })?;
    Ok(Telemetry::new(settings, metrics, writer))
}

fn rotation(pod: &Pod) -> rotate::Rotation {
    rotate::Rotation {
        control: control_addr(pod),
        credential: pod.config.credential.clone(),
    }
}

fn control_addr(pod: &Pod) -> ControlAddr {
    ControlAddr {
        places: pod.config.control.clone(),
        trust_domain: pod.config.trust_domain.clone(),
        mark: pod.config.mark(),
    }
}

fn control(pod: &Pod) -> discovery::Control {
    discovery::Control {
        addr: control_addr(pod),
        workload: pod.config.workload.clone(),
    }
}

async fn keep_svid(
    rotation: rotate::Rotation,
    identity: Arc<Identity>,
    state: watch::Sender<rotate::RotationState>,
) {
    rotate::run(rotation, &identity, &state).await;
}

async fn start_admin(pod: &Arc<Pod>) -> Result<(), RunError> {
    let admin = Admin {
        metrics: pod.telemetry.shared_metrics(),
        readiness: pod.readiness.clone(),
        prober: Arc::new(Prober::new(&pod.config.probes, pod.config.mark())),
        config: Arc::new(status(pod)),
        policy: pod.policy.clone(),
        revoked: Arc::new(revoked(pod)),
        book: pod.book.clone(),
        patience: pod.config.args.lookup_timeout,
    };
    for (pages, ip, port) in [
        (
            Pages::Telemetry,
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
            sidecar::TELEMETRY_PORT,
        ),
        (
            Pages::Probes,
            Ipv6Addr::UNSPECIFIED.into(),
            sidecar::READINESS_PORT,
        ),
        (Pages::All, Ipv4Addr::LOCALHOST.into(), sidecar::ADMIN_PORT),
    ] {
        let listener = listen::on(ip, port).map_err(|error| RunError::Listen { port, error })?;
        tokio::spawn(admin::serve(admin.clone(), pages, listener));
    }
    Ok(())
}

/// Whether every certificate with a name is revoked now.
fn revoked(pod: &Arc<Pod>) -> impl Fn(&SpiffeId) -> bool + Send + Sync + 'static {
    let identity = Arc::clone(&pod.identity);
    move |id| {
        let snapshot = identity.snapshot();
        let revocations = snapshot.revocations.as_ref();
        revocations.is_some_and(|revocations| revocations.revoke_name(id))
    }
}

/// What the loopback admin page says.
fn status(pod: &Arc<Pod>) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
    let pod = Arc::clone(pod);
    move || {
        let snapshot = pod.identity.snapshot();
        let state = pod.policy.borrow();
        let rules = state.rules();
        serde_json::json!({
            "workload": pod.config.workload,
            "excluded_inbound_ports": List::all(&pod.config.args.exclude_inbound_port),
            "identity": snapshot.svid.as_ref().map(|svid| svid.id().to_string()),
            "svid_not_after": snapshot.svid.as_ref().map(|svid| svid.not_after().to_string()),
            "policy_revision": rules.map(|rules| rules.revision),
            "closed_by": rules.and_then(|rules| rules.closed_by.clone()),
            "reasons": pod.readiness.borrow().reasons().collect::<Vec<_>>(),
        })
    }
}

/// Keeps readiness and gauges true: an SVID that expires makes the proxy not ready, with nothing else said.
async fn follow_conditions(pod: Arc<Pod>, readiness: watch::Sender<Readiness>) {
    let mut snapshots = pod.identity.subscribe();
    let mut policy = pod.policy.clone();
    let mut rotation = pod.rotation.clone();
    let mut every = tokio::time::interval(WALL_CLOCK_STEP);
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let state = policy.borrow_and_update().clone();
        rotation.mark_unchanged();
        let [svid, rules, revocations] = conditions(&pod, &snapshot, &state);
        readiness.send_if_modified(|now| {
            let before = now.clone();
            now.svid = svid;
            now.policy = rules;
            now.revocations = revocations;
            *now != before
        });
        if let Some(svid) = &snapshot.svid {
            pod.telemetry.metrics().svid_renewed(svid.not_after());
        }
        if let Some(rules) = state.rules() {
            pod.telemetry
                .metrics()
                .policy_applied(rules.revision, rules.names.iter().cloned());
        }
        tokio::select! {
            _ = every.tick() => {}
            _ = snapshots.changed() => {}
            _ = policy.changed() => {}
            // Why there is no SVID is what whoever waits for one asks.
            _ = rotation.changed() => {}
        }
    }
}

fn conditions(pod: &Pod, snapshot: &Snapshot, state: &PolicyState) -> [Condition; 3] {
    let met = |holds: bool, otherwise: &str, cause: Option<&str>| match cause {
        _ if holds => Condition::Met,
        Some(cause) => Condition::not_yet(format!("{otherwise}: {cause}")),
        None => Condition::not_yet(otherwise.to_owned()),
    };
    let attempt = pod.rotation.borrow();
    let trouble = pod.trouble.borrow();
    let no_svid = match &snapshot.svid {
        Some(_) => "the SVID has expired",
        None => "no SVID was issued yet",
    };
    let is_live = snapshot.live_svid(OffsetDateTime::now_utc()).is_some();
    let (has_rules, has_revocations) = (state.rules().is_some(), snapshot.revocations.is_some());
    [
        met(is_live, no_svid, attempt.last_error.as_deref()),
        met(has_rules, "control sent no policy yet", trouble.as_deref()),
        met(
            has_revocations,
            "control sent no revocations yet",
            trouble.as_deref(),
        ),
    ]
}

/// TLS connections for one endpoint, at most.
const CONNECTIONS_PER_PEER: usize = 4;
const WALL_CLOCK_STEP: Duration = Duration::from_secs(1);
/// For control to hear what was counted last.
const LAST_COUNTS: Duration = Duration::from_millis(500);
const FLUSH: Duration = Duration::from_secs(1);
