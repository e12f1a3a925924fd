//! Volume statistics by walking, with real walker processes.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use efs_csi_driver::config::VolumeMetrics;
use efs_csi_driver::node::usage::{WalkState, Walks};
use efs_csi_driver::node::walker::{self, Options, Totals};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);
/// At this pace nothing ends by itself.
const CRAWL: Options = Options { threads: 1, entries_per_second: Some(1) };

fn tree(files: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    for file in 0..files {
        std::fs::write(dir.path().join(format!("{file}")), vec![7; file * 100]).expect("write");
    }
    dir
}

fn walks(refresh: Duration, at_once: usize, options: Options) -> Walks {
    let settings = VolumeMetrics { refresh, walks_per_file_system: at_once };
    Walks::new(support::driver(), settings, options, CancellationToken::new())
}

fn expected(root: &Path) -> Totals {
    walker::walk(root, &Options::default(), &walker::Progress::default()).expect("walk")
}

/// The state of a volume once it satisfies `condition`.
async fn wait(walks: &Walks, volume: &str, condition: impl Fn(&WalkState) -> bool) -> WalkState {
    loop {
        if let Some(state) = walks.list().into_iter().find(|state| state.volume == volume && condition(state)) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Walker processes that look at `root`.
fn walkers(root: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
    processes
        .filter(|process| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            String::from_utf8_lossy(&line).contains(walker::COMMAND)
                && open.into_iter().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == root))
        })
        .collect()
}

#[tokio::test]
async fn the_first_call_gets_nothing_and_later_ones_the_numbers_of_one_walk() {
    let dir = tree(300);
    let walks = walks(DAY, 5, Options::default());
    assert_eq!(walks.totals("volume", "fs-1", dir.path()), None, "no call waits for a walk");
    let state = wait(&walks, "volume", |state| state.result.is_some()).await;
    assert_eq!(state.result.expect("result").1, expected(dir.path()));
    assert_eq!(walks.counted("volume"), Some(expected(dir.path())));
    assert_eq!(walks.counted("another"), None);
    std::fs::write(dir.path().join("new"), "x").expect("write");
    let cached = walks.totals("volume", "fs-1", dir.path()).expect("cached");
    assert_eq!(cached.inodes, 301);
    assert_eq!(walks.list()[0].running, None, "fresh numbers need no walk");
    walks.forget_unless(|_| false);
    assert_eq!(walks.list(), []);
}

#[tokio::test]
async fn old_numbers_are_given_while_new_ones_are_counted() {
    let dir = tree(10);
    let walks = walks(Duration::ZERO, 5, Options::default());
    walks.totals("volume", "fs-1", dir.path());
    wait(&walks, "volume", |state| state.result.is_some() && state.running.is_none()).await;
    std::fs::write(dir.path().join("new"), "x").expect("write");
    assert_eq!(walks.totals("volume", "fs-1", dir.path()).expect("old").inodes, 11);
    wait(&walks, "volume", |state| state.result.is_some_and(|(_, totals)| totals.inodes == 12)).await;
}

#[tokio::test]
async fn a_file_system_has_no_more_walks_than_allowed_and_a_place_is_given_back() {
    let (one, two, three) = (tree(50), tree(50), tree(50));
    let walks = walks(DAY, 1, CRAWL);
    walks.totals("one", "fs-1", one.path());
    walks.totals("two", "fs-1", two.path());
    walks.totals("three", "fs-2", three.path());
    let running: Vec<_> = walks.list().into_iter().map(|state| state.volume).collect();
    assert_eq!(running, ["one", "three"]);
    let paused = walks.pause("one").await;
    walks.totals("one", "fs-1", one.path());
    assert_eq!(walks.list().len(), 1, "a paused volume is not walked");
    walks.totals("two", "fs-1", two.path());
    wait(&walks, "two", |state| state.running.is_some()).await;
    drop(paused);
}

/// The Go driver's walk can't be cancelled and keeps the mount busy; a failed one never gives its place back (UB-36).
#[tokio::test]
async fn a_paused_walk_has_let_go_of_the_volume() {
    let dir = tree(50);
    let walks = walks(DAY, 1, CRAWL);
    walks.totals("volume", "fs-1", dir.path());
    while walkers(dir.path()).is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let _paused = walks.pause("volume").await;
    assert_eq!(walkers(dir.path()), Vec::<PathBuf>::new());
    assert_eq!(walks.list(), [], "a cancelled walk is no failure");
}

#[tokio::test]
async fn a_failed_walk_gives_its_place_back_and_says_why() {
    let dir = tree(1);
    let walks = walks(DAY, 1, Options::default());
    walks.totals("gone", "fs-1", &dir.path().join("missing"));
    let state = wait(&walks, "gone", |state| state.failure.is_some()).await;
    assert!(state.failure.expect("failure").contains("missing: No such file or directory"));
    assert_eq!(walks.totals("gone", "fs-1", dir.path()), None);
    assert_eq!(walks.list()[0].running, None, "it is not tried again at once");
    walks.totals("volume", "fs-1", dir.path());
    wait(&walks, "volume", |state| state.result.is_some()).await;
}
