//! Volume statistics by walking beside `du`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use efs_csi_driver::node::walker::{Options, Progress, walk};
use tokio::process::Command;

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::peers::program;
use crate::report::Better::Lower;
use crate::workloads;

/// The row that the walker is compared with.
pub const DU: &str = "du";
/// Memory-backed everywhere that a container or a login runs.
const TMPFS: &str = "/dev/shm";
/// Files in one directory.
const WIDTH: usize = 1000;

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    board.declare(Declaration {
        id: "walker.tree",
        title: "Statistics walker over 1,000,000 files",
        unit: "ms",
        better: Lower,
        method: "1,000 directories of 1,000 empty files on tmpfs, so that the system calls count and not a disk. The walker with its \
            4 threads, in this process and without the low priority that it has in the driver; `du --summarize` in a process.",
        peers: &[DU],
    });
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let dir = if Path::new(TMPFS).is_dir() { PathBuf::from(TMPFS) } else { setting.dir.clone() };
    let tree = tempfile::tempdir_in(dir)?;
    let directories = setting.amount(1000, 5);
    workloads::plant(tree.path(), directories, WIDTH).context("making the tree")?;
    let inodes = 1 + directories * (WIDTH + 1);
    let du = program("du");
    if du.is_none() {
        board.peer_missing(DU, "not installed (Debian package coreutils)");
    }
    for _ in setting.rounds(7, 1) {
        let begin = Instant::now();
        let totals = walk(tree.path(), &Options::default(), &Progress::default())?;
        board.sample("walker.tree", NAME, begin.elapsed().as_secs_f64() * 1e3);
        ensure!(totals.inodes == inodes as u64, "the walker counted {totals:?} instead of {inodes} inodes");
        let Some(du) = &du else { continue };
        let begin = Instant::now();
        let status = Command::new(du).arg("--summarize").arg(tree.path()).stdout(Stdio::null()).status().await?;
        ensure!(status.success(), "du ended with {status}");
        board.sample("walker.tree", DU, begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
