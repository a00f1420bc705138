//! The rules of a cluster, and who is in it, as far as the kubeconfig's user may read them.

use anyhow::anyhow;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use palisade_api::manifest::{Diagnostic, Severity};
use palisade_control::audit::{self, rules as objects};
use serde_json::json;

use super::{Rules, Workload, objects::settings};
use crate::args::MeshArgs;
use crate::kubernetes::client::{self, Scope};
use crate::kubernetes::{self, list, pod};

/// Reads the rules and who is in the namespaces that are meant: all, unless one was named.
pub(super) fn read(mesh: &MeshArgs) -> anyhow::Result<Rules> {
    kubernetes::complete(async {
        let client = client::client(&mesh.kube).await?;
        let scope = mesh.scope.or(Scope::All);
        let mut rules = Rules::of(super::usual_trust_domain()?);
        let found = audit::policies(&client, &scope).await;
        for object in &found.map_err(|why| anyhow!("cannot read the rules: {why}; {BOTH_KINDS}"))? {
            rules.take_object(object);
        }
        let is_everybody = rules.take_pods(&client, &scope).await;
        let unread = rules.take_accounts(&client, &scope).await;
        let is_every_namespace = rules.take_namespaces(&client, &scope).await;
        rules.known.is_complete = scope == Scope::All
            && is_everybody
            && is_every_namespace
            && unread.as_ref().is_some_and(Vec::is_empty);
        rules.presume(|namespace| match (&scope, &unread) {
            (_, None) => true,
            (Scope::Namespace(own), Some(_)) => namespace != own,
            (Scope::All, Some(unread)) => {
                !is_every_namespace || unread.iter().any(|name| name == namespace)
            }
        });
        Ok(rules)
    })
}

impl Rules {
    /// Whether all of them could be read.
    async fn take_pods(&mut self, client: &Client, scope: &Scope) -> bool {
        let pods = match list::list::<Pod>(client, scope).await {
            Ok(pods) => pods,
            Err(error) => {
                self.warnings.push(format!(
                    "who there is cannot be told: {}",
                    list::in_words(&error)
                ));
                return false;
            }
        };
        if !pods.unreadable.is_empty() {
            let names = pods.unreadable.join(", ");
            let warning = format!("you may not list the pods of {names}; they are left out");
            self.warnings.push(warning);
        }
        pods.items.iter().for_each(|one| self.take_pod(one));
        pods.unreadable.is_empty()
    }

    /// Takes those too that no pod runs as at this moment, such as a CronJob's, but for the `default` that every namespace
    /// has. The namespaces whose accounts could not be read; `None` is all.
    async fn take_accounts(&mut self, client: &Client, scope: &Scope) -> Option<Vec<String>> {
        let accounts = list::list::<ServiceAccount>(client, scope).await.ok()?;
        let names = accounts
            .items
            .iter()
            .filter_map(|one| Some((one.namespace()?, one.name_any())))
            .filter(|(_, name)| name != "default");
        self.known.accounts.extend(names);
        Some(accounts.unreadable)
    }

    /// Takes what rules name of namespaces that were not read to be there: nobody can say that it is not.
    fn presume(&mut self, is_unread: impl Fn(&str) -> bool) {
        let named = self.policies.iter().flat_map(|policy| {
            let own = policy.target.namespaces.iter().map(|name| (&**name, None));
            let from = policy.rules.iter().flat_map(|rule| &rule.from);
            own.chain(from.filter_map(|from| from.in_mesh(Some(&self.trust_domain))))
        });
        let named = named.filter(|(namespace, _)| is_unread(namespace));
        let owned = |(namespace, account): (&str, Option<&str>)| {
            (namespace.to_owned(), account.map(str::to_owned))
        };
        let named: Vec<_> = named.map(owned).collect();
        for (namespace, account) in named {
            let accounts = account.map(|name| (namespace.clone(), name));
            self.known.accounts.extend(accounts);
            self.known.namespaces.entry(namespace).or_default();
        }
    }

    /// Whether all of them could be read.
    async fn take_namespaces(&mut self, client: &Client, scope: &Scope) -> bool {
        match audit::namespaces(client, scope).await {
            Ok(namespaces) => {
                namespaces.iter().for_each(|one| self.take_namespace(one));
                true
            }
            Err(why) => {
                self.warnings.push(format!(
                    "how namespaces are set cannot be told, and they are taken for strict: {why}"
                ));
                false
            }
        }
    }

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

const BOTH_KINDS: &str = "a ClusterAuthorizationPolicy decides in every namespace, so whoever asks needs `list` on \
                          authorizationpolicies and on clusterauthorizationpolicies";

#[cfg(test)]
mod tests {
    use super::super::sample;

    #[test]
    fn what_rules_name_of_namespaces_that_were_not_read_is_taken_to_be_there() {
        let mut rules = sample::rules(
            "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - name: callers
    effect: allow
    from:
    - serviceAccount: shop/wbe
    - serviceAccount: other/cron
    - identity: spiffe://cluster.local/ns/another/sa/job
    - identity: spiffe://b.test/ns/far/sa/job
    - namespace: monitoring
",
        );
        rules.presume(|namespace| namespace != "shop");
        let accounts: Vec<_> = rules
            .known
            .accounts
            .iter()
            .map(|(at, name)| format!("{at}/{name}"))
            .collect();
        assert_eq!(accounts, ["another/job", "other/cron"]);
        let namespaces: Vec<_> = rules.known.namespaces.keys().collect();
        assert_eq!(namespaces, ["another", "monitoring", "other"]);
    }
}
