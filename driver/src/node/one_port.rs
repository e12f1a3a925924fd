//! One port for each tunnel on this node, whichever process asks for it.
//!
//! Behind two ports for the same access point the kernel's client finds the same server, and sends the calls of both mounts through
//! one of them (trunking, RFC 8881 §2.10.5). When that one is closed, the other mount hangs. Within a process the table of tunnels
//! sees to it that there is one port. During an upgrade two processes publish volumes, each with a table of its own; the records
//! tell each what the other is doing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::State;
use super::errors::NodeError;
use super::publish::mountinfo_error;
use super::records::{Record, Records};
use crate::mount::mountinfo::MountEntry;
use crate::tunnel::{TunnelLease, TunnelSpec};

impl State {
    /// The tunnel for `spec`, for a mount at `target`: an open one, or one at the port that a record says it has, or one at a new
    /// port. `mounts` is what is mounted now.
    pub(super) async fn open_tunnel(
        &self,
        spec: &TunnelSpec,
        target: &Path,
        mounts: &[MountEntry],
    ) -> Result<TunnelLease, NodeError> {
        if let Some(lease) = self.tunnels.find(spec) {
            return Ok(lease);
        }
        let others = self.unserved(target).await?;
        let port = others.iter().find_map(|(record, port)| (record.mount.spec == *spec).then_some(*port));
        let Some(port) = port else {
            let mut avoid: HashSet<u16> = mounts.iter().filter_map(MountEntry::tunnel_port).collect();
            avoid.extend(self.kernel_ports().await.map_err(|source| mountinfo_error(target, source))?);
            avoid.extend(others.iter().map(|(_, port)| port));
            return Ok(self.tunnels.open(spec, &avoid)?);
        };
        let mut sockets = self.inherited(HashSet::from([port])).await;
        Ok(self.tunnels.reopen(spec, port, sockets.remove(&port))?)
    }

    /// Makes sure that `record`, which is written already, names the only port of its tunnel. Of two processes that have chosen a
    /// port at the same time, at least one sees the other's record.
    pub(super) async fn check_only_port(&self, record: &Record) -> Result<(), NodeError> {
        if record.port().is_none() {
            return Ok(());
        }
        let elsewhere =
            |(other, port): &(Record, u16)| other.mount.spec == record.mount.spec && Some(*port) != record.port();
        match self.unserved(&record.target).await?.iter().any(elsewhere) {
            true => Err(NodeError::InProgress(record.target.clone())),
            false => Ok(()),
        }
    }

    /// The records of tunnels that this process does not serve, with their ports: another process is working on them, or the
    /// ports are taken.
    async fn unserved(&self, target: &Path) -> Result<Vec<(Record, u16)>, NodeError> {
        let served: Vec<PathBuf> =
            self.published().values().filter(|it| it.lease.is_some()).map(|it| it.record.target.clone()).collect();
        let read = move |records: &Records| records.except(served.iter().map(PathBuf::as_path));
        let records = self.on_disk("reading the records", read).await.map_err(|source| NodeError::File {
            what: "cannot read the records for",
            path: target.to_owned(),
            source,
        })?;
        Ok(records.into_iter().filter_map(|record| record.port().map(|port| (record, port))).collect())
    }
}
