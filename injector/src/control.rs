//! Where control is: what the sidecars of new pods are told.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;

use palisade_api::cluster;

/// Keeps the addresses current, until it is dropped.
///
/// It asks now and then and does not watch: the addresses of a Service change only with the Service itself.
pub(crate) async fn follow(
    client: Client,
    namespace: String,
    port: u16,
    addresses: watch::Sender<Vec<String>>,
) {
    let services: Api<Service> = Api::namespaced(client, &namespace);
    loop {
        match services.get(cluster::CONTROL).await {
            Ok(service) => {
                let now = addresses_of(&service, &namespace, port);
                addresses.send_if_modified(|held| {
                    let is_new = *held != now;
                    *held = now;
                    is_new
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control's Service cannot be read; what is known stays");
            }
        }
        let is_known = !addresses.borrow().is_empty();
        sleep(if is_known { INTERVAL } else { FIRST_INTERVAL }).await;
    }
}

/// Its name, then its addresses: a pod whose `dnsPolicy` knows no cluster names finds it all the same.
fn addresses_of(service: &Service, namespace: &str, port: u16) -> Vec<String> {
    let name = format!("{}.{namespace}.svc:{port}", cluster::CONTROL);
    let spec = service.spec.as_ref();
    let several = spec.and_then(|spec| spec.cluster_ips.as_deref());
    let single = spec.and_then(|spec| spec.cluster_ip.as_ref());
    let texts = several.unwrap_or_else(|| single.map(std::slice::from_ref).unwrap_or_default());
    let addresses = texts.iter().filter_map(|text| match text.parse().ok()? {
        IpAddr::V4(addr) => Some(format!("{addr}:{port}")),
        IpAddr::V6(addr) => Some(format!("[{addr}]:{port}")),
    });
    std::iter::once(name).chain(addresses).collect()
}

const INTERVAL: Duration = Duration::from_secs(30);
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster_double::{BOUND, Cluster};

    #[tokio::test]
    async fn a_service_that_comes_later_is_found() {
        let cluster = Cluster::start([]).await;
        let (sender, mut addresses) = watch::channel(Vec::new());
        let following = follow(cluster.client.clone(), "mesh".to_owned(), 15012, sender);
        let path = "/api/v1/namespaces/mesh/services/palisade-control";
        let spec = json!({"clusterIPs": ["10.96.0.9"]});
        let found = async {
            cluster.put(path, json!({"metadata": {}, "spec": spec}));
            addresses.changed().await.unwrap();
            addresses.borrow().clone()
        };
        let found = timeout(BOUND, async {
            tokio::select! {
                () = following => panic!("it ended"),
                found = found => found,
            }
        });
        let expected = ["palisade-control.mesh.svc:15012", "10.96.0.9:15012"];
        assert_eq!(found.await.unwrap(), expected);
    }

    #[test]
    fn control_has_a_name_and_each_address() {
        let name = "palisade-control.mesh.svc:15012";
        for (spec, expected) in [
            (
                json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd96::9"]}),
                vec![name, "10.96.0.9:15012", "[fd96::9]:15012"],
            ),
            (
                json!({"clusterIP": "10.96.0.9"}),
                vec![name, "10.96.0.9:15012"],
            ),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None"]}),
                vec![name],
            ),
            (json!({}), vec![name]),
        ] {
            let service = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(addresses_of(&service, "mesh", 15012), expected);
        }
    }
}
