//! One object of the API to the policy that it says, by the validator of the mesh's files.

use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};

use palisade_api::cluster::{CLUSTER_POLICIES, GROUP, POLICIES, VERSION};
use palisade_api::manifest::{self, Manifest};
use palisade_api::policy::{AuthorizationPolicy, Target};

use crate::index::policy_name;
use crate::kubernetes::facts::Name;

/// The two kinds of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `AuthorizationPolicy`, of a namespace.
    Namespaced,
    /// `ClusterAuthorizationPolicy`.
    Cluster,
}

impl Kind {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Namespaced, Self::Cluster];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Namespaced => "AuthorizationPolicy",
            Self::Cluster => "ClusterAuthorizationPolicy",
        }
    }

    /// Where the API serves it.
    pub(crate) fn resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk(GROUP, VERSION, self.as_str());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }

    /// The name of its `CustomResourceDefinition`.
    pub(crate) fn definition(self) -> String {
        format!("{}.{GROUP}", self.plural())
    }

    /// What an object of this kind is called towards proxies.
    pub(crate) fn object_name(self, name: &Name) -> String {
        match self {
            Self::Namespaced => policy_name(Some(&name.namespace), &name.name),
            Self::Cluster => policy_name(None, &name.name),
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Namespaced => POLICIES,
            Self::Cluster => CLUSTER_POLICIES,
        }
    }
}

/// What is kept of an object until it is a policy: fields that nobody knows too, for they are mistakes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// Everything beside its metadata and its status.
    pub(crate) content: Map<String, Value>,
    pub(crate) status: Option<Value>,
}

impl Object {
    /// What is kept of the API's object.
    pub(crate) fn keep(object: DynamicObject) -> Option<Self> {
        let Value::Object(mut content) = object.data else {
            return None;
        };
        let status = content.remove("status");
        Some(Self {
            uid: object.metadata.uid?,
            generation: object.metadata.generation.unwrap_or_default(),
            content,
            status,
        })
    }

    /// The policy that it says, or everything that is wrong with it.
    pub(super) fn policy(
        &self,
        kind: Kind,
        name: &Name,
    ) -> Result<AuthorizationPolicy, Vec<String>> {
        read(&self.document(kind, name))
    }

    /// A policy that says nothing, about whom this one would be, as far as that can be read: about everybody whom it
    /// could be about otherwise.
    ///
    /// A proxy refuses it whole, as nothing that it understands. So one that has a good version keeps that, and one
    /// that has none closes: the object may hold a denial.
    pub(super) fn unreadable(&self, kind: Kind, name: &Name) -> AuthorizationPolicy {
        AuthorizationPolicy {
            namespace: (kind == Kind::Namespaced).then(|| name.namespace.clone()),
            name: name.name.clone(),
            target: target(self.document(kind, name)),
            rules: Vec::new(),
        }
    }

    fn document(&self, kind: Kind, name: &Name) -> Value {
        let metadata = match kind {
            Kind::Namespaced => json!({"name": name.name, "namespace": name.namespace}),
            Kind::Cluster => json!({"name": name.name}),
        };
        let mut document = self.content.clone();
        document.insert("apiVersion".into(), format!("{GROUP}/{VERSION}").into());
        document.insert("kind".into(), kind.as_str().into());
        document.insert("metadata".into(), metadata);
        Value::Object(document)
    }
}

/// About whom an object with mistakes is: about everybody where that cannot be read.
pub(crate) fn target(mut document: Value) -> Target {
    if let Some(rules) = document.pointer_mut("/spec/rules") {
        *rules = json!([{"name": "any", "effect": "deny", "from": [{"namespace": "any"}]}]);
    }
    read(&document).map_or_else(|_errors| Target::default(), |read| read.target)
}

/// The rule that a whole object is, or each of its mistakes.
pub(crate) fn read(document: &Value) -> Result<AuthorizationPolicy, Vec<String>> {
    let read = manifest::check_object(&document.to_string())
        .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    match read {
        Manifest::Policy(policy) => Ok(policy),
        Manifest::Workload(_)
        | Manifest::Service(_)
        | Manifest::Namespace { .. }
        | Manifest::Revocations(_)
        | Manifest::TrustBundle { .. } => Err(vec!["the object is no policy".to_owned()]),
    }
}
