//! What the transport promises, each promise under load and through real proxies:
//!
//! - [`stalled`]: a reader that stops holds up its own stream and no other;
//! - [`fairness`]: streams share, whether bulk or small requests;
//! - [`credit`]: nobody gets or sends more than was granted, whatever a hostile peer does;
//! - [`ends`]: a stream that ends otherwise than well ends at once, also where its reader stopped;
//! - [`budget`]: memory stays within its budget, with 2,000 streams of which half are stalled;
//! - [`drain`] and [`rotation`]: GOAWAY and a new SVID lose no stream.
//!
//! The test is the applications at both ends ([`apps`]), and compares each byte that arrives with the one that was sent.
//! Nothing here is measured in seconds: how far one stream came is held against what others moved meanwhile.

mod apps;
mod budget;
mod content;
mod credit;
mod drain;
mod ends;
mod fairness;
mod peak;
mod rotation;
mod stage;
mod stalled;
mod talk;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::adversary::spot::Spot;
use crate::harness::{Mesh, allow, at, stdout, wait_until};
use apps::Apps;

/// A mesh in which web calls orders, and the applications in it.
struct Ground {
    /// They end before their pods do.
    apps: Apps,
    mesh: Mesh,
    web: Spot,
    orders: Vec<Spot>,
}

/// What differs from test to test.
struct Plan<'a> {
    /// Pods of orders.
    replicas: usize,
    svid_ttl: &'a str,
    /// For the proxies.
    variables: &'a [(&'a str, &'a str)],
}

const PLAN: Plan<'_> = Plan {
    replicas: 1,
    svid_ttl: "1h",
    variables: &[],
};

impl Ground {
    fn new(plan: &Plan<'_>) -> Self {
        let Plan {
            replicas, svid_ttl, ..
        } = plan;
        let spec = format!(
            "  svidTtl: {svid_ttl}\n  workloads:\n\
             \x20 - {{name: orders, namespace: shop, command: [palisade, demo, wait], ports: [{PORT}], replicas: {replicas}}}\n\
             \x20 - {{name: web, namespace: shop, command: [palisade, demo, wait]}}\n"
        );
        let mesh = Mesh::with_environment(&spec, &allow("orders", "web"), plan.variables);
        let orders: Vec<_> = (0..*replicas)
            .map(|replica| Spot::of_pod(&mesh, &format!("orders-{replica}")))
            .collect();
        let web = Spot::of(&mesh, "web");
        let apps = Apps::calling_from(web);
        for pod in &orders {
            apps.serve(pod.application(PORT));
        }
        Self {
            apps,
            mesh,
            web,
            orders,
        }
    }

    /// What is on its way is where the tests look, in the proxies, and not in the kernel.
    fn kernels_keep_little(&self) {
        self.web.kernel_keeps_little();
        self.orders.iter().for_each(|pod| pod.kernel_keeps_little());
    }

    /// The first pod of orders.
    fn pod(&self) -> SocketAddr {
        self.orders[0].at(PORT)
    }

    /// The address behind which all pods of orders are.
    fn service(&self) -> SocketAddr {
        let hosts = self.mesh.exec("web", &["cat", "/etc/hosts"]);
        let hosts = stdout(&hosts);
        let mut lines = hosts.lines().map(|line| line.split_whitespace());
        let named = lines.find(|words| words.clone().any(|word| word == "orders.shop"));
        let address = named.and_then(|mut words| words.next());
        let ip = address.expect("web knows orders by name").parse();
        SocketAddr::new(ip.expect("an address"), PORT)
    }

    /// Waits until both sides recorded the end of so many connections: none was refused or ended by an error, and both
    /// sides say the same of it.
    fn assert_all_ended_well(&self, count: usize) {
        let is_end = |r: &Value, direction| r["direction"] == direction && r["event"] == "close";
        for direction in ["outbound", "inbound"] {
            wait_until("the records of all streams", || {
                let ended = self.mesh.count(|r| is_end(r, direction));
                (ended >= count).then_some(())
            });
        }
        let records = self.mesh.records();
        let ends = |direction| -> BTreeSet<_> {
            let ends = records.iter().filter(|r| is_end(r, direction));
            ends.inspect(|r| assert!(r.get("error").is_none(), "{r}"))
                .map(|r| ["conn.id", "bytes_sent", "bytes_recv"].map(|key| r[key].to_string()))
                .collect()
        };
        let outbound = ends("outbound");
        assert_eq!(outbound.len(), count, "each stream has its record");
        assert_eq!(outbound, ends("inbound"), "both sides say the same");
    }
}

/// The mesh connections that a pod's proxy has from others, by the other side's address.
fn mesh_connections(to: Spot) -> BTreeSet<String> {
    let sockets = to.sockets();
    let established = sockets.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, local, peer, ESTABLISHED, ..] if local.ends_with(INBOUND) => Some(peer.to_owned()),
            _ => None,
        }
    });
    established.collect()
}

/// When the connection of a record of its end began.
fn began(record: &Value) -> OffsetDateTime {
    let lasted = record["duration_ms"].as_i64().expect("it has one");
    at(record, "time") - Duration::milliseconds(lasted)
}

const NONE_FAILED: [&str; 0] = [];
/// Where orders listens.
const PORT: u16 = 8080;
/// The proxy's port, 15006, and a state, as the kernel writes them.
const INBOUND: &str = ":3A9E";
const ESTABLISHED: &str = "01";
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
