//! What happened, line by line, and how often.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

/// The log of actions and their counts.
#[derive(Debug)]
pub(super) struct Journal {
    started: Instant,
    path: PathBuf,
    file: File,
    counts: Mutex<BTreeMap<String, u64>>,
    actions: AtomicUsize,
    servers: AtomicUsize,
}

impl Journal {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {path:?}"))?;
        Ok(Self {
            started: Instant::now(),
            path: path.to_owned(),
            file,
            counts: Mutex::default(),
            actions: AtomicUsize::new(0),
            servers: AtomicUsize::new(0),
        })
    }

    /// Writes a line.
    pub(super) fn note(&self, who: &str, what: &str) {
        let line = format!("{:9.3} {who} {what}\n", self.started.elapsed().as_secs_f64());
        // A log that can't be written must not end the run; what it lacks shows in the report.
        let _ = (&self.file).write_all(line.as_bytes());
    }

    /// A tenant has done something.
    pub(super) fn done(&self) {
        self.actions.fetch_add(1, Ordering::Relaxed);
    }

    /// How many actions the tenants have done.
    pub(super) fn actions(&self) -> usize {
        self.actions.load(Ordering::Relaxed)
    }

    /// The server is going, or a new one has come.
    pub(super) fn other_server(&self) {
        self.servers.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes while the server is replaced: no one server did what was going on meanwhile.
    pub(super) fn servers(&self) -> usize {
        self.servers.load(Ordering::Relaxed)
    }

    /// Counts something.
    pub(super) fn count(&self, what: &str, number: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += number;
    }

    /// The counts, one a line.
    pub(super) fn account(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (what, number) in counts.iter() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{number:>12} {what}");
        }
        text
    }

    /// The last lines.
    pub(super) fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}
