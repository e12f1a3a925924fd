//! The command line: the Go suite's flags, with one dash or two, and ours.

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::{
    checks,
    report::{
        Report, ginkgo, junit,
        terminal::{Detail, Progress},
    },
    suite,
};

mod arguments;
mod go_flags;

use arguments::Arguments;
use go_flags::as_clap_takes_them;

/// Exit code for a run that could not be done.
pub const COULD_NOT_RUN: u8 = 2;

/// Runs the command line and returns the exit code. `interrupt` ends the run early, after cleaning up.
pub async fn main(arguments: impl IntoIterator<Item = OsString>, interrupt: CancellationToken) -> u8 {
    let arguments = match Arguments::try_parse_from(as_clap_takes_them(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed output is no reason to end with another code.
            let _ = error.print();
            return if error.use_stderr() { COULD_NOT_RUN } else { 0 };
        }
    };
    match carry_out(arguments, &interrupt).await {
        Ok(code) => code,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "csi-sanity: {reason}");
            COULD_NOT_RUN
        }
    }
}

async fn carry_out(arguments: Arguments, interrupt: &CancellationToken) -> Result<u8, String> {
    let out = io::stdout();
    let written = |error: io::Error| format!("cannot write: {error}");
    if arguments.version {
        writeln!(&out, "Version = {}", env!("CARGO_PKG_VERSION")).map_err(written)?;
        return Ok(0);
    }
    let selection = arguments.selection()?;
    if arguments.list {
        let mut lock = out.lock();
        for check in checks::all().iter().filter(|check| selection.chooses(check)) {
            let pending = if check.pending() { " (pending)" } else { "" };
            writeln!(lock, "{:>3}  [{}]  {}{pending}", check.number, check.labels().join(", "), check.name())
                .map_err(written)?;
        }
        return Ok(0);
    }
    let detail = match (arguments.quiet, arguments.verbose) {
        (true, _) => Detail::Quiet,
        (false, true) if !arguments.silence_skips => Detail::Full,
        _ => Detail::Normal,
    };
    let colour = out.is_terminal() && !arguments.no_color;
    let reports = Reports::of(&arguments);
    let fail_on_pending = arguments.fail_on_pending;
    let config = arguments.config(selection)?;
    let mut progress = Progress::new(&out, detail, colour, false);
    let report = suite::run_with(&config, interrupt, |done, of, result| {
        // Progress is a courtesy: a reader that went away must not end the run before it has cleaned up.
        let _ = progress.line(done, of, result);
    })
    .await
    .map_err(|error| error.to_string())?;
    reports.write(&report)?;
    writeln!(&out, "\n{report}").map_err(written)?;
    let code = report.exit_code();
    Ok(if code == 0 && fail_on_pending && report.totals.pending > 0 { 1 } else { code })
}

/// The files that reports go to.
struct Reports {
    junit: Option<PathBuf>,
    json: Option<PathBuf>,
    ginkgo: Option<PathBuf>,
}

impl Reports {
    fn of(arguments: &Arguments) -> Self {
        let (junit, json) = (arguments.junit.clone(), arguments.json.clone());
        Self { junit, json, ginkgo: arguments.ginkgo_json.clone() }
    }

    fn write(self, report: &Report) -> Result<(), String> {
        let write = |path: PathBuf, text: String| {
            fs::write(&path, text).map_err(|error| format!("cannot write the report to {}: {error}", path.display()))
        };
        if let Some(path) = self.junit {
            write(path, junit::document(report).map_err(|error| format!("cannot make the JUnit report: {error}"))?)?;
        }
        if let Some(path) = self.json {
            write(path, report.to_json().map_err(|error| format!("cannot make the JSON report: {error}"))?)?;
        }
        if let Some(path) = self.ginkgo {
            write(path, ginkgo::document(report).map_err(|error| format!("cannot make Ginkgo's report: {error}"))?)?;
        }
        Ok(())
    }
}
