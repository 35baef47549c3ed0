// SPDX-License-Identifier: Apache-2.0
//! What ack, fail and release have in common: the call for one job, and the batch whose items stand alone.

use actix_web::http::StatusCode;
use jobbie_broker::reply::Settled;
use jobbie_broker::{Command, Reject, Reply};

use crate::call::{Answer, AtIndex, Call, accepted, unexpected};
use crate::error::Problem;
use crate::wire::lease::{ItemReply, RawItems, Results, SettledReply, Settling, id_of, job_of};
use crate::wire::{Limits, Place, read};

/// Settles one attempt.
///
/// # Errors
/// What the rules or the port say.
pub async fn one(call: &Call, id: &str, command: impl Into<Command>) -> Answer {
    let (index, mut answers) = settle(call, command.into()).await?;
    match answers.pop() {
        Some(Ok(settled)) => call.ok(&SettledReply::new(id, &settled)).at_index(index),
        Some(Err(reject)) => Err(Problem::from(reject).at_index(index)),
        None => Err(unexpected(&Reply::Settled(answers))),
    }
}

/// Settles attempts. Items that cannot be read or allowed are answered in their place; the others go on.
///
/// # Errors
/// What the port says.
pub async fn batch<'a, B: Settling<'a>, C: Into<Command>>(
    call: &Call,
    field: &str,
    items: &RawItems<'a>,
    command: impl FnOnce(Vec<B::Item>) -> C,
) -> Answer {
    let place = Place::ROOT.key(field);
    let mut good = Vec::with_capacity(items.0.len());
    let mut read = Vec::with_capacity(items.0.len());
    for (at, raw) in items.0.iter().enumerate() {
        match item::<B>(raw.get(), &place.index(at), &call.web.config.limits) {
            Ok((id, item)) => {
                good.push(item);
                read.push((id, None));
            }
            Err(problem) => read.push((id_of(raw), Some(problem))),
        }
    }
    let (index, answers) = if good.is_empty() {
        (call.ports().applied_index(), Vec::new())
    } else {
        settle(call, command(good).into()).await?
    };
    let mut answers = answers.into_iter();
    let results = read.iter_mut().filter_map(|(id, problem)| match problem.take() {
        Some(problem) => Some(ItemReply::refused(id, problem)),
        None => answers.next().map(|answer| ItemReply::new(id, answer)),
    });
    let results = Results { results: results.collect() };
    let room = 64 + 80 * results.results.len();
    call.sized(StatusCode::OK, &results, room).at_index(index)
}

fn item<'a, B: Settling<'a>>(
    text: &'a str,
    place: &Place<'_>,
    limits: &Limits,
) -> Result<(String, B::Item), Problem> {
    let body: B = read::object_at(text, place)?;
    let item = body.check(place, None, limits)?;
    Ok((job_of(place, None, body.job_id())?.to_owned(), item))
}

async fn settle(call: &Call, command: Command) -> Result<(u64, Vec<Result<Settled, Reject>>), Problem> {
    match accepted(call.ports().propose(&call.caller, command).await?)? {
        (index, Reply::Settled(answers)) => Ok((index, answers)),
        (_, other) => Err(unexpected(&other)),
    }
}
