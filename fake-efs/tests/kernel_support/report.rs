//! Tests as a table: named trials on shared fixtures, and how they are run.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A trial that only says why it can't run: counted as skipped, and as a failure when everything is required.
pub(crate) fn skipped(name: impl Into<String>, reason: String, requirable: bool) -> Trial {
    Trial::test(name, move || {
        println!("SKIP {reason}");
        if requirable && std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1") {
            return Err(Failed::from(format!("REQUIRE_ALL=1, but {reason}")));
        }
        Ok(())
    })
}

/// A trial whose failure is an error with its causes.
pub(crate) fn trial(name: impl Into<String>, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || work().map_err(|error| Failed::from(format!("{error:?}"))))
}

/// Runs trials one after the other: they share mounts, the process's umask and one CPU.
pub(crate) fn run(mut arguments: Arguments, trials: Vec<Trial>) -> ExitCode {
    arguments.test_threads = Some(1);
    rustix::process::umask(rustix::fs::Mode::empty());
    // Panics are how checks fail; a backtrace of each would cost more than the check.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    libtest_mimic::run(&arguments, trials).exit_code()
}
