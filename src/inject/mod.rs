//! `palisade inject` and `uninject`: what the webhook does, to YAML streams.

mod edit;
mod keep;
mod line;
mod render;
mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use palisade_api::{cluster, sidecar};
use palisade_injector::inject::{NamespaceFacts, Resources, Settings};
use palisade_injector::limits::Quantity;

use stream::{Note, Task};

/// `palisade inject`.
#[derive(Debug, Args)]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    files: FileArgs,
    /// The image of the sidecar [default: palisade:VERSION]
    #[arg(long, env = "PALISADE_IMAGE")]
    image: Option<String>,
    /// The trust domain that control issues for
    #[arg(
        long,
        value_name = "NAME",
        env = "PALISADE_TRUST_DOMAIN",
        default_value = "cluster.local"
    )]
    trust_domain: String,
    /// Where control serves, with commas between them, tried in turn [default: its Service in palisade-system]
    #[arg(
        long,
        env = "PALISADE_CONTROL",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    control: Vec<String>,
    /// An annotation that the pods' namespace has, such as palisade.dev/allow-opt-out=true
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    namespace_annotation: Vec<(String, String)>,
    /// What the sidecar asks for of a CPU, where the pod says nothing
    #[arg(long, value_name = "QUANTITY", default_value = "10m")]
    cpu_request: Quantity,
    /// What it asks for of memory, where the pod says nothing
    #[arg(long, value_name = "QUANTITY", default_value = "32Mi")]
    memory_request: Quantity,
}

/// `palisade uninject`.
#[derive(Debug, Args)]
pub(crate) struct UninjectArgs {
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// A file of YAML documents, or - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    file: Vec<PathBuf>,
}

/// Prints the files with the sidecar in their pods. Where one pod is refused, nothing is printed but why.
pub(crate) fn inject(args: &InjectArgs) -> anyhow::Result<ExitCode> {
    let service = || {
        let (control, namespace) = (cluster::CONTROL, cluster::SYSTEM_NAMESPACE);
        vec![format!(
            "{control}.{namespace}.svc:{}",
            sidecar::CONTROL_PORT
        )]
    };
    let image = || format!("palisade:{}", env!("CARGO_PKG_VERSION"));
    let settings = Settings {
        image: args.image.clone().unwrap_or_else(image),
        image_pull_policy: None,
        trust_domain: args.trust_domain.clone(),
        control: if args.control.is_empty() {
            service()
        } else {
            args.control.clone()
        },
        resources: Resources {
            cpu_request: args.cpu_request.clone(),
            memory_request: args.memory_request.clone(),
        },
    };
    let annotations: BTreeMap<_, _> = args.namespace_annotation.iter().cloned().collect();
    let namespace = NamespaceFacts {
        annotations,
        ..NamespaceFacts::default()
    };
    run(&args.files, Task::Inject(&settings, &namespace))
}

/// Prints the files without the sidecar.
pub(crate) fn uninject(args: &UninjectArgs) -> anyhow::Result<ExitCode> {
    run(&args.files, Task::Uninject)
}

fn run(files: &FileArgs, task: Task<'_>) -> anyhow::Result<ExitCode> {
    let mut output = String::new();
    let mut refused = Vec::new();
    for file in &files.file {
        let (name, text) = read(file)?;
        match stream::change(&text, task) {
            Ok(changed) => {
                warn(&name, &changed.notes);
                join(&mut output, &changed.text);
            }
            Err(notes) => refused.extend(notes.into_iter().map(|note| (name.clone(), note))),
        }
    }
    for (name, note) in &refused {
        anstream::eprintln!("error: {}", placed(name, note));
    }
    if !refused.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(output.as_bytes()).context("write")?;
    Ok(ExitCode::SUCCESS)
}

fn warn(name: &str, notes: &[Note]) {
    for note in notes {
        anstream::eprintln!("warning: {}", placed(name, note));
    }
}

fn placed(name: &str, Note { line, text }: &Note) -> String {
    format!("{name}:{line}: {text}")
}

fn read(file: &PathBuf) -> anyhow::Result<(String, String)> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        let mut stdin = std::io::stdin().lock();
        stdin
            .read_to_string(&mut text)
            .context("read standard input")?;
        return Ok(("<stdin>".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("read {name}"))?;
    Ok((name, text))
}

/// The documents of one file must not run into those of the next.
fn join(output: &mut String, text: &str) {
    if !output.is_empty() {
        if !output.ends_with('\n') {
            output.push('\n');
        }
        if text.starts_with('%') {
            output.push_str("...\n");
        } else if !text.starts_with("---") {
            output.push_str("---\n");
        }
    }
    output.push_str(text);
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
