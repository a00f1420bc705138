//! `palisade policy networkpolicies`: the rules once more, for a network that enforces NetworkPolicies.

mod convert;
mod render;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use kube::ResourceExt;
use palisade_api::policy::AuthorizationPolicy;
use palisade_control::audit::{self, rules as objects};
use time::OffsetDateTime;

use crate::kubernetes::client::{self, KubeArgs, Scope, ScopeArgs};
use crate::kubernetes::{self, definitions, namespace, pod, warn};
use crate::policy::rules;

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
    if let Scope::Namespace(wanted) = scope.or_all() {
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
    let scope = args.scope.or_all();
    let listed = audit::policies(&client, &scope).await;
    let listed = listed.map_err(|error| {
        let why = namespace::refused(&client, &scope, &error);
        anyhow::anyhow!("cannot read the rules: {why}")
    })?;
    if let Some(why) = definitions::unlisted(&client, &listed.undefined).await {
        bail!(why);
    }
    for one in &listed.unreadable {
        warn(&format!(
            "you may not list the rules of {one}; it is left out"
        ));
    }
    let mut found = Rules::default();
    for object in &listed.items {
        match objects::parse(object) {
            Ok(policy) => found.policies.push(policy),
            Err(why) => warn(&format!("{} is left out: {why}", objects::place(object))),
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
    let read = rules::of_files(paths, None)?;
    let own = read.policies.iter();
    let mut namespaces: Vec<_> = own.filter_map(|one| one.namespace.clone()).collect();
    namespaces.extend(read.known.namespaces.into_keys());
    Ok(Rules {
        policies: read.policies,
        namespaces,
    })
}
