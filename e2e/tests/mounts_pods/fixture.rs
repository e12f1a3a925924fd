//! A node with the chart's driver for one test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use efs_csi_e2e::kubelet::lab::{PodLab, PodVolume, Setup};
use efs_csi_e2e::pulse::{Beats, Pulse};
use tempfile::TempDir;

/// Pause between two records of a writer.
const EVERY: Duration = Duration::from_millis(20);

/// Where the executables of this workspace are: beside the folder of the test executables.
fn binaries() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().to_owned()
}

/// The lab and its folder.
pub(crate) struct Fixture {
    pub(crate) lab: PodLab,
    dir: TempDir,
}

impl Fixture {
    /// Starts with the chart's defaults, changed by `values`; `None`, and the reason on standard output, where containers can't run.
    pub(crate) async fn start(values: &str) -> Option<Self> {
        Self::start_with(Setup { values, ..Setup::default() }).await
    }

    pub(crate) async fn start_with(setup: Setup<'_>) -> Option<Self> {
        let kernel = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let mut reason = "no root or no NFS client in this kernel; run it in the lab: just mounts";
        if rustix::process::geteuid().is_root() && kernel.contains("nfs4") {
            let dir = tempfile::tempdir().unwrap();
            if let Some(lab) = PodLab::start(&binaries(), dir.path(), setup).await.unwrap() {
                return Some(Self { lab, dir });
            }
            reason = "no container runtime (crun) or no helm; ./bootstrap installs both";
        }
        println!("SKIP {reason}");
        assert!(std::env::var_os("REQUIRE_ALL").is_none(), "REQUIRE_ALL is set and pods can't be run here: {reason}");
        None
    }

    /// Writes to these volumes until it is stopped.
    pub(crate) fn write(&self, volumes: &[PodVolume]) -> Pulse {
        let files: Vec<PathBuf> = volumes.iter().map(|volume| volume.path.join("records")).collect();
        Pulse::start(&binaries(), EVERY, &files).unwrap()
    }

    /// Stops the writers and says how long they were held up.
    pub(crate) async fn stop_writing(&self, what: &str, pulse: Pulse) -> Beats {
        let beats = pulse.stop().await.unwrap();
        println!("{what}: longest wait {:?}, {} records", beats.longest, beats.records);
        beats
    }

    /// Ends everything.
    pub(crate) async fn stop(self) {
        self.lab.stop().await.unwrap();
        drop(self.dir);
    }
}

/// Asks again and again until there is an answer; generous, for it is about whether, not when.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
