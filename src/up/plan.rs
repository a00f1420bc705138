//! Who gets which addresses and names: everything about a mesh that can be said before it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use palisade_api::sidecar::API_VERSION;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::mesh_file::{Mesh, Restart};

/// The ranges of pods and services, both families: what control calls the mesh.
pub(crate) const MESH_CIDRS: [&str; 4] =
    ["10.111.0.0/16", "fd70::/64", "10.112.0.0/16", "fd71::/64"];
/// Where control answers, and the pods' default route.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 1);
/// The same for IPv6.
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0, 0, 0, 0, 0, 0, 1);

/// An address of each family. IPv6 is left unused where the kernel has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

impl Addresses {
    fn pod(number: u16) -> Self {
        Self::of([10, 111], 0xfd70, number)
    }

    fn service(number: u16) -> Self {
        Self::of([10, 112], 0xfd71, number)
    }

    /// The first two of each range are the network's own and the gateway's.
    fn of([a, b]: [u8; 2], prefix: u16, number: u16) -> Self {
        let number = number.saturating_add(2);
        let [c, d] = number.to_be_bytes();
        Self {
            v4: Ipv4Addr::new(a, b, c, d),
            v6: Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, number),
        }
    }

    /// Both, for lists.
    pub(crate) fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// A pod: one replica of a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// `orders-0`.
    pub(crate) name: String,
    /// `orders`.
    pub(crate) workload: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) identity: String,
    pub(crate) addresses: Addresses,
    pub(crate) meshed: bool,
    pub(crate) restart: Restart,
    pub(crate) app: App,
    /// Its `/etc/hosts`, which goes its own way: it is too long for a plan.
    #[serde(skip)]
    pub(crate) hosts: String,
    /// Its place in the file, which names its cable.
    pub(crate) number: u16,
}

impl Pod {
    /// `shop/orders-0`: what control and records call it.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// A file name of its own.
    pub(crate) fn file_stem(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }
}

/// What runs in a pod, and as whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct App {
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) run_as_user: u32,
}

/// A service: the name of a workload's replicas.
#[derive(Debug)]
struct Service<'a> {
    name: &'a str,
    namespace: &'a str,
    addresses: Addresses,
    labels: &'a BTreeMap<String, String>,
    ports: &'a [(u16, u16)],
}

/// The pods of a mesh, in the file's order.
pub(crate) fn pods(mesh: &Mesh) -> Vec<Pod> {
    let mut pods = Vec::new();
    for workload in &mesh.workloads {
        for replica in 0..workload.replicas {
            let number = u16::try_from(pods.len()).unwrap_or(u16::MAX);
            pods.push(Pod {
                name: format!("{}-{replica}", workload.name),
                workload: workload.name.clone(),
                namespace: workload.namespace.clone(),
                service_account: workload.service_account.clone(),
                identity: workload.identity.to_string(),
                addresses: Addresses::pod(number),
                meshed: workload.meshed,
                restart: workload.restart,
                app: App {
                    command: workload.command.clone(),
                    environment: workload.environment.clone(),
                    working_directory: workload.working_directory.clone(),
                    run_as_user: workload.run_as_user,
                },
                hosts: String::new(),
                number,
            });
        }
    }
    let hosts: Vec<String> = pods.iter().map(|pod| hosts(mesh, &pods, pod)).collect();
    for (pod, hosts) in pods.iter_mut().zip(hosts) {
        pod.hosts = hosts;
    }
    pods
}

fn services(mesh: &Mesh) -> impl Iterator<Item = Service<'_>> {
    (0u16..)
        .zip(&mesh.workloads)
        .map(|(number, workload)| Service {
            name: &workload.name,
            namespace: &workload.namespace,
            addresses: Addresses::service(number),
            labels: &workload.labels,
            ports: &workload.ports,
        })
}

/// The names that one pod sees. A pod without a sidecar has nobody who could choose behind a virtual
/// address, so its names lead to the replicas themselves; so does the name of a workload without ports.
fn hosts(mesh: &Mesh, pods: &[Pod], viewer: &Pod) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for service in services(mesh) {
        let names = names(service.name, service.namespace, &viewer.namespace);
        if viewer.meshed && !service.ports.is_empty() {
            line(&mut text, service.addresses, &names);
            continue;
        }
        let replicas = pods
            .iter()
            .filter(|p| p.workload == service.name && p.namespace == service.namespace);
        for replica in replicas {
            line(&mut text, replica.addresses, &names);
        }
    }
    for pod in pods {
        let qualified = format!("{}.{}", pod.name, pod.workload);
        let mut all = names(&qualified, &pod.namespace, &viewer.namespace);
        all.extend(names(&pod.name, &pod.namespace, &viewer.namespace));
        line(&mut text, pod.addresses, &all);
    }
    text
}

/// `orders` for its own namespace, `orders.shop` and `orders.shop.svc` for all.
fn names(name: &str, namespace: &str, viewer: &str) -> Vec<String> {
    let mut names = vec![
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
    ];
    if namespace == viewer {
        names.insert(0, name.to_owned());
    }
    names
}

fn line(text: &mut String, addresses: Addresses, names: &[String]) {
    for address in addresses.both() {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{address} {}", names.join(" "));
    }
}

/// What control is told of the mesh: a YAML file of many documents (of which JSON is a part).
pub(crate) fn manifests(mesh: &Mesh, pods: &[Pod]) -> String {
    let mut documents = Vec::new();
    for namespace in &mesh.namespaces {
        documents.push(json!({
            "apiVersion": API_VERSION, "kind": "Namespace",
            "metadata": {"name": namespace.name, "annotations": namespace.annotations},
        }));
    }
    for service in services(mesh).filter(|service| !service.ports.is_empty()) {
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|(port, target)| json!({"port": port, "targetPort": target}))
            .collect();
        documents.push(json!({
            "apiVersion": API_VERSION, "kind": "Service",
            "metadata": {"name": service.name, "namespace": service.namespace},
            "spec": {"addresses": service.addresses.both(), "selector": service.labels, "ports": ports},
        }));
    }
    for pod in pods {
        let of = |w: &&super::mesh_file::WorkloadEntry| {
            w.name == pod.workload && w.namespace == pod.namespace
        };
        let Some(workload) = mesh.workloads.iter().find(of) else {
            continue;
        };
        documents.push(json!({
            "apiVersion": API_VERSION, "kind": "Workload",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": workload.labels},
            "spec": {
                "serviceAccount": workload.service_account,
                "addresses": pod.addresses.both(),
                "meshed": pod.meshed,
            },
        }));
    }
    let texts: Vec<String> = documents.iter().map(|d| format!("{d:#}\n")).collect();
    texts.join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(workloads: &str) -> Mesh {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mesh.yaml");
        let text = format!(
            "apiVersion: {API_VERSION}\nkind: LocalMesh\nmetadata: {{name: m}}\nspec:\n  rules: .\n  workloads:\n{workloads}"
        );
        std::fs::write(&file, text).unwrap();
        super::super::mesh_file::load(&file).unwrap()
    }

    const TWO: &str = "  - {name: web, namespace: shop, command: [x], ports: [80]}\n  - {name: db, namespace: data, command: [x], ports: [5432], replicas: 2}\n";

    #[test]
    fn pods_are_numbered_in_the_files_order() {
        let pods = pods(&mesh(TWO));
        let seen: Vec<_> = pods
            .iter()
            .map(|p| {
                (
                    p.key(),
                    p.addresses.v4.to_string(),
                    p.addresses.v6.to_string(),
                )
            })
            .collect();
        let expected = [
            ("shop/web-0", "10.111.0.2", "fd70::2"),
            ("data/db-0", "10.111.0.3", "fd70::3"),
            ("data/db-1", "10.111.0.4", "fd70::4"),
        ]
        .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn numbers_spill_into_the_third_byte() {
        assert_eq!(Addresses::pod(300).v4.to_string(), "10.111.1.46");
    }

    #[test]
    fn names_are_short_in_the_own_namespace_only() {
        let pods = pods(&mesh(TWO));
        let web = &pods[0].hosts;
        assert!(
            web.contains("10.112.0.2 web web.shop web.shop.svc\n"),
            "{web}"
        );
        assert!(web.contains("fd71::3 db.data db.data.svc\n"), "{web}");
        assert!(
            web.contains("10.111.0.4 db-1.db.data db-1.db.data.svc db-1.data db-1.data.svc\n"),
            "{web}"
        );
        assert!(
            pods[1].hosts.contains("fd70::4 db-1.db db-1.db.data"),
            "{}",
            pods[1].hosts
        );
    }

    #[test]
    fn a_pod_without_sidecar_is_led_to_the_replicas() {
        let unmeshed = TWO.replace("name: web,", "name: web, meshed: false,");
        let web = &pods(&mesh(&unmeshed))[0].hosts;
        assert!(web.contains("10.111.0.3 db.data db.data.svc\n"), "{web}");
        assert!(web.contains("10.111.0.4 db.data db.data.svc\n"), "{web}");
        assert!(!web.contains("10.112."), "{web}");
    }

    #[test]
    fn control_is_told_of_every_service_and_pod() {
        let mesh = mesh(TWO);
        let text = manifests(&mesh, &pods(&mesh));
        let kinds: Vec<String> = text
            .split("---\n")
            .map(|d| serde_json::from_str::<serde_json::Value>(d).unwrap()["kind"].to_string())
            .collect();
        assert_eq!(kinds.iter().filter(|k| *k == "\"Service\"").count(), 2);
        assert_eq!(kinds.iter().filter(|k| *k == "\"Workload\"").count(), 3);
    }
}
