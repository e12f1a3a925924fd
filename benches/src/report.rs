//! What a run leaves behind: `report.json`. The schema is explained in `benches/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::stats::{Summary, paired_ratios, summarize_passes};
use crate::verdict::Verdict;

/// Version of the schema; a reader refuses others.
pub const SCHEMA: u32 = 1;

/// Where a scenario ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Directly on this machine.
    Host,
    /// In the lab: a kernel with an NFS client and one CPU, in which system calls are slow. Compare ratios only.
    Lab,
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// The samples of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Who was measured.
    pub name: String,
    /// One number a round, in the measurement's unit, in the order in which they were taken.
    pub samples: Vec<f64>,
    /// How many of them each pass took, when there was more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<usize>,
    /// Why there are no samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Series {
    /// A series without samples yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), samples: Vec::new(), passes: Vec::new(), missing: None }
    }

    /// A series with these samples.
    pub fn of(name: impl Into<String>, samples: Vec<f64>) -> Self {
        Self { samples, ..Self::new(name) }
    }

    /// A series that could not be measured.
    pub fn missing(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { missing: Some(reason.into()), ..Self::new(name) }
    }

    /// Median and spread.
    pub fn summary(&self) -> Option<Summary> {
        summarize_passes(&self.by_pass())
    }

    /// The samples of each pass.
    fn by_pass(&self) -> Vec<&[f64]> {
        let mut rest = self.samples.as_slice();
        let mut passes = Vec::new();
        for &count in &self.passes {
            let (pass, later) = rest.split_at(count.min(rest.len()));
            passes.push(pass);
            rest = later;
        }
        if !rest.is_empty() {
            passes.push(rest);
        }
        passes
    }

    /// Adds the samples of a later pass.
    fn add(&mut self, later: Self) {
        if self.passes.is_empty() {
            self.passes.push(self.samples.len());
        }
        self.passes.push(later.samples.len());
        self.samples.extend(later.samples);
    }
}

/// One thing measured, for us and for those beside us. Samples with the same index were taken side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Stable name, e.g. `tunnel.send.1`.
    pub id: String,
    /// What it is, for people.
    pub title: String,
    /// Where it ran.
    pub place: Place,
    /// Unit of the samples, e.g. `MiB/s`.
    pub unit: String,
    /// Which way is good.
    pub better: Better,
    /// How it was measured and what that leaves out.
    pub method: String,
    /// Our samples.
    pub ours: Series,
    /// The others' samples.
    pub peers: Vec<Series>,
}

impl Measurement {
    /// The peer of that name.
    pub fn peer(&self, name: &str) -> Option<&Series> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// Adds the samples of a later pass of the same scenario. One that broke off has taken more samples of some than of others;
    /// what was side by side would not be any more, so it counts only when there is nothing better.
    pub fn add(&mut self, later: Self) {
        if !later.is_whole() {
            return;
        }
        if !self.is_whole() {
            *self = later;
            return;
        }
        self.ours.add(later.ours);
        for (peer, later) in self.peers.iter_mut().zip(later.peers) {
            peer.add(later);
        }
    }

    /// Whether everybody who is there was measured, and equally often.
    fn is_whole(&self) -> bool {
        let count = self.ours.samples.len();
        count > 0 && self.peers.iter().all(|peer| peer.missing.is_some() || peer.samples.len() == count)
    }

    /// Median and spread of our samples by `peer`'s, pair by pair.
    pub fn ratio(&self, peer: &Series) -> Option<Summary> {
        let passes = self.ours.by_pass().into_iter().zip(peer.by_pass());
        let ratios: Vec<Vec<f64>> = passes.map(|(ours, theirs)| paired_ratios(ours, theirs)).collect();
        summarize_passes(&ratios.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Median and spread of what our samples are more than `peer`'s, pair by pair.
    pub fn excess(&self, peer: &Series) -> Option<Summary> {
        let passes = self.ours.by_pass().into_iter().zip(peer.by_pass());
        let more = |(ours, theirs): (&[f64], &[f64])| ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
        let excesses: Vec<Vec<f64>> = passes.map(more).collect();
        summarize_passes(&excesses.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When the run began, RFC 3339.
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// True for a smoke test with tiny amounts: the numbers mean nothing.
    pub quick: bool,
    /// The command that made this report.
    pub command: String,
    /// The machine.
    pub machine: Machine,
    /// Versions of what was measured and of the tools.
    pub versions: BTreeMap<String, String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// The budgets and whether they hold.
    pub budgets: Vec<Verdict>,
}

impl Report {
    /// Reads `report.json`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let report: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not a bench report", path.display()))?;
        ensure!(
            report.schema == SCHEMA,
            "{} has schema {}, this program reads {SCHEMA}",
            path.display(),
            report.schema
        );
        Ok(report)
    }

    /// Writes `report.json`.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The measurement of that name.
    pub fn measurement(&self, id: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| measurement.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(ours: &[f64], theirs: &[f64]) -> Measurement {
        Measurement {
            id: "some.thing".to_owned(),
            title: String::new(),
            place: Place::Host,
            unit: "ms".to_owned(),
            better: Better::Lower,
            method: String::new(),
            ours: Series::of("ours", ours.to_vec()),
            peers: vec![Series::of("theirs", theirs.to_vec())],
        }
    }

    fn added(mut earlier: Measurement, later: Measurement) -> (Vec<f64>, Vec<f64>) {
        earlier.add(later);
        (earlier.ours.samples, earlier.peers.remove(0).samples)
    }

    #[test]
    fn a_later_pass_adds_its_pairs() {
        let sum = added(measurement(&[1.0, 2.0], &[3.0, 4.0]), measurement(&[5.0], &[6.0]));
        assert_eq!(sum, (vec![1.0, 2.0, 5.0], vec![3.0, 4.0, 6.0]));
    }

    #[test]
    fn a_pass_that_broke_off_parts_no_pairs() {
        let whole = || measurement(&[1.0, 2.0], &[3.0, 4.0]);
        let broken = || measurement(&[5.0, 6.0], &[7.0]);
        assert_eq!(added(whole(), broken()), (vec![1.0, 2.0], vec![3.0, 4.0]));
        assert_eq!(added(broken(), whole()), (vec![1.0, 2.0], vec![3.0, 4.0]));
        assert_eq!(added(measurement(&[], &[]), whole()), (vec![1.0, 2.0], vec![3.0, 4.0]));
    }

    #[test]
    fn ratios_are_taken_within_each_pass() {
        let mut sum = measurement(&[2.0, 2.0], &[1.0, 1.0]);
        sum.add(measurement(&[6.0, 6.0], &[2.0, 2.0]));
        assert_eq!(
            (sum.ours.passes.as_slice(), sum.peers[0].passes.as_slice()),
            ([2, 2].as_slice(), [2, 2].as_slice())
        );
        let ratio = sum.ratio(&sum.peers[0]).unwrap();
        assert_eq!(ratio.median, 2.5);
        // 12.706 times half the difference of the passes' ratios, 2 and 3.
        assert!((ratio.high - 8.853).abs() < 0.001, "{ratio:?}");
        // What the report holds is what was summed.
        let again: Measurement = serde_json::from_str(&serde_json::to_string(&sum).unwrap()).unwrap();
        assert_eq!(again, sum);
    }
}
