//! What the kernel knows about a process: its memory and its processor time.

use std::ops::{Add, Sub};
use std::time::Duration;

use anyhow::Context as _;

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident pages, shared ones in full.
    pub rss: u64,
    /// Resident pages, shared ones divided by the number of processes that share them.
    pub pss: u64,
}

/// Reads a process's memory.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_memory(&text).with_context(|| format!("{path} has no Rss and Pss"))
}

fn parse_memory(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(Memory { rss: field("Rss")?, pss: field("Pss")? })
}

/// Processor time that a process has used so far, ended threads included; in steps of a clock tick (10 ms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel, for its system calls.
    pub system: Duration,
}

impl CpuTime {
    /// Both together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

/// Reads a process's processor time.
pub fn cpu_time(pid: u32) -> anyhow::Result<CpuTime> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let (user, system) = parse_ticks(&text).with_context(|| format!("{path} reads {text:?}"))?;
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
    Ok(CpuTime { user: time(user), system: time(system) })
}

/// Processor time of a process's threads that exist, in nanoseconds and so fit for a single call. What ended threads have used is not
/// in it.
pub fn run_time(pid: u32) -> anyhow::Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let path = task?.path().join("schedstat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        total += parse_run_time(&text).with_context(|| format!("{} reads {text:?}", path.display()))?;
    }
    Ok(total)
}

/// The first of three fields.
fn parse_run_time(text: &str) -> Option<Duration> {
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

/// Fields 14 and 15. The second field, the program's name, is in brackets and may hold anything.
fn parse_ticks(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_rollup() {
        let text =
            "00400000-7ffd [rollup]\nRss:                4096 kB\nPss:                1024 kB\nPss_Dirty: 7 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { rss: 4096, pss: 1024 }));
        assert_eq!(parse_memory("nothing"), None);
    }

    #[test]
    fn ticks_are_found_behind_any_program_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 30 0 0 20 0 1 0 9 1 1";
        assert_eq!(parse_ticks(text), Some((250, 30)));
    }

    #[test]
    fn run_time_is_the_first_field_and_grows_with_work() {
        assert_eq!(parse_run_time("5081 11 3\n"), Some(Duration::from_nanos(5081)));
        assert_eq!(parse_run_time("\n"), None);
        let before = run_time(std::process::id()).unwrap();
        assert!(std::hint::black_box((0..1_000_000_u64).fold(0, |sum, it| sum ^ std::hint::black_box(it))) < u64::MAX);
        assert!(run_time(std::process::id()).unwrap() > before);
    }

    #[test]
    fn our_own_process_has_memory() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 100, "{memory:?}");
        cpu_time(std::process::id()).unwrap();
    }
}
