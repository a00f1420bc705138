//! A pod's proxy: its redirect, its tokens, its power (none that it does not need), its readiness.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use palisade_api::sidecar::{CONTROL_PORT, PROXY_UID, READINESS_PORT};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::app::Log;
use super::event::{Event, State, tell};
use super::plan::GATEWAY_V4;
use super::pod::{PodPlan, Reporter};
use super::stage::{self, Parent, Stage};
use super::state::part;
use super::supervise::{Backoff, Stop, each_line, end, stopped};
use super::{enter, sandbox};

/// How a proxy is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SidecarPlan {
    arguments: Vec<String>,
    /// The state directory, which becomes the proxy's own directory for it.
    state: PathBuf,
    own: PathBuf,
    root: bool,
}

/// Longer than the proxy's own bound for draining.
const GRACE: Duration = Duration::from_secs(5);
/// The proxy's own bound, in the environment; shorter than [`GRACE`].
const DRAIN: &str = "PALISADE_DRAIN_TIMEOUT";
const UNTIL_READY: Duration = Duration::from_millis(50);
const ONCE_READY: Duration = Duration::from_secs(1);
const TOKEN_SOCKET: &str = "token.sock";
const TOKEN_TTL: &str = "5m";
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

fn bypass(plan: &PodPlan) -> &'static str {
    if plan.root { "uid" } else { "mark" }
}

/// Writes the pod's redirect.
pub(crate) async fn redirect(plan: &PodPlan) -> anyhow::Result<()> {
    let arguments = ["proxy", "redirect", "--apply", "--bypass", bypass(plan)];
    let mut command = Command::from(stage::program(&arguments));
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.context("cannot start the redirect")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the redirect was not applied: {}", said.trim());
    }
    Ok(())
}

/// Runs the proxy, again and again, until told to stop.
pub(crate) async fn keep(
    plan: Rc<PodPlan>,
    reporter: Reporter,
    ready: watch::Sender<bool>,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let own = plan.file(part::PODS, "");
    tokio::task::spawn_local(serve_tokens(
        plan.clone(),
        listen_for_proxy(&own, plan.root)?,
    ));
    let log = Log::open(&plan, ".proxy.log");
    let mut backoff = Backoff::new();
    loop {
        backoff.started();
        let mut child = command(&plan, own.clone())?
            .spawn()
            .context("cannot start the proxy")?;
        let pid = child.id();
        reporter.proxy(State::Starting, pid);
        let workload = plan.pod.key();
        let take = move |line: &str| take_record(&workload, line);
        tokio::task::spawn_local(each_line(child.stdout.take(), take));
        tokio::task::spawn_local(each_line(child.stderr.take(), log.writer()));
        let reason = tokio::select! {
            ended = child.wait() => ended.map_or_else(|e| e.to_string(), |s| s.to_string()),
            never = watch_readiness(&plan, &reporter, pid, &ready) => match never {},
            () = stopped(&mut stop) => {
                end(&mut child, GRACE).await;
                return Ok(());
            }
        };
        let said = log.last_line();
        reporter.proxy(
            State::Restarting(format!("proxy ended ({reason}) {said}")),
            None,
        );
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

fn command(plan: &PodPlan, own: PathBuf) -> anyhow::Result<Command> {
    let arguments = [
        "proxy",
        "run",
        "--workload",
        &plan.pod.key(),
        "--trust-domain",
        &plan.trust_domain,
        "--control",
        &format!("{GATEWAY_V4}:{CONTROL_PORT}"),
        "--join-token",
        &plan.state.join(TOKEN_SOCKET).display().to_string(),
        "--bypass",
        bypass(plan),
    ];
    let stage = Stage::Sidecar(SidecarPlan {
        arguments: arguments.map(str::to_owned).to_vec(),
        state: plan.state.clone(),
        own,
        root: plan.root,
    });
    let mut command = Command::from(stage::command(&stage, &["sidecar", &plan.pod.key()])?);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if std::env::var_os(DRAIN).is_none() {
        // Within the grace, so that what is left then is recorded as drained and not merely cut.
        command.env(DRAIN, "3s");
    }
    Ok(command)
}

/// What the proxy writes is one JSON object a line; anything else would be a mistake of the proxy's.
fn take_record(workload: &str, line: &str) {
    if let Ok(record) = serde_json::from_str(line) {
        let workload = workload.to_owned();
        tell(&Event::Record { workload, record });
    }
}

/// Gives up every power but what the proxy needs, and becomes it.
pub(crate) fn become_proxy(plan: &SidecarPlan, parent: &Parent) -> anyhow::Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make the proxy's mount namespace")?;
    enter::nothing_leaves_this_mount_namespace()?;
    // Of the state directory the proxy sees its own part: not control's store, nor another's tokens.
    mount(
        Some(&plan.own),
        &plan.state,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .context("cannot give the proxy its directory")?;
    if plan.root {
        sandbox::keep_capabilities_within(&CapsHashSet::new())?;
        let (uid, gid) = (Uid::from_raw(PROXY_UID), Gid::from_raw(PROXY_UID));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid).context("cannot become the proxy's user")?;
    } else {
        let kept = CapsHashSet::from([Capability::CAP_NET_ADMIN]);
        sandbox::keep_capabilities_within(&kept)?;
        sandbox::give_up_capabilities_but(&kept)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    prctl::set_no_new_privs()?;
    parent.take_along()?;
    let arguments: Vec<&str> = plan.arguments.iter().map(String::as_str).collect();
    let error = stage::program(&arguments).exec();
    Err(error).context("cannot become the proxy")
}

fn listen_for_proxy(own: &Path, root: bool) -> anyhow::Result<UnixListener> {
    std::fs::create_dir_all(own)?;
    std::fs::set_permissions(own, PermissionsExt::from_mode(0o700))?;
    let path = own.join(TOKEN_SOCKET);
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {}", path.display()))?;
    if root {
        for path in [own, &path] {
            chown(path, Some(PROXY_UID), Some(PROXY_UID))?;
        }
    }
    Ok(listener)
}

/// Answers each connection of the proxy's with a fresh join token.
async fn serve_tokens(plan: Rc<PodPlan>, listener: UnixListener) {
    while let Ok((connection, _)) = listener.accept().await {
        if let Err(error) = answer_with_token(&plan, connection).await {
            let line = format!("no join token for {}: {error:#}", plan.pod.key());
            tell(&Event::Output {
                source: "mesh".to_owned(),
                line,
            });
        }
    }
}

async fn answer_with_token(plan: &PodPlan, mut connection: UnixStream) -> anyhow::Result<()> {
    let caller = connection.peer_cred()?.uid();
    let proxy = if plan.root { PROXY_UID } else { 0 };
    if caller != proxy {
        bail!("user {caller} asked for it");
    }
    let arguments = ["control", "token", "create", "--ttl", TOKEN_TTL];
    let output = Command::from(stage::program(&arguments))
        .arg("--store")
        .arg(plan.state.join(part::STORE))
        .args(["--trust-domain", &plan.trust_domain])
        .args(["--namespace", &plan.pod.namespace])
        .args(["--service-account", &plan.pod.service_account])
        .stdin(Stdio::null())
        .output()
        .await?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    connection.write_all(output.stdout.trim_ascii()).await?;
    connection.shutdown().await?;
    Ok(())
}

/// Asks the proxy whether it is ready, for ever, and tells what changes.
async fn watch_readiness(
    plan: &PodPlan,
    reporter: &Reporter,
    pid: Option<u32>,
    ready: &watch::Sender<bool>,
) -> std::convert::Infallible {
    let address = SocketAddr::from((plan.pod.addresses.v4, READINESS_PORT));
    let mut before = State::Starting;
    loop {
        let now = match timeout(PROBE_TIMEOUT, probe(address)).await {
            Ok(Ok(state)) => state,
            // Not listening: it still starts, or will be seen to have ended.
            Ok(Err(_)) => before.clone(),
            Err(_) => State::NotReady("the proxy does not answer".to_owned()),
        };
        if now != before {
            reporter.proxy(now.clone(), pid);
            before = now;
        }
        if before == State::Ready {
            ready.send_replace(true);
            sleep(ONCE_READY).await;
        } else {
            sleep(UNTIL_READY).await;
        }
    }
}

async fn probe(address: SocketAddr) -> std::io::Result<State> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(16_384).read_to_end(&mut answer).await?;
    Ok(readiness(&String::from_utf8_lossy(&answer)))
}

fn readiness(answer: &str) -> State {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => State::Ready,
        Some(_) => {
            let lines: Vec<&str> = body
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .collect();
            State::NotReady(lines.join(", "))
        }
        None => State::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_status_and_its_reasons() {
        let not_ready = "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno SVID\nno policy\n";
        let cases = [
            ("HTTP/1.1 200 OK\r\n\r\nready\n", State::Ready),
            (not_ready, State::NotReady("no SVID, no policy".to_owned())),
            ("", State::Starting),
        ];
        for (answer, expected) in cases {
            assert_eq!(readiness(answer), expected);
        }
    }
}
