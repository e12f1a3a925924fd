//! Progress for people.

use std::io::{self, Write};

use super::{CheckResult, Status};

/// How much is said while the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Failures only.
    Quiet,
    /// A line for each check that is not skipped.
    Normal,
    /// A line for each check.
    Full,
}

/// Writes a line for each check as it ends.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    detail: Detail,
    colour: bool,
    show_skips: bool,
}

impl<W: Write> Progress<W> {
    /// Progress on `out`.
    pub fn new(out: W, detail: Detail, colour: bool, show_skips: bool) -> Self {
        Self { out, detail, colour, show_skips }
    }

    /// Writes the line of one check.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn line(&mut self, done: usize, of: usize, result: &CheckResult) -> io::Result<()> {
        let unusual = matches!(result.status, Status::Skipped | Status::Pending | Status::NotRun);
        let shown = match self.detail {
            Detail::Quiet => result.status == Status::Failed,
            Detail::Normal => !unusual || self.show_skips,
            Detail::Full => true,
        };
        if !shown {
            return Ok(());
        }
        let (word, colour) = match result.status {
            Status::Passed => ("PASS", "32"),
            Status::Failed => ("FAIL", "31"),
            Status::Skipped => ("SKIP", "33"),
            Status::Pending => ("PEND", "33"),
            Status::NotRun => ("----", "33"),
        };
        let word = if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        write!(self.out, "[{done:>3}/{of}] {word} #{:<3} {} ({} ms)", result.number, result.name, result.milliseconds)?;
        if let Some(reason) = &result.reason {
            write!(self.out, ": {}", reason.lines().next().unwrap_or_default())?;
        }
        writeln!(self.out)?;
        self.out.flush()
    }
}
