//! Where the kernel forbids user namespaces: who can do without them does, who cannot is told what to change.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{allow, palisade, repository, stdout, text, written};

const PODS: &str = r#"
  workloads:
  - name: orders
    namespace: shop
    command: [palisade, demo, http, --listen, "[::]:8080"]
    ports: [8080]
  - {name: web, namespace: shop, command: [palisade, demo, wait]}
  - {name: intruder, namespace: shop, command: [palisade, demo, wait]}
"#;

#[test]
#[ignore = "needs root and python3"]
fn an_ordinary_user_is_told_which_setting_to_change() {
    let folder = written(PODS, &allow("orders", "web"));
    let output = without_user_namespaces("61000", folder.path(), "exec \"$0\" up mesh.yaml");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("user.max_user_namespaces"), "{said}");
    assert!(output.stdout.is_empty(), "nothing was started: {output:?}");
}

#[test]
#[ignore = "needs root, python3 and curl"]
fn root_does_without_them_and_gives_applications_no_power() {
    let folder = written(PODS, &allow("orders", "web"));
    let story = r#"
        "$0" up mesh.yaml -o json > lines & up=$!
        for n in $(seq 600); do grep -q '"event":"up"' lines && break; read -t 0.1 <> <(:) || :; done
        "$0" exec web -- sh -c 'id -u; grep -E "Cap|NoNew" /proc/self/status'
        "$0" exec web -- curl -sS http://orders:8080/
        "$0" exec intruder -- curl -sS http://orders:8080/ && echo "let in"
        kill -INT $up; wait $up
    "#;
    let output = without_user_namespaces("0", folder.path(), story);
    let said = stdout(&output);
    let mut lines = said.lines();
    let user: u32 = lines.next().and_then(|id| id.parse().ok()).expect(&said);
    assert!(user >= 2_000_000, "nobody outside: {said}");
    for line in lines.by_ref().take(5) {
        assert!(
            line.starts_with("Cap") && line.ends_with("0000000000000000"),
            "{said}"
        );
    }
    assert_eq!(lines.next(), Some("NoNewPrivs:\t1"), "{said}");
    assert!(
        lines
            .next()
            .is_some_and(|answer| answer.contains("got GET")),
        "{said}"
    );
    assert!(!said.contains("let in"), "{said}");
}

/// Runs a script of bash, whose `$0` is `palisade`, in a user namespace in which no other can be made.
fn without_user_namespaces(user: &str, folder: &Path, script: &str) -> Output {
    let (owner, copy) = (format!("{user}:{user}"), folder.join("palisade"));
    std::fs::copy(env!("CARGO_BIN_EXE_palisade"), &copy).expect("the program can be copied");
    let like_this = palisade(folder);
    let chown = Command::new("chown")
        .args(["-R", &owner])
        .arg(folder)
        .status();
    assert!(chown.expect("chown runs").success(), "this needs root");
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(repository("tests/forbidden.py"))
        .args([user, "bash", "-c", script])
        .arg(copy);
    for (name, value) in like_this.get_envs() {
        command.env(name, value.expect("variables are set here"));
    }
    command
        .env("HOME", folder)
        .current_dir(folder)
        .output()
        .expect("python3 runs")
}
