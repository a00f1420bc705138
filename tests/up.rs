//! `palisade up` from its start to its end, and every way in which it can end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::time::Instant;

use crate::harness::{
    Mesh, User, allow, is_root, palisade, signal, stdout, text, wait_until, written,
};

const SHOP: &str = r#"
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- name: orders
  namespace: shop
  command: [palisade, demo, http, --listen, "[::]:8080"]
  ports: [8080]
- {name: intruder, namespace: shop, command: [palisade, demo, wait]}
"#;

#[test]
fn a_mesh_works_until_ctrl_c_and_leaves_nothing() {
    whole_flow(User::Own);
}

#[test]
#[ignore = "needs root, to become an ordinary user by setpriv"]
fn an_ordinary_user_has_the_same_mesh() {
    whole_flow(User::Ordinary);
}

fn whole_flow(user: User) {
    let mut mesh = Mesh::up_as(user, SHOP, &allow("orders", "web"));
    let all = mesh.ps();
    assert_eq!(all.len(), 3);
    for pod in &all {
        assert_eq!(pod["state"], "ready", "{pod}");
        let identity = format!(
            "spiffe://cluster.local/ns/shop/sa/{}",
            pod["name"].as_str().unwrap().trim_end_matches("-0")
        );
        assert_eq!(pod["spiffe_id"], identity.as_str());
    }
    for target in targets(&mesh) {
        stdout(&call(&mesh, "web", &target));
        assert!(
            !call(&mesh, "intruder", &target).status.success(),
            "{target}"
        );
    }
    for family in ["10.", "[fd"] {
        mesh.both_sides("close", |r| {
            r["src.workload"] == "web-0" && r["dst.addr"].as_str().unwrap().starts_with(family)
        });
        let (_, inbound) = mesh.both_sides("denied", |r| {
            r["src.workload"] == "intruder-0" && r["dst.addr"].as_str().unwrap().starts_with(family)
        });
        assert_eq!(inbound["policy.reason"], "no_rule");
    }

    mesh.write_rules(&allow("orders", "intruder"));
    let edited = Instant::now();
    wait_until("the new rule to admit", || {
        call(&mesh, "intruder", ORDERS)
            .status
            .success()
            .then_some(())
    });
    wait_until("the old rule to be gone", || {
        (!call(&mesh, "web", ORDERS).status.success()).then_some(())
    });
    anstream::println!("{user:?}: a rule took effect within {:?}", edited.elapsed());

    let footprint = Footprint::of(&mesh);
    assert!(mesh.interrupt().success(), "{}", mesh.stderr());
    footprint.is_gone();
}

#[test]
fn sigterm_ends_everything_in_use() {
    let mut mesh = Mesh::up(SHOP, &allow("orders", "web"));
    let mut session = mesh
        .command("web", &["palisade", "demo", "wait"])
        .spawn()
        .unwrap();
    let mut follower = mesh
        .palisade()
        .args(["logs", "-f"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the session to run", || {
        let programs = descendants(session.id());
        programs
            .values()
            .any(|it| it.contains("demo wait"))
            .then_some(())
    });
    let mut footprint = Footprint::of(&mesh);
    footprint.add(session.id());
    assert!(mesh.end_by("TERM").success(), "{}", mesh.stderr());
    wait_until("the session to end", || session.try_wait().unwrap());
    wait_until("the follower to end", || follower.try_wait().unwrap());
    footprint.is_gone();
}

#[test]
fn killing_what_holds_the_mesh_ends_all_of_it() {
    for part in ["up", "stage enter", "stage init", "stage mesh"] {
        let mut mesh = Mesh::up(SHOP, &allow("orders", "web"));
        let footprint = Footprint::of(&mesh);
        signal(pid_of(&mesh, part), "KILL");
        let status = mesh.ended();
        assert!(!status.success(), "{part}");
        if part != "up" {
            let stderr = mesh.stderr();
            assert!(
                stderr.contains("the mesh ended by itself"),
                "{part}: {stderr}"
            );
        }
        footprint.is_gone();
    }
}

#[test]
fn a_killed_part_comes_back_and_works() {
    let mesh = Mesh::up(SHOP, &allow("orders", "web"));
    for part in ["pod", "proxy", "app", "control"] {
        let before = orders(&mesh);
        let control = pid_of(&mesh, "control run");
        let killed = match part {
            "control" => control,
            _ => u32::try_from(before["pids"][part].as_u64().unwrap()).unwrap(),
        };
        signal(killed, "KILL");
        if part == "control" {
            wait_until("another control", || {
                find_pid(&mesh, "control run").filter(|pid| *pid != control)
            });
        } else {
            wait_until(&format!("a restart of {part} after {before}"), || {
                let now = orders(&mesh);
                let restarts = |status: &serde_json::Value| status["restarts"][part].as_u64();
                (restarts(&now) > restarts(&before) && now["state"] == "ready").then_some(())
            });
        }
        wait_until(&format!("calls to work after the end of {part}"), || {
            call(&mesh, "web", ORDERS).status.success().then_some(())
        });
        assert!(!call(&mesh, "intruder", ORDERS).status.success(), "{part}");
    }
}

#[test]
fn two_meshes_run_at_once_and_one_name_runs_once() {
    let first = Mesh::up(SHOP, &allow("orders", "web"));
    let mut second = Mesh::up(SHOP, &allow("orders", "intruder"));
    stdout(&call(&first, "web", ORDERS));
    stdout(&call(&second, "intruder", ORDERS));
    assert!(!call(&first, "intruder", ORDERS).status.success());

    let again = first.palisade().args(["up", "mesh.yaml"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let said = text(&again.stderr);
    assert!(said.contains("runs already"), "{said}");
    assert!(said.contains("--name"), "the remedy is there: {said}");
    assert!(again.stdout.is_empty());

    second.interrupt();
    stdout(&call(&first, "web", ORDERS));
}

#[test]
fn a_mesh_that_was_killed_makes_room_for_the_next() {
    let mut mesh = Mesh::up(SHOP, &allow("orders", "web"));
    let footprint = Footprint::of(&mesh);
    // All that could clean up, at once.
    let (up, enter) = (mesh.pid(), pid_of(&mesh, "stage enter"));
    signal(enter, "STOP");
    signal(up, "KILL");
    signal(enter, "KILL");
    mesh.ended();
    footprint.processes_are_gone();
    let mut next = palisade(mesh.folder())
        .args(["up", "mesh.yaml", "-o", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the next mesh to work", || {
        call(&mesh, "web", ORDERS).status.success().then_some(())
    });
    signal(next.id(), "INT");
    assert!(next.wait().unwrap().success());
    footprint.is_gone();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes_in_a_mesh_file_are_named_with_their_place_and_start_nothing() {
    // What is written instead of what, and what is said: place, message, remedy.
    let cases = [
        (
            "ports: [8080]",
            "port: [8080]",
            "mesh.yaml:11:5",
            "unknown field `port`",
        ),
        ("name: intruder", "name: web", "mesh.yaml:12:12", "is taken"),
        (
            "ports: [8080]",
            "ports: [15006]",
            "mesh.yaml:11:13",
            "proxy's",
        ),
        (
            "ports: [8080]",
            "ports: [8080]\n    runAsUser: 1337",
            "mesh.yaml:12:16",
            "proxy's",
        ),
        (
            "rules: rules",
            "rules: nowhere",
            "mesh.yaml:5:10",
            "no directory",
        ),
        (
            "kind: LocalMesh",
            "kind: Mesh",
            "mesh.yaml:2:7",
            "LocalMesh",
        ),
        (
            "[palisade, demo, wait]}\n  -",
            "[]}\n  -",
            "mesh.yaml:7:",
            "needs a command",
        ),
        (
            "name: orders",
            "name: Orders",
            "mesh.yaml:8:",
            "cannot be a name",
        ),
    ];
    for (written, instead, place, message) in cases {
        let said = refused(|file| file.replacen(written, instead, 1), "");
        assert!(said.contains(place), "{instead}: {said}");
        assert!(said.contains(message), "{instead}: {said}");
    }
    let two = refused(
        |file| {
            file.replacen("name: orders", "name: Orders", 1)
                .replacen("8080]\n", "15006]\n", 1)
        },
        "",
    );
    assert!(
        two.contains("Orders") && two.contains("15006"),
        "all at once: {two}"
    );
}

#[test]
fn a_mistake_in_the_rules_is_named_with_its_place_and_starts_nothing() {
    let rules = allow("orders", "web").replace("effect: allow", "effect: maybe");
    let said = refused(|file| file.to_owned(), &rules);
    assert!(said.contains("rules.yaml:9:13"), "{said}");
    assert!(
        said.contains("allow"),
        "the remedy names what may be written: {said}"
    );
}

/// What is said about a mesh file in which something was changed; nothing runs and nothing is left.
fn refused(change: impl Fn(&str) -> String, rules: &str) -> String {
    let spec = format!(
        "  workloads:\n{}",
        SHOP.trim_start()
            .lines()
            .map(|l| format!("  {l}\n"))
            .collect::<String>()
    );
    let folder = written(&spec, rules);
    let file = folder.path().join("mesh.yaml");
    let changed = change(&std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, changed).unwrap();
    let output = palisade(folder.path())
        .args(["up", "mesh.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    let ps = palisade(folder.path()).arg("ps").output().unwrap();
    assert!(!ps.status.success());
    text(&output.stderr)
}

const ORDERS: &str = "http://orders:8080/";

fn call(mesh: &Mesh, from: &str, target: &str) -> std::process::Output {
    mesh.exec(
        from,
        &["palisade", "demo", "traffic", target, "--count", "1"],
    )
}

fn orders(mesh: &Mesh) -> serde_json::Value {
    let all = mesh.ps();
    all.into_iter()
        .find(|pod| pod["name"] == "orders-0")
        .unwrap()
}

/// Its name, which leads to its virtual addresses, and its own addresses of both families.
fn targets(mesh: &Mesh) -> Vec<String> {
    let mut targets = vec![ORDERS.to_owned(), "http://orders.shop:8080/".to_owned()];
    for address in orders(mesh)["addresses"].as_array().unwrap() {
        let address: std::net::IpAddr = address.as_str().unwrap().parse().unwrap();
        targets.push(format!(
            "http://{}/",
            std::net::SocketAddr::from((address, 8080))
        ));
    }
    targets
}

/// All that a running mesh has on the machine.
#[derive(Debug)]
struct Footprint {
    /// Each with the time of its start, for numbers are used again.
    processes: BTreeSet<(u32, String)>,
    namespaces: BTreeSet<String>,
    state: PathBuf,
}

impl Footprint {
    fn of(mesh: &Mesh) -> Self {
        let mut footprint = Self {
            processes: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            state: mesh.state(),
        };
        assert!(footprint.state.is_dir(), "{footprint:?}");
        // One of the mesh and one of each pod, so that what is looked for later is really there.
        wait_until("every application's namespaces", || {
            footprint.add(mesh.pid());
            let has_all = |kind: &str| {
                let namespaces = footprint.namespaces.iter();
                namespaces.filter(|it| it.starts_with(kind)).count() >= 4
            };
            ["net:", "mnt:", "pid:"]
                .into_iter()
                .all(has_all)
                .then_some(())
        });
        footprint
    }

    fn add(&mut self, root: u32) {
        let own: BTreeSet<String> = namespaces(std::process::id()).into_iter().collect();
        for pid in descendants(root).into_keys() {
            self.processes.extend(started(pid).map(|at| (pid, at)));
            let theirs = namespaces(pid).into_iter();
            self.namespaces
                .extend(theirs.filter(|it| !own.contains(it)));
        }
    }

    fn is_gone(&self) {
        self.processes_are_gone();
        wait_until("the state directory to be gone", || {
            (!self.state.exists()).then_some(())
        });
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let state = self.state.to_string_lossy();
        assert!(!mounts.contains(&*state), "{mounts}");
        for namespace in &self.namespaces {
            assert!(!mounts.contains(namespace), "{mounts}");
        }
    }

    fn processes_are_gone(&self) {
        wait_until("every process to be gone", || {
            let alive = |(pid, at): &(u32, String)| started(*pid).as_ref() == Some(at);
            (!self.processes.iter().any(alive)).then_some(())
        });
        // Whoever else would be in a namespace of the mesh would keep it alive; only root sees all.
        wait_until("every namespace to be gone", || {
            let held: BTreeSet<String> = pids().into_iter().flat_map(namespaces).collect();
            (self.namespaces.is_disjoint(&held) || !is_root()).then_some(())
        });
    }
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// `net:[4026532008]` and so on.
fn namespaces(pid: u32) -> Vec<String> {
    [
        "net",
        "mnt",
        "pid",
        "pid_for_children",
        "user",
        "uts",
        "ipc",
    ]
    .iter()
    .filter_map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
    .map(|link| link.to_string_lossy().into_owned())
    .collect()
}

/// The time of a process's start; none once it has ended.
fn started(pid: u32) -> Option<String> {
    let fields = stat(pid)?;
    (fields[0] != "Z").then(|| fields[19].clone())
}

/// The fields of `/proc/PID/stat` after the program's name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// A process and all below it, with their command lines.
fn descendants(root: u32) -> BTreeMap<u32, String> {
    let parents: Vec<(u32, u32)> = pids()
        .into_iter()
        .filter_map(|pid| Some((pid, stat(pid)?[1].parse().ok()?)))
        .collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let more = parents.iter().filter(|(_, parent)| found.contains(parent));
        let more: BTreeSet<u32> = more.map(|(pid, _)| *pid).collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            break;
        }
    }
    let command = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text(&line).replace('\0', " ")
    };
    found.into_iter().map(|pid| (pid, command(pid))).collect()
}

fn find_pid(mesh: &Mesh, part: &str) -> Option<u32> {
    if part == "up" {
        return Some(mesh.pid());
    }
    let mut all = descendants(mesh.pid()).into_iter();
    all.find(|(_, command)| command.contains(part))
        .map(|(pid, _)| pid)
}

fn pid_of(mesh: &Mesh, part: &str) -> u32 {
    find_pid(mesh, part).unwrap_or_else(|| panic!("there is no {part}"))
}
