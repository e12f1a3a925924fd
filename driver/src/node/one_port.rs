//! One port for each tunnel on this node, whichever process asks for it.
//!
//! Behind two ports for the same access point the kernel's client finds the same server, and sends the calls of both mounts through
//! one of them (trunking, RFC 8881 §2.10.5). When that one is closed, the other mount hangs. Within a process the table of tunnels
//! sees to it that there is one port. During an upgrade two processes publish volumes, each with a table of its own; the records
//! tell each what the other is doing.

use std::io;

use super::State;
use super::records::Record;
use crate::mount::mountinfo::{self, MountEntry};
use crate::tunnel::{OpenError, TunnelLease, TunnelSpec};

/// Why there is no tunnel.
#[derive(Debug)]
pub(super) enum PortError {
    /// The records can't be read.
    Records(io::Error),
    /// No port, or not the one that it must be.
    Open(OpenError),
}

impl From<OpenError> for PortError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl State {
    /// The tunnel for `spec`: an open one, or one at the port that a record says it has, or one at a new port. `mounts` is what is
    /// mounted now.
    pub(super) fn open_tunnel(&self, spec: &TunnelSpec, mounts: &[MountEntry]) -> Result<TunnelLease, PortError> {
        if let Some(lease) = self.tunnels.find(spec) {
            return Ok(lease);
        }
        let others = self.unserved().map_err(PortError::Records)?;
        let Some(port) = others.iter().find(|record| record.mount.spec == *spec).and_then(Record::port) else {
            let mut avoid = mountinfo::nfs_ports(mounts);
            avoid.extend(others.iter().filter_map(Record::port));
            return Ok(self.tunnels.open(spec, &avoid)?);
        };
        Ok(self.with_inherited(&[port].into(), || self.tunnels.reopen(spec, port))?)
    }

    /// Whether `record`, which is written already, names the only port of its tunnel. Of two processes that have chosen a port at
    /// the same time, at least one sees the other's record.
    pub(super) fn has_only_port(&self, record: &Record) -> io::Result<bool> {
        let others = self.unserved()?;
        Ok(others.iter().all(|other| other.mount.spec != record.mount.spec || other.reached == record.reached))
    }

    /// The records whose tunnels this process does not serve: another process is working on them, or their ports are taken.
    fn unserved(&self) -> io::Result<Vec<Record>> {
        self.records
            .except(self.published().values().filter(|it| it.lease.is_some()).map(|it| it.record.target.as_path()))
    }
}
