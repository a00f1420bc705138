//! What people type beside `palisade up`, and what they see: on a terminal, in a pipe, as JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Mesh, allow, json_lines, palisade, stdout, text, wait_until};

const SHOP: &str = r#"
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- name: orders
  namespace: shop
  replicas: 2
  command: [palisade, demo, http, --listen, "[::]:8080"]
  ports: [8080]
- {name: intruder, namespace: shop, command: [palisade, demo, wait]}
"#;

#[test]
fn workloads_and_records_are_shown_to_people_and_to_programs() {
    let mesh = shop_with_two_calls();
    let ps = stdout(&run(&mesh, &["ps", "-o", "text"]));
    assert!(!ps.contains('\u{1b}'), "no colour in a pipe: {ps}");
    assert!(ps.starts_with("WORKLOAD"));
    for pod in ["web-0", "orders-0", "orders-1", "intruder-0"] {
        let line = ps
            .lines()
            .find(|l| l.starts_with(&format!("shop/{pod} ")))
            .unwrap();
        assert!(
            line.contains("spiffe://cluster.local/ns/shop/sa/"),
            "{line}"
        );
        assert!(
            line.contains("10.111.0.") && line.contains("fd70::"),
            "{line}"
        );
        assert!(line.ends_with(" ready"), "{line}");
    }
    assert_eq!(
        json_lines(&run(&mesh, &["ps"]).stdout),
        mesh.ps(),
        "a pipe gets JSON"
    );
    records_are_readable(&mesh);
    records_are_chosen(&mesh);
}

fn records_are_readable(mesh: &Mesh) {
    let logs = stdout(&run(mesh, &["logs", "-o", "text"]));
    assert!(!logs.contains('\u{1b}'), "no colour in a pipe: {logs}");
    let allowed: Vec<&str> = logs.lines().filter(|l| l.contains("close")).collect();
    let rule = "shop/orders-from-web/web-calls-orders";
    assert!(
        allowed
            .iter()
            .any(|l| l.contains("shop/web-0") && l.ends_with(rule)),
        "{logs}"
    );
    let why = logs
        .lines()
        .find(|l| l.contains("no rule allows it"))
        .unwrap();
    assert!(why.contains(rule), "the near miss is named: {why}");
    assert!(
        !logs.contains("no_rule"),
        "a reason is said once, in words: {logs}"
    );
    // Who is called begins in the same column everywhere.
    let columns: Vec<usize> = logs
        .lines()
        .filter_map(|l| Some(l[..l.find('→')?].chars().count()))
        .collect();
    assert!(
        columns.len() >= 4 && columns.iter().all(|at| *at == columns[0]),
        "{logs}"
    );
}

fn records_are_chosen(mesh: &Mesh) {
    let all = json_lines(&run(mesh, &["logs"]).stdout);
    let denied = json_lines(&run(mesh, &["logs", "--denied"]).stdout);
    let of_orders = json_lines(&run(mesh, &["logs", "orders", "-o", "json"]).stdout);
    let of_web = json_lines(&run(mesh, &["logs", "shop/web-0"]).stdout);
    assert!(!denied.is_empty() && denied.len() < all.len());
    assert!(
        denied
            .iter()
            .all(|r| r["event"] == "denied" || r["event"] == "tls_failed")
    );
    for (records, of) in [(of_orders, "shop/orders-"), (of_web, "shop/web-0")] {
        assert!(!records.is_empty());
        let is_of = |r: &Value| r["workload"].as_str().unwrap().starts_with(of);
        assert!(records.iter().all(is_of), "{records:?}");
    }
    records_are_chosen_by_their_ends_and_joined(mesh, &all);
    for record in &all {
        for key in [
            "time",
            "event",
            "conn.id",
            "direction",
            "src.addr",
            "dst.addr",
            "bytes_sent",
        ] {
            assert!(record.get(key).is_some(), "{key}: {record}");
        }
    }
}

fn records_are_chosen_by_their_ends_and_joined(mesh: &Mesh, all: &[Value]) {
    let by_web = ["logs", "--from", "shop/web", "--to", "orders"];
    let of_web = json_lines(&run(mesh, &by_web).stdout);
    assert!(!of_web.is_empty() && of_web.len() < all.len());
    let paired = json_lines(&run(mesh, &[&by_web[..], &["--pair"]].concat()).stdout);
    let joined = paired
        .iter()
        .find(|r| r["event"] == "close" && r["direction"] == "both")
        .unwrap();
    let sides = |r: &&Value| r["event"] == "close" && r["conn.id"] == joined["conn.id"];
    assert_eq!(all.iter().filter(sides).count(), 2, "{all:?}");
    assert_eq!(paired.iter().filter(sides).count(), 1, "{paired:?}");
}

#[test]
fn logs_follow_what_comes() {
    let mesh = shop_with_two_calls();
    let mut logs = mesh
        .palisade()
        .args(["logs", "-f", "--denied", "intruder"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    let before = mesh.records().len();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(
        next()["workload"],
        "shop/intruder-0",
        "what was before comes first"
    );
    // Another destination, since repetitions of one denial are counted instead of said.
    let orders = mesh
        .ps()
        .into_iter()
        .find(|pod| pod["name"] == "orders-1")
        .unwrap();
    let address = orders["addresses"][0].as_str().unwrap().to_owned();
    call(&mesh, "web", &format!("http://{address}:8080/"));
    call(&mesh, "intruder", &format!("http://{address}:8080/"));
    let new = wait_until("a new denial", || {
        let record = next();
        (record["dst.addr"] == format!("{address}:8080").as_str()).then_some(record)
    });
    assert_eq!(new["src.workload"], "intruder-0");
    assert_eq!(new["direction"], "outbound");
    assert!(mesh.records().len() > before);
    drop(mesh);
    let ended = wait_until("logs -f to end with the mesh", || logs.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}

#[test]
fn exec_is_the_command_it_runs() {
    let mesh = Mesh::up(SHOP, &allow("orders", "web"));
    let run = |program: &[&str]| mesh.exec("web", program);
    assert_eq!(run(&["sh", "-c", "exit 42"]).status.code(), Some(42));
    assert_eq!(
        run(&["sh", "-c", "kill -TERM $$"]).status.code(),
        Some(128 + 15)
    );
    let missing = run(&["no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("no-such-program"));
    assert_eq!(run(&["/etc/hostname"]).status.code(), Some(126));
    let both = run(&["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (text(&both.stdout), text(&both.stderr)),
        ("out\n".into(), "err\n".into())
    );
    assert_eq!(stdout(&run(&["hostname"])).trim(), "web-0");
    assert_eq!(
        stdout(&run(&["printf", "%s|", "a b", "--", "-x"])),
        "a b|--|-x|"
    );
    exec_passes_stdin_on(&mesh);
    exec_tells_the_exit_code_as_json(&mesh);
}

fn exec_passes_stdin_on(mesh: &Mesh) {
    let mut cat = mesh
        .command("web", &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent = "through stdin\n".repeat(100_000);
    let mut stdin = cat.stdin.take().unwrap();
    let writing = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(sent.as_bytes())
    });
    let output = cat.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(
        output.stdout == sent.as_bytes(),
        "{} bytes came back",
        output.stdout.len()
    );
}

fn exec_tells_the_exit_code_as_json(mesh: &Mesh) {
    let json = mesh
        .palisade()
        .args([
            "exec",
            "orders-1",
            "-o",
            "json",
            "--",
            "sh",
            "-c",
            "hostname; exit 3",
        ])
        .output()
        .unwrap();
    assert_eq!(
        (json.status.code(), text(&json.stdout)),
        (Some(3), "orders-1\n".to_owned())
    );
    let said = json_lines(&json.stderr);
    assert_eq!(
        (&said[0]["workload"], &said[0]["exit_code"]),
        (&"shop/orders-1".into(), &3.into())
    );
}

#[test]
#[ignore = "needs script of util-linux"]
fn a_terminal_has_colours_and_is_passed_on_to_exec() {
    let mesh = shop_with_two_calls();
    let (red, green) = ("\u{1b}[31m", "\u{1b}[32m");
    let ps = on_terminal(&mesh, "ps");
    assert!(
        ps.starts_with("\u{1b}") || ps.contains("WORKLOAD"),
        "text is the default there: {ps:?}"
    );
    assert!(ps.contains(&format!("{green}ready")), "{ps:?}");
    let logs = on_terminal(&mesh, "logs");
    let denial = logs.lines().find(|line| line.contains("denied")).unwrap();
    assert!(denial.contains(red), "{denial:?}");
    let allowed = logs.lines().find(|line| line.contains("close")).unwrap();
    assert!(!allowed.contains(red), "{allowed:?}");
    assert!(on_terminal(&mesh, "logs -o json").starts_with('{'));
    let plain = on_terminal(&mesh, "ps; NO_COLOR=1 palisade ps");
    assert!(plain.contains("  ready"), "NO_COLOR is heard: {plain:?}");

    let tty = on_terminal(
        &mesh,
        "exec web -- sh -c 'test -t 0 && test -t 1 && stty size; exit 7'; echo code $?",
    );
    assert!(tty.contains("33 140") && tty.contains("code 7"), "{tty:?}");
    // Ctrl-C on that terminal ends the command, and not the mesh.
    let interrupted = on_terminal(
        &mesh,
        "exec web -- sh -c 'trap \"echo caught; exit 9\" INT; kill -INT $$'; echo code $?",
    );
    assert!(
        interrupted.contains("caught") && interrupted.contains("code 9"),
        "{interrupted:?}"
    );
    assert_eq!(mesh.ps().len(), 4);
}

/// What a terminal of 140 columns shows of `palisade …`.
fn on_terminal(mesh: &Mesh, arguments: &str) -> String {
    let palisade = mesh.palisade();
    let program = palisade.get_program().to_string_lossy().into_owned();
    let line =
        format!("stty rows 33 cols 140; palisade() {{ {program} \"$@\"; }}; palisade {arguments}");
    // Whoever started the tests in the background left SIGINT ignored, which a shell cannot trap.
    let mut script = Command::new("env");
    script
        .args(["--default-signal=INT", "script", "-qec", &line, "/dev/null"])
        .current_dir(mesh.folder());
    script.envs(
        palisade
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    script
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    text(&script.output().expect("script runs").stdout).replace("\r\n", "\n")
}

#[test]
fn commands_without_a_mesh_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["ps"][..],
        &["logs"],
        &["logs", "-f"],
        &["exec", "web", "--", "true"],
    ] {
        let output = palisade(folder.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(
            text(&output.stderr).contains("no mesh named"),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stderr).lines().count(), 1);
    }
    let output = palisade(folder.path())
        .args(["up", "nowhere.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("nowhere.yaml"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_workload_that_is_not_there_is_answered_with_those_that_are() {
    let mesh = Mesh::up(SHOP, "");
    for arguments in [&["logs", "nobody"][..], &["exec", "nobody", "--", "true"]] {
        let output = run(&mesh, arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(
            said.contains("no workload nobody") && said.contains("shop/orders-1"),
            "{said}"
        );
    }
}

#[test]
fn help_says_what_each_command_does() {
    let cases = [
        ("--help", "up|ps|exec|logs|proxy|control"),
        (
            "up --help",
            "one file|Ctrl-C|--name|--output|--app-output|--keep-records|PALISADE_NAME",
        ),
        ("ps --help", "--output|json|--name"),
        ("exec --help", "web-1|shop/web|-- <COMMAND>...|--name"),
        ("logs --help", "--follow|-f|--denied|[WORKLOAD]|--output"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in cases {
        let help = stdout(
            &palisade(folder.path())
                .args(arguments.split(' '))
                .output()
                .unwrap(),
        );
        for word in expected.split('|') {
            assert!(help.contains(word), "{arguments:?} {word}: {help}");
        }
        assert!(!help.contains("stage") && !help.contains("demo"), "{help}");
    }
}

/// One call that is allowed and one that is not, each recorded on both sides.
fn shop_with_two_calls() -> Mesh {
    let mesh = Mesh::up(SHOP, &allow("orders", "web"));
    stdout(&call(&mesh, "web", "http://orders:8080/"));
    assert!(
        !call(&mesh, "intruder", "http://orders:8080/")
            .status
            .success()
    );
    mesh.both_sides("close", |r| r["src.workload"] == "web-0");
    mesh.both_sides("denied", |r| r["src.workload"] == "intruder-0");
    mesh
}

fn call(mesh: &Mesh, from: &str, target: &str) -> Output {
    mesh.exec(
        from,
        &["palisade", "demo", "traffic", target, "--count", "1"],
    )
}

fn run(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.palisade().args(arguments).output().unwrap()
}
