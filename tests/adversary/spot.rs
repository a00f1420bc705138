//! Places on the pod network, and what is done from there.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use socket2::SockRef;

use crate::harness::{BOUND, Mesh, wait_until};

/// A pod's network, for one who got into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pid: i64,
    ip: IpAddr,
}

impl Spot {
    pub(crate) fn of(mesh: &Mesh, workload: &str) -> Self {
        Self::of_pod(mesh, &format!("{workload}-0"))
    }

    /// One of several replicas.
    pub(crate) fn of_pod(mesh: &Mesh, name: &str) -> Self {
        let pod = mesh.pod(name);
        Self {
            pid: pod["pids"]["pod"].as_i64().expect("the pod runs"),
            ip: pod["addresses"][0].as_str().unwrap().parse().unwrap(),
        }
    }

    /// Does something in the pod's network. A socket that is made there stays there.
    pub(crate) fn within<T: Send>(self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                self.enter();
                act()
            });
            entered.join().expect("the thread did not panic")
        })
    }

    /// Brings this thread into the pod's network, for good.
    pub(crate) fn enter(self) {
        let network = File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        setns(network, CloneFlags::CLONE_NEWNET).expect("as root, a thread enters a pod");
    }

    /// The pod's TCP sockets, as the kernel lists them.
    pub(crate) fn sockets(self) -> String {
        ["tcp", "tcp6"]
            .map(|family| std::fs::read_to_string(format!("/proc/{}/net/{family}", self.pid)))
            .map(Result::unwrap_or_default)
            .concat()
    }

    /// Lets the kernel keep little of what is on its way in this pod: the rest is then where it is looked for.
    pub(crate) fn kernel_keeps_little(self) {
        for name in ["tcp_rmem", "tcp_wmem"] {
            let file = format!("/proc/sys/net/ipv4/{name}");
            let written = self.within(|| std::fs::write(file, "4096 65536 131072"));
            written.expect("root may set this for a pod");
        }
    }

    /// The pod's address, with a port.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    pub(crate) fn connect(self, to: SocketAddr) -> TcpStream {
        self.try_connect(to).expect("the connection is accepted")
    }

    pub(crate) fn try_connect(self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.within(|| TcpStream::connect_timeout(&to, BOUND))?;
        bounded(&stream);
        Ok(stream)
    }

    /// Is the pod's application, at a port.
    pub(crate) fn application(self, port: u16) -> Application {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = self.within(|| TcpListener::bind(any)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Application(listener)
    }

    /// A page of the proxy's own, read on the pod's loopback or from outside.
    pub(crate) fn page(self, of: SocketAddr, path: &str) -> std::io::Result<String> {
        let mut stream = self.try_connect(of)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }
}

/// What listens in a pod.
#[derive(Debug)]
pub(crate) struct Application(TcpListener);

impl Application {
    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Waits for a connection.
    pub(crate) fn accept(&self) -> TcpStream {
        wait_until("a connection to the application", || self.waiting())
    }

    /// A connection that is there already.
    pub(crate) fn waiting(&self) -> Option<TcpStream> {
        let (stream, _) = self.0.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        bounded(&stream);
        Some(stream)
    }

    pub(crate) fn nobody_waits(&self) {
        assert!(self.waiting().is_none(), "the application was reached");
    }

    pub(crate) fn into_listener(self) -> TcpListener {
        self.0
    }

    /// Lets the kernel keep little of what the application does not read.
    pub(crate) fn buffers_little(&self) {
        SockRef::from(&self.0)
            .set_recv_buffer_size(64 * 1024)
            .unwrap();
    }
}

/// A test that waits for bytes which never come fails.
fn bounded(stream: &TcpStream) {
    let bound = Some(BOUND.min(Duration::from_secs(30)));
    stream.set_read_timeout(bound).unwrap();
    stream.set_write_timeout(bound).unwrap();
}
