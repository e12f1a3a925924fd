//! Processes that are root on the node and not the kernel: a tunnel serves none of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use efs_csi_e2e::mounts;

use crate::fixture::{Fixture, can_mount};

/// Where the lab mounts the cgroup v2 hierarchy.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Sends an NFS NULL call (RFC 5531, section 9: record mark, id 1, CALL, RPC 2, program 100003, version 4, procedure 0, no
/// credentials) to a local port and prints how many bytes come back. $1 is the port, $2 the cgroup to be in when the socket is
/// made, $3 the one to be in afterwards.
const ASK: &str = r"
echo $$ >$2/cgroup.procs || exit 9
exec 3<>/dev/tcp/127.0.0.1/$1 || exit 9
echo $$ >$3/cgroup.procs || exit 9
{ printf '\x80\0\0\x28\0\0\0\1\0\0\0\0\0\0\0\2\0\1\x86\xa3\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >&3; } 2>/dev/null
head -c 28 <&3 2>/dev/null | wc -c
";

/// How many bytes of an answer a root process gets that makes its socket in one cgroup and then moves to another.
fn answered(port: &str, made_in: &Path, moved_to: &Path) -> usize {
    let output = Command::new("bash").args(["-c", ASK, "ask", port]).args([made_in, moved_to]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// A cgroup as a container runtime makes one; removed on drop.
struct Pod(PathBuf);

impl Pod {
    fn new(name: &str) -> Self {
        let path = Path::new(CGROUPS).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Fails as long as a process is in it, and then the guest's end sees to it.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn root_in_a_pod_gets_nothing_from_a_tunnel_that_serves_the_kernel() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let (ours, other) = (Pod::new("driver"), Pod::new("other"));
    // As in production: the driver and its mount workers are in a pod's cgroup, and the kernel's socket is not.
    let driver = fixture.driver.process.id().unwrap().to_string();
    std::fs::write(ours.0.join("cgroup.procs"), driver).unwrap();
    let target = fixture.target();
    fixture.publish(&fixture.file_system, &target).await.unwrap();
    std::fs::write(target.join("file"), "the kernel is served").unwrap();
    let port = mounts::at(&target).unwrap()[0].option("port").unwrap().to_owned();

    let root = Path::new(CGROUPS);
    assert_eq!(answered(&port, &other.0, &other.0), 0, "a process of another pod");
    assert_eq!(answered(&port, &other.0, root), 0, "one that has moved since it connected");
    // What is refused is not the call: from the root cgroup, where no pod gets, it is answered.
    assert_eq!(answered(&port, root, root), 28);

    assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "the kernel is served");
    fixture.unpublish(&fixture.file_system, &target).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}
