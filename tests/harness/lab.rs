//! The programs themselves, without `palisade up`: control and two pods in network namespaces made with `ip`.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::{Running, stdout};

/// The namespaces: control's, and one for each pod, on one link.
pub(crate) struct Lab {
    name: String,
    folder: tempfile::TempDir,
}

pub(crate) const PODS: [(&str, &str, &str); 2] = [
    ("client", "10.78.0.2", "fd78::2"),
    ("server", "10.78.0.3", "fd78::3"),
];
pub(crate) const CONTROL: &str = "10.78.0.1:15012";

impl Lab {
    pub(crate) fn new() -> Self {
        let name = format!("palisade-late-{}", std::process::id());
        let lab = Self {
            name,
            folder: tempfile::tempdir().unwrap(),
        };
        let hub = lab.namespace("hub");
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link add hub type bridge"));
        ip(&format!("-n {hub} addr add 10.78.0.1/24 dev hub"));
        ip(&format!("-n {hub} addr add fd78::1/64 dev hub nodad"));
        ip(&format!("-n {hub} link set hub up"));
        for (pod, v4, v6) in PODS {
            let namespace = lab.namespace(pod);
            ip(&format!("netns add {namespace}"));
            ip(&format!(
                "-n {namespace} link add eth0 type veth peer name {pod} netns {hub}"
            ));
            ip(&format!("-n {hub} link set {pod} master hub up"));
            ip(&format!("-n {namespace} addr add {v4}/24 dev eth0"));
            ip(&format!("-n {namespace} addr add {v6}/64 dev eth0 nodad"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} link set eth0 up"));
            ip(&format!("-n {namespace} route add default via 10.78.0.1"));
            ip(&format!("-n {namespace} route add default via fd78::1"));
        }
        lab
    }

    fn namespace(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn palisade(&self, part: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &self.namespace(part),
                env!("CARGO_BIN_EXE_palisade"),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, part: &str, arguments: &[&str]) -> Output {
        self.palisade(part, arguments).output().expect("ip runs")
    }

    pub(crate) fn start(&self, part: &str, arguments: &[&str]) -> Running {
        let child = self.palisade(part, arguments).stderr(Stdio::null()).spawn();
        Running::of(child.expect("ip runs"))
    }

    pub(crate) fn start_proxy(&self, pod: &str) -> Running {
        let applied = self.run(pod, &["proxy", "redirect", "--apply", "--bypass", "mark"]);
        stdout(&applied);
        let store = self.path("store");
        let token = self.run(
            "hub",
            &[
                "control",
                "token",
                "create",
                "--store",
                &store,
                "--trust-domain",
                "cluster.local",
                "--namespace",
                "shop",
                "--service-account",
                pod,
            ],
        );
        fs::write(self.path(pod), stdout(&token)).unwrap();
        self.start(
            pod,
            &[
                "proxy",
                "run",
                "--workload",
                &format!("shop/{pod}"),
                "--control",
                CONTROL,
                "--join-token",
                &self.path(pod),
                "--bypass",
                "mark",
            ],
        )
    }

    pub(crate) fn call(&self, target: &str) -> Output {
        self.run("client", &["demo", "traffic", target, "--count", "1"])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for part in ["hub", "client", "server"] {
            let namespace = self.namespace(part);
            let ended = Command::new("ip")
                .args(["netns", "del", &namespace])
                .status();
            assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status();
    assert!(status.expect("ip runs").success(), "ip {arguments}");
}
