//! One pod: its network, its names, its sidecar, its application.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::event::{Event, PodStatus, State, tell};
use super::mesh::MeshPlan;
use super::plan::Pod;
use super::sandbox::SandboxPlan;
use super::state::part;
use super::{app, enter, fabric, sidecar};

/// All that a pod needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodPlan {
    pub(crate) pod: Pod,
    pub(crate) state: PathBuf,
    pub(crate) trust_domain: String,
    pub(crate) masks: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) root: bool,
    pub(crate) app_output: bool,
    /// How often the pod was started before.
    pub(crate) restarts: u32,
}

impl PodPlan {
    /// What the mesh tells one of its pods.
    pub(crate) fn new(mesh: &MeshPlan, pod: Pod, restarts: u32) -> Self {
        Self {
            pod,
            state: mesh.state.clone(),
            trust_domain: mesh.trust_domain.clone(),
            masks: mesh.masks.clone(),
            read_only: mesh.read_only.clone(),
            root: mesh.root,
            app_output: mesh.app_output,
            restarts,
        }
    }

    /// A file of the pod's in a part of the state directory.
    pub(crate) fn file(&self, part: &str, suffix: &str) -> PathBuf {
        self.state
            .join(part)
            .join(format!("{}{suffix}", self.pod.file_stem()))
    }

    /// The sandbox in which its application runs.
    pub(crate) fn sandbox(&self) -> SandboxPlan {
        SandboxPlan {
            app: self.pod.app.clone(),
            masks: self.masks.clone(),
            read_only: self.read_only.clone(),
            root: self.root,
            terminal: false,
        }
    }
}

/// The pod's status, told whenever it changes.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Rc<RefCell<Known>>);

#[derive(Debug)]
struct Known {
    status: PodStatus,
    parts: Parts,
}

/// The state of each part, of which the pod's own is made.
#[derive(Debug)]
struct Parts {
    proxy: State,
    app: State,
}

impl Reporter {
    fn new(plan: &PodPlan) -> Self {
        let mut status = PodStatus::starting(&plan.pod);
        status.pids.pod = Some(std::process::id());
        status.restarts.pod = plan.restarts;
        let proxy = if plan.pod.meshed {
            State::Starting
        } else {
            State::Ready
        };
        let parts = Parts {
            proxy,
            app: State::Starting,
        };
        let reporter = Self(Rc::new(RefCell::new(Known { status, parts })));
        reporter.change(|_, _, _| {});
        reporter
    }

    /// The proxy is now so, with this process.
    pub(crate) fn proxy(&self, state: State, pid: Option<u32>) {
        self.change(|status, proxy, _| {
            status.restarts.proxy += u32::from(matches!(state, State::Restarting(_)));
            status.pids.proxy = pid;
            *proxy = state;
        });
    }

    /// The application is now so, with this process.
    pub(crate) fn app(&self, state: State, pid: Option<u32>) {
        self.change(|status, _, app| {
            status.restarts.app += u32::from(matches!(state, State::Restarting(_)));
            status.pids.app = pid;
            *app = state;
        });
    }

    fn change(&self, change: impl FnOnce(&mut PodStatus, &mut State, &mut State)) {
        let mut held = self.0.borrow_mut();
        let Known { status, parts } = &mut *held;
        change(status, &mut parts.proxy, &mut parts.app);
        status.state = of_parts(&parts.proxy, &parts.app);
        tell(&Event::Pod(status.clone()));
    }
}

/// A pod is as its application is, once its proxy is ready.
fn of_parts(proxy: &State, app: &State) -> State {
    match (proxy, app) {
        (_, State::Ended(_)) => app.clone(),
        (State::Ready, _) => app.clone(),
        _ => proxy.clone(),
    }
}

/// Runs a pod until its stdin ends.
pub(crate) fn run(plan: PodPlan) -> anyhow::Result<ExitCode> {
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(flags).context("cannot make the pod's namespaces")?;
    enter::nothing_leaves_this_mount_namespace()?;
    sethostname(&plan.pod.name).context("cannot set the pod's host name")?;
    bind_over(&plan.file(part::PODS, ".hosts"), "/etc/hosts")?;
    bind_over(&plan.state.join("resolv.conf"), "/etc/resolv.conf")?;
    fabric::settle_network()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(live(Rc::new(plan))))?;
    Ok(ExitCode::SUCCESS)
}

fn bind_over(source: &std::path::Path, target: &str) -> anyhow::Result<()> {
    if !std::path::Path::new(target).exists() {
        return Ok(());
    }
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("cannot give the pod its {target}"))
}

async fn live(plan: Rc<PodPlan>) -> anyhow::Result<()> {
    tell(&Event::Network);
    let mut stdin = pipe::OpenOptions::new()
        .open_receiver("/proc/self/fd/0")
        .context("stdin is no pipe")?;
    stdin
        .read_exact(&mut [0; PLUGGED.len()])
        .await
        .context("no cable came")?;
    fabric::set_up_pod(plan.pod.addresses).await?;
    let reporter = Reporter::new(&plan);
    let (stop_app, app_stop) = watch::channel(false);
    let (stop_proxy, proxy_stop) = watch::channel(false);
    let (is_ready, ready) = watch::channel(!plan.pod.meshed);
    let mut proxy = None;
    if plan.pod.meshed {
        // Before anything of the pod can open a connection: without it, nothing would stop plaintext.
        sidecar::redirect(&plan).await?;
        let kept = sidecar::keep(plan.clone(), reporter.clone(), is_ready, proxy_stop);
        proxy = Some(tokio::task::spawn_local(kept));
    }
    let app = tokio::task::spawn_local(app::keep(plan.clone(), reporter, ready, app_stop));
    let mut ignored = [0; 64];
    while stdin.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    // The application may have last words, for which it needs its proxy.
    stop_app.send_replace(true);
    app.await?;
    stop_proxy.send_replace(true);
    if let Some(proxy) = proxy {
        proxy.await??;
    }
    Ok(())
}

const PLUGGED: &str = "plugged\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_as_its_worst_part() {
        let (failed, again) = (
            State::NotReady("no SVID".into()),
            State::Restarting("x".into()),
        );
        let ended = State::Ended("exit status: 0".into());
        let cases = [
            (State::Ready, State::Ready, State::Ready),
            (State::Starting, State::Starting, State::Starting),
            (failed.clone(), State::Ready, failed.clone()),
            (State::Ready, again.clone(), again.clone()),
            (failed, ended.clone(), ended),
        ];
        for (proxy, app, expected) in cases {
            assert_eq!(of_parts(&proxy, &app), expected);
        }
    }
}
