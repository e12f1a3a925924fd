//! Trees of many files, there and back again.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::lab::process::output;
use crate::scene::{Scene, Workload};

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload { name: "tar_brings_a_tree_there_and_back", needs: &["tar"], work: tar },
    Workload { name: "rsync_finds_nothing_left_to_do", needs: &["rsync"], work: rsync },
];

/// Makes a tree with files of many sizes, links and modes.
fn plant(root: &Path, files: usize) -> anyhow::Result<()> {
    for number in 0..files {
        let directory = root.join(format!("{:02}/{:02}", number % 20, number / 20 % 20));
        std::fs::create_dir_all(&directory)?;
        let file = directory.join(format!("file-{number}"));
        std::fs::write(&file, format!("{number:06}\n").repeat(number * 37 % 900))?;
        let mode = [0o644, 0o600, 0o755, 0o444][number % 4];
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
        if number % 10 == 0 {
            std::os::unix::fs::symlink(format!("file-{number}"), directory.join(format!("link-{number}")))?;
        }
        if number % 25 == 0 {
            std::fs::hard_link(&file, directory.join(format!("hard-{number}")))?;
        }
    }
    Ok(())
}

/// What is compared of a file: mode, size, modification time, links, content or target.
type Leaf = (u32, u64, i64, u64, Vec<u8>);

fn leaves(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, Leaf>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| format!("{directory:?}"))? {
            let path = entry?.path();
            let told = std::fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(root)?.to_owned();
            if told.is_dir() {
                open.push(path);
            } else if told.is_symlink() {
                let target = std::fs::read_link(&path)?.into_os_string().into_encoded_bytes();
                found.insert(name, (0, 0, 0, 0, target));
            } else {
                let content = std::fs::read(&path)?;
                found.insert(name, (told.mode(), told.size(), told.mtime(), told.nlink(), content));
            }
        }
    }
    Ok(found)
}

fn same(expected: &Path, got: &Path) -> anyhow::Result<()> {
    let (expected, got) = (leaves(expected)?, leaves(got)?);
    ensure!(expected.len() == got.len(), "{} entries became {}", expected.len(), got.len());
    let different = expected.iter().find(|(name, leaf)| got.get(*name) != Some(*leaf));
    ensure!(different.is_none(), "{:?} differs", different.map(|(name, _)| name));
    Ok(())
}

fn tar(scene: &Scene) -> anyhow::Result<()> {
    let (planted, back) = (scene.local.join("planted"), scene.local.join("back"));
    plant(&planted, scene.size(250, 20_000))?;
    let there = scene.one.at("there");
    std::fs::create_dir_all(&there)?;
    std::fs::create_dir_all(&back)?;
    let archive = scene.local.join("there.tar");
    let tar = |arguments: &[&str], directory: &Path, archive: &Path| {
        output(
            Command::new("tar").args(arguments).arg(archive).arg("-C").arg(directory).args(if arguments[0] == "-cf" {
                &["."][..]
            } else {
                &[]
            }),
        )
    };
    tar(&["-cf"], &planted, &archive)?;
    tar(&["-xpf"], &there, &archive)?;
    // The other client reads it back: nothing of it is in its cache.
    let returned = scene.two.at("back.tar");
    tar(&["-cf"], &scene.two.at("there"), &returned)?;
    tar(&["-xpf"], &back, &scene.one.at("back.tar"))?;
    same(&planted, &back)
}

fn rsync(scene: &Scene) -> anyhow::Result<()> {
    let planted = scene.local.join("planted");
    plant(&planted, scene.size(250, 20_000))?;
    let rsync = |from: &Path, to: &Path| {
        output(
            Command::new("rsync")
                .args(["--archive", "--hard-links", "--checksum", "--itemize-changes"])
                .arg(format!("{}/", from.display()))
                .arg(format!("{}/", to.display())),
        )
    };
    rsync(&planted, &scene.one.at("there"))?;
    let left = rsync(&planted, &scene.two.at("there"))?;
    ensure!(left.trim().is_empty(), "the other client finds differences:\n{left}");
    same(&planted, &scene.two.at("there"))
}
