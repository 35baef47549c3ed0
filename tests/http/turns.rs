// SPDX-License-Identifier: Apache-2.0
//! A flood of others does not decide when somebody's turn comes: order in the log, not time, is looked at.

use std::time::Instant;

use serde_json::{Value, json};

use crate::hardening::LATE;
use crate::support::Launch;
use crate::support::Request;
use crate::support::conn::Conn;

fn index(conn: &mut Conn) -> u64 {
    let deadline = Instant::now() + LATE;
    let head = conn.head("POST", deadline).unwrap();
    conn.body(deadline).unwrap();
    assert_eq!(head.status, 201);
    head.header("x-jobbie-index").unwrap().parse().unwrap()
}

#[test]
fn a_single_job_is_not_behind_every_batch_that_waits() {
    const CONNECTIONS: usize = 24;
    let server = Launch::new().start();
    let jobs: Vec<Value> = (0..2_000).map(|n| json!({"queue": "flood", "payload": n})).collect();
    let batch = Request::json("POST", "/enqueue/batch", &json!({"jobs": jobs})).bytes(server.addr(), true);
    let mut flood: Vec<Conn> = (0..CONNECTIONS).map(|_| Conn::open(server.addr()).unwrap()).collect();
    // Three rounds, each sent before any of it is answered; the single job comes when all of it waits.
    let (mut before, mut after) = (0, 0);
    for _ in 0..3 {
        for conn in &mut flood {
            conn.send(&batch).unwrap();
        }
        let first = index(&mut flood[0]);
        let mut polite = Conn::open(server.addr()).unwrap();
        let one = Request::json("POST", "/enqueue", &json!({"queue": "polite"}));
        polite.send(&one.bytes(server.addr(), true)).unwrap();
        let mine = index(&mut polite);
        for conn in &mut flood[1..] {
            let other = index(conn);
            if other > first {
                if other < mine { before += 1 } else { after += 1 }
            }
        }
    }
    println!("{before} batches before, {after} after");
    assert!(after > before, "{before} of {} batches came before it", before + after);
}
