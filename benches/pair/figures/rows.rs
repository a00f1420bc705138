//! The rows of the table: what is compared, and what Palisade must reach.

/// One figure of one kind of work.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// As in the results.
    pub(crate) work: &'static str,
    /// As in the results.
    pub(crate) figure: &'static str,
    /// How many digits behind the point the absolute figure is shown with.
    pub(crate) digits: usize,
    pub(crate) target: Target,
}

/// The most that Palisade may need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// So many times what Envoy needs in the same round.
    Envoy(f64),
    /// So many times what the floor needs in the same round.
    Floor(f64),
    /// The figure itself.
    Figure(f64),
    /// None: it is shown for those who ask how much that is.
    Shown,
}

impl Target {
    /// Whether figures are shown as ratios to Envoy, too.
    pub(crate) const fn is_relative(self) -> bool {
        matches!(self, Self::Envoy(_) | Self::Floor(_))
    }
}

const fn row(
    title: &'static str,
    (work, figure): (&'static str, &'static str),
    digits: usize,
    target: Target,
) -> Row {
    Row {
        title,
        work,
        figure,
        digits,
        target,
    }
}

/// Every row, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    row(
        "64 keep-alive: CPU µs/request",
        ("http64", "cpu_us"),
        1,
        Target::Envoy(0.45),
    ),
    row(
        "64 keep-alive: requests/s",
        ("http64", "per_second"),
        0,
        Target::Shown,
    ),
    row(
        "1 keep-alive: CPU µs/request",
        ("http1", "cpu_us"),
        1,
        Target::Floor(1.15),
    ),
    row(
        "1 keep-alive: p50 µs",
        ("http1", "p50_us"),
        0,
        Target::Floor(1.10),
    ),
    row(
        "16 at a time, new: CPU µs/connection",
        ("conn", "cpu_us"),
        1,
        Target::Floor(1.3),
    ),
    row(
        "16 at a time, new: connections/s",
        ("conn", "per_second"),
        0,
        Target::Shown,
    ),
    row(
        "bulk up, 1 stream: CPU s/GB",
        ("bulk1", "cpu_s_per_gb"),
        2,
        Target::Envoy(0.65),
    ),
    row(
        "bulk up, 4 streams: CPU s/GB",
        ("bulk4", "cpu_s_per_gb"),
        2,
        Target::Envoy(0.65),
    ),
    row(
        "bulk down, 1 stream: CPU s/GB",
        ("bulk1r", "cpu_s_per_gb"),
        2,
        Target::Envoy(0.65),
    ),
    row(
        "bulk up, 1 stream: Gbit/s",
        ("bulk1", "gbit_per_s"),
        1,
        Target::Shown,
    ),
    row(
        "idle: MB, client",
        ("mem", "idle_client_mb"),
        1,
        Target::Figure(8.0),
    ),
    row(
        "idle: MB, server",
        ("mem", "idle_server_mb"),
        1,
        Target::Figure(8.0),
    ),
    row(
        "1,000 held: MB, client",
        ("mem", "held_client_mb"),
        1,
        Target::Figure(14.0),
    ),
    row(
        "1,000 held: MB, server",
        ("mem", "held_server_mb"),
        1,
        Target::Figure(14.0),
    ),
    row(
        "calls/request, 64 keep-alive, client",
        ("sys-http64", "calls_client"),
        2,
        Target::Figure(4.0),
    ),
    row(
        "calls/request, 64 keep-alive, server",
        ("sys-http64", "calls_server"),
        2,
        Target::Figure(4.0),
    ),
    row(
        "calls/request, 1 keep-alive, client",
        ("sys-http1", "calls_client"),
        2,
        Target::Shown,
    ),
    row(
        "calls/request, 1 keep-alive, server",
        ("sys-http1", "calls_server"),
        2,
        Target::Shown,
    ),
    row(
        "calls/connection, 16 at a time, client",
        ("sys-conn", "calls_client"),
        1,
        Target::Figure(10.0),
    ),
    row(
        "calls/connection, 16 at a time, server",
        ("sys-conn", "calls_server"),
        1,
        Target::Figure(12.0),
    ),
    row(
        "calls/connection, 1 at a time, client",
        ("sys-conn1", "calls_client"),
        1,
        Target::Shown,
    ),
    row(
        "calls/connection, 1 at a time, server",
        ("sys-conn1", "calls_server"),
        1,
        Target::Shown,
    ),
    row(
        "calls/MB of bulk, client",
        ("sys-bulk", "calls_client"),
        1,
        Target::Figure(25.0),
    ),
    row(
        "calls/MB of bulk, server",
        ("sys-bulk", "calls_server"),
        1,
        Target::Figure(40.0),
    ),
    row(
        "8 streams stalled: p50 of others, to alone",
        ("stall", "p50_ratio"),
        2,
        Target::Figure(1.25),
    ),
    row(
        "8 streams stalled: p99 of others, to alone",
        ("stall", "p99_ratio"),
        2,
        Target::Shown,
    ),
    row(
        "8 streams stalled: MB more in one proxy",
        ("stall", "grown_mb"),
        1,
        Target::Figure(STREAM_BUDGET_MB),
    ),
    row(
        "bulk beside: p99 of small, to alone",
        ("mixed", "p99_ratio"),
        2,
        Target::Figure(3.0),
    ),
    row(
        "bulk beside: p99 of small, µs",
        ("mixed", "mixed_p99_us"),
        0,
        Target::Shown,
    ),
];

/// What `--stream-budget-bytes` of the proxy is by default.
const STREAM_BUDGET_MB: f64 = 67.108_864;
