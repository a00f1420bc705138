//! `palisade uninstall`: takes the mesh out of a cluster, and leaves nothing of it behind.

mod meshed;
mod remove;
mod report;
mod survey;

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::time::timeout;

use palisade_api::cluster;

use self::remove::Removal;
use self::report::{Event, Report};
use self::survey::Survey;
use super::{chart, values};
use crate::args::Output;
use crate::kubernetes::client::{self, KubeArgs};
use crate::kubernetes::list::in_words;

/// `palisade uninstall`.
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Where control and the injector run
    #[arg(short, long, default_value = cluster::SYSTEM_NAMESPACE, value_parser = super::namespace)]
    namespace: String,
    /// Goes on though pods are in the mesh
    #[arg(long)]
    force: bool,
    /// Asks nothing
    #[arg(short, long)]
    yes: bool,
    /// How long to wait until everything is gone
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = crate::args::span)]
    timeout: Duration,
    /// Text or JSON lines [default: text on a terminal, else json]
    #[arg(short, long, env = "PALISADE_OUTPUT")]
    output: Option<Output>,
    #[command(flatten)]
    kube: KubeArgs,
}

/// Takes the mesh out of the cluster.
pub(crate) fn run(args: &UninstallArgs) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(uninstall(args))
}

async fn uninstall(args: &UninstallArgs) -> anyhow::Result<ExitCode> {
    let client = client::client(&args.kube).await?;
    let mut report = Report::new(Output::or_by_terminal(args.output));
    let survey = survey::survey(&client).await.map_err(|error| {
        let why = in_words(&error);
        anyhow!("the cluster cannot be looked at, and nothing was removed: {why}")
    })?;
    for workload in &survey.meshed {
        report.say(&Event::Meshed(workload))?;
    }
    for command in survey.ways_out() {
        report.say(&Event::Remedy { command: &command })?;
    }
    if !survey.meshed.is_empty() && !args.force {
        bail!(
            "pods are in the mesh, and without control they go on only until their SVIDs end; take them out as said \
             above, or go on with --force"
        );
    }
    if !args.yes && !is_confirmed(&survey)? {
        return Ok(ExitCode::FAILURE);
    }
    let stream = chart::manifests(&args.namespace, &values::complete()?)?;
    let removal = Removal {
        client,
        namespace: args.namespace.clone(),
        rules: survey.rules,
    };
    let removed = timeout(
        args.timeout,
        removal.run(&chart::objects(&stream)?, &mut report),
    )
    .await
    .with_context(|| {
        format!(
            "not everything was gone after {:?}; run it again",
            args.timeout
        )
    })??;
    report.say(&Event::Done { removed })?;
    Ok(ExitCode::SUCCESS)
}

fn is_confirmed(survey: &Survey) -> anyhow::Result<bool> {
    let mut stdin = std::io::stdin().lock();
    if !stdin.is_terminal() {
        bail!("nobody can be asked here; say --yes");
    }
    let rules: usize = survey.rules.values().sum();
    anstream::eprint!(
        "This takes Palisade out of the cluster, with its {rules} policies. Go on? [y/N] "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
