//! The table says what was measured, and judges by it.

use std::collections::BTreeMap;

use super::figures::results::{BLOCKED, Measure, Results, Setting, median, named};
use super::figures::samples::{CIPHER, CIPHER_WORK, ENVOY};
use super::figures::table::table;

fn measure(round: u32, peer: &str, work: &str, figure: (&str, f64)) -> Measure {
    Measure {
        round,
        peer: peer.to_owned(),
        work: work.to_owned(),
        figures: named([figure]),
        failure: None,
    }
}

fn run(measures: Vec<Measure>) -> Results {
    let setting = Setting {
        date: "2026-11-21T00:00:00Z".to_owned(),
        machine: "2 cores".to_owned(),
        rounds: 3,
        seconds: 3,
        peers: BTreeMap::from([(ENVOY.to_owned(), "1.40".to_owned())]),
    };
    Results { setting, measures }
}

/// The line of the table that begins with these words.
fn line_of(runs: &[Results], words: &str) -> String {
    let text = table(runs);
    let line = text.lines().find(|line| line.starts_with(words));
    line.unwrap_or_else(|| panic!("no {words} in {text}"))
        .to_owned()
}

#[test]
fn a_disturbed_round_does_not_move_a_ratio() {
    // The machine is slow in the second round, for both.
    let figures = [(0, 100.0, 40.0), (1, 1000.0, 400.0), (2, 100.0, 44.0)];
    let measures = figures.into_iter().flat_map(|(round, envoy, palisade)| {
        let http64 = |peer, figure| measure(round, peer, "http64", ("cpu_us", figure));
        [http64("palisade", palisade), http64("envoy", envoy)]
    });
    assert_eq!(
        line_of(&[run(measures.collect())], "| 64 keep-alive: CPU"),
        "| 64 keep-alive: CPU µs/request | 1.00 (100.0) | 0.40 (44.0) | 0.45 × Envoy | yes |"
    );
}

#[test]
fn the_floor_is_a_measure_of_its_own() {
    let conn = |peer, figure| measure(0, peer, "conn", ("cpu_us", figure));
    let runs = [run(vec![
        conn("envoy", 1000.0),
        conn("floor", 100.0),
        conn("palisade", 120.0),
        conn("palisade-2", 150.0),
    ])];
    assert_eq!(
        line_of(&runs, "| 16 at a time, new: CPU"),
        "| 16 at a time, new: CPU µs/connection | 1.00 (1000.0) | 0.10 (100.0) | 0.12 (120.0) \
         | 0.15 (150.0) | 1.30 × floor | yes: 1.20, no: 1.50 |"
    );
}

#[test]
fn without_envoy_nothing_is_judged_by_it() {
    let runs = [run(vec![measure(0, "palisade", "http64", ("cpu_us", 9.0))])];
    assert_eq!(
        line_of(&runs, "| 64 keep-alive: CPU"),
        "| 64 keep-alive: CPU µs/request | 9.0 | 0.45 × Envoy | ? |"
    );
}

#[test]
fn bulk_has_a_physical_floor() {
    let bulk = |peer, figure| measure(0, peer, "bulk1", ("cpu_s_per_gb", figure));
    let runs = [run(vec![
        measure(0, CIPHER, CIPHER_WORK, ("both_s_per_gb", 0.5)),
        bulk("envoy", 2.0),
        bulk("plain", 0.5),
        bulk("palisade", 1.2),
    ])];
    assert_eq!(
        line_of(&runs, "| bulk up, 1"),
        "| bulk up, 1 stream: CPU s/GB | 1.00 (2.00) | 0.25 (0.50) | 0.50 (1.00) | 0.60 (1.20) \
         | 0.65 × Envoy | yes |"
    );
}

#[test]
fn small_requests_have_a_physical_floor_too() {
    let cipher = || measure(0, CIPHER, CIPHER_WORK, ("both_us_per_exchange", 3.0));
    let plain = |work| measure(0, "plain", work, ("cpu_us", 20.0));
    for (work, words) in [
        ("http64", "| 64 keep-alive: CPU"),
        ("http1", "| 1 keep-alive: CPU"),
        ("conn", "| 16 at a time, new: CPU"),
    ] {
        let runs = [run(vec![cipher(), plain(work)])];
        let line = line_of(&runs, words);
        assert!(line.contains("| 20.0 | 23.0 |"), "{line}");
    }
}

#[test]
fn system_calls_and_memory_are_absolute() {
    let held = |peer, figure| measure(0, peer, "mem", ("held_client_mb", figure));
    let runs = [run(vec![held("envoy", 88.0), held("palisade", 14.1)])];
    assert_eq!(
        line_of(&runs, "| 1,000 held: MB, client"),
        "| 1,000 held: MB, client | 88.0 | 14.1 | 14.0 | no |"
    );
}

#[test]
fn what_is_never_answered_is_blocked() {
    let stall = |round, figure| measure(round, "palisade", "stall", ("p50_ratio", figure));
    let runs = [run(vec![
        stall(0, 1.0),
        stall(1, BLOCKED),
        stall(2, BLOCKED),
    ])];
    assert_eq!(
        line_of(&runs, "| 8 streams stalled: p50"),
        "| 8 streams stalled: p50 of others, to alone | blocked | 1.25 | no |"
    );
}

#[test]
fn failures_and_other_load_are_said() {
    let mut failed = measure(1, "envoy", "conn", ("foreign_cores", 0.5));
    failed.figures.insert("steal_cores".to_owned(), 0.25);
    failed.failure = Some("wrk: no report".to_owned());
    let text = table(&[run(vec![failed])]);
    assert!(
        text.contains("\nFAILED round 2, envoy, conn: wrk: no report\n"),
        "{text}"
    );
    assert!(text.contains("used 0.50 cores (at most 0.50)"), "{text}");
    assert!(text.contains("host 0.25 (at most 0.25)"), "{text}");
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![3.0]), Some(3.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
}
