//! What a program inside of a pod, root of it or not, can do to the mesh: nothing.
//!
//! Every attack runs by `palisade exec`, and what it might have changed is looked at afterwards.

use std::net::Ipv4Addr;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Mesh, User, allow, stdout, text, wait_until};

// The attacker may call nobody; `bare` has no sidecar.
const PODS: &str = r#"
- name: orders
  namespace: shop
  command: [palisade, demo, http, --listen, "[::]:8080"]
  ports: [8080]
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- {name: attacker, namespace: shop, command: [palisade, demo, wait]}
- {name: somebody, namespace: shop, command: [palisade, demo, wait], runAsUser: 1000}
- {name: bare, namespace: shop, command: [palisade, demo, wait], meshed: false}
"#;

#[test]
#[ignore = "needs root, python3, nft and ip"]
fn root_of_a_pod_gets_around_nothing() {
    attack_from_inside(User::Own);
}

#[test]
#[ignore = "needs root to become an ordinary user by setpriv, python3, nft and ip"]
fn an_ordinary_users_pod_gets_around_nothing() {
    attack_from_inside(User::Ordinary);
}

fn attack_from_inside(user: User) {
    let mesh = Mesh::up_as(user, PODS, &allow("orders", "web"));
    let before = State::of(&mesh);
    no_capability_is_left(&mesh);
    the_proxys_identity_is_out_of_reach(&mesh);
    the_redirect_stays(&mesh);
    the_network_stays(&mesh);
    no_process_of_the_mesh_is_in_sight(&mesh);
    no_secret_of_the_mesh_is_in_sight(&mesh);
    rules_are_not_written(&mesh);
    new_namespaces_give_no_power(&mesh);
    assert_eq!(State::of(&mesh), before);
    // The mesh still does its work, in both ways.
    stdout(&call(&mesh, "web"));
    assert!(!call(&mesh, "attacker").status.success());
    mesh.record("the attacker's denial by the called side", |r| {
        r["event"] == "denied"
            && r["direction"] == "inbound"
            && r["src.identity"] == "spiffe://cluster.local/ns/shop/sa/attacker"
    });
}

/// What no attack may change.
#[derive(Debug, PartialEq)]
struct State {
    /// Of the attacker's pod: its redirect, its addresses and its routes.
    network: [String; 5],
    pids: Value,
    rules: String,
}

impl State {
    fn of(mesh: &Mesh) -> Self {
        let attacker = pod(mesh, "attacker-0");
        let inside = |program: &[&str]| in_network_of(&attacker, program);
        let network = [
            inside(&["nft", "--stateless", "list", "table", "inet", "palisade"]),
            inside(&["ip", "-brief", "link"]),
            inside(&["ip", "-brief", "address"]),
            inside(&["ip", "-4", "route"]),
            inside(&["ip", "-6", "route"]),
        ];
        Self {
            network,
            pids: mesh.ps().iter().map(|pod| pod["pids"].clone()).collect(),
            rules: std::fs::read_to_string(mesh.folder().join("rules/rules.yaml")).unwrap(),
        }
    }
}

/// A socket of the proxy's user, or with its mark, would pass by the proxy.
fn the_proxys_identity_is_out_of_reach(mesh: &Mesh) {
    for become_proxy in ["os.setuid(1337)", "os.setgid(1337)", "os.setgroups([1337])"] {
        refused(mesh, become_proxy, &["EINVAL", "EPERM"]);
    }
    let mark = "socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x70616c69)";
    refused(mesh, mark, &["EPERM"]);
    let again = "unshare(CLONE_NEWUSER); socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x70616c69)";
    refused(mesh, again, &["EPERM"]);
    // Root cannot rename itself in a user namespace of its own; others can, and are still somebody else.
    refused(
        mesh,
        &format!("unshare(CLONE_NEWUSER); {RENAME}"),
        &["EPERM"],
    );
    let before = denials_of(mesh, "somebody-0");
    let program = format!(
        "import ctypes, os, socket\n\
         ctypes.CDLL(None).unshare(0x10000000); uid = 1000; {RENAME}\n\
         assert os.getuid() == 1337\n\
         s = socket.create_connection((\"orders\", 8080), 5)\n\
         s.send(b\"GET / HTTP/1.0\\r\\n\\r\\n\"); s.recv(100)"
    );
    let called = mesh.exec("somebody", &[PYTHON, "-c", &program]);
    assert!(
        text(&called.stderr).contains("ConnectionResetError"),
        "{called:?}"
    );
    wait_until("the proxy to have seen the renamed user's call", || {
        (denials_of(mesh, "somebody-0") > before).then_some(())
    });
}

/// Whoever it is, an application has no capability, and can never have one again.
fn no_capability_is_left(mesh: &Mesh) {
    for workload in ["attacker", "somebody"] {
        let status = stdout(&mesh.exec(workload, &["cat", "/proc/self/status"]));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let none = format!("{set}:\t0000000000000000");
            assert!(
                status.lines().any(|line| line == none),
                "{workload}: {status}"
            );
        }
        assert!(
            status.lines().any(|line| line == "NoNewPrivs:\t1"),
            "{workload}: {status}"
        );
    }
}

/// Makes the user `uid` the proxy's number, in a user namespace that was made before.
const RENAME: &str = "os.write(os.open(\"/proc/self/uid_map\", os.O_WRONLY), b\"1337 %d 1\" % uid)";

fn denials_of(mesh: &Mesh, caller: &str) -> usize {
    let is_denial = |r: &Value| {
        r["event"] == "denied" && r["direction"] == "outbound" && r["src.workload"] == caller
    };
    mesh.records().iter().filter(|r| is_denial(r)).count()
}

fn the_redirect_stays(mesh: &Mesh) {
    for program in [
        ["nft", "flush", "ruleset", "", ""],
        ["nft", "delete", "table", "inet", "palisade"],
        ["nft", "flush", "chain", "inet", "palisade"],
        ["palisade", "proxy", "redirect", "--remove", ""],
    ] {
        let program: Vec<&str> = program
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        fails(mesh, &program, "");
        let anew = format!("unshare(CLONE_NEWUSER); print(subprocess.run({program:?}).returncode)");
        let output = attack(mesh, &anew);
        assert_ne!(
            stdout(&output).trim(),
            "0",
            "{program:?} in a namespace of its own"
        );
    }
}

fn the_network_stays(mesh: &Mesh) {
    for program in [
        "ip link set eth0 down",
        "ip address add 10.111.0.99/16 dev eth0",
        "ip address flush dev eth0",
        "ip route add 10.99.0.0/16 via 10.111.0.1",
        "ip route del default",
        "ip rule add table 99",
        "ip neigh add 10.111.0.77 lladdr 02:00:00:00:00:01 dev eth0",
    ] {
        let words: Vec<&str> = program.split(' ').collect();
        fails(mesh, &words, "Operation not permitted");
        let anew = format!("unshare(CLONE_NEWUSER); print(subprocess.run({words:?}).returncode)");
        assert_ne!(stdout(&attack(mesh, &anew)).trim(), "0", "{program}");
    }
    for raw in [
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)",
        "socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP)",
        "open('/proc/sys/net/ipv4/conf/all/route_localnet', 'w').write('1')",
        "open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')",
        "open('/dev/net/tun', 'r+b', 0)",
    ] {
        let refusals = ["EPERM", "EACCES", "EROFS", "ENOENT"];
        refused(mesh, raw, &refusals);
        refused(mesh, &format!("unshare(CLONE_NEWUSER); {raw}"), &refusals);
    }
}

fn no_process_of_the_mesh_is_in_sight(mesh: &Mesh) {
    let seen = stdout(&attack(
        mesh,
        "print(*sorted(p for p in os.listdir('/proc') if p.isdigit()), os.getpid())",
    ));
    assert_eq!(
        seen, "1 2 2\n",
        "only the sandbox's first process, and itself"
    );
    // Every number of a process of the mesh is tried, as the machine counts and as the mesh does.
    let pids: Vec<u64> = mesh
        .ps()
        .iter()
        .flat_map(|pod| {
            pod["pids"]
                .as_object()
                .unwrap()
                .values()
                .cloned()
                .collect::<Vec<_>>()
        })
        .filter_map(|pid| pid.as_u64())
        .chain(10..400)
        .collect();
    let attempts = format!(
        "own = {{int(p) for p in os.listdir('/proc') if p.isdigit()}}\n\
         for pid in {pids:?}:\n  \
           if pid in own: continue\n  \
           for attempt in [lambda: os.kill(pid, 9), lambda: open(f'/proc/{{pid}}/mem', 'rb'),\n    \
               lambda: check(libc.ptrace(16, pid, 0, 0)), lambda: os.pidfd_open(pid)]:\n    \
             try: attempt(); print('reached', pid)\n    \
             except OSError as e: assert e.errno in (errno.ESRCH, errno.ENOENT), e\n\
         print('tried')"
    );
    assert_eq!(stdout(&attack(mesh, &attempts)).trim(), "tried");
    // All that it may signal is itself.
    attack(mesh, "os.kill(-1, 9)");
    // What it can see, the sandbox's own PID 1, lets nobody in.
    refused(
        mesh,
        "open('/proc/1/mem', 'r+b', 0).read(1)",
        &["EPERM", "EACCES", "EIO"],
    );
}

fn no_secret_of_the_mesh_is_in_sight(mesh: &Mesh) {
    let state = mesh.state();
    let base = state.parent().unwrap();
    assert!(state.join("control").is_dir(), "it is there, outside");
    let look = format!(
        "for root in ['', '/proc/1/root', '/proc/self/root', '/proc/self/cwd/']:\n  \
           try: found = os.listdir(root + {base:?})\n  \
           except OSError as e: found = []\n  \
           print(found)"
    );
    let seen = stdout(&attack(mesh, &look));
    assert!(seen.lines().all(|line| line == "[]"), "{seen}");
    // An ordinary user's is below a directory that is hidden as a whole.
    let refusals = ["EPERM", "EINVAL", "EACCES", "ENOENT"];
    let above = base.parent().unwrap();
    for lift in [
        format!("check(libc.umount2({above:?}.encode(), 2))"),
        format!("check(libc.umount2({base:?}.encode(), 2))"),
        format!("check(libc.umount2({base:?}.encode(), 0))"),
        format!("check(libc.mount(b'none', {base:?}.encode(), b'tmpfs', 32, None))"),
        "check(libc.umount2(b'/proc', 2))".to_owned(),
        "check(libc.umount2(b'/sys', 2))".to_owned(),
    ] {
        refused(mesh, &lift, &refusals);
        refused(
            mesh,
            &format!("unshare(CLONE_NEWUSER | CLONE_NEWNS); {lift}"),
            &refusals,
        );
    }
    // A recursive bind elsewhere takes the masks along.
    let copy = format!(
        "unshare(CLONE_NEWUSER | CLONE_NEWNS); os.makedirs('/tmp/elsewhere', exist_ok=True)\n\
         r = libc.mount(b'/', b'/tmp/elsewhere', None, 4096, None); print('plain', r)\n\
         r = libc.mount(b'/', b'/tmp/elsewhere', None, 4096 | 16384, None)\n\
         try: print(os.listdir('/tmp/elsewhere' + {base:?}))\n\
         except OSError: print([])"
    );
    let copied = stdout(&attack(mesh, &copy));
    assert_eq!(copied, "plain -1\n[]\n");
}

fn rules_are_not_written(mesh: &Mesh) {
    let rules = mesh.folder().join("rules");
    let file = rules.join("rules.yaml");
    for write in [
        format!("open({file:?}, 'a').write('x')"),
        format!("open({:?}, 'w').write('x')", rules.join("more.yaml")),
        format!("os.unlink({file:?})"),
        format!("os.rename({rules:?}, '/tmp/stolen')"),
        format!("check(libc.umount2({rules:?}.encode(), 2))"),
        format!("unshare(CLONE_NEWUSER | CLONE_NEWNS); check(libc.umount2({rules:?}.encode(), 2))"),
        format!(
            "unshare(CLONE_NEWUSER | CLONE_NEWNS)\n\
             check(libc.mount(None, {rules:?}.encode(), None, 32 | 4096, None))\n\
             open({file:?}, 'a').write('x')"
        ),
        format!(
            "open({:?}, 'a').write('x')",
            mesh.folder().join("mesh.yaml")
        ),
    ] {
        refused(
            mesh,
            &write,
            &[
                "EROFS", "EPERM", "EINVAL", "EACCES", "EBUSY", "EXDEV", "ENOENT",
            ],
        );
    }
    assert!(!rules.join("more.yaml").exists());
}

/// With every capability there, root of a namespace of its own has none here.
fn new_namespaces_give_no_power(mesh: &Mesh) {
    let away = "unshare(CLONE_NEWUSER | CLONE_NEWNET)\n\
                print(subprocess.run(['ip', 'link', 'set', 'lo', 'up']).returncode)\n\
                socket.create_connection(('orders', 8080), 5)";
    let output = attack(mesh, away);
    assert!(
        text(&output.stdout).ends_with("ENETUNREACH\n"),
        "{output:?}"
    );
    let back = "home = os.open('/proc/1/ns/net', os.O_RDONLY); unshare(CLONE_NEWUSER); check(libc.setns(home, 0))";
    refused(mesh, back, &["EPERM", "EACCES"]);
    refused(mesh, "unshare(CLONE_NEWNET)", &["EPERM"]);
    refused(mesh, "unshare(CLONE_NEWNS)", &["EPERM"]);
}

#[test]
#[ignore = "needs root, python3 and nft"]
fn frames_of_a_neighbour_reach_no_application() {
    let mesh = Mesh::up(PODS, &allow("orders", "web"));
    let (orders, bare) = (pod(&mesh, "orders-0"), pod(&mesh, "bare-0"));
    let address: Ipv4Addr = orders["addresses"][0].as_str().unwrap().parse().unwrap();
    let other: Ipv4Addr = pod(&mesh, "web-0")["addresses"][0]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let link = in_network_of(&orders, &["cat", "/proc/net/arp"]);
    assert!(!link.is_empty());
    let mac = in_network_of(&orders, &["ip", "-brief", "link", "show", "eth0"]);
    let mac = mac.split_whitespace().nth(2).unwrap().to_owned();
    for rule in [
        "add table inet witness",
        "add chain inet witness arrived { type filter hook prerouting priority -400 ; }",
        "add chain inet witness delivered { type filter hook input priority 300 ; }",
        "add rule inet witness arrived iif eth0 tcp dport 8080 counter",
        "add rule inet witness delivered iif eth0 tcp dport 8080 counter",
    ] {
        in_network_of(&orders, &["nft", rule]);
    }
    let send = |target: Ipv4Addr, flags: &str| {
        let from = bare["addresses"][0].as_str().unwrap();
        let program = format!("{FRAMES}\nsend({mac:?}, {from:?}, '{target}', {flags})");
        in_network_of(&bare, &[PYTHON, "-c", &program]);
    };
    let out_of_state = "[0x18, 0x10, 0x11, 0x04, 0x01, 0x03, 0x00, 0x3f, 0x12]";
    send(address, out_of_state);
    send(other, "[0x02, 0x18]");
    send(Ipv4Addr::LOCALHOST, "[0x02, 0x18]");
    assert_eq!(counted(&orders, "arrived"), 13);
    assert_eq!(counted(&orders, "delivered"), 0);

    a_plain_connection_is_refused(&mesh, &bare, address);

    // Without the redirect such segments do arrive, so the test above can fail.
    in_network_of(&orders, &["nft", "delete table inet palisade"]);
    send(address, out_of_state);
    assert!(counted(&orders, "delivered") > 0);
}

/// And recorded as what it is.
fn a_plain_connection_is_refused(mesh: &Mesh, bare: &Value, address: Ipv4Addr) {
    let connect = format!(
        "import socket\ns = socket.create_connection(('{address}', 8080), 5)\ns.send(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
         try: print(s.recv(100))\nexcept ConnectionResetError: print('reset')"
    );
    assert_eq!(in_network_of(bare, &[PYTHON, "-c", &connect]), "reset\n");
    let denied = mesh.record("the refusal", |r| {
        r["event"] == "denied" && r["direction"] == "inbound" && r.get("src.identity").is_none()
    });
    assert_eq!(denied["policy.reason"], "no_rule");
}

fn counted(pod: &Value, chain: &str) -> u64 {
    let text = in_network_of(pod, &["nft", "list", "chain", "inet", "witness", chain]);
    let (_, rest) = text.split_once("packets ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Sends TCP segments with data to port 8080, in Ethernet frames to this machine's link whatever the address.
const FRAMES: &str = r#"
import socket, struct
def sum16(b):
    n = sum(struct.unpack(f'!{len(b) // 2}H', b)); n = (n & 0xffff) + (n >> 16); return ~(n + (n >> 16)) & 0xffff
def send(mac, source, target, flags):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0800); s.bind(('eth0', 0))
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    for port, flag in enumerate(flags, 2000):
        tcp = lambda c: struct.pack('!HHIIBBHHH', port, 8080, 1, 1, 0x50, flag, 65535, c, 0) + b'data'
        tcp = tcp(sum16(ends + struct.pack('!BBH', 0, 6, 24) + tcp(0)))
        ip = lambda c: struct.pack('!BBHHHBBH', 0x45, 0, 44, 0, 0, 64, 6, c) + ends
        s.send(bytes.fromhex(mac.replace(':', '')) + s.getsockname()[4] + b'\x08\0' + ip(sum16(ip(0))) + tcp)
"#;

/// Python may be a wrapper in somebody's home elsewhere in the path.
const PYTHON: &str = "/usr/bin/python3";

const TOOLS: &str = r#"
import ctypes, errno, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x20000, 0x40000000
uid = os.getuid()
def check(result):
    if result != 0: raise OSError(ctypes.get_errno(), 'refused')
def unshare(flags): check(libc.unshare(flags))
def attack():
"#;

/// Runs a Python program in the attacker's pod; a system's refusal is printed by its name.
fn attack(mesh: &Mesh, program: &str) -> Output {
    let body: String = program
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let program = format!(
        "{TOOLS}{body}try: attack()\nexcept OSError as e: print(errno.errorcode[e.errno])\n"
    );
    mesh.exec("attacker", &[PYTHON, "-c", &program])
}

fn refused(mesh: &Mesh, program: &str, refusals: &[&str]) {
    let output = attack(mesh, program);
    let said = text(&output.stdout);
    let refusal = said.lines().last().unwrap_or_default();
    assert!(refusals.contains(&refusal), "{program}: {output:?}");
}

/// The program is there, and fails.
fn fails(mesh: &Mesh, program: &[&str], said: &str) {
    let output = mesh.exec("attacker", program);
    let code = output.status.code();
    assert!(
        !output.status.success() && code != Some(127),
        "{program:?}: {output:?}"
    );
    assert!(
        text(&output.stderr).contains(said),
        "{program:?}: {output:?}"
    );
}

fn call(mesh: &Mesh, from: &str) -> Output {
    let target = "http://orders:8080/";
    mesh.exec(
        from,
        &["palisade", "demo", "traffic", target, "--count", "1"],
    )
}

fn pod(mesh: &Mesh, name: &str) -> Value {
    let all = mesh.ps();
    all.into_iter().find(|pod| pod["name"] == name).unwrap()
}

/// Runs a program of the machine's root in a pod's network.
fn in_network_of(pod: &Value, program: &[&str]) -> String {
    let pid = pod["pids"]["pod"].to_string();
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid, "-n"]).args(program);
    stdout(&command.output().expect("nsenter runs"))
}
