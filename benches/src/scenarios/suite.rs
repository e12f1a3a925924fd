//! How long csi-sanity takes against the driver, with kernel mounts.

use std::time::Instant;

use anyhow::ensure;
use efs_csi_e2e::sanity;

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;

/// The measurement of this scenario.
pub fn declare(board: &mut Board) {
    board.declare(Declaration {
        id: "sanity.suite",
        title: "csi-sanity against the driver",
        unit: "s",
        better: Lower,
        method: "The whole suite with fake-efs and kernel mounts, start and stop of both included.",
        peers: &[],
    });
}

/// Takes the sample.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    for round in setting.rounds(3, 1) {
        let dir = setting.dir.join(round.to_string());
        let begin = Instant::now();
        let reports = dir.join("reports");
        // Who restarts the driver is not among the release's executables.
        let arguments = ["--skip=^Restart of the driver".to_owned()];
        let outcome = sanity::run(&sanity::SETUPS[0], &setting.bin_dir, &dir, &reports, &arguments).await?;
        ensure!(outcome.totals.failed == 0, "csi-sanity failed: {}", outcome.wrong.join("; "));
        board.sample("sanity.suite", NAME, begin.elapsed().as_secs_f64());
    }
    Ok(())
}
