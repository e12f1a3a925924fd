//! What the kernel's NFS client calls itself towards the server of a mount.
//!
//! The kernel names itself by the host, the same for all mounts. When a server answers two connections with the same client id
//! and owner, it takes both for ways to one server and sends the calls of both mounts through the older (trunking, RFC 8881
//! §2.10.5): a mount with encryption would use the plain connection of another one, or a mount the tunnel of another access
//! point, and hang when that one is closed. Whether a server tells its clients apart is not ours to decide. So each way to a
//! server gets a client of its own, by the one thing that makes the kernel's client another one: the host's name at the time of
//! the mount, in a UTS namespace of the worker.

use std::net::SocketAddr;

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::system::{sethostname, uname};
use sha2::{Digest, Sha256};

use efs_tunnel::TunnelSpec;

/// So much of the host's name is kept, for whoever reads the server's list of clients. The kernel takes 64 bytes in all.
const HOST_MAX: usize = 47;

/// The client's name for mounts of `spec`, through its tunnel or directly at an address.
pub fn client_name(spec: &TunnelSpec, direct: Option<SocketAddr>) -> String {
    name_for(&uname().nodename().to_string_lossy(), spec, direct)
}

fn name_for(host: &str, spec: &TunnelSpec, direct: Option<SocketAddr>) -> String {
    // The whole host name goes in: what is kept of two long ones may be the same.
    let way = format!("{host}\n{spec:?}\n{direct:?}");
    let digest = hex::encode(&Sha256::digest(way.as_bytes())[..8]);
    let kept: String = host.chars().filter(char::is_ascii_graphic).take(HOST_MAX).collect();
    format!("{kept}-{digest}")
}

/// Gives this process the name, and a namespace in which nobody else sees it.
pub(super) fn take(name: &str) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWUTS).map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    sethostname(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use efs_tunnel::Route;

    use super::*;

    fn spec(access_point: Option<&str>) -> TunnelSpec {
        TunnelSpec {
            service: efs_tunnel::Service::Efs,
            file_system: "fs-01234567".to_owned(),
            access_point: access_point.map(str::to_owned),
            server_name: "fs-01234567.efs.us-east-1.amazonaws.com".to_owned(),
            region: "us-east-1".to_owned(),
            iam: None,
            route: Route::default(),
        }
    }

    #[test]
    fn every_way_has_a_name_of_its_own_that_fits() {
        let plain = |last| Some(SocketAddr::from(([10, 0, 0, last], 2049)));
        let (long, other) = ("h".repeat(63), format!("{}x", "h".repeat(62)));
        let names = [
            name_for("node", &spec(None), None),
            name_for("node", &spec(None), plain(1)),
            name_for("node", &spec(None), plain(2)),
            name_for("node", &spec(Some("fsap-1")), None),
            name_for("node2", &spec(None), None),
            name_for(&long, &spec(None), None),
            name_for(&other, &spec(None), None),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() <= 64, "{name}");
            assert!(!names[..index].contains(name), "{names:?}");
        }
        assert!(names[0].starts_with("node-"));
        assert_eq!(names[0], name_for("node", &spec(None), None));
    }
}
