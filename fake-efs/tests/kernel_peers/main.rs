//! The file server beside others: the same random requests of two clients in both minor versions, sent once, in pieces, twice,
//! over a broken connection and out of order, have the same answers, or `docs/nfs.md` says why not.
//!
//! `PEERS_ROUNDS=N` runs so many rounds, `PEERS_SEED=S` begins at another seed.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

#[path = "../wire/client.rs"]
#[allow(dead_code, reason = "this target uses a part")]
mod client;
#[path = "../kernel_support/lab.rs"]
mod lab;
#[path = "../fuzz/mutation.rs"]
#[allow(dead_code, reason = "this target uses a part")]
mod mutation;
#[path = "../wire/server.rs"]
mod server;

mod acts;
mod answers;
mod differences;
mod embedded;
mod link;
mod plan;
mod rounds;
mod side;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use fake_efs::nfs::Options;
use fake_efs::store::{DirectoryStore, Limits};
use libtest_mimic::Arguments;

use crate::lab::reference::Reference;
use crate::lab::{ganesha, knfsd, mounts, report};
use crate::rounds::{Asked, Start};
use crate::server::Running;

/// Rounds beside each server.
const ROUNDS: u64 = 40;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        differences::documentation_trial(),
        report::trial("directory::answers_alike", beside_directory),
        report::trial("embednfs::answers_alike", || beside_for(&embedded::start, embedded::ROUNDS)),
    ];
    type Peer = (&'static str, fn() -> Option<String>, fn(&std::path::Path) -> anyhow::Result<Reference>);
    let peers: [Peer; 2] = [("ganesha", ganesha::missing, ganesha::start), ("knfsd", knfsd::missing, knfsd::start)];
    for (name, missing, start) in peers {
        let title = format!("{name}::answers_alike");
        if let Some(reason) = mounts::unavailable() {
            trials.push(report::skipped(title, reason.to_owned(), true));
        } else if let Some(reason) = missing() {
            trials.push(report::skipped(title, reason, false));
        } else {
            trials.push(report::trial(title, move || {
                beside(&|| {
                    let reference = start(&folder(name))?;
                    let (address, export) = (reference.address, reference.export);
                    Ok(Asked { name, address, export, minors: &[0, 1], _held: Box::new(reference) })
                })
            }));
        }
    }
    report::run(arguments, trials)
}

fn folder(peer: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kernel-peers-{peer}-{}", std::process::id()))
}

/// The other store has another way to keep the same.
fn beside_directory() -> anyhow::Result<()> {
    beside(&|| {
        let folder = tempfile::TempDir::new()?;
        let store = DirectoryStore::open(folder.path(), Limits::default())?;
        let running = Running::with(Arc::new(store), Options::default());
        Ok(Asked {
            name: "directory",
            address: running.address,
            export: "/",
            minors: &[0, 1],
            _held: Box::new((running, folder)),
        })
    })
}

fn beside(other: Start<'_>) -> anyhow::Result<()> {
    beside_for(other, ROUNDS)
}

fn beside_for(other: Start<'_>, rounds: u64) -> anyhow::Result<()> {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>()).transpose();
    let first = number("PEERS_SEED")?.unwrap_or(1);
    let usual = rounds;
    let rounds = number("PEERS_ROUNDS")?.unwrap_or(usual);
    let running = Running::memory();
    let ours =
        Asked { name: "fake-efs", address: running.address, export: "/", minors: &[0, 1], _held: Box::new(running) };
    rounds::compare(&ours, other, first..first + rounds, rounds >= usual)
}
