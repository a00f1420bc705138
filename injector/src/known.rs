//! What a rule is held against for warnings: who exists, of what it names, and as far as whoever writes it may know.
//!
//! A warning about a name tells whether it is there, and its remedy what else is: so each list is made only for those who
//! may make it themselves. What is not listed is taken to be there.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use palisade_api::manifest::Known;
use palisade_api::policy::AuthorizationPolicy;
use palisade_api::spiffe::TrustDomain;

use crate::listed;

/// What is known before anything is asked.
#[derive(Debug)]
pub(crate) struct Held {
    /// The mesh's own.
    pub(crate) trust_domain: Option<TrustDomain>,
    /// The names of all namespaces that are known.
    pub(crate) namespaces: Vec<String>,
}

/// What exists of what a policy names, as far as its writer may know.
///
/// # Errors
///
/// A list that they may have cannot be had.
pub(crate) async fn known(
    cluster: &Client,
    user: &UserInfo,
    policy: &AuthorizationPolicy,
    held: Held,
) -> Result<Known, kube::Error> {
    let named = Named::of(policy, held.trust_domain.as_ref());
    let mut known = Known {
        trust_domain: held.trust_domain,
        ..Known::default()
    };
    if named.accounts.len() > MOST_NAMESPACES {
        known.service_accounts = named.accounts;
        return Ok(known);
    }
    let asking = Asking { cluster, user };
    let namespaces = held.namespaces;
    asking.namespaces(&named, namespaces, &mut known).await?;
    asking.accounts(named, &mut known).await?;
    known.complete = asking.workloads(policy, &mut known).await?;
    Ok(known)
}

/// What a policy names.
struct Named {
    /// Service accounts, by their namespaces, and namespaces without any.
    accounts: BTreeMap<String, BTreeSet<String>>,
    /// The service account of a target that is in no namespace, and so in any.
    anywhere: Option<String>,
}

impl Named {
    fn of(policy: &AuthorizationPolicy, own: Option<&TrustDomain>) -> Self {
        let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let targets: Vec<_> = targets(policy).collect();
        let of_target = &policy.target.service_account;
        for namespace in &targets {
            let accounts = named.entry((*namespace).to_owned()).or_default();
            accounts.extend(of_target.clone());
        }
        for from in policy.rules.iter().flat_map(|rule| &rule.from) {
            let Some((namespace, account)) = from.in_mesh(own) else {
                continue;
            };
            let accounts = named.entry(namespace.to_owned()).or_default();
            accounts.extend(account.map(str::to_owned));
        }
        Self {
            accounts: named,
            anywhere: of_target.clone().filter(|_| targets.is_empty()),
        }
    }
}

/// The namespaces that a policy is for; none where that is all of them.
fn targets(policy: &AuthorizationPolicy) -> impl Iterator<Item = &str> {
    let namespaces = policy.namespace.iter().chain(&policy.target.namespaces);
    namespaces.map(String::as_str)
}

/// Asks for a user.
struct Asking<'a> {
    cluster: &'a Client,
    user: &'a UserInfo,
}

impl Asking<'_> {
    async fn namespaces(
        &self,
        named: &Named,
        held: Vec<String>,
        known: &mut Known,
    ) -> Result<(), kube::Error> {
        let may_list = self.may_list("namespaces", None).await?;
        if may_list {
            let held = held.into_iter().map(|name| (name, BTreeSet::new()));
            known.service_accounts.extend(held);
        }
        let namespaces: Api<Namespace> = Api::all(self.cluster.clone());
        for name in named.accounts.keys() {
            if known.service_accounts.contains_key(name) {
                continue;
            }
            // It may be too young for the watch to have told of it.
            if !may_list || namespaces.get_opt(name).await?.is_some() {
                known.service_accounts.insert(name.clone(), BTreeSet::new());
            }
        }
        Ok(())
    }

    async fn accounts(&self, named: Named, known: &mut Known) -> Result<(), kube::Error> {
        let there = &mut known.service_accounts;
        if let Some(account) = named.anywhere {
            if self.may_list("serviceaccounts", None).await? {
                for (namespace, name) in listed::accounts(self.cluster, None).await? {
                    there.entry(namespace).or_default().insert(name);
                }
                return Ok(());
            }
            // In no namespace that anybody can name, it is somewhere.
            there.entry(String::new()).or_default().insert(account);
        }
        for (namespace, accounts) in named.accounts {
            // What is in no namespace is told by the namespace.
            let Some(there) = there.get_mut(&namespace).filter(|_| !accounts.is_empty()) else {
                continue;
            };
            if self.may_list("serviceaccounts", Some(&namespace)).await? {
                let found = listed::accounts(self.cluster, Some(&namespace)).await?;
                there.extend(found.into_iter().map(|(_, name)| name));
            } else {
                there.extend(accounts);
            }
        }
        Ok(())
    }

    /// Takes those whom the target can select among; whether these are all.
    async fn workloads(
        &self,
        policy: &AuthorizationPolicy,
        known: &mut Known,
    ) -> Result<bool, kube::Error> {
        let mut namespaces: Vec<Option<&str>> = targets(policy).map(Some).collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        for namespace in namespaces {
            if !self.may_list("pods", namespace).await? {
                return Ok(false);
            }
            let Some(workloads) = listed::workloads(self.cluster, namespace).await? else {
                return Ok(false);
            };
            known.workloads.extend(workloads);
        }
        Ok(true)
    }

    /// In a namespace, or with none in all.
    async fn may_list(&self, resource: &str, namespace: Option<&str>) -> Result<bool, kube::Error> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: self.user.username.clone(),
                uid: self.user.uid.clone(),
                groups: self.user.groups.clone(),
                extra: self.user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("list".to_owned()),
                    resource: Some(resource.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.cluster.clone());
        let answered = reviews.create(&PostParams::default(), &review).await?;
        Ok(answered.status.is_some_and(|status| status.allowed))
    }
}

/// A rule that names more is held against nothing but the time.
const MOST_NAMESPACES: usize = 16;

#[cfg(test)]
mod tests {
    use palisade_api::manifest::{Manifest, check_object};
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster_double::Cluster;

    const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

    /// A cluster with a namespace `shop`, and `young`, which no watch has told of.
    async fn cluster(allowed: bool) -> Cluster {
        let named = |name: &str| json!({"metadata": {"name": name, "namespace": "shop"}});
        let pod = |name: &str, phase: &str| {
            json!({
                "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
                "spec": {"serviceAccountName": "default"}, "status": {"phase": phase},
            })
        };
        let young = json!({"metadata": {"name": "young"}});
        Cluster::start([
            (
                REVIEWS,
                json!({"metadata": {}, "spec": {}, "status": {"allowed": allowed}}),
            ),
            (
                "/api/v1/namespaces/shop/serviceaccounts",
                json!([named("web")]),
            ),
            ("/api/v1/serviceaccounts", json!([named("web")])),
            (
                "/api/v1/namespaces/shop/pods",
                json!([pod("web", "Running"), pod("old", "Succeeded")]),
            ),
            ("/api/v1/pods", json!([pod("web", "Running")])),
            ("/api/v1/namespaces/young", young),
        ])
        .await
    }

    fn policy(kind: &str, spec: Value) -> AuthorizationPolicy {
        let mut metadata = json!({"name": "a"});
        if kind == "AuthorizationPolicy" {
            metadata["namespace"] = "shop".into();
        }
        let object = json!({
            "apiVersion": "palisade.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
        });
        let Manifest::Policy(policy) = check_object(&object.to_string()).unwrap() else {
            panic!("{object}");
        };
        policy
    }

    fn own() -> AuthorizationPolicy {
        let from = json!([
            {"serviceAccount": "shop/wbe"},
            {"identity": "spiffe://cluster.local/ns/young/sa/a"},
            {"identity": "spiffe://elsewhere.test/ns/b/sa/b"},
            {"namespace": "nowhere"},
        ]);
        policy(
            "AuthorizationPolicy",
            json!({"rules": [{"name": "r", "effect": "allow", "from": from}]}),
        )
    }

    async fn asked(cluster: &Cluster, policy: &AuthorizationPolicy) -> Result<Known, kube::Error> {
        let user = UserInfo {
            username: Some("ann".to_owned()),
            ..UserInfo::default()
        };
        let held = Held {
            trust_domain: Some("cluster.local".parse().unwrap()),
            namespaces: ["shop", "other"].map(str::to_owned).to_vec(),
        };
        known(&cluster.client, &user, policy, held).await
    }

    fn accounts(known: &Known) -> Vec<(&str, Vec<&str>)> {
        let accounts = known.service_accounts.iter();
        accounts
            .map(|(namespace, names)| {
                (
                    namespace.as_str(),
                    names.iter().map(String::as_str).collect(),
                )
            })
            .collect()
    }

    #[tokio::test]
    async fn who_may_list_is_told_who_there_is() {
        let mut cluster = cluster(true).await;
        cluster.put("/api/v1/namespaces/young/serviceaccounts", json!([]));
        let known = asked(&cluster, &own()).await.unwrap();
        let expected = [("other", vec![]), ("shop", vec!["web"]), ("young", vec![])];
        assert_eq!(accounts(&known), expected);
        let workloads: Vec<_> = known.workloads.iter().map(|one| &*one.name).collect();
        assert_eq!((workloads, known.complete), (vec!["web"], true));
        let (_, review) = cluster.written.recv().await.unwrap();
        assert_eq!(review["spec"]["user"], "ann");
        assert_eq!(
            review["spec"]["resourceAttributes"]["resource"],
            "namespaces"
        );
    }

    #[tokio::test]
    async fn what_may_not_be_listed_is_taken_to_be_there() {
        let cluster = cluster(false).await;
        let known = asked(&cluster, &own()).await.unwrap();
        let expected = [
            ("nowhere", vec![]),
            ("shop", vec!["wbe"]),
            ("young", vec!["a"]),
        ];
        assert_eq!(accounts(&known), expected);
        assert!(known.workloads.is_empty() && !known.complete);
    }

    #[tokio::test]
    async fn an_account_of_any_namespace_is_looked_for_in_all() {
        let rule = json!({"name": "r", "effect": "deny", "from": [{"trustDomain": "a.test"}]});
        let spec = json!({"target": {"serviceAccount": "wbe"}, "rules": [rule]});
        let policy = policy("ClusterAuthorizationPolicy", spec);
        for (allowed, expected) in [(true, ("shop", vec!["web"])), (false, ("", vec!["wbe"]))] {
            let known = asked(&cluster(allowed).await, &policy).await.unwrap();
            assert!(accounts(&known).contains(&expected), "{known:?}");
            assert_eq!(known.complete, allowed);
        }
    }

    #[tokio::test]
    async fn a_policy_that_names_very_many_namespaces_asks_nothing() {
        let from: Vec<_> = (0..MOST_NAMESPACES)
            .map(|n| json!({"namespace": format!("n{n}")}))
            .collect();
        let rule = json!({"name": "r", "effect": "allow", "from": from});
        let policy = policy("AuthorizationPolicy", json!({"rules": [rule]}));
        let nobody = Cluster::start([]).await;
        let known = asked(&nobody, &policy).await.unwrap();
        assert_eq!(known.service_accounts.len(), MOST_NAMESPACES + 1);
    }
}
