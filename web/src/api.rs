// SPDX-License-Identifier: Apache-2.0
//! The handlers, one file per noun: take the request apart, check it in `wire`, make one call to a port,
//! write the answer. There are no rules here.

use utoipa::IntoResponses;

use crate::error::ErrorBody;

pub mod ack;
pub mod admin;
pub mod auth;
pub mod debug;
pub mod enqueue;
pub mod events;
pub mod fail;
pub mod fetch;
pub mod health;
pub mod heartbeat;
pub mod info;
pub mod job;
pub mod job_stream;
pub mod queue;
pub mod release;
pub mod session;
pub mod settle;
pub mod stats;
pub mod stream;
pub mod throughput;
pub mod wait;

/// What every call may answer.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub enum Failures {
    /// `VALIDATION`: a parameter is not as it must be; the answer names it.
    #[response(status = 400)]
    Validation(ErrorBody),
    /// `NOT_LICENSED`: the call asks for a feature that needs a licence, such as another namespace.
    #[response(status = 402)]
    NotLicensed(ErrorBody),
    /// `FORBIDDEN`: the caller may not do that.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// `OVERLOADED`: too much is waiting; try again after `Retry-After`.
    #[response(status = 429)]
    Overloaded(ErrorBody),
    /// `INTERNAL`: the machine failed.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// `UNAVAILABLE`, `NO_LEADER`: try again after `Retry-After`; `OUTCOME_UNKNOWN`: it may have happened, repeat it with the same id.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// What a call with a body may answer besides.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub enum BodyFailures {
    /// `VALIDATION`: the body is not as it must be; the answer names the field.
    #[response(status = 400)]
    Validation(ErrorBody),
    /// `NOT_LICENSED`: the call asks for a feature that needs a licence, such as another namespace.
    #[response(status = 402)]
    NotLicensed(ErrorBody),
    /// `FORBIDDEN`: the caller may not do that.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// `REQUEST_TIMEOUT`: the body did not arrive in time.
    #[response(status = 408)]
    RequestTimeout(ErrorBody),
    /// `PAYLOAD_TOO_LARGE`: names what is too large, and the limit.
    #[response(status = 413)]
    PayloadTooLarge(ErrorBody),
    /// `UNSUPPORTED_MEDIA_TYPE`: the body must be `application/json`, on worker endpoints also `application/msgpack`.
    #[response(status = 415)]
    UnsupportedMediaType(ErrorBody),
    /// `OVERLOADED`: too much is waiting; try again after `Retry-After`.
    #[response(status = 429)]
    Overloaded(ErrorBody),
    /// `INTERNAL`: the machine failed.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// `UNAVAILABLE`, `NO_LEADER`: try again after `Retry-After`; `OUTCOME_UNKNOWN`: it may have happened, repeat it with the same id.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// There is no such job.
#[derive(IntoResponses)]
#[response(status = 404, description = "`NOT_FOUND`: there is no such thing in the caller's namespace")]
#[allow(dead_code)]
pub struct NotFound(ErrorBody);

/// The state of things does not allow the call.
#[derive(IntoResponses)]
#[response(
    status = 409,
    description = "`CONFLICT`: it is in the wrong state, or the key was used for something else; `LEASE_LOST`: the lease is not the caller's any more; `QUEUE_DRAINING`: the queue accepts nothing new"
)]
#[allow(dead_code)]
pub struct Refused(ErrorBody);

/// Too many streams are open.
#[derive(IntoResponses)]
#[response(
    status = 429,
    description = "`OVERLOADED`: too many streams are open; try again after `Retry-After`"
)]
#[allow(dead_code)]
pub struct TooMany(ErrorBody);
