//! How fast the driver starts and how much memory it needs while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake};
use tokio::process::Command;

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::peers::program;
use crate::report::Better;
use crate::usage;

const PYTHON: &str = "python3 -c pass";

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    board.declare(Declaration {
        id: "start.probe",
        title: "Start of the driver to the first answer to Probe",
        unit: "ms",
        better: Better::Lower,
        method: "A new process in mode all with an empty PATH and an empty state directory; a client asks Probe every 2 ms. \
                 The peer is only an interpreter that starts and ends: AWS's mount helper is a Python program, and this is \
                 the least that any start of it takes.",
        peers: &[PYTHON],
    });
    board.declare(Declaration {
        id: "memory.driver",
        title: "Memory of the idle driver",
        unit: "MiB",
        better: Better::Lower,
        method: "Resident set two seconds after the first Probe, no volume published; the client key is made by then.",
        peers: &[],
    });
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let binary = setting.bin_dir.join("efs-csi-driver");
    let python = program("python3");
    if python.is_none() {
        board.peer_missing(PYTHON, "not installed (Debian package python3)");
    }
    for round in setting.rounds(15, 1) {
        let dir = setting.dir.join(format!("start-{round}"));
        let mut driver = Driver::start(DriverOptions::new(&binary, &dir, &fake)).await?;
        board.sample("start.probe", NAME, driver.first_probe.as_secs_f64() * 1e3);
        if let Some(python) = &python {
            let begin = Instant::now();
            let status = Command::new(python).args(["-c", "pass"]).status().await?;
            ensure!(status.success(), "python3 -c pass ended with {status}");
            board.sample("start.probe", PYTHON, begin.elapsed().as_secs_f64() * 1e3);
        }
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_secs(setting.amount(2, 0))).await;
            let pid = driver.process.id().context("the driver has ended")?;
            board.sample("memory.driver", NAME, usage::memory(pid)?.rss as f64 / 1024.0);
        }
        driver.stop().await?;
    }
    fake.stop().await
}
