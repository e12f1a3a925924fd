//! What the pod and the node must give the node service, looked for at start, so that its lack is named before a server or
//! a policy is blamed for it.

use std::io;
use std::path::{Path, PathBuf};

use efs_tunnel::admission::{Indistinct, kernel_is_distinct};
use rustix::thread::{CapabilitySet, capabilities};

use crate::blocking::Blocking;
use crate::mount::mountinfo::{self, MountEntry};

/// Where the kubelet keeps its things unless it is told otherwise.
const KUBELET: &str = "/var/lib/kubelet";

/// Something that is missing. The texts name the setting that gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The capability without which the kernel mounts nothing.
    #[error(
        "the driver may not mount: it lacks the capability CAP_SYS_ADMIN; run the node plug-in's container with \
         `securityContext.privileged: true`"
    )]
    Privilege,
    /// What is mounted below stays within the container.
    #[error(
        "what the driver mounts at {0} stays in its own container, where no pod sees it; mount the kubelet's directory into the \
         node plug-in's container with `mountPropagation: Bidirectional`"
    )]
    Propagation(PathBuf),
    /// A tunnel would serve every root process of the node.
    #[error(
        "the kernel's NFS client can't be told from other processes of uid 0, so no tunnel serves anybody: {0}; use nodes with \
         cgroup v2, or trust all such processes that have the host's network with --tunnels-trust-root"
    )]
    Distinction(String),
}

/// What was found out at start.
#[derive(Debug, Clone, Default)]
pub struct Prerequisites {
    /// [`Missing::Privilege`] or nothing.
    pub privilege: Option<Missing>,
    /// [`Missing::Distinction`] or nothing.
    pub distinction: Option<Missing>,
    /// Whether this is a container of a pod, which has a mount table of its own.
    pub in_pod: bool,
}

impl Prerequisites {
    /// Looks at this process and its node. `in_pod` is whether Kubernetes runs it; a process that is in another mount namespace than the
    /// node's first one is in a container as well, if the kubelet is to mount through it. Which process is the first is not to be told
    /// from within a PID namespace of its own: there, and without a kubelet, nothing is refused, for then this may be the whole machine.
    pub fn of_process(trust_root: bool, in_pod: bool, serves_kubelet: bool) -> Self {
        let in_pod = in_pod || (serves_kubelet && is_apart(Path::new("/proc")));
        let distinct = if trust_root { Ok(()) } else { kernel_is_distinct() };
        Self { privilege: privilege(capabilities(None)), distinction: distinct.err().map(distinction), in_pod }
    }

    /// Says what is missing, now and to whoever asks for the driver's health; `csi_socket` is the driver's socket as the kubelet sees it, which tells where its directory is.
    pub(super) fn tell(&self, csi_socket: Option<&Path>, blocking: &Blocking) {
        let mounts = mountinfo::table().unwrap_or_default();
        let kubelet = csi_socket.and_then(kubelet_directory).unwrap_or_else(|| Path::new(KUBELET));
        let propagation = self.seen_by_pods(kubelet, &mounts).err();
        for (what, missing) in
            [("privilege", &self.privilege), ("admission to tunnels", &self.distinction), ("propagation", &propagation)]
        {
            blocking.note(what, missing.as_ref().map(|missing| format!("volumes can't be published: {missing}")));
        }
    }

    /// Whether pods see what is mounted at `target`, given the mount table. Outside of pods the driver is where the kubelet is.
    ///
    /// # Errors
    /// [`Missing::Propagation`].
    pub(super) fn seen_by_pods(&self, target: &Path, mounts: &[MountEntry]) -> Result<(), Missing> {
        // Of mounts at the same place the last covers the others.
        let around = mounts.iter().filter(|mount| target.starts_with(&mount.mount_point));
        let holder = around.enumerate().max_by_key(|(order, mount)| (mount.mount_point.as_os_str().len(), *order));
        match holder {
            Some((_, mount)) if self.in_pod && !mount.shared => Err(Missing::Propagation(target.to_owned())),
            _ => Ok(()),
        }
    }
}

/// The kubelet's directory, of which `plugins/NAME/csi.sock` is the driver's socket.
fn kubelet_directory(csi_socket: &Path) -> Option<&Path> {
    csi_socket.ancestors().find(|path| path.file_name().is_some_and(|name| name == "plugins"))?.parent()
}

/// Whether this process sees other mounts than the first process of `proc` does.
fn is_apart(proc: &Path) -> bool {
    let namespace = |process: &str| std::fs::read_link(proc.join(process).join("ns/mnt"));
    matches!((namespace("self"), namespace("1")), (Ok(own), Ok(first)) if own != first)
}

fn privilege(own: rustix::io::Result<rustix::thread::CapabilitySets>) -> Option<Missing> {
    match own {
        Ok(own) => (!own.effective.contains(CapabilitySet::SYS_ADMIN)).then_some(Missing::Privilege),
        // The first mount will tell.
        Err(error) => {
            tracing::debug!(%error, "cannot find out the driver's capabilities");
            None
        }
    }
}

fn distinction(reason: Indistinct) -> Missing {
    Missing::Distinction(match reason {
        Indistinct::Io(error) if error.kind() == io::ErrorKind::NotFound => Indistinct::Untold.to_string(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::CapabilitySets;

    #[test]
    fn without_the_capability_nothing_can_be_mounted() {
        let sets = |effective| {
            Ok(CapabilitySets { effective, permitted: CapabilitySet::all(), inheritable: CapabilitySet::empty() })
        };
        assert_eq!(privilege(sets(CapabilitySet::SYS_ADMIN | CapabilitySet::CHOWN)), None);
        let missing = privilege(sets(CapabilitySet::all() - CapabilitySet::SYS_ADMIN)).expect("missing");
        assert!(missing.to_string().contains("securityContext.privileged: true"), "{missing}");
    }

    #[test]
    fn in_a_pod_the_mount_that_holds_the_target_must_be_shared() {
        let table = "1 0 0:1 / / rw - overlay o rw\n\
                     2 1 8:1 /k /var/lib/kubelet rw shared:7 - ext4 /dev/a rw\n\
                     3 1 8:1 /k /var/lib/kubelet2 rw master:7 - ext4 /dev/a rw\n\
                     4 1 8:1 /k /covered rw shared:7 - ext4 /dev/a rw\n\
                     5 4 8:1 /k /covered rw - tmpfs t rw\n";
        let mounts = mountinfo::parse(table);
        let pod = Prerequisites { in_pod: true, ..Prerequisites::default() };
        let seen = |at: &str| pod.seen_by_pods(Path::new(at), &mounts);
        assert_eq!(seen("/var/lib/kubelet/pods/a/mount"), Ok(()));
        for hidden in ["/var/lib/kubelet2/pods/a", "/elsewhere", "/covered/pods/a"] {
            assert_eq!(seen(hidden), Err(Missing::Propagation(hidden.into())));
        }
        assert_eq!(Prerequisites::default().seen_by_pods(Path::new("/elsewhere"), &mounts), Ok(()));
    }

    #[test]
    fn another_mount_namespace_than_the_first_process_has_is_apart() {
        let proc = tempfile::tempdir().unwrap();
        let link = |process: &str, to: &str| {
            let ns = proc.path().join(process).join("ns");
            std::fs::create_dir_all(&ns).unwrap();
            drop(std::fs::remove_file(ns.join("mnt")));
            std::os::unix::fs::symlink(to, ns.join("mnt")).unwrap();
        };
        link("self", "mnt:[1]");
        assert!(!is_apart(proc.path()), "what can't be read tells nothing");
        link("1", "mnt:[1]");
        assert!(!is_apart(proc.path()));
        link("1", "mnt:[2]");
        assert!(is_apart(proc.path()));
    }

    #[test]
    fn the_socket_tells_the_kubelets_directory() {
        let directory = |socket: &'static str| kubelet_directory(Path::new(socket));
        assert_eq!(directory("/k/plugins/efs.csi.aws.com/csi.sock"), Some(Path::new("/k")));
        assert_eq!(directory("/run/csi.sock"), None);
    }
}
