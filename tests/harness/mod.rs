//! A mesh of the real programs in real namespaces, for one test.
//!
//! `Mesh::up(workloads, rules)` returns when every workload is ready; `exec` runs a program in a workload's
//! pod, `record` waits for a record. Everything waits for what it needs, with a bound, and sleeps for nothing.

mod foreign;
mod lab;
mod running;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

pub(crate) use foreign::Authority;
pub(crate) use lab::{CONTROL, Lab, PODS};
pub(crate) use running::{Running, at, below};

/// Longest wait for anything.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A running mesh. Ends, with everything in it, when it is dropped.
pub(crate) struct Mesh {
    folder: tempfile::TempDir,
    user: User,
    up: Child,
    heard: Arc<Heard>,
}

/// Who runs a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Own,
    /// A user without any power, which root becomes.
    Ordinary,
}

/// What `palisade up` printed so far.
#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

impl Mesh {
    /// Starts a mesh of `workloads` (the list of a mesh file, in YAML) under `rules` (documents, in YAML).
    pub(crate) fn up(workloads: &str, rules: &str) -> Self {
        Self::with_spec(&format!("  workloads:\n{}", indented(workloads, 2)), rules)
    }

    /// Starts a mesh of a whole `spec` but for its rules.
    pub(crate) fn with_spec(spec: &str, rules: &str) -> Self {
        Self::with_environment(spec, rules, &[])
    }

    /// The same, with variables that its proxies and control inherit.
    pub(crate) fn with_environment(spec: &str, rules: &str, variables: &[(&str, &str)]) -> Self {
        let (folder, file) = (written(spec, rules), Path::new("mesh.yaml"));
        let mesh = Self::start_with(folder, file, User::Own, variables);
        mesh.wait_for("the mesh to be up", |line| line["event"] == "up");
        mesh
    }

    /// The same as `up`, run by somebody.
    pub(crate) fn up_as(user: User, workloads: &str, rules: &str) -> Self {
        let spec = format!("  workloads:\n{}", indented(workloads, 2));
        let mesh = Self::start(written(&spec, rules), Path::new("mesh.yaml"), user);
        mesh.wait_for("the mesh to be up", |line| line["event"] == "up");
        mesh
    }

    /// The mesh of a file that exists, once it is up.
    pub(crate) fn of_file(file: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mesh = Self::start(folder, file, User::Own);
        mesh.wait_for("the mesh to be up", |line| line["event"] == "up");
        mesh
    }

    /// Starts the mesh of a file, and waits for nothing. The folder is where it is started.
    pub(crate) fn start(folder: tempfile::TempDir, file: &Path, user: User) -> Self {
        Self::start_with(folder, file, user, &[])
    }

    fn start_with(
        folder: tempfile::TempDir,
        file: &Path,
        user: User,
        variables: &[(&str, &str)],
    ) -> Self {
        if user == User::Ordinary {
            give_to_ordinary_user(folder.path());
        }
        let palisade = palisade_as(user, folder.path());
        // With fewer open files than machines usually give, so that no test depends on a generous one.
        let mut up = Command::new("sh");
        up.args(["-c", "ulimit -Sn 512 && exec \"$0\" \"$@\""])
            .arg(palisade.get_program())
            .args(palisade.get_args())
            .args(["up", "-o", "json"])
            .arg(file)
            .current_dir(folder.path())
            .envs(
                palisade
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        up.stderr(std::fs::File::create(folder.path().join("stderr")).expect("a file can be made"));
        let mut up = up.spawn().expect("palisade starts");
        let heard = Arc::new(Heard::default());
        let stdout = up.stdout.take().expect("stdout is piped");
        thread::spawn({
            let heard = Arc::clone(&heard);
            move || heard.listen(stdout)
        });
        Self {
            folder,
            user,
            up,
            heard,
        }
    }

    /// The folder of the mesh file; rules are in `rules/rules.yaml`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `palisade`, acting on this mesh.
    pub(crate) fn palisade(&self) -> Command {
        palisade_as(self.user, self.folder.path())
    }

    /// Where the mesh keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        let base = match self.user {
            User::Own if is_root() => PathBuf::from("/run/palisade"),
            User::Own | User::Ordinary => self.folder.path().join("run/palisade"),
        };
        base.join(mesh_name(self.folder.path()))
    }

    /// The process of `palisade up`.
    pub(crate) fn pid(&self) -> u32 {
        self.up.id()
    }

    /// A program in a workload's pod, to be started.
    pub(crate) fn command(&self, workload: &str, program: &[&str]) -> Command {
        let mut command = self.palisade();
        command
            .args(["exec", workload, "--"])
            .args(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a program in a workload's pod to its end.
    pub(crate) fn exec(&self, workload: &str, program: &[&str]) -> Output {
        self.command(workload, program)
            .output()
            .expect("palisade exec runs")
    }

    /// Replaces the rules, as an editor does: a new file in the old one's place.
    pub(crate) fn write_rules(&self, rules: &str) {
        let new = self.folder.path().join("rules/.rules.yaml.new");
        std::fs::write(&new, rules).expect("rules can be written");
        std::fs::rename(new, self.folder.path().join("rules/rules.yaml"))
            .expect("rules can be replaced");
    }

    /// Waits for a record that fits.
    pub(crate) fn record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, |line| line.get("direction").is_some() && fits(line))
    }

    /// Both sides' last words on a connection: (outbound, inbound).
    pub(crate) fn both_sides(&self, event: &str, fits: impl Fn(&Value) -> bool) -> (Value, Value) {
        let outbound = self.record(event, |r| {
            r["event"] == event && r["direction"] == "outbound" && fits(r)
        });
        let inbound = self.record(event, |r| {
            r["event"] == event
                && r["direction"] == "inbound"
                && r["conn.id"] == outbound["conn.id"]
        });
        (outbound, inbound)
    }

    /// Every record so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let lines = self.heard.lines.lock().expect("nobody panicked");
        lines
            .iter()
            .filter(|line| line.get("direction").is_some())
            .cloned()
            .collect()
    }

    /// How many records so far fit.
    pub(crate) fn count(&self, fits: impl Fn(&Value) -> bool) -> usize {
        let lines = self.heard.lines.lock().expect("nobody panicked");
        lines
            .iter()
            .filter(|line| line.get("direction").is_some() && fits(line))
            .count()
    }

    /// Waits for a line of `palisade up` that fits.
    pub(crate) fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let lines = self.heard.lines.lock().expect("nobody panicked");
        let (lines, waited) = self
            .heard
            .more
            .wait_timeout_while(lines, BOUND, |lines| !lines.iter().any(&fits))
            .expect("nobody panicked");
        if waited.timed_out() {
            let last: Vec<_> = lines
                .iter()
                .rev()
                .take(40)
                .rev()
                .map(Value::to_string)
                .collect();
            panic!(
                "waited for {what}; the last lines:\n{}\nstderr:\n{}",
                last.join("\n"),
                self.stderr()
            );
        }
        lines
            .iter()
            .find(|line| fits(line))
            .cloned()
            .expect("it was found")
    }

    /// What `palisade up` wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// `palisade ps`, a line each.
    pub(crate) fn ps(&self) -> Vec<Value> {
        let output = self
            .palisade()
            .args(["ps", "-o", "json"])
            .output()
            .expect("palisade ps runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        json_lines(&output.stdout)
    }

    /// Ends the mesh as Ctrl-C does, and waits for its end.
    pub(crate) fn interrupt(&mut self) -> std::process::ExitStatus {
        self.end_by("INT")
    }

    /// Ends the mesh by a signal, and waits for its end.
    pub(crate) fn end_by(&mut self, name: &str) -> std::process::ExitStatus {
        signal(self.up.id(), name);
        self.ended()
    }

    /// Waits for the end of `palisade up`.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        wait_until("the mesh to end", || {
            self.up.try_wait().expect("palisade can be waited for")
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if self.up.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.interrupt();
        }
    }
}

impl Heard {
    fn listen(&self, stdout: impl std::io::Read) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(line) = serde_json::from_str(&line) {
                self.lines.lock().expect("nobody panicked").push(line);
                self.more.notify_all();
            }
        }
    }
}

/// `palisade`, with a mesh name and a state folder of its own, so that tests do not meet.
pub(crate) fn palisade(folder: &Path) -> Command {
    palisade_as(User::Own, folder)
}

/// The same, run by somebody. An ordinary user has a copy of the program, since the original may lie where
/// nobody else looks.
pub(crate) fn palisade_as(user: User, folder: &Path) -> Command {
    let mut command = match user {
        User::Own => Command::new(env!("CARGO_BIN_EXE_palisade")),
        User::Ordinary => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", ORDINARY, "--regid", ORDINARY, "--clear-groups"])
                .arg(folder.join("palisade"))
                .env("HOME", folder);
            command
        }
    };
    std::fs::create_dir_all(folder.join("run")).expect("a folder can be made");
    command
        .current_dir(folder)
        .env("PALISADE_NAME", mesh_name(folder))
        .env("XDG_RUNTIME_DIR", folder.join("run"));
    command
}

const ORDINARY: &str = "61000";

fn give_to_ordinary_user(folder: &Path) {
    std::fs::copy(env!("CARGO_BIN_EXE_palisade"), folder.join("palisade"))
        .expect("the program can be copied");
    std::fs::create_dir_all(folder.join("run")).expect("a folder can be made");
    let owner = format!("{ORDINARY}:{ORDINARY}");
    let status = Command::new("chown")
        .args(["-R", &owner])
        .arg(folder)
        .status();
    assert!(status.expect("chown runs").success(), "this needs root");
}

/// A name that no other test's mesh has.
fn mesh_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "")
}

/// A folder with a mesh file of this spec, and with rules.
pub(crate) fn written(spec: &str, rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::create_dir(folder.path().join("rules")).expect("a folder can be made");
    std::fs::write(folder.path().join("rules/rules.yaml"), rules).expect("rules can be written");
    let mesh = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: LocalMesh\nmetadata: {{name: test}}\nspec:\n  rules: rules\n{spec}"
    );
    std::fs::write(folder.path().join("mesh.yaml"), mesh).expect("the mesh can be written");
    folder
}

/// Whether root runs the tests.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Sends a signal by the `kill` that every Linux has.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success(), "kill -{name} {pid}");
}

/// Asks again and again, with a bound, until there is an answer.
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < BOUND, "waited for {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program's standard output, where it succeeded.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// JSON lines.
pub(crate) fn json_lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes)
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn indented(text: &str, by: usize) -> String {
    let pad = " ".repeat(by);
    text.lines().map(|line| format!("{pad}{line}\n")).collect()
}

/// A rule in a policy of its own: the sentence that most tests begin with.
pub(crate) fn allow(to: &str, from: &str) -> String {
    format!(
        "---\napiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {to}-from-{from}, namespace: shop}}\n\
         spec:\n  target: {{labels: {{app: {to}}}}}\n  rules:\n  - name: {from}-calls-{to}\n    effect: allow\n    from: [{{serviceAccount: shop/{from}}}]\n"
    )
}
