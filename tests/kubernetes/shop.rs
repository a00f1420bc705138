//! Servers, a client that a rule may let in, and a stranger that none does: what tests of rules look at.

use std::process::Output;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_for};

/// A meshed namespace with the deployments `server`, `client` and `stranger`, each with its own account.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) namespace: Namespace,
    /// What the callers call: each server by its address.
    pub(crate) targets: Vec<String>,
}

impl Shop {
    /// Opens with so many servers. Both callers call each of them every fifth of a second, over one connection as
    /// long as that lives.
    pub(crate) fn open(mesh: &Mesh, purpose: &str, servers: usize) -> Self {
        let namespace = mesh.namespace(purpose);
        let image = mesh.cluster().palisade_image();
        namespace.apply(&deployment(image, "server", servers, &["demo", "db"]));
        namespace.rolled_out("deployment/server");
        let pods = ["pods", "-l", "app=server"];
        let targets: Vec<_> = namespace
            .words(&pods, "{.items[*].status.podIP}")
            .iter()
            .map(|addr| format!("db://{addr}:5432"))
            .collect();
        assert_eq!(targets.len(), servers);
        let mut command = vec!["demo", "traffic", "--keep", "--every", "200ms"];
        command.extend(targets.iter().map(String::as_str));
        let callers = ["client", "stranger"].map(|name| deployment(image, name, 1, &command));
        namespace.apply(&callers.join("---\n"));
        namespace.rolled_out("deployment/client");
        namespace.rolled_out("deployment/stranger");
        Self { namespace, targets }
    }

    /// The one rule of the servers, which lets the client in at this port.
    pub(crate) fn rule(&self, port: u16) -> String {
        let namespace = self.namespace.name();
        format!(
            r"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: servers}}
spec:
  target: {{labels: {{app: server}}}}
  rules:
  - {{name: callers, effect: allow, from: [{{serviceAccount: {namespace}/client}}], ports: [{port}]}}
"
        )
    }

    /// What `palisade policy explain` says of the client and the server: by the rules (`--to`), or by its sidecar
    /// (`--proxy`).
    pub(crate) fn explained(&self, mesh: &Mesh, by: &str) -> Output {
        let name = self.namespace.name();
        let [client, server] = ["client", "server"].map(|who| format!("{name}/{who}"));
        let call = ["-n", name, "--from", &client, "--port", "5432"];
        mesh.palisade(&[&["policy", "explain", by, &server], &call[..]].concat())
    }

    /// What a caller said of its calls since then.
    pub(crate) fn calls(&self, who: &str, since: OffsetDateTime) -> Vec<Call> {
        let since = since.format(&Rfc3339).unwrap();
        let since = format!("--since-time={since}");
        let who = format!("deployment/{who}");
        let said = self
            .namespace
            .kubectl(&["logs", &who, "-c", "app", "--timestamps", &since]);
        stdout(&said).lines().filter_map(Call::read).collect()
    }

    /// Waits until every server answered a call that was made after this moment.
    pub(crate) fn answered(&self, who: &str, since: OffsetDateTime) -> Vec<OffsetDateTime> {
        wait_for(&format!("answers to the {who}"), BOUND, || {
            self.firsts(who, since, true)
        })
    }

    /// Waits until a call to every server failed that was made after this moment.
    pub(crate) fn failed(&self, who: &str, since: OffsetDateTime) {
        wait_for(&format!("failures of the {who}"), BOUND, || {
            self.firsts(who, since, false)
        });
    }

    fn firsts(
        &self,
        who: &str,
        since: OffsetDateTime,
        answered: bool,
    ) -> Option<Vec<OffsetDateTime>> {
        let calls = self.calls(who, since);
        let first = |target: &String| {
            let fits = |call: &&Call| call.target == *target && call.answered == answered;
            calls.iter().find(fits).map(|call| call.at)
        };
        self.targets.iter().map(first).collect()
    }

    /// One call on a connection of its own, from a caller's pod to the first server.
    pub(crate) fn call_anew(&self, who: &str) -> bool {
        let target = self.targets.first().unwrap();
        let pod = format!("deployment/{who}");
        let call = ["/palisade", "demo", "traffic", "--count", "1", target];
        let output = self.namespace.exec(&pod, &call);
        let said = text(&output.stdout);
        assert!(said.contains(target), "{output:?}");
        output.status.success()
    }

    /// The records of the sidecars of a deployment.
    pub(crate) fn records(&self, app: &str) -> Vec<Value> {
        let app = format!("app={app}");
        let logs = ["logs", "-l", &app, "-c", "palisade-proxy", "--tail=-1"];
        let logs = [&logs[..], &["--max-log-requests=20"]].concat();
        stdout(&self.namespace.kubectl(&logs))
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|record: &Value| record.get("conn.id").is_some())
            .collect()
    }

    /// A field of the rule's object.
    pub(crate) fn of_rule(&self, path: &str) -> String {
        let rule = ["authorizationpolicy", "servers"];
        self.namespace.words(&rule, path).join(" ")
    }

    /// Waits until the rule's status says that so many proxies are all that it concerns, and enforce what is written.
    pub(crate) fn enforced_by(&self, proxies: usize) {
        let fields = "{.metadata.generation} {.status.observedGeneration} {.status.proxies} \
                      {.status.enforcing} {.status.conditions[?(@.type==\"Ready\")].status}";
        wait_for(&format!("{proxies} proxies that enforce"), BOUND, || {
            let said = self.of_rule(fields);
            let generation = said.split(' ').next()?;
            (said == format!("{generation} {generation} {proxies} {proxies} True")).then_some(())
        });
    }
}

/// A line of `demo traffic`.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) at: OffsetDateTime,
    target: String,
    pub(crate) answered: bool,
}

impl Call {
    fn read(line: &str) -> Option<Self> {
        let (at, said) = line.split_once(' ')?;
        let (target, result) = said.split_once(": ")?;
        Some(Self {
            at: OffsetDateTime::parse(at, &Rfc3339).ok()?,
            target: target.to_owned(),
            answered: !result.starts_with("failed"),
        })
    }
}

fn deployment(image: &str, name: &str, replicas: usize, args: &[&str]) -> String {
    let args = serde_json::json!(args);
    format!(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: {name}
      terminationGracePeriodSeconds: 0
      securityContext: {{runAsUser: 1000}}
      containers:
      - {{name: app, image: "{image}", imagePullPolicy: Never, args: {args}}}
"#
    )
}
