//! Real programs on the kernel's NFS client while connections break: git, tar, rsync, fio, SQLite, and two clients that
//! rename against each other. `MOUNTS_FULL=1` runs them at full size.

#[path = "../kernel_support/lab.rs"]
mod lab;

mod databases;
mod programs;
mod scene;
mod storms;
mod trees;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use crate::lab::{mounts, process, report};
use crate::scene::Workload;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let all: Vec<Workload> = [programs::WORKLOADS, trees::WORKLOADS, databases::WORKLOADS, storms::WORKLOADS].concat();
    let mut trials = Vec::new();
    for workload in all {
        if let Some(reason) = mounts::unavailable() {
            trials.push(report::skipped(workload.name, reason.to_owned(), true));
        } else if let Some(missing) = workload.needs.iter().find(|program| !process::installed(program)) {
            trials.push(report::skipped(workload.name, format!("{missing} is not installed"), false));
        } else {
            trials.push(report::trial(workload.name, move || scene::run(&workload)));
        }
    }
    report::run(arguments, trials)
}
