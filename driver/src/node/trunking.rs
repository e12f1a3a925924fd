//! One port for each tunnel on this node, whichever process asks for it.
//!
//! Behind two ports for the same access point the kernel's client finds the same server, and sends the calls of both mounts through
//! one of them (trunking, RFC 8881 §2.10.5). When that one is closed, the other mount hangs. Within a data plane the table of tunnels
//! sees to it that there is one port. During an upgrade there are two, each with a table of its own, and two drivers; the records
//! tell each driver what the other is doing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use efs_tunnel::TunnelSpec;
use efs_tunnel::plane::Lease;

use super::State;
use super::errors::NodeError;
use super::publish::mountinfo_error;
use super::records::{Record, Records};
use crate::mount::mountinfo::MountEntry;

impl State {
    /// The tunnel for `spec`, for a mount at `target`: an open one, or one at the port that a record says it has, or one at a new
    /// port. `mounts` is what is mounted now.
    pub(super) async fn open_tunnel(
        &self,
        spec: &TunnelSpec,
        target: &Path,
        mounts: &[MountEntry],
    ) -> Result<Lease, NodeError> {
        if let Some(lease) = self.plane.find(spec) {
            return Ok(lease);
        }
        let others = self.unserved().await?;
        let port = others.iter().find_map(|(record, port)| (record.mount.spec == *spec).then_some(*port));
        let Some(port) = port else {
            let mut avoid: BTreeSet<u16> = mounts.iter().filter_map(MountEntry::tunnel_port).collect();
            avoid.extend(self.kernel_ports().await.map_err(|source| mountinfo_error(target, source))?);
            avoid.extend(others.iter().map(|(_, port)| port));
            return Ok(self.plane.open(spec, &self.ports, avoid).await?);
        };
        Ok(self.plane.reopen(spec, port, None).await?)
    }

    /// Makes sure that `record`, which is written already, names the only port of its tunnel. Of two processes that have chosen a
    /// port at the same time, at least one sees the other's record.
    pub(super) async fn check_only_port(&self, record: &Record) -> Result<(), NodeError> {
        if record.port().is_none() {
            return Ok(());
        }
        let elsewhere =
            |(other, port): &(Record, u16)| other.mount.spec == record.mount.spec && Some(*port) != record.port();
        match self.unserved().await?.iter().any(elsewhere) {
            true => Err(NodeError::InProgress(record.target.clone())),
            false => Ok(()),
        }
    }

    /// The records of tunnels that this process does not serve, with their ports: another process is working on them, or the
    /// ports are taken.
    async fn unserved(&self) -> Result<Vec<(Record, u16)>, NodeError> {
        let served: Vec<PathBuf> =
            self.published().values().filter(|it| it.is_served()).map(|it| it.record.target.clone()).collect();
        let read = move |records: &Records| records.except(served.iter().map(PathBuf::as_path));
        let records = self.on_disk("reading the records", read).await.map_err(|source| NodeError::File {
            what: "cannot read the records of mounts in --state-dir",
            path: self.config.state_dir.clone(),
            source,
        })?;
        Ok(records.into_iter().filter_map(|record| record.port().map(|port| (record, port))).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use async_trait::async_trait;
    use aws_credential_types::Credentials;
    use efs_tunnel::plane::remote::Remote;
    use efs_tunnel::plane::{FailureKind, Host, Plane};
    use efs_tunnel::{
        Admission, Binding, DialDeps, DialLimits, IamSource, IssuerSlot, PodIdentity, ProvideCredentials, Route,
        Tunnels, roots,
    };
    use rand::Rng as _;
    use tokio_util::sync::CancellationToken;

    use super::super::records::{MountRequest, Reached};
    use super::super::{NodeDeps, NodeService};
    use super::*;
    use crate::config::{Config, Environment};
    use crate::efs::mount_targets::ListMountTargets;
    use crate::efs::pod_identity::{Exchange, ExchangeError, Token};
    use crate::efs::{EfsError, MountTarget};
    use crate::metrics::Metrics;
    use crate::mount::{MountOptions, Worker};
    use crate::volume::{AccessPointId, FileSystemId};

    /// A region without anything.
    struct Nothing;

    #[async_trait]
    impl ListMountTargets for Nothing {
        async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
            Ok(Vec::new())
        }

        async fn is_gone(&self, _: &FileSystemId, _: &AccessPointId) -> Result<bool, EfsError> {
            Ok(false)
        }
    }

    #[async_trait]
    impl ProvideCredentials for Nothing {
        async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, efs_tunnel::CredentialsError> {
            Err(efs_tunnel::CredentialsError::Told("none".to_owned()))
        }
    }

    #[async_trait]
    impl Exchange for Nothing {
        async fn exchange(&self, _: &PodIdentity, _: &Token) -> Result<Credentials, ExchangeError> {
            Err(ExchangeError::Away("nobody".to_owned()))
        }
    }

    /// A data plane in this process.
    fn data_plane(stop: CancellationToken) -> Plane {
        let (remote, changed) = (Arc::new(Remote::default()), Arc::default());
        let deps = DialDeps {
            issuer: IssuerSlot::new(None),
            roots: Arc::new(roots::amazon()),
            locate: Arc::clone(&remote) as Arc<dyn efs_tunnel::Locate>,
            credentials: Arc::clone(&remote) as Arc<dyn ProvideCredentials>,
            source: "test".to_owned(),
            limits: DialLimits::default(),
            binding: Binding::off(),
            changed: Arc::clone(&changed),
        };
        Plane::new(Tunnels::new(deps, 0..=0, Admission::ThisProcess, stop), remote, None, changed)
    }

    /// A node with a single port for tunnels.
    struct OnePort {
        node: NodeService,
        port: u16,
        stop: CancellationToken,
        _dir: tempfile::TempDir,
    }

    impl Drop for OnePort {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    impl OnePort {
        async fn start() -> Self {
            let dir = tempfile::tempdir().expect("temp dir");
            let state_dir = format!("--state-dir={}", dir.path().display());
            let flags = ["efs-csi-driver", "--node-id=a", "--region=us-east-1", "--availability-zone=a", &state_dir];
            let flags = crate::cli::parse(flags.map(std::ffi::OsString::from)).expect("flags").serve;
            let (port, stop) = (free_port(), CancellationToken::new());
            let deps = NodeDeps {
                efs: Arc::new(Nothing),
                credentials: Arc::new(Nothing),
                exchange: Arc::new(Nothing),
                worker: Worker::new("/nonexistent".into()),
                ports: port..=port,
                open_files: None,
                blocking: crate::blocking::Blocking::default(),
                prerequisites: crate::node::prerequisites::Prerequisites::default(),
                metrics: Metrics::new(),
                kubernetes: None,
                imds: false,
                remove_taint: false,
                region_variable: None,
                data_plane: Some(Host::Within(data_plane(stop.clone()))),
                tunnels_end: stop.clone(),
            };
            let config = Config::new(&flags, Environment::default()).expect("configuration").node;
            let node = NodeService::start(config, deps, stop.clone()).await.expect("start");
            Self { node, port, stop, _dir: dir }
        }

        async fn open(&self, spec: &TunnelSpec, mounts: &[MountEntry]) -> Result<u16, NodeError> {
            self.node.node.open_tunnel(spec, Path::new("/pods/own/mount"), mounts).await.map(|lease| lease.port())
        }

        /// What another process has noted.
        fn noted(&self, record: &Record) {
            self.node.node.records.store(record).expect("store");
        }
    }

    /// A port that nobody has, below those that the system gives out by itself.
    fn free_port() -> u16 {
        let mut ports = std::iter::repeat_with(|| rand::rng().random_range(22_000..32_000));
        ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
    }

    fn spec(access_point: &str) -> TunnelSpec {
        TunnelSpec {
            service: efs_tunnel::Service::Efs,
            file_system: "fs-12345678".to_owned(),
            access_point: Some(access_point.to_owned()),
            region: "us-east-1".to_owned(),
            server_name: "fs-12345678.efs.us-east-1.amazonaws.com".to_owned(),
            iam: None,
            route: Route::default(),
        }
    }

    fn record(target: &str, spec: TunnelSpec, reached: Reached) -> Record {
        let mount = MountRequest { spec, encrypted: true, path: "/".to_owned(), options: MountOptions::default() };
        Record::new(target.into(), "fs-12345678".to_owned(), 5, mount, reached)
    }

    #[tokio::test]
    async fn a_port_that_the_kernel_still_knows_is_not_given_to_another_volume() {
        let node = OnePort::start().await;
        let known = MountEntry {
            device: "0:43".to_owned(),
            mount_point: "/pods/other/mount".into(),
            options: "rw".to_owned(),
            shared: false,
            fs_type: "nfs4".to_owned(),
            source: "127.0.0.1:/".to_owned(),
            super_options: format!("rw,vers=4.1,port={},addr=127.0.0.1", node.port),
        };
        let refused = node.open(&spec("fsap-00000001"), &[known]).await;
        assert!(
            matches!(&refused, Err(NodeError::Tunnel(failure)) if failure.kind == FailureKind::NoPort),
            "{refused:?}"
        );
        assert_eq!(node.open(&spec("fsap-00000001"), &[]).await.expect("open"), node.port);
    }

    #[tokio::test]
    async fn a_volume_has_the_port_that_another_process_has_noted_and_no_other_volume_has_it() {
        let node = OnePort::start().await;
        let noted = free_port();
        node.noted(&record("/pods/other/mount", spec("fsap-00000001"), Reached::Tunnel(noted)));
        assert_eq!(node.open(&spec("fsap-00000001"), &[]).await.expect("open"), noted);
        node.noted(&record("/pods/third/mount", spec("fsap-00000002"), Reached::Tunnel(node.port)));
        let refused = node.open(&spec("fsap-00000003"), &[]).await;
        assert!(
            matches!(&refused, Err(NodeError::Tunnel(failure)) if failure.kind == FailureKind::NoPort),
            "{refused:?}"
        );
    }

    /// Two processes have written their records at the same time.
    #[tokio::test]
    async fn a_second_port_for_one_volume_is_noticed_before_the_mount() {
        let node = OnePort::start().await;
        let own = |port| record("/pods/own/mount", spec("fsap-00000001"), Reached::Tunnel(port));
        node.noted(&own(20_050));
        node.node.node.check_only_port(&own(20_050)).await.expect("nobody else");
        node.noted(&record("/pods/other/mount", spec("fsap-00000001"), Reached::Tunnel(20_051)));
        let refused = node.node.node.check_only_port(&own(20_050)).await;
        assert!(matches!(refused, Err(NodeError::InProgress(_))), "{refused:?}");
        node.noted(&own(20_051));
        node.node.node.check_only_port(&own(20_051)).await.expect("the same port");
        let other = record("/pods/own/mount", spec("fsap-00000002"), Reached::Tunnel(20_050));
        node.node.node.check_only_port(&other).await.expect("another volume");
        let direct = record("/pods/own/mount", spec("fsap-00000001"), Reached::Direct([10, 0, 0, 1].into(), 2049));
        node.node.node.check_only_port(&direct).await.expect("no tunnel");
    }
}
