//! `palisade check --pre`: whether a mesh can be installed.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use palisade_control::audit::list::in_words;
use palisade_control::audit::{self, Finding, Looked, Platform};

/// Something that installing needs.
#[derive(Debug, Clone)]
pub(super) struct Right {
    /// `create deployments.apps in palisade-system`.
    pub(super) what: String,
    pub(super) allowed: Looked<bool>,
}

/// What the user may do of what installing needs.
pub(super) async fn rights(client: &Client, system: &str) -> Vec<Right> {
    let rights = TO_INSTALL.iter().map(|needed| ask(client, system, needed));
    join_all(rights).await
}

/// The versions, and what the user may do.
pub(super) fn judge(cluster: &Platform, rights: &[Right]) -> Vec<Finding> {
    let mut findings = audit::judge_platform(cluster);
    let rights = rights.iter().filter_map(right);
    let before = findings.len();
    findings.extend(rights);
    if findings.len() == before {
        findings.push(Finding::ok(
            "rights",
            "you may create all that is installed",
        ));
    }
    findings
}

fn right(right: &Right) -> Option<Finding> {
    match &right.allowed {
        Ok(true) => None,
        Ok(false) => Some(Finding::error(
            "rights",
            "",
            format!("you may not {}", right.what),
            "install as a user who may, such as a member of cluster-admin",
        )),
        Err(why) => Some(Finding::unknown("rights", why)),
    }
}

async fn ask(client: &Client, system: &str, needed: &Needed) -> Right {
    let Needed(group, plural, in_system) = *needed;
    let namespace = in_system.then(|| system.to_owned());
    let place = namespace.as_ref().map(|name| format!(" in {name}"));
    let what = format!("create {plural}{}", place.unwrap_or_default());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(plural.to_owned()),
                verb: Some("create".to_owned()),
                namespace,
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let allowed = answer.map(|answer| answer.status.is_some_and(|status| status.allowed));
    Right {
        what,
        allowed: allowed.map_err(|error| in_words(&error)),
    }
}

/// Group, plural, and whether it stands in the system namespace.
struct Needed(&'static str, &'static str, bool);

const TO_INSTALL: &[Needed] = &[
    Needed("", "namespaces", false),
    Needed("apiextensions.k8s.io", "customresourcedefinitions", false),
    Needed("rbac.authorization.k8s.io", "clusterroles", false),
    Needed("rbac.authorization.k8s.io", "clusterrolebindings", false),
    Needed(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        false,
    ),
    Needed(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        false,
    ),
    Needed(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        false,
    ),
    Needed(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        false,
    ),
    Needed("apps", "deployments", true),
    Needed("", "services", true),
    Needed("", "serviceaccounts", true),
    Needed("rbac.authorization.k8s.io", "roles", true),
    Needed("rbac.authorization.k8s.io", "rolebindings", true),
];
