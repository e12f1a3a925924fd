//! Work on a mounted file system, measured: bytes in order and at random, many files, many writers, a walk.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::{Mode, OFlags};

/// Bytes of a sequential read or write.
const CHUNK: usize = 1 << 20;
/// Bytes of a random read or write, and what O_DIRECT wants buffers to be aligned to.
const BLOCK: usize = 4096;
/// Bytes of a concurrent writer's write.
const PIECE: usize = 64 << 10;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    /// Size of the file that is read and written, in MiB.
    pub sequential_mib: u64,
    /// Reads and writes at random places.
    pub random: usize,
    /// Files that are made and removed.
    pub files: usize,
    /// How long files are made at most.
    pub enough: Duration,
    /// Threads that write at the same time.
    pub writers: usize,
    /// What each of them writes, in MiB.
    pub writer_mib: usize,
}

/// Writes a file and removes it again, unmeasured: the first to touch a machine's memory waits for it.
pub fn warm_up(dir: &Path, amounts: &Amounts) -> io::Result<()> {
    let path = dir.join("sequential");
    sequential_write(&path, amounts.sequential_mib)?;
    fs::remove_file(path)
}

/// All workloads but the walk; each measurement's id with its rate.
pub fn files(
    dir: &Path,
    amounts: &Amounts,
    drop_caches: &dyn Fn() -> io::Result<()>,
) -> io::Result<Vec<(&'static str, f64)>> {
    let path = dir.join("sequential");
    let write = sequential_write(&path, amounts.sequential_mib)?;
    drop_caches()?;
    let read = sequential_read(&path, amounts.sequential_mib)?;
    let blocks = amounts.sequential_mib * (CHUNK / BLOCK) as u64;
    let random_write = random_writes(&path, blocks, amounts.random)?;
    let random_read = random_reads(&path, blocks, amounts.random)?;
    fs::remove_file(&path)?;
    Ok(vec![
        ("nfs.write", write),
        ("nfs.read", read),
        ("nfs.random.write", random_write),
        ("nfs.random.read", random_read),
        ("nfs.metadata", made_and_removed(&dir.join("files"), amounts.files, amounts.enough)?),
        ("nfs.writers", writers(&dir.join("writers"), amounts)?),
    ])
}

fn rate(amount: f64, begin: Instant) -> f64 {
    amount / begin.elapsed().as_secs_f64()
}

/// Writes a new file in order, to the server's memory; MiB a second.
pub fn sequential_write(path: &Path, mib: u64) -> io::Result<f64> {
    let chunk = vec![0x5a; CHUNK];
    let begin = Instant::now();
    let mut file = File::create(path)?;
    for _ in 0..mib {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    drop(file);
    Ok(rate(mib as f64, begin))
}

/// Reads it; MiB a second.
pub fn sequential_read(path: &Path, mib: u64) -> io::Result<f64> {
    let mut chunk = vec![0; CHUNK];
    let begin = Instant::now();
    let mut file = File::open(path)?;
    for _ in 0..mib {
        file.read_exact(&mut chunk)?;
    }
    Ok(rate(mib as f64, begin))
}

/// The same places for everybody.
fn places(blocks: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut random = StdRng::seed_from_u64(7);
    (0..count).map(move |_| random.random_range(0..blocks) * BLOCK as u64)
}

fn random_writes(path: &Path, blocks: u64, count: usize) -> io::Result<f64> {
    let file = File::options().write(true).open(path)?;
    let begin = Instant::now();
    for place in places(blocks, count) {
        file.write_all_at(&[0xa5; BLOCK], place)?;
        file.sync_all()?;
    }
    Ok(rate(count as f64, begin))
}

fn random_reads(path: &Path, blocks: u64, count: usize) -> io::Result<f64> {
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty())?);
    // The kernel wants the buffer aligned; a buffer of twice the size holds an aligned half.
    let mut buffer = vec![0; 2 * BLOCK];
    let start = buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
    let begin = Instant::now();
    for place in places(blocks, count) {
        file.read_exact_at(&mut buffer[start..start + BLOCK], place)?;
    }
    Ok(rate(count as f64, begin))
}

/// Makes files, `count` of them or as many as it can until `enough`, and removes them again.
fn made_and_removed(dir: &Path, count: usize, enough: Duration) -> io::Result<f64> {
    fs::create_dir(dir)?;
    let begin = Instant::now();
    let mut made = 0;
    while made < count && begin.elapsed() < enough {
        File::create(dir.join(made.to_string()))?;
        made += 1;
    }
    for number in 0..made {
        fs::remove_file(dir.join(number.to_string()))?;
    }
    let rate = rate(made as f64, begin);
    fs::remove_dir(dir)?;
    Ok(rate)
}

fn writers(dir: &Path, amounts: &Amounts) -> io::Result<f64> {
    fs::create_dir(dir)?;
    let write = |number: usize| -> io::Result<()> {
        let piece = vec![0x5a; PIECE];
        let mut file = File::create(dir.join(number.to_string()))?;
        for _ in 0..(amounts.writer_mib << 20) / PIECE {
            file.write_all(&piece)?;
        }
        file.sync_all()
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..amounts.writers).map(|number| scope.spawn(move || write(number))).collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        ended.try_for_each(|end| end.unwrap_or_else(|_| Err(io::Error::other("a writer panicked"))))
    })?;
    let rate = rate((amounts.writers * amounts.writer_mib) as f64, begin);
    fs::remove_dir_all(dir)?;
    Ok(rate)
}

/// Makes a tree to walk over: so many directories with so many empty files each.
pub fn plant(tree: &Path, directories: usize, files: usize) -> io::Result<()> {
    for directory in 0..directories {
        let directory = tree.join(format!("{directory:04}"));
        fs::create_dir_all(&directory)?;
        for file in 0..files {
            File::create(directory.join(format!("{file:04}")))?;
        }
    }
    Ok(())
}

/// What a walk has seen.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Everything that is no directory.
    pub files: u32,
    /// Files per second.
    pub rate: f64,
}

/// Reads every directory of a tree and the attributes of everything in it. No further directory is begun after `enough`: all are alike,
/// so the rate of those seen is the rate of the tree, and a slow server can't take the whole run.
pub fn walk(tree: &Path, enough: Duration) -> io::Result<Walk> {
    let begin = Instant::now();
    let mut files = 0;
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        if files > 0 && begin.elapsed() >= enough {
            break;
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    Ok(Walk { files, rate: rate(f64::from(files), begin) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_on_until_it_has_seen_enough() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), 3, 4).unwrap();
        assert_eq!(walk(dir.path(), Duration::MAX).unwrap().files, 12);
        // A directory that was begun is finished, so there is always something to tell.
        assert_eq!(walk(dir.path(), Duration::ZERO).unwrap().files, 4);
    }

    #[test]
    fn every_workload_leaves_the_folder_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        plant(&dir.path().join("tree"), 3, 4).unwrap();
        fs::remove_dir_all(dir.path().join("tree")).unwrap();
        let amounts =
            Amounts { sequential_mib: 1, random: 3, files: 5, enough: Duration::MAX, writers: 4, writer_mib: 1 };
        let samples = files(dir.path(), &amounts, &|| Ok(())).unwrap();
        assert_eq!(samples.len(), 6);
        assert!(samples.iter().all(|(_, rate)| rate.is_finite() && *rate > 0.0), "{samples:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
