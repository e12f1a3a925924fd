//! How large the driver's image is, if it has been built.

use anyhow::{Context as _, ensure};

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;

/// The measurement of this scenario.
pub fn declare(board: &mut Board) {
    board.declare(Declaration {
        id: "image.size",
        title: "Image of the driver, compressed",
        unit: "MiB",
        better: Lower,
        method: "The archive that `just image` wrote, its layers compressed with gzip as a registry stores them.",
        peers: &[],
    });
}

/// Takes the sample.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let target = setting.bin_dir.parent().context("the folder of the executables has no parent")?;
    let archive = target.join("images/efs-csi-driver.tar");
    ensure!(archive.is_file(), "no image has been built; `just image` builds it");
    let script = "set -o pipefail; gzip -9 -c <\"$0\" | wc -c";
    let output = tokio::process::Command::new("bash").args(["-c", script]).arg(&archive).output().await?;
    ensure!(output.status.success(), "compressing {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
    let bytes: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    board.sample("image.size", NAME, bytes / f64::from(1 << 20));
    Ok(())
}
