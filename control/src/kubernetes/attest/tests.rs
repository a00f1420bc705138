//! Every token that is refused, for its reason, and the one that is not.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use serde_json::json;

use super::*;

const UID: &str = "8d1f0d6e-5b1a-4e6f-9a53-0d3f7a4f2f0c";

fn accepted() -> TokenReviewStatus {
    let extra = [
        ("authentication.kubernetes.io/pod-name", "web-1"),
        ("authentication.kubernetes.io/pod-uid", UID),
    ];
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec!["palisade".into()]),
        user: Some(UserInfo {
            username: Some("system:serviceaccount:shop:web".into()),
            extra: Some(
                extra
                    .map(|(key, value)| (key.to_owned(), vec![value.to_owned()]))
                    .into(),
            ),
            ..UserInfo::default()
        }),
        error: None,
    }
}

fn pod() -> PodSeen {
    PodSeen {
        uid: UID.into(),
        service_account: "web".into(),
        addresses: vec!["10.88.1.3".parse().unwrap(), "fd88::3".parse().unwrap()],
        ..PodSeen::default()
    }
}

fn from(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn a_token_from_its_own_pod_names_the_account_and_the_pod() {
    let claim = Claim::read(&accepted()).unwrap();
    assert_eq!(claim.account, "web");
    assert_eq!(claim.pod.to_string(), format!("shop/web-1/{UID}"));
    for address in ["10.88.1.3", "fd88::3"] {
        let judged = judge(&claim, from(address), Some(&pod()), AddressCheck::On);
        assert_eq!(judged, Ok(()));
    }
}

#[test]
fn each_of_these_reviews_names_nobody() {
    type Spoil = fn(&mut TokenReviewStatus);
    fn extra(status: &mut TokenReviewStatus) -> &mut BTreeMap<String, Vec<String>> {
        status.user.as_mut().unwrap().extra.as_mut().unwrap()
    }
    let spoils: [(Spoil, &str); 10] = [
        (|s| s.authenticated = Some(false), "not_authenticated"),
        (|s| s.authenticated = None, "not_authenticated"),
        (|s| s.audiences = None, "audience"),
        (
            |s| s.audiences = Some(vec!["https://kubernetes.default.svc".into()]),
            "audience",
        ),
        (|s| s.user = None, "not_service_account"),
        (
            |s| s.user.as_mut().unwrap().username = Some("system:node:n1".into()),
            "not_service_account",
        ),
        (|s| s.user.as_mut().unwrap().extra = None, "unbound"),
        (
            |s| {
                extra(s).remove("authentication.kubernetes.io/pod-uid");
            },
            "unbound",
        ),
        (
            |s| {
                let two = vec!["web-1".into(), "web-2".into()];
                extra(s).insert("authentication.kubernetes.io/pod-name".into(), two);
            },
            "unbound",
        ),
        (
            |s| {
                let odd = vec!["web/1".into()];
                extra(s).insert("authentication.kubernetes.io/pod-name".into(), odd);
            },
            "name",
        ),
    ];
    for (at, (spoil, reason)) in spoils.into_iter().enumerate() {
        let mut status = accepted();
        spoil(&mut status);
        assert_eq!(Claim::read(&status).unwrap_err().reason(), reason, "{at}");
    }
}

#[test]
fn each_of_these_pods_may_not_have_an_svid() {
    type Spoil = fn(&mut PodSeen);
    let spoils: [(Spoil, &str); 6] = [
        (|p| p.uid = "another".into(), "pod_gone"),
        (|p| p.service_account = "default".into(), "account"),
        (|p| p.ended = true, "pod_ended"),
        (|p| p.host_network = true, "host_network"),
        (|p| p.addresses = vec![from("10.88.1.4")], "address"),
        (|p| p.addresses.clear(), "not_visible_yet"),
    ];
    let claim = Claim::read(&accepted()).unwrap();
    let judged = |pod: Option<&PodSeen>, check| judge(&claim, from("10.88.1.3"), pod, check);
    for (spoil, reason) in spoils {
        let mut pod = pod();
        spoil(&mut pod);
        let refused = judged(Some(&pod), AddressCheck::On).unwrap_err();
        assert_eq!(refused.reason(), reason);
        // Without the check of addresses, only what addresses say is different.
        let unchecked = judged(Some(&pod), AddressCheck::Off);
        let of_addresses = ["address", "not_visible_yet"].contains(&reason);
        assert_eq!(unchecked.is_ok(), of_addresses, "{reason}");
    }
    let gone = judged(None, AddressCheck::On).unwrap_err();
    assert_eq!(gone.reason(), "pod_gone");
}

#[test]
fn a_caller_from_elsewhere_is_told_both_addresses() {
    let claim = Claim::read(&accepted()).unwrap();
    let said = judge(&claim, from("10.90.0.11"), Some(&pod()), AddressCheck::On)
        .unwrap_err()
        .to_string();
    for part in ["10.90.0.11", "10.88.1.3, fd88::3", "shop/web-1", "off"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_pod_is_read_as_the_api_writes_it() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": UID},
        "spec": {"containers": [], "serviceAccountName": "web", "hostNetwork": true},
        "status": {"phase": "Failed", "podIPs": [{"ip": "10.88.1.3"}, {"ip": "::ffff:10.0.0.1"}]}
    }))
    .unwrap();
    assert_eq!(
        PodSeen::read(&pod),
        PodSeen {
            uid: UID.into(),
            service_account: "web".into(),
            addresses: vec![from("10.88.1.3"), from("10.0.0.1")],
            ended: true,
            host_network: true,
        }
    );
    let pending = PodSeen::read(&Pod::default());
    assert_eq!(pending.service_account, "default");
    assert!(pending.addresses.is_empty() && !pending.ended);
}

#[test]
fn what_is_no_token_is_not_worth_a_call() {
    assert!(has_form("eyJhbGciOiJSUzI1NiJ9.e30.c2ln-_"));
    let long = format!("a.b.{}", "c".repeat(MAX_TOKEN_BYTES));
    for token in ["", "a.b", "a..c", "a.b.c.d", "palisade1.a b.c", &long] {
        assert!(!has_form(token), "{token}");
    }
}
