//! The mount worker as a process: it works for its living parent only, and for more than one job.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use efs_csi_driver::mount::worker::{Worker, WorkerError};
use rustix::process::{Pid, Signal, kill_process};

mod support;

const LONG: Duration = Duration::from_secs(30);

/// The worker processes of this test, by number.
fn workers() -> Vec<i32> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").expect("proc").flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if words.get(1..3) == Some(&[b"mount-worker", me.as_bytes()]) {
            found.push(process.file_name().to_str().expect("a number").parse().expect("a number"));
        }
    }
    found
}

#[tokio::test]
async fn a_worker_that_did_well_gets_the_next_job() {
    let worker = Worker::new(support::driver());
    worker.usage(PathBuf::from("/"), LONG).await.expect("usage");
    let first = workers();
    assert_eq!(first.len(), 1);
    worker.usage(PathBuf::from("/proc"), LONG).await.expect("usage");
    assert_eq!(workers(), first);

    // One that has died meanwhile is not used, one that saw a failure not again.
    kill_process(Pid::from_raw(first[0]).expect("pid"), Signal::KILL).expect("kill");
    while !workers().is_empty() {
        tokio::task::yield_now().await;
    }
    worker.usage(PathBuf::from("/"), LONG).await.expect("usage");
    let second = workers();
    assert_eq!(second.len(), 1);
    let failure = worker.usage(PathBuf::from("/missing/path"), LONG).await.expect_err("no such path");
    assert!(matches!(failure, WorkerError::Job(_)), "{failure}");
    assert!(workers().is_empty());
}

#[tokio::test]
async fn a_burst_leaves_few_workers_and_the_end_none() {
    let worker = Worker::new(support::driver());
    let jobs = (0..16).map(|_| worker.usage(PathBuf::from("/"), LONG));
    for outcome in futures::future::join_all(jobs).await {
        outcome.expect("usage");
    }
    // The others are killed when they are let go, and vanish a moment later.
    while workers().len() > 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!workers().is_empty());
    drop(worker);
    while !workers().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A job that any system can do.
const JOB: &[u8] = br#"{"usage":{"path":"/"}}"#;

#[test]
fn a_worker_whose_parent_has_gone_does_nothing() {
    for parent in ["1", "0", "-1", "me"] {
        let mut worker = Command::new(support::driver());
        worker.args(["mount-worker", parent]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut worker = worker.spawn().expect("start");
        // A worker that refuses closes the pipe, perhaps before this is written.
        let _ = worker.stdin.take().expect("stdin").write_all(JOB);
        let output = worker.wait_with_output().expect("wait");
        assert!(!output.status.success() && output.stdout.is_empty(), "{parent}: {output:?}");
    }
}

#[test]
fn a_worker_dies_with_its_parent() {
    // The shell is the parent. The worker waits for its job, which never comes.
    let script = r#"exec 3<&0; "$0" mount-worker $$ <&3 & echo started; wait"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(support::driver()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("start");
    // Waiting for the shell would close it, and the worker would end for want of a job.
    let _stdin = shell.stdin.take().expect("stdin");
    let mut stdout = shell.stdout.take().expect("stdout");
    let mut line = [0; 8];
    stdout.read_exact(&mut line).expect("the shell's word");
    assert_eq!(&line, b"started\n");
    shell.kill().expect("kill");
    shell.wait().expect("wait");
    // The worker holds the other end of this pipe for as long as it lives.
    let (sender, end) = mpsc::channel();
    std::thread::spawn(move || sender.send(stdout.read_to_end(&mut Vec::new())));
    end.recv_timeout(Duration::from_secs(30)).expect("the worker lives on").expect("read");
}
