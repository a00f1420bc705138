//! What is not known, and what may not be read: said, and never guessed.

use serde_json::Value;

use super::Asked;
use crate::harness::{BOUND, Cluster, stdout, text, wait_or_say};

impl Asked<'_> {
    /// What decides in a namespace that was not read is not guessed, and neither is who calls from there.
    pub(super) fn asks_about_what_was_read(&self) {
        let name = self.name;
        let (client, server) = (format!("{name}/client"), format!("{name}/server"));
        let explain = ["explain", "--from", &client, "--to", &server];
        let elsewhere = [&explain[..], &["--port", "5432", "-n", "default"]].concat();
        let unread =
            format!("the rules of {name} were not read; ask with -n {name}, or without -n");
        let nobody = [&["check"][..], &["-n", "nosuch"]].concat();
        let counts = [&["usage"][..], &["-n", "nosuch"]].concat();
        for (arguments, said) in [
            (elsewhere, &*unread),
            (nobody, "there is no namespace nosuch; "),
            (counts, "there is no namespace nosuch; "),
        ] {
            let output = self.mesh.palisade(&[&["policy"], &arguments[..]].concat());
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let printed = text(&output.stderr);
            assert!(printed.contains(said), "{printed}");
        }
        // Their pods are read, whichever namespace is asked about: control has no sidecar, and comes by its address.
        let control = "palisade-system/palisade-control";
        let (answers, code) = self.lines(&[
            "explain", "--from", control, "--to", &server, "--port", "5432",
        ]);
        assert_eq!(code, 1, "{answers:?}");
        let is_in_clear = |one: &Value| one["source"] == "unauthenticated";
        assert!(answers.iter().all(is_in_clear), "{answers:?}");
        let nobody = format!("{name}/nosuch");
        let proxy = ["--proxy", &nobody, "--port", "5432"];
        let output = self.policy(&[&["explain", "--from", &client], &proxy[..]].concat());
        let printed = text(&output.stderr);
        assert!(
            printed.contains("there is no workload or replica"),
            "{printed}"
        );
    }

    /// Who may read rules, and not who is there; and who may read those of their namespace only.
    pub(super) fn says_what_it_may_not_read(&self) {
        let name = self.name;
        let _rights = Rights::given(self.mesh.cluster(), name);
        let (client, server) = (format!("{name}/client"), format!("{name}/server"));
        let explain = [
            "explain", "--from", &client, "--to", &server, "--port", "5432",
        ];
        let labelled = [&explain[..], &["--to-labels", "app=server"]].concat();
        let pod = self.pod_of_server();
        let proxy = [
            "explain", "--from", &client, "--proxy", &pod, "--port", "5432",
        ];
        let forbidden = "is forbidden: User \"rules\" cannot";
        for (user, arguments, code, expected) in [
            (
                "rules",
                &labelled[..],
                0,
                [
                    &format!("who there is cannot be told: pods {forbidden} list"),
                    "how namespaces are set cannot be told",
                ],
            ),
            // Labels are not guessed: it is said that they are asked for.
            (
                "rules",
                &explain,
                2,
                ["who there is cannot be told", "--to-labels"],
            ),
            (
                "rules",
                &proxy,
                2,
                [
                    "who there is cannot be told",
                    &format!("ask for `get` and `create` on pods/portforward in {name}"),
                ],
            ),
            (
                "rules",
                &["suggest", "--include-denied"],
                2,
                ["cannot list pods", &format!("pods {forbidden}")],
            ),
            (
                "own",
                &explain,
                2,
                [
                    "cannot read the rules: clusterauthorizationpolicies.palisade.dev is forbidden",
                    "kubectl create clusterrolebinding NAME --clusterrole=palisade-cluster-policies-view --user=YOU",
                ],
            ),
        ] {
            self.said_to(user, arguments, (code, &expected));
        }
    }

    /// With its namespace.
    fn pod_of_server(&self) -> String {
        let named = "{.items[0].metadata.name}";
        let pods = self
            .shop
            .namespace
            .words(&["pods", "-l", "app=server"], named);
        format!("{}/{}", self.name, pods.first().unwrap())
    }

    /// Waits until a command ends so for another user, and says this on stderr: rights count some moments after they are
    /// given.
    fn said_to(&self, user: &str, arguments: &[&str], (code, expected): (i32, &[&str])) {
        let admin = ["config", "view", "--raw", "--minify", "-o", "json"];
        let config = stdout(&self.mesh.cluster().kubectl(&admin));
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["users"][0]["user"]["as"] = user.into();
        let config = self.file(&format!("{user}.kubeconfig"), &config.to_string());
        let with = ["--kubeconfig", config.to_str().unwrap()];
        let asked = [arguments, &with].concat();
        wait_or_say(&format!("{code} for {user}: {arguments:?}"), BOUND, || {
            let output = self.policy(&asked);
            let said = text(&output.stderr);
            let is_said = expected.iter().all(|part| said.contains(part));
            match output.status.code() == Some(code) && is_said {
                true => Ok(()),
                false => Err(format!("{output:?}")),
            }
        });
    }
}

/// What two users may, taken away when it is dropped: what is in no namespace would outlive the test.
struct Rights {
    cluster: &'static Cluster,
    name: String,
}

impl Rights {
    fn given(cluster: &'static Cluster, namespace: &str) -> Self {
        let rights = Self {
            cluster,
            name: format!("{namespace}-rules"),
        };
        cluster.apply(&self::rights(namespace));
        rights
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let both = "clusterrole,clusterrolebinding";
        self.cluster
            .kubectl(&["delete", both, &self.name, "--ignore-not-found"]);
    }
}

fn rights(name: &str) -> String {
    let rule = |plurals: &str| {
        format!("[{{apiGroups: [palisade.dev], resources: [{plurals}], verbs: [get, list]}}]")
    };
    let both = rule("authorizationpolicies, clusterauthorizationpolicies");
    let own = rule("authorizationpolicies");
    format!(
        r"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}-rules}}
rules: {both}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}-rules}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}-rules}}
subjects: [{{kind: User, name: rules}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: own, namespace: {name}}}
rules: {own}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: own, namespace: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: own}}
subjects: [{{kind: User, name: own}}]
"
    )
}
