//! `palisade exec` on a cluster: a command in a workload's own container.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use futures_util::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use kube::{Api, ResourceExt};
use palisade_api::cluster;
use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::client::{self, Scope};
use super::{list, pod};
use crate::args::{ExecArgs, Output};
use crate::records::filter::Replica;
use crate::up::event::State;

/// Runs the command; its exit code is the command's.
pub(crate) async fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let client = client::client(&args.mesh.kube).await?;
    let default = Scope::Namespace(client.default_namespace().to_owned());
    let asked = args.workload.parse::<Replica>()?;
    let scope = match &asked.namespace {
        Some(namespace) => Scope::Namespace(namespace.clone()),
        None => args.mesh.scope.or(default),
    };
    let pods = list::list::<Pod>(&client, &scope).await;
    let pods =
        pods.map_err(|error| anyhow::anyhow!("cannot list pods: {}", list::in_words(&error)))?;
    let chosen = choose(&pods.items, &asked)?;
    let container = container(chosen, args.container.as_deref())?;
    let (namespace, name) = (chosen.namespace().unwrap_or_default(), chosen.name_any());
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let params = AttachParams::default()
        .container(container)
        .stdin(true)
        .stdout(true)
        // A terminal has one output only.
        .stderr(!terminal)
        .tty(terminal)
        .max_stdin_buf_size(BUFFER)
        .max_stdout_buf_size(BUFFER)
        .max_stderr_buf_size(BUFFER);
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let process = api.exec(&name, &args.command, &params).await;
    let process = process.map_err(|error| {
        anyhow::anyhow!(
            "cannot run a command in {namespace}/{name}: {}",
            list::in_words(&error)
        )
    })?;
    let code = attend(process, terminal).await?;
    if args.mesh.output == Some(Output::Json) {
        // On stderr, since stdout is the command's.
        let result = serde_json::json!({"workload": pod::key(chosen), "exit_code": code});
        anstream::eprintln!("{result}");
    }
    Ok(ExitCode::from(code))
}

/// The first pod that is meant and runs; a ready one before others.
fn choose<'a>(pods: &'a [Pod], asked: &Replica) -> anyhow::Result<&'a Pod> {
    let mut named: Vec<&Pod> = pods
        .iter()
        .filter(|one| pod::is_named(one, asked))
        .collect();
    named.sort_by_key(|one| (super::ps::state(one) != State::Ready, pod::key(one)));
    let Some(first) = named.first() else {
        bail!(
            "there is no pod or workload {}; see `palisade ps`, or look elsewhere with -n",
            asked.name
        );
    };
    if let Some(other) = named
        .iter()
        .find(|one| one.namespace() != first.namespace())
    {
        let (one, other) = (pod::key(first), pod::key(other));
        bail!(
            "{} means {one} and {other}; name the namespace with -n",
            asked.name
        );
    }
    let running = named.iter().find(|one| !pod::is_finished(one));
    running
        .copied()
        .with_context(|| format!("{} has ended", pod::key(first)))
}

/// The container that was asked for, or the workload's own first one.
fn container(one: &Pod, asked: Option<&str>) -> anyhow::Result<String> {
    let spec = one.spec.as_ref().context("the pod has no containers")?;
    let names: Vec<&str> = spec
        .containers
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let others = spec
        .init_containers
        .iter()
        .flatten()
        .map(|one| one.name.as_str());
    match asked {
        Some(asked) if names.contains(&asked) || others.into_iter().any(|name| name == asked) => {
            Ok(asked.to_owned())
        }
        Some(asked) => bail!(
            "{} has no container {asked}; it has {}",
            pod::key(one),
            names.join(", ")
        ),
        None => {
            let default = one
                .annotations()
                .get("kubectl.kubernetes.io/default-container");
            let default = default
                .map(String::as_str)
                .filter(|name| names.contains(name));
            let ours = [cluster::PROXY_CONTAINER, cluster::REDIRECT_CONTAINER];
            let first = names.iter().copied().find(|name| !ours.contains(name));
            let name = default
                .or(first)
                .context("the pod has no container of its own")?;
            Ok(name.to_owned())
        }
    }
}

/// Carries what is typed and what is said, until the command ends.
async fn attend(mut process: AttachedProcess, terminal: bool) -> anyhow::Result<u8> {
    let _raw = terminal.then(RawTerminal::enter).transpose()?;
    let status = process.take_status().context("the command has no status")?;
    let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    let sizes = process.terminal_size();
    let typing = tokio::spawn(async move {
        let Some(mut stdin) = stdin else { return };
        let mut typed = typed();
        while let Some(bytes) = typed.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The end of what is typed is told to the command, which may wait for it.
        let _ended = stdin.shutdown().await;
    });
    let resizing = tokio::spawn(async move {
        let Some(mut sizes) = sizes else { return };
        let Ok(mut changed) = signal(SignalKind::window_change()) else {
            return;
        };
        loop {
            if let Ok(size) = termios::tcgetwinsize(std::io::stdout()) {
                let (width, height) = (size.ws_col, size.ws_row);
                if sizes.send(TerminalSize { width, height }).await.is_err() {
                    return;
                }
            }
            changed.recv().await;
        }
    });
    let said = tokio::try_join!(
        copy(stdout, std::io::stdout()),
        copy(stderr, std::io::stderr())
    );
    let status = status.await;
    typing.abort();
    resizing.abort();
    said.context("cannot write what the command says")?;
    let status = status.context("the connection to the command broke")?;
    exit_code(&serde_json::to_value(status)?)
}

/// Reads stdin in a thread of its own, which the end of the process ends: a read from a terminal cannot be called back.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; BUFFER];
        let mut stdin = std::io::stdin().lock();
        while let Ok(length @ 1..) = stdin.read(&mut buffer) {
            let Some(bytes) = buffer.get(..length) else {
                return;
            };
            if sender.blocking_send(bytes.to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn copy(from: Option<impl AsyncRead + Unpin>, mut to: impl Write) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        let Some(bytes @ [_, ..]) = buffer.get(..length) else {
            return Ok(());
        };
        to.write_all(bytes)?;
        to.flush()?;
    }
}

/// The exit code in the status that ends a command.
fn exit_code(status: &serde_json::Value) -> anyhow::Result<u8> {
    if status
        .get("status")
        .is_some_and(|status| status == "Success")
    {
        return Ok(0);
    }
    let causes = status
        .pointer("/details/causes")
        .and_then(|causes| causes.as_array());
    let mut causes = causes.into_iter().flatten();
    let code = causes.find(|cause| {
        cause
            .get("reason")
            .is_some_and(|reason| reason == "ExitCode")
    });
    let code = code.and_then(|cause| cause.get("message")?.as_str()?.parse::<i64>().ok());
    match code {
        Some(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        None => bail!(
            "the command could not be run: {}",
            status
                .get("message")
                .and_then(|text| text.as_str())
                .unwrap_or("no reason was given")
        ),
    }
}

/// The terminal hands on every key, and is put back at the end.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> anyhow::Result<Self> {
        let before =
            termios::tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
            .context("cannot set the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _gone = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

const BUFFER: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, phase: &str, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true},
            ]},
            "spec": {
                "containers": [{"name": "palisade-proxy"}, {"name": "app"}, {"name": "side"}],
                "initContainers": [{"name": "migrate"}],
            },
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_ready_pod_is_preferred_and_an_ended_one_never_taken() {
        let pods = [
            pod("db-0", "Succeeded", false),
            pod("db-1", "Running", false),
            pod("db-2", "Running", true),
        ];
        let asked = |text: &str| text.parse::<Replica>().unwrap();
        assert_eq!(choose(&pods, &asked("db")).unwrap().name_any(), "db-2");
        assert_eq!(choose(&pods[..2], &asked("db")).unwrap().name_any(), "db-1");
        assert!(choose(&pods[..1], &asked("db")).is_err());
        let error = choose(&pods, &asked("web")).unwrap_err().to_string();
        assert!(error.contains("web"), "{error}");
    }

    #[test]
    fn the_workloads_own_container_is_taken() {
        let mut one = pod("db-0", "Running", true);
        assert_eq!(container(&one, None).unwrap(), "app");
        assert_eq!(
            container(&one, Some("palisade-proxy")).unwrap(),
            "palisade-proxy"
        );
        assert_eq!(container(&one, Some("migrate")).unwrap(), "migrate");
        assert!(container(&one, Some("nothing")).is_err());
        let default = "kubectl.kubernetes.io/default-container".to_owned();
        one.annotations_mut().insert(default, "side".into());
        assert_eq!(container(&one, None).unwrap(), "side");
    }

    #[test]
    fn the_exit_code_is_the_commands() {
        let failed = |code: &str| -> Value {
            json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": code}]}})
        };
        assert_eq!(exit_code(&json!({"status": "Success"})).unwrap(), 0);
        assert_eq!(exit_code(&failed("7")).unwrap(), 7);
        assert_eq!(exit_code(&failed("300")).unwrap(), 255);
        let broken = json!({"status": "Failure", "message": "executable file not found"});
        assert!(
            exit_code(&broken)
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }
}
