//! The table: a line for each row, a column for each peer, and what of the targets is met.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::results::{Measure, Results, median};
use super::rows::{ROWS, Row, Target};

/// All of it, as Markdown.
pub(crate) fn table(runs: &[Results]) -> String {
    let samples = Samples::of(runs);
    let peers = columns(runs);
    let mut text = settings(runs);
    let names = peers.iter().map(|peer| format!(" {peer} |"));
    let _ = writeln!(text, "| |{} target | met |", names.collect::<String>());
    let _ = writeln!(text, "|---|{}", "---|".repeat(peers.len() + 2));
    for row in ROWS {
        if peers.iter().any(|peer| samples.middle(peer, row).is_some()) {
            text += &line(&samples, &peers, row);
        }
    }
    text + &disturbance(runs) + &failures(runs)
}

/// The figures of each peer, work and name, by where they were taken.
struct Samples<'a>(BTreeMap<(&'a str, &'a str, &'a str), BTreeMap<Place, f64>>);

/// Which run, and which of its rounds.
type Place = (usize, u32);

impl<'a> Samples<'a> {
    fn of(runs: &'a [Results]) -> Self {
        let mut samples = Self(BTreeMap::new());
        for (run, results) in runs.iter().enumerate() {
            for measure in &results.measures {
                for (name, &figure) in &measure.figures {
                    let key = (measure.peer.as_str(), measure.work.as_str(), name.as_str());
                    let places = samples.0.entry(key).or_default();
                    places.insert((run, measure.round), figure);
                }
            }
        }
        samples.add_physical_floor();
        samples
    }

    /// What bulk costs at least: a plain relay on each side, and a cipher between them.
    fn add_physical_floor(&mut self) {
        let Some(cipher) = self.0.get(&(CIPHER, CIPHER_WORK, "both_s_per_gb")).cloned() else {
            return;
        };
        for work in ["bulk1", "bulk4", "bulk1r"] {
            let Some(plain) = self.0.get(&(PLAIN, work, "cpu_s_per_gb")) else {
                continue;
            };
            let sum = |(place, plain): (&Place, &f64)| Some((*place, plain + cipher.get(place)?));
            let sums = plain.iter().filter_map(sum).collect();
            self.0
                .insert((PLAIN_AND_CIPHER, work, "cpu_s_per_gb"), sums);
        }
    }

    fn places<'b>(&'b self, peer: &'b str, row: &Row) -> Option<&'b BTreeMap<Place, f64>> {
        self.0.get(&(peer, row.work, row.figure))
    }

    fn middle(&self, peer: &str, row: &Row) -> Option<f64> {
        median(self.places(peer, row)?.values().copied().collect())
    }

    /// The median of the ratios within each round: what disturbs a round disturbs both.
    fn ratio(&self, peer: &str, to: &str, row: &Row) -> Option<f64> {
        let base = self.places(to, row)?;
        let ratio = |(place, figure): (&Place, &f64)| Some(figure / base.get(place)?);
        median(self.places(peer, row)?.iter().filter_map(ratio).collect())
    }
}

/// The peers that have figures: Palisade's own last.
fn columns(runs: &[Results]) -> Vec<&str> {
    let measures = || runs.iter().flat_map(|run| &run.measures);
    let mut peers: Vec<&str> = Vec::new();
    for measure in measures().filter(|measure| measure.peer != CIPHER) {
        if !peers.contains(&measure.peer.as_str()) {
            peers.push(&measure.peer);
        }
    }
    let has_cipher = measures().any(|measure| measure.peer == CIPHER);
    if let (true, Some(plain)) = (has_cipher, peers.iter().position(|peer| *peer == PLAIN)) {
        peers.insert(plain + 1, PLAIN_AND_CIPHER);
    }
    peers.sort_by_key(|peer| is_ours(peer));
    peers
}

/// Whether this is a build of Palisade.
fn is_ours(peer: &str) -> bool {
    peer.starts_with(PALISADE)
}

fn line(samples: &Samples<'_>, peers: &[&str], row: &Row) -> String {
    let cells = peers
        .iter()
        .map(|peer| format!(" {} |", cell(samples, peer, row)));
    let target = match row.target {
        Target::Envoy(most) => format!("{most:.2} × Envoy"),
        Target::Floor(most) => format!("{most:.2} × floor"),
        Target::Figure(most) => format!("{most:.*}", row.digits.min(2)),
        Target::Shown => String::new(),
    };
    let ours = peers.iter().filter(|peer| is_ours(peer));
    let met: Vec<String> = ours.filter_map(|peer| judge(samples, peer, row)).collect();
    format!(
        "| {} |{} {target} | {} |\n",
        row.title,
        cells.collect::<String>(),
        met.join(", ")
    )
}

/// The ratio to Envoy in the same rounds, and the figure itself.
fn cell(samples: &Samples<'_>, peer: &str, row: &Row) -> String {
    let Some(figure) = samples.middle(peer, row) else {
        return "-".to_owned();
    };
    let figure = format!("{figure:.*}", row.digits);
    match samples.ratio(peer, ENVOY, row) {
        Some(ratio) if row.target.is_relative() => format!("{ratio:.2} ({figure})"),
        _ => figure,
    }
}

/// Whether the target is met, and by how much where it is one of the floor's. None where there is nothing to judge.
fn judge(samples: &Samples<'_>, peer: &str, row: &Row) -> Option<String> {
    let said = |figure: f64, most: f64| if figure <= most { "yes" } else { "no" };
    let figure = match row.target {
        Target::Shown => return None,
        Target::Envoy(most) => samples
            .ratio(peer, ENVOY, row)
            .map(|ratio| said(ratio, most).to_owned()),
        Target::Floor(most) => samples
            .ratio(peer, FLOOR, row)
            .map(|ratio| format!("{}: {ratio:.2}", said(ratio, most))),
        Target::Figure(most) => samples
            .middle(peer, row)
            .map(|figure| said(figure, most).to_owned()),
    };
    Some(figure.unwrap_or_else(|| "?".to_owned()))
}

fn settings(runs: &[Results]) -> String {
    let mut text = String::new();
    for setting in runs.iter().map(|run| &run.setting) {
        let _ = writeln!(
            text,
            "{}, {}, rounds: {}, seconds: {}",
            setting.date, setting.machine, setting.rounds, setting.seconds
        );
        for (peer, version) in &setting.peers {
            let _ = writeln!(text, "- {peer}: {version}");
        }
    }
    text.push('\n');
    text
}

/// How much else ran on the machine meanwhile: where it is much, the figures are not to be trusted.
fn disturbance(runs: &[Results]) -> String {
    let measures = || runs.iter().flat_map(|run| &run.measures);
    let all = |name: &str| -> Vec<f64> {
        let figure = |measure: &Measure| measure.figures.get(name).copied();
        measures().filter_map(figure).collect()
    };
    let said = |name: &str| {
        let figures = all(name);
        let most = figures.iter().copied().max_by(f64::total_cmp)?;
        Some((median(figures)?, most))
    };
    match (said("foreign_cores"), said("steal_cores")) {
        (Some((foreign, most_foreign)), Some((steal, most_steal))) => format!(
            "\nOther programs used {foreign:.2} cores (at most {most_foreign:.2}), \
             other machines on the host {steal:.2} (at most {most_steal:.2}).\n"
        ),
        _ => String::new(),
    }
}

fn failures(runs: &[Results]) -> String {
    let mut text = String::new();
    for measure in runs.iter().flat_map(|run| &run.measures) {
        if let Some(failure) = &measure.failure {
            let Measure {
                round, peer, work, ..
            } = measure;
            let _ = writeln!(
                text,
                "\nFAILED round {}, {peer}, {work}: {failure}",
                round + 1
            );
        }
    }
    text
}

/// The column that ratios are to.
pub(crate) const ENVOY: &str = "envoy";
/// The relay pair that multiplexes and does nothing else.
pub(crate) const FLOOR: &str = "floor";
/// The relay pair that only copies.
pub(crate) const PLAIN: &str = "plain";
/// What the names of our own builds begin with.
pub(crate) const PALISADE: &str = "palisade";
/// The pseudo-peer whose figures are the cipher's.
pub(crate) const CIPHER: &str = "aes-128-gcm";
/// Its only work.
pub(crate) const CIPHER_WORK: &str = "aes";
const PLAIN_AND_CIPHER: &str = "plain + AES-GCM";
