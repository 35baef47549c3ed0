// SPDX-License-Identifier: Apache-2.0
//! The API's description, made from the handlers, and the pages at `/docs/` that show it without any help
//! from the network.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::server::Server;
use utoipa_swagger_ui::{Config, Url};

use crate::api;
use crate::call::{Answer, Call, JSON};
use crate::dashboard::{redirect, secure};
use crate::error::{Code, Problem};

/// Swagger UI writes style attributes and has its icons in its style sheet; its code is in files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The description of every endpoint.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "jobbie",
        description = "A durable job broker: queues, retries, leases and streams over plain HTTP.\n\nBodies are JSON. On the worker endpoints (enqueue, fetch, ack, fail, release, heartbeat) `application/msgpack` is accepted and returned by content negotiation, with the same field names; payloads, results and checkpoints travel as `bin` that holds JSON.\n\nUnknown fields and query parameters are refused (`/healthz` and `/readyz` ignore parameters). Every answer has `X-Request-Id` (the caller's, if it is short and plain); answers that were decided at a log index have `X-Jobbie-Index`. `429` and `503` say in `Retry-After` when to try again, except `OUTCOME_UNKNOWN`, which has none: repeat the call with the same id. Every error but `OUTCOME_UNKNOWN` means that nothing was written.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        api::enqueue::one, api::enqueue::batch,
        api::fetch::one, api::fetch::batch, api::ack::one, api::ack::batch, api::fail::one, api::fail::batch,
        api::release::one, api::release::batch, api::heartbeat::beat, api::stream::open,
        api::job::list, api::job::get, api::job::patch, api::job::delete, api::job::timeline, api::job::retry,
        api::job::cancel, api::job::move_to, api::job::clone, api::wait::wait, api::job_stream::follow,
        api::queue::list, api::queue::get, api::queue::delete, api::queue::pause, api::queue::resume,
        api::queue::drain, api::queue::clear, api::queue::concurrency, api::queue::throttle, api::queue::unthrottle,
        api::events::follow, api::throughput::get, api::info::get, api::info::supervisors, api::admin::backup,
        api::auth::create, api::auth::list, api::auth::revoke, api::auth::status,
        api::session::open, api::session::get, api::session::close,
        api::health::healthz, api::health::readyz, api::health::metrics, api::health::api_metrics, openapi,
    ),
    tags(
        (name = "producers", description = "Enqueue, and wait for what comes of it"),
        (name = "workers", description = "Fetch, ack, fail, release, heartbeat, stream"),
        (name = "jobs", description = "Look at jobs and change them"),
        (name = "queues", description = "Look at queues and change them"),
        (name = "operations", description = "Events, metrics, health"),
        (name = "keys", description = "API keys, and the sessions of browsers"),
    ),
)]
struct Description;

/// The description, ready to be served.
pub struct Docs {
    json: Bytes,
    ui: Arc<Config<'static>>,
}

impl Docs {
    /// Describes the API as it lies below a base path.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let mut description = Description::openapi();
        env!("CARGO_PKG_VERSION").clone_into(&mut description.info.version);
        description.paths.paths.values_mut().for_each(without_null);
        description.servers = Some(vec![Server::new(if base.is_empty() { "/" } else { base })]);
        let json = serde_json::to_vec_pretty(&description).unwrap_or_default();
        let url = format!("{base}/api/v1/openapi.json");
        let ui = Config::new([Url::from(url)]).use_base_layout().display_operation_id(false);
        Self { json: json.into(), ui: Arc::new(ui) }
    }
}

/// A parameter and a body are there or not; unlike a field they cannot be `null`, which utoipa does not know.
fn without_null(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    let schemas = operations.into_iter().flatten().flat_map(|operation| {
        let parameters = operation.parameters.iter_mut().flatten().filter_map(|p| p.schema.as_mut());
        let bodies = operation.request_body.iter_mut().flat_map(|body| body.content.values_mut());
        parameters.chain(bodies.filter_map(|content| content.schema.as_mut()))
    });
    for schema in schemas {
        let other = match schema {
            RefOr::T(Schema::Object(object)) => {
                if let SchemaType::Array(types) = &mut object.schema_type {
                    types.retain(|kind| *kind != Type::Null);
                }
                None
            }
            RefOr::T(Schema::OneOf(all)) => {
                all.items.iter().find(|item| !matches!(item, RefOr::T(Schema::Object(o)) if o.schema_type == SchemaType::Type(Type::Null))).cloned()
            }
            _ => None,
        };
        if let Some(other) = other {
            *schema = other;
        }
    }
}

/// This description.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "getOpenApi", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object), (status = 403, description = "`FORBIDDEN`", body = crate::error::ErrorBody)),
)]
pub async fn openapi(call: Call) -> Answer {
    Ok(HttpResponse::Ok().content_type(JSON).body(call.web.docs.json.clone()))
}

/// `/docs`.
///
/// # Errors
/// None.
pub async fn home(call: Call) -> Answer {
    redirect(&call, "/docs/")
}

/// `/docs/`.
///
/// # Errors
/// `INTERNAL`.
pub async fn page(call: Call) -> Answer {
    serve(&call, "index.html")
}

/// `/docs/{file}`.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn file(call: Call) -> Answer {
    let name = call.path("file")?;
    serve(&call, &name)
}

fn serve(call: &Call, name: &str) -> Answer {
    let file = utoipa_swagger_ui::serve(name, call.web.docs.ui.clone())
        .map_err(|e| Problem::new(Code::Internal, format!("the documentation cannot be shown: {e}")))?
        .ok_or_else(|| Problem::not_found("file", "of that name"))?;
    let mut builder = HttpResponse::Ok();
    secure(&mut builder, POLICY).insert_header((CACHE_CONTROL, "no-cache")).content_type(file.content_type);
    Ok(builder.body(file.bytes.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{Parameters, Row, Takes, table};
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn description() -> Value {
        serde_json::from_slice(&Docs::new("").json).unwrap()
    }

    fn described(row: &&Row) -> bool {
        let page = row.path == "/" || row.path.starts_with("/ui") || row.path.starts_with("/docs");
        !page
    }

    #[test]
    fn the_description_has_the_routes_of_the_table_and_no_others() {
        let rows: BTreeSet<String> = table()
            .iter()
            .filter(described)
            .map(|row| format!("{} {}", row.method.as_str().to_lowercase(), row.path))
            .collect();
        let api = description();
        let paths = api["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        });
        assert_eq!(operations.collect::<BTreeSet<_>>(), rows);
    }

    #[test]
    fn every_operation_has_its_own_id_errors_and_parameters() {
        let api = description();
        let mut ids = BTreeSet::new();
        for row in table().iter().filter(described) {
            let operation = &api["paths"][row.path][row.method.as_str().to_lowercase()];
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(operation["summary"].is_string(), "{id} has no summary");
            assert!(operation["responses"]["403"].is_object(), "{id} says nothing of 403");
            if row.takes != Takes::Nothing {
                assert!(operation["responses"]["413"].is_object(), "{id} says nothing of 413");
                assert!(operation["responses"]["400"].is_object(), "{id} says nothing of 400");
            }
            for part in row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(
                    parameters.iter().any(|p| p["name"] == part && p["in"] == "path"),
                    "{id} lacks {part}"
                );
            }
        }
    }

    #[test]
    fn the_described_parameters_are_those_that_are_let_through() {
        let api = description();
        for row in table().iter().filter(described) {
            let operation = &api["paths"][row.path][row.method.as_str().to_lowercase()];
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<&str> =
                parameters.filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str()).collect();
            let known: BTreeSet<&str> = match row.parameters {
                Parameters::Only(names) => names.iter().copied().collect(),
                Parameters::Any => BTreeSet::new(),
            };
            assert_eq!(named, known, "{} {}", row.method, row.path);
        }
    }

    #[test]
    fn only_an_unknown_outcome_comes_without_a_time_to_try_again() {
        let text = description()["info"]["description"].as_str().unwrap().to_owned();
        assert!(text.contains("except `OUTCOME_UNKNOWN`"), "{text}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| match value {
                    Value::String(text) if key == "$ref" => found.push(text),
                    value => references(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let api = description();
        let mut found = Vec::new();
        references(&api, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            assert!(api.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn no_parameter_and_no_body_can_be_null() {
        let api = description();
        for (path, item) in api["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let mut all = parameters.chain(operation.get("requestBody"));
                assert!(all.all(|taken| !taken.to_string().contains("\"null\"")), "{path}");
            }
        }
    }

    #[test]
    fn a_body_that_may_be_left_out_is_not_required() {
        let api = description();
        let required = |path: &str| api["paths"][path]["post"]["requestBody"]["required"].as_bool();
        for path in ["/api/v1/ack/{job_id}", "/api/v1/release/{job_id}"] {
            assert_ne!(required(path), Some(true), "{path}");
            let schema = &api["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
            assert!(schema["$ref"].is_string(), "{path}: {schema}");
        }
        assert_eq!(required("/api/v1/fail/{job_id}"), Some(true));
        assert_eq!(required("/api/v1/enqueue"), Some(true));
    }

    #[test]
    fn the_server_is_below_the_base_path() {
        let api: Value = serde_json::from_slice(&Docs::new("/x").json).unwrap();
        assert_eq!(api["servers"][0]["url"], "/x");
        assert_eq!(description()["servers"][0]["url"], "/");
    }
}
