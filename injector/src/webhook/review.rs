//! `AdmissionReview` of `admission.k8s.io/v1`: what the API server asks, and what it is answered.

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::Deserialize;
use serde_json::{Value, json};

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Review {
    /// Goes back with the answer.
    pub(crate) uid: String,
    /// Empty for what belongs to no namespace.
    pub(crate) namespace: String,
    /// Whether nothing may come of it but the answer.
    pub(crate) is_dry_run: bool,
    /// Who wants it.
    pub(crate) user: UserInfo,
    pub(crate) change: Change,
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Create(Value),
    Update {
        old: Value,
        new: Value,
    },
    /// Deletes, or connects.
    Other,
}

impl Review {
    /// Reads a request's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(ReviewError::Json)?;
        if (envelope.api_version.as_str(), envelope.kind.as_str()) != (API_VERSION, KIND) {
            return Err(ReviewError::Version);
        }
        let request = envelope.request.ok_or(ReviewError::Missing("request"))?;
        if request.uid.is_empty() || request.uid.len() > MAX_UID_BYTES {
            return Err(ReviewError::Uid);
        }
        let object = |object: Option<Value>, field| {
            object
                .filter(Value::is_object)
                .ok_or(ReviewError::Missing(field))
        };
        let change = match request.operation.as_str() {
            "CREATE" => Change::Create(object(request.object, "request.object")?),
            "UPDATE" => Change::Update {
                old: object(request.old_object, "request.oldObject")?,
                new: object(request.object, "request.object")?,
            },
            "DELETE" | "CONNECT" => Change::Other,
            _ => return Err(ReviewError::Operation),
        };
        Ok(Self {
            uid: request.uid,
            namespace: request.namespace,
            is_dry_run: request.dry_run.unwrap_or(false),
            user: request.user_info,
            change,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    operation: String,
    #[serde(default)]
    namespace: String,
    dry_run: Option<bool>,
    #[serde(default)]
    user_info: UserInfo,
    object: Option<Value>,
    old_object: Option<Value>,
}

/// Why a body is no question that can be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    /// No JSON, or a field of another type.
    #[error("the body is no AdmissionReview: {0}")]
    Json(#[source] serde_json::Error),
    /// Another kind or version.
    #[error("the body is not an AdmissionReview of admission.k8s.io/v1")]
    Version,
    /// A field is absent, or no object.
    #[error("the AdmissionReview has no {0}")]
    Missing(&'static str),
    /// No usable uid.
    #[error("the AdmissionReview has no uid of up to 256 bytes")]
    Uid,
    /// An operation that Kubernetes does not have.
    #[error("the AdmissionReview has an unknown operation")]
    Operation,
}

/// What a question came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// As it is.
    Allow { warnings: Vec<String> },
    /// With these operations of a JSON Patch applied.
    Patch {
        operations: Value,
        warnings: Vec<String>,
    },
    /// As it is, though the mesh would have had something to add.
    Skip {
        reason: &'static str,
        warning: String,
    },
    /// Not: whoever asks has to change something.
    Refuse { code: u16, message: String },
    /// Not now: whoever asks may do so again.
    Fail { message: String },
}

impl Verdict {
    /// As it is, and nothing to say.
    pub(crate) fn allow() -> Self {
        Self::Allow {
            warnings: Vec::new(),
        }
    }

    /// Its name as a metric's label.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allowed",
            Self::Patch { .. } => "patched",
            Self::Skip { .. } => "skipped",
            Self::Refuse { .. } => "refused",
            Self::Fail { .. } => "failed",
        }
    }

    /// The body of the answer.
    pub(crate) fn answer(self, uid: &str) -> String {
        let refused = |code: u16, message: String| json!({"uid": uid, "allowed": false, "status": {"code": code, "message": message}});
        let response = match self {
            Self::Allow { warnings } => json!({"uid": uid, "allowed": true, "warnings": warnings}),
            Self::Patch {
                operations,
                warnings,
            } => json!({
                "uid": uid,
                "allowed": true,
                "patchType": "JSONPatch",
                "patch": ByteString(operations.to_string().into_bytes()),
                "warnings": warnings,
            }),
            Self::Skip { warning, .. } => {
                json!({"uid": uid, "allowed": true, "warnings": [warning]})
            }
            Self::Refuse { code, message } => refused(code, message),
            Self::Fail { message } => refused(503, message),
        };
        json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}).to_string()
    }
}

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
const MAX_UID_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Value)) -> String {
        let mut review = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "request": {
                "uid": "u-1",
                "operation": "CREATE",
                "namespace": "shop",
                "dryRun": false,
                "userInfo": {"username": "ann", "groups": ["shop"]},
                "object": {"kind": "Pod"},
                "oldObject": null,
            },
        });
        change(&mut review);
        review.to_string()
    }

    #[test]
    fn a_review_is_read() {
        let object = json!({"kind": "Pod"});
        let expected = Review {
            uid: "u-1".to_owned(),
            namespace: "shop".to_owned(),
            is_dry_run: false,
            user: UserInfo {
                username: Some("ann".to_owned()),
                groups: Some(vec!["shop".to_owned()]),
                ..UserInfo::default()
            },
            change: Change::Create(object.clone()),
        };
        assert_eq!(Review::parse(with(|_| {}).as_bytes()).unwrap(), expected);
        let update = with(|review| {
            let request = review["request"].as_object_mut().unwrap();
            request["operation"] = json!("UPDATE");
            request["oldObject"] = json!({});
            request.insert("dryRun".to_owned(), json!(true));
            request.remove("namespace");
        });
        let expected = Review {
            namespace: String::new(),
            is_dry_run: true,
            change: Change::Update {
                old: json!({}),
                new: object,
            },
            ..expected
        };
        assert_eq!(Review::parse(update.as_bytes()).unwrap(), expected);
        for operation in ["DELETE", "CONNECT"] {
            let other = with(|review| {
                review["request"]["operation"] = json!(operation);
                review["request"]["object"] = Value::Null;
            });
            assert_eq!(
                Review::parse(other.as_bytes()).unwrap().change,
                Change::Other
            );
        }
    }

    #[test]
    fn what_is_no_review_is_refused() {
        let bodies = [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            "null".to_owned(),
            "[".repeat(100_000),
            with(|review| review["kind"] = json!("Pod")),
            with(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")),
            with(|review| review["request"] = Value::Null),
            with(|review| review["request"]["uid"] = json!("")),
            with(|review| review["request"]["uid"] = json!("u".repeat(257))),
            with(|review| review["request"]["uid"] = json!(7)),
            with(|review| review["request"]["operation"] = json!("PATCH")),
            with(|review| review["request"]["operation"] = json!("UPDATE")),
            with(|review| review["request"]["object"] = Value::Null),
            with(|review| review["request"]["object"] = json!("pod")),
            with(|review| review["request"]["dryRun"] = json!("true")),
        ];
        for body in bodies {
            assert!(Review::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn an_answer_is_what_the_api_server_reads() {
        for (verdict, expected) in [
            (
                Verdict::allow(),
                json!({"uid": "u", "allowed": true, "warnings": []}),
            ),
            (
                Verdict::Patch {
                    operations: json!([{"op": "remove", "path": "/a"}]),
                    warnings: vec!["w".to_owned()],
                },
                json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "warnings": ["w"],
                    "patch": "W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL2EifV0="}),
            ),
            (
                Verdict::Skip {
                    reason: "host_network",
                    warning: "w".to_owned(),
                },
                json!({"uid": "u", "allowed": true, "warnings": ["w"]}),
            ),
            (
                Verdict::Refuse {
                    code: 422,
                    message: "m".to_owned(),
                },
                json!({"uid": "u", "allowed": false, "status": {"code": 422, "message": "m"}}),
            ),
            (
                Verdict::Fail {
                    message: "m".to_owned(),
                },
                json!({"uid": "u", "allowed": false, "status": {"code": 503, "message": "m"}}),
            ),
        ] {
            let answer: Value = serde_json::from_str(&verdict.answer("u")).unwrap();
            let expected = json!({"apiVersion": API_VERSION, "kind": KIND, "response": expected});
            assert_eq!(answer, expected);
        }
    }
}
