//! What was recorded, asked of other rules: `palisade policy simulate`, `suggest` and `diff`.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::{Mesh, allow, json_lines, palisade, repository, stdout, text};

/// Records of the example's shop, of both sides: 4 calls of web, 4 of orders, one of batch, and what the intruder
/// tried.
const RECORDS: &str = "tests/policy/shop.jsonl";

/// The rules of the example's shop, and a copy that is edited: web may come to another port, the intruder to the
/// database.
fn edited() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (file, old, new) in [
        ("orders.yaml", "8080", "8090"),
        ("db.yaml", "shop/batch", "shop/intruder"),
    ] {
        let path = repository("examples/local/shop-rules").join(file);
        let rules = std::fs::read_to_string(path).unwrap();
        assert!(rules.contains(old));
        std::fs::write(directory.path().join(file), rules.replace(old, new)).unwrap();
    }
    directory
}

fn policy(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = palisade(directory);
    command.current_dir(repository(""));
    command.arg("policy").args(arguments).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn recorded_calls_flip_where_rules_are_edited() {
    let edited = edited();
    let rules = edited.path().to_str().unwrap();
    let who = ["--who", "examples/local/shop.yaml"];
    let simulate = |rules: &str, who: &[&str]| {
        let arguments = ["simulate", "--records", RECORDS, rules];
        policy(edited.path(), &[&arguments[..], who].concat())
    };
    let flipped = simulate(rules, &who);
    assert_eq!(code(&flipped), Some(1), "{}", text(&flipped.stderr));
    assert!(
        text(&flipped.stderr).contains("the first is tests/policy/shop.jsonl:"),
        "the line that is no record is told of: {}",
        text(&flipped.stderr)
    );
    let lines = json_lines(&flipped.stdout);
    let flips: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "flip")
        .map(|line| {
            [&line["from"], &line["to"], &line["was"], &line["becomes"]]
                .map(|field| field.as_str().unwrap())
        })
        .collect();
    assert_eq!(
        flips,
        [
            ["shop/batch", "shop/db", "allow", "deny"],
            ["shop/web", "shop/orders", "allow", "deny"],
            ["shop/intruder", "shop/db", "deny", "allow"],
        ]
    );
    let web = &lines[1];
    assert_eq!(web["near_miss"]["differs"], "ports");
    assert!(
        web["near_miss"]["place"]
            .as_str()
            .unwrap()
            .ends_with("orders.yaml:7")
    );
    let same = simulate("examples/local/shop-rules", &who);
    assert_eq!(code(&same), Some(0), "{}", text(&same.stdout));
    let unknown = simulate(rules, &[]);
    assert_eq!(code(&unknown), Some(2), "labels are not guessed");
    assert!(
        json_lines(&unknown.stdout)
            .iter()
            .all(|line| line["kind"] != "flip")
    );
}

#[test]
fn what_is_suggested_for_records_admits_them_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    let who = ["--who", "examples/local/shop.yaml"];
    let of_records = |arguments: &[&str]| {
        let records = ["--records", RECORDS];
        policy(folder.path(), &[arguments, &records, &who].concat())
    };
    let suggested = of_records(&["suggest", "--enforce"]);
    let yaml = stdout(&suggested);
    let left_out = "# left out, as it was denied: shop/intruder at port 8080";
    assert!(yaml.contains(left_out), "{yaml}");
    assert!(text(&suggested.stderr).contains("2 policies with 3 rules"));
    std::fs::write(&rules, yaml).unwrap();
    let rules = rules.to_str().unwrap();
    let replayed = of_records(&["simulate", rules]);
    assert_eq!(code(&replayed), Some(0), "{}", text(&replayed.stdout));
    let nothing = text(&of_records(&["suggest", "-f", rules]).stderr);
    assert!(nothing.contains("nothing to suggest"), "{nothing}");
    let arguments = ["diff", "examples/local/shop-rules", rules];
    let same = policy(folder.path(), &[&arguments[..], &who].concat());
    assert_eq!(stdout(&same), "", "the example's rules are the least ones");
}

#[test]
fn records_come_from_stdin_too_and_what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let records = std::fs::read(repository(RECORDS)).unwrap();
    let mut suggest = palisade(folder.path())
        .args(["policy", "suggest", "--records", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    suggest.stdin.take().unwrap().write_all(&records).unwrap();
    let suggested = json_lines(&suggest.wait_with_output().unwrap().stdout);
    assert_eq!(suggested[1]["policy"]["metadata"]["name"], "orders");
    for (arguments, expected) in [
        (
            &[
                "simulate",
                "--records",
                "nowhere.jsonl",
                "examples/local/shop-rules",
            ][..],
            "cannot read nowhere.jsonl",
        ),
        (
            &["simulate", "--records", RECORDS, "nowhere"],
            "cannot read nowhere",
        ),
        (
            &["suggest", "--records", RECORDS, "-f", "nowhere"],
            "cannot read nowhere",
        ),
        (
            &["diff", "nowhere", "examples/local/shop-rules"],
            "cannot read nowhere",
        ),
    ] {
        let output = policy(folder.path(), arguments);
        assert_eq!(code(&output), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(expected),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn what_holds_no_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, file) in [
        ("simulate examples/local/shop-rules", "README.md"),
        ("suggest", "/dev/null"),
        (
            "explain --conn 00000000000000000000000000000001 -f examples/local/shop.yaml",
            "Cargo.lock",
        ),
        ("check examples/local/shop-rules", "README.md"),
    ] {
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.extend(["--records", file]);
        let output = policy(folder.path(), &arguments);
        assert_eq!(code(&output), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        let expected = format!("no record of a connection in {file}: ");
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("palisade logs -o json >"), "{said}");
    }
}

#[test]
fn differences_are_told_of_by_who_reaches_whom() {
    let edited = edited();
    let rules = edited.path().to_str().unwrap();
    let arguments = [
        "diff",
        "examples/local/shop-rules",
        rules,
        "--who",
        "examples/local/shop.yaml",
        "-o",
        "text",
    ];
    let output = policy(edited.path(), &arguments);
    assert_eq!(code(&output), Some(1), "{}", text(&output.stderr));
    let text = text(&output.stdout);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split(" (").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "- shop/batch → shop/db 5432",
            "+ shop/intruder → shop/db 5432",
            "- shop/web → shop/orders 8080",
            "+ shop/web → shop/orders 8090",
            "2 allowed that were denied, 2 denied that were allowed",
        ]
    );
    let few = [&arguments[..], &["--most", "2"]].concat();
    assert_eq!(code(&policy(edited.path(), &few)), Some(2));
}

#[test]
fn a_running_mesh_is_asked_where_no_file_is_named() {
    let shop = r#"
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- {name: orders, namespace: shop, command: [palisade, demo, http, --listen, "[::]:8080"], ports: [8080]}
"#;
    let mesh = Mesh::up(shop, &allow("orders", "web"));
    mesh.answers("web", &["http://orders:8080/"]);
    mesh.both_sides("close", |record| record["src.workload"] == "web-0");
    let run = |arguments: &[&str]| {
        mesh.palisade()
            .arg("policy")
            .args(arguments)
            .output()
            .unwrap()
    };
    let suggested = run(&["suggest"]);
    assert!(
        text(&suggested.stderr).contains("admitted by rules already"),
        "{}",
        text(&suggested.stderr)
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, allow("orders", "batch")).unwrap();
    let file = file.to_str().unwrap();
    let flipped = run(&["simulate", file]);
    assert_eq!(code(&flipped), Some(1), "{}", text(&flipped.stderr));
    let flips = json_lines(&flipped.stdout);
    assert_eq!(
        (&flips[0]["from"], &flips[0]["becomes"]),
        (&Value::from("shop/web"), &Value::from("deny"))
    );
    let differs = |arguments: &[&str]| {
        let differs = run(&[&["diff"], arguments].concat());
        assert_eq!(code(&differs), Some(1), "{}", text(&differs.stderr));
        let lines = json_lines(&differs.stdout).into_iter();
        let becomes = lines.map(|line| {
            [&line["from"], &line["becomes"]].map(|field| field.as_str().unwrap().to_owned())
        });
        becomes.collect::<Vec<_>>()
    };
    let (added, replaced) = (["shop/batch", "allow"], ["shop/web", "deny"]);
    assert_eq!(differs(&[file]), [added], "as apply would");
    assert_eq!(differs(&[file, "--instead"]), [added, replaced]);
    let same = folder.path().join("same.yaml");
    let same_name = allow("orders", "batch").replace("orders-from-batch", "orders-from-web");
    std::fs::write(&same, same_name).unwrap();
    assert_eq!(differs(&[same.to_str().unwrap()]), [added, replaced]);
}

#[test]
fn a_recorded_connection_is_explained_by_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let records = std::fs::read_to_string(repository(RECORDS)).unwrap();
    let inbound = records.lines().filter(|line| line.contains("\"inbound\""));
    let explain = |id: &str| {
        let whom = ["explain", "--conn", id, "--records", RECORDS];
        let rules = ["-f", "examples/local/shop.yaml", "-o", "json"];
        policy(directory.path(), &[&whom[..], &rules].concat())
    };
    for (event, decision, expected) in [("close", "allow", 0), ("denied", "deny", 1)] {
        let mut of_event = inbound
            .clone()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let record = of_event.find(|record| record["event"] == event).unwrap();
        let explained = explain(record["conn.id"].as_str().unwrap());
        assert_eq!(code(&explained), Some(expected), "{explained:?}");
        let [said] = json_lines(&explained.stdout).try_into().unwrap();
        let said: Value = said;
        assert_eq!(
            (&said["decision"], &said["recorded"]["decision"]),
            (&decision.into(), &decision.into())
        );
        assert_eq!(said["from"], record["src.identity"]);
    }
    let nobody = explain(&"0".repeat(32));
    assert_eq!(code(&nobody), Some(2), "{nobody:?}");
}

/// The calling side is told of a denial, not of its reason: the rules say it, as they are now.
#[test]
fn a_connection_is_explained_by_what_its_caller_wrote_alone() {
    let directory = tempfile::tempdir().unwrap();
    let all = std::fs::read_to_string(repository(RECORDS)).unwrap();
    let outbound = all.lines().filter(|line| line.contains("\"outbound\""));
    let outbound: Vec<&str> = outbound.collect();
    let file = directory.path().join("records.jsonl");
    let explain = |records: &str, id: &str, output: &str| {
        std::fs::write(&file, records).unwrap();
        let whom = ["explain", "--conn", id, "--records", file.to_str().unwrap()];
        let rules = ["-f", "examples/local/shop.yaml", "-o", output];
        policy(directory.path(), &[&whom[..], &rules].concat())
    };
    let mut records = outbound
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let denied = records.find(|record| record["event"] == "denied").unwrap();
    let id = denied["conn.id"].as_str().unwrap();
    let explained = explain(&outbound.join("\n"), id, "json");
    assert_eq!(code(&explained), Some(1), "{explained:?}");
    let [said] = json_lines(&explained.stdout).try_into().unwrap();
    let said: Value = said;
    assert_eq!(said["recorded"]["direction"], "outbound", "{said}");
    assert_eq!(said["from"], denied["src.identity"]);
    assert_eq!(said["reason"], "no_rule", "{said}");
    let shown = text(&explain(&outbound.join("\n"), id, "text").stdout);
    assert!(
        shown.contains("by the calling side, which is not told why"),
        "{shown}"
    );

    // Rules had no part in it, and still one can ask.
    let failed = Value::from_iter(denied.as_object().unwrap().iter().map(|(key, value)| {
        let value = match key.as_str() {
            "event" => "tls_failed".into(),
            "error" => "cut".into(),
            _ => value.clone(),
        };
        (key.clone(), value)
    }));
    let unsaid = explain(&failed.to_string(), id, "text");
    assert_eq!(code(&unsaid), Some(2), "{unsaid:?}");
    let said = text(&unsaid.stderr);
    for part in [
        "the handshake was cut",
        "palisade policy explain --from shop/intruder --to shop/",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_namespace_that_becomes_permissive_is_a_difference() {
    let rules = std::fs::read_to_string(repository("examples/local/shop-rules/orders.yaml"));
    let rules = rules.unwrap();
    let side = |mtls: &str| {
        let directory = tempfile::tempdir().unwrap();
        let namespace = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: Namespace\nmetadata: {{name: shop, annotations: {{palisade.dev/mtls: {mtls}}}}}\n---\n{rules}"
        );
        std::fs::write(directory.path().join("rules.yaml"), namespace).unwrap();
        directory
    };
    let (strict, permissive) = (side("strict"), side("permissive"));
    let [before, after] = [&strict, &permissive].map(|side| side.path().to_str().unwrap());
    for (one, other, expected) in [(before, after, 1), (after, before, 1), (before, before, 0)] {
        let diff = policy(strict.path(), &["diff", one, other]);
        assert_eq!(code(&diff), Some(expected), "{one} {other}: {diff:?}");
    }
}
