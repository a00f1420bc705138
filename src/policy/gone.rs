//! Pods that are gone: of which workload they were. What they counted stays that workload's, however often it is rolled out.

use palisade_api::usage::Counted;

use super::rules::Workload;
use crate::kubernetes::pod;

/// The name of the workload that a pod was one of: of one that is there if it has its labels, else by what made the pod.
/// Where neither is known, the pod's own. `there` are those of its namespace.
pub(super) fn of(there: &[&Workload], pod: &Counted) -> String {
    let own = || lasting(&pod.labels);
    let successor = there.iter().find(|one| {
        one.service_account == pod.service_account
            && !pod.labels.is_empty()
            && lasting(&one.labels).eq(own())
    });
    match successor {
        Some(one) => one.name.clone(),
        None => made_by(pod).unwrap_or(&pod.name).to_owned(),
    }
}

/// Labels without those that differ between the pods of one workload.
fn lasting(labels: &Labels) -> impl Iterator<Item = (&String, &String)> {
    let labels = labels.iter();
    labels.filter(|(key, _)| !OF_ONE_POD.contains(&key.as_str()))
}

/// Kubernetes names pods by what makes them, and says by labels how.
fn made_by(pod: &Counted) -> Option<&str> {
    let label = |key: &str| pod.labels.get(key);
    if let Some(template) = label(TEMPLATE) {
        let (replica_set, _) = pod.name.rsplit_once('-')?;
        return replica_set
            .strip_suffix(template.as_str())?
            .strip_suffix('-');
    }
    if let Some(job) = JOBS.iter().find_map(|key| label(key)) {
        return Some(pod::cron_job(job).unwrap_or(job));
    }
    // StatefulSets count, DaemonSets draw lots.
    label(REVISION)?;
    Some(pod.name.rsplit_once('-')?.0)
}

type Labels = std::collections::BTreeMap<String, String>;

const TEMPLATE: &str = "pod-template-hash";
const REVISION: &str = "controller-revision-hash";
const JOBS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
const OF_ONE_POD: [&str; 10] = [
    TEMPLATE,
    REVISION,
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::sample;

    const ORDERS: &str = "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-7d9f-x2x4z, namespace: shop, labels: {app: orders, pod-template-hash: 7d9f}}
spec: {serviceAccount: orders, addresses: [10.0.0.1]}
";

    fn pod(name: &str, labels: &[(&str, &str)]) -> Counted {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Counted {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            service_account: "orders".to_owned(),
            labels: labels.iter().map(owned).collect(),
            ..Counted::default()
        }
    }

    #[test]
    fn a_pod_that_is_gone_counts_as_the_workload_that_took_its_place() {
        let rules = sample::rules(ORDERS);
        let orders = &rules.known.workloads[0];
        let gone = pod(
            "orders-869f-gp4cj",
            &[("app", "orders"), ("pod-template-hash", "869f")],
        );
        assert_eq!(of(&[orders], &gone), orders.name);
        // Another account is another workload, whatever it looks like.
        let other = Counted {
            service_account: "other".to_owned(),
            ..gone
        };
        assert_eq!(of(&[orders], &other), "orders");
    }

    #[test]
    fn a_pod_of_nothing_that_is_there_is_named_by_what_made_it() {
        for (name, labels, expected) in [
            (
                "orders-869f-gp4cj",
                &[("pod-template-hash", "869f")][..],
                "orders",
            ),
            (
                "orders-869f-gp4cj",
                &[("pod-template-hash", "7d9f")],
                "orders-869f-gp4cj",
            ),
            ("db-0", &[("controller-revision-hash", "db-55")], "db"),
            (
                "nightly-29384711-x",
                &[("job-name", "nightly-29384711")],
                "nightly",
            ),
            ("once-x", &[("job-name", "once")], "once"),
            ("bare", &[("app", "bare")], "bare"),
            ("bare", &[], "bare"),
        ] {
            assert_eq!(of(&[], &pod(name, labels)), expected, "{labels:?}");
        }
    }
}
