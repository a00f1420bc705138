//! Connections between pods of the mesh: who answers them, who is refused, what is on the wire and what is recorded.

mod excluded;
mod promises;
mod restart;
mod services;
mod wire;

use std::process::Output;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, text, wait_for};

/// A stock web server in two pods, one a node, and a client on the first node. The server's log has every request.
const SHOP: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: each
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: kube.local/curl:1
        imagePullPolicy: Never
        command:
        - sh
        - -c
        - |
          mkdir -p /tmp/web/cgi-bin && hostname > /tmp/web/index.html
          printf '#!/bin/sh\nprintf "Content-type: text/plain\\r\\n\\r\\n"\nhostname\nexec cat\n' > /tmp/web/cgi-bin/echo
          chmod +x /tmp/web/cgi-bin/echo
          exec httpd -f -vv -p '[::]:8080' -h /tmp/web
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  serviceAccountName: client
  nodeSelector: {kubernetes.io/hostname: node1}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: client, image: "kube.local/curl:1", imagePullPolicy: Never, command: [sleep, "86400"]}
"#;

/// What everything is named for: the service accounts and Services.
const NAMES: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: client}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ipFamilyPolicy: RequireDualStack, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {selector: {app: web}, ipFamilyPolicy: RequireDualStack, clusterIP: None, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: zero}
spec:
  selector: {statefulset.kubernetes.io/pod-name: web-0}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec:
  selector: {statefulset.kubernetes.io/pod-name: web-1}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: 8080}]
"#;

/// Who may call whom: the namespace's own pods each other, but not whoever has no identity.
const RULES: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: own}
spec:
  rules:
  - {name: own-pods, effect: allow, from: [{namespace: NAMESPACE}]}
"#;

/// The namespace with the server and the client.
pub(crate) struct Shop {
    pub(crate) namespace: Namespace,
    /// The pod on the client's node, and the Service that is it alone.
    near: (String, &'static str),
    /// The one on the other node.
    far: (String, &'static str),
}

impl Shop {
    /// In the mesh.
    pub(crate) fn meshed(mesh: &Mesh, purpose: &str) -> Self {
        let namespace = mesh.namespace(purpose);
        allow_own(&namespace);
        Self::open(namespace)
    }

    /// The same, where there is no mesh.
    pub(crate) fn plain(purpose: &str) -> Self {
        Self::open(Cluster::shared().namespace(purpose))
    }

    fn open(namespace: Namespace) -> Self {
        namespace.apply(NAMES);
        namespace.apply(SHOP);
        namespace.rolled_out("statefulset/web");
        ready(&namespace, "client");
        let at = namespace.words(&["pod", "web-0"], "{.spec.nodeName}");
        let pods = [("web-0".to_owned(), "zero"), ("web-1".to_owned(), "one")];
        let [zero, one] = pods;
        let (near, far) = if at == ["node1"] {
            (zero, one)
        } else {
            (one, zero)
        };
        Self {
            namespace,
            near,
            far,
        }
    }

    /// What the client was answered, where it was answered.
    pub(crate) fn call(&self, arguments: &[&str]) -> Option<String> {
        let output = curl(&self.namespace, "client", arguments);
        output.status.success().then(|| text(&output.stdout))
    }

    /// The same, asked for until there is an answer: a Service that is new is not yet known everywhere.
    fn answer(&self, arguments: &[&str]) -> String {
        wait_for(&format!("an answer to {arguments:?}"), BOUND, || {
            self.call(arguments)
        })
    }

    fn identity(&self, account: &str) -> String {
        identity(&self.namespace, account)
    }
}

/// Lets the namespace's own pods call each other.
pub(crate) fn allow_own(namespace: &Namespace) {
    namespace.apply(&RULES.replace("NAMESPACE", namespace.name()));
}

/// Waits until a pod is ready.
pub(crate) fn ready(namespace: &Namespace, pod: &str) {
    let bound = format!("--timeout={}s", BOUND.as_secs());
    let output = namespace.kubectl(&["wait", "--for=condition=Ready", "pod", pod, &bound]);
    if !output.status.success() {
        let pods = namespace.kubectl(&["describe", "pods"]);
        panic!("{pod}: {output:?}\n{}", stdout(&pods));
    }
}

/// Calls from a pod.
pub(crate) fn curl(namespace: &Namespace, pod: &str, arguments: &[&str]) -> Output {
    let curl = ["curl", "--silent", "--show-error", "--max-time", "10"];
    namespace.exec(pod, &[&curl, arguments].concat())
}

/// The SPIFFE ID of a service account.
pub(crate) fn identity(namespace: &Namespace, account: &str) -> String {
    format!(
        "spiffe://cluster.local/ns/{}/sa/{account}",
        namespace.name()
    )
}

/// The records of a namespace that `palisade logs` has, as soon as `find` finds something in them.
pub(crate) fn recorded<T>(
    mesh: &Mesh,
    namespace: &Namespace,
    what: &str,
    mut find: impl FnMut(&[Record]) -> Option<T>,
) -> T {
    let logs = ["logs", "-n", namespace.name(), "-o", "json"];
    let start = Instant::now();
    loop {
        let said = stdout(&mesh.palisade(&logs));
        let records: Vec<Record> = said.lines().filter_map(Record::read).collect();
        if let Some(found) = find(&records) {
            return found;
        }
        assert!(start.elapsed() < BOUND / 3, "no {what}: {said}");
    }
}

/// One line of `palisade logs -o json`.
#[derive(Debug)]
pub(crate) struct Record(Map<String, Value>);

impl Record {
    fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().map(Self)
    }

    /// A field's text; empty where there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether these fields have these values.
    pub(crate) fn has(&self, fields: &[(&str, &str)]) -> bool {
        fields.iter().all(|(key, value)| self.text(key) == *value)
    }
}
