// SPDX-License-Identifier: Apache-2.0
//! `GET /jobs/{id}/stream`: what happens to one job until it is finished, as server-sent events.
//!
//! ```text
//! job         the whole job, as it is when the stream begins
//! job.started, job.progress, job.failed …   what happens; `progress` besides, with the numbers
//! job         the whole job, finished; then the stream ends
//! ```

use actix_web::HttpResponse;
use futures_util::stream::{self, StreamExt as _};
use jobbie_actors::Ports;
use jobbie_actors::ports::{Caller, News, NumberedEvent, Subscription, Topic};
use jobbie_broker::{Change, Event, JobId, JobRef};

use super::job::{detail, named};
use super::{Failures, NotFound, TooMany};
use crate::call::{Answer, Call};
use crate::sse::{self, Frame};
use crate::wire::events::EventView;
use crate::wire::job::{JobView, ProgressView};
use crate::wire::schema;

/// The id of the last event: who reconnects with it has seen the end.
const END: &str = "end";

/// Streams what happens to a job until it is finished: server-sent events.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job_id}/stream", operation_id = "streamJob", tag = "producers",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses(
        (status = 200, description = "Events `job` (the whole job, first and last), `job.*`, `progress`, `ping`, `drain`", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The reader has seen the end already"),
        Failures, NotFound, TooMany,
    ),
)]
pub async fn follow(call: Call) -> Answer {
    let job = named(&call)?;
    if call.header("last-event-id")? == Some(END) {
        // A browser reconnects to every stream that ends, unless it is told that there is nothing more.
        return Ok(HttpResponse::NoContent().finish());
    }
    let permit = call.stream_permit()?;
    let no = detail(&call, job).await?.job.no;
    // First the subscription, then the look: what happens between the two is told.
    let subscription = call.ports().subscribe(&call.caller, vec![Topic::Job(no)], None);
    let first = detail(&call, named(&call)?).await?;
    let (id, ended) = (first.job.id(), first.job.state.kind().is_terminal());
    let greeting = Frame::json("job", ended.then_some(&END as _), &JobView::full(&first));
    let follow = Follow { ports: call.ports().clone(), caller: call.caller.clone(), id, subscription, ended };
    let rest = stream::unfold(follow, |mut follow| async {
        let frames = follow.next().await?;
        Some((stream::iter(frames), follow))
    });
    let stopping = Some(call.ports().stopping());
    Ok(sse::respond(permit, stopping, stream::iter([greeting]).chain(rest.flatten())))
}

struct Follow {
    ports: Ports,
    caller: Caller,
    id: JobId,
    subscription: Subscription,
    ended: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Vec<Frame>> {
        if self.ended {
            return None;
        }
        match self.subscription.next().await {
            News::Event(numbered) => Some(self.told(&numbered).await),
            // Events are lost: the whole job says more than they did.
            News::Resync => Some(vec![self.whole().await]),
        }
    }

    async fn told(&mut self, numbered: &NumberedEvent) -> Vec<Frame> {
        let Event::Job(event) = &numbered.event else { return Vec::new() };
        let mut frames = vec![Frame::json(event.change.name(), Some(&numbered.id), &EventView::from(event))];
        if event.change == Change::Progressed {
            frames.extend(self.progress().await);
        }
        if event.change == Change::Deleted {
            self.ended = true;
        } else if event.state.is_terminal() {
            frames.push(self.whole().await);
        }
        frames
    }

    async fn progress(&self) -> Option<Frame> {
        let job = JobRef::from(&self.id);
        let row = self.ports.read(&self.caller, move |view| view.job_row(&job)).await.ok()??;
        let progress = row.progress.as_ref()?;
        Some(Frame::json("progress", None, &ProgressView::from(progress)))
    }

    /// The whole job; the end of the stream if it is finished, gone or cannot be read.
    async fn whole(&mut self) -> Frame {
        let job = JobRef::from(&self.id);
        match self.ports.read(&self.caller, move |view| view.job(&job)).await {
            Ok(Some(detail)) => {
                self.ended = detail.job.state.kind().is_terminal();
                Frame::json("job", self.ended.then_some(&END as _), &JobView::full(&detail))
            }
            Ok(None) | Err(_) => {
                self.ended = true;
                Frame::default()
            }
        }
    }
}
