//! A control service with a store and files of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_api::spiffe::SpiffeId;
use palisade_control::{Config, Control, Files, Mode, token};
use tempfile::TempDir;
use time::OffsetDateTime;

pub(crate) struct Mesh {
    directory: TempDir,
    pub(crate) control: Option<Control>,
    pub(crate) svid_ttl: Duration,
}

impl Mesh {
    /// Serves the shop.
    pub(crate) async fn start() -> Self {
        Self::with_ttl(Duration::from_secs(3600)).await
    }

    pub(crate) async fn with_ttl(svid_ttl: Duration) -> Self {
        let mut mesh = Self {
            directory: tempfile::tempdir().unwrap(),
            control: None,
            svid_ttl,
        };
        fs::create_dir(mesh.files()).unwrap();
        mesh.write("shop.yaml", SHOP);
        mesh.write("rules.yaml", &rules(8080));
        mesh.begin().await;
        mesh
    }

    /// Starts on what is there.
    pub(crate) async fn begin(&mut self) {
        let config = Config {
            trust_domain: "cluster.local".parse().unwrap(),
            mode: Mode::Files(Files {
                store: self.store(),
                directories: vec![self.files()],
                telemetry_socket: None,
            }),
            listen: "127.0.0.1:0".parse().unwrap(),
            svid_ttl: self.svid_ttl,
            mesh_cidrs: vec!["10.111.0.0/16".parse().unwrap()],
            outside_cidrs: Vec::new(),
            telemetry: Some("127.0.0.1:0".parse().unwrap()),
        };
        self.control = Some(Control::start(config).await.unwrap());
    }

    pub(crate) async fn end(&mut self) {
        self.control.take().unwrap().stop().await;
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// Replaces a file by renaming, as editors do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let unfinished = self.directory.path().join("unfinished");
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, self.files().join(name)).unwrap();
    }

    pub(crate) fn token(&self, service_account: &str) -> String {
        token_for(&self.store(), service_account, Duration::from_secs(60))
    }
}

pub(crate) fn token_for(store: &Path, service_account: &str, ttl: Duration) -> String {
    token::create(store, &id(service_account), ttl, OffsetDateTime::now_utc()).unwrap()
}

pub(crate) fn id(service_account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{service_account}")
        .parse()
        .unwrap()
}

pub(crate) fn rules(port: u16) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: orders, namespace: shop}}
spec:
  target: {{labels: {{app: orders}}}}
  rules:
  - name: web-places-orders
    effect: allow
    from: [{{serviceAccount: shop/web}}]
    ports: [{port}]
"
    )
}

pub(crate) const SHOP: &str = "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-0, namespace: shop, labels: {app: orders}}
spec: {serviceAccount: orders, addresses: [10.111.0.7]}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {serviceAccount: web, addresses: [10.111.0.8]}
---
apiVersion: palisade.dev/v1alpha1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {addresses: [10.112.0.2], selector: {app: orders}, ports: [{port: 8080}]}
";
