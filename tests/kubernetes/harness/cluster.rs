//! The cluster that all tests of a process share.

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{BOUND, Namespace, stdout, text};

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    namespaces: AtomicU32,
    image: OnceLock<String>,
}

impl Cluster {
    /// The cluster of this process: up from the first call to the end of the process.
    ///
    /// It is the script that takes it down, when it sees this process end: a test harness has no last moment
    /// of its own, and a process that is killed has none at all.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::up)
    }

    fn up() -> Self {
        let cluster = Self {
            namespaces: AtomicU32::new(0),
            image: OnceLock::new(),
        };
        let keep = env::var_os(KEEP).is_some_and(|value| !value.is_empty());
        if keep && cluster.run(&["exec", "true"]).status.success() {
            return cluster;
        }
        let process = std::process::id().to_string();
        let arguments: &[&str] = if keep {
            &["up"]
        } else {
            &["up", "--for", &process]
        };
        let output = script(arguments).output().expect("the script runs");
        assert!(
            output.status.success(),
            "{}with {KEEP}=1 a cluster that is up is taken as it is",
            text(&output.stderr)
        );
        cluster
    }

    /// The name of the image of the program as it is now, on both nodes.
    pub(crate) fn palisade_image(&self) -> &str {
        self.image.get_or_init(|| {
            let file = cache().join("palisade.tar");
            let output = Command::new(repository("injector/image/build"))
                .args(["kube.local/palisade:test".as_ref(), file.as_os_str()])
                .env("PROFILE", "image-test")
                .env("CARGO_TARGET_DIR", cache().join("target"))
                .output()
                .expect("the image's builder runs");
            stdout(&output);
            stdout(&self.run(&["load", &file.to_string_lossy()]));
            "kube.local/palisade:test".to_owned()
        })
    }

    /// A namespace that nothing else uses, deleted when it is dropped.
    pub(crate) fn namespace(&'static self, purpose: &str) -> Namespace {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        Namespace::create(self, format!("{purpose}-{}-{number}", std::process::id()))
    }

    /// Runs kubectl as the cluster's administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        self.run(&[&["kubectl"], arguments].concat())
    }

    /// Applies objects written in YAML.
    pub(crate) fn apply(&self, yaml: &str) {
        stdout(&self.fed(&["kubectl", "apply", "-f", "-"], yaml));
    }

    /// Runs a command of the cluster's script.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        bounded(arguments).output().expect("the script runs")
    }

    /// The same, with this as its standard input.
    pub(crate) fn fed(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = bounded(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let mut stdin = child.stdin.take().expect("its input is piped");
        let input = input.to_owned();
        // Beside: it may say more than a pipe holds before it has read all.
        let fed = thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("the script ends");
        // One that read no further says why in its output.
        drop(fed.join().expect("it is fed"));
        output
    }

    /// Starts a command of the cluster's script. What it prints goes to the two files that are given.
    pub(crate) fn start(&self, arguments: &[&str], out: File, errors: File) -> Child {
        bounded(arguments)
            .stdout(out)
            .stderr(errors)
            .spawn()
            .expect("the script starts")
    }
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(repository("tests/kubernetes/cluster"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The same, killed when it takes longer than anything may.
fn bounded(arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .arg(BOUND.as_secs().to_string())
        .arg(repository("tests/kubernetes/cluster"))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Where the script keeps what it builds.
fn cache() -> PathBuf {
    let of = |variable, below: &str| env::var_os(variable).map(|at| Path::new(&at).join(below));
    of("PALISADE_TEST_CACHE", "")
        .or_else(|| of("XDG_CACHE_HOME", "palisade-tests"))
        .or_else(|| of("HOME", ".cache/palisade-tests"))
        .expect("there is a home")
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const KEEP: &str = "PALISADE_KEEP_CLUSTER";
