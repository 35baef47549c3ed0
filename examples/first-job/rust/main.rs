// SPDX-License-Identifier: Apache-2.0
//! A producer and a worker for jobbie: plain HTTP, nothing but the standard library and `serde_json`. A larger
//! program takes an HTTP client such as `reqwest` or `ureq`, and `call` becomes one line.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

/// Calls the server; `None` if there is nothing. Whatever is refused is an error.
fn call(path: &str, body: &Value) -> Result<Option<Value>, Box<dyn Error>> {
    let url = std::env::var("JOBBIE_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let host = url.strip_prefix("http://").ok_or("this example does not speak TLS")?;
    let key = std::env::var("JOBBIE_API_KEY").map(|key| format!("Authorization: Bearer {key}\r\n"));
    let (key, body) = (key.unwrap_or_default(), body.to_string());
    let mut server = TcpStream::connect(host)?;
    write!(
        server,
        "POST /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{key}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    match head.split(' ').nth(1).ok_or("no status")? {
        "204" => Ok(None),
        status if status.starts_with('2') => Ok(Some(serde_json::from_str(body)?)),
        status => Err(format!("{path}: {status} {body}").into()),
    }
}

/// The job itself.
fn work(payload: &Value) -> Result<String, Box<dyn Error>> {
    Ok(format!("hello, {}", payload["name"].as_str().ok_or("nobody is named")?))
}

fn main() -> Result<(), Box<dyn Error>> {
    // The producer. The job is on disk when this returns.
    let enqueued = call("/enqueue", &json!({"queue": "greetings", "payload": {"name": "Dan"}}))?;
    println!("enqueued {}", enqueued.ok_or("no answer")?["job_id"].as_str().ok_or("no id")?);

    // The worker. A real one waits longer for each job, and goes on for ever.
    let fetch = json!({"queues": ["greetings"], "worker_id": "rust-1", "timeout": "1s"});
    while let Some(job) = call("/fetch", &fetch)? {
        let (id, token) = (job["job_id"].as_str().ok_or("no id")?, &job["lease_token"]);
        match work(&job["payload"]) {
            Ok(result) => {
                call(&format!("/ack/{id}"), &json!({"lease_token": token, "result": result}))?;
                println!("{result}");
            }
            // The job is tried again later.
            Err(e) => {
                _ = call(&format!("/fail/{id}"), &json!({"lease_token": token, "error": e.to_string()}))?
            }
        }
    }
    Ok(())
}
