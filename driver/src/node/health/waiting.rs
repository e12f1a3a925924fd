//! For which mounts the kernel waits for the server, from /proc/self/mountstats: how many calls it has sent and how many replies it has got.
//! Reading the file touches no server.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::mount::mountinfo::unescaped;

/// A server that answers nothing for so long, while the kernel waits, counts as silent. Busy ones take seconds.
const SILENT_AFTER: Duration = Duration::from_secs(15);

/// What the connections of one mount have done so far, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// How often they were made.
    connects: u64,
    /// Calls sent, those that were sent again included.
    sent: u64,
    /// Replies, those that nobody waited for any more included.
    received: u64,
}

impl Counts {
    fn outstanding(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// The counts of the NFS mounts of this process's mount namespace, by mount point; of those on top of each other the topmost.
pub(super) fn counts() -> io::Result<HashMap<PathBuf, Counts>> {
    Ok(parse(&String::from_utf8_lossy(&fs::read("/proc/self/mountstats")?)))
}

fn parse(text: &str) -> HashMap<PathBuf, Counts> {
    let mut all = HashMap::new();
    let mut mount = None;
    for line in text.lines() {
        if let Some(device) = line.strip_prefix("device ") {
            let mut words = device.split(' ').skip(3);
            let (point, kind) = (words.next(), words.nth(2));
            mount = point.filter(|_| kind.is_some_and(|kind| kind.starts_with("nfs"))).map(unescaped);
            if let Some(mount) = &mount {
                all.insert(mount.clone(), Counts::default());
            }
        } else if let Some(mount) = &mount
            && let Some(numbers) =
                line.trim_start().strip_prefix("xprt:").and_then(|rest| rest.trim().strip_prefix("tcp "))
        {
            // port, binds, connects, seconds to connect, seconds idle, sent, received, replies that nobody waited for, …
            let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
            if let [_, _, connects, _, _, sent, received, unexpected, ..] = numbers[..] {
                let counts: &mut Counts = all.entry(mount.clone()).or_default();
                counts.connects += connects;
                counts.sent += sent;
                counts.received += received + unexpected;
            }
        }
    }
    all
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    mounts: HashMap<PathBuf, Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    last: Counts,
    /// What had been sent when a reply was last seen to have come.
    sent_then: u64,
    /// The fewest calls without a reply since the connections were made. Replies that were lost with a connection never come.
    fewest: u64,
    /// Since when nothing has come though something is waited for.
    silent_since: Option<Instant>,
}

impl Progress {
    fn new(counts: Counts) -> Self {
        Self { last: counts, sent_then: counts.sent, fewest: counts.outstanding(), silent_since: None }
    }

    fn go_on(self, counts: Counts, now: Instant) -> Self {
        if counts.connects != self.last.connects || counts.sent < self.last.sent {
            return Self {
                silent_since: self.silent_since.filter(|_| counts.received == self.last.received),
                ..Self::new(counts)
            };
        }
        let fewest = self.fewest.min(counts.outstanding());
        if counts.received != self.last.received {
            return Self { last: counts, sent_then: counts.sent, fewest, silent_since: None };
        }
        let waits = counts.sent > self.sent_then || counts.outstanding() > fewest;
        let silent_since = self.silent_since.or_else(|| waits.then_some(now));
        Self { last: counts, fewest, silent_since, ..self }
    }
}

impl Waiting {
    /// Takes in the counts of now. Gives the mounts whose server is silent, and for how long.
    pub(super) fn look(&mut self, counts: HashMap<PathBuf, Counts>, now: Instant) -> HashMap<PathBuf, Duration> {
        self.mounts = counts
            .into_iter()
            .map(|(mount, counts)| {
                let before = self.mounts.get(&mount);
                let progress = before.map_or_else(|| Progress::new(counts), |before| before.go_on(counts, now));
                (mount, progress)
            })
            .collect();
        let silent = |(mount, progress): (&PathBuf, &Progress)| {
            let silence = now.duration_since(progress.silent_since?);
            (silence >= SILENT_AFTER).then(|| (mount.clone(), silence))
        };
        self.mounts.iter().filter_map(silent).collect()
    }

    #[cfg(test)]
    fn look_at(&mut self, mount: &std::path::Path, counts: Counts, now: Instant) -> Option<Duration> {
        self.look(HashMap::from([(mount.to_owned(), counts)]), now).remove(mount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "device sysfs mounted on /sys with fstype sysfs\n\
        device 127.0.0.1:/ mounted on /pods/a\\040b/mount with fstype nfs4 statvers=1.1\n\
        \topts:\trw,vers=4.1\n\
        \tage:\t12\n\
        \txprt:\ttcp 875 0 1 0 3 1520 1510 4 1520 0 2 0 0\n\
        \txprt:\ttcp 876 0 2 0 3 100 99 0 1520 0 2 0 0\n\
        \tper-op statistics\n\
        device tmpfs mounted on /tmp with fstype tmpfs\n";

    #[test]
    fn the_connections_of_a_mount_are_added_up() {
        let all = parse(TEXT);
        let want = Counts { connects: 3, sent: 1620, received: 1613 };
        assert_eq!(all, HashMap::from([(PathBuf::from("/pods/a b/mount"), want)]));
    }

    /// Looks every ten seconds at (connects, sent, received); which of the looks say silent.
    fn silent(looks: &[(u64, u64, u64)]) -> Vec<usize> {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let said = looks.iter().enumerate().filter(|(at, (connects, sent, received))| {
            let counts = Counts { connects: *connects, sent: *sent, received: *received };
            let now = start + Duration::from_secs(10) * u32::try_from(*at).expect("few");
            waiting.look_at(std::path::Path::new("/m"), counts, now).is_some()
        });
        said.map(|(at, _)| at).collect()
    }

    #[test]
    fn a_server_is_silent_when_calls_wait_and_no_reply_comes() {
        assert_eq!(silent(&[(1, 9, 9), (1, 9, 9), (1, 9, 9), (1, 9, 9)]), [] as [usize; 0], "idle");
        assert_eq!(silent(&[(1, 9, 9), (1, 12, 9), (1, 12, 9), (1, 12, 9), (1, 13, 13)]), [3], "until it answers");
        assert_eq!(silent(&[(1, 9, 9), (1, 20, 14), (1, 30, 25), (1, 40, 36)]), [] as [usize; 0], "slow");
        // The last call went out just before a look that saw replies, and none after it.
        assert_eq!(silent(&[(1, 9, 9), (1, 20, 19), (1, 20, 19), (1, 20, 19), (1, 20, 19)]), [4]);
    }

    #[test]
    fn replies_that_were_lost_with_a_connection_are_not_waited_for() {
        let idle = [(1, 9, 9), (2, 14, 9), (2, 19, 14), (2, 19, 14), (2, 19, 14), (2, 19, 14), (2, 19, 14)];
        assert_eq!(silent(&idle), [] as [usize; 0]);
        // One that is lost while calls wait is no answer.
        assert_eq!(silent(&[(1, 9, 9), (1, 12, 9), (2, 15, 9), (2, 15, 9)]), [3]);
    }
}
