// SPDX-License-Identifier: Apache-2.0
//! What the process tells the outside about itself besides `/metrics`: lines of log, and spans and metrics for a
//! collector.

pub mod log;
pub mod otlp;
