// SPDX-License-Identifier: Apache-2.0
//! Where work comes from: the id of the request behind it, and its place in a trace.
//!
//! Both travel with the task that answers a request, not with every argument list: whoever logs or proposes on
//! its behalf asks here. Nothing here decides anything, and a trace costs one look at an `Option` when it is
//! off.

mod context;
mod current;
mod span;
mod tracer;

pub use context::TraceContext;
pub(crate) use current::carry_into;
pub use current::{Current, carry, current, request_id, scope, waiting};
pub use span::{OpenSpan, Span, SpanKind, SpanSink, SpanValue};
pub use tracer::Tracer;
