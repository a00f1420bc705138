//! The running mesh: the fabric, control, and a child for each pod.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::Handle;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::event::{Event, PodStatus, State, tell};
use super::plan::{GATEWAY_V4, MESH_CIDRS, Pod};
use super::pod::PodPlan;
use super::stage::{self, Stage};
use super::state::part;
use super::supervise::{Backoff, Stop, each_line, end, stopped};
use super::{enter, fabric};

/// All that the mesh needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MeshPlan {
    /// The state directory.
    pub(crate) state: PathBuf,
    pub(crate) trust_domain: String,
    /// As text: `1h`.
    pub(crate) svid_ttl: String,
    /// The user's rules.
    pub(crate) rules: PathBuf,
    /// What applications must not see.
    pub(crate) masks: Vec<PathBuf>,
    /// What applications must not change.
    pub(crate) read_only: Vec<PathBuf>,
    /// Whether real root runs it.
    pub(crate) root: bool,
    pub(crate) app_output: bool,
    pub(crate) pods: Vec<Pod>,
}

/// Where the mesh's plan lies.
pub(crate) fn plan_file(state: &Path) -> PathBuf {
    state.join("plan.json")
}

const CONTROL_GRACE: Duration = Duration::from_secs(2);
const RULES_LOOK: Duration = Duration::from_secs(1);
const CONTROL_START: Duration = Duration::from_secs(20);
/// Longer than an application's grace and a proxy's together.
const POD_GRACE: Duration = Duration::from_secs(9);

/// Runs the mesh until its stdin ends.
pub(crate) fn run(plan: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(plan).context("cannot read the plan")?;
    let plan: MeshPlan = serde_json::from_str(&text).context("cannot read the plan")?;
    // Whoever cleans up outside must not find the user's rules in the state directory.
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make the mesh's mount namespace")?;
    enter::nothing_leaves_this_mount_namespace()?;
    // Renaming a parent of the rules, which an application of the same user could, changes nothing here.
    let rules = plan.state.join(part::RULES);
    mount(
        Some(&plan.rules),
        &rules,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .context("cannot bind the directory of rules")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(serve(Rc::new(plan))))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(plan: Rc<MeshPlan>) -> anyhow::Result<()> {
    fabric::settle_network()?;
    let netlink = fabric::netlink()?;
    fabric::make_bridge(&netlink).await?;
    let (stop_pods, pods_stop) = watch::channel(false);
    let (stop_control, control_stop) = watch::channel(false);
    let (control_ready, mut ready) = watch::channel(false);
    let mut control = JoinSet::new();
    if plan.pods.iter().any(|pod| pod.meshed) {
        control.spawn_local(keep_control(plan.clone(), control_ready, control_stop));
        let waited = timeout(CONTROL_START, ready.wait_for(|ready| *ready)).await;
        if !matches!(waited, Ok(Ok(_))) {
            match control.try_join_next() {
                Some(Ok(Err(error))) => return Err(error),
                _ => bail!("control did not become ready in {CONTROL_START:?}"),
            }
        }
    }
    let mut pods = JoinSet::new();
    for pod in &plan.pods {
        pods.spawn_local(keep_pod(
            plan.clone(),
            pod.clone(),
            netlink.clone(),
            pods_stop.clone(),
        ));
    }
    let rules = tokio::task::spawn_local(watch_for_another_directory(plan.clone()));
    stdin_ends().await?;
    rules.abort();
    stop_pods.send_replace(true);
    let _overdue = timeout(POD_GRACE, async {
        while pods.join_next().await.is_some() {}
    })
    .await;
    stop_control.send_replace(true);
    while control.join_next().await.is_some() {}
    Ok(())
}

/// Says so once another directory stands where that of the rules stood: what is in force is what was there at the
/// start, which an application of the same user could move away, but not change.
async fn watch_for_another_directory(plan: Rc<MeshPlan>) {
    let inode = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    let held = inode(&plan.state.join(part::RULES));
    while inode(&plan.rules) == held {
        sleep(RULES_LOOK).await;
    }
    let line = format!(
        "{} is not the directory that it was; the rules in force are those of the one before: \
         move it back, or end the mesh and start it again",
        plan.rules.display()
    );
    tell(&Event::Output {
        source: "mesh".to_owned(),
        line,
    });
}

/// Waits until whoever holds the other end of stdin lets go.
pub(crate) async fn stdin_ends() -> anyhow::Result<()> {
    let mut stdin = pipe::OpenOptions::new()
        .open_receiver("/proc/self/fd/0")
        .context("stdin is no pipe")?;
    let mut ignored = [0; 64];
    while stdin.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    Ok(())
}

/// Runs control, again and again; an end before it was ever ready is final.
async fn keep_control(
    plan: Rc<MeshPlan>,
    ready: watch::Sender<bool>,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::new();
    loop {
        backoff.started();
        let mut child = control_command(&plan)
            .spawn()
            .context("cannot start control")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let rules = plan.state.join(part::RULES).display().to_string();
        let theirs = plan.rules.display().to_string();
        tokio::task::spawn_local(each_line(stderr, move |line| {
            if let Some(line) = worth_telling(line) {
                tell(&Event::Output {
                    source: "control".to_owned(),
                    line: line.replace(&rules, &theirs),
                });
            }
        }));
        let ready_now = ready.clone();
        tokio::task::spawn_local(each_line(stdout, move |line| {
            if line.contains("\"ready\":true") {
                ready_now.send_replace(true);
            }
        }));
        tokio::select! {
            ended = child.wait() => {
                let status = ended.context("cannot wait for control")?;
                if !*ready.borrow() {
                    bail!("control ended before it was ready: {status}");
                }
                let line = format!("control ended ({status}); starting it again");
                tell(&Event::Output { source: "mesh".to_owned(), line });
            }
            () = stopped(&mut stop) => {
                end(&mut child, CONTROL_GRACE).await;
                return Ok(());
            }
        }
        sleep(backoff.pause()).await;
    }
}

/// What a person needs to know of a line of control's log: not that it does what it is there for.
fn worth_telling(line: &str) -> Option<String> {
    let Ok(log) = serde_json::from_str::<serde_json::Value>(line) else {
        return Some(line.to_owned());
    };
    let text = |key| log.get(key).and_then(serde_json::Value::as_str);
    if matches!(text("level"), Some("INFO" | "DEBUG" | "TRACE")) {
        return None;
    }
    let said = ["message", "error", "peer", "status"]
        .into_iter()
        .filter_map(text);
    let said = said.collect::<Vec<_>>().join(": ");
    Some(if said.is_empty() {
        line.to_owned()
    } else {
        said
    })
}

fn control_command(plan: &MeshPlan) -> Command {
    let listen = format!("{GATEWAY_V4}:{}", palisade_api::sidecar::CONTROL_PORT);
    let mut command = Command::from(stage::program(&["control", "run"]));
    command
        .args([
            "--trust-domain",
            &plan.trust_domain,
            "--svid-ttl",
            &plan.svid_ttl,
        ])
        .args(["--listen", &listen])
        .arg("--store")
        .arg(plan.state.join(part::STORE))
        .arg("--config")
        .arg(plan.state.join(part::RULES))
        .arg("--config")
        .arg(plan.state.join(part::CONFIG))
        .arg("--telemetry-socket")
        .arg(plan.state.join(part::CONTROL))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for cidr in MESH_CIDRS {
        command.args(["--mesh-cidr", cidr]);
    }
    command
}

/// Runs a pod; one that died is made anew, with its network.
async fn keep_pod(plan: Rc<MeshPlan>, pod: Pod, netlink: Handle, mut stop: Stop) {
    let mut backoff = Backoff::new();
    let mut restarts = 0;
    loop {
        backoff.started();
        let reason = match run_pod(&plan, &pod, restarts, &netlink, &mut stop).await {
            Ok(()) if *stop.borrow() => return,
            Ok(()) => "the pod ended".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        restarts += 1;
        let mut status = PodStatus::starting(&pod);
        status.restarts.pod = restarts;
        status.state = State::Restarting(reason);
        tell(&Event::Pod(status));
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn run_pod(
    plan: &MeshPlan,
    pod: &Pod,
    restarts: u32,
    netlink: &Handle,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let stage = Stage::Pod(PodPlan::new(plan, pod.clone(), restarts));
    let mut command = Command::from(stage::command(&stage, &["pod", &pod.key()])?);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("cannot start the pod")?;
    let stdout = child.stdout.take().context("the pod has no stdout")?;
    let mut stdout = BufReader::new(stdout);
    let mut first = String::new();
    stdout.read_line(&mut first).await?;
    if !matches!(serde_json::from_str(&first), Ok(Event::Network)) {
        bail!(
            "the pod could not make its network: {}",
            child.wait().await?
        );
    }
    let mut stdin = child.stdin.take().context("the pod has no stdin")?;
    fabric::plug(netlink, pod.number, child.id().context("the pod ended")?).await?;
    stdin.write_all(b"plugged\n").await?;
    let lines = tokio::task::spawn_local(each_line(Some(stdout), pass_on));
    tokio::select! {
        ended = child.wait() => {
            let status = ended?;
            if !status.success() {
                bail!("the pod ended: {status}");
            }
        }
        () = stopped(stop) => {
            drop(stdin);
            drain(&mut child).await;
        }
    }
    let _panicked = lines.await;
    Ok(())
}

async fn drain(child: &mut Child) {
    if timeout(POD_GRACE, child.wait()).await.is_err() {
        let _ended_meanwhile = child.kill().await;
    }
}

/// A pod's events are the mesh's, as they are.
fn pass_on(line: &str) {
    use std::io::Write as _;
    // A terminal that is gone takes this process with it.
    let _gone = writeln!(std::io::stdout().lock(), "{line}");
}
