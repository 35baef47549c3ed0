// SPDX-License-Identifier: Apache-2.0
//! Spans as OTLP writes them: `opentelemetry/proto/trace/v1/trace.proto`.

use jobbie_actors::trace::{Span, SpanValue, TraceContext};

use super::protobuf::Message;
use super::resource::{Resource, number, text};

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// The body of a request with spans.
pub fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    resource.request(spans.iter().map(encode))
}

fn encode(span: &Span) -> Message {
    let mut message = Message::default();
    place(&mut message, &span.context);
    if let Some(parent) = span.parent {
        message.bytes(4, parent.to_be_bytes());
    }
    message.bytes(5, &*span.name);
    message.number(6, span.kind as u64);
    message.fixed64(7, span.began);
    message.fixed64(8, span.ended);
    for (key, value) in &span.attributes {
        message.message(
            9,
            &match value {
                SpanValue::Text(value) => text(key, value),
                SpanValue::Number(value) => number(key, *value),
            },
        );
    }
    for context in &span.links {
        let mut link = Message::default();
        place(&mut link, context);
        link.fixed32(6, u32::from(context.flags));
        message.message(13, &link);
    }
    if let Some(error) = &span.error {
        let mut status = Message::default();
        status.bytes(2, error);
        status.number(3, ERROR);
        message.message(15, &status);
    }
    message.fixed32(16, u32::from(span.context.flags));
    message
}

/// The ids, which spans and links have in the same fields.
fn place(message: &mut Message, context: &TraceContext) {
    message.bytes(1, context.trace_id.to_be_bytes());
    message.bytes(2, context.span_id.to_be_bytes());
}
