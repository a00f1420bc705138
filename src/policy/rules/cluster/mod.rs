//! The rules of a cluster, and who is in it, as far as the kubeconfig's user may read them.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unknown_tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::anyhow;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use palisade_api::cluster;
use palisade_api::manifest::{Diagnostic, Severity};
use palisade_control::audit::{self, rules as objects};
use serde_json::json;

use super::extent::{Extent, Namespaces, Sought};
use super::objects::settings;
use super::{Rules, Unknown, Workload};
use crate::args::MeshArgs;
use crate::kubernetes::client::{self, Scope};
use crate::kubernetes::{self, definitions, list, namespace, pod};

/// Reads the rules and who is in the namespaces that are meant: all, unless one was named; and, as far as that is allowed,
/// `callers`.
pub(super) fn read(mesh: &MeshArgs, callers: &BTreeSet<Sought>) -> anyhow::Result<Rules> {
    kubernetes::complete(async {
        let client = client::client(&mesh.kube).await?;
        let scope = mesh.scope.or_all();
        namespace::is_there(&client, &scope).await?;
        let mut rules = Rules::of(super::usual_trust_domain()?);
        let unread = rules.take_rules(&client, &scope).await?;
        let pods = rules.take_pods(&client, &scope).await;
        let mut extent = Extent {
            rules: in_scope(&scope, &unread),
            addresses: pods.clone(),
            pods,
            accounts: rules.take_accounts(&client, &scope).await,
            has_unnamed: false,
        };
        let is_every_namespace = rules.take_namespaces(&client, &scope).await;
        let all = Namespaces::all_but(&[]);
        rules.known.is_complete =
            is_every_namespace && [&extent.rules, &extent.pods, &extent.accounts] == [&all; 3];
        let mut sought = Vec::new();
        for caller in callers {
            match caller {
                Sought::Namespace(name) => {
                    rules.take_inhabitants(&client, name, &mut extent).await;
                }
                Sought::Address(addr) => sought.push(*addr),
            }
        }
        rules.take_residents(&client, &sought, &mut extent).await;
        extent.has_unnamed = scope == Scope::All && !is_every_namespace;
        rules.known.extent = Some(extent);
        rules.presume();
        Ok(rules)
    })
}

/// The namespaces that are meant, but for those that could not be read.
fn in_scope(scope: &Scope, unread: &[String]) -> Namespaces {
    match scope {
        Scope::All => Namespaces::all_but(unread),
        Scope::Namespace(own) => Namespaces::only(own),
    }
}

impl Rules {
    /// The namespaces of which they could not be read.
    async fn take_rules(&mut self, client: &Client, scope: &Scope) -> anyhow::Result<Vec<String>> {
        let listed = audit::policies(client, scope).await.map_err(|error| {
            let why = namespace::refused(client, scope, &error);
            match list::is_forbidden(&error) {
                true => anyhow!("cannot read the rules: {why}; {BOTH_KINDS}"),
                false => anyhow!("cannot read the rules: {why}"),
            }
        })?;
        if let Some(why) = definitions::unlisted(client, &listed.undefined).await {
            self.warnings.push(why.clone());
            self.unknown.push(Unknown::unlisted(why));
        }
        if !listed.unreadable.is_empty() {
            let names = listed.unreadable.join(", ");
            let warning = format!("you may not list the rules of {names}; they are left out");
            self.warnings.push(warning);
        }
        listed.items.iter().for_each(|one| self.take_object(one));
        Ok(listed.unreadable)
    }

    /// The namespaces whose pods could be read.
    async fn take_pods(&mut self, client: &Client, scope: &Scope) -> Namespaces {
        let pods = match list::list::<Pod>(client, scope).await {
            Ok(pods) => pods,
            Err(error) => {
                self.warnings.push(format!(
                    "who there is cannot be told: {}",
                    list::in_words(&error)
                ));
                return Namespaces::none();
            }
        };
        if !pods.unreadable.is_empty() {
            let names = pods.unreadable.join(", ");
            let warning = format!("you may not list the pods of {names}; they are left out");
            self.warnings.push(warning);
        }
        pods.items.iter().for_each(|one| self.take_pod(one));
        in_scope(scope, &pods.unreadable)
    }

    /// Takes those too that no pod runs as at this moment, such as a CronJob's, but for the `default` that every namespace
    /// has. The namespaces whose accounts could be read.
    async fn take_accounts(&mut self, client: &Client, scope: &Scope) -> Namespaces {
        let Ok(accounts) = list::list::<ServiceAccount>(client, scope).await else {
            return Namespaces::none();
        };
        let names = accounts
            .items
            .iter()
            .filter_map(|one| Some((one.namespace()?, one.name_any())))
            .filter(|(_, name)| name != "default");
        self.known.accounts.extend(names);
        in_scope(scope, &accounts.unreadable)
    }

    /// Takes who is in one more namespace, where that is allowed.
    async fn take_inhabitants(&mut self, client: &Client, name: &str, extent: &mut Extent) {
        let scope = Scope::Namespace(name.to_owned());
        if !extent.pods.has(name)
            && let Ok(pods) = list::list::<Pod>(client, &scope).await
        {
            pods.items.iter().for_each(|one| self.take_pod(one));
            extent.pods.add(name);
        }
        if !extent.accounts.has(name) && self.take_accounts(client, &scope).await.has(name) {
            extent.accounts.add(name);
        }
    }

    /// Takes who has one of these addresses, of the namespaces whose pods may be listed. Kubernetes can select pods by the
    /// first of their addresses only.
    async fn take_residents(&mut self, client: &Client, sought: &[IpAddr], extent: &mut Extent) {
        let is_known = |addr: &IpAddr| {
            self.known
                .workloads
                .iter()
                .any(|one| one.addresses.contains(addr))
        };
        extent.addresses = extent.pods.clone();
        // Where those of all were asked for, no more is to be had.
        let is_all = matches!(extent.pods, Namespaces::AllBut(_));
        if is_all || sought.iter().all(is_known) {
            return;
        }
        let Ok(pods) = list::list::<Pod>(client, &Scope::All).await else {
            return;
        };
        for one in &pods.items {
            let is_unread = !extent.pods.has(&one.namespace().unwrap_or_default());
            if is_unread && addresses(one).iter().any(|addr| sought.contains(addr)) {
                self.take_pod(one);
            }
        }
        extent.addresses = Namespaces::all_but(&pods.unreadable);
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
        let read = objects::parse(object);
        let mistakes = read.as_ref().err().map(String::as_str);
        if let Some(unknown) = Unknown::object(object, mistakes) {
            self.warnings.push(unknown.warning());
            self.unknown.push(unknown);
        }
        match read {
            Ok(policy) => {
                for (index, name) in policy.rule_names().enumerate() {
                    self.places
                        .insert(name, format!("{place}, spec.rules[{index}]"));
                }
                self.policies.push(policy);
            }
            Err(why) => {
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
        if !pod::sidecar_runs(one) {
            let replica = (one.namespace().unwrap_or_default(), one.name_any());
            self.known.idle.insert(replica);
        }
        self.known.take(Workload {
            namespace: one.namespace().unwrap_or_default(),
            name: pod::workload(one),
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            labels: one.labels().clone(),
            replicas: vec![one.name_any()],
            addresses: addresses(one),
            meshed: pod::sidecar(one).is_some(),
            excluded_ports: excluded_ports(one),
        });
    }

    fn take_namespace(&mut self, namespace: &Namespace) {
        let name = namespace.name_any();
        let (settings, wrong) = settings(&name, Some(&json!(namespace.annotations())));
        wrong.into_iter().for_each(|one| self.take_misset(one));
        self.known.tell(&name, settings);
    }
}

fn addresses(one: &Pod) -> Vec<IpAddr> {
    let status = one.status.as_ref();
    let ips = status.and_then(|status| status.pod_ips.as_ref());
    let ips = ips.into_iter().flatten();
    ips.filter_map(|ip| ip.ip.parse().ok()).collect()
}

/// By what its sidecar was told: the pod's annotation may have been changed since.
fn excluded_ports(one: &Pod) -> BTreeSet<u16> {
    let variables = pod::sidecar(one).and_then(|sidecar| sidecar.env.as_deref());
    let mut variables = variables.into_iter().flatten();
    let ports = variables.find(|one| one.name == cluster::EXCLUDED_PORTS_VARIABLE);
    let ports = ports.and_then(|one| one.value.as_deref());
    ports
        .into_iter()
        .flat_map(cluster::excluded_ports)
        .collect()
}

const BOTH_KINDS: &str = "a ClusterAuthorizationPolicy decides in every namespace, so whoever asks needs `list` on \
                          authorizationpolicies (the role `view` has it) and on clusterauthorizationpolicies: kubectl \
                          create clusterrolebinding NAME --clusterrole=palisade-cluster-policies-view --user=YOU";
