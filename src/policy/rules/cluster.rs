//! The rules of a cluster, and who is in it, as far as the kubeconfig's user may read them.

use anyhow::anyhow;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::DynamicObject;
use palisade_api::manifest::{Diagnostic, Severity};
use palisade_control::audit::{self, rules as objects};
use serde_json::json;

use super::{Rules, Workload, objects::settings};
use crate::args::MeshArgs;
use crate::kubernetes::client::{self, Scope};
use crate::kubernetes::{self, list, pod};

/// Reads the rules and the meshed pods of the namespaces that are meant: all, unless one was named.
pub(super) fn read(mesh: &MeshArgs) -> anyhow::Result<Rules> {
    kubernetes::complete(async {
        let client = client::client(&mesh.kube).await?;
        let scope = mesh.scope.or(Scope::All);
        let mut rules = Rules::of(super::usual_trust_domain()?);
        let found = audit::policies(&client, &scope).await;
        for object in &found.map_err(|why| anyhow!("cannot read the rules: {why}"))? {
            rules.take_object(object);
        }
        match list::list::<Pod>(&client, &scope).await {
            Ok(pods) => {
                rules.known.is_complete = scope == Scope::All && pods.unreadable.is_empty();
                for name in &pods.unreadable {
                    let warning = format!("you may not list the pods of {name}; they are left out");
                    rules.warnings.push(warning);
                }
                pods.items.iter().for_each(|one| rules.take_pod(one));
            }
            Err(error) => rules.warnings.push(format!(
                "who there is cannot be told: {}",
                list::in_words(&error)
            )),
        }
        match audit::namespaces(&client, &scope).await {
            Ok(namespaces) => namespaces.iter().for_each(|one| rules.take_namespace(one)),
            Err(why) => rules.warnings.push(format!(
                "how namespaces are set cannot be told, and they are taken for strict: {why}"
            )),
        }
        Ok(rules)
    })
}

impl Rules {
    fn take_object(&mut self, object: &DynamicObject) {
        let place = objects::place(object);
        match objects::parse(object) {
            Ok(policy) => {
                for (index, name) in policy.rule_names().enumerate() {
                    self.places
                        .insert(name, format!("{place}, spec.rules[{index}]"));
                }
                self.policies.push(policy);
            }
            Err(why) => {
                self.warnings.push(format!("{place} is left out: {why}"));
                self.mistakes.push(Diagnostic {
                    file: place,
                    line: 0,
                    column: 0,
                    width: 0,
                    severity: Severity::Error,
                    message: why,
                    remedy: "put it right, and apply it again".to_owned(),
                });
            }
        }
    }

    fn take_pod(&mut self, one: &Pod) {
        let spec = one.spec.as_ref();
        if pod::is_finished(one) || spec.is_some_and(|spec| spec.host_network == Some(true)) {
            return;
        }
        if let Some(domain) = pod::trust_domain(one) {
            self.trust_domain = domain;
        }
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        let ips = one
            .status
            .as_ref()
            .and_then(|status| status.pod_ips.as_ref());
        let (_, owner) = pod::owner(one);
        self.known.take(Workload {
            namespace: one.namespace().unwrap_or_default(),
            name: owner,
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            labels: one.labels().clone(),
            replicas: vec![one.name_any()],
            addresses: ips
                .into_iter()
                .flatten()
                .filter_map(|ip| ip.ip.parse().ok())
                .collect(),
            meshed: pod::sidecar(one).is_some(),
        });
    }

    fn take_namespace(&mut self, namespace: &Namespace) {
        let settings = settings(Some(&json!(namespace.annotations())));
        self.known.tell(&namespace.name_any(), settings);
    }
}
