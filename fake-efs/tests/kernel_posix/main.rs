//! The POSIX cases on the kernel's NFS client: against fake-efs in every set-up, and against other servers, so that it
//! is known which expectation is ours alone. `docs/posix.md` lists the differences.

#[path = "../kernel_support/lab.rs"]
mod lab;

mod cases;
mod differences;
mod peers;
mod stage;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Trial};

use crate::lab::{mounts, report};
use crate::stage::Stage;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let stage = Arc::new(Mutex::new(Stage::default()));
    let mut trials = differences::documentation_trials();
    let full = std::env::var_os("MOUNTS_FULL").is_some_and(|value| value == "1");
    for peer in peers::all().into_iter().filter(|peer| full || !peer.only_in_full) {
        if let Some(reason) = mounts::unavailable() {
            trials.push(report::skipped(format!("{}::all", peer.name), reason.to_owned(), true));
        } else if let Some(reason) = (peer.missing)() {
            trials.push(report::skipped(format!("{}::all", peer.name), reason, false));
        } else {
            trials.extend(cases::all().into_iter().map(|case| {
                let stage = Arc::clone(&stage);
                Trial::test(format!("{}::{}", peer.name, case.name), move || stage::check(&stage, &peer, &case))
            }));
        }
    }
    report::run(arguments, trials)
}
