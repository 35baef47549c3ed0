// SPDX-License-Identifier: Apache-2.0
//! A request on its way to a handler, and the answer on its way back.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse};
use jobbie_actors::Ports;
use jobbie_actors::ports::trace::{self, TraceContext};
use jobbie_actors::ports::{Caller, Decided};
use jobbie_broker::Reply;
use serde::{Deserialize, Serialize};

use crate::api::stats::Stats;
use crate::body::{Bodies, Body};
use crate::config::WebConfig;
use crate::docs::Docs;
use crate::error::{Code, Problem};
use crate::forwarded::{Origin, Proxies};
use crate::guard::Guard;
use crate::keys::Gate;
use crate::seams::{Authorizer, Pass, Seams};
use crate::shares::{Refused, Share, Shares};
use crate::wire::query::{Query, percent_decode};
use crate::wire::read;

/// The log index at which a call was decided.
pub const INDEX_HEADER: HeaderName = HeaderName::from_static("x-jobbie-index");
/// The caller's place in a trace (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// JSON.
pub const JSON: &str = "application/json";
/// MessagePack.
pub const MSGPACK: &str = "application/msgpack";

/// What a handler gives back.
pub type Answer = Result<HttpResponse, Problem>;

/// What all requests share.
pub struct Web {
    /// How the doors are set up.
    pub config: WebConfig,
    /// The path that everything lies under, without its last slash.
    pub base: String,
    /// The way to the actors.
    pub ports: Ports,
    /// What others have plugged in.
    pub seams: Seams,
    /// Which requests are refused without a look at them while there are no keys.
    pub guard: Guard,
    /// The API keys.
    pub keys: Gate,
    /// Who may do what: `keys`, or what others have plugged in.
    pub authorizer: Arc<dyn Authorizer>,
    /// The streams that may be open.
    pub streams: Shares,
    /// The room for the answers that are being read.
    pub answers: Shares,
    /// Who is believed about where calls come from.
    pub proxies: Proxies,
    /// The room for the bodies of all requests.
    pub bodies: Bodies,
    /// Counts fetches, for the strategies that depend on it.
    pub turn: AtomicU64,
    /// The state of all queues as it was less than a second ago.
    pub stats: Stats,
    /// The API's description.
    pub docs: Docs,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// MessagePack.
    MsgPack,
}

/// A request with everything its handler needs.
pub struct Call {
    /// What all requests share.
    pub web: Arc<Web>,
    /// The request itself.
    pub request: HttpRequest,
    /// Its body; JSON text if it was JSON or MessagePack.
    pub body: Body,
    /// The query parameters that its route has.
    pub parameters: &'static [&'static str],
    /// Who calls, in which namespace, with which queues.
    pub caller: Caller,
    /// How they were let through.
    pub pass: Pass,
    /// Where the call comes from.
    pub origin: Origin,
    /// Its id.
    pub request_id: Arc<str>,
    /// How to answer.
    pub format: Format,
}

impl Call {
    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.web.ports
    }

    /// The text of the body.
    ///
    /// # Errors
    /// `VALIDATION`.
    pub fn text(&self) -> Result<&str, Problem> {
        read::text(&self.body)
    }

    /// The text of a body whose fields are all optional: nothing is `{}`.
    ///
    /// # Errors
    /// `VALIDATION`.
    pub fn optional_text(&self) -> Result<&str, Problem> {
        if self.body.is_empty() { Ok("{}") } else { self.text() }
    }

    /// Refuses a body with fields, for calls that have none.
    ///
    /// # Errors
    /// `VALIDATION`.
    pub fn no_fields(&self) -> Result<(), Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let Nothing {} = read::object(self.optional_text()?)?;
        Ok(())
    }

    /// A part of the path.
    ///
    /// # Errors
    /// `VALIDATION` if it is not well encoded.
    pub fn path(&self, name: &str) -> Result<String, Problem> {
        percent_decode(self.request.match_info().get(name).unwrap_or_default(), false)
    }

    /// The query parameters; that there are no others is checked before the handler is called.
    ///
    /// # Errors
    /// `VALIDATION`.
    pub fn query(&self) -> Result<Query<'_>, Problem> {
        Query::parse(self.request.query_string(), self.parameters)
    }

    /// A header's text.
    ///
    /// # Errors
    /// `VALIDATION` if it is no text.
    pub fn header(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let value = self.request.headers().get(name).map(|value| value.to_str());
        value.transpose().map_err(|_| Problem::field(name, "must be plain ASCII"))
    }

    /// Where in a trace what this call brings about belongs: where its caller is; without that, if it is recorded,
    /// the call itself.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        trace_of(self.request.headers()).or_else(|| trace::current()?.span())
    }

    /// A number that goes up with each call.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.web.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Permission to open a stream; given back when it is dropped.
    ///
    /// # Errors
    /// `OVERLOADED` if there are as many as there may be, or this client has its share of them.
    pub fn stream_permit(&self) -> Result<Share, Problem> {
        self.web.streams.take(self.origin.one(), 1).map_err(|refused| {
            let message = match refused {
                Refused::Full => format!("{} streams are open, which is the limit", self.web.streams.total()),
                Refused::Share => "this address has its share of the streams that may be open".to_owned(),
            };
            Problem::new(Code::Overloaded, message).retry_after(5)
        })
    }

    /// An answer.
    ///
    /// # Errors
    /// `INTERNAL` if it cannot be written, which no answer of ours is.
    pub fn answer(&self, status: StatusCode, body: &impl Serialize) -> Answer {
        self.sized(status, body, 256)
    }

    /// An answer of about that many bytes.
    ///
    /// # Errors
    /// As [`Call::answer`].
    pub fn sized(&self, status: StatusCode, body: &impl Serialize, room: usize) -> Answer {
        let bytes = encode(self.format, body, room)?;
        let kind = if self.format == Format::Json { JSON } else { MSGPACK };
        Ok(HttpResponse::build(status).content_type(kind).body(bytes))
    }

    /// 200 with a body.
    ///
    /// # Errors
    /// As [`Call::answer`].
    pub fn ok(&self, body: &impl Serialize) -> Answer {
        self.answer(StatusCode::OK, body)
    }
}

/// Writes a body.
///
/// # Errors
/// `INTERNAL`.
pub fn encode(format: Format, body: &impl Serialize, room: usize) -> Result<Vec<u8>, Problem> {
    let internal = |e: &dyn std::fmt::Display| {
        Problem::new(Code::Internal, format!("the answer cannot be written: {e}"))
    };
    let mut bytes = Vec::with_capacity(room);
    match format {
        Format::Json => serde_json::to_writer(&mut bytes, body).map_err(|e| internal(&e))?,
        Format::MsgPack => {
            let mut writer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
            body.serialize(&mut writer).map_err(|e| internal(&e))?;
        }
    }
    Ok(bytes)
}

/// Says at which log index an answer was decided.
pub trait AtIndex {
    /// Adds `X-Jobbie-Index`.
    fn at_index(self, index: u64) -> Self;
}

impl AtIndex for Answer {
    fn at_index(self, index: u64) -> Self {
        match self {
            Ok(mut response) => {
                response.headers_mut().insert(INDEX_HEADER, index.into());
                Ok(response)
            }
            Err(problem) => Err(problem.at_index(index)),
        }
    }
}

/// The reply to a command; a *no* of the rules becomes an error answer with its index.
///
/// # Errors
/// What the rules say.
pub fn accepted(decided: Decided) -> Result<(u64, Reply), Problem> {
    match decided.reply {
        Reply::Rejected(reject) => Err(Problem::from(reject).at_index(decided.index)),
        reply => Ok((decided.index, reply)),
    }
}

/// A reply that the command cannot have.
#[must_use]
pub fn unexpected(reply: &Reply) -> Problem {
    tracing::error!(?reply, "a command was answered with another command's reply");
    Problem::new(Code::Internal, "the rules gave an answer that does not fit the call")
}

/// The error answer for a problem.
#[must_use]
pub fn problem_response(problem: &Problem, request_id: &str, format: Format) -> HttpResponse {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponse::build(status);
    if let Some(seconds) = problem.retry_after {
        builder.insert_header((RETRY_AFTER, seconds));
    }
    if let Some(index) = problem.index {
        builder.insert_header((INDEX_HEADER, index));
    }
    if problem.code == Code::Unauthorized {
        builder.insert_header((WWW_AUTHENTICATE, "Bearer"));
    }
    match encode(format, &problem.body(request_id), 256) {
        Ok(body) => builder.content_type(if format == Format::Json { JSON } else { MSGPACK }).body(body),
        Err(_) => builder.finish(),
    }
}

/// What a request body is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// There is no content type.
    None,
    /// JSON.
    Json,
    /// MessagePack.
    MsgPack,
    /// Anything else.
    Other,
}

impl BodyType {
    /// Reads the header.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::None };
        let value = value.to_str().unwrap_or_default();
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        let essence = essence.trim();
        if is_msgpack(essence) {
            return Self::MsgPack;
        }
        let charset = parameters.trim().to_ascii_lowercase();
        let utf8 = matches!(charset.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"" | "charset=utf8");
        if essence.eq_ignore_ascii_case(JSON) && utf8 { Self::Json } else { Self::Other }
    }
}

fn is_msgpack(essence: &str) -> bool {
    [MSGPACK, "application/x-msgpack", "application/vnd.msgpack"]
        .iter()
        .any(|t| essence.eq_ignore_ascii_case(t))
}

impl Format {
    /// How the caller wants the answer: as `Accept` says, else as the body came.
    #[must_use]
    pub fn wanted(headers: &HeaderMap, body: BodyType) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        let types = || accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        let json = types().position(|t| t.eq_ignore_ascii_case(JSON));
        match (types().position(is_msgpack), json) {
            (Some(msgpack), Some(json)) if json < msgpack => Self::Json,
            (Some(_), _) => Self::MsgPack,
            (None, None) if body == BodyType::MsgPack => Self::MsgPack,
            _ => Self::Json,
        }
    }
}

/// Where a caller is in a trace. A header that is not valid, or there twice, is ignored, as the standard says.
#[must_use]
pub fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACEPARENT);
    let text = given.next()?.to_str().ok()?;
    if given.next().is_some() { None } else { TraceContext::parse(text) }
}

/// The id of a request: the caller's if it is short and plain, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Arc<str> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let sane = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(sane);
    let text: Cow<'_, str> = match given {
        Some(text) => Cow::Borrowed(text),
        None => {
            // Unique, not secret: the clock tells processes apart, the counter requests.
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now = now.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or_default());
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            Cow::Owned(format!("{:016x}", jobbie_broker::id::mix(now ^ count.rotate_left(48))))
        }
    };
    Arc::from(&*text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn content_types_are_told_apart() {
        for (text, kind) in [
            ("application/json", BodyType::Json),
            ("Application/JSON; charset=UTF-8", BodyType::Json),
            ("application/json; charset=latin1", BodyType::Other),
            ("application/msgpack", BodyType::MsgPack),
            ("application/x-msgpack", BodyType::MsgPack),
            ("text/plain", BodyType::Other),
            ("application/x-www-form-urlencoded", BodyType::Other),
            ("application/jsonp", BodyType::Other),
        ] {
            assert_eq!(BodyType::of(&headers(&[(CONTENT_TYPE, text)])), kind, "{text}");
        }
        assert_eq!(BodyType::of(&HeaderMap::new()), BodyType::None);
    }

    #[test]
    fn the_answer_is_in_the_format_asked_for() {
        let wanted = |accept: &str, body| Format::wanted(&headers(&[(ACCEPT, accept)]), body);
        assert_eq!(Format::wanted(&HeaderMap::new(), BodyType::Json), Format::Json);
        assert_eq!(Format::wanted(&HeaderMap::new(), BodyType::MsgPack), Format::MsgPack);
        assert_eq!(wanted("application/msgpack", BodyType::Json), Format::MsgPack);
        assert_eq!(wanted("application/json", BodyType::MsgPack), Format::Json);
        assert_eq!(wanted("application/json, application/msgpack;q=0.5", BodyType::MsgPack), Format::Json);
        assert_eq!(wanted("*/*", BodyType::MsgPack), Format::MsgPack);
        assert_eq!(wanted("text/html", BodyType::Json), Format::Json);
    }

    #[test]
    fn a_request_keeps_a_sane_id() {
        let name = HeaderName::from_static("x-request-id");
        let id = |value: &str| request_id(&headers(&[(name.clone(), value)]));
        assert_eq!(&*id("abc-1.2:3_x"), "abc-1.2:3_x");
        for bad in ["", "a b", "a\tb", "<x>", &"x".repeat(129)] {
            assert_ne!(&*id(bad), bad);
            assert_eq!(id(bad).len(), 16);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
