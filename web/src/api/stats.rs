// SPDX-License-Identifier: Apache-2.0
//! The state of all queues, at most a second old: made once for all who watch it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobbie_actors::Ports;
use jobbie_broker::{Name, QueueKey, Timestamp};
use tokio::sync::Mutex;

use crate::call::{Format, encode};
use crate::error::Problem;
use crate::wire::queue::{QueueView, QueuesView};

/// How often those who watch get news.
pub const EVERY: Duration = Duration::from_secs(1);

/// The latest state by namespace.
#[derive(Default)]
pub struct Stats {
    latest: Mutex<HashMap<Name, Latest>>,
}

struct Latest {
    at: Instant,
    json: Arc<[u8]>,
}

impl Stats {
    /// All queues of a namespace, as JSON.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub async fn latest(&self, ports: &Ports, namespace: &Name) -> Result<Arc<[u8]>, Problem> {
        // Held while it is made, so that a thousand watchers make it once.
        let mut latest = self.latest.lock().await;
        if let Some(known) = latest.get(namespace)
            && known.at.elapsed() < EVERY / 2
        {
            return Ok(known.json.clone());
        }
        let json: Arc<[u8]> = queues(ports, namespace).await?.into();
        latest.insert(namespace.clone(), Latest { at: Instant::now(), json: json.clone() });
        Ok(json)
    }
}

/// All queues of a namespace, as JSON, as they are now: who has just changed one sees it, so this is not the
/// state that watchers share.
///
/// # Errors
/// If the state cannot be read.
pub async fn queues(ports: &Ports, namespace: &Name) -> Result<Vec<u8>, Problem> {
    let named = ports.queues(namespace);
    let keys: Vec<QueueKey> = named.iter().map(|queue| QueueKey::new(namespace, &queue.name)).collect();
    let rates: Vec<_> = keys.iter().map(|key| ports.rates(key)).collect();
    let oldest: Vec<Option<Timestamp>> =
        ports.read(move |reader| keys.iter().map(|key| reader.oldest_pending(key)).collect()).await?;
    let views = named.iter().zip(&rates).zip(oldest);
    let queues =
        views.map(|((named, rates), oldest)| QueueView::new(&named.name, &named.queue, rates, oldest));
    encode(Format::Json, &QueuesView { queues: queues.collect() }, 64 + 1024 * named.len())
}
