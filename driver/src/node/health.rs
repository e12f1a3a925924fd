//! NodeGetVolumeHealth and NodeGetStorageHealth: what is known to be wrong, from memory.
//!
//! The kubelet asks for one volume after the other, so an answer that waits for a server would hold up all of them. A task looks every ten
//! seconds ([`watch`]) at what never touches a server: the tunnels, the mount table, and what the kernel has sent and received. Calls read
//! what it has seen. When it has not seen anything for a while, they are refused: an answer without entries would mean that all is well.

mod failures;
mod waiting;
mod watch;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use csi_proto::csi;

use super::errors::NodeError;
use super::report::TunnelReport;
use super::request::target_path;
use super::{Published, State};
use crate::conditions::{self, Condition, Reason, StorageReason};
use failures::{Failures, condition_of, reason_of};

pub(super) use watch::watch;

/// What was seen longer ago than this tells nothing of now: several looks have failed.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// What is known of the node's volumes without asking anybody.
#[derive(Debug, Default)]
pub(super) struct Health {
    seen: Mutex<Option<Seen>>,
    /// Why the last look failed, if it did.
    blind: Mutex<Option<String>>,
    failures: Failures,
}

/// What one look has seen.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    /// By port.
    tunnels: HashMap<u16, TunnelReport>,
    /// Whether the data plane doesn't answer.
    away: bool,
    /// Published targets where nothing is mounted.
    unmounted: HashSet<PathBuf>,
    /// Mounts whose server is silent, and for how long it was when they were looked at.
    silent: HashMap<PathBuf, Duration>,
}

impl Seen {
    /// These tunnels, just now.
    fn of(tunnels: HashMap<u16, TunnelReport>) -> Self {
        Self { at: Instant::now(), tunnels, away: false, unmounted: HashSet::new(), silent: HashMap::new() }
    }
}

/// What answers need of a published target.
#[derive(Clone, Debug)]
struct Mount {
    target: PathBuf,
    /// Its tunnel's, if it has one.
    port: Option<u16>,
    served: bool,
}

impl From<&Published> for Mount {
    fn from(it: &Published) -> Self {
        Self { target: it.record.target.clone(), port: it.record.port(), served: it.is_served() }
    }
}

impl Health {
    /// Takes in how a NodePublishVolume has ended.
    pub(super) fn published(&self, volume: &str, target: &Path, result: Result<(), &NodeError>) {
        match result {
            Ok(()) => {
                self.failures.forget(volume, target);
                // It is mounted anew, later than the last look.
                if let Some(seen) = &mut *lock(&self.seen) {
                    seen.unmounted.remove(target);
                    seen.silent.remove(target);
                }
            }
            Err(error) => {
                if let Some(condition) = condition_of(error).filter(|_| !volume.is_empty()) {
                    self.failures.note(volume, target, condition);
                }
            }
        }
    }

    /// A volume is wanted no more at a target.
    pub(super) fn unpublished(&self, volume: &str, target: &Path) {
        self.failures.forget(volume, target);
    }

    /// The driver forgets a mount that somebody has unmounted behind its back. Its pod is still there and asked for.
    pub(super) fn lost(&self, volume: &str, target: &Path) {
        self.failures.note(volume, target, unmounted(target));
    }

    fn note(&self, seen: io::Result<Seen>) {
        match seen {
            Ok(seen) => {
                *lock(&self.seen) = Some(seen);
                *lock(&self.blind) = None;
            }
            Err(error) => *lock(&self.blind) = Some(error.to_string()),
        }
    }

    /// Does something with what was seen, if that is young enough.
    fn seen<T>(&self, tell: impl FnOnce(&Seen) -> T) -> Result<T, NodeError> {
        let seen = lock(&self.seen);
        match &*seen {
            Some(seen) if seen.at.elapsed() < SEEN_WITHIN => Ok(tell(seen)),
            seen => Err(NodeError::Unseen {
                seconds: seen.as_ref().map(|seen| seen.at.elapsed().as_secs()),
                reason: lock(&self.blind).clone().unwrap_or_else(|| "the first look is under way".to_owned()),
            }),
        }
    }
}

/// Takes in how a NodePublishVolume has ended, and tells what an operator must know of.
pub(super) fn published(state: &State, request: &csi::NodePublishVolumeRequest, result: Result<(), &NodeError>) {
    let (volume, target) = (&request.volume_id, Path::new(&request.target_path));
    state.health.published(volume, target, result);
    if let (Some(events), Err(error)) = (&state.events, result) {
        events.of_mount(volume, target, condition_of(error));
    }
}

/// Tells what the last look has seen, as far as an operator must know of it.
fn tell_events(state: &State) {
    let Some(events) = &state.events else { return };
    let published: Vec<_> = state.published().values().map(|it| (it.record.volume.clone(), Mount::from(it))).collect();
    for (volume, mount) in &published {
        // A look that failed tells nothing.
        let wrong = state.health.seen(|seen| wrong(mount, seen)).unwrap_or_default();
        events.of_mount(volume, &mount.target, wrong.into_iter().chain(state.over_soft_limit(volume)));
        if let Some(reason) = state.walks.as_ref().and_then(|walks| walks.failure(volume)) {
            events.of_walk(volume, &mount.target, &reason);
        }
    }
    if let Ok(health) = storage_health(state) {
        events.of_node(&health.backend_health);
    }
}

/// What is known to be wrong with a volume on this node.
pub(super) fn volume_health(
    state: &State,
    request: &csi::NodeGetVolumeHealthRequest,
) -> Result<csi::NodeGetVolumeHealthResponse, NodeError> {
    let volume = &request.volume_id;
    if volume.is_empty() {
        return Err(NodeError::request("volume_id", "is missing"));
    }
    let path = optional_path("volume_publish_path", &request.volume_publish_path)?;
    optional_path("staging_target_path", &request.staging_target_path)?;
    let mut published: Vec<Mount> =
        state.published().values().filter(|it| it.record.volume == *volume).map(Mount::from).collect();
    // A path that is unknown may be one through a symbolic link, or one where publishing has failed; what is known of the volume counts.
    let known = path.as_ref().filter(|path| published.iter().any(|it| it.target == **path));
    let failures = match known {
        Some(path) => {
            published.retain(|it| it.target == *path);
            state.health.failures.at(volume, path)
        }
        None => state.health.failures.of(volume, path.as_deref()),
    };
    if published.is_empty() && failures.is_empty() {
        let busy = state.claims.targets_of(volume).into_iter().next();
        return Err(match busy {
            Some(target) => NodeError::InProgress(target),
            None => NodeError::UnknownVolume(volume.clone()),
        });
    }
    let mut all = failures;
    if !published.is_empty() {
        all.extend(state.health.seen(|seen| published.iter().flat_map(|it| wrong(it, seen)).collect::<Vec<_>>())?);
        all.extend(state.over_soft_limit(volume));
    }
    Ok(csi::NodeGetVolumeHealthResponse { volume_health: Some(conditions::volume(volume, all)) })
}

/// What is known to be wrong with this node's way to EFS.
pub(super) fn storage_health(state: &State) -> Result<csi::NodeGetStorageHealthResponse, NodeError> {
    let published: Vec<Mount> = state.published().values().map(Mount::from).filter(|it| it.port.is_some()).collect();
    let backend_health = state.health.seen(|seen| storage_wrong(&published, seen))?;
    Ok(csi::NodeGetStorageHealthResponse { backend_health })
}

fn optional_path(field: &str, path: &str) -> Result<Option<PathBuf>, NodeError> {
    (!path.is_empty()).then(|| target_path(field, path)).transpose()
}

/// Nothing is mounted where something should be.
pub(super) fn unmounted(target: &Path) -> Condition {
    Condition::new(Reason::MountMissing, format!("nothing is mounted at {} any more", target.display()))
}

/// What is wrong with one published target.
fn wrong(mount: &Mount, seen: &Seen) -> Vec<Condition> {
    let target = &mount.target;
    let mut all = Vec::new();
    if seen.unmounted.contains(target) {
        all.push(unmounted(target));
    }
    if let Some(port) = mount.port {
        all.extend(tunnel_wrong(mount.served, port, seen));
    }
    if let Some(silence) = seen.silent.get(target) {
        let seconds = (*silence + seen.at.elapsed()).as_secs();
        let text =
            format!("the kernel waits for the server of {}, which has not answered for {seconds} s", target.display());
        all.push(Condition::new(Reason::ServerNotAnswering, text));
    }
    all
}

/// What is wrong with the tunnel of a mount, by what the data plane says now.
pub(super) async fn tunnel_wrong_now(state: &State, published: &Published) -> Vec<Condition> {
    let Mount { port: Some(port), served, .. } = Mount::from(published) else { return Vec::new() };
    let tunnels = state.plane.report().await.into_iter().map(|tunnel| (tunnel.port, tunnel)).collect();
    let seen = Seen { away: state.plane.is_away(), ..Seen::of(tunnels) };
    tunnel_wrong(served, port, &seen)
}

/// What is wrong with the tunnel of a mount.
fn tunnel_wrong(served: bool, port: u16, seen: &Seen) -> Vec<Condition> {
    if seen.away {
        return vec![Condition::new(
            Reason::TunnelDown,
            "the data plane, which has this node's tunnels, does not answer",
        )];
    }
    if !served {
        let text =
            format!("the tunnel's port {port} is taken, by another program or by a port keeper that does not answer");
        return vec![Condition::new(Reason::PortTaken, text)];
    }
    let Some(tunnel) = seen.tunnels.get(&port) else { return Vec::new() };
    let age = seen.at.elapsed().as_secs();
    let mut all = Vec::new();
    if let Some((error, since)) = &tunnel.trouble {
        let text = format!("for {} s: {error}", since + age);
        all.push(match tunnel.connections {
            // A data plane of an earlier release tells no kind.
            0 => Condition::new(tunnel.trouble_kind.map_or(Reason::MountTargetUnreachable, reason_of), text),
            left => Condition::new(Reason::ConnectionsFailing, format!("{left} connections go on; {text}")),
        });
    }
    if let Some((error, since)) = &tunnel.not_renewed {
        let left = tunnel.certificate_expires_in.unwrap_or_default().saturating_sub(age);
        let text = format!(
            "for {} s there is no new client certificate, and the old one ends in {left} s: {error}",
            since + age
        );
        all.push(Condition::new(Reason::CertificateNotRenewed, text));
    }
    all
}

/// What is wrong with all tunnels together.
fn storage_wrong(published: &[Mount], seen: &Seen) -> Vec<csi::node_get_storage_health_response::StorageBackendHealth> {
    if published.is_empty() {
        return Vec::new();
    }
    if seen.away {
        return vec![conditions::storage(
            StorageReason::DataPlaneDown,
            "the data plane, which has this node's tunnels, does not answer",
        )];
    }
    let tunnel = |it: &Mount| it.port.and_then(|port| seen.tunnels.get(&port));
    let lost = |it: &Mount| {
        let unreached = tunnel(it).is_some_and(|tunnel| tunnel.trouble.is_some() && tunnel.connections == 0);
        !it.served || unreached || seen.silent.contains_key(&it.target)
    };
    if published.iter().all(lost) {
        let one = published.iter().find_map(|it| tunnel(it)?.trouble.as_ref());
        let one = one.map(|(error, _)| format!(", one for this reason: {error}")).unwrap_or_default();
        let text = format!("none of the {} mounts of this node reaches its server{one}", published.len());
        return vec![conditions::storage(StorageReason::NoServerReached, text)];
    }
    let mut with_credentials = seen.tunnels.values().filter(|tunnel| tunnel.iam.is_some()).peekable();
    if with_credentials.peek().is_none() {
        return Vec::new();
    }
    let failing: Option<Vec<_>> = with_credentials.map(|tunnel| tunnel.not_renewed.as_ref()).collect();
    match failing.as_deref() {
        Some([(error, _), ..]) => {
            let text =
                format!("no client certificate with IAM credentials can be renewed, one for this reason: {error}");
            vec![conditions::storage(StorageReason::CredentialsNotRenewed, text)]
        }
        _ => Vec::new(),
    }
}

impl State {
    /// Whether the last walk has found more in a volume than is wished.
    fn over_soft_limit(&self, volume: &str) -> Option<Condition> {
        let used = self.walks.as_ref()?.counted(volume)?.bytes;
        over(self.config.usage_soft_limit?, used)
    }
}

fn over(limit: u64, used: u64) -> Option<Condition> {
    let text = || format!("the volume holds {used} bytes, its soft limit is {limit}");
    (used > limit).then(|| Condition::new(Reason::UsageOverSoftLimit, text()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
