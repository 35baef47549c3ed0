// SPDX-License-Identifier: Apache-2.0
//! Lines of log: text for people, JSON for machines, both with the id of the request they belong to.
//!
//! A request has no line of its own unless it is slow or fails: writing one costs more than answering it.
//!
//! ```text
//! 2026-11-24T14:19:00.123456Z  WARN jobbie_web::dispatch: slow request ms=1204 … request_id=5d0c…
//! {"timestamp":"2026-11-24T14:19:00.123456Z","level":"WARN","target":"jobbie_web::dispatch","message":"slow request","request_id":"5d0c…","ms":1204}
//! ```

use std::fmt::{self, Debug};
use std::io::IsTerminal;

use jobbie_actors::trace::request_id;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Libraries say when something is wrong, not what they do.
/// What `actix_http` calls an error is a malformed request, and anybody can send one a thousand times a second.
const FILTER: &str = "info,openraft=error,fjall=warn,lsm_tree=warn,actix_http=off";

/// Begins to log to stderr; `JOBBIE_LOG` changes what is logged.
pub fn to_stderr(json: bool) {
    let filter = EnvFilter::try_from_env("JOBBIE_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let colours = std::io::stderr().is_terminal();
    let lines = if json { Lines::Json } else { Lines::Text(Format::default().with_ansi(colours)) };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours && !json)
        .event_format(lines)
        .init();
}

/// How a line is written.
enum Lines {
    Text(Format<Full, SystemTime>),
    Json,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match (self, request_id()) {
            (Self::Json, id) => write_json(&mut writer, event, id.as_deref()),
            (Self::Text(format), None) => format.format_event(context, writer, event),
            (Self::Text(format), Some(id)) => {
                let mut line = String::new();
                format.format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{} request_id={id}", line.trim_end_matches('\n'))
            }
        }
    }
}

/// One object per line: time, level, target, message, the request, then the fields of the event.
fn write_json(writer: &mut Writer<'_>, event: &Event<'_>, request: Option<&str>) -> fmt::Result {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let (mut time, metadata) = (String::new(), event.metadata());
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    let mut line = Map::new();
    line.insert("timestamp".into(), time.into());
    line.insert("level".into(), metadata.level().as_str().into());
    line.insert("target".into(), metadata.target().into());
    line.extend(fields.message.map(|message| ("message".into(), message.into())));
    line.extend(request.map(|id| ("request_id".into(), id.into())));
    for (name, value) in fields.others {
        // The line's own names are kept; a field that has one of them is still there.
        let name = if line.contains_key(name) { format!("field_{name}") } else { name.to_owned() };
        line.insert(name, value);
    }
    writeln!(writer, "{}", Value::Object(line))
}

#[derive(Default)]
struct Fields {
    message: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = Some(text),
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use jobbie_actors::trace::{Current, scope};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written while a request is answered and after it.
    fn lines(format: Lines) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(format)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(scope(Current::new("r-1".into(), None), async {
                tracing::warn!(ms = 7, route = "/x", level = "odd", error = %"a \"b\"\nc", "slow");
            }));
            tracing::info!(ok = true, "after");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_line_of_json_has_its_request_and_its_fields() {
        let lines = lines(Lines::Json);
        assert_eq!(lines.len(), 2, "{lines:?}");
        let [during, after] = [0, 1].map(|at| serde_json::from_str::<Value>(&lines[at]).unwrap());
        let get = |name: &str| during[name].clone();
        assert_eq!(
            (get("level"), get("message"), get("request_id")),
            ("WARN".into(), "slow".into(), "r-1".into())
        );
        assert_eq!((get("ms"), get("route"), get("field_level")), (7.into(), "/x".into(), "odd".into()));
        assert_eq!(get("error"), "a \"b\"\nc");
        assert!(get("timestamp").as_str().is_some_and(|time| time.ends_with('Z')), "{during}");
        assert_eq!((&after["request_id"], &after["ok"]), (&Value::Null, &Value::Bool(true)));
    }

    #[test]
    fn a_line_of_text_ends_with_its_request() {
        let lines = lines(Lines::Text(Format::default().with_ansi(false)));
        assert!(lines.iter().any(|line| line.ends_with(" request_id=r-1")), "{lines:?}");
        let after = lines.last().unwrap();
        assert!(after.contains("after") && !after.contains("request_id"), "{lines:?}");
    }
}
