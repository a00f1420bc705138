//! `palisade policy test`: rules, held against what they are expected to decide.

mod ask;
mod coverage;
mod expected;
mod junit;
#[cfg(test)]
mod manual;
mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use palisade_api::manifest::{Diagnostic, PolicyTest};
use time::OffsetDateTime;

use super::mistakes::Mistakes;
use super::rules::{self, Rules, RulesArgs, Sought};
use super::subject;
use crate::args::Output;
use ask::Outcome;
use coverage::Coverage;

/// `palisade policy test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Files and directories with expectations (kind: PolicyTest)
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Asks the rules of the running mesh, instead of those beside the expectations
    #[arg(long = "mesh", conflicts_with = "files")]
    is_mesh: bool,
    /// Writes the results to a file too, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Fails where the expectations exercise less than this part of the rules
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    min_coverage: Option<u8>,
    #[command(flatten)]
    rules: RulesArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Expectations stand in files of their own, or beside the rules:

  apiVersion: palisade.dev/v1alpha1
  kind: PolicyTest
  metadata: {name: orders}
  spec:
    tests:
    - {from: shop/web, to: shop/orders, port: 8080, expect: allow, rule: web-places-orders}
    - {from: 10.2.0.7, to: shop/orders, port: 8080, expect: deny}

The rules are those that -f names, or with --mesh the running mesh's, or those of the expectations' own directories.
Exits with 0 where all is as expected, with 1 where it is not, with 2 where it could not be asked, which the file of
--junit says as an error.

  palisade policy test rules/
  palisade policy test tests.yaml -f rules/ -f shop.yaml --junit report.xml --min-coverage 90";

/// Why expectations cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("the expectations have mistakes:\n{0}")]
struct ExpectationsError(Mistakes);

/// All that came of it.
#[derive(Debug)]
struct Report<'a> {
    outcomes: Vec<Outcome<'a>>,
    coverage: Coverage,
}

impl Report<'_> {
    fn failed(&self) -> usize {
        let failed = self
            .outcomes
            .iter()
            .filter(|outcome| !outcome.is_as_expected());
        failed.count()
    }

    fn is_good(&self) -> bool {
        self.failed() == 0 && self.coverage.is_enough()
    }
}

/// Asks, and prints what was answered.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let (tests, rules) = load(args).map_err(|error| unasked(args, error))?;
    super::warn(&rules.warnings);
    super::warn(rules.revoked.warning().as_slice());
    let report = report(&rules, &tests, args.min_coverage);
    let report = report.map_err(|error| unasked(args, error.into()))?;
    if let Some(file) = &args.junit {
        let written = std::fs::write(file, junit::xml(&report));
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.rules.mesh.output) {
        Output::Text => write!(out, "{}", print::text(&report))?,
        Output::Json => print::json(&mut out, &report)?,
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        super::NO
    })
}

/// Expectations and the rules to ask; of both, everything that is wrong.
fn load(args: &TestArgs) -> anyhow::Result<(Vec<PolicyTest>, Rules)> {
    let Expected { tests, wrong } = expectations(&args.paths)?;
    let callers: Vec<_> = expected::callers(&tests).map(expected::meant).collect();
    let rules = rules_for(args, &subject::sought(&callers));
    if let Ok(rules) = &rules {
        let doubts = callers.iter();
        let doubts = doubts.filter_map(|caller| subject::doubt(rules, caller));
        let called =
            expected::called_by_name(&tests).filter_map(|to| subject::unheard_of(rules, &to));
        let doubts: BTreeSet<_> = doubts.chain(called).collect();
        super::warn(&Vec::from_iter(doubts));
    }
    let Some(ExpectationsError(mut wrong)) = wrong else {
        return Ok((tests, rules?));
    };
    match rules {
        Ok(rules) => {
            // Who is not there is told in the same breath, also beside what is wrong with an expectation.
            let nobody = expected::cases(&rules, &tests).err();
            wrong.add(nobody.into_iter().flatten());
            wrong.add(expected::unknown_in_doubtful(&rules, &tests));
            Err(ExpectationsError(wrong).into())
        }
        Err(rules) => bail!("{}\n\n{rules:#}", ExpectationsError(wrong)),
    }
}

/// Writes why nothing was asked into the JUnit file, too: to CI systems no file is no test, and so no failure.
fn unasked(args: &TestArgs, error: anyhow::Error) -> anyhow::Error {
    if let Some(file) = &args.junit
        && let Err(why) = std::fs::write(file, junit::unasked(&format!("{error:#}")))
    {
        super::warn(&[format!("cannot write {}: {why}", file.display())]);
    }
    error
}

/// Asks the rules all that is expected of them.
fn report<'a>(
    rules: &Rules,
    tests: &'a [PolicyTest],
    min_coverage: Option<u8>,
) -> Result<Report<'a>, ExpectationsError> {
    let cases = expected::cases(rules, tests).map_err(|found| mistakes(found, tests))?;
    let policy = rules.compiled();
    let now = OffsetDateTime::now_utc();
    let mut exercised = BTreeSet::new();
    let outcomes = cases.into_iter().map(|case| {
        let now = case.test.at.unwrap_or(now);
        ask::ask(rules, &policy, (case, now), &mut exercised)
    });
    let outcomes = outcomes.collect();
    let coverage = Coverage::new(rules, &exercised, min_coverage);
    Ok(Report { outcomes, coverage })
}

/// What cannot be asked, with the lines of the files that ask it.
fn mistakes(found: Vec<Diagnostic>, tests: &[PolicyTest]) -> ExpectationsError {
    let files: BTreeSet<PathBuf> = tests
        .iter()
        .map(|test| PathBuf::from(&*test.file))
        .collect();
    let files: Vec<_> = files.into_iter().filter(|file| file.is_file()).collect();
    let texts = rules::texts(&files).unwrap_or_default();
    ExpectationsError(Mistakes::new(found, texts.by_file))
}

/// Expectations, and what is wrong with some: then none is asked.
#[derive(Debug)]
struct Expected {
    tests: Vec<PolicyTest>,
    wrong: Option<ExpectationsError>,
}

/// Those that stand in files and directories.
fn expectations(paths: &[PathBuf]) -> anyhow::Result<Expected> {
    let texts = rules::texts(paths)?;
    let (tests, mut mistakes) = rules::expectations(&texts.by_file);
    mistakes.extend(texts.unreadable);
    let is_wrong = !mistakes.is_empty();
    let wrong = is_wrong.then(|| ExpectationsError(Mistakes::new(mistakes, texts.by_file)));
    if tests.is_empty() && !is_wrong {
        bail!(
            "there is no `kind: PolicyTest` in {}; --help shows one",
            listed(paths)
        );
    }
    Ok(Expected { tests, wrong })
}

fn rules_for(args: &TestArgs, callers: &BTreeSet<Sought>) -> anyhow::Result<Rules> {
    if args.is_mesh || !args.rules.files.is_empty() {
        return Ok(args.rules.load(callers)?);
    }
    let directories: BTreeSet<PathBuf> = args.paths.iter().map(|path| directory(path)).collect();
    let directories: Vec<_> = directories.into_iter().collect();
    let rules = rules::of_files(&directories, args.rules.trust_domain.clone())?;
    if rules.policies.is_empty() {
        bail!(
            "there are no rules in {}; name them with -f, or ask the running mesh's with --mesh",
            listed(&directories)
        );
    }
    Ok(rules)
}

fn directory(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}
