// SPDX-License-Identifier: Apache-2.0
//! The contract, driven from outside on the built binary: every endpoint, good and bad input alike.
//!
//! Most tests share one server and keep to queues of their own; those that stop, restart or count everything
//! have a server to themselves. Nothing here knows the inside of jobbie: paths, fields and codes are those
//! of the API's documentation.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bad_bodies;
mod bad_fields;
mod bad_wire;
mod batches;
mod drain;
mod enqueue;
mod events;
mod every_route;
mod fetch;
mod fixture;
mod hardening;
mod hardening_h2;
mod jobs;
mod keys;
mod leases;
mod messagepack;
mod metrics;
mod node;
mod observe;
mod payloads;
mod proxies;
mod queues;
mod retries;
mod scopes;
mod sessions;
mod settle;
mod stopping;
mod stream;
mod telemetry;
mod threads;
mod tls;
mod unique;
