//! `palisade up`: a whole mesh on one machine, from one file.
//!
//! This process stays in the terminal: it prints, answers `palisade ps`, `logs` and `exec`, and cleans up.
//! The mesh runs below it; see [`stage`] for its processes.

pub(crate) mod event;
pub(crate) mod sandbox;
pub(crate) mod stage;
pub(crate) mod state;

mod app;
mod board;
mod enter;
mod fabric;
mod mesh;
mod mesh_check;
mod mesh_file;
mod plan;
mod pod;
mod print;
mod rules;
mod sidecar;
mod supervise;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::geteuid;
use palisade_api::manifest::Diagnostic;
use palisade_api::spiffe::TrustDomain;
use time::OffsetDateTime;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use self::board::Board;
use self::mesh::MeshPlan;
use self::mesh_file::Mesh;
use self::plan::Pod;
use self::stage::Stage;
use self::state::{StateDir, part};
use crate::args::{Output, UpArgs};

/// Longer than applications, proxies and control take together.
const GRACE: Duration = Duration::from_secs(14);
/// How often rules that have expired are looked for.
const TIDY: Duration = Duration::from_secs(2);

/// Runs the mesh of a file until it is told to end.
pub(crate) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let mesh = mesh_file::load(&args.file)?;
    rules::check(&mesh.rules)?;
    let name = args.name.clone().unwrap_or_else(|| mesh.name.clone());
    if !mesh_file::is_label(&name) {
        bail!("\"{name}\" cannot be a mesh's name; use a-z, 0-9 and -");
    }
    let state = StateDir::claim(&name)?;
    state::furnish(state.path())?;
    let mut pods = plan::pods(&mesh);
    for pod in &mut pods {
        environment(&mut pod.app.environment);
    }
    write_plan(&mesh, &pods, state.path(), args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.spawn_local(remove_expired_rules(mesh.rules.clone()));
    runtime.block_on(tasks.run_until(serve(args, &name, state.path(), &pods)))
}

/// What a mesh file says, for questions about its rules.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) trust_domain: TrustDomain,
    /// The directory of its rules.
    pub(crate) rules: PathBuf,
    /// Its workloads and namespaces, as control is told of them.
    pub(crate) manifests: String,
}

/// Reads the text of a mesh file, and runs nothing.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(crate) fn described(file: &Path, text: &str) -> Result<Described, Vec<Diagnostic>> {
    let mesh = mesh_file::of_text(file, text).map_err(|error| error.diagnostics())?;
    let manifests = plan::manifests(&mesh, &plan::pods(&mesh));
    Ok(Described {
        trust_domain: mesh.trust_domain,
        rules: mesh.rules,
        manifests,
    })
}

/// Where a running mesh has its rules and workloads.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) trust_domain: String,
    /// The user's directory of rules.
    pub(crate) rules: PathBuf,
    /// A file of its workloads and namespaces.
    pub(crate) workloads: PathBuf,
}

/// Reads what a mesh left in its state directory when it started.
pub(crate) fn running(state: &Path) -> anyhow::Result<Running> {
    let text = std::fs::read_to_string(mesh::plan_file(state));
    let plan: Option<MeshPlan> = text.ok().and_then(|text| serde_json::from_str(&text).ok());
    let plan = plan.context("the mesh's plan cannot be read; is it of another version?")?;
    Ok(Running {
        trust_domain: plan.trust_domain,
        rules: plan.rules,
        workloads: state.join(part::CONFIG).join("mesh.yaml"),
    })
}

/// What applications inherit from the terminal; all else would be chance, or a way out.
fn environment(own: &mut std::collections::BTreeMap<String, String>) {
    for name in ["PATH", "LANG", "LC_ALL", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            own.entry(name.to_owned()).or_insert(value);
        }
    }
    own.entry("HOME".to_owned())
        .or_insert_with(|| "/".to_owned());
}

fn write_plan(mesh: &Mesh, pods: &[Pod], state: &Path, args: &UpArgs) -> anyhow::Result<()> {
    let write = |path: PathBuf, text: &str| {
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(
        state.join(part::CONFIG).join("mesh.yaml"),
        &plan::manifests(mesh, pods),
    )?;
    write(
        state.join("resolv.conf"),
        "# every name is in /etc/hosts\noptions timeout:1 attempts:1\n",
    )?;
    for pod in pods {
        let file = format!("{}.hosts", pod.file_stem());
        write(state.join(part::PODS).join(file), &pod.hosts)?;
    }
    let mut masks = vec![state::base()];
    if !geteuid().is_root()
        && let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR")
    {
        // The user's session bus is there, which would run commands outside of the pod.
        masks.push(PathBuf::from(runtime));
    }
    masks.push(PathBuf::from(format!("/run/user/{}", geteuid())));
    let plan = MeshPlan {
        state: state.to_owned(),
        trust_domain: mesh.trust_domain.to_string(),
        svid_ttl: humantime::format_duration(mesh.svid_ttl)
            .to_string()
            .replace(' ', ""),
        rules: mesh.rules.clone(),
        masks,
        read_only: vec![mesh.rules.clone(), mesh.file.clone()],
        root: geteuid().is_root(),
        app_output: args.app_output,
        pods: pods.to_vec(),
    };
    write(mesh::plan_file(state), &serde_json::to_string(&plan)?)
}

/// For as long as the mesh runs.
async fn remove_expired_rules(directory: PathBuf) {
    let mut every = tokio::time::interval(TIDY);
    loop {
        every.tick().await;
        if let Err(error) = rules::remove_expired(&directory, OffsetDateTime::now_utc()) {
            tracing::warn!(%error, "rules that have expired were not removed");
        }
    }
}

async fn serve(args: &UpArgs, name: &str, state: &Path, pods: &[Pod]) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mut child = start(state)?;
    // Waiting for a child closes its stdin, and that ends the mesh.
    let stdin = child.stdin.take();
    let mesh_pid = child.id().context("the mesh ended at once")?;
    let output = Output::or_by_terminal(args.output);
    let printer = print::start(output)?;
    let board = Rc::new(Board::new(
        name,
        state,
        pods,
        (mesh_pid, args.keep_records),
        printer,
    )?);
    tokio::task::spawn_local(board.clone().answer(state.join(part::SOCKET))?);
    let events = child.stdout.take();
    let told = board.clone();
    let reading =
        tokio::task::spawn_local(supervise::each_line(events, move |line| told.take(line)));
    tokio::task::spawn_local(board.clone().patience());
    let crashed = tokio::select! {
        ended = child.wait() => Some(ended?),
        () = signals.next() => None,
    };
    if crashed.is_none() {
        board.ending();
        drop(stdin);
        tokio::select! {
            _ = timeout(GRACE, child.wait()) => {}
            () = signals.next() => {}
        }
        let _ended_meanwhile = child.kill().await;
    }
    let _lines_of_the_dying = timeout(Duration::from_secs(1), reading).await;
    board.close();
    match crashed {
        Some(status) => bail!("the mesh ended by itself ({status}); all of it is gone"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The mesh's first process, out of reach of the terminal's interrupts.
fn start(state: &Path) -> anyhow::Result<Child> {
    let stage = Stage::Enter(mesh::plan_file(state));
    let mut command = stage::command(&stage, &["enter"])?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0);
    let mut command = Command::from(command);
    command
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the mesh")
}

/// The signals that end a mesh.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
