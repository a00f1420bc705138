//! Whether the API server can ask the injector, and the injector refuses what is wrong.

use kube::api::{DynamicObject, GroupVersionKind, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use palisade_api::cluster;
use palisade_control::audit::list::in_words;
use palisade_control::audit::{Finding, Looked, REINSTALL, look};

/// What the API server says about a rule that must be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The injector looked at it, and refused it.
    Refused,
    /// It would have been accepted.
    Accepted,
    /// The injector was asked and did not answer.
    Unreachable(String),
}

/// Judges an answer.
pub(super) fn judge(answer: &Looked<Answer>) -> Vec<Finding> {
    let fine = "the injector refuses a wrong rule";
    look("injector", answer, fine, |answer| match answer {
        Answer::Refused => Vec::new(),
        Answer::Accepted => vec![Finding::error(
            "injector",
            "",
            "a rule with a field that does not exist would have been accepted: nothing checks rules",
            REINSTALL,
        )],
        Answer::Unreachable(why) => vec![Finding::error(
            "injector",
            "",
            format!("the API server cannot ask it: {why}"),
            "see that its pods run, and that the control plane may reach their port 15017",
        )],
    })
}

/// Offers, without meaning it, a rule that every schema lets pass and the injector must refuse: with a field that
/// does not exist.
pub(super) async fn ask(client: &Client) -> Looked<Answer> {
    let kind = GroupVersionKind::gvk(cluster::GROUP, cluster::VERSION, "AuthorizationPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, cluster::POLICIES);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let rule = serde_json::json!({
        "name": "none", "effect": "allow", "from": [{"namespace": "default"}], "mistyped": true,
    });
    let spec = serde_json::json!({"spec": {"rules": [rule]}});
    let offered = DynamicObject::new("palisade-check", &resource)
        .within("default")
        .data(spec);
    let dry_run = PostParams {
        dry_run: true,
        field_manager: None,
    };
    match api.create(&dry_run, &offered).await {
        Ok(_) => Ok(Answer::Accepted),
        Err(error) => answer(&error),
    }
}

fn answer(error: &kube::Error) -> Looked<Answer> {
    let words = in_words(error);
    if words.contains("failed calling webhook") {
        Ok(Answer::Unreachable(words))
    } else if words.contains("admission webhook") && words.contains("denied the request") {
        Ok(Answer::Refused)
    } else if matches!(error, kube::Error::Api(status) if status.code == 404) {
        Err("there are no AuthorizationPolicies in this cluster".into())
    } else {
        Err(words)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_injectors_refusal_is_told_from_its_silence() {
        let error = |message: &str, code| {
            kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
        };
        let denied = r#"admission webhook "rules.palisade.dev" denied the request: spec.rules[0]: unknown field"#;
        let silent = r#"Internal error occurred: failed calling webhook "rules.palisade.dev": connection refused"#;
        assert_eq!(answer(&error(denied, 400)), Ok(Answer::Refused));
        assert_eq!(
            answer(&error(silent, 500)),
            Ok(Answer::Unreachable(silent.into()))
        );
        assert!(
            answer(&error(
                "the server could not find the requested resource",
                404
            ))
            .is_err()
        );
        assert!(answer(&error("authorizationpolicies is forbidden", 403)).is_err());
    }
}
