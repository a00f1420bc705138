//! The table of workloads.

use std::net::IpAddr;

use anstyle::Style;

use super::{DIM, ERROR, GOOD, WAITING};
use crate::kubernetes::ps::Row;
use crate::up::event::{PodStatus, State};

/// The line above the table.
pub(crate) fn heading(event: &str, mesh: &str, pods: usize) -> String {
    match event {
        "up" => format!("mesh {mesh} is up: {pods} pods (Ctrl-C ends it)"),
        _ => format!("mesh {mesh} is still starting:"),
    }
}

const HEADER: [&str; 5] = ["WORKLOAD", "SPIFFE ID", "ADDRESSES", "RESTARTS", "STATE"];
const CLUSTER_HEADER: [&str; 6] = [
    "WORKLOAD",
    "SPIFFE ID",
    "ADDRESSES",
    "NODE",
    "RESTARTS",
    "STATE",
];

/// One line for each workload of the local mesh.
pub(crate) fn of_workloads(statuses: &[PodStatus]) -> String {
    let rows = statuses.iter().map(|status| {
        let restarts = status.restarts;
        let total = restarts.pod + restarts.proxy + restarts.app;
        let cells = [
            status.workload.clone(),
            identity(status.meshed.then_some(&status.spiffe_id)),
            addresses(&status.addresses),
            total.to_string(),
            state(&status.state),
        ];
        (cells, style(&status.state))
    });
    lines(HEADER, rows.collect())
}

/// One line for each pod of a cluster.
pub(crate) fn of_pods(pods: &[Row]) -> String {
    let rows = pods.iter().map(|pod| {
        let cells = [
            pod.workload.clone(),
            identity(pod.spiffe_id.as_ref()),
            addresses(&pod.addresses),
            pod.node.clone(),
            (pod.restarts.proxy + pod.restarts.app).to_string(),
            state(&pod.state),
        ];
        (cells, style(&pod.state))
    });
    lines(CLUSTER_HEADER, rows.collect())
}

/// Aligned columns below their names.
fn lines<const N: usize>(header: [&str; N], rows: Vec<([String; N], Style)>) -> String {
    let header = (header.map(str::to_owned), DIM);
    let mut widths = [0; N];
    for (cells, _) in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (cells, style) in [header].iter().chain(&rows) {
        text.push_str(&line(cells, &widths, *style));
    }
    text
}

/// Only the last cell, the state, has a colour; the header has it in all.
fn line(cells: &[String], widths: &[usize], style: Style) -> String {
    let mut text = String::new();
    let Some((state, first)) = cells.split_last() else {
        return text;
    };
    for (cell, width) in first.iter().zip(widths) {
        text.push_str(&format!("{cell:<width$}  "));
    }
    format!("{text}{}{state}{}\n", style.render(), style.render_reset())
}

fn identity(identity: Option<&String>) -> String {
    identity.map_or_else(|| "(not meshed)".to_owned(), Clone::clone)
}

fn addresses(addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}

fn state(state: &State) -> String {
    match state.reason() {
        Some(reason) => format!("{}: {reason}", state.word()),
        None => state.word().to_owned(),
    }
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
