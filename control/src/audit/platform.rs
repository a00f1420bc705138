//! Whether the cluster is new enough.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::finding::{Finding, look};
use super::snapshot::Platform;

/// The versions of the API server and of every kubelet.
pub fn judge(platform: &Platform) -> Vec<Finding> {
    let server = look("api-server", &platform.version, "", |version| {
        let told = format!("{}.{}", version.major, version.minor);
        vec![match parse(&told) {
            Some(found) if found >= SERVER => {
                Finding::ok("api-server", format!("Kubernetes {told}"))
            }
            _ => Finding::error(
                "api-server",
                "",
                format!(
                    "Kubernetes {told} has no admission policies, which keep pods without a sidecar out"
                ),
                "upgrade the cluster to 1.30 or later",
            ),
        }]
    });
    let nodes = look(
        "kubelet",
        &platform.nodes,
        "every kubelet is 1.29 or later",
        |nodes| nodes.iter().filter_map(kubelet).collect(),
    );
    [server, nodes].concat()
}

fn kubelet(node: &Node) -> Option<Finding> {
    let facts = node.status.as_ref()?.node_info.as_ref()?;
    let version = &facts.kubelet_version;
    // Pods on Windows are left alone.
    let too_old =
        facts.operating_system != "windows" && parse(version).is_none_or(|it| it < KUBELET);
    too_old.then(|| {
        Finding::error(
            "kubelet",
            format!("Node {}", node.name_any()),
            format!("its kubelet {version} has no native sidecars: meshed pods cannot start there"),
            "upgrade it to 1.29 or later, or keep meshed pods off it",
        )
    })
}

/// Of `v1.36.0`, `1.30+` or `1.29` the first two numbers.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut number = || {
        let part = numbers.next()?;
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part.get(..end)?.parse().ok()
    };
    Some((number()?, number()?))
}

const SERVER: (u32, u32) = (1, 30);
const KUBELET: (u32, u32) = (1, 29);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, expected) in [
            ("v1.36.0", Some((1, 36))),
            ("1.30+", Some((1, 30))),
            ("v1.9.11-gke.1", Some((1, 9))),
            ("new", None),
            ("1", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
