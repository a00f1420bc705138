//! Logs on stderr: one JSON object a line, or text for a terminal.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::{IsTerminal, stderr};

use palisade_api::log;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

/// Starts logging for the whole process, unless whoever embeds us has started it already.
pub(crate) fn start() {
    let asked = env::var_os(log::VARIABLE).unwrap_or_default();
    let filter = log::filter(&asked.to_string_lossy());
    let misread = filter.as_ref().err().cloned();
    let lines = layer().with_writer(stderr);
    let lines = if stderr().is_terminal() {
        lines.boxed()
    } else {
        lines.event_format(JsonLine).boxed()
    };
    let logger = registry()
        .with(lines)
        .with(filter.unwrap_or_else(|_misread| log::ordinary()));
    // An error says only that somebody else has started it.
    logger.try_init().ok();
    if let Some(misread) = misread {
        tracing::warn!("{misread}");
    }
}

struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        let now = OffsetDateTime::now_utc().format(&Rfc3339);
        fields.put("time", now.unwrap_or_default().into());
        fields.put("level", event.metadata().level().as_str().into());
        event.record(&mut fields);
        let line = serde_json::to_string(&fields.0).map_err(|_error| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// Fields of one event, by name.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    fn put(&mut self, name: &'static str, value: Value) {
        self.0.insert(name, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }
}
