// SPDX-License-Identifier: Apache-2.0
//! Signs of life. A bare one is checked against the applied state and kept in the scheduler's memory; one
//! that carries a checkpoint is a command.

use jobbie_broker::command::{Heartbeat, HeartbeatItem};
use jobbie_broker::reply::Settled;
use jobbie_broker::{Job, Reject, Reply};

use super::{Caller, Decided, PortError, Ports};
use crate::scheduler::messages::{Beat, BeatItem, Heard};

type Answer = Result<Settled, Reject>;

impl Ports {
    /// Extends leases; answers one item each, in order.
    ///
    /// # Errors
    /// As [`Ports::propose`], and [`PortError::Unavailable`] while the scheduler restarts: repeat it.
    pub async fn heartbeat(
        &self,
        caller: &Caller,
        items: Vec<HeartbeatItem>,
    ) -> Result<Decided<Vec<Answer>>, PortError> {
        let mut answers: Vec<Option<Answer>> = vec![None; items.len()];
        let (mut bare, mut carrying) = (Vec::new(), Vec::new());
        for (place, item) in items.into_iter().enumerate() {
            if item.checkpoint.is_some() { &mut carrying } else { &mut bare }.push((place, item));
        }
        let mut index = self.inner().reader.applied_index();
        if !bare.is_empty() {
            for (place, answer) in self.soft(caller, bare).await? {
                answers[place] = Some(answer);
            }
        }
        if !carrying.is_empty() {
            let (places, items): (Vec<usize>, Vec<HeartbeatItem>) = carrying.into_iter().unzip();
            let decided = self.propose(caller, Heartbeat { items }).await?;
            index = decided.index;
            let Reply::Settled(settled) = decided.reply else {
                return Err(PortError::Fault("a heartbeat was not answered item by item".into()));
            };
            for (place, answer) in places.into_iter().zip(settled) {
                answers[place] = Some(answer);
            }
        }
        let answers: Option<Vec<Answer>> = answers.into_iter().collect();
        match answers {
            Some(reply) => Ok(Decided { index, reply }),
            None => Err(PortError::Fault("a heartbeat was left without an answer".into())),
        }
    }

    async fn soft(
        &self,
        caller: &Caller,
        items: Vec<(usize, HeartbeatItem)>,
    ) -> Result<Vec<(usize, Answer)>, PortError> {
        let checked = self
            .read(caller, move |view| {
                items
                    .into_iter()
                    .map(|(place, item)| {
                        let row = view.job_row(&item.lease.job)?;
                        Ok((place, check(row, item)))
                    })
                    .collect::<Result<Vec<_>, jobbie_store::keyspaces::Fault>>()
            })
            .await?;
        let mut answers = Vec::with_capacity(checked.len());
        let (mut places, mut beats) = (Vec::new(), Vec::new());
        for (place, checked) in checked {
            match checked {
                Ok((job, beat)) => {
                    places.push((place, job));
                    beats.push(beat);
                }
                Err(reject) => answers.push((place, Err(reject))),
            }
        }
        let heard = self
            .inner()
            .beats
            .ask(Beat { items: beats })
            .await
            .map_err(|error| PortError::from_port(&error, "the scheduler"))?
            .ok_or(PortError::NoLeader)?;
        for ((place, job), heard) in places.into_iter().zip(heard) {
            let answer = match (heard, job.state.lease()) {
                (Heard::Until(lease_expires_at), Some(lease)) => Ok(Settled::Alive {
                    lease_expires_at: lease_expires_at.max(lease.deadline),
                    length: lease.length,
                    cancel: job.cancel_requested_at.is_some(),
                }),
                _ => Err(Reject::lease_lost(&(&job.id()).into(), job.state.kind())),
            };
            answers.push((place, answer));
        }
        Ok(answers)
    }
}

/// The same check that apply makes.
fn check(row: Option<Job>, item: HeartbeatItem) -> Result<(Box<Job>, BeatItem), Reject> {
    let job = row.ok_or_else(|| Reject::no_such_job(&item.lease.job))?;
    let Some(lease) = job.state.lease().filter(|lease| lease.answers_to(&item.lease)) else {
        return Err(Reject::lease_lost(&item.lease.job, job.state.kind()));
    };
    let beat = BeatItem { job: job.no, token: lease.token, length: lease.length, progress: item.progress };
    Ok((Box::new(job), beat))
}
