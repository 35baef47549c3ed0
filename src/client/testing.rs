// SPDX-License-Identifier: Apache-2.0
//! A server of a few lines for tests: answers what a closure says and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as received.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What to answer.
pub enum Reply {
    /// Status and JSON body, keep-alive.
    Json(u16, String),
    /// These bytes, then the connection is closed.
    Raw(String),
    /// Nothing, until the client goes away.
    Never,
}

/// The server; ends with the runtime of the test.
pub struct Fake {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, log.clone(), answer.clone()));
            }
        });
        Self { url, asked }
    }

    pub fn client(&self) -> super::Client {
        super::Client::new(&self.url, None).unwrap()
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The bodies of requests to paths that contain `part`.
    pub fn bodies(&self, part: &str) -> Vec<serde_json::Value> {
        let asked = self.asked();
        asked
            .iter()
            .filter(|a| a.path.contains(part))
            .map(|a| serde_json::from_str(&a.body).unwrap())
            .collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<dyn Fn(&Asked) -> Reply + Send + Sync>,
) {
    let mut buf = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut buf).await {
        log.lock().unwrap().push(asked.clone());
        match answer(&asked) {
            Reply::Json(status, body) => {
                let text = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Reply::Never => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Option<Asked> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(used) = request.parse(buf).unwrap() {
            let headers: BTreeMap<String, String> = request
                .headers
                .iter()
                .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
            if buf.len() >= used + length {
                let asked = Asked {
                    method: request.method.unwrap().to_owned(),
                    path: request.path.unwrap().to_owned(),
                    headers,
                    body: String::from_utf8(buf[used..used + length].to_vec()).unwrap(),
                };
                buf.drain(..used + length);
                return Some(asked);
            }
        }
        if stream.read_buf(buf).await.ok()? == 0 {
            return None;
        }
    }
}
