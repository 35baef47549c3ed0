// SPDX-License-Identifier: Apache-2.0
//! Rows of the result, as a table or as one JSON object per row.

use std::time::Duration;

use serde::Serialize;

use super::super::out::Table;
use super::goals::{Goal, Verdict};
use super::load::{Backlog, Measured};
use super::stats::Spread;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Jobs per second.
    #[serde(rename = "jobs/s")]
    JobsPerSecond,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Mebibytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Percent of one core.
    #[serde(rename = "% of a core")]
    CorePercent,
}

/// What a figure is compared with, measured in the same run.
#[derive(Debug, Clone, Serialize)]
pub struct Yardstick {
    /// What it is.
    pub of: String,
    /// How much, in the unit of the figure.
    pub figure: f64,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The name by which it is asked for.
    pub scenario: &'static str,
    /// What was done.
    pub work: String,
    /// On how many connections.
    #[serde(skip_serializing_if = "is_zero")]
    pub connections: usize,
    /// The result.
    pub figure: f64,
    /// What it counts.
    pub unit: Unit,
    /// What it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<Yardstick>,
    /// Figure divided by yardstick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What it is held to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Verdict>,
    /// Jobs that went through.
    #[serde(skip_serializing_if = "is_zero")]
    pub jobs: u64,
    /// Requests that were answered.
    #[serde(skip_serializing_if = "is_zero")]
    pub requests: u64,
    /// How long it took.
    #[serde(skip_serializing_if = "is_zero")]
    pub seconds: f64,
    /// Latency of a request, or of a job where the scenario says so.
    #[serde(flatten)]
    pub spread: Option<Spread>,
    /// User and system time of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us_per_job: Option<f64>,
    /// The same of the load generator, which shares the cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_cpu_us_per_job: Option<f64>,
    /// What producers were ahead of workers.
    #[serde(flatten)]
    pub backlog: Option<Backlog>,
    /// Share of the cores' time that neither the server nor the load generator used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others_cpu_share: Option<f64>,
    /// Refusals and broken connections.
    pub errors: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

impl Row {
    /// A single figure.
    pub fn figure(scenario: &'static str, work: impl Into<String>, figure: f64, unit: Unit) -> Self {
        Self {
            scenario,
            work: work.into(),
            connections: 0,
            figure,
            unit,
            yardstick: None,
            ratio: None,
            goals: Vec::new(),
            jobs: 0,
            requests: 0,
            seconds: 0.0,
            spread: None,
            server_cpu_us_per_job: None,
            load_cpu_us_per_job: None,
            backlog: None,
            others_cpu_share: None,
            errors: 0,
            first_error: None,
        }
    }

    /// A rate.
    pub fn rate(
        scenario: &'static str,
        work: impl Into<String>,
        connections: usize,
        measured: Measured,
    ) -> Self {
        let Measured { mut part, took, backlog } = measured;
        let seconds = took.as_secs_f64();
        let spread = part.spread();
        let mut row = Self::figure(scenario, work, part.jobs as f64 / seconds.max(1e-9), Unit::JobsPerSecond);
        (row.connections, row.jobs, row.requests, row.seconds) =
            (connections, part.jobs, part.requests, seconds);
        (row.spread, row.backlog) = (spread, backlog);
        (row.errors, row.first_error) = (part.errors, part.first_error);
        row
    }

    /// A latency: the median is the figure.
    pub fn latency(
        scenario: &'static str,
        work: impl Into<String>,
        connections: usize,
        measured: Measured,
    ) -> Self {
        let mut row = Self::rate(scenario, work, connections, measured);
        row.unit = Unit::Milliseconds;
        row.figure = row.spread.map_or(f64::NAN, |spread| f64::from(spread.p50_us) / 1e3);
        row
    }

    /// With CPU time of the server and of the load generator.
    pub fn costing(mut self, server: Option<Duration>, load: Option<Duration>) -> Self {
        let jobs = self.jobs as f64;
        // Ten ticks are 100 ms; below that the number says nothing.
        let per_job = |time: Option<Duration>| {
            time.filter(|time| jobs > 0.0 && time.as_millis() >= 100)
                .map(|time| time.as_micros() as f64 / jobs)
        };
        (self.server_cpu_us_per_job, self.load_cpu_us_per_job) = (per_job(server), per_job(load));
        self
    }

    /// Compared with something in the same unit.
    pub fn against(mut self, of: impl Into<String>, figure: Option<f64>) -> Self {
        if let Some(figure) = figure.filter(|figure| *figure > 0.0) {
            self.ratio = Some(self.figure / figure);
            self.yardstick = Some(Yardstick { of: of.into(), figure });
        }
        self
    }

    /// Held to goals. What could not be measured is left out.
    pub fn held_to(mut self, goals: &[Goal]) -> Self {
        let tail = self.spread.map(|s| f64::from(s.p99_us) / f64::from(s.p50_us.max(1)));
        let share = self.backlog.map(|backlog| backlog.left as f64 / (self.jobs.max(1)) as f64);
        for goal in goals {
            let is_met = match *goal {
                Goal::RatioAtLeast(least) => self.ratio.map(|ratio| ratio >= least),
                Goal::RatioAtMost(most) => self.ratio.map(|ratio| ratio <= most),
                Goal::CpuAtMost(most) => self.server_cpu_us_per_job.map(|cpu| cpu <= most),
                Goal::FigureAtMost(most) => Some(self.figure <= most),
                Goal::TailAtMost(times) => tail.map(|tail| tail <= times),
                Goal::MedianAtMost(times, more) => {
                    self.yardstick.as_ref().map(|yardstick| self.figure <= yardstick.figure * times + more)
                }
                Goal::BacklogAtMost(most) => share.map(|share| share <= most),
            };
            self.goals.extend(is_met.map(|is_met| Verdict { goal: goal.to_string(), is_met }));
        }
        self
    }

    /// Whether every goal is met.
    pub fn is_good(&self) -> bool {
        self.goals.iter().all(|verdict| verdict.is_met)
    }

    /// The figure with its unit.
    pub fn said(&self) -> String {
        said(self.figure, self.unit)
    }
}

/// Left out of the JSON: a row that is not a rate has no jobs, connections or time.
fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// What the columns mean.
pub const LEGEND: &str = "\
jobs/s: jobs per second; where workers take part, jobs that were acked. bare: single enqueues per second that actix's
HTTP server parses, checks and answers at once, on the same connections (batches, streams and mixed loads: on 64), measured
before and after the row. p50, p99: milliseconds per request; mixed: per enqueue; latency: from the start of the enqueue to
the job at the worker. cpu, load: microseconds of CPU per job of the server and of the load generator. left: jobs that
producers were ahead of workers at the end, and at most; they wait while it is 64, unless the row says unpaced.";

/// The rows as a table.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "scenario",
        "work",
        ">conns",
        ">figure",
        "yardstick",
        ">ratio",
        ">p50",
        ">p99",
        ">cpu",
        ">load",
        ">left",
        "goals",
        "",
    ]);
    for row in rows {
        let ms =
            |pick: fn(&Spread) -> u32| row.spread.as_ref().map_or(String::new(), |s| milliseconds(pick(s)));
        let us = |us: Option<f64>| us.map_or(String::new(), |us| format!("{us:.1}"));
        let goals: Vec<String> = row
            .goals
            .iter()
            .map(|v| format!("{} {}", v.goal, if v.is_met { "met" } else { "MISSED" }))
            .collect();
        table.row([
            row.scenario.to_owned(),
            row.work.clone(),
            if row.connections > 0 { row.connections.to_string() } else { String::new() },
            row.said(),
            row.yardstick
                .as_ref()
                .map_or(String::new(), |y| format!("{} {}", y.of, said(y.figure, row.unit))),
            row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            ms(|s| s.p50_us),
            ms(|s| s.p99_us),
            us(row.server_cpu_us_per_job),
            us(row.load_cpu_us_per_job),
            row.backlog.map_or(String::new(), |b| format!("{} / {}", b.left, b.most)),
            goals.join(", "),
            match row.errors {
                0 => String::new(),
                count => format!("{count} errors: {}", row.first_error.as_deref().unwrap_or_default()),
            },
        ]);
    }
    table
}

fn said(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::JobsPerSecond => format!("{}/s", grouped(figure)),
        Unit::Milliseconds => format!("{figure:.3} ms"),
        Unit::Seconds => format!("{figure:.2} s"),
        Unit::Mebibytes => format!("{figure:.0} MiB"),
        Unit::CorePercent => format!("{figure:.1} % of a core"),
    }
}

fn milliseconds(us: u32) -> String {
    let ms = f64::from(us) / 1_000.0;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

/// `12,345`.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::stats::Part;
    use super::*;

    fn measured() -> Measured {
        let mut part = Part::default();
        (part.jobs, part.requests) = (1_000, 2_000);
        part.sample(Duration::from_micros(1_500));
        Measured { part, took: Duration::from_millis(500), backlog: Some(Backlog { left: 20, most: 70 }) }
    }

    #[test]
    fn a_row_adds_up() {
        let row = Row::rate("x", "y", 4, measured())
            .costing(Some(Duration::from_millis(120)), Some(Duration::from_millis(90)))
            .against("bare", Some(4_000.0));
        assert!((row.figure - 2_000.0).abs() < 1e-6 && row.ratio == Some(0.5));
        assert_eq!((row.server_cpu_us_per_job, row.load_cpu_us_per_job), (Some(120.0), None));
        let text = table(&[row]).to_string();
        let cells: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let wanted =
            ["x", "y", "4", "2,000/s", "bare", "4,000/s", "0.50", "1.50", "1.50", "120.0", "20", "/", "70"];
        assert_eq!(cells, wanted);
    }

    #[test]
    fn goals_are_judged_and_what_was_not_measured_is_left_out() {
        let verdicts = |row: Row| row.goals.iter().map(|v| v.is_met).collect::<Vec<_>>();
        let rate = || Row::rate("x", "y", 4, measured()).against("bare", Some(4_000.0));
        assert_eq!(
            verdicts(rate().held_to(&[Goal::RatioAtLeast(0.5), Goal::RatioAtLeast(0.6)])),
            [true, false]
        );
        assert_eq!(
            verdicts(rate().held_to(&[Goal::RatioAtMost(0.5), Goal::RatioAtMost(0.4)])),
            [true, false]
        );
        assert_eq!(
            verdicts(rate().held_to(&[Goal::BacklogAtMost(0.02), Goal::BacklogAtMost(0.01)])),
            [true, false]
        );
        assert_eq!(verdicts(rate().held_to(&[Goal::TailAtMost(1.0), Goal::TailAtMost(0.9)])), [true, false]);
        assert!(verdicts(rate().held_to(&[Goal::CpuAtMost(1.0)])).is_empty());
        let cpu = rate().costing(Some(Duration::from_millis(120)), None);
        assert_eq!(verdicts(cpu.held_to(&[Goal::CpuAtMost(120.0), Goal::CpuAtMost(119.0)])), [true, false]);
        let median = || Row::latency("x", "y", 1, measured()).against("fdatasync", Some(0.5));
        assert_eq!(
            verdicts(median().held_to(&[Goal::MedianAtMost(2.0, 0.5), Goal::MedianAtMost(2.0, 0.4)])),
            [true, false]
        );
        let memory = Row::figure("x", "y", 400.0, Unit::Mebibytes);
        assert!(memory.clone().held_to(&[Goal::FigureAtMost(400.0)]).is_good());
        assert!(!memory.held_to(&[Goal::FigureAtMost(399.0)]).is_good());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((grouped(1_234_567.4).as_str(), grouped(12.0).as_str()), ("1,234,567", "12"));
        assert_eq!((milliseconds(123).as_str(), milliseconds(45_678).as_str()), ("0.12", "46"));
    }
}
