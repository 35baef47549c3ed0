// SPDX-License-Identifier: Apache-2.0
//! Metrics as OTLP writes them (`opentelemetry/proto/metrics/v1/metrics.proto`), made from the text that `/metrics`
//! answers: both say the same, and nothing is counted twice. Reads what our own encoder writes, no more.

use super::protobuf::Message;
use super::resource::{Resource, text};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: since the start of the process.
const CUMULATIVE: u64 = 2;

/// The body of a request with every metric, and how many points it has. Times are nanoseconds since 1970.
pub fn request(resource: &Resource, exposition: &str, began: u64, now: u64) -> (Vec<u8>, u64) {
    let families: Vec<Family<'_>> = families(exposition);
    let mut points = 0;
    let metrics = families.iter().map(|family| {
        let (metric, count) = family.encode(began, now);
        points += count;
        metric
    });
    let body = resource.request(metrics);
    (body, points)
}

struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    samples: Vec<Sample<'a>>,
}

struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

fn families(exposition: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut help = "";
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.push(Family { name, help, kind, samples: Vec::new() });
        } else if let (Some(family), Some(sample)) = (families.last_mut(), sample(line)) {
            family.samples.push(sample);
        }
    }
    families
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, self::labels(labels)?),
        None => (series, Vec::new()),
    };
    Some(Sample { name, labels, value: value.parse().ok()? })
}

/// The labels up to the closing brace.
fn labels(mut rest: &str) -> Option<Vec<(&str, String)>> {
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name, value));
        rest = after.get(end..)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

impl Family<'_> {
    /// The metric and how many points it has. Its name is that of the family, without `_total`, as OpenTelemetry
    /// names counters.
    fn encode(&self, began: u64, now: u64) -> (Message, u64) {
        let mut metric = Message::default();
        metric.bytes(1, self.name);
        metric.bytes(2, self.help);
        metric.bytes(3, unit(self.name));
        let mut data = Message::default();
        let mut points = 0;
        match self.kind {
            "histogram" => {
                for histogram in self.histograms() {
                    data.message(1, &histogram.encode(began, now));
                    points += 1;
                }
                data.number(2, CUMULATIVE);
                metric.message(9, &data);
            }
            "counter" => {
                points = self.numbers(&mut data, began, now);
                data.number(2, CUMULATIVE);
                data.number(3, 1);
                metric.message(7, &data);
            }
            _ => {
                points = self.numbers(&mut data, 0, now);
                metric.message(5, &data);
            }
        }
        (metric, points)
    }

    fn numbers(&self, data: &mut Message, began: u64, now: u64) -> u64 {
        for sample in &self.samples {
            let mut point = Message::default();
            point.fixed64(2, began);
            point.fixed64(3, now);
            point.double(4, sample.value);
            for (key, value) in &sample.labels {
                point.message(7, &text(key, value));
            }
            data.message(1, &point);
        }
        self.samples.len() as u64
    }

    /// The samples of each histogram put together: sum and count, then the buckets in order.
    fn histograms(&self) -> Vec<Histogram<'_>> {
        let mut histograms: Vec<Histogram<'_>> = Vec::new();
        for sample in &self.samples {
            let (bounds, labels): (Vec<_>, Vec<_>) =
                sample.labels.iter().partition(|(name, _)| *name == "le");
            if histograms.last().is_none_or(|last| last.labels != labels) {
                histograms.push(Histogram { labels, sum: 0.0, count: 0.0, buckets: Vec::new() });
            }
            let Some(histogram) = histograms.last_mut() else { continue };
            match (sample.name.strip_prefix(self.name), bounds.first()) {
                (Some("_sum"), _) => histogram.sum = sample.value,
                (Some("_count"), _) => histogram.count = sample.value,
                (_, Some((_, bound))) => {
                    let bound = bound.parse().unwrap_or(f64::INFINITY);
                    histogram.buckets.push((bound, sample.value));
                }
                _ => {}
            }
        }
        histograms
    }
}

struct Histogram<'a> {
    labels: Vec<&'a (&'a str, String)>,
    sum: f64,
    count: f64,
    /// Upper bounds, and how many observations are at or below them.
    buckets: Vec<(f64, f64)>,
}

impl Histogram<'_> {
    fn encode(&self, began: u64, now: u64) -> Message {
        let mut point = Message::default();
        point.fixed64(2, began);
        point.fixed64(3, now);
        point.fixed64(4, self.count as u64);
        point.double(5, self.sum);
        let below = [0.0].into_iter().chain(self.buckets.iter().map(|(_, count)| *count));
        let counts = self.buckets.iter().zip(below).map(|((_, count), below)| (count - below) as u64);
        point.packed(6, counts.map(u64::to_le_bytes));
        // The last bucket has no bound: it is everything above.
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite());
        point.packed(7, bounds.map(f64::to_le_bytes));
        for (key, value) in &self.labels {
            point.message(9, &text(key, value));
        }
        point
    }
}

/// The unit in UCUM, which the names say in words.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposition_is_read() {
        let text = "# HELP a A thing.\n# TYPE a counter\na_total{queue=\"x\\\"y, }\"} 2\n# HELP h A time.\n\
            # TYPE h histogram\nh_sum{q=\"1\"} 0.5\nh_count{q=\"1\"} 3\nh_bucket{q=\"1\",le=\"0.1\"} 1\n\
            h_bucket{q=\"1\",le=\"+Inf\"} 3\nh_sum{q=\"2\"} 0.0\nh_count{q=\"2\"} 0\n\
            h_bucket{q=\"2\",le=\"0.1\"} 0\nh_bucket{q=\"2\",le=\"+Inf\"} 0\n# EOF\n";
        let families = families(text);
        assert_eq!((families.len(), families[0].help), (2, "A thing."));
        assert_eq!(families[0].samples[0].labels, [("queue", "x\"y, }".to_owned())]);
        let histograms = families[1].histograms();
        assert_eq!(histograms.len(), 2);
        assert_eq!((histograms[0].sum, histograms[0].count), (0.5, 3.0));
        assert_eq!(histograms[0].buckets, [(0.1, 1.0), (f64::INFINITY, 3.0)]);
        assert_eq!(request(&Resource { node_id: 1 }, text, 1, 2).1, 3);
    }
}
