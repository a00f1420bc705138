//! What the two containers ask for.

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use serde_json::{Map, Value, json};

use super::Settings;
use super::read::is_ours;
use super::wishes::{Wish, Wishes};
use crate::limits::{Bounds, LimitsDemanded, Quantity};

/// The `resources` of either container: requests always, limits where they are asked for or demanded, or where the
/// pod would otherwise lose its guarantee. Empty where the pod as a whole has resources, which all containers share.
pub(super) fn resources(
    spec: &PodSpec,
    wishes: &Wishes,
    settings: &Settings,
    demanded: &LimitsDemanded,
) -> Value {
    let service = if is_guaranteed(spec) {
        Service::Guaranteed
    } else {
        Service::Other
    };
    let has_wish = [&wishes.cpu, &wishes.memory]
        .iter()
        .any(|wish| wish.request.is_some() || wish.limit.is_some());
    // The API server refuses a pod whose containers ask for more than the pod does.
    if spec.resources.is_some() && !has_wish {
        return json!({});
    }
    let mut requests = Map::new();
    let mut limits = Map::new();
    for (name, wish, usual, bounds, usual_limit) in [
        (
            "cpu",
            &wishes.cpu,
            &settings.resources.cpu_request,
            &demanded.cpu,
            USUAL_CPU_LIMIT,
        ),
        (
            "memory",
            &wishes.memory,
            &settings.resources.memory_request,
            &demanded.memory,
            USUAL_MEMORY_LIMIT,
        ),
    ] {
        let request = request(wish, usual, bounds, service);
        if let Some(limit) = limit(wish, &request, bounds, (service, usual_limit)) {
            limits.insert(name.to_owned(), limit.to_string().into());
        }
        requests.insert(name.to_owned(), request.to_string().into());
    }
    if limits.is_empty() {
        json!({"requests": requests})
    } else {
        json!({"limits": limits, "requests": requests})
    }
}

/// What Kubernetes promises the user's part of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Guaranteed,
    Other,
}

fn request(wish: &Wish, usual: &Quantity, bounds: &Bounds, service: Service) -> Quantity {
    match (&wish.request, &wish.limit) {
        (Some(request), _) => request.clone(),
        (None, Some(limit)) if service == Service::Guaranteed => limit.clone(),
        (None, Some(limit)) => bounds.request(usual).min(limit.clone()),
        (None, None) => bounds.request(usual),
    }
}

fn limit(
    wish: &Wish,
    request: &Quantity,
    bounds: &Bounds,
    (service, usual): (Service, &str),
) -> Option<Quantity> {
    if let Some(limit) = &wish.limit {
        return Some(limit.clone());
    }
    if service == Service::Guaranteed {
        return Some(request.clone());
    }
    let usual = usual.parse().unwrap_or_else(|_| request.clone());
    bounds.limit(request, &usual)
}

/// Whether every container of the user's has limits for both resources, and requests that are the same.
fn is_guaranteed(spec: &PodSpec) -> bool {
    let init = spec.init_containers.iter().flatten();
    let mut containers = init
        .filter(|container| !is_ours(&container.name))
        .chain(&spec.containers);
    containers.all(|container| has_equal_limits(container.resources.as_ref()))
}

fn has_equal_limits(resources: Option<&ResourceRequirements>) -> bool {
    let Some(resources) = resources else {
        return false;
    };
    ["cpu", "memory"].iter().all(|name| {
        let of = |map: &Option<std::collections::BTreeMap<String, _>>| {
            let quantity: Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
                map.as_ref().and_then(|map| map.get(*name)).cloned();
            quantity.and_then(|quantity| quantity.0.parse::<Quantity>().ok())
        };
        // A request that is not written is the limit.
        of(&resources.limits)
            .is_some_and(|limit| of(&resources.requests).is_none_or(|request| request == limit))
    })
}

/// The limit where a namespace demands one and names none: enough for a busy sidecar.
const USUAL_CPU_LIMIT: &str = "500m";
/// The same of memory: several times what the data of all streams may take together.
const USUAL_MEMORY_LIMIT: &str = "256Mi";
