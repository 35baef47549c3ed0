// SPDX-License-Identifier: Apache-2.0
//! What the process tells the outside about itself besides `/metrics`: lines of log.

pub mod log;
