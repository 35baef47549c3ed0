// SPDX-License-Identifier: Apache-2.0
//! The state of all queues, at most a second old: made once for all who watch it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobbie_actors::Ports;
use jobbie_actors::ports::Caller;
use jobbie_broker::{Name, Scope, Timestamp};
use tokio::sync::Mutex;

use crate::call::{Format, encode};
use crate::error::Problem;
use crate::wire::queue::{QueueView, QueuesView};

/// How often those who watch get news.
pub const EVERY: Duration = Duration::from_secs(1);

/// The latest state by namespace and scope: as many as there are kinds of callers who watch.
#[derive(Default)]
pub struct Stats {
    latest: Mutex<HashMap<(Name, Scope), Latest>>,
}

struct Latest {
    at: Instant,
    json: Arc<[u8]>,
}

impl Stats {
    /// All queues of a caller, as JSON.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub async fn latest(&self, ports: &Ports, caller: &Caller) -> Result<Arc<[u8]>, Problem> {
        // Held while it is made, so that a thousand watchers make it once.
        let mut latest = self.latest.lock().await;
        let of = (caller.namespace.clone(), caller.scope.clone());
        if let Some(known) = latest.get(&of)
            && known.at.elapsed() < EVERY / 2
        {
            return Ok(known.json.clone());
        }
        let json: Arc<[u8]> = queues(ports, caller).await?.into();
        // What nobody watches any more is no more than a second old either.
        latest.retain(|_, known| known.at.elapsed() < EVERY);
        latest.insert(of, Latest { at: Instant::now(), json: json.clone() });
        Ok(json)
    }
}

/// All queues of a caller, as JSON, as they are now: who has just changed one sees it, so this is not the
/// state that watchers share.
///
/// # Errors
/// If the state cannot be read.
pub async fn queues(ports: &Ports, caller: &Caller) -> Result<Vec<u8>, Problem> {
    let named = ports.queues(caller);
    let names: Vec<Name> = named.iter().map(|queue| queue.name.clone()).collect();
    let rates: Vec<_> = names.iter().map(|name| ports.rates(caller, name)).collect();
    let oldest: Vec<Option<Timestamp>> =
        ports.read(caller, move |view| names.iter().map(|name| view.oldest_pending(name)).collect()).await?;
    let views = named.iter().zip(&rates).zip(oldest);
    let queues =
        views.map(|((named, rates), oldest)| QueueView::new(&named.name, &named.queue, rates, oldest));
    encode(Format::Json, &QueuesView { queues: queues.collect() }, 64 + 1024 * named.len())
}
