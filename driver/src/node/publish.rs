//! NodePublishVolume: checks, tunnel, mount; and nothing left behind when one of them fails.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use csi_proto::csi;
use efs_tunnel::dial::check_plain;
use efs_tunnel::plane::Lease;
use efs_tunnel::{DialError, IamSource, Service, TunnelSpec};
use rustix::io::Errno;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::errors::NodeError;
use super::pod::Proven;
use super::pod_errors::PodError;
use super::records::{MountRequest, Reached, Record};
use super::recovery::release_lease;
use super::request::{Mode, PublishRequest};
use super::{Published, State, target};
use crate::blocking::Dependency;
use crate::efs::EfsError;
use crate::efs::mount_targets::ListMountTargets;
use crate::efs::mount_targets::file_system_of;
use crate::mount::client_name::client_name;
use crate::mount::mountinfo::{self, MountEntry};
use crate::mount::{Job, JobError, WorkerError};
use crate::volume::AccessPointId;

/// The kernel's mount call has this long in all. The preceding check has shown that the server answers.
const MOUNT_WITHIN: Duration = Duration::from_secs(30);
/// A new access point may be refused for a moment; refusals are tried again for this long.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// AWS has this long to say whether an access point still exists.
const ASK_WITHIN: Duration = Duration::from_secs(3);
/// Pause between two such attempts.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// Publishes a volume.
pub(super) async fn publish(state: &State, request: &csi::NodePublishVolumeRequest) -> Result<(), NodeError> {
    let region = state.metadata.region().await;
    let mut request = PublishRequest::parse(request, &region)?;
    let target = target::resolve(&request.target).await?;
    let _claim = state.claims.for_call_after_own_work(&target, &request.volume).await?;
    let mounts = state.mounts().await.map_err(|source| mountinfo_error(&target, source))?;
    state.adopt_at(&target, &mounts).await;
    let proven = match request.pod.take() {
        Some(pod) => Some(state.prove(pod, &target).await?),
        None => None,
    };
    if let Some(Proven { identity, .. }) = &proven {
        request.mount.spec.iam = Some(IamSource::Pod(identity.clone()));
    }
    if state.is_published(&request, &target, &mounts).await? {
        // The kubelet repeats the call every minute or two, for each pod. It brings a token, and waits for nothing.
        if let Some(Proven { identity, token }) = proven {
            state.pods.put(&identity, &target, token);
        }
        return Ok(());
    }
    // What is mounted already costs nothing, so it doesn't count.
    let _permit = match &state.mounting {
        Some((permits, limit)) => {
            Some(permits.clone().try_acquire_owned().map_err(|_| NodeError::TooManyMounts(*limit))?)
        }
        None => None,
    };
    state.allow_second_target(&request, &target)?;
    state.check_prerequisites(&request, &target, &mounts)?;
    let result = state.publish_as(&request, proven, &target, &mounts).await;
    if result.is_err() {
        state.pods.release(&target);
    }
    result
}

impl State {
    /// Whether the target holds exactly what is asked for; an error if it holds anything else.
    async fn is_published(
        &self,
        request: &PublishRequest,
        target: &Path,
        mounts: &[MountEntry],
    ) -> Result<bool, NodeError> {
        let mount = mounts.iter().rev().find(|entry| entry.mount_point == target);
        let published = self.published().get(target).map(|published| published.record.clone());
        match (mount, published) {
            (None, None) => Ok(false),
            (None, Some(record)) => {
                // Somebody unmounted it behind our back.
                tracing::warn!(target = %target.display(), volume = record.volume, "the mount has vanished, mounting again");
                self.forget(target).await?;
                Ok(false)
            }
            (Some(mount), Some(record)) if mount.is_nfs() && record.volume != request.volume => {
                let (there, asked) = (record.volume, request.volume.clone());
                Err(NodeError::OtherVolume { there, asked, target: target.to_owned() })
            }
            (Some(mount), Some(record)) if mount.is_nfs() => match difference(&record, request) {
                None => Ok(true),
                Some(difference) => {
                    Err(NodeError::Incompatible { volume: record.volume, target: target.to_owned(), difference })
                }
            },
            (Some(mount), _) => Err(NodeError::ForeignMount {
                what: format!("{} ({})", mount.source, mount.fs_type),
                target: target.to_owned(),
            }),
        }
    }

    /// The CSI specification's table for a second target of a volume on one node.
    fn allow_second_target(&self, request: &PublishRequest, target: &Path) -> Result<(), NodeError> {
        if !matches!(request.mode, Mode::SingleNodeWriter | Mode::SingleNodeReaderOnly | Mode::SingleNodeSingleWriter) {
            return Ok(());
        }
        let in_progress = self.claims.targets_of(&request.volume).iter().any(|other| other != target);
        if in_progress {
            return Err(NodeError::InProgress(target.to_owned()));
        }
        let published = self.published();
        let other = published.iter().find(|(other, there)| *other != target && there.record.volume == request.volume);
        match other {
            None => Ok(()),
            Some((other, _)) => Err(NodeError::SingleNode {
                volume: request.volume.clone(),
                other: other.clone(),
                mode: request.mode.as_str_name().to_owned(),
            }),
        }
    }

    /// Whether pod and node give what a mount needs.
    fn check_prerequisites(
        &self,
        request: &PublishRequest,
        target: &Path,
        mounts: &[MountEntry],
    ) -> Result<(), NodeError> {
        let needed = &self.prerequisites;
        let distinction = needed.distinction.as_ref().filter(|_| request.mount.encrypted);
        match needed.privilege.as_ref().or(distinction) {
            Some(missing) => Err(missing.clone().into()),
            None => Ok(needed.seen_by_pods(target, mounts)?),
        }
    }

    /// Gets credentials for the pod first, if they are to be its own: a refusal must leave nothing behind.
    async fn publish_as(
        &self,
        request: &PublishRequest,
        proven: Option<Proven>,
        target: &Path,
        mounts: &[MountEntry],
    ) -> Result<(), NodeError> {
        if let Some(Proven { identity, token }) = proven {
            self.pods.put(&identity, target, token);
            self.pods.admit(&identity).await.map_err(PodError::from)?;
        }
        let made = target::create(target).await?;
        let result = self.publish_at(request, target, mounts).await;
        if result.is_err() {
            target::roll_back(target, made).await;
        }
        result.map_err(|error| error.of(request.mount.spec.iam.as_ref()))
    }

    /// Mounts at an existing, unmounted directory.
    async fn publish_at(
        &self,
        request: &PublishRequest,
        target: &Path,
        mounts: &[MountEntry],
    ) -> Result<(), NodeError> {
        let (reached, lease) = if request.mount.encrypted {
            let lease = self.open_tunnel(&request.mount.spec, target, mounts).await?;
            (Reached::Tunnel(lease.port()), Some(lease))
        } else {
            (self.reach_directly(&request.mount).await?, None)
        };
        let mut record =
            Record::new(target.to_owned(), request.volume.clone(), request.mode.into(), request.mount.clone(), reached);
        let result = match &lease {
            Some(lease) => self.mount_through(lease, &mut record, request.directory_id).await,
            None => self.mount(&record, request.directory_id).await,
        };
        match result {
            Ok(()) => {
                self.published().insert(target.to_owned(), Published { record, lease });
                Ok(())
            }
            Err(error) => {
                self.roll_back(target, lease).await;
                Err(self.explain_refusal(error, &record.mount).await)
            }
        }
    }

    /// A refusal may mean that the access point is gone, which the server does not tell from a policy that forbids it. AWS is asked once; not
    /// about a file system that is another account's, of which nothing is known here. With an address alone it may be either's, so
    /// whether the file system is known here is asked, too.
    async fn explain_refusal(&self, error: NodeError, mount: &MountRequest) -> NodeError {
        let route = &mount.spec.route;
        let may_be_own = route.by_zone.is_empty() && !route.cross_account;
        let access_point =
            mount.spec.access_point.as_ref().filter(|_| may_be_own && error.code() == Code::PermissionDenied);
        let Some(id) = access_point.and_then(|id| id.parse().ok()) else { return error };
        match timeout(ASK_WITHIN, is_missing(self.efs.as_ref(), &id, &mount.spec)).await {
            Ok(Ok(true)) => NodeError::NoAccessPoint { access_point: id.to_string(), refusal: error.to_string() },
            Ok(Ok(false)) | Err(_) => error,
            Ok(Err(reason)) => {
                tracing::debug!(access_point = %id, %reason, "cannot find out whether it still exists");
                error
            }
        }
    }

    /// Mounts through a tunnel whose mount target has been seen to answer.
    async fn mount_through(
        &self,
        lease: &Lease,
        record: &mut Record,
        directory_id: Option<u64>,
    ) -> Result<(), NodeError> {
        record.mount_target = lease.check().await?;
        let result = self.mount(record, directory_id).await;
        lease.discard_warm();
        result
    }

    async fn reach_directly(&self, mount: &MountRequest) -> Result<Reached, NodeError> {
        let what = mount.spec.to_string();
        let addresses =
            self.locate.locate(&mount.spec).await.map_err(|source| DialError::Locate { spec: what.clone(), source })?;
        let address =
            check_plain(&what, &addresses, self.limits).await.inspect_err(|_| self.locate.forget(&mount.spec))?;
        Ok(Reached::Direct(address.ip(), address.port()))
    }

    /// Writes the record and has the kernel mount it.
    async fn mount(&self, record: &Record, directory_id: Option<u64>) -> Result<(), NodeError> {
        // Written first: should we die between the two, the next start finds the record and sees what became of the mount.
        let written = record.clone();
        let stored = self.on_disk("writing a record", move |records| records.store(&written)).await;
        stored.map_err(|source| NodeError::File {
            what: "cannot write the record of",
            path: record.target.clone(),
            source,
        })?;
        self.check_only_port(record).await?;
        let (address, port, direct) = match record.reached {
            Reached::Tunnel(port) => (IpAddr::V4(Ipv4Addr::LOCALHOST), port, None),
            Reached::Direct(address, port) => (address, port, Some(SocketAddr::new(address, port))),
        };
        let source = match address {
            IpAddr::V4(address) => format!("{address}:{}", record.mount.path),
            IpAddr::V6(address) => format!("[{address}]:{}", record.mount.path),
        };
        let options = &record.mount.options;
        let job = |version: &str| Job::Mount {
            source: source.clone(),
            target: record.target.clone(),
            options: options.for_server(address, port, version),
            attributes: options.attributes,
            client: client_name(&record.mount.spec, direct),
            directory_id,
        };
        let (version, mut lower) = match record.mount.spec.service {
            Service::Efs => ("4.1", None),
            // AWS's helper mounts with 4.2; a kernel may be built without.
            Service::S3Files => ("4.2", Some("4.1").filter(|_| !options.has_version())),
        };
        let mut job_now = job(version);
        let started = Instant::now();
        loop {
            let left = MOUNT_WITHIN.saturating_sub(started.elapsed());
            match self.worker.run(&job_now, left).await {
                Ok(()) => break,
                Err(WorkerError::Job(JobError { errno, .. }))
                    if errno == Errno::ACCESS.raw_os_error()
                        && record.mount.spec.access_point.is_some()
                        && started.elapsed() < REFUSED_FOR =>
                {
                    sleep(REFUSED_PAUSE).await;
                }
                Err(WorkerError::Job(JobError { errno, .. }))
                    if errno == Errno::PROTONOSUPPORT.raw_os_error() && lower.is_some() =>
                {
                    let version = lower.take().unwrap_or_default();
                    tracing::info!(target = %record.target.display(), version, "a lower version of NFS is taken");
                    job_now = job(version);
                }
                Err(reason) => {
                    let what = format!("{}:{}", record.mount.spec, record.mount.path);
                    return Err(NodeError::mount(what, record.target.clone(), reason));
                }
            }
        }
        self.read_ahead(&record.target, options.read_size()).await;
        Ok(())
    }

    /// Rolls a failed mount back: a mount that came about after all, the record, the tunnel.
    async fn roll_back(&self, target: &Path, lease: Option<Lease>) {
        let mounted = self.mounts_at(target).await.map_or(true, |layers| !layers.is_empty());
        if mounted && let Err(error) = self.unmount_all(target).await {
            // The record stays with the mount; unpublish or the next start deals with both.
            tracing::error!(target = %target.display(), %error, "a failed mount can't be undone");
            return;
        }
        if let Some(lease) = lease {
            release_lease(&self.blocking, lease).await;
        }
        let gone = target.to_owned();
        if let Err(error) = self.on_disk("removing a record", move |records| records.remove(&gone)).await {
            tracing::warn!(target = %target.display(), %error, "the record of a failed mount stays");
        }
    }

    /// Forgets a published target whose mount is gone.
    pub(super) async fn forget(&self, target: &Path) -> Result<(), NodeError> {
        let gone = target.to_owned();
        let removed = self.on_disk("removing a record", move |records| records.remove(&gone)).await;
        removed.map_err(|source| NodeError::File {
            what: "cannot remove the record of",
            path: target.to_owned(),
            source,
        })?;
        let removed = self.published().remove(target);
        self.pods.release(target);
        match removed {
            Some(Published { lease: Some(lease), .. }) => release_lease(&self.blocking, lease).await,
            // The record may have been of a driver that was killed, and the data plane still has its tunnel.
            _ => {
                if let Ok(mounts) = self.mounts().await {
                    self.settle(&mounts).await;
                }
            }
        }
        Ok(())
    }

    /// AWS recommends a read-ahead of 15 transfers; the kernel's default is a small fraction of that. Best effort.
    async fn read_ahead(&self, target: &Path, read_size: u32) {
        let at = target.to_owned();
        let set = move || -> std::io::Result<()> {
            let mounts = mountinfo::at(&at)?;
            let Some(mount) = mounts.last() else { return Ok(()) };
            let path = PathBuf::from("/sys/class/bdi").join(&mount.device).join("read_ahead_kb");
            std::fs::write(path, (u64::from(read_size) * 15 / 1024).to_string())
        };
        if let Err(error) = self.blocking.run(Dependency::MountTable, "setting the read-ahead", set).await {
            tracing::debug!(target = %target.display(), %error, "cannot set the read-ahead");
        }
    }
}

/// Whether AWS says that an access point does not exist, and not only not in this account.
async fn is_missing(efs: &dyn ListMountTargets, id: &AccessPointId, spec: &TunnelSpec) -> Result<bool, EfsError> {
    let Some(file_system) = file_system_of(spec) else { return Ok(false) };
    if !efs.is_gone(&file_system, id).await? {
        return Ok(false);
    }
    match spec.route.address {
        Some(_) => efs.mount_targets(&file_system).await.map(|_| true),
        None => Ok(true),
    }
}

/// What keeps `request` from being the same as what is published, in words.
fn difference(record: &Record, request: &PublishRequest) -> Option<String> {
    let (was, is) = (&record.mount, &request.mount);
    if was.options.read_only() != is.options.read_only() {
        Some(if was.options.read_only() { "read-only" } else { "read-write" }.to_owned())
    } else if record.access_mode != i32::from(request.mode) {
        let name = Mode::try_from(record.access_mode).map_or("unknown", |mode| mode.as_str_name());
        Some(format!("access mode {name}"))
    } else if was.options != is.options {
        Some("other mount options".to_owned())
    } else if was.spec.iam != is.spec.iam {
        let whose = |source: &Option<IamSource>| match source {
            Some(IamSource::Pod(identity)) => format!("the identity of {identity}"),
            Some(_) => "an identity of the driver".to_owned(),
            None => "no identity".to_owned(),
        };
        Some(whose(&was.spec.iam))
    } else if was != is {
        Some("other volume attributes".to_owned())
    } else {
        None
    }
}

pub(super) fn mountinfo_error(target: &Path, source: std::io::Error) -> NodeError {
    NodeError::File { what: "cannot read the mount table for", path: target.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::{EfsErrorKind, MountTarget};
    use crate::volume::FileSystemId;
    use async_trait::async_trait;
    use efs_tunnel::Route;

    /// An account in which the access point is gone or not, and the file system is or is not.
    struct Account {
        is_gone: bool,
        has_file_system: bool,
    }

    #[async_trait]
    impl ListMountTargets for Account {
        async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
            match self.has_file_system {
                true => Ok(Vec::new()),
                false => Err(EfsError {
                    operation: "DescribeMountTargets",
                    kind: EfsErrorKind::FileSystemNotFound,
                    message: String::new(),
                    request_id: None,
                }),
            }
        }

        async fn is_gone(&self, _: &FileSystemId, _: &AccessPointId) -> Result<bool, EfsError> {
            Ok(self.is_gone)
        }
    }

    /// An access point of another account is unknown here and may well exist.
    #[tokio::test]
    async fn an_access_point_is_missing_only_in_the_account_of_its_file_system() {
        let id = "fsap-0123456789abcdef0".parse().unwrap();
        let spec = |address: Option<IpAddr>| TunnelSpec {
            service: efs_tunnel::Service::Efs,
            file_system: "fs-0123456789abcdef0".to_owned(),
            access_point: Some("fsap-0123456789abcdef0".to_owned()),
            region: "us-east-1".to_owned(),
            server_name: "fs-0123456789abcdef0.efs.us-east-1.amazonaws.com".to_owned(),
            iam: None,
            route: Route { address, ..Route::default() },
        };
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        for (is_gone, has_file_system, address, want) in [
            (true, true, None, Some(true)),
            (true, true, address, Some(true)),
            (true, false, address, None),
            (false, true, address, Some(false)),
        ] {
            let account = Account { is_gone, has_file_system };
            let told = is_missing(&account, &id, &spec(address)).await.ok();
            assert_eq!(told, want, "gone: {is_gone}, ours: {has_file_system}, {address:?}");
        }
    }
}
