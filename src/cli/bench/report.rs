// SPDX-License-Identifier: Apache-2.0
//! Rows of the result, as a table or as one JSON object per row.

use std::time::Duration;

use serde::Serialize;

use super::super::out::Table;
use super::load::Measured;
use super::stats::Spread;

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub scenario: String,
    /// On how many connections.
    pub connections: usize,
    /// Jobs that went through.
    pub jobs: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took.
    pub seconds: f64,
    /// Jobs per second; for latency rows there is no meaning in it.
    pub per_second: f64,
    /// Requests per second, divided by what a bare HTTP server answers with the same connections and bodies.
    pub of_bare: Option<f64>,
    /// Latency of a request, or of a job where the scenario says so.
    #[serde(flatten)]
    pub spread: Option<Spread>,
    /// User and system time of the server.
    pub server_cpu_us_per_job: Option<f64>,
    /// Refusals and broken connections.
    pub errors: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

impl Row {
    /// Sums up a run.
    pub fn new(
        scenario: impl Into<String>,
        connections: usize,
        measured: Measured,
        cpu: Option<Duration>,
    ) -> Self {
        let Measured { mut part, took } = measured;
        let seconds = took.as_secs_f64();
        // Ten ticks are 100 ms; below that the number says nothing.
        let cpu = cpu.filter(|cpu| part.jobs > 0 && cpu.as_millis() >= 100);
        Self {
            scenario: scenario.into(),
            connections,
            jobs: part.jobs,
            requests: part.requests,
            seconds,
            per_second: part.jobs as f64 / seconds.max(1e-9),
            of_bare: None,
            spread: part.spread(),
            server_cpu_us_per_job: cpu.map(|cpu| cpu.as_micros() as f64 / part.jobs as f64),
            errors: part.errors,
            first_error: part.first_error,
        }
    }
}

/// What the columns mean.
pub const LEGEND: &str = "\
jobs/s: jobs per second, where fetch and ack together make one. of bare: that, divided by the single enqueues per
second that the same HTTP stack parses and answers at once, on the same connections (batches, streams and mixed
loads: on 64). p50, p99, max: milliseconds per request; in latency
rows from the start of the enqueue to the job at the worker. cpu: microseconds of server CPU per job.";

/// The rows as a table.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "scenario", ">conns", ">jobs", ">jobs/s", ">of bare", ">p50", ">p99", ">max", ">cpu", ">errors", "",
    ]);
    for row in rows {
        let ms =
            |pick: fn(&Spread) -> u32| row.spread.as_ref().map_or(String::new(), |s| milliseconds(pick(s)));
        table.row([
            row.scenario.clone(),
            row.connections.to_string(),
            row.jobs.to_string(),
            grouped(row.per_second),
            row.of_bare.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            ms(|s| s.p50_us),
            ms(|s| s.p99_us),
            ms(|s| s.max_us),
            row.server_cpu_us_per_job.map_or(String::new(), |us| format!("{us:.1}")),
            row.errors.to_string(),
            row.first_error.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn milliseconds(us: u32) -> String {
    let ms = f64::from(us) / 1_000.0;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

/// `12 345`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::stats::Part;
    use super::*;

    #[test]
    fn a_row_adds_up() {
        let mut part = Part::default();
        (part.jobs, part.requests) = (1_000, 2_000);
        part.sample(Duration::from_micros(1_500));
        let row = Row::new(
            "x",
            4,
            Measured { part, took: Duration::from_millis(500) },
            Some(Duration::from_millis(120)),
        );
        assert!((row.per_second - 2_000.0).abs() < 1e-6);
        assert_eq!(row.server_cpu_us_per_job, Some(120.0));
        let text = table(&[row]).to_string();
        let cells: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(cells, ["x", "4", "1000", "2", "000", "1.50", "1.50", "1.50", "120.0", "0"]);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((grouped(1_234_567.4).as_str(), grouped(12.0).as_str()), ("1 234 567", "12"));
        assert_eq!((milliseconds(123).as_str(), milliseconds(45_678).as_str()), ("0.12", "46"));
    }
}
