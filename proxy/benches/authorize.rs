//! What leave to connect costs a connection: `cargo bench --workspace --bench authorize`.
//!
//! The rules, and who asks, are those of the benchmark of `decide`, in the shape in which a sidecar has them. What comes
//! on top of the decision is the permit or the refusal that is made of it, and their end.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "what is asked is made here, of small numbers and good names"
)]

#[expect(dead_code, reason = "the benchmark of `decide` asks more")]
#[path = "../../control/api/benches/decide/rules.rs"]
mod rules;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use palisade_api::policy::Policy;
use palisade_api::workload::NamespaceSettings;
use palisade_proxy::authorize::{PolicyState, Rules, authorize};

use rules::{Caller, NOW, PORT, Shape, asked};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("authorize");
    for rules in [10, 1_000, 10_000, 100_000] {
        let state = state(rules);
        let dst = SocketAddr::from(([10, 244, 3, 17], PORT));
        for caller in Caller::all() {
            group.bench_function(BenchmarkId::new(caller.what, rules), |bencher| {
                bencher.iter(|| authorize(&state, black_box(caller.source()), dst, NOW));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}

fn state(rules: usize) -> PolicyState {
    PolicyState::Current(Arc::new(Rules {
        revision: 7,
        own: asked(),
        settings: NamespaceSettings::default(),
        policy: Policy::new(Shape::Workload.policies(rules)),
        names: Vec::new(),
        closed_by: None,
    }))
}
