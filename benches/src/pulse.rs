//! Records that are written without end, each confirmed by the server: what a mount that stands still makes wait.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Writes a record to each file `every` so often until standard input ends; answers the longest wait for one.
pub fn run(files: &[PathBuf], every: Duration) -> io::Result<Duration> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = files.iter().map(|file| scope.spawn(|| write(file, every, &stop))).collect();
        // The end is what counts, not what is read.
        let _read = io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for writer in writers {
            longest = longest.max(writer.join().map_err(|_| io::Error::other("a writer panicked"))??);
        }
        Ok(longest)
    })
}

fn write(path: &Path, every: Duration, stop: &AtomicBool) -> io::Result<Duration> {
    let mut file = File::create(path)?;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        file.write_all(b"a record of some bytes\n")?;
        file.sync_data()?;
        longest = longest.max(begin.elapsed());
        // Not sleep: the lab's kernel answers ENOSYS to a nanosleep that was interrupted, and sleep panics then.
        thread::park_timeout(every);
    }
    Ok(longest)
}
