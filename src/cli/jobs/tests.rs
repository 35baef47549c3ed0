// SPDX-License-Identifier: Apache-2.0
//! What `jobs` asks for.

use clap::Parser;
use serde_json::json;

use super::super::exit;
use super::super::out::{Format, Out};
use super::super::{Cli, Command as Any};
use super::*;
use crate::client::testing::{Fake, Reply};

async fn run(line: &[&str], format: Format, fake: &Fake) -> Result<Exit> {
    let command = match Cli::try_parse_from(["jobbie", "jobs"].iter().chain(line)).unwrap().command {
        Any::Jobs(command) => command,
        other => panic!("{other:?}"),
    };
    command.run(&Context { client: fake.client(), out: Out::new(format) }).await
}

#[tokio::test]
async fn all_pages_are_read_and_the_end_is_found() {
    let fake = Fake::start(|asked| {
        let cursor = asked.path.split("cursor=").nth(1);
        let next = match cursor {
            None => json!("a"),
            Some("a") => json!("b"),
            _ => json!(null),
        };
        Reply::Json(
            200,
            json!({"jobs": [{"id": "j", "state": "dead", "errors": [{"error": "x"}]}], "cursor": next})
                .to_string(),
        )
    })
    .await;
    run(&["--queue", "a/b", "--state", "dead", "--all"], Format::Table, &fake).await.unwrap();
    let paths: Vec<String> = fake.asked().iter().map(|a| a.path.clone()).collect();
    assert_eq!(paths[0], "/api/v1/jobs?limit=500&queue=a%2Fb&state=dead");
    assert_eq!(paths.len(), 3);
    run(&["list", "--limit", "2"], Format::Json, &fake).await.unwrap();
    assert_eq!(fake.asked()[3].path, "/api/v1/jobs?limit=2");
}

#[tokio::test]
async fn verbs_go_where_they_belong() {
    let fake = Fake::start(|_| Reply::Json(200, r#"{"job_id":"n"}"#.into())).await;
    for line in [
        &["retry", "j"][..],
        &["cancel", "j"],
        &["delete", "j"],
        &["move", "j", "--to", "q"],
        &["clone", "j"],
        &["patch", "j", "--priority", "9", "--tag", "a=b", "--payload", "1"],
        &["get", "j"],
        &["timeline", "j"],
    ] {
        assert_eq!(run(line, Format::Table, &fake).await.unwrap(), Exit::Done, "{line:?}");
    }
    let asked: Vec<String> =
        fake.asked().iter().map(|a| format!("{} {} {}", a.method, &a.path[7..], a.body)).collect();
    assert_eq!(
        asked,
        [
            "POST /jobs/j/retry {}",
            "POST /jobs/j/cancel {}",
            "DELETE /jobs/j ",
            r#"POST /jobs/j/move {"queue":"q"}"#,
            "POST /jobs/j/clone {}",
            r#"PATCH /jobs/j {"payload":1,"priority":9,"tags":{"a":"b"}}"#,
            "GET /jobs/j ",
            "GET /jobs/j/timeline ",
        ]
    );
}

#[tokio::test]
async fn every_job_is_tried_and_the_exit_code_tells() {
    let fake = Fake::start(|asked| match asked.path.as_str() {
        "/api/v1/jobs/gone/retry" => Reply::Json(404, r#"{"error":"no such job","code":"NOT_FOUND"}"#.into()),
        "/api/v1/jobs/busy/retry" => Reply::Json(409, r#"{"error":"it runs","code":"CONFLICT"}"#.into()),
        _ => Reply::Json(200, "{}".into()),
    })
    .await;
    assert_eq!(run(&["retry", "gone", "j"], Format::Table, &fake).await.unwrap(), Exit::Nothing);
    assert_eq!(fake.asked().len(), 2);
    for line in [["retry", "busy", "gone", "j"], ["retry", "gone", "j", "busy"]] {
        let worst = run(&line, Format::Table, &fake).await.unwrap();
        assert_eq!(worst, Exit::Failed, "the worst of {line:?}, not the last");
    }
    let one = run(&["retry", "gone"], Format::Table, &fake).await.unwrap_err();
    assert_eq!(exit::of(&one).0, Exit::Nothing);
    assert!(run(&["patch", "j"], Format::Table, &fake).await.is_err());
}
