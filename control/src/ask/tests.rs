use hyper::{Method, StatusCode, Uri};
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};

use super::rights::{Refusal, access_review, user};
use super::*;

fn asks(text: &str) -> Result<Option<String>, StatusCode> {
    let uri: Uri = text.parse().unwrap();
    let namespace = asked(&Method::GET, &uri);
    namespace
        .map(|namespace| namespace.map(str::to_owned))
        .map_err(|(status, _)| status)
}

#[test]
fn all_is_asked_for_or_one_namespace() {
    assert_eq!(asks("/usage"), Ok(None));
    assert_eq!(asks("/usage?namespace=shop"), Ok(Some("shop".to_owned())));
    for wrong in [
        "/usage?",
        "/usage?namespace=",
        "/usage?namespace=a%2Fb",
        "/usage?namespace=a&b=c",
        "/usage?all",
    ] {
        assert_eq!(asks(wrong), Err(StatusCode::BAD_REQUEST), "{wrong}");
    }
    assert_eq!(asks("/metrics"), Err(StatusCode::NOT_FOUND));
    let uri = Uri::from_static("/usage");
    let (status, _) = asked(&Method::POST, &uri).unwrap_err();
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn a_token_comes_as_a_bearer() {
    for (header, token) in [
        ("Bearer a.b.c", Some("a.b.c")),
        ("bearer a.b.c", Some("a.b.c")),
        ("Basic a.b.c", None),
        ("a.b.c", None),
    ] {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(AUTHORIZATION, HeaderValue::from_static(header));
        assert_eq!(bearer(&headers), token, "{header}");
    }
}

fn reviewed(authenticated: Option<bool>, audience: &str) -> TokenReviewStatus {
    TokenReviewStatus {
        authenticated,
        audiences: Some(vec![audience.to_owned()]),
        user: Some(UserInfo {
            username: Some("system:serviceaccount:palisade-system:palisade-reader".to_owned()),
            groups: Some(vec!["system:serviceaccounts".to_owned()]),
            uid: Some("7".to_owned()),
            extra: Some([("k".to_owned(), vec!["v".to_owned()])].into()),
        }),
        ..TokenReviewStatus::default()
    }
}

#[test]
fn only_a_token_that_was_made_for_this_says_who_asks() {
    assert!(user(reviewed(Some(true), "palisade-ask")).is_ok());
    for status in [
        reviewed(Some(true), "palisade"),
        reviewed(Some(false), "palisade-ask"),
        reviewed(None, "palisade-ask"),
        TokenReviewStatus::default(),
        TokenReviewStatus {
            user: None,
            ..reviewed(Some(true), "palisade-ask")
        },
    ] {
        let refusal = user(status.clone()).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{status:?}");
    }
}

#[test]
fn the_api_server_is_asked_for_this_right_of_this_user_and_no_other() {
    let asker = user(reviewed(Some(true), "palisade-ask")).unwrap();
    let review = serde_json::to_value(access_review(asker.clone(), Some("shop"))).unwrap();
    assert_eq!(
        review["spec"],
        serde_json::json!({
            "user": "system:serviceaccount:palisade-system:palisade-reader", "uid": "7",
            "groups": ["system:serviceaccounts"], "extra": {"k": ["v"]},
            "resourceAttributes": {"group": "palisade.dev", "resource": "usages", "verb": "get", "namespace": "shop"},
        })
    );
    let all = serde_json::to_value(access_review(asker, None)).unwrap();
    assert_eq!(all["spec"]["resourceAttributes"].get("namespace"), None);
}

#[test]
fn who_may_not_is_told_what_is_missing() {
    let account = "system:serviceaccount:shop:palisade-viewer";
    for (user, namespace, said) in [
        (
            account,
            Some("shop"),
            "in namespace shop; bind it to a role that allows this: kubectl -n shop create rolebinding NAME \
             --clusterrole=palisade-viewer --serviceaccount=shop:palisade-viewer",
        ),
        (
            "ana",
            None,
            "in all namespaces; bind it to a role that allows this: kubectl create clusterrolebinding NAME \
             --clusterrole=palisade-viewer --user=ana",
        ),
    ] {
        let refusal = Refusal::forbidden(user.to_owned(), namespace);
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            refusal.to_string(),
            format!("{user} may not get usages.palisade.dev {said}")
        );
    }
    assert_eq!(Refusal::NoToken.status(), StatusCode::UNAUTHORIZED);
}
