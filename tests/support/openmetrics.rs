// SPDX-License-Identifier: Apache-2.0
//! A strict reader of OpenMetrics text: what it does not allow is an error, so that a scraper that is as strict
//! finds nothing to complain about.

use std::collections::{BTreeMap, BTreeSet};

/// Everything of one name.
#[derive(Debug)]
pub struct Family {
    /// The name that `TYPE` gives.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// Its samples, in order.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub struct Sample {
    /// The name with its suffix.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Family {
    /// The name that queries use: that of the samples, of a histogram without suffix.
    pub fn shown(&self) -> String {
        match &*self.kind {
            "counter" => format!("{}_total", self.name),
            "info" => format!("{}_info", self.name),
            _ => self.name.clone(),
        }
    }

    /// The labels that its samples have, without the bound of a bucket.
    pub fn labels(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().flat_map(|sample| sample.labels.keys().map(String::as_str));
        names.filter(|name| *name != "le").collect()
    }
}

/// Reads a whole exposition; the error names the line.
pub fn parse(text: &str) -> Result<Vec<Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut families: Vec<Family> = Vec::new();
    let (mut seen, mut helped) = (BTreeSet::new(), None);
    for (at, line) in body.lines().enumerate() {
        let fail = |why: &str| Err(format!("line {}: {why}: {line}", at + 1));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let Some((name, text)) = help.split_once(' ') else { return fail("no help") };
            if !text.ends_with('.') || text.contains('\\') {
                return fail("help is one plain sentence");
            }
            if !seen.insert(name.to_owned()) {
                return fail("a family comes once, in one piece");
            }
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = kind.split_once(' ') else { return fail("no type") };
            if helped.take().as_deref() != Some(name) {
                return fail("the type follows the help of the same family");
            }
            let bad = ["_total", "_info", "_bucket", "_count", "_sum", "_created"];
            if bad.iter().any(|suffix| name.ends_with(suffix)) || !is_name(name) {
                return fail("not a name for a family");
            }
            if !["counter", "gauge", "histogram", "info"].contains(&kind) {
                return fail("not a type");
            }
            families.push(Family { name: name.into(), kind: kind.into(), samples: Vec::new() });
        } else if line.starts_with('#') || line.is_empty() {
            return fail("neither a sample nor what describes one");
        } else {
            let Some(family) = families.last_mut().filter(|_| helped.is_none()) else {
                return fail("no type before it");
            };
            match sample(line).filter(|sample| belongs(family, sample)) {
                Some(sample) => family.samples.push(sample),
                None => return fail("not a sample of its family"),
            }
        }
    }
    families.iter().try_for_each(check)?;
    Ok(families)
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ')?;
    let number = value.parse().ok()?;
    (is_name(name) && !value.contains(' ')).then(|| Sample { name: name.into(), labels, value: number })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                }),
                (_, '\n') => return None,
                (_, c) => value.push(c),
            }
        };
        if !is_name(name) || labels.insert(name.to_owned(), value).is_some() {
            return None;
        }
        match after[end..].split_at_checked(1)? {
            (",", more) => rest = more,
            ("}", more) => return Some((labels, more)),
            _ => return None,
        }
    }
}

fn belongs(family: &Family, sample: &Sample) -> bool {
    let Some(suffix) = sample.name.strip_prefix(&family.name) else { return false };
    match &*family.kind {
        "counter" => suffix == "_total" && sample.value >= 0.0 && sample.value.is_finite(),
        "gauge" => suffix.is_empty() && sample.value.is_finite(),
        "info" => suffix == "_info" && sample.value == 1.0,
        _ => matches!(suffix, "_bucket" | "_sum" | "_count"),
    }
}

/// What holds over several lines: no series twice, the same labels everywhere, buckets that add up.
fn check(family: &Family) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{}: {why}", family.name));
    if family.samples.is_empty() {
        return fail("has no samples");
    }
    let (mut series, mut shapes) = (BTreeSet::new(), BTreeSet::new());
    let mut histograms: BTreeMap<Vec<(&str, &str)>, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        if !series.insert((&sample.name, &sample.labels)) {
            return fail("a series comes twice");
        }
        let pairs = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own: Vec<(&str, &str)> = pairs.filter(|(name, _)| *name != "le").collect();
        shapes.insert(own.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        histograms.entry(own).or_default().push(sample);
    }
    if shapes.len() > 1 {
        return fail("its samples have different labels");
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    for samples in histograms.values() {
        let (mut bound, mut below, mut count, mut sums) = (f64::NEG_INFINITY, 0.0, None, 0);
        for sample in samples {
            match sample.name.strip_prefix(&family.name) {
                Some("_bucket") => {
                    let le = sample.labels.get("le").and_then(|le| le.replace("+Inf", "inf").parse().ok());
                    let Some(le) = le.filter(|le| *le > bound) else {
                        return fail("buckets are not in order");
                    };
                    if sample.value < below {
                        return fail("buckets do not add up");
                    }
                    (bound, below) = (le, sample.value);
                }
                Some("_count") => count = Some(sample.value),
                _ => sums += 1,
            }
        }
        if bound.is_finite() || count != Some(below) || sums != 1 {
            return fail("a histogram is not complete");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_allowed_is_found() {
    let good = "# HELP a A thing.\n# TYPE a counter\na_total{x=\"q\\\"\\n,}\"} 1\na_total{x=\"b\"} 2\n\
        # HELP h A size.\n# TYPE h histogram\nh_sum 3.0\nh_count 2\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\n# EOF\n";
    let families = parse(good).unwrap();
    assert_eq!((families.len(), families[0].shown().as_str()), (2, "a_total"));
    assert_eq!(families[0].samples[0].labels["x"], "q\"\n,}");
    for (from, to) in [
        ("# EOF\n", ""),
        ("# HELP a A thing.\n", ""),
        ("a_total{x=\"b\"} 2", "a{x=\"b\"} 2"),
        ("a_total{x=\"b\"} 2", "a_total{x=\"b\"} -2"),
        ("a_total{x=\"b\"} 2", "a_total{y=\"b\"} 2"),
        ("a_total{x=\"b\"} 2", "a_total{x=\"q\\\"\\n,}\"} 2"),
        ("a_total{x=\"b\"} 2", "a_total{x=\"b\",x=\"c\"} 2"),
        ("a counter", "a gauge"),
        ("# TYPE a counter", "# TYPE a_total counter"),
        ("le=\"1.0\"} 1", "le=\"1.0\"} 3"),
        ("h_count 2", "h_count 3"),
        ("h_bucket{le=\"+Inf\"} 2\n", ""),
        ("h_sum 3.0\n", "\n"),
        ("# HELP h", "# HELP a"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(bad != good && parse(&bad).is_err(), "{from:?} → {to:?} is not noticed");
    }
}
