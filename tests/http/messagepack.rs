// SPDX-License-Identifier: Apache-2.0
//! MessagePack on the worker endpoints: the same fields, with payloads as `bin` that holds JSON.

use serde_json::{Value, json};

use crate::fixture::{name, shared};
use crate::support::{Request, Response, Server};

const KIND: &str = "application/msgpack";

/// A value on the wire. Only what these tests send and get.
#[derive(Clone, Debug, PartialEq)]
enum Packed {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Bin(Vec<u8>),
    List(Vec<Packed>),
    Map(Vec<(String, Packed)>),
}

impl Packed {
    fn get(&self, name: &str) -> &Self {
        let Self::Map(fields) = self else { panic!("no map: {self:?}") };
        &fields.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    fn text(&self) -> String {
        let Self::Str(text) = self else { panic!("no text: {self:?}") };
        text.clone()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let length = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        match self {
            Self::Nil => out.push(0xc0),
            Self::Bool(value) => out.push(0xc2 + u8::from(*value)),
            Self::Int(n) => {
                out.push(0xd3);
                out.extend(n.to_be_bytes());
            }
            Self::Float(n) => {
                out.push(0xcb);
                out.extend(n.to_be_bytes());
            }
            Self::Str(text) => {
                out.push(0xdb);
                out.extend(length(text.len()));
                out.extend(text.as_bytes());
            }
            Self::Bin(bytes) => {
                out.push(0xc6);
                out.extend(length(bytes.len()));
                out.extend(bytes);
            }
            Self::List(items) => {
                out.push(0xdd);
                out.extend(length(items.len()));
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(fields) => {
                out.push(0xdf);
                out.extend(length(fields.len()));
                for (key, value) in fields {
                    Self::Str(key.clone()).write(out);
                    value.write(out);
                }
            }
        }
    }

    fn read(input: &mut &[u8]) -> Self {
        fn number(input: &mut &[u8], bytes: usize) -> u64 {
            let (head, rest) = input.split_at(bytes);
            *input = rest;
            head.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
        }
        fn bytes(input: &mut &[u8], n: u64) -> Vec<u8> {
            let (head, rest) = input.split_at(usize::try_from(n).unwrap());
            *input = rest;
            head.to_vec()
        }
        let text = |input: &mut &[u8], n| Self::Str(String::from_utf8(bytes(input, n)).unwrap());
        let list = |input: &mut &[u8], n| Self::List((0..n).map(|_| Self::read(input)).collect());
        let map = |input: &mut &[u8], n| {
            Self::Map((0..n).map(|_| (Self::read(input).text(), Self::read(input))).collect())
        };
        match number(input, 1) {
            tag @ 0x00..=0x7f => Self::Int(i64::try_from(tag).unwrap()),
            tag @ 0x80..=0x8f => map(input, tag & 0xf),
            tag @ 0x90..=0x9f => list(input, tag & 0xf),
            tag @ 0xa0..=0xbf => text(input, tag & 0x1f),
            0xc0 => Self::Nil,
            tag @ (0xc2 | 0xc3) => Self::Bool(tag == 0xc3),
            tag @ 0xc4..=0xc6 => {
                let n = number(input, 1 << (tag - 0xc4));
                Self::Bin(bytes(input, n))
            }
            0xcb => Self::Float(f64::from_bits(number(input, 8))),
            tag @ 0xcc..=0xcf => Self::Int(i64::try_from(number(input, 1 << (tag - 0xcc))).unwrap()),
            tag @ 0xd9..=0xdb => {
                let n = number(input, 1 << (tag - 0xd9));
                text(input, n)
            }
            tag @ (0xdc | 0xdd) => {
                let n = number(input, 2 << (tag - 0xdc));
                list(input, n)
            }
            tag @ (0xde | 0xdf) => {
                let n = number(input, 2 << (tag - 0xde));
                map(input, n)
            }
            tag => panic!("tag {tag:#x}"),
        }
    }
}

impl From<&Value> for Packed {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nil,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(n) => n.as_i64().map_or_else(|| Self::Float(n.as_f64().unwrap()), Self::Int),
            Value::String(text) => Self::Str(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Into::into).collect()),
            Value::Object(map) => {
                Self::Map(map.iter().map(|(key, value)| (key.clone(), value.into())).collect())
            }
        }
    }
}

fn post(server: &Server, path: &str, body: &Packed) -> Response {
    let mut bytes = Vec::new();
    body.write(&mut bytes);
    server.send(&Request::new("POST", &format!("/api/v1{path}")).body(KIND, &bytes))
}

#[track_caller]
fn packed(answer: &Response, status: u16) -> Packed {
    assert_eq!(answer.status(), status, "{:?}", answer.text());
    assert_eq!(answer.header("content-type"), Some(KIND));
    let mut rest = answer.body.as_slice();
    let value = Packed::read(&mut rest);
    assert!(rest.is_empty(), "one value and no more");
    value
}

#[test]
fn a_worker_can_speak_messagepack_all_the_way() {
    let (server, queue) = (shared(), name("packed"));
    let raw = br#"{ "exact":1.0, "text": "\u00e9" }"#.to_vec();
    let job = Packed::Map(vec![
        ("queue".into(), Packed::Str(queue.clone())),
        ("payload".into(), Packed::Bin(raw.clone())),
        ("tags".into(), Packed::from(&json!({"a": "b"}))),
    ]);
    let id = packed(&post(&server, "/enqueue", &job), 201).get("job_id").text();
    let batch = Packed::Map(vec![("jobs".into(), Packed::List(vec![job.clone(), job]))]);
    packed(&post(&server, "/enqueue/batch", &batch), 201);
    let fetch = Packed::from(&json!({"queues": [queue], "timeout": 0, "worker_id": "w"}));
    let lease = packed(&post(&server, "/fetch", &fetch), 200);
    assert_eq!(lease.get("job_id").text(), id);
    assert_eq!(lease.get("payload"), &Packed::Bin(raw), "byte for byte");
    assert_eq!(lease.get("attempt"), &Packed::Int(1));
    let token = ("lease_token".to_owned(), lease.get("lease_token").clone());
    let beat = Packed::Map(vec![("checkpoint".into(), Packed::Bin(b"[1 ]".to_vec())), token.clone()]);
    let beats = Packed::Map(vec![("jobs".into(), Packed::Map(vec![(id.clone(), beat)]))]);
    let reply = packed(&post(&server, "/heartbeat", &beats), 200);
    assert_eq!(reply.get("jobs").get(&id).get("status").text(), "ok");
    let ack = Packed::Map(vec![token, ("result".into(), Packed::from(&json!({"plain": [1, "x"]})))]);
    let reply = packed(&post(&server, &format!("/ack/{id}"), &ack), 200);
    assert_eq!(reply.get("status").text(), "completed");
    let seen = server.get(&format!("/jobs/{id}")).text();
    assert!(seen.contains(r#""payload":{ "exact":1.0, "text": "\u00e9" }"#), "{seen}");
    assert!(
        seen.contains(r#""checkpoint":[1 ]"#) && seen.contains(r#""result":{"plain":[1,"x"]}"#),
        "{seen}"
    );
    let rest = Packed::from(&json!({"queues": [queue], "timeout": 0, "count": 10}));
    let Packed::List(jobs) = packed(&post(&server, "/fetch/batch", &rest), 200).get("jobs").clone() else {
        panic!("no list")
    };
    assert_eq!(jobs.len(), 2);
    for (verb, list, more) in [("fail", "fails", Some(("error", "x"))), ("release", "releases", None)] {
        let items = jobs.iter().map(|job| {
            let mut item = vec![
                ("job_id".to_owned(), job.get("job_id").clone()),
                ("lease_token".to_owned(), job.get("lease_token").clone()),
            ];
            item.extend(more.map(|(key, value)| (key.to_owned(), Packed::Str(value.into()))));
            Packed::Map(item)
        });
        let body = Packed::Map(vec![(list.into(), Packed::List(items.collect()))]);
        let Packed::List(results) =
            packed(&post(&server, &format!("/{verb}/batch"), &body), 200).get("results").clone()
        else {
            panic!("no list")
        };
        assert_eq!(results.len(), 2, "{verb}");
    }
}

#[test]
fn the_answer_is_as_asked_for() {
    let (server, queue) = (shared(), name("accept"));
    let body = json!({"queue": queue});
    let answer = server.send(&Request::json("POST", "/enqueue", &body).header("accept", KIND));
    packed(&answer, 201);
    let mut bytes = Vec::new();
    Packed::from(&body).write(&mut bytes);
    let answer = server.send(
        &Request::new("POST", "/api/v1/enqueue").body(KIND, &bytes).header("accept", "application/json"),
    );
    assert!(answer.expect(201)["job_id"].is_string());
}

#[test]
fn bad_messagepack_is_refused_in_kind() {
    let (server, queue) = (shared(), name("bad"));
    for bytes in [
        &b""[..],
        b"\xc1",
        b"\x81",
        b"\x81\xa5queue",
        b"\x80\x80",
        b"\x81\x01\x01",
        b"\xdd\xff\xff\xff\xff\x01",
        b"\xc4\x02{}",
        b"\x81\xa5queue\xa3\xff\xff\xff",
        &[0x91; 100_000],
    ] {
        let answer = server.send(&Request::new("POST", "/api/v1/enqueue").body(KIND, bytes));
        let error = packed(&answer, 400);
        assert_eq!(error.get("code").text(), "VALIDATION");
        assert!(!error.get("error").text().is_empty() && !error.get("request_id").text().is_empty());
    }
    let typo = Packed::from(&json!({"queue": queue, "payloda": 1}));
    assert_eq!(packed(&post(&server, "/enqueue", &typo), 400).get("details").get("field").text(), "payloda");
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
    // Only the worker endpoints speak it.
    let answer = server.send(&Request::new("POST", "/api/v1/queues/x/throttle").body(KIND, b"\x80"));
    answer.refused(415, "UNSUPPORTED_MEDIA_TYPE");
}
