// SPDX-License-Identifier: Apache-2.0
//! A person changes how a queue works. An unknown queue is created, so that it can be limited or paused
//! before its first job; setting what is set already changes nothing and is no news.

use super::Verdict;
use super::context::Context;
use crate::command::{QueueSetting, SetQueue};
use crate::event::QueueNews;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::tables::Tables;
use crate::throttle::Arrival;

impl<T: Tables> Context<'_, T> {
    pub fn set_queue(&mut self, command: &SetQueue) -> Verdict<Reply, T::Fault> {
        if let Err(reject) = self.may_touch(&command.queue) {
            return Ok(Err(reject));
        }
        let (key, now) = (self.queue_key(&command.queue), self.now);
        if self.queue(&key)?.is_some_and(|queue| queue.deleting) {
            return Ok(Err(Reject::deleting(&command.queue)));
        }
        let queue = self.queue_mut(&key)?;
        let before = queue.clone();
        let news = match command.setting {
            QueueSetting::Pause => {
                queue.paused_at = queue.paused_at.or(Some(now));
                QueueNews::Paused
            }
            QueueSetting::Resume => {
                (queue.paused_at, queue.draining_at) = (None, None);
                QueueNews::Resumed
            }
            QueueSetting::Drain => {
                queue.draining_at = queue.draining_at.or(Some(now));
                QueueNews::Draining
            }
            QueueSetting::Concurrency(limit) => {
                queue.concurrency = limit;
                QueueNews::Limited
            }
            QueueSetting::Throttle(throttle) => {
                if queue.throttle != throttle {
                    // What was counted at the old rate says nothing at the new one.
                    (queue.throttle, queue.arrival) = (throttle, Arrival::default());
                }
                QueueNews::Limited
            }
        };
        if *queue != before {
            self.tell_queue(&key, news);
        }
        Ok(Ok(Reply::Queue))
    }
}

#[cfg(test)]
mod tests;
