//! What is known of the running mesh: states and records, for the terminal and for `ps`, `logs`, `exec`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::geteuid;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;

use super::event::{Event, PodStatus, State};
use super::mesh::MeshPlan;
use super::plan::Pod;
use super::pod::PodPlan;
use super::print::{Line, Printer};
use super::state::part;
use super::supervise::LineFile;
use crate::ask::{LogsQuestion, Problem, Question};
use crate::exec::EnterPod;
use crate::records;

/// All that this process knows.
#[derive(Debug)]
pub(crate) struct Board {
    name: String,
    state: PathBuf,
    mesh_pid: u32,
    pods: Vec<Pod>,
    statuses: RefCell<Vec<PodStatus>>,
    records: RefCell<Records>,
    live: broadcast::Sender<Rc<str>>,
    printer: RefCell<Printer>,
    phase: Cell<Phase>,
}

/// How far the printing is: records wait for the first table, which stands above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    /// Something takes long; its state was shown, and records are printed.
    Waiting,
    Up,
    Ending,
}

#[derive(Debug)]
struct Records {
    kept: VecDeque<Rc<str>>,
    keep: usize,
    unprinted: Vec<Map<String, Value>>,
    file: Option<LineFile>,
}

/// After this the states are shown even if not all are ready.
const PATIENCE: Duration = Duration::from_secs(10);
const RECORDS_FILE_BYTES: usize = 32 << 20;
const FOLLOWERS_LAG: usize = 4096;
const LONGEST_QUESTION: u64 = 4096;

impl Board {
    /// Knows that all pods start.
    pub(crate) fn new(
        name: &str,
        state: &Path,
        pods: &[Pod],
        mesh: (u32, usize),
        printer: Printer,
    ) -> std::io::Result<Self> {
        let (mesh_pid, keep) = mesh;
        Ok(Self {
            name: name.to_owned(),
            state: state.to_owned(),
            mesh_pid,
            pods: pods.to_vec(),
            statuses: RefCell::new(pods.iter().map(PodStatus::starting).collect()),
            records: RefCell::new(Records {
                kept: VecDeque::new(),
                keep,
                unprinted: Vec::new(),
                file: Some(LineFile::create(
                    &state.join(part::RECORDS),
                    RECORDS_FILE_BYTES,
                )?),
            }),
            live: broadcast::Sender::new(FOLLOWERS_LAG),
            printer: RefCell::new(printer),
            phase: Cell::new(Phase::Starting),
        })
    }

    /// Takes a line of the mesh.
    pub(crate) fn take(&self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Event::Network) => {}
            Ok(Event::Pod(status)) => self.take_status(status),
            Ok(Event::Record { workload, record }) => self.take_record(workload, record),
            Ok(Event::Output { source, line }) => self.print(Line::Output { source, line }),
            Err(error) => tracing::debug!(%error, line, "unknown event"),
        }
    }

    fn take_status(&self, status: PodStatus) {
        let mut statuses = self.statuses.borrow_mut();
        let Some(held) = statuses.iter_mut().find(|s| s.workload == status.workload) else {
            return;
        };
        let news = held.state != status.state && status.state != State::Starting;
        *held = status.clone();
        let settled = statuses.iter().all(PodStatus::is_settled);
        drop(statuses);
        match self.phase.get() {
            Phase::Starting | Phase::Waiting if settled => self.show(Phase::Up, "up"),
            Phase::Waiting | Phase::Up if news => {
                let reason = status
                    .state
                    .reason()
                    .map(|r| format!(": {r}"))
                    .unwrap_or_default();
                let line = format!("{}{reason}", status.state.word());
                let source = status.workload;
                self.print(Line::Output { source, line });
            }
            Phase::Starting | Phase::Waiting | Phase::Up | Phase::Ending => {}
        }
    }

    fn show(&self, phase: Phase, word: &'static str) {
        self.phase.set(phase);
        self.print(Line::Table(word, self.name.clone(), self.shown_statuses()));
        let unprinted = std::mem::take(&mut self.records.borrow_mut().unprinted);
        for record in unprinted {
            self.print(Line::Record(record));
        }
    }

    /// Shows the states when some pod takes long.
    pub(crate) async fn patience(self: Rc<Self>) {
        tokio::time::sleep(PATIENCE).await;
        if self.phase.get() == Phase::Starting {
            self.show(Phase::Waiting, "waiting");
        }
    }

    fn take_record(&self, workload: String, record: Map<String, Value>) {
        let mut all = Map::new();
        all.insert("workload".to_owned(), Value::String(workload));
        all.extend(record);
        let text: Rc<str> = Value::Object(all.clone()).to_string().into();
        let mut records = self.records.borrow_mut();
        if let Some(file) = &mut records.file
            && file.append(&text).is_err()
        {
            records.file = None;
        }
        if records.kept.len() >= records.keep {
            records.kept.pop_front();
        }
        if records.keep > 0 {
            records.kept.push_back(text.clone());
        }
        if self.phase.get() == Phase::Starting {
            if records.unprinted.len() < FOLLOWERS_LAG {
                records.unprinted.push(all);
            }
        } else {
            self.print(Line::Record(all));
        }
        let _nobody_follows = self.live.send(text);
    }

    fn print(&self, line: Line) {
        self.printer.borrow().print(line);
    }

    /// The mesh was told to end.
    pub(crate) fn ending(&self) {
        self.phase.set(Phase::Ending);
        self.print(Line::Remark("ending…".to_owned()));
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.printer.borrow_mut().close();
    }

    /// The states, with process ids as this machine numbers them.
    fn shown_statuses(&self) -> Vec<PodStatus> {
        let outer = outer_pids(self.mesh_pid);
        let mut statuses = self.statuses.borrow().clone();
        for status in &mut statuses {
            let pids = &mut status.pids;
            for pid in [&mut pids.pod, &mut pids.proxy, &mut pids.app] {
                *pid = pid.and_then(|inner| outer.get(&inner).copied());
            }
        }
        statuses
    }

    /// Answers questions on a socket; the answers are served from then on.
    pub(crate) fn answer(
        self: Rc<Self>,
        path: PathBuf,
    ) -> anyhow::Result<impl Future<Output = ()>> {
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        Ok(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let board = self.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = board.answer_one(connection).await {
                        tracing::debug!(%error, "question not answered");
                    }
                });
            }
        })
    }

    async fn answer_one(&self, connection: UnixStream) -> anyhow::Result<()> {
        let caller = connection.peer_cred()?.uid();
        anyhow::ensure!(
            caller == 0 || caller == geteuid().as_raw(),
            "user {caller} does not own this mesh"
        );
        let (reading, mut writing) = connection.into_split();
        let mut question = String::new();
        let mut reading = BufReader::new(reading.take(LONGEST_QUESTION));
        reading.read_line(&mut question).await?;
        match serde_json::from_str(&question)? {
            Question::Ps => send(&mut writing, &self.shown_statuses()).await,
            Question::Exec { workload } => match self.way_into(&workload) {
                Ok(way) => send(&mut writing, &way).await,
                Err(error) => send(&mut writing, &Problem { error }).await,
            },
            Question::Usage => match crate::page::of_control(&self.state, "/usage").await {
                Ok(answer) => Ok(writing.write_all(format!("{answer}\n").as_bytes()).await?),
                Err(error) => {
                    let error = format!("{error:#}");
                    send(&mut writing, &Problem { error }).await
                }
            },
            Question::Logs(question) => {
                if let Some(workload) = &question.workload
                    && let Err(error) = self.find(workload)
                {
                    return send(&mut writing, &Problem { error }).await;
                }
                self.send_logs(&question, &mut writing).await
            }
        }
    }

    async fn send_logs(
        &self,
        question: &LogsQuestion,
        writing: &mut tokio::net::unix::OwnedWriteHalf,
    ) -> anyhow::Result<()> {
        // Subscribed before the history is read, so that no record falls between the two.
        let mut live = self.live.subscribe();
        let history: Vec<Rc<str>> = self.records.borrow().kept.iter().cloned().collect();
        for record in history {
            send_record(question, &record, writing).await?;
        }
        if !question.follow {
            return Ok(());
        }
        loop {
            match live.recv().await {
                Ok(record) => send_record(question, &record, writing).await?,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let line = format!("{{\"event\":\"missed\",\"records\":{missed}}}\n");
                    writing.write_all(line.as_bytes()).await?;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }

    fn find(&self, workload: &str) -> Result<&Pod, String> {
        let mut named = self.pods.iter().filter(|pod| is_named(pod, workload));
        let Some(first) = named.next() else {
            let known: Vec<String> = self.pods.iter().map(Pod::key).collect();
            return Err(format!(
                "there is no workload {workload}; there are {}",
                known.join(", ")
            ));
        };
        match named.find(|pod| pod.namespace != first.namespace) {
            Some(other) => Err(format!(
                "{workload} is in {} and in {}; write {}/{workload}",
                first.namespace, other.namespace, first.namespace
            )),
            None => Ok(first),
        }
    }

    fn way_into(&self, workload: &str) -> Result<EnterPod, String> {
        let pod = self.find(workload)?;
        let statuses = self.statuses.borrow();
        let status = statuses.iter().find(|s| s.workload == pod.key());
        let pod_pid = status
            .and_then(|status| status.pids.pod)
            .ok_or_else(|| format!("{} is not there yet; see palisade ps", pod.key()))?;
        let text = std::fs::read_to_string(super::mesh::plan_file(&self.state));
        let plan: Option<MeshPlan> = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        let plan = plan.ok_or("the mesh's plan cannot be read")?;
        Ok(EnterPod {
            mesh_pid: self.mesh_pid,
            pod_pid,
            workload: pod.key(),
            sandbox: PodPlan::new(&plan, pod.clone(), 0).sandbox(),
        })
    }
}

/// Whether a pod is meant by `web`, `web-0`, `shop/web` or `shop/web-0`.
fn is_named(pod: &Pod, asked: &str) -> bool {
    let (namespace, name) = match asked.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, asked),
    };
    namespace.is_none_or(|n| n == pod.namespace) && (name == pod.name || name == pod.workload)
}

async fn send<T: Serialize>(
    writing: &mut tokio::net::unix::OwnedWriteHalf,
    answer: &T,
) -> anyhow::Result<()> {
    let line = serde_json::to_string(answer)?;
    writing.write_all(format!("{line}\n").as_bytes()).await?;
    Ok(())
}

async fn send_record(
    question: &LogsQuestion,
    record: &str,
    writing: &mut tokio::net::unix::OwnedWriteHalf,
) -> anyhow::Result<()> {
    let Ok(parsed) = serde_json::from_str::<Map<String, Value>>(record) else {
        return Ok(());
    };
    if question.denied && !records::is_denied(&parsed) {
        return Ok(());
    }
    if let Some(asked) = &question.workload
        && !records::is_of(&parsed, asked)
    {
        return Ok(());
    }
    writing.write_all(format!("{record}\n").as_bytes()).await?;
    Ok(())
}

/// The mesh's processes: from its own numbers to this machine's.
fn outer_pids(mesh_pid: u32) -> BTreeMap<u32, u32> {
    let namespace = |path: String| std::fs::read_link(path).ok();
    let mesh = namespace(format!("/proc/{mesh_pid}/ns/pid_for_children"));
    let mut pids = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let Some(outer) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        if mesh.is_none() || namespace(format!("/proc/{outer}/ns/pid")) != mesh {
            continue;
        }
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let inner = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .and_then(|numbers| numbers.split_whitespace().last())
            .and_then(|number| number.parse().ok());
        if let Some(inner) = inner {
            pids.insert(inner, outer);
        }
    }
    pids
}
