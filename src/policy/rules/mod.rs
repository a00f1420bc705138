//! The rules that a question is about, and what is known of those they are for: from files, from the mesh that runs on
//! this machine, or from a cluster.

mod cluster;
mod extent;
mod files;
mod list;
mod local;
mod names;
mod objects;
mod others;
#[cfg(test)]
pub(crate) mod sample;
mod split;
#[cfg(test)]
mod tests;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use palisade_api::manifest::{self, Diagnostic, Document, Manifest, PolicyTest};
use palisade_api::policy::{self, AuthorizationPolicy, Policy, RuleName};
use palisade_api::spiffe::TrustDomain;
use palisade_api::workload::NamespaceSettings;

use super::mistakes::Mistakes;
use super::revoked::Revoked;
use crate::args::MeshArgs;
use crate::kubernetes::meant::{Meant, meant};
pub(crate) use extent::{Extent, Sought, UnreadError};
pub(crate) use files::Texts;
pub(crate) use objects::Misset;
pub(crate) use others::others;
pub(crate) use unknown::Unknown;

/// Which rules are meant.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// Rules of a file or directory instead of a running mesh's; mesh files and Kubernetes manifests say who there is;
    /// - is stdin; may be repeated
    #[arg(short, long = "file", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) files: Vec<PathBuf>,
    /// The trust domain of the workloads in files [default: what a mesh file says, else cluster.local]
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<TrustDomain>,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

/// Rules, and what is known of those that they are for.
#[derive(Debug)]
pub(crate) struct Rules {
    /// That of the workloads.
    pub(crate) trust_domain: TrustDomain,
    pub(crate) policies: Vec<AuthorizationPolicy>,
    /// What is in force beside them, and is not known.
    pub(crate) unknown: Vec<Unknown>,
    /// Where each rule is written, for people: `rules/orders.yaml:7`.
    pub(crate) places: BTreeMap<RuleName, String>,
    pub(crate) known: Known,
    /// Who is refused before any of them is asked.
    pub(crate) revoked: Revoked,
    /// What they were read from, where that was files.
    pub(crate) documents: Vec<Document>,
    /// What is good of files with mistakes: to look for more of them, and for nothing else.
    pub(crate) doubtful: Vec<Document>,
    /// The texts of the files, by name, to show what is wrong in them.
    pub(crate) texts: BTreeMap<String, String>,
    /// What is wrong with those that were left out; of objects, which have no lines, also told by the warnings.
    pub(crate) mistakes: Vec<Diagnostic>,
    /// Annotations of namespaces that are not understood; also told by the warnings.
    pub(crate) misset: Vec<Misset>,
    /// What was left out, and why.
    pub(crate) warnings: Vec<String>,
}

/// Who there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) workloads: Vec<Workload>,
    /// Namespace and name of service accounts, also of those that no workload has.
    pub(crate) accounts: BTreeSet<(String, String)>,
    pub(crate) namespaces: BTreeMap<String, NamespaceSettings>,
    /// Those of which it is said how they are set.
    pub(crate) told: BTreeSet<String>,
    /// Namespace and name of replicas whose sidecars do not run: nobody calls them.
    pub(crate) idle: BTreeSet<(String, String)>,
    /// Whether that is all: then what is not in it does not exist.
    pub(crate) is_complete: bool,
    /// Whether a mesh file has mistakes: nobody is held to be not there then.
    pub(crate) is_cut: bool,
    /// Of a cluster: how much of it was read.
    pub(crate) extent: Option<Extent>,
}

/// What rules select, however many replicas it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    /// `orders`; on a cluster what made the pods.
    pub(crate) name: String,
    pub(crate) service_account: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// The names of its replicas, as records have them.
    pub(crate) replicas: Vec<String>,
    /// Addresses of its replicas.
    pub(crate) addresses: Vec<std::net::IpAddr>,
    /// Whether sidecars answer for it.
    pub(crate) meshed: bool,
    /// Ports that they do not see: no rule is asked there.
    pub(crate) excluded_ports: BTreeSet<u16>,
}

/// Why there are no rules to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadRulesError {
    #[error("the rules have mistakes:\n{0}")]
    Mistakes(Mistakes),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl RulesArgs {
    /// The rules that are meant. Of a cluster, callers are looked up too, whichever namespace is meant.
    pub(crate) fn load(&self, callers: &BTreeSet<Sought>) -> Result<Rules, LoadRulesError> {
        if self.files.is_empty() {
            return of_mesh_with(&self.mesh, callers);
        }
        files::read(&self.files, self.trust_domain.clone())?.good()
    }
}

/// The rules of files, as a command names them in its place.
pub(crate) fn of_files(
    paths: &[PathBuf],
    trust_domain: Option<TrustDomain>,
) -> Result<Rules, LoadRulesError> {
    files::read(paths, trust_domain)?.good()
}

/// Those that can be read, where others are not good.
pub(crate) fn all_of_files(
    paths: &[PathBuf],
    trust_domain: Option<TrustDomain>,
) -> anyhow::Result<Rules> {
    files::read(paths, trust_domain)
}

/// The rules of the mesh that is meant, and all who are in it. Files of a local mesh that have mistakes count as they were
/// before.
pub(crate) fn of_mesh(mesh: &MeshArgs) -> Result<Rules, LoadRulesError> {
    of_mesh_with(mesh, &BTreeSet::new())
}

/// The same, and these callers, whichever namespace is meant.
pub(crate) fn of_mesh_with(
    mesh: &MeshArgs,
    callers: &BTreeSet<Sought>,
) -> Result<Rules, LoadRulesError> {
    match meant(mesh)? {
        Meant::Local => local::in_force(mesh.name.as_deref()),
        Meant::Cluster => Ok(cluster::read(mesh, callers)?
            .listed()
            .map_err(anyhow::Error::from)?),
    }
}

/// The same, also where a cluster does not list all that is in force.
pub(crate) fn of_mesh_as_listed(
    mesh: &MeshArgs,
    callers: &BTreeSet<Sought>,
) -> Result<Rules, LoadRulesError> {
    match meant(mesh)? {
        Meant::Local => local::in_force(mesh.name.as_deref()),
        Meant::Cluster => Ok(cluster::read(mesh, callers)?),
    }
}

/// Who is revoked in the mesh that is meant. A cluster has no such objects.
pub(crate) fn revoked_in_mesh(mesh: &MeshArgs) -> Result<Revoked, LoadRulesError> {
    match meant(mesh)? {
        Meant::Local => Ok(local::in_force(mesh.name.as_deref())?.revoked),
        Meant::Cluster => Ok(Revoked::default()),
    }
}

/// The rules of the mesh of this machine that is meant.
pub(crate) fn of_running(name: Option<&str>) -> Result<Rules, LoadRulesError> {
    local::in_force(name)
}

/// The texts of files and directories, by file.
pub(crate) fn texts(paths: &[PathBuf]) -> anyhow::Result<Texts> {
    files::texts(paths)
}

/// The texts of a directory of rules, by file; it may be empty.
pub(crate) fn texts_of_directory(directory: &Path) -> anyhow::Result<Texts> {
    files::texts_of_directory(directory)
}

/// Those that can be read, where others are not good.
pub(crate) fn all_of_mesh(mesh: &MeshArgs) -> anyhow::Result<Rules> {
    match meant(mesh)? {
        Meant::Local => local::read(mesh.name.as_deref()),
        Meant::Cluster => Ok(cluster::read(mesh, &BTreeSet::new())?.listed()?),
    }
}

/// The expectations of files and, beside what is wrong with some, what can be read of them.
pub(crate) fn expectations(texts: &BTreeMap<String, String>) -> (Vec<PolicyTest>, Vec<Diagnostic>) {
    let (mut tests, mut mistakes) = (Vec::new(), Vec::new());
    for (file, text) in texts {
        let read = manifest::read_all_tests(file, &split::split(text).ours);
        tests.extend(read.tests);
        mistakes.extend(read.mistakes);
    }
    (tests, mistakes)
}

impl Rules {
    /// Nobody, and nothing.
    fn of(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            policies: Vec::new(),
            unknown: Vec::new(),
            places: BTreeMap::new(),
            known: Known::default(),
            revoked: Revoked::default(),
            documents: Vec::new(),
            doubtful: Vec::new(),
            texts: BTreeMap::new(),
            mistakes: Vec::new(),
            misset: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Itself, where nothing is wrong with any of them.
    fn good(self) -> Result<Self, LoadRulesError> {
        if self.mistakes.is_empty() {
            return Ok(self);
        }
        let mistakes = Mistakes::new(self.mistakes, self.texts);
        Err(LoadRulesError::Mistakes(mistakes))
    }

    /// Compiled.
    pub(crate) fn compiled(&self) -> Policy {
        Policy::new(self.policies.clone())
    }

    /// Takes over who there is from a mesh, for files that say it of nobody. What they say of namespaces stays.
    pub(crate) fn know(&mut self, mesh: Self) {
        let own = std::mem::replace(&mut self.known, mesh.known);
        self.known.accounts.extend(own.accounts);
        // That a file names a namespace says nothing of how it is set.
        for (namespace, settings) in own.namespaces {
            if own.told.contains(&namespace) {
                self.known.tell(&namespace, settings);
            } else {
                self.known.namespaces.entry(namespace).or_insert(settings);
            }
        }
        self.trust_domain = mesh.trust_domain;
        let of_its_rules: Vec<_> = mesh.unknown.iter().map(Unknown::warning).collect();
        let others = mesh.warnings.into_iter();
        self.warnings
            .extend(others.filter(|one| !of_its_rules.contains(one)));
        self.misset.extend(mesh.misset);
    }

    /// Where a rule is written; its name again where that is not known.
    pub(crate) fn place(&self, rule: &RuleName) -> String {
        let known = self.places.get(rule).cloned();
        known.unwrap_or_else(|| rule.to_string())
    }

    /// What a rule says, in English; none where there is no such rule.
    pub(crate) fn sentence(&self, name: &RuleName) -> Option<String> {
        let mut policies = self.policies.iter();
        let policy = policies
            .find(|policy| (&policy.namespace, &policy.name) == (&name.namespace, &name.policy))?;
        let rule = policy.rules.iter().find(|rule| rule.name == name.rule)?;
        Some(policy::sentence(policy, rule))
    }

    /// Takes what is wrong with how a namespace is set.
    fn take_misset(&mut self, misset: Misset) {
        self.warnings.push(misset.told());
        self.misset.push(misset);
    }

    /// Takes what a file says.
    fn take(&mut self, document: Document) {
        match &document.manifest {
            Manifest::Policy(policy) => {
                for (name, place) in policy.rule_names().zip(&document.rules) {
                    let file = manifest::without_controls(&document.file);
                    let at = format!("{file}:{}", place.name.line);
                    self.places.insert(name, at);
                }
                self.policies.push(policy.clone());
            }
            Manifest::Workload(spec) => self.known.take(Workload {
                namespace: spec.namespace.clone(),
                // A local mesh numbers its replicas.
                name: unnumbered(&spec.name).to_owned(),
                service_account: spec.service_account.clone(),
                labels: spec.labels.clone(),
                replicas: vec![spec.name.clone()],
                addresses: spec.addresses.clone(),
                meshed: spec.meshed,
                excluded_ports: BTreeSet::new(),
            }),
            Manifest::Namespace { name, settings } => {
                self.known.tell(name, *settings);
            }
            Manifest::Service(service) => {
                let namespaces = &mut self.known.namespaces;
                namespaces.entry(service.namespace.clone()).or_default();
            }
            Manifest::Revocations(spec) => {
                let file = manifest::without_controls(&document.file);
                let place = format!("{file}:{}", document.line);
                self.revoked.take(spec, &place);
            }
            Manifest::TrustBundle { .. } => {}
        }
        self.documents.push(document);
    }
}

impl Known {
    /// Takes a replica, or one more of a workload that is known.
    fn take(&mut self, workload: Workload) {
        self.accounts
            .insert((workload.namespace.clone(), workload.service_account.clone()));
        self.namespaces
            .entry(workload.namespace.clone())
            .or_default();
        let same = |held: &&mut Workload| {
            (&held.namespace, &held.name) == (&workload.namespace, &workload.name)
                && (&held.service_account, &held.labels, held.meshed)
                    == (&workload.service_account, &workload.labels, workload.meshed)
                && held.excluded_ports == workload.excluded_ports
        };
        match self.workloads.iter_mut().find(same) {
            Some(held) => {
                held.replicas.extend(workload.replicas);
                held.addresses.extend(workload.addresses);
            }
            None => self.workloads.push(workload),
        }
    }

    /// Takes how a namespace is set.
    fn tell(&mut self, name: &str, settings: NamespaceSettings) {
        self.namespaces.insert(name.to_owned(), settings);
        self.told.insert(name.to_owned());
    }

    /// How a namespace is set; as one without annotations, where it is not known.
    pub(crate) fn settings(&self, namespace: &str) -> NamespaceSettings {
        self.namespaces.get(namespace).copied().unwrap_or_default()
    }
}

/// What a mesh is called that nobody named otherwise.
fn usual_trust_domain() -> anyhow::Result<TrustDomain> {
    Ok("cluster.local".parse()?)
}

/// `orders` of `orders-0`.
fn unnumbered(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}
