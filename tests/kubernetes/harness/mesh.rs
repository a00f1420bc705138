//! The mesh, installed as its users install it.

use std::process::Output;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::{BOUND, Cluster, Namespace, stdout, text, wait_for, wait_or_say};
use crate::example::SHOP;

/// The mesh of the shared cluster.
#[derive(Debug)]
pub(crate) struct Mesh {
    cluster: &'static Cluster,
    /// From `palisade install` to the last of its programs being ready.
    installed_in: Option<Duration>,
    shop_is_open: OnceLock<()>,
}

/// Tests that only use the mesh hold it together; one that breaks a part of it holds it alone.
static MESH: RwLock<Option<Mesh>> = RwLock::new(None);

/// The mesh in use, with others beside.
#[derive(Debug)]
pub(crate) struct Shared(RwLockReadGuard<'static, Option<Mesh>>);

/// The mesh for one test alone, which may break it. What it left is mended before the next test has it.
#[derive(Debug)]
pub(crate) struct Alone(RwLockWriteGuard<'static, Option<Mesh>>);

impl Mesh {
    pub(crate) fn shared() -> Shared {
        loop {
            let held = MESH.read().unwrap_or_else(PoisonError::into_inner);
            if held.is_some() {
                return Shared(held);
            }
            drop(held);
            drop(Self::installed());
        }
    }

    /// Nothing that others share is in it then: they find it as they left it, though its rules may have been taken away.
    pub(crate) fn alone() -> Alone {
        let mesh = Alone(Self::installed());
        let close = ["delete", "namespace", SHOP, "--ignore-not-found"];
        stdout(
            &mesh
                .cluster
                .kubectl(&[&close[..], &["--wait=false"]].concat()),
        );
        mesh
    }

    fn installed() -> RwLockWriteGuard<'static, Option<Self>> {
        let mut held = MESH.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(Self::install(Cluster::shared()));
        }
        held
    }

    fn install(cluster: &'static Cluster) -> Self {
        let image = cluster.palisade_image();
        let start = Instant::now();
        let mesh = Self {
            cluster,
            installed_in: None,
            shop_is_open: OnceLock::new(),
        };
        mesh.apply(image);
        mesh.ready();
        Self {
            installed_in: Some(start.elapsed()),
            ..mesh
        }
    }

    /// Applies once more what it is made of, so that what a test broke is whole again.
    pub(crate) fn mend(&self) {
        self.apply(self.cluster.palisade_image());
        self.ready();
    }

    /// Applies what `palisade install` prints for an image: what kubectl says.
    pub(crate) fn apply(&self, image: &str) -> String {
        let install = ["install", "--image", image, "--mesh-cidr", MESH_CIDRS];
        let manifests = stdout(&self.palisade(&install));
        let apply = ["kubectl", "apply", "-f", "-"];
        stdout(&self.cluster.fed(&apply, &manifests))
    }

    /// How long the last installation took, until all of it was ready.
    pub(crate) fn installed_in(&self) -> Option<Duration> {
        self.installed_in
    }

    /// Waits until control and the injector are as their Deployments say, and rules can be written.
    pub(crate) fn ready(&self) {
        for deployment in [
            "deployment/palisade-control",
            "deployment/palisade-injector",
        ] {
            let bound = format!("--timeout={}s", BOUND.as_secs());
            stdout(&self.system(&["rollout", "status", deployment, &bound]));
        }
        // Ready is what a probe said; in force is what the API server does.
        wait_for("the webhooks to be trusted", BOUND, || {
            let bundles = self.cluster.kubectl(&[
                "get",
                "mutatingwebhookconfiguration,validatingwebhookconfiguration",
                "palisade-injector",
                "-o",
                "jsonpath={range .items[*].webhooks[*]}{.clientConfig.caBundle}{\"\\n\"}{end}",
            ]);
            let bundles = stdout(&bundles);
            (bundles.lines().count() >= 4 && bundles.lines().all(|line| !line.is_empty()))
                .then_some(())
        });
        // A definition that was made just now is not served at once.
        wait_or_say("rules to be served", BOUND, || {
            let rules = "authorizationpolicies,clusterauthorizationpolicies";
            let found = self.cluster.kubectl(&["get", rules, "--all-namespaces"]);
            let is_served = found.status.success();
            is_served.then_some(()).ok_or_else(|| text(&found.stderr))
        });
    }

    pub(crate) fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// Opens the example's shop, if no other test has since somebody had the mesh alone.
    pub(crate) fn open_shop(&self, open: impl FnOnce()) {
        self.shop_is_open.get_or_init(open);
    }

    /// A namespace that is in the mesh, deleted when it is dropped.
    pub(crate) fn namespace(&self, purpose: &str) -> Namespace {
        let namespace = self.cluster.namespace(purpose);
        stdout(&self.cluster.kubectl(&[
            "annotate",
            "namespace",
            namespace.name(),
            "palisade.dev/inject=enabled",
        ]));
        namespace
    }

    /// kubectl in the mesh's own namespace.
    pub(crate) fn system(&self, arguments: &[&str]) -> Output {
        self.cluster
            .kubectl(&[&["--namespace", "palisade-system"], arguments].concat())
    }

    /// The `palisade` command, against this cluster.
    pub(crate) fn palisade(&self, arguments: &[&str]) -> Output {
        palisade(self.cluster, arguments)
    }
}

impl std::ops::Deref for Shared {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        self.0.as_ref().expect("it was installed")
    }
}

impl std::ops::Deref for Alone {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        self.0.as_ref().expect("it was installed")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Whoever comes next installs it over what is left.
        *self.0 = None;
    }
}

fn palisade(cluster: &Cluster, arguments: &[&str]) -> Output {
    let program = ["exec", env!("CARGO_BIN_EXE_palisade")];
    cluster.run(&[&program, arguments].concat())
}

/// Pods and Services of the tests' cluster.
pub(crate) const MESH_CIDRS: &str = "10.88.0.0/16,fd88::/48,10.96.0.0/16,fd96::/112";
