// SPDX-License-Identifier: Apache-2.0
//! P6: of a limited queue no more jobs are active than allowed, at any index of the log.

use std::collections::BTreeMap;

use crate::history::{Outcome, What};
use crate::oracle::Facts;
use crate::producer::LIMITED;

/// Counts the leases that were certainly live after each log entry, and says how many there were at most.
pub fn concurrency(facts: &mut Facts<'_>) -> usize {
    // The last index at which a lease was certainly still live or ended by its worker's word.
    let mut signs: BTreeMap<&str, u64> = BTreeMap::new();
    for op in facts.ops {
        if let What::Settle { token, again: false, outcome: Outcome::Ok((), index), .. } = &op.what {
            let sign = signs.entry(token).or_default();
            *sign = (*sign).max(*index);
        }
    }
    let mut steps: BTreeMap<u64, i64> = BTreeMap::new();
    for (_, grant) in facts.jobs.values().flat_map(|job| &job.grants) {
        let sign = signs.get(grant.token.as_str()).copied().unwrap_or(0);
        if grant.queue == LIMITED.0 && !grant.adopted && sign > grant.index {
            *steps.entry(grant.index).or_default() += 1;
            *steps.entry(sign).or_default() -= 1;
        }
    }
    let (mut live, mut peak) = (0, (0, 0));
    for (index, step) in steps {
        live += step;
        peak = peak.max((live, index));
    }
    let most = usize::try_from(peak.0).unwrap_or(0);
    if most > LIMITED.1 {
        facts.wrong.push(format!(
            "P6: {most} jobs of {} were active at {}, {} are allowed",
            LIMITED.0, peak.1, LIMITED.1
        ));
    }
    most
}
