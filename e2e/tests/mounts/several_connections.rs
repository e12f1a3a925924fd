//! A busy mount over several connections to one of the server's partitions, with the kernel's client.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{Fixture, can_mount};

/// A search for connections begins within two seconds of load and ends within fifteen.
const WITHIN: Duration = Duration::from_secs(40);
/// Files are written and read in pieces of this size: larger than what is kept of calls that can be sent again, and smaller.
const PIECES: [usize; 2] = [1 << 20, 3000];
/// Of how many pieces a file is.
const LENGTH: usize = 4;

/// What stands in a file, so that a byte in another's place is found.
fn content(number: usize) -> Vec<u8> {
    let piece = PIECES[number % PIECES.len()];
    (0..piece * LENGTH).map(|at| (at / 7 + at + number) as u8).collect()
}

fn path(dir: &Path, number: usize) -> PathBuf {
    dir.join(number.to_string())
}

/// Writes file after file, until it is told to stop; how many.
fn write_files(dir: &Path, stop: &AtomicBool) -> usize {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut file = File::create(path(dir, number)).expect("create");
        for piece in content(number).chunks(PIECES[number % PIECES.len()]) {
            file.write_all(piece).expect("write");
        }
        file.sync_all().expect("sync");
        number += 1;
        // The guest's disk is memory.
        if number >= 4 {
            std::fs::remove_file(path(dir, number - 4)).expect("remove");
        }
    }
    number
}

#[tokio::test]
async fn a_busy_mount_has_several_connections_to_one_partition_and_loses_nothing_when_they_break() {
    if !can_mount() {
        return;
    }
    let fake = ["--partitions=3", "--bind-max-connections=4", "--bind-threshold-bytes-per-second=100000"];
    let fixture = Fixture::start_both_with(&fake, |options| {
        options.arguments.push("--max-connections-per-mount=4".to_owned());
    })
    .await;
    fixture.publish(&fixture.file_system, &fixture.target()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (dir, until) = (fixture.target(), Arc::clone(&stop));
    let writer = tokio::task::spawn_blocking(move || write_files(&dir, &until));
    let begin = Instant::now();
    let used = loop {
        let used = fixture.fake.bound_partitions().await.expect("the fake's connections");
        let most = (0..3).map(|partition| used.iter().filter(|it| **it == partition).count()).max();
        if most == Some(4) {
            break used;
        }
        assert!(begin.elapsed() < WITHIN, "connections by partition: {used:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    println!("four connections after {:?}: {used:?}", begin.elapsed());
    for _ in 0..20 {
        fixture.fake.add_wire_fault(&json!({"effect": {"kind": "reset"}, "times": 1})).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written = tokio::time::timeout(WITHIN, writer).await.expect("the writer hangs").expect("the writer");
    fixture.fake.clear_wire_faults().await.unwrap();
    println!("{written} files");
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("drop the caches");
    for number in written.saturating_sub(3)..written {
        let mut found = Vec::new();
        File::open(path(&fixture.target(), number)).unwrap().read_to_end(&mut found).unwrap();
        assert!(found == content(number), "file {number}");
    }
    fixture.unpublish(&fixture.file_system, &fixture.target()).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}
