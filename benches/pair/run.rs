//! The rounds: in each, every peer does every kind of work.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::Args;
use crate::figures::results::{Figures, Measure, Results, Setting};
use crate::figures::samples::{CIPHER, CIPHER_WORK};
use crate::needs;
use crate::peers::{self, Pair, Peer};
use crate::proof::prove;
use crate::work::{Work, cipher};

/// Measures all that was asked for. Dropped, it removes all that it made.
///
/// # Errors
///
/// Something that all need is missing. What fails with one peer is in the results.
pub(crate) async fn run(args: &Args) -> Result<Results> {
    let work = work(args);
    needs::check(&work)?;
    let folder = tempfile::Builder::new()
        .prefix("palisade-pair-")
        .tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let peers = peers::find(args, folder.path())?;
    ensure!(!peers.is_empty(), "there is no peer to measure");
    for asked in &args.work {
        let is_done = peers.iter().any(|peer| peer.kind.does(*asked));
        let names = || peers.iter().map(|peer| peer.name.as_str());
        ensure!(
            is_done,
            "{}: this is no work for {}; name another of --peers, too",
            asked.name(),
            names().collect::<Vec<_>>().join(", ")
        );
    }
    let mut results = Results {
        setting: setting(args, &peers)?,
        measures: Vec::new(),
    };
    save(args, &results)?;
    for round in 0..args.rounds {
        if work.iter().any(|work| work.takes_cpu()) {
            add(
                &mut results,
                (round, CIPHER, CIPHER_WORK),
                cipher::measure(),
            );
        }
        for peer in &peers {
            measure(&mut results, (args, &work, round), peer, folder.path()).await;
            save(args, &results)?;
        }
    }
    Ok(results)
}

/// Keeps what there is so far, where that was asked for.
fn save(args: &Args, results: &Results) -> Result<()> {
    if let Some(out) = &args.out {
        let json = serde_json::to_string_pretty(results)?;
        fs::write(out, json).with_context(|| out.display().to_string())?;
    }
    Ok(())
}

/// Every kind that was asked for, once, memory first.
fn work(args: &Args) -> Vec<Work> {
    let all = Work::value_variants().iter().copied();
    all.filter(|work| args.work.is_empty() || args.work.contains(work))
        .collect()
}

/// One peer's turn in a round: a new pair, proved, then worked.
async fn measure(
    results: &mut Results,
    (args, work, round): (&Args, &[Work], u32),
    peer: &Peer,
    folder: &Path,
) {
    let pair = match start(peer, folder).await {
        Ok(pair) => pair,
        Err(error) => return add(results, (round, &peer.name, "start"), Err(error)),
    };
    for &work in work.iter().filter(|work| peer.kind.does(**work)) {
        let figures = work.measure(&pair, args.seconds).await;
        let figures = figures.map_err(|error| anyhow!("{error:#}{}", pair.last_words()));
        add(results, (round, &peer.name, &work.name()), figures);
    }
}

async fn start(peer: &Peer, folder: &Path) -> Result<Pair> {
    let mut pair = Pair::start(peer, folder).await?;
    match prove(&mut pair, peer.kind).await {
        Ok(()) => Ok(pair),
        Err(error) => bail!("{error:#}{}", pair.last_words()),
    }
}

/// Adds what was found, and says it on stderr.
fn add(results: &mut Results, (round, peer, work): (u32, &str, &str), figures: Result<Figures>) {
    let (figures, failure) = match figures {
        Ok(figures) => (figures, None),
        Err(error) => (Figures::new(), Some(format!("{error:#}"))),
    };
    let said = match &failure {
        Some(failure) => format!("FAILED: {failure}"),
        None => {
            let figures = figures.iter().filter(|(name, _)| !name.contains(' '));
            let figures = figures.map(|(name, figure)| format!("{name} {figure:.2}"));
            figures.collect::<Vec<_>>().join(", ")
        }
    };
    eprintln!("round {}, {peer}, {work}: {said}", round + 1);
    results.measures.push(Measure {
        round,
        peer: peer.to_owned(),
        work: work.to_owned(),
        figures,
        failure,
    });
}

fn setting(args: &Args, peers: &[Peer]) -> Result<Setting> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
    let version = |peer: &Peer| Some((peer.name.clone(), peers::version(peer)?));
    Ok(Setting {
        date: now.format(&Rfc3339)?,
        machine: machine()?,
        rounds: args.rounds,
        seconds: args.seconds,
        peers: peers.iter().filter_map(version).collect::<BTreeMap<_, _>>(),
    })
}

/// Cores, their kind and the kernel.
fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| {
        model.trim_start_matches([':', '\t', ' '])
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} × {model}, Linux {}", kernel.trim()))
}
