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

use super::sidecars::Reports;

/// What was found, or why it could not be looked at.
pub type Looked<T> = Result<T, String>;

/// What the cluster is made of.
#[derive(Debug)]
pub struct Platform {
    /// The API server's.
    pub version: Looked<Info>,
    /// With the versions of their kubelets.
    pub nodes: Looked<Vec<Node>>,
}

/// Everything that is judged.
#[derive(Debug)]
pub struct Snapshot {
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
    /// Those that are asked about.
    pub(crate) namespaces: Looked<Vec<Namespace>>,
    pub(crate) pods: Looked<Vec<Pod>>,
    pub(crate) services: Looked<Vec<Service>>,
    pub(crate) network_policies: Looked<Vec<NetworkPolicy>>,
    pub(crate) events: Looked<Vec<Event>>,
    /// The rules of namespaces.
    pub(crate) policies: Looked<Vec<DynamicObject>>,
    /// What control recorded of the rules in force, by their definition's name.
    pub(crate) in_force: Looked<Vec<(String, InForce)>>,
    pub(crate) cluster_policies: Looked<Vec<DynamicObject>>,
    /// What the replicas of control say of sidecars.
    pub(crate) reports: Looked<Reports>,
    /// Namespaces that missing rights left out of the lists.
    pub(crate) unreadable: Vec<String>,
}

impl Snapshot {
    /// The pods, of each what is judged.
    pub fn pods(&self) -> &Looked<Vec<Pod>> {
        &self.pods
    }
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
