//! The look that answers come from: every ten seconds, at what never touches a server.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::State;
use super::Seen;
use super::waiting::{self, Waiting};
use crate::blocking::Dependency;
use crate::mount::mountinfo;

/// How often. The kubelet asks every minute.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until `shutdown`, or until the node service is gone.
pub(in crate::node) async fn watch(state: Weak<State>, shutdown: CancellationToken) {
    let mut waiting = Waiting::default();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let Some(state) = state.upgrade() else { return };
        let seen = look(&state, &mut waiting).await;
        state.health.note(seen);
        super::tell_events(&state);
    }
}

async fn look(state: &Arc<State>, waiting: &mut Waiting) -> io::Result<Seen> {
    let tunnels = state.plane.report().await;
    // In this order: what is published by now is mounted by the time the table is read.
    let published: Vec<PathBuf> = state.published().keys().cloned().collect();
    let read = || Ok((mountinfo::table()?, waiting::counts()?));
    let (mounts, counts) =
        state.blocking.run(Dependency::MountTable, "looking for servers that are silent", read).await?;
    let at = Instant::now();
    let mounted: HashSet<&Path> =
        mounts.iter().filter(|mount| mount.is_nfs()).map(|mount| mount.mount_point.as_path()).collect();
    let unmounted = published.into_iter().filter(|target| !mounted.contains(target.as_path())).collect();
    Ok(Seen {
        at,
        tunnels: tunnels.into_iter().map(|tunnel| (tunnel.port, tunnel)).collect(),
        away: state.plane.is_away(),
        unmounted,
        silent: waiting.look(counts, at),
    })
}
