//! State and mounts in step: after a restart, and every minute.
//!
//! A restarted driver has the data plane hold the ports that its mounts expect, before it answers its first call. Where the data plane
//! goes on, that changes nothing; where it has begun anew, the kernel connects by itself and hard mounts go on as if nothing had happened.
//!
//! During an upgrade the process before may still be in the middle of a NodePublishVolume. Its record has no mount yet, or
//! is not written yet; so for a while after the start young records are left alone, and adopted once they are mounted.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efs_common::open_files::OutOfFiles;
use efs_tunnel::peer;
use efs_tunnel::plane::{Failure, Lease};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::records::{Record, UNFINISHED_FOR};
use super::{Published, State, kernel_ports};
use crate::blocking::{Blocking, Dependency};
use crate::mount::mountinfo::{self, MountEntry};

/// How often state and mounts are compared.
const EVERY: Duration = Duration::from_secs(60);
/// How often a recorded port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why the state of an earlier process can't be picked up.
#[derive(Debug)]
pub(super) enum RecoverError {
    /// The state directory can't be read.
    Records(io::Error),
    /// The mount table can't be read.
    Mountinfo(io::Error),
}

impl State {
    /// Serves the mounts that the state directory and the mount table agree on; drops records of mounts that are gone. Answers
    /// the records that another process may still be working on.
    pub(super) async fn recover(&self) -> Result<Vec<Record>, RecoverError> {
        let directory = self.records.clone();
        let read = move || {
            let records = directory.load()?;
            let young: HashSet<PathBuf> =
                records.keys().filter(|target| directory.is_younger(target, UNFINISHED_FOR)).cloned().collect();
            Ok((records, young))
        };
        let records = self.blocking.run_patiently(Dependency::StateDirectory, "reading the records", read);
        let (records, young) = records.await.map_err(RecoverError::Records)?;
        let mounts = self.blocking.run_patiently(Dependency::MountTable, "reading it", mountinfo::table);
        let mounts = mounts.await.map_err(RecoverError::Mountinfo)?;
        let mut unfinished = Vec::new();
        let (there, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|(_, record)| mounted(record, &mounts));
        let served = there.len();
        self.serve_all_mounted(there.into_iter().map(|(_, record)| record).collect()).await;
        for (target, record) in others {
            if young.contains(&target) {
                unfinished.push(record);
            } else {
                // A disk that takes no change is no reason not to serve the mounts that are there.
                if let Err(error) = self.drop_unmounted(&record, &mounts).await {
                    tracing::warn!(%error, target = %target.display(), "cannot drop a record; trying again");
                    unfinished.push(record);
                }
            }
        }
        self.settle(&mounts).await;
        self.tell_orphans(&mounts).await;
        if served > 0 {
            tracing::info!(mounts = served, "serving the mounts of the process before");
        }
        Ok(unfinished)
    }

    /// Removes a record whose mount isn't there; serves the port for as long as the kernel asks for it all the same.
    async fn drop_unmounted(&self, record: &Record, mounts: &[MountEntry]) -> io::Result<()> {
        let target = record.target.display();
        tracing::info!(%target, volume = record.volume, "dropping the record of a mount that is gone");
        let mut ports: HashSet<u16> = mounts.iter().filter_map(MountEntry::tunnel_port).collect();
        ports.extend(self.kernel_ports().await?);
        if let Some(port) = record.port().filter(|port| ports.contains(port)) {
            match self.plane.reopen(&record.mount.spec, port, record.mount_target).await {
                Ok(lease) => release_lease(&self.blocking, lease).await,
                Err(error) => tracing::warn!(port, %error, "the kernel asks for a tunnel that can't be opened"),
            }
        }
        let target = record.target.clone();
        self.on_disk("removing a record", move |records| records.remove(&target)).await
    }

    /// Adopts the mounts that another process has finished since this one started.
    async fn adopt(&self) -> io::Result<()> {
        let young = self.on_disk("reading the records", |records| records.younger_than(UNFINISHED_FOR)).await?;
        if young.iter().all(|record| self.published().contains_key(&record.target)) {
            return Ok(());
        }
        let mounts = self.mounts().await?;
        let (mut claims, mut finished) = (Vec::new(), Vec::new());
        for record in young {
            // A call of this process in progress knows better.
            let Some(claim) = self.claims.for_own_work(&record.target) else { continue };
            if let Some(record) = self.adoptable(&record.target, &mounts).await {
                claims.push(claim);
                finished.push(record);
            }
        }
        self.adopt_all(finished).await;
        Ok(())
    }

    /// Adopts the mount at a target that this process works on, if another process has finished it.
    pub(super) async fn adopt_at(&self, target: &Path, mounts: &[MountEntry]) {
        if let Some(record) = self.adoptable(target, mounts).await {
            self.adopt_all(vec![record]).await;
        }
    }

    /// The record of a mount that another process has finished and nobody here serves.
    async fn adoptable(&self, target: &Path, mounts: &[MountEntry]) -> Option<Record> {
        if self.published().contains_key(target) || mounts.iter().all(|mount| mount.mount_point != target) {
            return None;
        }
        let there = target.to_owned();
        let record = self.on_disk("reading a record", move |records| Ok(records.get(&there))).await.ok().flatten();
        record.filter(|record| mounted(record, mounts))
    }

    /// Adopts mounts of another process: this one serves them from now on.
    async fn adopt_all(&self, finished: Vec<Record>) {
        for record in &finished {
            let target = record.target.display();
            tracing::info!(%target, volume = record.volume, "serving a mount that another process has finished");
        }
        self.serve_all_mounted(finished).await;
    }

    /// Expires unfinished records: drops those that nobody can be working on any more and that never got their mounts.
    async fn expire_unfinished(&self, unfinished: &mut Vec<Record>) -> io::Result<()> {
        // Called every second; the mount table of a busy node is long.
        if unfinished.is_empty() {
            return Ok(());
        }
        let mounts = self.mounts().await?;
        // What can't be removed now is tried again.
        while let Some(record) = unfinished.last().cloned() {
            if let Some(_claim) = self.claims.for_own_work(&record.target)
                && !self.published().contains_key(&record.target)
            {
                self.drop_unmounted(&record, &mounts).await?;
            }
            unfinished.pop();
        }
        Ok(())
    }

    /// Serves mounts, all at once: a data plane that begins anew has a hundred ports to open.
    async fn serve_all_mounted(&self, records: Vec<Record>) {
        let served = futures::future::join_all(records.into_iter().map(async |record| {
            let lease = self.serve_again(&record).await;
            Published { record, lease }
        }));
        for it in served.await {
            self.published().insert(it.record.target.clone(), it);
        }
    }

    /// Opens the tunnel of a record if it needs one.
    async fn serve_again(&self, record: &Record) -> Option<Lease> {
        let opened = self.open_again(record, record.port()?).await;
        let target = record.target.display();
        opened
            .inspect_err(|error| tracing::error!(%target, volume = record.volume, %error, "a mount has no tunnel"))
            .ok()
    }

    async fn open_again(&self, record: &Record, port: u16) -> Result<Lease, Failure> {
        self.plane.reopen(&record.mount.spec, port, record.mount_target).await
    }

    /// Tries again to open the tunnels whose ports were taken.
    async fn retry_ports(&self) {
        let waits = |it: &Published| it.lease.is_none() && it.record.port().is_some();
        let waiting: Vec<Record> =
            self.published().values().filter(|it| waits(it)).map(|it| it.record.clone()).collect();
        for record in waiting {
            let Some(port) = record.port() else { continue };
            // That it has none was said when this began, and the health of the volume says it for as long as it lasts.
            let opened = self.open_again(&record, port).await.inspect_err(|error| {
                tracing::debug!(target = %record.target.display(), %error, "a mount still has no tunnel");
            });
            let Ok(lease) = opened else { continue };
            tracing::info!(target = %record.target.display(), volume = record.volume, "the mount has its tunnel again");
            // Somebody may have unpublished it meanwhile.
            if let Some(it) = self.published().get_mut(&record.target).filter(|it| waits(it)) {
                it.lease = Some(lease);
            }
        }
    }

    /// Has the tunnels closed that no record, no mount and no thread of the kernel needs: a driver that was killed has left them.
    pub(super) async fn settle(&self, mounts: &[MountEntry]) {
        let records = self.on_disk("reading the records", |records| records.load()).await;
        // What can't be read may need any of them.
        let (Ok(records), Ok(known)) = (records, self.kernel_ports().await) else { return };
        let mut needed: BTreeSet<u16> = records.values().filter_map(Record::port).collect();
        needed.extend(mounts.iter().filter_map(MountEntry::tunnel_port));
        needed.extend(known);
        self.plane.settle(needed).await;
    }

    /// Mounts through ports of our range that no record explains.
    fn orphans(&self, mounts: &[MountEntry]) -> Vec<MountEntry> {
        let known: HashSet<u16> = self.published().values().filter_map(|p| p.record.port()).collect();
        let orphaned = |port: u16| self.ports.contains(&port) && !known.contains(&port);
        mounts.iter().filter(|mount| mount.tunnel_port().is_some_and(orphaned)).cloned().collect()
    }

    /// Says which of them nobody serves. Another driver on this node may serve some.
    async fn tell_orphans(&self, mounts: &[MountEntry]) {
        let mut orphans = self.orphans(mounts);
        if !orphans.is_empty() {
            match self.blocking.run(Dependency::MountTable, "reading the sockets", peer::listening_ports).await {
                Ok(served) => orphans.retain(|it| it.tunnel_port().is_none_or(|port| !served.contains(&port))),
                Err(error) => return tracing::debug!(%error, "cannot find out which ports are served"),
            }
        }
        let trouble = orphans.first().map(|first| {
            format!(
                "{} mounts have no tunnel, as nothing is known of them, and stand still: {} expects port {}; put the state directory back that \
                 this driver had, or unmount them",
                orphans.len(),
                first.mount_point.display(),
                first.tunnel_port().unwrap_or_default(),
            )
        });
        self.blocking.note("mounts without records", trouble);
    }

    /// Writes records again that somebody has removed: without them, the next process would not serve these mounts.
    async fn restore_records(&self, mounts: &[MountEntry]) {
        let there: Vec<Record> =
            self.published().values().map(|it| it.record.clone()).filter(|it| mounted(it, mounts)).collect();
        for record in there {
            let target = record.target.clone();
            // A call in progress knows better.
            let Some(_claim) = self.claims.for_own_work(&target) else { continue };
            match self.on_disk("looking for a record", move |records| records.restore(&record)).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!(target = %target.display(), "wrote a record again that somebody had removed");
                }
                Err(error) => {
                    tracing::warn!(target = %target.display(), %error, "cannot look after the records of mounts");
                    return;
                }
            }
        }
        if let Err(error) = self.on_disk("removing unfinished writes", super::records::Records::tidy).await {
            tracing::debug!(%error, "cannot remove what is left of unfinished writes");
        }
    }

    /// Says what keeps mounts from being served.
    async fn tell_troubles(&self) {
        let is_used = self.config.tunnel_sidecar || !self.published().is_empty();
        let keeper = (is_used && self.plane.keeper().is_out_of_reach()).then(|| {
            let who = if self.config.tunnel_sidecar {
                "it is waited for, and the kubelet starts one again that hangs"
            } else {
                "this driver puts another in its place, while connections go on"
            };
            format!("the port keeper does not answer; {who}")
        });
        self.blocking.note("port keeper", keeper);
        let plane = self.plane.is_away().then(|| {
            "the data plane does not answer; one that has ended is started again by its keeper, one that hangs by the kubelet (or end it)".to_owned()
        });
        self.blocking.note("data plane", plane);
        let unserved = self.count_unserved().await;
        let ports = (unserved > 0).then(|| {
            format!("{unserved} mounts have no tunnel, as their ports are taken; `efs-csi-driver debug` tells which")
        });
        self.blocking.note("ports", ports);
    }

    /// How many mounts have no tunnel. Those that another driver has unmounted while this one stood still need none.
    async fn count_unserved(&self) -> usize {
        let lacking: Vec<Record> =
            self.published().values().filter(|it| !it.is_served()).map(|it| it.record.clone()).collect();
        if lacking.is_empty() {
            return 0;
        }
        match self.mounts().await {
            Ok(mounts) => lacking.iter().filter(|record| mounted(record, &mounts)).count(),
            // What can't be seen may be there.
            Err(_) => lacking.len(),
        }
    }

    /// Forgets targets that were unmounted behind our back. `suspects` are those that were missing the last time already;
    /// the new suspects are returned.
    async fn reconcile(&self, suspects: &HashSet<PathBuf>) -> io::Result<HashSet<PathBuf>> {
        let mounts = self.mounts().await?;
        let missing: Vec<PathBuf> = {
            let published = self.published();
            published.values().filter(|p| !mounted(&p.record, &mounts)).map(|p| p.record.target.clone()).collect()
        };
        self.restore_records(&mounts).await;
        self.settle(&mounts).await;
        self.tell_orphans(&mounts).await;
        let mut next = HashSet::new();
        for target in missing {
            // A call in progress knows better.
            let Some(_claim) = self.claims.for_own_work(&target) else { continue };
            if !suspects.contains(&target) {
                next.insert(target);
                continue;
            }
            tracing::warn!(target = %target.display(), "forgetting a volume that somebody else unmounted");
            if let Some(published) = self.published().get(&target) {
                self.health.lost(&published.record.volume, &target);
            }
            if let Err(error) = self.forget(&target).await {
                tracing::warn!(%error, "cannot forget a volume");
            }
        }
        Ok(next)
    }
}

/// Releases the lease of a tunnel whose mount is gone or never came about, as soon as the kernel's client does not know its port any more.
///
/// A mount that is broken off may leave a thread of the kernel that recovers the client's state, and that goes on for as long
/// as nobody answers. Every other mount of the same access point waits for it.
pub(super) async fn release_lease(blocking: &Blocking, lease: Lease) {
    let (blocking, port) = (blocking.clone(), lease.port());
    // A list that can't be read proves nothing.
    let knows = async move || kernel_ports(&blocking).await.map_or(true, |ports| ports.contains(&port));
    if !knows().await {
        return;
    }
    tokio::spawn(async move {
        while knows().await {
            sleep(RETRY).await;
        }
        drop(lease);
    });
}

/// Whether the mount table holds what the record says.
fn mounted(record: &Record, mounts: &[MountEntry]) -> bool {
    mounts.iter().any(|mount| {
        mount.mount_point == record.target
            && mount.is_nfs()
            && record.port().is_none_or(|port| mount.tunnel_port() == Some(port))
    })
}

/// Keeps state and mounts in step until `shutdown`. `unfinished` are the records that [`State::recover`] left alone.
pub(super) async fn reconcile_until(state: Arc<State>, mut unfinished: Vec<Record>, shutdown: CancellationToken) {
    let started = Instant::now();
    let mut minute = interval(EVERY);
    let mut second = interval(RETRY);
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut suspects, mut failed, mut reviving) = (HashSet::new(), false, None::<tokio::task::JoinHandle<()>>);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = second.tick() => {
                let adopted = if started.elapsed() < UNFINISHED_FOR {
                    state.adopt().await
                } else {
                    state.expire_unfinished(&mut unfinished).await
                };
                match adopted {
                    Ok(()) => failed = false,
                    // Once a second is once too often.
                    Err(error) if failed => tracing::debug!(%error, "cannot adopt what another process has mounted"),
                    Err(error) => {
                        let limit = OutOfFiles::of(&error).map(|limit| limit.to_string());
                        tracing::warn!(%error, limit, "cannot adopt what another process has mounted");
                        failed = true;
                    }
                }
                state.retry_ports().await;
                state.tell_troubles().await;
                // One at a time: a keeper that doesn't answer takes longer than a second to say so.
                if reviving.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                    let keeper = state.plane.keeper().clone();
                    reviving = Some(tokio::task::spawn_blocking(move || keeper.revive()));
                }
            }
            _ = minute.tick() => match state.reconcile(&suspects).await {
                Ok(next) => suspects = next,
                Err(error) => tracing::warn!(%error, "cannot compare state and mounts"),
            },
        }
    }
}
