//! What becomes of a span between its start and the queue.

use std::fmt::{self, Write as _};
use std::sync::mpsc::SyncSender;
use std::time::SystemTime;

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Turns spans into those of a trace and queues each when it is done.
#[derive(Debug)]
pub(in crate::up) struct Traces {
    queue: SyncSender<Value>,
}

/// A span on its way, kept with it by the registry.
#[derive(Debug)]
struct Open {
    trace: String,
    span: String,
    parent: Option<String>,
    started: u128,
    fields: Fields,
    is_done: bool,
}

#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl Traces {
    pub(super) fn new(queue: SyncSender<Value>) -> Self {
        Self { queue }
    }

    /// Queues a span once, however often its end is told.
    fn finish<S: for<'a> LookupSpan<'a>>(&self, span: &SpanRef<'_, S>) {
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<Open>().filter(|open| !open.is_done) else { return };
        open.is_done = true;
        // A full queue means that the collector is slow: better a gap than a wait.
        let _ = self.queue.try_send(open.as_json(span.name()));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let parent = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Open>().map(|open| (open.trace.clone(), open.span.clone()))
        });
        let (trace, parent) = match parent {
            Some((trace, parent)) => (trace, Some(parent)),
            None => (random::<16>(), None),
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let open = Open { trace, span: random::<8>(), parent, started: now(), fields, is_done: false };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.event_span(event) {
            self.finish(&span);
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(&id) {
            self.finish(&span);
        }
    }
}

impl Open {
    /// As OTLP's JSON form has it. A field `step` names the span better than
    /// the place in the program does.
    fn as_json(&self, name: &str) -> Value {
        let named = self.fields.0.iter().find(|(key, _)| *key == "step");
        let name = named.map_or(name, |(_, step)| step.as_str());
        let attribute =
            |(key, value): &(&str, String)| json!({ "key": key, "value": { "stringValue": value } });
        let attributes: Vec<Value> =
            self.fields.0.iter().filter(|(key, _)| *key != "step").map(attribute).collect();
        json!({
            "traceId": self.trace,
            "spanId": self.span,
            "parentSpanId": self.parent.as_deref().unwrap_or_default(),
            "name": name,
            "kind": if self.parent.is_none() { 2 } else { 1 },
            "startTimeUnixNano": self.started.to_string(),
            "endTimeUnixNano": now().to_string(),
            "attributes": attributes,
        })
    }
}

/// Bytes from the kernel's random source, in hexadecimal.
fn random<const N: usize>() -> String {
    let mut bytes = [0_u8; N];
    // Without them the ids are zero, which collectors refuse; nothing else suffers.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}
