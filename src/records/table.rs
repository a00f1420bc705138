//! The table of workloads.

use anstyle::Style;

use super::{DIM, ERROR, GOOD, WAITING};
use crate::up::event::{PodStatus, State};

/// The line above the table.
pub(crate) fn heading(event: &str, mesh: &str, pods: usize) -> String {
    match event {
        "up" => format!("mesh {mesh} is up: {pods} pods (Ctrl-C ends it)"),
        _ => format!("mesh {mesh} is still starting:"),
    }
}

const HEADER: [&str; 5] = ["WORKLOAD", "SPIFFE ID", "ADDRESSES", "RESTARTS", "STATE"];

/// One line for each workload.
pub(crate) fn of_workloads(statuses: &[PodStatus]) -> String {
    let rows: Vec<[String; 5]> = statuses.iter().map(row).collect();
    let header = HEADER.map(str::to_owned);
    let mut widths = [0; 5];
    for cells in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&header, &widths, DIM);
    for (status, cells) in statuses.iter().zip(&rows) {
        text.push_str(&line(cells, &widths, style(&status.state)));
    }
    text
}

fn row(status: &PodStatus) -> [String; 5] {
    let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
    let restarts = status.restarts;
    let state = match status.state.reason() {
        Some(reason) => format!("{}: {reason}", status.state.word()),
        None => status.state.word().to_owned(),
    };
    let identity = if status.meshed {
        status.spiffe_id.clone()
    } else {
        "(not meshed)".to_owned()
    };
    let total = restarts.pod + restarts.proxy + restarts.app;
    [
        status.workload.clone(),
        identity,
        addresses.join(" "),
        total.to_string(),
        state,
    ]
}

/// Only the last cell, the state, has a colour; the header has it in all.
fn line(cells: &[String; 5], widths: &[usize; 5], style: Style) -> String {
    let mut text = String::new();
    let [first @ .., state] = cells;
    for (cell, width) in first.iter().zip(widths) {
        text.push_str(&format!("{cell:<width$}  "));
    }
    format!("{text}{}{state}{}\n", style.render(), style.render_reset())
}

fn style(state: &State) -> Style {
    match state {
        State::Ready => GOOD,
        State::Starting | State::Ended(_) => WAITING,
        State::NotReady(_) | State::Restarting(_) => ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::event::{Pids, Restarts};

    #[test]
    fn columns_are_aligned_and_reasons_are_shown() {
        let status = |name: &str, state| PodStatus {
            workload: format!("shop/{name}"),
            namespace: "shop".into(),
            name: name.into(),
            spiffe_id: format!("spiffe://cluster.local/ns/shop/sa/{name}"),
            addresses: vec!["10.111.0.2".parse().unwrap(), "fd70::2".parse().unwrap()],
            meshed: true,
            state,
            restarts: Restarts::default(),
            pids: Pids::default(),
        };
        let statuses = [
            status("web-0", State::Ready),
            status("orders-0", State::NotReady("no SVID".into())),
        ];
        let table = anstream::adapter::strip_str(&of_workloads(&statuses)).to_string();
        let expected = "\
WORKLOAD       SPIFFE ID                                  ADDRESSES           RESTARTS  STATE
shop/web-0     spiffe://cluster.local/ns/shop/sa/web-0     10.111.0.2 fd70::2  0         ready
shop/orders-0  spiffe://cluster.local/ns/shop/sa/orders-0  10.111.0.2 fd70::2  0         not ready: no SVID
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&table), squeeze(expected));
        let states: Vec<_> = table
            .lines()
            .map(|l| {
                l.find("  ready")
                    .or_else(|| l.find("  not"))
                    .or_else(|| l.find("  STATE"))
            })
            .collect();
        assert!(states.iter().all(|at| *at == states[0]), "{table}");
    }
}
