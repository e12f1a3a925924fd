//! The fake's file server beside nfs-ganesha and the kernel's, with the kernel's client.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use efs_csi_e2e::mounts;
use efs_csi_e2e::stack::Fake;

use super::{Board, Declaration, Setting};
use crate::peers::nfs_servers::{self, GANESHA, KNFSD};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Higher;
use crate::workloads::{self, Amounts};

const PEERS: &[&str] = &[GANESHA, KNFSD];
/// As EFS's mount helper sets them, but for `nosharecache`: each mount is a client of its own.
const OPTIONS: &str = "vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,nosharecache";
/// Where a walk is broken off. In a slow guest ganesha would take three minutes for the whole tree.
const WALK: Duration = Duration::from_secs(12);
/// Where making files is broken off, for the same reason.
const MAKE: Duration = Duration::from_secs(8);

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let common = "Kernel client, NFSv4.1 without TLS, one mount each with the options that EFS recommends, everything in memory \
        (the fake's own, tmpfs for the others), root not squashed. Client and server share the guest's one processor.";
    let mut declare = |id, title, unit, how: &str| {
        let method = format!("{how} {common}");
        board.declare(Declaration { id, title, unit, better: Higher, method: &method, peers: PEERS });
    };
    declare("nfs.write", "fake-efs: sequential write", "MiB/s", "A new file in writes of 1 MiB, then fsync.");
    declare("nfs.read", "fake-efs: sequential read", "MiB/s", "The same file after the client's caches were dropped.");
    declare(
        "nfs.random.write",
        "fake-efs: random writes of 4 KiB with fsync",
        "1/s",
        "4 KiB at a random place of that file, then fsync, one after another.",
    );
    declare(
        "nfs.random.read",
        "fake-efs: random reads of 4 KiB",
        "1/s",
        "4 KiB at a random place of that file past the client's cache (O_DIRECT), one after another.",
    );
    declare(
        "nfs.metadata",
        "fake-efs: files made and removed",
        "files/s",
        "Empty files in one directory, 10,000 over all rounds: made; removed. After 8 s of a round no more are made.",
    );
    declare(
        "nfs.find",
        "fake-efs: walk over 50,000 files",
        "files/s",
        "100 directories with 500 files each: every directory read and every file looked at, as find -ls does, after the \
            client's caches were dropped; a walk begins no further directory after 12 s. The peers' files were made in their \
            tmpfs, the fake's through the mount.",
    );
    declare(
        "nfs.writers",
        "fake-efs: 16 concurrent writers",
        "MiB/s",
        "16 threads, each a new file of 4 MiB in writes of 64 KiB, then fsync; all bytes by the time of the last.",
    );
}

/// A server that is being measured, mounted.
struct Subject {
    name: &'static str,
    mount: PathBuf,
    /// Where its files are on this machine, if they are.
    backing: Option<PathBuf>,
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let (_, address) = fake.create_file_system("bench").await?;
    let mut servers = vec![(NAME, address.parse::<IpAddr>()?, fake.ready.nfs.port(), None)];
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let dir = setting.dir.join("ganesha");
    let ganesha = match nfs_servers::ganesha(&dir).await {
        Ok(Some((process, port))) => {
            servers.push((GANESHA, loopback, port, Some(dir.join("data"))));
            Some(process)
        }
        Ok(None) => {
            board.peer_missing(GANESHA, nfs_servers::NO_GANESHA);
            None
        }
        Err(error) => {
            board.peer_missing(GANESHA, &format!("{error:#}"));
            None
        }
    };
    let dir = setting.dir.join("knfsd");
    match nfs_servers::knfsd(&dir).await {
        Ok(Some(port)) => servers.push((KNFSD, loopback, port, Some(dir))),
        Ok(None) => board.peer_missing(KNFSD, nfs_servers::NO_KNFSD),
        Err(error) => board.peer_missing(KNFSD, &format!("{error:#}")),
    }
    let mut subjects = Vec::new();
    let (directories, files) = setting.amount((100, 500), (2, 5));
    for (name, address, port, backing) in servers {
        let mount = setting.dir.join("mount").join(name);
        let subject = Subject { name, mount, backing };
        subjects.push(
            blocking(subject, move |subject| {
                mounts::mount(address, port, &subject.mount, OPTIONS)?;
                let tree = subject.backing.as_ref().unwrap_or(&subject.mount).join("tree");
                workloads::plant(&tree, directories, files).map_err(Into::into)
            })
            .await?
            .0,
        );
    }
    let amounts = Amounts {
        sequential_mib: setting.amount(64, 2),
        random: setting.amount(150, 3),
        files: setting.amount(2500, 5),
        enough: MAKE,
        writers: 16,
        writer_mib: setting.amount(4, 1),
    };
    let mut warm = Vec::new();
    for subject in subjects {
        warm.push(blocking(subject, move |subject| Ok(workloads::warm_up(&subject.mount, &amounts)?)).await?.0);
    }
    subjects = warm;
    for round in setting.rounds(4, 1) {
        let mut done = Vec::new();
        for subject in subjects {
            let walk = round < setting.amount(3, 1);
            let (subject, samples) = blocking(subject, move |subject| {
                let mut samples = workloads::files(&subject.mount, &amounts, &drop_caches)?;
                if walk {
                    drop_caches()?;
                    samples.push(("nfs.find", workloads::walk(&subject.mount.join("tree"), WALK)?.rate));
                }
                Ok(samples)
            })
            .await?;
            for (id, value) in samples {
                board.sample(id, subject.name, value);
            }
            done.push(subject);
        }
        // Nobody is always first.
        done.reverse();
        subjects = done;
    }
    for subject in subjects {
        blocking(subject, |subject| mounts::unmount(&subject.mount)).await?;
    }
    drop(ganesha);
    fake.stop().await
}

/// Does work on a mount on a thread of its own; an error names the server.
async fn blocking<T: Send + 'static>(
    subject: Subject,
    work: impl FnOnce(&Subject) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<(Subject, T)> {
    tokio::task::spawn_blocking(move || {
        let done = work(&subject).with_context(|| subject.name)?;
        Ok((subject, done))
    })
    .await?
}

fn drop_caches() -> std::io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3")
}
