//! Valid pods, made at random.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A pod that an API server accepts and that may be injected: 1 to 4 containers, init containers, native sidecars,
/// probes and hooks of all kinds, ports, security settings, resources and volumes. Its name is `name`.
pub(crate) fn pod(name: &'static str) -> impl Strategy<Value = Value> {
    let containers = prop::collection::vec(container(), 1..=4);
    let init = prop::collection::vec(init_container(), 0..=3);
    let volumes = prop::collection::vec(volume(), 0..=3);
    (containers, init, volumes, fields()).prop_map(move |(containers, init, volumes, mut fields)| {
        let volumes = named("volume", volumes);
        let mounts: Vec<Value> = volumes
            .iter()
            .map(|volume| json!({"name": volume["name"], "mountPath": format!("/mnt/{}", text(volume))}))
            .collect();
        let mounted = |mut containers: Vec<Value>| {
            for container in containers.iter_mut().filter(|_| !mounts.is_empty()) {
                container["volumeMounts"] = mounts.clone().into();
            }
            containers
        };
        fields.insert("containers".into(), mounted(named("app", containers)).into());
        if !init.is_empty() {
            fields.insert("initContainers".into(), mounted(named("init", init)).into());
        }
        if !volumes.is_empty() {
            fields.insert("volumes".into(), volumes.into());
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "generated"}},
            "spec": fields,
        })
    })
}

fn text(named: &Value) -> &str {
    named["name"].as_str().unwrap()
}

/// Gives each a name of its own.
fn named(prefix: &str, items: Vec<Value>) -> Vec<Value> {
    let named = |(index, mut item): (usize, Value)| {
        item["name"] = format!("{prefix}-{index}").into();
        item
    };
    items.into_iter().enumerate().map(named).collect()
}

/// Fields of the pod's spec that have nothing to do with its containers.
fn fields() -> impl Strategy<Value = Map<String, Value>> {
    let any = (
        prop::option::of(prop_oneof![
            Just("Always"),
            Just("Never"),
            Just("OnFailure")
        ]),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<bool>()),
        prop::option::of(0..120_i64),
        prop::option::of(security_context()),
    );
    any.prop_map(|(restart, automount, share, grace, security)| {
        let mut fields = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            fields.extend(value.map(|value| (key.to_owned(), value)));
        };
        set("restartPolicy", restart.map(Value::from));
        set("automountServiceAccountToken", automount.map(Value::from));
        set("shareProcessNamespace", share.map(Value::from));
        set("terminationGracePeriodSeconds", grace.map(Value::from));
        set("securityContext", security);
        fields
    })
}

fn security_context() -> impl Strategy<Value = Value> {
    // Never 1337, which is refused.
    (1000..1300_i64, any::<bool>())
        .prop_map(|(uid, non_root)| json!({"runAsUser": uid, "runAsNonRoot": non_root}))
}

fn volume() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"configMap": {"name": "settings", "optional": true}})),
        Just(json!({"projected": {"sources": [
            {"serviceAccountToken": {"audience": "vault", "path": "token"}},
        ]}})),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let any = (
        ports(),
        prop::option::of(probe(1)),
        prop::option::of(probe(3)),
        prop::option::of(probe(1)),
        prop::option::of(lifecycle()),
        prop::option::of(security_context()),
        prop::option::of(resources()),
    );
    any.prop_map(
        |(ports, liveness, readiness, startup, lifecycle, security, resources)| {
            let mut container = Map::new();
            let mut set = |key: &str, value: Option<Value>| {
                container.extend(value.map(|value| (key.to_owned(), value)));
            };
            set("image", Some("registry.test/app:1".into()));
            set("ports", Some(ports));
            set("livenessProbe", liveness);
            set("readinessProbe", readiness);
            set("startupProbe", startup);
            set("lifecycle", lifecycle);
            set("securityContext", security);
            set("resources", resources);
            Value::Object(container)
        },
    )
}

/// One that ends, or a native sidecar.
fn init_container() -> impl Strategy<Value = Value> {
    let ends = prop::option::of(resources()).prop_map(|resources| {
        let mut container = json!({"image": "registry.test/init:1", "command": ["/init"]});
        if let Some(resources) = resources {
            container["resources"] = resources;
        }
        container
    });
    let stays = container().prop_map(|mut container| {
        container["restartPolicy"] = "Always".into();
        container
    });
    prop_oneof![ends, stays]
}

/// Each container has a port that is named `web`, so that probes can name it.
fn ports() -> impl Strategy<Value = Value> {
    (1024..14_000_u16, prop::option::of(1..1024_u16)).prop_map(|(web, other)| {
        let mut ports = vec![json!({"containerPort": web, "name": "web"})];
        ports.extend(other.map(|other| json!({"containerPort": other, "protocol": "UDP"})));
        ports.into()
    })
}

fn resources() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"requests": {"cpu": "10m"}})),
        Just(json!({"limits": {"cpu": "100m", "memory": "64Mi"}})),
        Just(
            json!({"limits": {"cpu": "0.1", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}})
        ),
    ]
}

/// A probe; those of readiness may have other thresholds of success than 1.
fn probe(most_successes: i64) -> impl Strategy<Value = Value> {
    let timing = (1..20_i64, 1..20_i64, 1..10_i64, 1..=most_successes);
    (handler(), prop::option::of(timing)).prop_map(|(mut probe, timing)| {
        if let Some((timeout, period, failures, successes)) = timing {
            probe["timeoutSeconds"] = timeout.into();
            probe["periodSeconds"] = period.into();
            probe["failureThreshold"] = failures.into();
            probe["successThreshold"] = successes.into();
        }
        probe
    })
}

fn handler() -> impl Strategy<Value = Value> {
    prop_oneof![
        http_get().prop_map(|get| json!({"httpGet": get})),
        port().prop_map(|port| json!({"tcpSocket": {"port": port}})),
        (number(), prop::option::of("[a-z.]{1,12}")).prop_map(|(port, service)| match service {
            Some(service) => json!({"grpc": {"port": port, "service": service}}),
            None => json!({"grpc": {"port": port}}),
        }),
        Just(json!({"exec": {"command": ["/check"]}})),
    ]
}

fn lifecycle() -> impl Strategy<Value = Value> {
    let hook = || {
        prop_oneof![
            http_get().prop_map(|get| json!({"httpGet": get})),
            Just(json!({"exec": {"command": ["/hook"]}})),
        ]
    };
    (hook(), hook()).prop_map(|(start, stop)| json!({"postStart": start, "preStop": stop}))
}

fn http_get() -> impl Strategy<Value = Value> {
    let any = (
        port(),
        prop::option::of("/[a-z$/?=]{0,12}"),
        prop::option::of(prop_oneof![Just("HTTP"), Just("HTTPS")]),
        prop::collection::vec("[A-Z][a-z-]{0,5}[a-z]", 0..3),
        // Elsewhere: such a probe is left alone.
        prop::option::weighted(0.1, Just("health.test")),
    );
    any.prop_map(|(port, path, scheme, headers, host)| {
        let mut get = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            get.extend(value.map(|value| (key.to_owned(), value)));
        };
        set("port", Some(port));
        set("path", path.map(Value::from));
        set("scheme", scheme.map(Value::from));
        set("host", host.map(Value::from));
        let headers: Vec<Value> = headers
            .into_iter()
            .map(|name| json!({"name": name, "value": "a \"quoted\" $(value)"}))
            .collect();
        set("httpHeaders", (!headers.is_empty()).then(|| headers.into()));
        Value::Object(get)
    })
}

fn port() -> impl Strategy<Value = Value> {
    prop_oneof![number(), Just(json!("web"))]
}

/// None of the sidecar's.
fn number() -> impl Strategy<Value = Value> {
    (1..14_000_u16).prop_map(Value::from)
}
