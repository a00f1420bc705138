//! Requests as the API server sends them, and what comes back.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Frame;
use kube::runtime::watcher::Event;
use palisade_api::cluster::{
    ALLOW_OPT_OUT, DISABLED, ENABLED, INJECT, MEMBER_LABEL, PROXY_CONTAINER,
};
use serde_json::{Value, json};

use super::*;
use crate::cluster_double::Cluster;
use crate::inject::Resources;
use crate::namespaces::{Key, Marks};
use crate::readiness::tests::complete;

/// A webhook that knows the namespace `shop`, and the Events that it wants written.
pub(crate) fn webhook(annotations: &[(&str, &str)]) -> (Webhook, mpsc::Receiver<Skipped>) {
    let store = Store::default();
    complete(&store);
    let annotations = annotations.iter();
    let marks = Marks {
        labels: [(MEMBER_LABEL.to_owned(), ENABLED.to_owned())].into(),
        annotations: annotations
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    store
        .namespaces
        .take(Event::Apply((Key::of_cluster("shop"), marks)));
    let (_, control) = watch::channel(vec!["10.96.0.9:15012".to_owned()]);
    let (skipped, skips) = mpsc::channel(4);
    let webhook = Webhook {
        settings: Settings {
            image: "palisade:1".to_owned(),
            image_pull_policy: None,
            trust_domain: "cluster.local".to_owned(),
            control: Vec::new(),
            resources: Resources {
                cpu_request: "10m".parse().unwrap(),
                memory_request: "32Mi".parse().unwrap(),
            },
        },
        control,
        system_namespace: "palisade-system".to_owned(),
        store: Arc::new(store),
        cluster: None,
        skipped,
        metrics: Arc::new(Metrics::new()),
        reviews: Semaphore::new(2),
    };
    (webhook, skips)
}

pub(crate) fn review_of(namespace: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0d1f",
            "operation": "CREATE",
            "namespace": namespace,
            "object": object,
        },
    })
}

pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-"},
        "spec": {"containers": [{"name": "app", "image": "nginx"}]},
    })
}

fn host_pod() -> Value {
    let mut pod = pod();
    pod["spec"]["hostNetwork"] = json!(true);
    pod
}

fn posted(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    request.body(Full::new(body.into())).unwrap()
}

async fn body(response: Response<Full<Bytes>>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// The `response` of an answer.
async fn asked(webhook: &Webhook, path: &str, review: &Value) -> Value {
    let response = webhook
        .answer(posted(path, review.to_string()))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut answer: Value = serde_json::from_slice(&body(response).await).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "0d1f");
    answer["response"].take()
}

fn decoded(patch: &Value) -> json_patch::Patch {
    let patch: k8s_openapi::ByteString = serde_json::from_value(patch.clone()).unwrap();
    serde_json::from_slice(&patch.0).unwrap()
}

#[tokio::test]
async fn a_pod_comes_back_with_a_patch_and_only_once() {
    let (webhook, _skips) = webhook(&[]);
    let answer = asked(&webhook, "/pods", &review_of("shop", &pod())).await;
    assert_eq!(
        (&answer["allowed"], &answer["patchType"]),
        (&json!(true), &json!("JSONPatch"))
    );
    let mut patched = pod();
    json_patch::patch(&mut patched, &decoded(&answer["patch"])).unwrap();
    let proxy = &patched["spec"]["initContainers"][1];
    assert_eq!(proxy["name"], PROXY_CONTAINER);
    assert!(proxy["env"].to_string().contains("10.96.0.9:15012"));
    let again = asked(&webhook, "/pods", &review_of("shop", &patched)).await;
    assert_eq!(
        (&again["allowed"], &again["patch"]),
        (&json!(true), &Value::Null)
    );
}

#[tokio::test]
async fn a_skipped_pod_is_warned_of_counted_and_told() {
    let (webhook, mut skips) = webhook(&[]);
    let mut review = review_of("shop", &host_pod());
    review["request"]["dryRun"] = json!(true);
    for has_effects in [false, true] {
        let answer = asked(&webhook, "/pods", &review).await;
        assert_eq!(answer["allowed"], true);
        assert!(
            answer["warnings"][0]
                .as_str()
                .unwrap()
                .contains("hostNetwork"),
            "{answer}"
        );
        assert_eq!(skips.try_recv().is_ok(), has_effects);
        let counted = "palisade_injector_skips_total{reason=\"host_network\"} 1";
        let text = webhook.metrics.text().unwrap();
        assert_eq!(text.contains(counted), has_effects, "{text}");
        review["request"]["dryRun"] = json!(false);
    }
}

#[tokio::test]
async fn events_that_nobody_writes_do_not_hold_up_pods() {
    let (webhook, _unread) = webhook(&[]);
    for _ in 0..10 {
        let answer = asked(&webhook, "/pods", &review_of("shop", &host_pod())).await;
        assert_eq!(answer["allowed"], true);
    }
}

#[tokio::test]
async fn a_pod_opts_out_only_where_its_namespace_lets_it() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({INJECT: DISABLED});
    for (annotations, allowed) in [(&[][..], false), (&[(ALLOW_OPT_OUT, "true")], true)] {
        let (webhook, _skips) = webhook(annotations);
        let answer = asked(&webhook, "/pods", &review_of("shop", &pod)).await;
        assert_eq!(answer["allowed"], allowed, "{answer}");
        if !allowed {
            assert_eq!(answer["status"]["code"], 403);
            assert!(
                answer["status"]["message"]
                    .as_str()
                    .unwrap()
                    .contains(ALLOW_OPT_OUT)
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_known_yet_is_refused_and_may_be_tried_again() {
    let (mut webhook, _skips) = webhook(&[]);
    let unknown = asked(&webhook, "/pods", &review_of("other", &pod())).await;
    webhook.control = watch::channel(Vec::new()).1;
    let without_control = asked(&webhook, "/pods", &review_of("shop", &pod())).await;
    for (answer, about) in [
        (unknown, "the namespace `other`"),
        (without_control, "control"),
    ] {
        assert_eq!(
            (&answer["allowed"], &answer["status"]["code"]),
            (&json!(false), &json!(503))
        );
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(
            message.contains(about) && message.ends_with("; retry"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_namespace_that_no_watch_has_told_of_is_asked_for() {
    let cluster = Cluster::start([
        (
            "/api/v1/namespaces/new",
            json!({"metadata": {"name": "new"}}),
        ),
        ("/api/v1/namespaces/new/limitranges", json!([])),
        ("/api/v1/namespaces/new/resourcequotas", json!([])),
    ])
    .await;
    let (mut webhook, _skips) = webhook(&[]);
    webhook.cluster = Some(cluster.client.clone());
    let answer = asked(&webhook, "/pods", &review_of("new", &pod())).await;
    assert_eq!(answer["patchType"], "JSONPatch");
    let answer = asked(&webhook, "/pods", &review_of("gone", &pod())).await;
    assert_eq!(
        (&answer["allowed"], &answer["status"]["code"]),
        (&json!(false), &json!(503))
    );
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("`gone`") && message.ends_with("; retry"),
        "{message}"
    );
}

#[tokio::test]
async fn every_path_answers_its_own_kind() {
    let (webhook, _skips) = webhook(&[]);
    let debug = json!({"metadata": {"name": "web"}, "spec": {"ephemeralContainers": [
        {"name": "debug", "securityContext": {"runAsUser": 1337}},
    ]}});
    let namespace = json!({"metadata": {"name": "shop", "annotations": {INJECT: ENABLED}}});
    for (path, object, allowed, has_patch) in [
        ("/pods", pod(), true, true),
        (
            "/pods",
            json!({"spec": {"containers": "none"}}),
            false,
            false,
        ),
        ("/ephemeral-containers", debug, false, false),
        ("/ephemeral-containers", pod(), true, false),
        ("/namespaces", namespace, true, true),
        (
            "/rules",
            json!({"kind": "AuthorizationPolicy"}),
            false,
            false,
        ),
    ] {
        let answer = asked(&webhook, path, &review_of("shop", &object)).await;
        assert_eq!(answer["allowed"], allowed, "{path}: {answer}");
        assert_eq!(answer.get("patch").is_some(), has_patch, "{path}: {answer}");
    }
    for path in ["/pods", "/ephemeral-containers", "/namespaces", "/rules"] {
        let mut review = review_of("shop", &pod());
        review["request"]["operation"] = json!("DELETE");
        assert_eq!(
            asked(&webhook, path, &review).await["allowed"],
            true,
            "{path}"
        );
    }
    let text = webhook.metrics.text().unwrap();
    for line in [
        "reviews_total{path=\"pods\",outcome=\"patched\"} 1",
        "reviews_total{path=\"pods\",outcome=\"refused\"} 1",
        "reviews_total{path=\"rules\",outcome=\"allowed\"} 1",
        "review_seconds_count{path=\"namespaces\"} 2",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn what_is_no_review_is_no_answer() {
    let (webhook, _skips) = webhook(&[]);
    let long = vec![b' '; MAX_BODY_BYTES + 1];
    let get = Request::get("/pods").body(Full::default()).unwrap();
    for (request, expected) in [
        (posted("/pods", "{"), 400),
        (posted("/pods", ""), 400),
        (posted("/rules", "[]"), 400),
        (posted("/pods", long), 413),
        (posted("/", "{}"), 404),
        (posted("/pods/", "{}"), 404),
        (get, 405),
    ] {
        let what = format!("{request:?}");
        let response = webhook.answer(request).await.unwrap();
        assert_eq!(
            response.status(),
            expected,
            "{}",
            &what[..what.len().min(200)]
        );
    }
    let text = webhook.metrics.text().unwrap();
    assert!(
        text.contains("reviews_total{path=\"pods\",outcome=\"invalid\"} 4"),
        "{text}"
    );
}

/// A body of which the end never comes.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut never = std::pin::pin!(pending());
        never.as_mut().poll(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn reviews_that_never_end_keep_the_others_waiting_for_a_bounded_time() {
    let (webhook, _skips) = webhook(&[]);
    let endless = || webhook.answer(Request::post("/pods").body(Endless).unwrap());
    let began = Instant::now();
    let mut both = std::pin::pin!(async { tokio::join!(endless(), endless()) });
    // They take what room there is; the next waits without its body being read.
    assert!(timeout(Duration::from_secs(1), &mut both).await.is_err());
    assert_eq!(webhook.reviews.available_permits(), 0);
    let review = review_of("shop", &pod());
    let mut next = std::pin::pin!(asked(&webhook, "/pods", &review));
    assert!(timeout(Duration::from_secs(1), &mut next).await.is_err());
    let ((first, second), next) = tokio::join!(both, next);
    for ended in [first, second] {
        assert_eq!(ended.unwrap().status(), 503);
    }
    assert_eq!(next["allowed"], true);
    assert_eq!(began.elapsed().as_secs(), REVIEW_TIME.as_secs());
    assert_eq!(webhook.reviews.available_permits(), 2);
}
