//! What goes on while a mesh runs: programs in the background, and the processes of its parts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Mesh, signal, wait_until};

/// A program that runs in a pod, line by line. Ends when it is dropped.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<Vec<Said>>>,
}

/// A line, and when it came.
type Said = (OffsetDateTime, String);

impl Mesh {
    /// Calls `targets` of the shop's programs from a workload's pod, to the end.
    pub(crate) fn call(&self, workload: &str, arguments: &[&str]) -> Output {
        self.exec(workload, &traffic(arguments))
    }

    /// One call of an HTTP server.
    pub(crate) fn call_once(&self, workload: &str, target: &str) -> Output {
        self.call(workload, &[target, "--count", "1"])
    }

    /// Waits until servers answer: a mesh is up once its applications were started, before they listen.
    pub(crate) fn answers(&self, workload: &str, targets: &[&str]) {
        wait_until("the servers to answer", || {
            let answer = self.call(workload, &[targets, &["--count", "1"]].concat());
            answer.status.success().then_some(())
        });
    }

    /// Calls in the background.
    pub(crate) fn calling(&self, workload: &str, arguments: &[&str]) -> Running {
        let mut command = self.command(workload, &traffic(arguments));
        Running::of(
            command
                .stdout(Stdio::piped())
                .spawn()
                .expect("palisade exec runs"),
        )
    }

    /// How a pod is, by its name (`orders-0`), as `palisade ps` says.
    pub(crate) fn pod(&self, name: &str) -> Value {
        let mut pods = self.ps().into_iter();
        pods.find(|pod| pod["name"] == name)
            .unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// A process of a pod: `pod`, `proxy` or `app`.
    pub(crate) fn pid_of(&self, name: &str, part: &str) -> u32 {
        wait_until(&format!("the {part} of {name}"), || {
            self.pod(name)["pids"][part]
                .as_u64()
                .map(|pid| pid.try_into().expect("a pid"))
        })
    }

    /// The process of control, which lives below `palisade up`.
    pub(crate) fn control_pid(&self) -> u32 {
        wait_until("control's process", || {
            below(self.pid()).into_iter().find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut words = line.split(|byte| *byte == 0).skip(1);
                words.next() == Some(b"control") && words.next() == Some(b"run")
            })
        })
    }

    /// Waits until a pod is in a state.
    pub(crate) fn wait_for_state(&self, name: &str, state: &str) -> Value {
        wait_until(&format!("{name} to be {state}"), || {
            Some(self.pod(name)).filter(|pod| pod["state"] == state)
        })
    }

    /// Waits until so many records fit; all that do.
    pub(crate) fn records_at_least(
        &self,
        what: &str,
        count: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        wait_until(&format!("{count} records: {what}"), || {
            let mut records = self.records();
            records.retain(|record| fits(record));
            (records.len() >= count).then_some(records)
        })
    }
}

impl Running {
    /// Listens to a child of which stdout is piped.
    pub(crate) fn of(mut child: Child) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("stdout is piped");
        thread::spawn({
            let said = Arc::clone(&said);
            move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let line = (OffsetDateTime::now_utc(), line);
                    said.lock().expect("nobody panicked").push(line);
                }
            }
        });
        Self { child, said }
    }

    /// Its lines so far, each with the moment at which it came.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.said.lock().expect("nobody panicked").clone()
    }

    /// How many lines of the shop's traffic tell of a failure.
    pub(crate) fn failures(&self) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| line.contains("failed")).count()
    }

    /// Its lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.said().into_iter().map(|(_, line)| line).collect()
    }

    /// Waits until it said so many more lines.
    pub(crate) fn says_more(&self, lines: usize) {
        let before = self.lines().len();
        wait_until("a program to go on", || {
            (self.lines().len() >= before + lines).then_some(())
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), "TERM");
            self.child.wait().expect("it can be waited for");
        }
    }
}

/// When a record was written.
pub(crate) fn at(record: &Value, key: &str) -> OffsetDateTime {
    let text = record[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {record}"));
    OffsetDateTime::parse(text, &Rfc3339).expect(text)
}

fn traffic<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut command = vec!["palisade", "demo", "traffic"];
    command.extend(arguments);
    command
}

/// A process, and all below it.
pub(crate) fn below(ancestor: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").expect("/proc can be read");
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if let Some(parent) = parent.and_then(|text| text.trim().parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}
