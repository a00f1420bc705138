//! What is known of a cluster at one moment.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::DynamicObject;
use palisade_api::in_force::InForce;
use time::OffsetDateTime;

use super::callers::call::Recorded;

/// What was found, or why it could not be looked at.
pub(crate) type Looked<T> = Result<T, String>;

/// What the cluster is made of.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) version: Looked<Info>,
    pub(crate) nodes: Looked<Vec<Node>>,
    /// What the user must be able to do to install.
    pub(crate) rights: Vec<Right>,
}

/// Something that installing needs.
#[derive(Debug, Clone)]
pub(crate) struct Right {
    /// `create deployments.apps in palisade-system`.
    pub(crate) what: String,
    pub(crate) allowed: Looked<bool>,
}

/// Everything that is judged.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) now: OffsetDateTime,
    pub(crate) system_namespace: String,
    pub(crate) platform: Platform,
    pub(crate) definitions: Looked<Vec<CustomResourceDefinition>>,
    pub(crate) deployments: Looked<Vec<Deployment>>,
    pub(crate) admission_policies: Looked<Vec<ValidatingAdmissionPolicy>>,
    pub(crate) mutating: Looked<Vec<MutatingWebhookConfiguration>>,
    pub(crate) validating: Looked<Vec<ValidatingWebhookConfiguration>>,
    pub(crate) api_services: Looked<Vec<APIService>>,
    pub(crate) certificates: Certificates,
    pub(crate) answer: Looked<Answer>,
    /// Those that are asked about.
    pub(crate) namespaces: Looked<Vec<Namespace>>,
    pub(crate) pods: Looked<Vec<Pod>>,
    pub(crate) services: Looked<Vec<Service>>,
    pub(crate) network_policies: Looked<Vec<NetworkPolicy>>,
    pub(crate) events: Looked<Vec<Event>>,
    pub(crate) policies: Looked<Vec<DynamicObject>>,
    /// What control recorded of the rules in force, by their definition's name.
    pub(crate) in_force: Looked<Vec<(String, InForce)>>,
    pub(crate) callers: Looked<Recorded>,
    /// Namespaces that missing rights left out of the lists.
    pub(crate) unreadable: Vec<String>,
}

/// Certificates, without any key.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The authority's, PEM; none where it does not exist.
    pub(crate) authority: Looked<Option<Vec<u8>>>,
    /// The webhook's, PEM.
    pub(crate) webhook: Looked<Option<Vec<u8>>>,
    /// The trust that each namespace's pods are given: its name, and PEM.
    pub(crate) trust: Looked<Vec<(String, String)>>,
}

/// What the API server says about a rule that must be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The injector looked at it, and refused it.
    Refused,
    /// It would have been accepted.
    Accepted,
    /// The injector was asked and did not answer.
    Unreachable(String),
}
