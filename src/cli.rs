//! What people type.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

use crate::args::{ExecArgs, LogsArgs, PsArgs, UpArgs};
use crate::check::CheckArgs;
use crate::kubernetes::meant::{Meant, meant};
use crate::policy::PolicyCommand;
use crate::{ask, check, demo, exec, inject, install, kubernetes, policy, up};

/// A minimal service mesh: mutual TLS, authorization and one record for every connection.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole mesh on this machine, from one file, until Ctrl-C
    Up(UpArgs),
    /// Lists the workloads of a mesh: who they are and how they are
    #[command(after_help = WHICH_MESH)]
    Ps(PsArgs),
    /// Runs a command inside a workload's pod, as its application would
    #[command(after_help = WHICH_MESH)]
    Exec(ExecArgs),
    /// Prints the records of a mesh's connections
    #[command(after_help = WHICH_MESH)]
    Logs(LogsArgs),
    /// Puts the sidecar into the pods of YAML files, as the webhook does it, and prints them
    Inject(inject::InjectArgs),
    /// Takes the sidecar out of the pods of YAML files again, and prints them
    Uninject(inject::UninjectArgs),
    /// Prints what the mesh needs in a cluster: palisade install | kubectl apply -f -
    Install(install::InstallArgs),
    /// Takes the mesh out of the cluster of the current kubeconfig
    Uninstall(install::uninstall::UninstallArgs),
    /// Says what is wrong with the mesh of a cluster, or with the cluster before it has one, and what to do
    #[command(after_help = check::AFTER_HELP)]
    Check(CheckArgs),
    /// Rules: writes, tests, explains and follows them
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The sidecar
    #[command(subcommand)]
    Proxy(palisade_proxy::cli::Command),
    /// The control service
    #[command(subcommand)]
    Control(palisade_control::Command),
    /// The admission webhook
    #[command(subcommand)]
    Injector(palisade_injector::Command),
    /// The small programs of the example shop
    #[command(hide = true, subcommand)]
    Demo(demo::Demo),
    /// A stage of `up` or `exec`, started by them alone
    #[command(hide = true)]
    Stage {
        /// What is shown by `ps`; what is done is said in the environment
        #[arg(trailing_var_arg = true)]
        title: Vec<String>,
    },
}

/// How `palisade ps`, `logs` and `exec` know which mesh is meant.
const WHICH_MESH: &str = "\
Which mesh is meant: with --kubeconfig, --context, -n or -A that of a cluster; else the one that `palisade up` runs on
this machine (--name, where several run); else that of the cluster of the current kubeconfig. On a cluster, the namespace
is the context's, unless -n, -A or a name such as `shop/web` says otherwise.";

/// What was typed. Ends the program where that is wrong, or asks for help.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| shown(error).exit())
}

/// With what was typed as text: a terminal obeys control characters, and what is typed may come from elsewhere.
fn shown(mut error: clap::Error) -> clap::Error {
    let escaped = error.context().filter_map(|(kind, value)| {
        if let ContextValue::String(text) = value {
            return Some((kind, ContextValue::String(escaped(text)?)));
        }
        let ContextValue::Strings(texts) = value else {
            return None;
        };
        let shown = texts
            .iter()
            .map(|text| escaped(text).unwrap_or_else(|| text.clone()));
        let has_escaped = texts.iter().any(|text| escaped(text).is_some());
        has_escaped.then(|| (kind, ContextValue::Strings(shown.collect())))
    });
    let escaped: Vec<_> = escaped.collect();
    if !escaped.is_empty() {
        // These repeat what was typed.
        error.insert(ContextKind::Suggested, ContextValue::None);
    }
    for (kind, value) in escaped {
        error.insert(kind, value);
    }
    error
}

/// Control characters as they are written in programs; none where there are none.
fn escaped(text: &str) -> Option<String> {
    let escape = |c: char| {
        let escape = c.is_control().then(|| c.escape_debug());
        escape
            .into_iter()
            .flatten()
            .chain((!c.is_control()).then_some(c))
    };
    text.contains(char::is_control)
        .then(|| text.chars().flat_map(escape).collect())
}

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Ps(args) => match meant(&args.mesh)? {
            Meant::Local => ask::ps(&args),
            Meant::Cluster => kubernetes::run(kubernetes::ps::run(&args)),
        },
        Command::Exec(args) => match meant(&args.mesh)? {
            Meant::Local => exec::run(&args),
            Meant::Cluster => kubernetes::run(kubernetes::exec::run(&args)),
        },
        Command::Logs(args) => match meant(&args.mesh)? {
            Meant::Local => ask::logs(&args),
            Meant::Cluster => kubernetes::run(kubernetes::logs::run(&args)),
        },
        Command::Check(args) => check::run(&args),
        Command::Policy(command) => policy::run(&command),
        Command::Inject(args) => inject::inject(&args),
        Command::Uninject(args) => inject::uninject(&args),
        Command::Install(args) => install::run(&args),
        Command::Uninstall(args) => install::uninstall::run(&args),
        Command::Demo(demo) => demo::run(demo),
        Command::Stage { .. } => up::stage::run(),
        Command::Proxy(command) => palisade_proxy::cli::main(command).map(|()| ExitCode::SUCCESS),
        Command::Control(command) => {
            palisade_control::run(palisade_control::Cli { command })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Injector(command) => {
            palisade_injector::main(command)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings the bell, and writes a title.
    const NOISE: &str = "a\u{7}\u{1b}]0;b\u{9b}c\rd";

    #[test]
    fn no_message_holds_control_characters_that_were_typed() {
        let allow = ["policy", "allow"];
        for arguments in [
            &[NOISE][..],
            &[&format!("--{NOISE}")],
            &["logs", "--since", NOISE],
            &["logs", "-o", NOISE],
            &["logs", "web", NOISE],
            &["logs", &format!("--{NOISE}=x")],
            &["policy", NOISE],
            &["policy", "import", NOISE, "x"],
            &["policy", "check", "--allow", NOISE],
            &["policy", "check", "--trust-domain", NOISE],
            &[&allow[..], &["--from", NOISE]].concat(),
            &[&allow[..], &["--reason", NOISE]].concat(),
            &[&allow[..], &["--port", NOISE]].concat(),
            &[&allow[..], &["--for", NOISE]].concat(),
        ] {
            let typed = [&["palisade"], arguments].concat();
            let error = shown(Cli::try_parse_from(typed).unwrap_err());
            let message = error.render().ansi().to_string();
            let is_control = |c: char| c.is_control() && c != '\n' && c != '\u{1b}';
            assert!(!message.contains(is_control), "{arguments:?}: {message:?}");
            assert!(!message.contains("\u{1b}]"), "{arguments:?}: {message:?}");
            assert!(message.contains("\\u{7}"), "{arguments:?}: {message:?}");
        }
    }

    #[test]
    fn a_time_without_a_unit_is_told_how_to_be_written() {
        for arguments in [
            ["readiness", "--since", "bogus"],
            ["apply", "--timeout", "5"],
        ] {
            let typed = [&["palisade", "policy"][..], &arguments].concat();
            let message = Cli::try_parse_from(typed).unwrap_err().to_string();
            assert!(
                message.contains("write a time with its unit, such as 90s, 30m or 7d"),
                "{message}"
            );
        }
    }

    #[test]
    fn help_says_what_a_pipe_gets() {
        let asked = ["palisade", "policy", "suggest", "--help"];
        let help = Cli::try_parse_from(asked).unwrap_err().to_string();
        assert!(help.contains("Text is YAML"), "{help}");
        assert!(!help.contains("else json"), "{help}");
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        let error = || Cli::try_parse_from(["palisade", "polcy"]).unwrap_err();
        let message = error().render().to_string();
        assert!(message.contains("'policy'"), "{message}");
        assert_eq!(shown(error()).render().to_string(), message);
    }
}
