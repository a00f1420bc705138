//! What a decision costs, and what it takes to compile the rules: `cargo bench --workspace --bench decide`.
//!
//! A decision may cost a microsecond with 10,000 rules, and no more with 100,000 than with 1,000.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "what is asked is made here, of small numbers and good names"
)]

mod rules;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion};
use palisade_api::policy::{Destination, Policy, Source};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::{NamespaceSettings, Workload};

use rules::{Caller, NOW, PORT, Shape, asked, callers};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for shape in Shape::ALL {
        for rules in [10, 1_000, 10_000, 100_000] {
            let policy = Policy::new(shape.policies(rules));
            decide(&mut criterion, shape, rules, &policy);
            if matches!(shape, Shape::Workload) {
                decide_in_turn(&mut criterion, rules, &policy);
            }
            next_change(&mut criterion, shape, rules, &policy);
        }
        compile(&mut criterion, shape);
    }
    criterion.final_summary();
}

fn decide(criterion: &mut Criterion, shape: Shape, rules: usize, policy: &Policy) {
    let mut group = criterion.benchmark_group(format!("decide/{}", shape.name()));
    let own = asked();
    let destination = destination(&own);
    for caller in Caller::all() {
        group.bench_function(BenchmarkId::new(caller.what, rules), |bencher| {
            bencher.iter(|| policy.decide(black_box(caller.source()), &destination, PORT, NOW));
        });
    }
    group.finish();
}

/// One caller's rules stay in the processor's caches. Those of many callers do not, where rules are many.
fn decide_in_turn(criterion: &mut Criterion, rules: usize, policy: &Policy) {
    let own = asked();
    let destination = destination(&own);
    let callers: Vec<SpiffeId> = callers(rules).collect();
    let mut turns = callers.iter().cycle();
    let name = "decide/workload/allowed, all callers in turn";
    criterion.bench_function(&format!("{name}/{rules}"), |bencher| {
        bencher.iter(|| {
            let source = Source::Authenticated(turns.next().unwrap());
            policy.decide(black_box(source), &destination, PORT, NOW)
        });
    });
}

/// What a live connection asks when it looks at the clock.
fn next_change(criterion: &mut Criterion, shape: Shape, rules: usize, policy: &Policy) {
    let mut group = criterion.benchmark_group(format!("next_change/{}", shape.name()));
    group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
        bencher.iter(|| policy.next_change(black_box(NOW)));
    });
    group.finish();
}

fn compile(criterion: &mut Criterion, shape: Shape) {
    let mut group = criterion.benchmark_group(format!("compile/{}", shape.name()));
    group.sample_size(10);
    for rules in [1_000, 100_000] {
        let policies = shape.policies(rules);
        group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
            bencher.iter_batched(|| policies.clone(), Policy::new, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn destination(own: &Workload) -> Destination<'_> {
    Destination {
        namespace: &own.namespace,
        service_account: &own.service_account,
        labels: &own.labels,
        trust_domain: own.identity.trust_domain(),
        settings: NamespaceSettings::default(),
    }
}
