// SPDX-License-Identifier: Apache-2.0
//! What is about the whole node, with what a caller may not know of left out.

use jobbie_broker::Scope;

use crate::supervise::NodeView;
use crate::tree::QUEUES;

/// Metrics as Prometheus text without the lines of queues outside: those of `_other`, which stands for several,
/// are outside of every scope but all.
pub(super) fn metrics(text: &str, scope: &Scope) -> String {
    let mut visible = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.starts_with('#') || queue_of(line).is_none_or(|queue| scope.allows(queue)) {
            visible.push_str(line);
        }
    }
    visible
}

/// The label `queue` of a line.
fn queue_of(line: &str) -> Option<&str> {
    let labels = line.split_once('{')?.1;
    let at = if labels.starts_with("queue=\"") { 0 } else { labels.find(",queue=\"")? + 1 };
    let value = &labels[at + "queue=\"".len()..];
    // Names of queues have no quotes, and nothing that would have to be escaped.
    value.split_once('"').map(|(queue, _)| queue)
}

/// The tree without the actors of queues outside.
pub(super) fn tree(mut node: NodeView, scope: &Scope) -> NodeView {
    let queues = node.name == QUEUES;
    // A queue's actor is named by namespace and queue.
    let visible = |child: &NodeView| {
        !queues || child.name.split_once('/').is_some_and(|(_, queue)| scope.allows(queue))
    };
    node.children = node.children.into_iter().filter(visible).map(|child| tree(child, scope)).collect();
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{NodeKind, State};

    #[test]
    fn lines_of_queues_outside_are_left_out_and_nothing_else() {
        let text = "# HELP jobbie_jobs Jobs\n# TYPE jobbie_jobs gauge\n\
                    jobbie_jobs{queue=\"ours\",state=\"dead\"} 1\n\
                    jobbie_jobs{queue=\"theirs\",state=\"dead\"} 2\n\
                    jobbie_usage{model=\"m\",queue=\"theirs\"} 2\n\
                    jobbie_usage{model=\"m\",queue=\"ours\"} 2\n\
                    jobbie_dead_total{queue=\"_other\"} 5\n\
                    jobbie_queue_latency_seconds_bucket{le=\"1.0\",queue=\"theirs\"} 7\n\
                    jobbie_raft_term 3\n# EOF\n";
        let visible = metrics(text, &Scope::of(["ours".into()]));
        assert!(!visible.contains("theirs") && !visible.contains("_other"), "{visible}");
        assert_eq!(visible.lines().count(), 6, "{visible}");
        assert_eq!(metrics(text, &Scope::ALL), text);
    }

    #[test]
    fn the_tree_does_not_name_queues_outside() {
        let node = |name: &str, children| NodeView {
            name: name.into(),
            kind: NodeKind::Supervisor,
            state: State::Running,
            restarts: 0,
            children_restarts: None,
            last_error: None,
            mailbox_depth: None,
            since: 0,
            strategy: None,
            children,
        };
        let queues = node(QUEUES, vec![node("default/ours", vec![]), node("default/theirs", vec![])]);
        let root = node("root", vec![node("log", vec![]), node("jobs", vec![queues])]);
        let visible = tree(root, &Scope::of(["ours".into()]));
        let names: Vec<&str> = visible.children[1].children[0].children.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["default/ours"]);
        assert_eq!(visible.children[0].name, "log");
    }
}
