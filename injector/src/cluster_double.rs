//! An API server on loopback that has what a test gives it: lists, single objects, and watches that stay silent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What is there, and what was written.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) written: mpsc::UnboundedReceiver<(String, Value)>,
    objects: Objects,
}

/// By path: an object, or a list of them.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

impl Cluster {
    pub(crate) async fn start(objects: impl IntoIterator<Item = (&str, Value)>) -> Self {
        let objects = objects.into_iter();
        let objects = objects
            .map(|(path, object)| (path.to_owned(), object))
            .collect();
        let objects: Objects = Arc::new(Mutex::new(objects));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let (writes, written) = mpsc::unbounded_channel();
        let held = Arc::clone(&objects);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (objects, writes) = (Arc::clone(&held), writes.clone());
                let service = service_fn(move |request| {
                    let (objects, writes) = (Arc::clone(&objects), writes.clone());
                    async move { Ok::<_, Infallible>(answer(&objects, &writes, request).await) }
                });
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Self {
            client,
            written,
            objects,
        }
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }
}

async fn answer(
    objects: &Objects,
    writes: &mpsc::UnboundedSender<(String, Value)>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if request.method() == Method::POST {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let object: Value = serde_json::from_slice(&body).unwrap();
        writes.send((path.clone(), object.clone())).ok();
        // What is there is the answer to a review.
        let answer = objects.lock().unwrap().get(&path).cloned();
        return response(StatusCode::CREATED, &answer.unwrap_or(object));
    }
    if query.contains("watch=") {
        pending::<()>().await;
    }
    let found = objects.lock().unwrap().get(&path).cloned();
    match found {
        Some(Value::Array(items)) => {
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
            response(StatusCode::OK, &list)
        }
        Some(object) => response(StatusCode::OK, &object),
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": format!("{path} not found"),
                "reason": "NotFound", "code": 404});
            response(StatusCode::NOT_FOUND, &status)
        }
    }
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    response.body(Full::from(body.to_string())).unwrap()
}

/// How long a test waits for what must come.
pub(crate) const BOUND: Duration = Duration::from_secs(10);
