//! Which namespaces are in the mesh: the mark by which webhooks select them follows from what their owners wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use palisade_api::cluster::{ENABLED, INJECT, MEMBER_LABEL, is_exempt};

/// Whether a namespace asked for the mesh, and may be in it.
pub(super) fn belongs(namespace: &ObjectMeta, system: &str) -> bool {
    let name = namespace.name.as_deref().unwrap_or_default();
    let asked = [&namespace.annotations, &namespace.labels]
        .into_iter()
        .flatten()
        .any(|keys| keys.get(INJECT).is_some_and(|value| value == ENABLED));
    asked && !is_exempt(name, system)
}

/// The merge patch that makes a namespace's mark right, where it is not. It touches no other key.
pub(super) fn correction(namespace: &ObjectMeta, system: &str) -> Option<Value> {
    let marked = namespace
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MEMBER_LABEL));
    let wanted = belongs(namespace, system).then_some(ENABLED);
    (marked.map(String::as_str) != wanted)
        .then(|| json!({"metadata": {"labels": {MEMBER_LABEL: wanted}}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> ObjectMeta {
        let map = |pairs: &[(&str, &str)]| {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            (!pairs.is_empty()).then(|| pairs.iter().map(owned).collect())
        };
        ObjectMeta {
            name: Some(name.into()),
            labels: map(labels),
            annotations: map(annotations),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn the_mark_follows_from_what_was_asked_and_nothing_else_is_touched() {
        let ask = [("palisade.dev/inject", "enabled")];
        let refuse = [("palisade.dev/inject", "disabled")];
        let mark = ("mesh.palisade.dev/member", "enabled");
        let set = json!({"metadata": {"labels": {"mesh.palisade.dev/member": "enabled"}}});
        let removed = json!({"metadata": {"labels": {"mesh.palisade.dev/member": null}}});
        let cases = [
            (namespace("shop", &[], &[]), None),
            (namespace("shop", &[("team", "a")], &ask), Some(&set)),
            (namespace("shop", &ask, &[]), Some(&set)),
            (namespace("shop", &[ask[0], mark], &[]), None),
            (namespace("shop", &refuse, &ask), Some(&set)),
            (namespace("shop", &[mark], &refuse), Some(&removed)),
            (namespace("shop", &[mark], &[]), Some(&removed)),
            (
                namespace("shop", &[("mesh.palisade.dev/member", "yes")], &ask),
                Some(&set),
            ),
            (namespace("kube-system", &ask, &ask), None),
            (namespace("kube-public", &[mark], &ask), Some(&removed)),
            (namespace("kube-node-lease", &ask, &[]), None),
            (namespace("palisade-system", &[mark], &ask), Some(&removed)),
        ];
        for (namespace, expected) in cases {
            let correction = correction(&namespace, "palisade-system");
            assert_eq!(correction.as_ref(), expected, "{namespace:?}");
        }
    }
}
