// SPDX-License-Identifier: Apache-2.0
//! Schemas of the values that are not described by a derive: durations, priorities, queue names.

use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Object, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::limits::{MAX_QUEUES, MAX_TAG_VALUE, MAX_TAGS};
use super::span::MAX_SPAN;

macro_rules! schema {
    ($(#[$doc:meta])* $name:ident = $build:expr) => {
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $build
            }
        }

        impl ToSchema for $name {}
    };
}

fn string(description: &str, pattern: &str, example: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
        .examples([example])
        .build()
}

schema! {
    /// A span of time.
    Duration = {
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("seconds"))
            .minimum(Some(0))
            .maximum(Some(MAX_SPAN.0 / 1000));
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,4}(ms|s|m|h|d)$"));
        let all = OneOfBuilder::new()
            .item(text)
            .item(seconds)
            .description(Some("a span of time: \"250ms\", \"5s\", \"10m\", \"1h\", \"7d\" or a number of seconds"))
            .examples(["10m"]);
        RefOr::T(Schema::OneOf(all.build()))
    }
}

schema! {
    /// A priority.
    Priority = {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(100));
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["low", "normal", "high", "critical"]));
        let all = OneOfBuilder::new()
            .item(number)
            .item(name)
            .description(Some("0 to 100, larger first; `low` 25, `normal` 50, `high` 75, `critical` 100"))
            .examples([50]);
        RefOr::T(Schema::OneOf(all.build()))
    }
}

schema! {
    /// A queue's name.
    QueueName = RefOr::T(Schema::Object(string("the name of a queue; not `.` or `..`", "^[A-Za-z0-9_.:-]{1,128}$", "emails")))
}

schema! {
    /// Queues by their names.
    Globs = {
        let glob = || string("a glob: `*` stands for any characters, `?` for one", "^[A-Za-z0-9_.:*?-]{1,128}$", "emails.*");
        let list = ArrayBuilder::new().items(RefOr::T(Schema::Object(glob()))).min_items(Some(1)).max_items(Some(32));
        let all = OneOfBuilder::new().item(glob()).item(list).description(Some("a glob, or a list of them"));
        RefOr::T(Schema::OneOf(all.build()))
    }
}

schema! {
    /// A job's id.
    JobId = RefOr::T(Schema::Object(string(
        "the id of a job: `job_` and 26 characters, or the one chosen at enqueue",
        "^[A-Za-z0-9_-]{1,64}$",
        "job_01K9Z3V8E1D2M5T7Q4R6S8W0XY",
    )))
}

/// One of a few words.
fn words(description: &str, words: &[&str]) -> RefOr<Schema> {
    let word = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().copied()))
        .description(Some(description));
    RefOr::T(Schema::Object(word.build()))
}

schema! {
    /// What became of an attempt.
    SettledStatus = words(
        "ack: `completed`; release: `released`; fail: `retrying`, `dead` or `cancelled`",
        &["completed", "released", "retrying", "dead", "cancelled"],
    )
}

schema! {
    /// That an item of a batch was refused.
    RefusedStatus = words("always `error`", &["error"])
}

schema! {
    /// A point in time.
    Time = RefOr::T(Schema::Object(
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339; answers are in UTC with milliseconds"))
            .examples(["2026-01-31T12:00:00.000Z"])
            .build(),
    ))
}

schema! {
    /// Any JSON.
    AnyJson = RefOr::T(Schema::Object(
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("any JSON, nested at most 128 deep, kept byte for byte"))
            .build(),
    ))
}

fn map_of(values: ObjectBuilder, max: usize, description: &str) -> RefOr<Schema> {
    let map = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::Object(values.build())))))
        .max_properties(Some(max))
        .description(Some(description));
    RefOr::T(Schema::Object(map.build()))
}

schema! {
    /// Labels.
    TagMap = map_of(ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX_TAG_VALUE)), MAX_TAGS, "labels: names and values")
}

schema! {
    /// Weights by queue.
    Weights = map_of(
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(1000)),
        MAX_QUEUES,
        "weights by queue",
    )
}
