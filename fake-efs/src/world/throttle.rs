//! How often an account may call: a bucket of calls per account, region and operation that fills up again with time.

use std::collections::HashMap;

use jiff::Timestamp;

use super::World;
use super::errors::{EfsError, ErrorName, Result};
use super::limits::Limits;
use super::scope::Scope;

/// Allowances that are kept. Callers choose the region themselves; when there are more, all are full again.
const MOST_ALLOWANCES: usize = 10_000;

/// Calls that are left.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    calls: f64,
    at: Timestamp,
}

/// The allowances that are not full.
#[derive(Debug, Default)]
pub(super) struct Allowances(HashMap<(Scope, &'static str), Allowance>);

impl Allowances {
    /// Takes a call out of its allowance; false if there is none left.
    fn take(&mut self, limits: &Limits, scope: &Scope, operation: &'static str, now: Timestamp) -> bool {
        let most = f64::from(limits.call_burst);
        if self.0.len() >= MOST_ALLOWANCES {
            self.0.clear();
        }
        let allowance = self.0.entry((scope.clone(), operation)).or_insert(Allowance { calls: most, at: now });
        let passed = now.duration_since(allowance.at).as_secs_f64().max(0.0);
        let calls = (allowance.calls + passed * limits.calls_per_second).min(most);
        let granted = calls >= 1.0;
        *allowance = Allowance { calls: if granted { calls - 1.0 } else { calls }, at: now };
        granted
    }
}

impl World {
    /// Counts a call of an operation. Too many are throttled, whatever they ask for.
    pub(crate) fn count_call(&self, scope: &Scope, operation: &'static str) -> Result<()> {
        let mut state = self.lock();
        if state.limits.call_burst == 0 {
            return Ok(());
        }
        let (now, limits) = (self.clock.now(), state.limits.clone());
        if state.allowances.take(&limits, scope, operation, now) {
            Ok(())
        } else {
            Err(EfsError::new(ErrorName::ThrottlingException, "Rate exceeded"))
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_burst_is_granted_and_then_what_time_brings() {
        let limits = Limits { call_burst: 2, calls_per_second: 0.5, ..Limits::default() };
        let (mut allowances, start) = (Allowances::default(), Timestamp::UNIX_EPOCH);
        let home = Scope::new("123456789012", "us-east-1");
        let mut take =
            |operation, seconds| allowances.take(&limits, &home, operation, start + SignedDuration::from_secs(seconds));
        assert_eq!([take("A", 0), take("A", 0), take("A", 0), take("B", 0)], [true, true, false, true]);
        assert_eq!([take("A", 1), take("A", 2), take("A", 3)], [false, true, false]);
        // Not more than a burst, however long nobody calls; and time that goes back brings nothing.
        assert_eq!([take("A", 3600), take("A", 3600), take("A", 3600), take("A", 0)], [true, true, false, false]);
    }
}
