//! Who may write the lease, and when.

use super::*;

fn wall() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn lease(version: &str, holder: Option<&str>) -> Lease {
    Lease {
        metadata: ObjectMeta {
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        }),
    }
}

#[test]
fn a_lease_is_written_where_it_is_ours_nobodys_or_ended() {
    let since = Instant::now();
    let after = |seconds| since + Duration::from_millis(seconds);
    // Holder, milliseconds without a change, and whether it is written.
    let cases = [
        (Some("me"), 0, true),
        (Some("me"), 60_000, true),
        (None, 0, true),
        (Some(""), 0, true),
        (Some("other"), 0, false),
        (Some("other"), 14_999, false),
        (Some("other"), 15_000, true),
    ];
    for (holder, unchanged, expected) in cases {
        let seen = Seen {
            lease: lease("7", holder),
            since,
        };
        let action = step(Some(&seen), after(unchanged), "me", wall());
        let Action::Write(written) = action else {
            assert!(!expected, "{holder:?} {unchanged}");
            continue;
        };
        assert!(expected, "{holder:?} {unchanged}");
        // Only over what was read.
        assert_eq!(written.metadata.resource_version.as_deref(), Some("7"));
        let spec = written.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.renew_time, Some(MicroTime(wall())));
        let kept = holder == Some("me");
        assert_eq!(spec.lease_transitions, Some(if kept { 3 } else { 4 }));
        let acquired = if kept { Timestamp::UNIX_EPOCH } else { wall() };
        assert_eq!(spec.acquire_time, Some(MicroTime(acquired)));
    }
}

#[test]
fn where_there_is_none_one_is_created() {
    let Action::Create(created) = step(None, Instant::now(), "me", wall()) else {
        panic!("not created");
    };
    assert_eq!(created.metadata.name.as_deref(), Some("palisade-control"));
    assert_eq!(created.metadata.resource_version, None);
    let spec = created.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("me"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
}

#[test]
fn anothers_renewal_begins_its_time_anew() {
    let begin = Instant::now();
    let later = begin + Duration::from_secs(10);
    let first = observe(None, lease("1", Some("other")), begin);
    let same = observe(Some(first.clone()), lease("1", Some("other")), later);
    assert_eq!(same.since, begin);
    let renewed = observe(Some(first), lease("2", Some("other")), later);
    assert_eq!(renewed.since, later);
}

#[test]
fn what_is_given_back_has_no_holder_and_keeps_its_version() {
    assert_eq!(released(lease("7", Some("other")), "me"), None);
    assert_eq!(released(lease("7", None), "me"), None);
    let given = released(lease("7", Some("me")), "me").unwrap();
    assert_eq!(given.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(given.spec.unwrap().holder_identity, None);
}

#[test]
fn a_restarted_replica_is_another_candidate() {
    let (first, second) = (
        identity("palisade-control-0"),
        identity("palisade-control-0"),
    );
    assert_ne!(first, second);
    assert!(first.starts_with("palisade-control-0_"));
}

/// An API server that keeps one lease, or answers nothing.
mod served {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Default)]
    struct Server {
        lease: Option<Value>,
        version: u64,
        silent: bool,
    }

    fn respond(server: &Mutex<Server>, method: &str, body: &[u8]) -> Response<Body> {
        let mut server = server.lock().unwrap();
        let answer = |status: StatusCode, value: &Value| {
            let body = Body::from(serde_json::to_vec(value).unwrap());
            Response::builder().status(status).body(body).unwrap()
        };
        let failed = |code: u16, reason: &str| json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""});
        if method == "GET" {
            return match &server.lease {
                Some(lease) => answer(StatusCode::OK, lease),
                None => answer(StatusCode::NOT_FOUND, &failed(404, "NotFound")),
            };
        }
        let mut sent: Value = serde_json::from_slice(body).unwrap();
        let known = server
            .lease
            .as_ref()
            .map(|lease| &lease["metadata"]["resourceVersion"]);
        let fits = match (method, known) {
            ("POST", known) => known.is_none(),
            (_, known) => known == Some(&sent["metadata"]["resourceVersion"]),
        };
        if !fits {
            return answer(StatusCode::CONFLICT, &failed(409, "Conflict"));
        }
        server.version += 1;
        sent["metadata"]["resourceVersion"] = server.version.to_string().into();
        server.lease = Some(sent.clone());
        answer(StatusCode::OK, &sent)
    }

    fn client(server: &Arc<Mutex<Server>>) -> Client {
        let server = Arc::clone(server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let method = request.method().as_str().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                if server.lock().unwrap().silent {
                    std::future::pending::<()>().await;
                }
                Ok::<_, tower::BoxError>(respond(&server, &method, &body))
            }
        });
        Client::new(service, "default")
    }

    fn silence(server: &Mutex<Server>, silent: bool) {
        server.lock().unwrap().silent = silent;
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_hands_over_and_stops_when_it_cannot_renew() {
        let server = Arc::new(Mutex::new(Server::default()));
        let (stop_first, stopping) = watch::channel(false);
        let (mut first, election) = elect(client(&server), "system", "a", stopping);
        let first_ends = tokio::spawn(election);
        first.wait_for(|leads| *leads).await.unwrap();
        let (_running, stopping) = watch::channel(false);
        let (mut second, election) = elect(client(&server), "system", "b", stopping);
        tokio::spawn(election);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(*first.borrow() && !*second.borrow());

        // Given back: the other has it at its next look.
        let stopped = Instant::now();
        stop_first.send_replace(true);
        first_ends.await.unwrap();
        assert!(!*first.borrow_and_update());
        second.wait_for(|leads| *leads).await.unwrap();
        assert!(stopped.elapsed() <= RETRY * 2);

        // Nobody answers: it stops before another could take over.
        silence(&server, true);
        let cut = Instant::now();
        second.wait_for(|leads| !*leads).await.unwrap();
        assert!(cut.elapsed() <= DEADLINE, "{:?}", cut.elapsed());
        silence(&server, false);
        second.wait_for(|leads| *leads).await.unwrap();
    }
}
