//! `palisade policy networkpolicies`: the rules once more, for a network that enforces NetworkPolicies.

mod convert;
mod render;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use kube::ResourceExt;
use palisade_api::manifest::{self, Manifest};
use palisade_api::policy::AuthorizationPolicy;
use palisade_control::audit::{self, rules};
use palisade_control::file::Directories;
use time::OffsetDateTime;

use crate::kubernetes::client::{self, KubeArgs, Scope, ScopeArgs};
use crate::kubernetes::{self, pod, warn};

/// `palisade policy networkpolicies`.
#[derive(Debug, Args)]
pub(crate) struct NetworkPoliciesArgs {
    /// Rules from a file or directory, instead of the cluster's; may be repeated
    #[arg(short, long = "file", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Prints YAML for `kubectl apply -f -`. A NetworkPolicy knows addresses, not identities, so it is wider than the rule that
it is made of: comments in it say where. It stands beside the mesh, which goes on to enforce the rules themselves.
Looks at every namespace unless -n names one.";

/// The rules, and the namespaces that are known.
#[derive(Debug, Default)]
struct Rules {
    policies: Vec<AuthorizationPolicy>,
    namespaces: Vec<String>,
}

/// Prints the NetworkPolicies.
pub(crate) fn run(args: &NetworkPoliciesArgs) -> anyhow::Result<ExitCode> {
    if args.files.is_empty() {
        return kubernetes::run(async {
            let found = of_cluster(args).await?;
            print(found, &args.scope)
        });
    }
    print(of_files(&args.files)?, &args.scope)
}

fn print(mut found: Rules, scope: &ScopeArgs) -> anyhow::Result<ExitCode> {
    found
        .policies
        .sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    found.namespaces.sort();
    found.namespaces.dedup();
    let mut documents = Vec::new();
    for policy in &found.policies {
        documents.extend(convert::convert(
            policy,
            &found.namespaces,
            OffsetDateTime::now_utc(),
        ));
    }
    if let Scope::Namespace(wanted) = scope.or(Scope::All) {
        documents.retain(|one| {
            one.namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == wanted)
        });
    }
    let text = render::render(&documents);
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn of_cluster(args: &NetworkPoliciesArgs) -> anyhow::Result<Rules> {
    let client = client::client(&args.kube).await?;
    let scope = args.scope.or(Scope::All);
    let objects = audit::policies(&client, &scope).await;
    let objects = objects.map_err(|why| anyhow::anyhow!("cannot read the rules: {why}"))?;
    let mut found = Rules::default();
    for object in &objects {
        match rules::parse(object) {
            Ok(policy) => found.policies.push(policy),
            Err(why) => warn(&format!("{} is left out: {why}", rules::place(object))),
        }
    }
    match audit::namespaces(&client, &scope).await {
        Ok(namespaces) => {
            let members = namespaces
                .iter()
                .filter(|one| pod::asks(one) || pod::is_member(one));
            found.namespaces.extend(members.map(ResourceExt::name_any));
        }
        Err(why) => warn(&format!("rules for every namespace are left out: {why}")),
    }
    Ok(found)
}

fn of_files(paths: &[PathBuf]) -> anyhow::Result<Rules> {
    let mut found = Rules::default();
    let mut mistakes = Vec::new();
    for (file, text) in texts(paths)? {
        match manifest::parse(&file, &text) {
            Ok(manifests) => manifests
                .into_iter()
                .for_each(|manifest| found.take(manifest)),
            Err(wrong) => mistakes.extend(wrong.iter().map(ToString::to_string)),
        }
    }
    if !mistakes.is_empty() {
        bail!("the rules have mistakes:\n{}", mistakes.join("\n"));
    }
    Ok(found)
}

/// Every file, with its text.
fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in paths {
        if !path.is_dir() {
            texts.push((path.display().to_string(), text(path)?));
            continue;
        }
        for (file, content) in Directories::read(std::slice::from_ref(path))? {
            let bytes = content.map_err(|why| anyhow::anyhow!("cannot read {file}: {why}"))?;
            let text =
                String::from_utf8(bytes).with_context(|| format!("{file} is not UTF-8 text"))?;
            texts.push((file, text));
        }
    }
    Ok(texts)
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

impl Rules {
    fn take(&mut self, manifest: Manifest) {
        match manifest {
            Manifest::Policy(policy) => {
                self.namespaces.extend(policy.namespace.clone());
                self.policies.push(policy);
            }
            Manifest::Namespace { name, .. } => self.namespaces.push(name),
            Manifest::Workload(workload) => self.namespaces.push(workload.namespace),
            Manifest::Service(service) => self.namespaces.push(service.namespace),
            Manifest::Revocations(_) | Manifest::TrustBundle { .. } => {}
        }
    }
}
