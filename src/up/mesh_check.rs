//! From a mesh file as written to what it means, with every mistake on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_api::sidecar::{API_VERSION, PROXY_PORTS, PROXY_UID};
use palisade_api::spiffe::TrustDomain;
use palisade_api::workload::Workload;
use serde_saphyr::Spanned;

use super::mesh_file::{
    Mesh, Mistake, NamespaceEntry, WorkloadEntry, Written, WrittenPort, WrittenWorkload, is_label,
};

/// Collects every mistake, so that one run shows them all.
#[derive(Debug)]
pub(super) struct Check<'a> {
    shown: &'a str,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Check<'a> {
    /// Nothing wrong yet in the file that is shown by this name.
    pub(super) fn of(shown: &'a str) -> Self {
        Self {
            shown,
            mistakes: Vec::new(),
        }
    }

    /// What no program can be started with is refused before one is tried.
    fn environment(
        &mut self,
        written: BTreeMap<String, Spanned<String>>,
    ) -> BTreeMap<String, String> {
        for (name, value) in &written {
            if name.is_empty() || name.contains(['=', '\0']) || value.value.contains('\0') {
                let message =
                    format!("{name:?} cannot be a variable of the environment with this value");
                self.refuse(value, message, "use a name without =, and no NUL character");
            }
        }
        written
            .into_iter()
            .map(|(name, value)| (name, value.value))
            .collect()
    }

    fn refuse<T>(&mut self, at: &Spanned<T>, message: impl Into<String>, remedy: &str) {
        self.mistakes.push(Mistake {
            file: self.shown.to_owned(),
            line: at.referenced.line(),
            column: at.referenced.column(),
            message: message.into(),
            remedy: remedy.to_owned(),
        });
    }

    /// The mesh that was written, or none where too little of it makes sense.
    pub(super) fn mesh(&mut self, written: Written, file: PathBuf) -> Option<Mesh> {
        let Written {
            api_version,
            kind,
            metadata,
            spec,
        } = written;
        if api_version.value != API_VERSION {
            let remedy = format!("write {API_VERSION}");
            self.refuse(&api_version, "this apiVersion is not known", &remedy);
        }
        if kind.value != "LocalMesh" {
            self.refuse(&kind, "this kind is no mesh file", "write LocalMesh");
        }
        self.label(&metadata.name);
        let base = file.parent().unwrap_or_else(|| Path::new("/")).to_owned();
        let rules = base.join(&spec.rules.value);
        if !rules.is_dir() {
            let message = format!("there is no directory {}", rules.display());
            let remedy = "name one that exists, relative to this file";
            self.refuse(&spec.rules, message, remedy);
        }
        let svid_ttl = self.svid_ttl(spec.svid_ttl.as_ref());
        self.namespaces(&spec.namespaces);
        let trust_domain = self.trust_domain(spec.trust_domain.as_ref())?;
        let workloads = self.workloads(spec.workloads, &trust_domain, &base);
        Some(Mesh {
            name: metadata.name.value,
            trust_domain,
            rules: rules.canonicalize().unwrap_or(rules),
            file,
            svid_ttl,
            namespaces: spec.namespaces.into_iter().map(|n| n.value).collect(),
            workloads,
        })
    }

    fn label(&mut self, name: &Spanned<String>) {
        if !is_label(&name.value) {
            let message = format!("\"{}\" cannot be a name", name.value);
            let remedy =
                "use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit";
            self.refuse(name, message, remedy);
        }
    }

    fn trust_domain(&mut self, written: Option<&Spanned<String>>) -> Option<TrustDomain> {
        let text = written.map_or(DEFAULT_TRUST_DOMAIN, |w| &w.value);
        match (text.parse::<TrustDomain>(), written) {
            (Ok(domain), _) => Some(domain),
            (Err(error), Some(written)) => {
                self.refuse(written, error.to_string(), "write a name as cluster.local");
                None
            }
            (Err(_), None) => None,
        }
    }

    fn svid_ttl(&mut self, written: Option<&Spanned<String>>) -> Duration {
        let Some(written) = written else {
            return DEFAULT_SVID_TTL;
        };
        match humantime::parse_duration(&written.value) {
            Ok(ttl) if ttl >= Duration::from_secs(2) && ttl <= Duration::from_secs(86_400) => ttl,
            _ => {
                let message = format!("\"{}\" is no lifetime of an SVID", written.value);
                self.refuse(written, message, "write 2s to 24h, as in 1h");
                DEFAULT_SVID_TTL
            }
        }
    }

    fn namespaces(&mut self, namespaces: &[Spanned<NamespaceEntry>]) {
        let mut seen = BTreeSet::new();
        for namespace in namespaces {
            let name = &namespace.value.name;
            if !is_label(name) || !seen.insert(name) {
                let message = format!("namespace \"{name}\" is no name, or stands here twice");
                self.refuse(
                    namespace,
                    message,
                    "name each namespace once, by a-z, 0-9 and -",
                );
            }
        }
    }

    fn workloads(
        &mut self,
        written: Vec<Spanned<WrittenWorkload>>,
        trust_domain: &TrustDomain,
        base: &Path,
    ) -> Vec<WorkloadEntry> {
        let mut taken = BTreeSet::new();
        let mut workloads = Vec::new();
        for workload in written {
            let name = workload.value.name.clone();
            let Some(entry) = self.workload(workload.value, trust_domain, base) else {
                continue;
            };
            let pods = (0..entry.replicas).map(|n| format!("{}-{n}", entry.name));
            // One mistake is said once, however many replicas share it.
            let mut clash = None;
            for taking in [entry.name.clone()].into_iter().chain(pods) {
                if !taken.insert((entry.namespace.clone(), taking.clone())) {
                    clash.get_or_insert(taking);
                }
            }
            if let Some(taking) = clash {
                let message = format!("the name \"{taking}\" is taken in its namespace");
                let remedy = "name each workload once; NAME-0, NAME-1… are its replicas' names";
                self.refuse(&name, message, remedy);
            }
            workloads.push(entry);
        }
        let pods: usize = workloads.iter().map(|w| w.replicas).sum();
        if pods > MAX_PODS {
            self.mistakes.push(Mistake {
                file: self.shown.to_owned(),
                line: 1,
                column: 1,
                message: format!("{pods} pods are more than one machine's mesh takes"),
                remedy: format!("ask for at most {MAX_PODS} replicas in all"),
            });
        }
        workloads
    }

    fn workload(
        &mut self,
        written: WrittenWorkload,
        trust_domain: &TrustDomain,
        base: &Path,
    ) -> Option<WorkloadEntry> {
        self.label(&written.name);
        for name in [&written.namespace, &written.service_account]
            .into_iter()
            .flatten()
        {
            self.label(name);
        }
        let name = written.name.value.clone();
        let namespace = written
            .namespace
            .map_or_else(|| "default".to_owned(), |n| n.value);
        let service_account = written
            .service_account
            .map_or_else(|| name.clone(), |account| account.value);
        if written.command.value.first().is_none_or(String::is_empty) {
            let remedy = "write [PROGRAM, ARGUMENT, …]";
            self.refuse(&written.command, "a workload needs a command", remedy);
        }
        let replicas = self.replicas(written.replicas.as_ref());
        let run_as_user = self.run_as_user(written.run_as_user.as_ref());
        let ports = self.ports(&written.ports);
        let environment = self.environment(written.environment);
        let working_directory = self.working_directory(written.working_directory.as_ref(), base);
        let identity = Workload::identity_of(trust_domain, &namespace, &service_account);
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => {
                self.refuse(&written.name, error.to_string(), "choose another name");
                return None;
            }
        };
        let labels = written
            .labels
            .unwrap_or_else(|| BTreeMap::from([("app".to_owned(), name.clone())]));
        Some(WorkloadEntry {
            name,
            namespace,
            service_account,
            identity,
            labels,
            replicas,
            command: written.command.value,
            ports,
            environment,
            working_directory,
            run_as_user,
            meshed: written.meshed.unwrap_or(true),
            restart: written.restart,
        })
    }

    fn replicas(&mut self, written: Option<&Spanned<u32>>) -> usize {
        let Some(written) = written else { return 1 };
        match usize::try_from(written.value) {
            Ok(replicas) if (1..=MAX_PODS).contains(&replicas) => replicas,
            _ => {
                let remedy = format!("write 1 to {MAX_PODS}");
                self.refuse(written, "this number of replicas cannot be run", &remedy);
                1
            }
        }
    }

    fn run_as_user(&mut self, written: Option<&Spanned<u32>>) -> u32 {
        let Some(written) = written else { return 0 };
        if written.value == PROXY_UID {
            let message = format!("user {PROXY_UID} is the proxy's");
            self.refuse(written, message, "choose another user id");
        } else if written.value > MAX_UID {
            let remedy = format!("write 0 to {MAX_UID}");
            self.refuse(written, "a pod has no such user id", &remedy);
        }
        written.value
    }

    fn ports(&mut self, written: &[Spanned<WrittenPort>]) -> Vec<(u16, u16)> {
        let mut ports: Vec<(u16, u16)> = Vec::new();
        for port in written {
            let (service, target) = match port.value {
                WrittenPort::Same(port) => (port, port),
                WrittenPort::Mapped { port, target_port } => (port, target_port),
            };
            if service == 0 || target == 0 {
                self.refuse(port, "0 is no port", "write 1 to 65535");
            } else if PROXY_PORTS.contains(&target) {
                let message = format!("port {target} is the proxy's");
                self.refuse(port, message, "let the application listen on another port");
            } else if ports.iter().any(|(taken, _)| *taken == service) {
                let message = format!("port {service} stands here twice");
                self.refuse(port, message, "list each port of the service once");
            }
            ports.push((service, target));
        }
        ports
    }

    fn working_directory(
        &mut self,
        written: Option<&Spanned<String>>,
        base: &Path,
    ) -> Option<PathBuf> {
        let written = written?;
        let directory = base.join(&written.value);
        if !directory.is_dir() {
            let message = format!("there is no directory {}", directory.display());
            self.refuse(
                written,
                message,
                "name one that exists, relative to this file",
            );
        }
        Some(directory.canonicalize().unwrap_or(directory))
    }
}

const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";
const DEFAULT_SVID_TTL: Duration = Duration::from_secs(3600);
const MAX_PODS: usize = 500;
const MAX_UID: u32 = 65_535;
