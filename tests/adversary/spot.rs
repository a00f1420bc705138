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
pub(super) struct Spot {
    pid: i64,
    ip: IpAddr,
}

impl Spot {
    pub(super) fn of(mesh: &Mesh, workload: &str) -> Self {
        let pods = mesh.ps();
        let pod = pods
            .iter()
            .find(|pod| pod["workload"] == format!("shop/{workload}-0"))
            .expect("the pod is there");
        Self {
            pid: pod["pids"]["pod"].as_i64().expect("the pod runs"),
            ip: pod["addresses"][0].as_str().unwrap().parse().unwrap(),
        }
    }

    /// Does something in the pod's network. A socket that is made there stays there.
    pub(super) fn within<T: Send>(self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                let network = File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
                setns(network, CloneFlags::CLONE_NEWNET).expect("as root, a thread enters a pod");
                act()
            });
            entered.join().expect("the thread did not panic")
        })
    }

    /// The pod's address, with a port.
    pub(super) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    pub(super) fn connect(self, to: SocketAddr) -> TcpStream {
        self.try_connect(to).expect("the connection is accepted")
    }

    pub(super) fn try_connect(self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.within(|| TcpStream::connect_timeout(&to, BOUND))?;
        bounded(&stream);
        Ok(stream)
    }

    /// Is the pod's application, at a port.
    pub(super) fn application(self, port: u16) -> Application {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = self.within(|| TcpListener::bind(any)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Application(listener)
    }

    /// A page of the proxy's own, read on the pod's loopback or from outside.
    pub(super) fn page(self, of: SocketAddr, path: &str) -> std::io::Result<String> {
        let mut stream = self.try_connect(of)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }
}

/// What listens in a pod.
#[derive(Debug)]
pub(super) struct Application(TcpListener);

impl Application {
    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Waits for a connection.
    pub(super) fn accept(&self) -> TcpStream {
        wait_until("a connection to the application", || self.waiting())
    }

    /// A connection that is there already.
    pub(super) fn waiting(&self) -> Option<TcpStream> {
        let (stream, _) = self.0.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        bounded(&stream);
        Some(stream)
    }

    pub(super) fn nobody_waits(&self) {
        assert!(self.waiting().is_none(), "the application was reached");
    }

    pub(super) fn into_listener(self) -> TcpListener {
        self.0
    }

    /// Lets the kernel keep little of what the application does not read.
    pub(super) fn buffers_little(&self) {
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
