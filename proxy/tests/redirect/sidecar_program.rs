//! The sidecar's program as a pod runs it: as its own user, without any power, before anything is there for it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use palisade_api::sidecar;
use palisade_proxy::redirect::{Bypass, Redirect};
use tokio::time::Instant;

use crate::lab::{APP_PORT, Lab, POD, V4, V6, redirect};

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_sidecar_that_waits_answers_probes_says_why_and_ends_at_once() {
    for family in [V4, V6] {
        let lab = Lab::of(&[family]);
        lab.pod.enter(|| redirect(Bypass::Uid).apply().unwrap());
        lab.pod.serve(APP_PORT, "app");
        let directory = tempfile::tempdir().unwrap();
        let shared = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), shared).unwrap();
        let program = directory.path().join("palisade-proxy");
        std::fs::copy(env!("CARGO_BIN_EXE_palisade-proxy"), &program).unwrap();
        let probes = format!(
            r#"{{"/probe/app/readiness": {{"tcpSocket": {{"port": {APP_PORT}}}, "timeout_seconds": 1}},
                "/probe/app/liveness": {{"tcpSocket": {{"port": 9}}, "timeout_seconds": 1}}}}"#
        );
        let mut command = Command::new(&program);
        command
            .arg("run")
            .env_clear()
            .env("PALISADE_WORKLOAD", "shop/orders-0")
            .env("PALISADE_CONTROL", "control.invalid:15012,127.0.0.1:15012")
            .env("PALISADE_SERVICE_ACCOUNT_TOKEN", "/nowhere/token")
            .env("PALISADE_TRUST_ANCHOR", "/nowhere/ca.crt")
            .env("PALISADE_EXCLUDE_INBOUND_PORT", "")
            .env("PALISADE_PROBES", probes)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = lab.pod.start_as_proxy(&mut command);

        let ready = eventually(
            &lab,
            family,
            sidecar::READINESS_PORT,
            "/ready",
            "is not there",
        );
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(
            ready.contains("the trust anchor /nowhere/ca.crt is not there yet"),
            "{ready}"
        );
        let telemetry = sidecar::TELEMETRY_PORT;
        let well = ask(&lab, family, telemetry, "/probe/app/readiness").unwrap();
        assert!(well.starts_with("HTTP/1.1 200"), "{well}");
        let unwell = ask(&lab, family, telemetry, "/probe/app/liveness").unwrap();
        assert!(
            unwell.starts_with("HTTP/1.1 503") && unwell.ends_with("refused\n"),
            "{unwell}"
        );

        let told = Instant::now();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(
            told.elapsed() < Duration::from_secs(1),
            "{:?}",
            told.elapsed()
        );
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn empty_variables_exclude_nothing_and_full_ones_do() {
    let lab = Lab::new();
    let apply = |ports: &str, addresses: &str, drop_datagrams: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-proxy"));
        command
            .args(["redirect", "--apply"])
            .env_clear()
            .env("PALISADE_EXCLUDE_INBOUND_PORT", ports)
            .env("PALISADE_EXCLUDE_OUTBOUND_PORT", ports)
            .env("PALISADE_EXCLUDE_OUTBOUND_CIDR", addresses)
            .env("PALISADE_DROP_DATAGRAMS", drop_datagrams);
        assert!(lab.pod.enter(|| command.status().unwrap()).success());
    };
    let nothing = redirect(Bypass::Uid);
    apply("", "", "");
    lab.pod.enter(|| nothing.check().unwrap());
    apply("9090,9100", "10.88.0.0/16,fd88::/64", "true");
    let excluded = Redirect {
        exclude_inbound_ports: vec![9090, 9100],
        exclude_outbound_ports: vec![9090, 9100],
        exclude_outbound: ["10.88.0.0/16", "fd88::/64"]
            .map(|net| net.parse().unwrap())
            .into(),
        drop_datagrams: true,
        ..nothing
    };
    lab.pod.enter(|| excluded.check().unwrap());
}

/// An answer with this in it, once there is one.
fn eventually(lab: &Lab, family: usize, port: u16, path: &str, part: &str) -> String {
    let begun = Instant::now();
    loop {
        match ask(lab, family, port, path) {
            Ok(answer) if answer.contains(part) => return answer,
            last if begun.elapsed() > Duration::from_secs(10) => panic!("{last:?}"),
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Asks from the neighbour, as a kubelet does.
fn ask(lab: &Lab, family: usize, port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = lab.peer.connect(POD[family], port, 0)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
