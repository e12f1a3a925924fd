//! Prints the steps of the demo as they happen.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Numbers, prints and times steps.
#[derive(Debug)]
pub struct Narrator {
    step: usize,
    started: Instant,
}

impl Default for Narrator {
    fn default() -> Self {
        Self { step: 0, started: Instant::now() }
    }
}

impl Narrator {
    /// Runs one step. What it returns must have been checked by it; an error ends the demo and names the step.
    pub async fn step<T>(&mut self, title: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.step += 1;
        println!("\n{:>2}. {title}", self.step);
        let begin = Instant::now();
        let done = work.await.with_context(|| format!("step {} failed: {title}", self.step))?;
        println!("    done in {}", human(begin.elapsed()));
        Ok(done)
    }

    /// The closing line.
    pub fn finish(&self) {
        println!("\n{} steps, every one checked, in {}", self.step, human(self.started.elapsed()));
    }
}

/// A line of evidence below a step.
pub(super) fn show(what: &str, value: impl Display) {
    println!("    {what}: {value}");
}

/// A duration for people: `1.23 s`, `45 ms`, `0.8 ms`.
pub(super) fn human(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis >= 1000.0 {
        format!("{:.2} s", millis / 1e3)
    } else if millis >= 10.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{millis:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_that_fits() {
        let texts = [1234, 45, 3].map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(texts, ["1.23 s", "45 ms", "3.0 ms"]);
    }
}
