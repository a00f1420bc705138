//! Two network namespaces, a pod and its neighbour, with a cable between them, and servers that say who they are.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use palisade_api::sidecar;
use palisade_proxy::redirect::{Bypass, Redirect};
use socket2::{Domain, SockRef, Socket, Type};

pub(crate) const POD: [&str; 2] = ["10.77.0.2", "fd77::2"];
pub(crate) const PEER: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// Families, as indexes of [`POD`] and [`PEER`].
pub(crate) const V4: usize = 0;
pub(crate) const V6: usize = 1;
pub(crate) const APP_PORT: u16 = 8080;
pub(crate) const WEB_PORT: u16 = 80;

/// The environment variable by which a test that is a part of another knows that it is run by it.
pub(crate) const PART: &str = "PALISADE_TEST_PART";

/// The two namespaces; they end with it.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) pod: Namespace,
    pub(crate) peer: Namespace,
}

#[derive(Debug)]
pub(crate) struct Namespace(String);

impl Lab {
    pub(crate) fn new() -> Self {
        Self::of(&[V4, V6])
    }

    /// With addresses and routes of these families only.
    pub(crate) fn of(families: &[usize]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("palisade-{}-{number}-{side}", std::process::id());
        let lab = Self {
            pod: Namespace(name("pod")),
            peer: Namespace(name("peer")),
        };
        let (pod, peer) = (&lab.pod.0, &lab.peer.0);
        let mut commands = vec![
            format!("ip netns add {pod}"),
            format!("ip netns add {peer}"),
            format!("ip -n {pod} link add cable type veth peer name cable netns {peer}"),
        ];
        for (namespace, ours) in [(pod, POD), (peer, PEER)] {
            for &family in families {
                let (length, more) = [("24", ""), ("64", " nodad")][family];
                let address = format!("{}/{length}", ours[family]);
                commands.push(format!(
                    "ip -n {namespace} addr add {address} dev cable{more}"
                ));
            }
            commands.push(format!("ip -n {namespace} link set lo up"));
            commands.push(format!("ip -n {namespace} link set cable up"));
        }
        for &family in families {
            let gateway = PEER[family];
            commands.push(format!("ip -n {pod} route add default via {gateway}"));
        }
        commands.iter().for_each(|command| drop(run(command)));
        lab
    }

    /// What `nft list` shows in the pod, without what was counted.
    pub(crate) fn listing(&self) -> String {
        let listing = self.pod.run("nft list table inet palisade");
        let mut words = listing.split(' ').peekable();
        let mut without = Vec::new();
        while let Some(word) = words.next() {
            without.push(word);
            if word == "counter" && words.peek() == Some(&"packets") {
                words.by_ref().nth(3);
            }
        }
        without.join(" ")
    }

    /// How many packets a rule of the pod has counted; the rule is found by its chain and a part of its text.
    pub(crate) fn counted(&self, chain: &str, text: &str) -> u64 {
        let listing = self.pod.run(&format!("nft list chain inet {chain}"));
        let line = listing.lines().find(|line| line.contains(text)).unwrap();
        let counted = line.split_once("packets ").unwrap().1;
        counted.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Namespace {
    /// Does something in this namespace.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let act = || {
            let namespace = File::open(format!("/run/netns/{}", self.0)).unwrap();
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        std::thread::scope(|scope| scope.spawn(act).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program in this namespace; what it prints.
    pub(crate) fn run(&self, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.0))
    }

    /// Runs an (ignored) test of this program in this namespace as the proxy's user, with [`PART`] set to a value.
    pub(crate) fn run_part_as_proxy(&self, test: &str, value: &str) {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = directory.path().join("part");
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        let output = self.enter(|| {
            let mut command = Command::new(&program);
            command
                .args(["--exact", test, "--ignored"])
                .env(PART, value)
                .current_dir("/");
            command
                .uid(sidecar::PROXY_UID)
                .gid(sidecar::PROXY_UID)
                .output()
                .unwrap()
        });
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("1 passed"), "{stdout}");
    }

    /// Runs an (ignored) test of this program in this namespace as root with NET_ADMIN and no other power, as a
    /// container has it: without a way to write kernel settings.
    pub(crate) fn run_part_as_init(&self, test: &str, value: &str) {
        let program = env::current_exe().unwrap();
        let contained = format!(
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
             exec setpriv --bounding-set -all,+net_admin --inh-caps -all {} --exact {test} --ignored",
            program.display()
        );
        let output = self.enter(|| {
            Command::new("unshare")
                .args(["--mount", "sh", "-c", &contained])
                .env(PART, value)
                .output()
                .unwrap()
        });
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stdout.contains("1 passed"), "{stdout}{stderr}");
    }

    /// Starts a program in this namespace as the proxy's user, which has no power at all.
    pub(crate) fn start_as_proxy(&self, command: &mut Command) -> Child {
        self.enter(|| {
            command
                .uid(sidecar::PROXY_UID)
                .gid(sidecar::PROXY_UID)
                .current_dir("/")
                .spawn()
                .unwrap()
        })
    }

    /// Sets a kernel setting of this namespace.
    pub(crate) fn set(&self, setting: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/net/{setting}"), value).unwrap());
    }

    /// Connects from this namespace and reads all that comes.
    pub(crate) fn ask(&self, address: &str, port: u16) -> io::Result<String> {
        self.ask_marked(address, port, 0)
    }

    pub(crate) fn ask_marked(&self, address: &str, port: u16, mark: u32) -> io::Result<String> {
        let mut stream = self.connect(address, port, mark)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn connect(&self, address: &str, port: u16, mark: u32) -> io::Result<TcpStream> {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        self.enter(|| connect(address, mark))
    }

    /// Listens in this namespace, in one family.
    pub(crate) fn listen(&self, address: &str, port: u16) -> TcpListener {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        self.enter(|| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            if address.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(1024).unwrap();
            socket.into()
        })
    }

    /// A server on both families that says its name and closes.
    pub(crate) fn serve(&self, port: u16, name: &'static str) {
        for address in ["0.0.0.0", "::"] {
            let listener = self.listen(address, port);
            answer(listener, move |_| name.to_owned());
        }
    }

    /// A proxy that says by which of its ports it was reached, and what the original destination was.
    pub(crate) fn serve_as_proxy(&self) {
        for address in ["0.0.0.0", "::"] {
            for port in [sidecar::OUTBOUND_PORT, sidecar::INBOUND_PORT] {
                let listener = self.listen(address, port);
                answer(listener, move |stream| {
                    let socket = SockRef::from(stream);
                    let original = match stream.local_addr().unwrap().ip() {
                        IpAddr::V4(_) => socket.original_dst_v4(),
                        IpAddr::V6(_) => socket.original_dst_v6(),
                    };
                    format!("{port} {}", original.unwrap().as_socket().unwrap())
                });
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&format!("ip netns del {}", self.0));
    }
}

/// Connects with a socket mark, zero being none.
pub(crate) fn connect(address: SocketAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if mark != 0 {
        socket.set_mark(mark)?;
    }
    socket.connect_timeout(&address.into(), Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket.into())
}

fn answer(listener: TcpListener, text: impl Fn(&TcpStream) -> String + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let text = text(&stream);
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
}

pub(crate) fn redirect(bypass: Bypass) -> Redirect {
    Redirect {
        bypass,
        exclude_inbound_ports: Vec::new(),
        exclude_outbound_ports: Vec::new(),
        exclude_outbound: Vec::new(),
        drop_datagrams: false,
    }
}

/// `address:port`, with brackets where the family wants them.
pub(crate) fn endpoint(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}

fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
