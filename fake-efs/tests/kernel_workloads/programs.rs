//! Programs that check what they wrote.

use std::process::Command;

use crate::lab::process::output;
use crate::scene::{Scene, Workload};

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload { name: "git_clones_and_finds_no_fault", needs: &["git"], work: git },
    Workload { name: "fio_verifies_random_writes_of_many_jobs", needs: &["fio"], work: fio_random },
    Workload { name: "fio_verifies_sequential_writes_of_many_jobs", needs: &["fio"], work: fio_sequential },
];

fn git(scene: &Scene) -> anyhow::Result<()> {
    let origin = scene.local.join("origin");
    let run = |dir: &std::path::Path, arguments: &[&str]| {
        output(
            Command::new("git")
                .current_dir(dir)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .args([
                    "-c",
                    "user.name=t",
                    "-c",
                    "user.email=t@example.org",
                    "-c",
                    "safe.directory=*",
                    "-c",
                    "gc.auto=0",
                ])
                .args(arguments),
        )
    };
    std::fs::create_dir_all(&origin)?;
    run(&origin, &["init", "--quiet", "--initial-branch=main"])?;
    for commit in 0..scene.size(4, 60) {
        for file in 0..10 {
            let directory = origin.join(format!("d{file}"));
            std::fs::create_dir_all(&directory)?;
            std::fs::write(directory.join(format!("f{commit}")), format!("{commit} {file}\n").repeat(50 + file))?;
        }
        run(&origin, &["add", "--all"])?;
        run(&origin, &["commit", "--quiet", "--message", &format!("commit {commit}")])?;
    }
    let clone = scene.one.at("clone");
    run(&scene.local, &["clone", "--quiet", "--no-local", "origin", &clone.to_string_lossy()])?;
    run(&clone, &["fsck", "--strict", "--full"])?;
    let status = run(&clone, &["status", "--porcelain"])?;
    anyhow::ensure!(status.is_empty(), "the clone differs:\n{status}");
    // Work on top, seen and checked by the other client.
    std::fs::write(clone.join("new"), "new\n")?;
    run(&clone, &["add", "--all"])?;
    run(&clone, &["commit", "--quiet", "--message", "on NFS"])?;
    run(&clone, &["repack", "-a", "-d", "--quiet"])?;
    let other = scene.two.at("clone");
    run(&other, &["fsck", "--strict", "--full"])?;
    let head = run(&other, &["rev-parse", "HEAD"])?;
    anyhow::ensure!(head == run(&clone, &["rev-parse", "HEAD"])?, "the clients see different heads");
    Ok(())
}

fn fio(scene: &Scene, pattern: &str, block: &str) -> anyhow::Result<()> {
    let directory = scene.one.at("fio");
    std::fs::create_dir_all(&directory)?;
    let megabytes = scene.size(2, 32);
    output(
        Command::new("fio")
            .current_dir(&scene.local)
            .arg(format!("--directory={}", directory.display()))
            .args(["--name=verified", "--numjobs=8", "--thread", "--ioengine=psync", "--fallocate=none"])
            .args(["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--end_fsync=1", "--group_reporting"])
            .arg(format!("--rw={pattern}"))
            .arg(format!("--bs={block}"))
            .arg(format!("--size={megabytes}m")),
    )?;
    Ok(())
}

fn fio_random(scene: &Scene) -> anyhow::Result<()> {
    fio(scene, "randwrite", "16k")
}

fn fio_sequential(scene: &Scene) -> anyhow::Result<()> {
    fio(scene, "write", "256k")
}
