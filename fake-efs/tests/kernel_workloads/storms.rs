//! Two clients that rename, replace and remove in the same directories.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::lab::files::{self, Errno};
use crate::scene::{Scene, Workload};

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload { name: "a_rename_storm_of_two_clients_loses_no_file", needs: &[], work: tokens },
    Workload { name: "a_reader_of_a_replaced_file_sees_whole_versions", needs: &[], work: versions },
];

const TOKENS: usize = 40;
const PLACES: u64 = 4;

/// A sequence that looks random and is the same in every run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Each token is moved from wherever it is found to another directory; losers of a race find it gone and go on.
fn shuffle(root: &Path, rounds: usize, mut state: u64) -> anyhow::Result<usize> {
    let mut moved = 0;
    for _ in 0..rounds {
        let token = format!("token-{}", next(&mut state) % TOKENS as u64);
        let (from, to) = (next(&mut state) % PLACES, next(&mut state) % PLACES);
        let (from, to) = (root.join(from.to_string()), root.join(to.to_string()));
        match files::rename(&from.join(&token), &to.join(&token)) {
            Ok(()) => moved += 1,
            Err(Errno::NOENT | Errno::STALE) => {}
            Err(errno) => return Err(errno).with_context(|| format!("{from:?} to {to:?}: {token}")),
        }
    }
    Ok(moved)
}

fn tokens(scene: &Scene) -> anyhow::Result<()> {
    for place in 0..PLACES {
        files::mkdir(&scene.one.at(&place.to_string()), 0o755)?;
    }
    for token in 0..TOKENS {
        files::put(&scene.one.at(&format!("0/token-{token}")), format!("content of {token}"))?;
    }
    let rounds = scene.size(1_000, 20_000);
    let moved = std::thread::scope(|scope| {
        let other = scope.spawn(|| shuffle(scene.two.root(), rounds, 1));
        let own = shuffle(scene.one.root(), rounds, 2)?;
        let other = other.join().map_err(|_| anyhow::anyhow!("the other client panicked"))??;
        anyhow::Ok((own, other))
    })?;
    ensure!(moved.0 > 0 && moved.1 > 0, "both must have moved something: {moved:?}");
    let mut found = BTreeSet::new();
    for place in 0..PLACES {
        let place = scene.two.at(&place.to_string());
        for name in files::names(&place)? {
            let number = name.strip_prefix("token-").context("only tokens are there")?.to_owned();
            let content = files::text(&place.join(&name))?;
            ensure!(content == format!("content of {number}"), "{name} holds \"{content}\"");
            ensure!(found.insert(number), "{name} is in two places");
        }
    }
    ensure!(found.len() == TOKENS, "{} of {TOKENS} tokens are left", found.len());
    Ok(())
}

fn versions(scene: &Scene) -> anyhow::Result<()> {
    let version = |number: usize| format!("{number:08}\n").repeat(2_000);
    files::put(&scene.one.at("current"), version(0))?;
    let rounds = scene.size(60, 1_000);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> anyhow::Result<()> {
            for number in 1..=rounds {
                files::put(&scene.one.at("next"), version(number))?;
                files::rename(&scene.one.at("next"), &scene.one.at("current"))?;
            }
            Ok(())
        });
        while !writer.is_finished() {
            match files::text(&scene.two.at("current")) {
                Ok(content) => {
                    let number: usize = content.get(..8).context("a version is never empty")?.parse()?;
                    ensure!(content == version(number), "version {number} is torn");
                }
                // The version that was opened is gone on the server; the client must look again.
                Err(Errno::STALE) => {}
                Err(errno) => return Err(errno).context("reading the current version"),
            }
        }
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    })?;
    ensure!(files::text(&scene.one.at("current"))? == version(rounds), "the last version is not current");
    Ok(())
}
