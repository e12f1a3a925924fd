//! Records that are written without end, each confirmed by the server: what a mount that stands still makes wait.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};

/// The executable of [`run`].
pub const PROGRAM: &str = "efs-csi-pulse";

const RECORD: &[u8] = b"a record of some bytes\n";

/// What the writers of records saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beats {
    /// The longest wait for one record.
    pub longest: Duration,
    /// How many records were written, in all files together.
    pub records: u64,
}

/// Writes a record to each file `every` so often until standard input ends.
///
/// # Errors
/// When a record can't be written.
pub fn run(files: &[PathBuf], every: Duration) -> io::Result<Beats> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = files.iter().map(|file| scope.spawn(|| write(file, every, &stop))).collect();
        // The end is what counts, not what is read.
        let _read = io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        let mut all = Beats::default();
        for writer in writers {
            let beats = writer.join().map_err(|_| io::Error::other("a writer panicked"))??;
            all = Beats { longest: all.longest.max(beats.longest), records: all.records + beats.records };
        }
        Ok(all)
    })
}

fn write(path: &Path, every: Duration, stop: &AtomicBool) -> io::Result<Beats> {
    let mut file = File::create(path)?;
    let mut beats = Beats::default();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        file.write_all(RECORD)?;
        file.sync_data()?;
        beats.longest = beats.longest.max(begin.elapsed());
        beats.records += 1;
        // Not sleep: the lab's kernel answers ENOSYS to a nanosleep that was interrupted, and sleep panics then.
        thread::park_timeout(every);
    }
    Ok(beats)
}

/// The writers as a process of its own. They can't be threads of the one that starts drivers: a start closes its files in the
/// child, and closing one with unwritten data waits for the very driver that is being started.
#[derive(Debug)]
pub struct Pulse {
    process: Child,
    files: Vec<PathBuf>,
}

impl Pulse {
    /// Starts the program of `bin_dir` on these files.
    pub fn start(bin_dir: &Path, every: Duration, files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut command = Command::new(bin_dir.join(PROGRAM));
        command.arg(every.as_millis().to_string()).args(files);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Ok(Self { process: command.spawn().context("starting the writer of records")?, files: files.to_owned() })
    }

    /// Stops the writers; every record that they wrote must be in its file.
    pub async fn stop(mut self) -> anyhow::Result<Beats> {
        drop(self.process.stdin.take());
        let output = self.process.wait_with_output().await?;
        ensure!(output.status.success(), "the writer of records ended with {}", output.status);
        let said = String::from_utf8_lossy(&output.stdout);
        let (longest, records) = said.trim().split_once(' ').context("the writer of records said nothing")?;
        let beats = Beats { longest: Duration::from_secs_f64(longest.parse()?), records: records.parse()? };
        let files = self.files;
        let size = tokio::task::spawn_blocking(move || {
            files.iter().map(|file| std::fs::metadata(file).map(|it| it.len())).sum::<io::Result<u64>>()
        });
        let (size, wanted) = (size.await??, beats.records * RECORD.len() as u64);
        ensure!(size == wanted, "{size} bytes are in the files, {wanted} were written");
        Ok(beats)
    }
}
