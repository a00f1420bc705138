//! `palisade policy allow`: lets somebody in for a while, for a reason that stands in each record.

mod enforced;
mod settled;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;
use palisade_api::cluster::BREAK_GLASS_LABEL;
use palisade_api::manifest;
use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use palisade_control::digest::{hex, sha256};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::enforced::enforced;
use self::settled::{Settled, settled};
use super::apply;
use super::put::{self, Change, NewFile, Wait};
use super::rules::{self, Rules, Unknown, UnreadError};
use super::subject::{self, Called, Caller, Subject, WhoError};
use crate::args::{MeshArgs, Output};

/// `palisade policy allow`.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    /// Who is let in: shop/web, a SPIFFE ID, or an address for one without an identity
    #[arg(long, value_name = "WHO")]
    from: Subject,
    /// Whom they may reach: shop/orders
    #[arg(long, value_name = "WHO")]
    to: Subject,
    /// At which port of its own
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// For how long, from now on: 30m, 2h; at most 7d
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Duration,
    /// Why, for whoever reads the records: "INC-1234"
    #[arg(long, value_parser = reason)]
    reason: String,
    /// How long is waited until all sidecars that it concerns let them in
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = crate::args::span)]
    timeout: Duration,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Makes a rule with an end. Every record of a connection that it admits says until when and why (`policy.expires`,
`policy.because`); live connections end when it does, and the rule removes itself. Whom a rule denies it does not let in:
denials come first; nor does it where one of both is revoked, as no rule is asked then. The same again prolongs it, or ends it sooner, which is said. Where no sidecar is, no rule holds, and
nothing is done.
Exits with 0 where all sidecars enforce it, with 1 where some do not or it is denied all the same, with 2 where nothing was done.

  palisade policy allow --from shop/web --to shop/orders --port 8080 --for 30m --reason INC-1234";

fn span(text: &str) -> Result<Duration, String> {
    let span = crate::args::span(text)?;
    if span < LEAST || span > MOST {
        return Err(
            "name a time from 1s to 7d; what is to last longer is a rule in a file".to_owned(),
        );
    }
    Ok(span)
}

fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("say why in words, such as INC-1234".to_owned());
    }
    Ok(text.to_owned())
}

/// Lets them in.
pub(crate) fn run(args: &AllowArgs) -> anyhow::Result<ExitCode> {
    let (mut rules, presumed) = load(args)?;
    let passed_over = rules.pass_over_what_is_in_force();
    let callers = subject::callers(&rules, &args.from)?;
    let called = subject::called(&rules, &args.to, &BTreeMap::new()).map_err(closed)?;
    let without_sidecar = enforced(&rules, &called, args.port)?;
    let now = OffsetDateTime::now_utc();
    let expires = end(now, args.span)?;
    let policy = policy(&rules, args, (&callers, &called), expires)?;
    let in_clear = in_clear(&args.from, &callers);
    let output = Output::or_by_terminal(args.mesh.output);
    let settled = settled(&rules, &policy, (&callers, &called, args.port), now)
        .filter(|answer| is_sure(answer, &called, &passed_over));
    if let Some(answer) = settled {
        match output {
            Output::Text => anstream::eprintln!("{answer}"),
            Output::Json => anstream::println!("{}", answer.json()),
        }
        return Ok(match answer {
            Settled::Allowed(_) => ExitCode::SUCCESS,
            Settled::Denied(_) | Settled::Revoked(_) => super::NO,
        });
    }
    let patience = Some(args.timeout);
    let done = put::put(&args.mesh, &change(&policy), Wait { patience })?;
    super::warn(in_clear.as_slice());
    let until = expires.format(&Rfc3339)?;
    let was = sooner(&rules, &policy)
        .map(|was| was.format(&Rfc3339))
        .transpose()?;
    if let Some(was) = &was {
        super::warn(&[format!("this ends it sooner: it was to last until {was}")]);
    }
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match output {
        Output::Text => {
            let (from, to, port) = (&args.from, &args.to, args.port);
            writeln!(
                out,
                "{from} may reach {to} at port {port} until {until}: {}",
                args.reason
            )?;
            drop(out);
            apply::print(&done, &BTreeMap::new(), output)?;
        }
        Output::Json => {
            let mut said = apply::json(&done);
            said.insert("expires".to_owned(), until.into());
            said.insert("because".to_owned(), args.reason.clone().into());
            said.insert("presumed".to_owned(), presumed.into());
            said.extend(was.map(|was| ("was_to_expire".to_owned(), was.into())));
            let warning = in_clear.map(Value::from);
            said.extend(warning.map(|warning| ("in_clear".to_owned(), warning)));
            if !without_sidecar.is_empty() {
                said.insert("without_sidecar".to_owned(), without_sidecar.into());
            }
            writeln!(out, "{}", Value::Object(said))?;
        }
    }
    Ok(apply::code(done.progress.as_ref()))
}

/// Whether rules that are passed over do not touch what the others say: one of them may deny what those allow.
fn is_sure(answer: &Settled, called: &[Called], passed_over: &[Unknown]) -> bool {
    let mut touching = called
        .iter()
        .flat_map(|one| passed_over.iter().filter(|it| it.is_in(&one.namespace)));
    !matches!(answer, Settled::Allowed(_)) || touching.next().is_none()
}

/// What closes does so whatever a rule allows.
fn closed(error: WhoError) -> anyhow::Error {
    if let WhoError::Unread(UnreadError::Unknown(why)) = error {
        return anyhow!("nothing was done, as no rule would let anybody in there: {why}");
    }
    error.into()
}

/// What the name of somebody without an identity comes to.
fn in_clear(from: &Subject, callers: &[Caller]) -> Option<String> {
    let Subject::Named { .. } = from else {
        return None;
    };
    let addresses = callers.iter().filter_map(|caller| match caller {
        Caller::Address(addr) => Some(addr.to_string()),
        Caller::Identity(_) => None,
    });
    let addresses: Vec<String> = addresses.collect();
    (!addresses.is_empty()).then(|| {
        let at = addresses.join(" and ");
        format!(
            "{from} has no sidecar that would prove its identity: whoever comes from {at} is let in until then, and {from} \
             from there alone"
        )
    })
}

fn change(policy: &AuthorizationPolicy) -> Change {
    let file = format!("{}.yaml", policy.name);
    let file = NewFile {
        place: file.clone(),
        name: file,
        text: text(policy),
    };
    Change {
        files: vec![file],
        policies: vec![policy.clone()],
        label: Some(BREAK_GLASS_LABEL),
        ..Change::default()
    }
}

/// The rules, and whether the caller is only taken for the service account of its name: its pods may not be read.
fn load(args: &AllowArgs) -> anyhow::Result<(Rules, bool)> {
    let rules = rules::of_mesh_as_listed(&args.mesh, &subject::sought([&args.from]))?;
    super::warn(&rules.warnings);
    super::warn(rules.revoked.warning().as_slice());
    let doubt = subject::doubt(&rules, &args.from);
    super::warn(doubt.as_slice());
    Ok((rules, doubt.is_some()))
}

/// In whole seconds, as rules say it: the first that is no sooner than was asked for.
fn end(now: OffsetDateTime, span: Duration) -> anyhow::Result<OffsetDateTime> {
    let almost_one = Duration::from_nanos(999_999_999);
    Ok((now + span + almost_one).replace_nanosecond(0)?)
}

/// When the same would have ended that is in force now, if that is later.
fn sooner(rules: &Rules, policy: &AuthorizationPolicy) -> Option<OffsetDateTime> {
    let mut held = rules.policies.iter();
    let held =
        held.find(|held| (&held.namespace, &held.name) == (&policy.namespace, &policy.name))?;
    last_end(held).filter(|was| Some(*was) > last_end(policy))
}

/// When the last of a policy's rules ends that do.
fn last_end(policy: &AuthorizationPolicy) -> Option<OffsetDateTime> {
    policy.rules.iter().filter_map(|rule| rule.expires).max()
}

/// The file of a local mesh.
fn text(policy: &AuthorizationPolicy) -> String {
    format!(
        "# Made by `palisade policy allow`, and removed by `palisade up` when it has expired.\n{}",
        manifest::print(policy)
    )
}

fn policy(
    rules: &Rules,
    args: &AllowArgs,
    (callers, called): (&[Caller], &[Called]),
    expires: OffsetDateTime,
) -> anyhow::Result<AuthorizationPolicy> {
    let mut targets: Vec<Target> = called.iter().map(|one| target(rules, one)).collect();
    targets.dedup();
    let [target] = <[Target; 1]>::try_from(targets)
        .map_err(|_several| anyhow!("{} are several workloads; name one of them", args.to))?;
    let namespace = called.first().map(|one| one.namespace.clone());
    let rule = Rule {
        name: "break-glass".to_owned(),
        effect: Effect::Allow,
        from: callers.iter().map(|caller| source(rules, caller)).collect(),
        ports: vec![PortRange {
            first: args.port,
            last: args.port,
        }],
        mode: Mode::Enforce,
        expires: Some(expires),
        reason: args.reason.clone(),
    };
    Ok(AuthorizationPolicy {
        namespace,
        name: name(&args.from, &args.to, args.port)?,
        target,
        rules: vec![rule],
    })
}

/// Of the same three the same name, so that a second one prolongs the first.
fn name(from: &Subject, to: &Subject, port: u16) -> anyhow::Result<String> {
    let fit = |subject: &Subject| {
        let text = subject.to_string().to_ascii_lowercase();
        let id = text.strip_prefix("spiffe://");
        // Between dots an object's name begins and ends with a letter or digit, as those of accounts do.
        let plain = |c: char| match c {
            '/' | '.' if id.is_none() => '.',
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        };
        let mut name: String = id.unwrap_or(&text).chars().map(plain).collect();
        if id.is_some() {
            // Paths have more characters than names, and other cases.
            let digest = sha256(subject.to_string().as_bytes());
            name.push('-');
            name.extend(hex(&digest).chars().take(DIGEST_DIGITS));
        }
        name
    };
    let name = format!("{PREFIX}{}-to-{}-{port}", fit(from), fit(to));
    ensure!(
        name.len() <= LONGEST_NAME,
        "the names are too long for a rule made of them; write it into a file, with `expires` and `reason`"
    );
    Ok(name)
}

fn source(rules: &Rules, caller: &Caller) -> From {
    match caller {
        Caller::Address(addr) => From::Unauthenticated((*addr).into()),
        Caller::Identity(id) => match id.service_account() {
            Some((namespace, name)) if *id.trust_domain() == rules.trust_domain => {
                From::ServiceAccount {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }
            }
            _ => From::Identity(id.clone()),
        },
    }
}

/// No wider than the workload that was named: its account, and the labels that say which program it is.
fn target(rules: &Rules, called: &Called) -> Target {
    let mut known = rules.known.workloads.iter();
    let workload =
        known.find(|one| (&one.namespace, &one.name) == (&called.namespace, &called.name));
    let labels = workload
        .map(|workload| &workload.labels)
        .unwrap_or(&called.labels);
    let labels = labels
        .iter()
        .filter(|(key, _)| NAMING.contains(&key.as_str()));
    Target {
        namespaces: Vec::new(),
        service_account: Some(called.service_account.clone()),
        labels: labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

/// What the names of such rules begin with, and of the files in which a local mesh has them.
pub(crate) const PREFIX: &str = "break-glass-";
/// The labels by which people tell programs apart.
const NAMING: [&str; 4] = [
    "app",
    "app.kubernetes.io/component",
    "app.kubernetes.io/name",
    "k8s-app",
];
/// Of an identity, in a name that is made of it.
const DIGEST_DIGITS: usize = 8;
/// So that `.yaml` and more fit behind it in every file system.
const LONGEST_NAME: usize = 200;
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(7 * 24 * 3600);
