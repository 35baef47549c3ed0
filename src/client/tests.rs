// SPDX-License-Identifier: Apache-2.0
//! The client against a server that answers, refuses, breaks and streams.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::testing::{Fake, Reply};
use super::*;

#[tokio::test]
async fn a_call_carries_key_and_body_and_reuses_its_connection() {
    let fake = Fake::start(|_| Reply::Json(201, r#"{"job_id":"j"}"#.into())).await;
    let client = Client::new(&format!("{}/base", fake.url), Some("sk_1")).unwrap();
    for _ in 0..2 {
        let answer =
            client.send(&Call::post("/enqueue", &serde_json::json!({"queue": "a"})).unwrap()).await.unwrap();
        assert_eq!(answer.body, br#"{"job_id":"j"}"#);
    }
    let asked = fake.asked();
    assert_eq!((asked[1].method.as_str(), asked[1].path.as_str()), ("POST", "/base/api/v1/enqueue"));
    assert_eq!(asked[1].headers["authorization"], "Bearer sk_1");
    assert_eq!(asked[1].body, r#"{"queue":"a"}"#);
    assert_eq!(client.idle.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn refusals_carry_the_servers_words() {
    let fake = Fake::start(|_| {
        Reply::Json(404, r#"{"error":"no such job","code":"NOT_FOUND","request_id":"r"}"#.into())
    })
    .await;
    let error = fake.client().get("/jobs/x").await.unwrap_err();
    assert_eq!(error.code(), Some("NOT_FOUND"));
    assert!(error.to_string().contains("no such job [NOT_FOUND]"));
}

#[tokio::test]
async fn nobody_there_is_a_connect_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url, None).unwrap().get("/info").await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_broken_answer_is_unknown_and_repeatable() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Raw("HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{".into()),
        1 => Reply::Json(503, r#"{"error":"?","code":"OUTCOME_UNKNOWN"}"#.into()),
        _ => Reply::Json(200, "{}".into()),
    })
    .await;
    let mut call = Call::new("POST", "/enqueue");
    call.key = Some("k1".into());
    let answer = fake.client().send_repeatable(&call).await.unwrap();
    assert_eq!(answer.body, b"{}");
    let asked = fake.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|a| a.headers["idempotency-key"] == "k1"));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let fake = Fake::start(|a| match a.path.as_str() {
        // A proper answer that promises keep-alive, after which the connection goes away.
        "/api/v1/first" => Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".into()),
        _ => Reply::Json(200, "{}".into()),
    })
    .await;
    let client = fake.client();
    client.get("/first").await.unwrap();
    assert_eq!(client.idle.lock().unwrap().len(), 1);
    assert_eq!(client.get("/second").await.unwrap().body, b"{}");
}

#[tokio::test]
async fn what_was_written_on_a_kept_connection_is_not_called_never_sent() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        // Reads the second request and dies.
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    });
    client.get("/first").await.unwrap();
    let error = client.send(&Call::new("POST", "/second")).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_call_that_must_not_be_repeated_is_written_once() {
    let fake = Fake::start(|a| match a.path.as_str() {
        "/api/v1/clone" => Reply::Raw(String::new()),
        _ => Reply::Json(200, "{}".into()),
    })
    .await;
    let client = fake.client();
    client.get("/first").await.unwrap();
    let error = client.send(&Call::new("POST", "/clone").once()).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn chunked_bodies_and_event_streams() {
    let fake = Fake::start(|a| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let resumed = a.headers.get("last-event-id").cloned().unwrap_or_default();
        Reply::Raw(format!("{head}8\r\nid: 4.0\n\r\n10\r\ndata: from {resumed:>3}\n\n\r\n0\r\n\r\n"))
    })
    .await;
    let client = fake.client();
    let mut stream = client.stream("/events", Some("3.9")).await.unwrap();
    let event = stream.next().await.unwrap().unwrap();
    assert_eq!((event.id.as_str(), event.data.as_str()), ("4.0", "from 3.9"));
    assert_eq!(stream.next().await.unwrap(), None);
}

#[test]
fn keys_cannot_smuggle_headers() {
    assert!(Client::new("http://h", Some("a\r\nx: y")).is_err());
    assert_eq!(Client::new("http://h", Some("  ")).unwrap().api_key(), None);
}
