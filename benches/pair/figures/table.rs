//! The table: a line for each row, a column for each peer, and what of the targets is met.

use super::results::{BLOCKED, Measure, Results, median};
use super::rows::{ROWS, Row, Target};
use super::samples::{CIPHER, ENVOY, FLOOR, PALISADE, PLAIN, PLAIN_AND_CIPHER, Samples};

/// All of it, as Markdown.
pub(crate) fn table(runs: &[Results]) -> String {
    let samples = Samples::of(runs);
    let peers = columns(runs);
    let mut text = settings(runs);
    let names = peers.iter().map(|peer| format!(" {peer} |"));
    text += &format!("| |{} target | met |\n", names.collect::<String>());
    text += &format!("|---|{}\n", "---|".repeat(peers.len() + 2));
    for row in ROWS {
        if peers.iter().any(|peer| samples.middle(peer, row).is_some()) {
            text += &line(&samples, &peers, row);
        }
    }
    text + &disturbance(runs) + &failures(runs)
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
    if figure >= BLOCKED {
        return "blocked".to_owned();
    }
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
        text += &format!(
            "{}, {}, rounds: {}, seconds: {}
",
            setting.date, setting.machine, setting.rounds, setting.seconds
        );
        for (peer, version) in &setting.peers {
            text += &format!("- {peer}: {version}\n");
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
            text += &format!(
                "
FAILED round {}, {peer}, {work}: {failure}
",
                round + 1
            );
        }
    }
    text
}
