// SPDX-License-Identifier: Apache-2.0
//! The tree as others see it: a snapshot that can be serialised and printed.

use std::fmt;

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being built, or not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Ended; will be started again.
    Restarting,
    /// Ended for good in an orderly way, or not started yet.
    Stopped,
    /// Given up: stays down until its supervisor is restarted.
    Closed,
}

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// An actix actor.
    Actor,
    /// An async function.
    Task,
    /// A supervisor with fixed children.
    Supervisor,
    /// A supervisor with children started at run time.
    Dynamic,
}

/// One node of the tree with everything below it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeView {
    /// Unique among its siblings.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it is doing.
    pub state: State,
    /// Restarts since the tree was started.
    pub restarts: u64,
    /// How it last ended badly, if it ever did.
    pub last_error: Option<String>,
    /// Messages that wait in the mailbox; actors only.
    pub mailbox_depth: Option<usize>,
    /// When `state` last changed, in milliseconds since 1970.
    pub since: u64,
    /// Strategy and budget of a supervisor, for people: `rest_for_one, 5 in 30 s`.
    pub strategy: Option<String>,
    /// Restarts of children that are gone; dynamic supervisors only. For counting, not for people.
    #[serde(skip)]
    pub children_restarts: Option<u64>,
    /// In start order.
    pub children: Vec<NodeView>,
}

impl NodeView {
    /// The node at a path of names below this one, joined by `/`; an empty path is the node itself. Names may
    /// contain `/`.
    pub fn find(&self, path: &str) -> Option<&Self> {
        if path.is_empty() {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(below(path, &child.name)?))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, lead: &str, branch: &str, below: &str) -> fmt::Result {
        let kind = match self.kind {
            NodeKind::Actor => "actor",
            NodeKind::Task => "task",
            NodeKind::Supervisor => "supervisor",
            NodeKind::Dynamic => "dynamic",
        };
        write!(f, "{lead}{branch}{} ({kind})", self.name)?;
        if let Some(strategy) = &self.strategy {
            write!(f, " {strategy}")?;
        }
        writeln!(f)?;
        let lead = format!("{lead}{below}");
        for (i, child) in self.children.iter().enumerate() {
            let last = i + 1 == self.children.len();
            let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.write(f, &lead, branch, below)?;
        }
        Ok(())
    }
}

/// What is left of `path` below a child called `name`; `None` if the path does not lead there.
pub(super) fn below<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// The shape of the tree, without what changes while it runs: one line per node.
impl fmt::Display for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "", "", "")
    }
}
