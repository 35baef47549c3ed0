// SPDX-License-Identifier: Apache-2.0
//! The layer as a whole, on real threads. Each test waits for events; none sleeps.

mod crash;
mod dynamic;
mod fixture;
mod group;
mod hang;
mod port;
mod storm;
mod watched;
