// SPDX-License-Identifier: Apache-2.0
//! The supervisor tree, as data. Nothing else is in this file.

use crate::node::Parts;
use crate::supervise::{ChildSpec, SupervisorSpec, dynamic, secs, supervisor};

/// The supervisor of the queue actors.
pub const QUEUES: &str = "queues";

/// The tree of a node. Children start top-down and stop bottom-up: `http` starts last and stops first.
#[must_use]
pub fn tree(parts: &Parts, optional: Vec<ChildSpec>, http: ChildSpec) -> SupervisorSpec {
    supervisor("root")
        .one_for_one()
        .child(parts.log())
        .child(parts.raft_runtime())
        .child(parts.raft_node())
        .child(
            supervisor("jobs")
                .rest_for_one()
                .budget(5, secs(30))
                .child(parts.dispatch())
                .child(dynamic(QUEUES, parts.queues()).one_for_one().budget(20, secs(60)))
                .child(parts.scheduler())
                .child(parts.disk_guard()),
        )
        .child(
            supervisor("optional")
                .one_for_one()
                .budget_each(5, secs(60))
                .closes_children()
                .children(optional),
        )
        .child(http)
}
