//! I/O on a mounted volume: a large copy by `dd`, and a heartbeat that measures how long the volume stands still.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::{RngCore as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};

/// The last record may have to wait for a restarted driver.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Writes `bytes` pseudo-random bytes to `path` and answers their SHA-256. The same seed gives the same bytes.
pub(super) fn write_random(path: &Path, bytes: u64, seed: u64) -> anyhow::Result<String> {
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left.min(1 << 20))?;
        rng.fill_bytes(&mut chunk[..part]);
        hash.update(&chunk[..part]);
        file.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    Ok(hex::encode(hash.finalize()))
}

/// The SHA-256 of a file.
pub(super) fn checksum(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {path:?}"))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let got = file.read(&mut chunk)?;
        if got == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&chunk[..got]);
    }
}

/// What a [`Heartbeat`] saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beats {
    /// How many records were written and confirmed by the server.
    pub(super) count: u64,
    /// The longest time that one record took.
    pub(super) longest: Duration,
}

/// Appends records to the file `$0` until standard input ends, then prints their number and the longest time in microseconds.
const HEARTBEAT: &str = r#"
count=0 longest=0
while read -r -t 0.005 _; [ $? -gt 128 ]; do
    begin=${EPOCHREALTIME/./}
    printf 'record %08d\n' $count | dd of="$0" oflag=append conv=notrunc,fsync status=none || exit 1
    took=$((${EPOCHREALTIME/./} - begin))
    if [ $took -gt $longest ]; then longest=$took; fi
    count=$((count + 1))
done
echo $count $longest
"#;

/// Appends a numbered record to a file and waits until the server has it, again and again. A record that takes long means
/// that the volume stood still.
///
/// It is a process of its own. A thread would hold a file of the volume open in this process, every child that we start
/// would inherit it, and exec closes it, which waits for the server: the restarted driver would wait for itself.
#[derive(Debug)]
pub(super) struct Heartbeat {
    path: PathBuf,
    process: Child,
}

impl Heartbeat {
    pub(super) fn start(path: PathBuf) -> anyhow::Result<Self> {
        let process = Command::new("bash")
            .args(["-c", HEARTBEAT])
            .arg(&path)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the heartbeat")?;
        Ok(Self { path, process })
    }

    /// Stops writing and checks that every record is in the file, in order.
    pub(super) async fn stop(mut self) -> anyhow::Result<Beats> {
        drop(self.process.stdin.take());
        let output = tokio::time::timeout(STOP_WITHIN, self.process.wait_with_output()).await;
        let output = output.context("the heartbeat did not end")??;
        ensure!(output.status.success(), "the heartbeat failed: {}", output.status);
        let printed = String::from_utf8(output.stdout)?;
        let (count, longest) = printed.trim().split_once(' ').context("the heartbeat printed nothing")?;
        let beats = Beats { count: count.parse()?, longest: Duration::from_micros(longest.parse()?) };
        let text = std::fs::read_to_string(&self.path)?;
        ensure!(
            text.lines().count() as u64 == beats.count,
            "{} records in the file, {} written",
            text.lines().count(),
            beats.count
        );
        for (number, line) in text.lines().enumerate() {
            ensure!(line == format!("record {number:08}"), "record {number} reads {line:?}");
        }
        Ok(beats)
    }
}
