//! What `palisade policy` takes for a large mesh: seconds, CPU time and memory of each command, as a user runs it.
//!
//! Every answer is held to what is known of the rules and records that are made here, so that none is fast by doing less.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the table is for stdout, and how far it is for stderr"
)]

mod mesh;
mod program;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use mesh::Mesh;
use program::{Cost, run};

/// Measures `palisade policy` on rules and records that it makes.
#[derive(Debug, Parser)]
#[command(name = "policy")]
struct Args {
    /// How many rules there are, five for each workload
    #[arg(long, default_value = "20000", value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    rules: u32,
    /// How many records, two for each connection
    #[arg(long, default_value = "1000000", value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    records: u32,
    /// How often every command is run: the least of each figure is told
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    let mesh = Mesh::write(args.rules, args.records)?;
    eprintln!(
        "{} rules for {} workloads, {} records in {} MB",
        args.rules,
        mesh.workloads,
        args.records,
        mesh.record_bytes / 1_000_000
    );
    println!("| command | seconds | CPU seconds | MB |");
    println!("|---|---|---|---|");
    for command in Command::ALL {
        let mut least: Option<Cost> = None;
        for _ in 0..args.rounds {
            let cost = command.run(&mesh)?;
            least = Some(least.map_or(cost, |least| least.least(cost)));
        }
        if let Some(Cost {
            seconds,
            cpu,
            megabytes,
        }) = least
        {
            println!(
                "| `{}` | {seconds:.1} | {cpu:.1} | {megabytes} |",
                command.name()
            );
        }
    }
    Ok(())
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Command {
    Check,
    Explain,
    Diff,
    Simulate,
    Suggest,
}

impl Command {
    const ALL: [Self; 5] = [
        Self::Check,
        Self::Explain,
        Self::Diff,
        Self::Simulate,
        Self::Suggest,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Check => "check RULES",
            Self::Explain => "explain -f RULES",
            Self::Diff => "diff RULES EDITED",
            Self::Simulate => "simulate --records RECORDS EDITED",
            Self::Suggest => "suggest --records RECORDS -f EDITED",
        }
    }

    /// Runs it, and holds its answer to what it has to be.
    fn run(self, mesh: &Mesh) -> Result<Cost> {
        let [rules, edited, records] =
            [&mesh.rules, &mesh.edited, &mesh.records].map(|path| path.to_string_lossy());
        let (rules, edited, records) = (&*rules, &*edited, &*records);
        let call = [
            "--from",
            "ns-0/caller-0-0",
            "--to",
            "ns-0/work-0",
            "--port",
            "8080",
        ];
        let arguments = match self {
            Self::Check => vec!["check", rules],
            Self::Explain => [&["explain", "-f", rules][..], &call].concat(),
            Self::Diff => vec!["diff", rules, edited, "--most", "1000000000"],
            Self::Simulate => vec!["simulate", edited, "--records", records],
            Self::Suggest => vec!["suggest", "-f", edited, "--records", records],
        };
        let (cost, code, said) = run(&arguments)?;
        // Where a caller lost its rule, that is one line, one flip, and one rule to suggest.
        let (expected, told) = match self {
            Self::Check => (
                0,
                said.lines()
                    .filter(|line| line.contains("\"severity\":\"error\""))
                    .count(),
            ),
            Self::Explain => (0, usize::from(said.contains("\"decision\":\"deny\""))),
            Self::Diff => (1, said.lines().count()),
            Self::Simulate => (1, said.matches("\"kind\":\"flip\"").count()),
            Self::Suggest => (0, said.matches("\"rule\":\"from-caller").count()),
        };
        let wanted = match self {
            Self::Check | Self::Explain => 0,
            Self::Diff => mesh.edits,
            Self::Simulate | Self::Suggest => mesh.edits_seen,
        };
        ensure!(
            code == Some(expected) && told == wanted,
            "`{}` ended with {code:?} and told of {told}, where {wanted} are to be told of: {}",
            self.name(),
            said.chars().take(500).collect::<String>()
        );
        Ok(cost)
    }
}
