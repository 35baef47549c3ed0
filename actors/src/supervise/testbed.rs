// SPDX-License-Identifier: Apache-2.0
//! A tree of its own for one test: own threads, a watchdog that looks only when told, and a bill at the end.
//!
//! Nothing sleeps: a test waits for what it wants to see. The limit on each wait is for a broken test only.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Exit, NodeView, State, SupervisorSpec, Tree};

/// Far above what any test needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running tree under test.
pub(crate) struct TestBed {
    tree: Tree,
    clock: Instant,
}

impl TestBed {
    /// Starts a tree and waits until it is ready.
    pub(crate) async fn start(root: SupervisorSpec) -> Self {
        let bed = Self::launch(root);
        within(bed.tree.ready()).await.expect("the tree starts");
        bed
    }

    /// As [`start`](Self::start), with a watchdog that looks by its own clock.
    pub(crate) async fn start_watched(root: SupervisorSpec) -> Self {
        let bed = Self::of(Tree::start(root));
        within(bed.tree.ready()).await.expect("the tree starts");
        bed
    }

    /// Starts a tree without waiting.
    pub(crate) fn launch(root: SupervisorSpec) -> Self {
        Self::of(Tree::start_with(root, false))
    }

    fn of(tree: std::io::Result<Tree>) -> Self {
        Self { tree: tree.expect("a thread is to be had"), clock: Instant::now() }
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Waits until the node at `path` looks as wanted.
    pub(crate) async fn until(&self, path: &str, mut wanted: impl FnMut(&NodeView) -> bool) {
        let seen = self.tree.until(|root| root.find(path).is_some_and(&mut wanted));
        if timeout(PATIENCE, seen).await.is_err() {
            panic!("waited in vain for {path}: {:#?}", self.tree.view());
        }
    }

    /// Waits until the node at `path` runs after this many restarts.
    pub(crate) async fn restarted(&self, path: &str, restarts: u64) {
        self.until(path, |node| node.state == State::Running && node.restarts == restarts).await;
    }

    /// The node at `path` as it is now.
    pub(crate) fn node(&self, path: &str) -> NodeView {
        self.tree.view().find(path).cloned().unwrap_or_else(|| panic!("no {path} in {:?}", self.tree))
    }

    /// Lets the watchdog look as if `step` had passed since it looked last.
    pub(crate) async fn watchdog(&mut self, step: Duration) {
        self.clock += step;
        within(self.tree.check_at(self.clock)).await;
    }

    /// Lets the watchdog look now, once more after `step`, and then at that same time until the node at `path`
    /// has been restarted. Only the first jump is large, so nobody is blamed for being watched in a test.
    pub(crate) async fn watchdog_until_restart(&mut self, path: &str, step: Duration) {
        let before = self.node(path).restarts;
        let looking = async {
            self.watchdog(Duration::ZERO).await;
            self.watchdog(step).await;
            while self.node(path).restarts == before {
                self.watchdog(Duration::ZERO).await;
            }
        };
        within(looking).await;
    }

    /// Waits for the end of the tree and for every life in it, then presents the bill: exactly this many crashes.
    pub(crate) async fn ended(self, crashes: u64) -> Exit {
        let exit = within(self.tree.wait()).await;
        let (alive, crashed) = self.tree.counts();
        assert_eq!(alive, 0, "lives leaked: {:#?}", self.tree.view());
        assert_eq!(crashed, crashes, "unexpected crashes: {:#?}", self.tree.view());
        exit
    }

    /// Stops the tree and presents the bill.
    pub(crate) async fn stop(self, crashes: u64) {
        within(self.tree.stop()).await;
        let exit = self.ended(crashes).await;
        assert_eq!(exit.code, 0, "{exit}");
    }
}

/// Awaits something that happens soon.
pub(crate) async fn within<T>(event: impl Future<Output = T>) -> T {
    timeout(PATIENCE, event).await.expect("it should have happened long ago")
}
