//! fake-efs and the driver for one test, and the proof that a failed call left nothing behind.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use csi_proto::csi;
use efs_csi_e2e::mounts;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, many_writers};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A file system, a driver and a folder for targets.
pub(crate) struct Fixture {
    pub(crate) fake: Fake,
    pub(crate) driver: Driver,
    pub(crate) file_system: String,
    dir: TempDir,
    ports: Vec<u16>,
    /// Where another volume is published that must go on working.
    neighbour: Option<PathBuf>,
}

/// Where the executables of this workspace are: beside the folder of the test executables.
pub(crate) fn binaries() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().to_owned()
}

/// Whether kernel mounts work here. If not, says so, and fails where nothing may be skipped.
pub(crate) fn can_mount() -> bool {
    let kernel = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if rustix::process::geteuid().is_root() && kernel.contains("nfs4") {
        return true;
    }
    println!("SKIP no root or no NFS client in this kernel; run it in the lab: just mounts");
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "REQUIRE_ALL is set and kernel mounts don't work here");
    false
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // The folder is removed next, which would wait for ever at a mount that a failed test has left. Unmounting may wait
        // for the server too, so it is a process of its own; the mount is out of sight at once.
        let left = mounts::all().unwrap_or_default().into_iter();
        for mount in left.filter(|mount| mount.kind == "nfs4" && mount.path.starts_with(self.dir.path())) {
            match std::process::Command::new("umount").args(["-f", "-l"]).arg(&mount.path).spawn() {
                Ok(_) => std::thread::sleep(Duration::from_secs(1)),
                Err(error) => println!("umount: {error}"),
            }
        }
    }
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with changed driver options.
    pub(crate) async fn start_with(change: impl FnOnce(&mut DriverOptions)) -> Self {
        Self::start_both_with(&[], change).await
    }

    /// The same with these arguments for the fake, too.
    pub(crate) async fn start_both_with(fake: &[&str], change: impl FnOnce(&mut DriverOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::start(&binaries().join("fake-efs"), dir.path(), fake).await.unwrap();
        let (file_system, _) = fake.create_file_system("fixture").await.unwrap();
        let ports = mounts::listening_ports().unwrap();
        let mut options = DriverOptions::new(&binaries().join("efs-csi-driver"), dir.path(), &fake);
        change(&mut options);
        let driver = Driver::start(options).await.unwrap();
        Self { fake, driver, file_system, dir, ports, neighbour: None }
    }

    /// A path that NodePublishVolume may use; its parent exists, as kubelet sees to.
    pub(crate) fn target(&self) -> PathBuf {
        self.target_named("mount")
    }

    /// Another such path.
    pub(crate) fn target_named(&self, name: &str) -> PathBuf {
        let parent = self.dir.path().join("pod");
        std::fs::create_dir_all(&parent).unwrap();
        parent.join(name)
    }

    /// A file in the fixture's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A request to publish `handle` at [`Self::target`].
    pub(crate) fn publish_request(&self, handle: &str, context: &[(&str, &str)]) -> csi::NodePublishVolumeRequest {
        csi::NodePublishVolumeRequest {
            volume_id: handle.to_owned(),
            target_path: self.target().display().to_string(),
            volume_capability: Some(many_writers()),
            volume_context: context.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        }
    }

    /// Publishes, expects failure within `limit`, and checks that nothing is left of the attempt.
    pub(crate) async fn publish_fails(&self, request: csi::NodePublishVolumeRequest, limit: Duration) -> tonic::Status {
        let begin = Instant::now();
        let answer = tokio::time::timeout(limit, self.driver.node().node_publish_volume(request))
            .await
            .unwrap_or_else(|_| panic!("no answer within {limit:?}"));
        let status = answer.expect_err("the publish must fail");
        println!("{:?} after {:?}: {}", status.code(), begin.elapsed(), status.message());
        self.assert_nothing_left().await;
        status
    }

    /// Publishes `volume` at `target`.
    pub(crate) async fn publish(&self, volume: &str, target: &Path) -> Result<(), tonic::Status> {
        let request = csi::NodePublishVolumeRequest {
            target_path: target.display().to_string(),
            ..self.publish_request(volume, &[])
        };
        self.driver.node().node_publish_volume(request).await.map(drop)
    }

    /// Unpublishes `volume` at `target`.
    pub(crate) async fn unpublish(&self, volume: &str, target: &Path) -> Result<(), tonic::Status> {
        let request =
            csi::NodeUnpublishVolumeRequest { volume_id: volume.to_owned(), target_path: target.display().to_string() };
        self.driver.node().node_unpublish_volume(request).await.map(drop)
    }

    /// Publishes `volume`, uses it and unpublishes it: all is well again.
    pub(crate) async fn publish_and_unpublish(&self, volume: &str) {
        self.publish(volume, &self.target()).await.unwrap();
        let file = self.target().join("well");
        std::fs::write(&file, volume).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), volume);
        self.unpublish(volume, &self.target()).await.unwrap();
        self.assert_nothing_left().await;
    }

    /// Publishes the fixture's file system beside the target. From now on it is no residue.
    pub(crate) async fn publish_neighbour(&mut self) {
        let target = self.dir.path().join("neighbour/mount");
        std::fs::create_dir(target.parent().unwrap()).unwrap();
        self.publish(&self.file_system, &target).await.unwrap();
        let port = mounts::at(&target).unwrap()[0].option("port").unwrap().parse().unwrap();
        self.ports.push(port);
        self.neighbour = Some(target);
        self.assert_neighbour_works();
    }

    /// The neighbour can be written, and what it holds comes from the server.
    pub(crate) fn assert_neighbour_works(&self) {
        let directory = self.neighbour.as_ref().unwrap();
        let name = format!("{:?}", Instant::now());
        let mut file = File::create(directory.join(&name)).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert_eq!(std::fs::read_to_string(directory.join(&name)).unwrap(), name);
    }

    /// Unpublishes the neighbour; then nothing at all may be left.
    pub(crate) async fn unpublish_neighbour(&mut self) {
        let target = self.neighbour.take().unwrap();
        self.ports.pop();
        self.unpublish(&self.file_system, &target).await.unwrap();
        assert!(!target.exists(), "the neighbour's target is left");
        self.assert_nothing_left().await;
    }

    /// Switches all faults on the wire off, and ends the connections that they hold.
    pub(crate) async fn heal(&self) {
        self.fake.clear_wire_faults().await.unwrap();
        self.fake.end_connections().await.unwrap();
    }

    /// Kills the process that carries the bytes. Its keeper starts the next one.
    pub(crate) fn kill_data_plane(&self) {
        let folder = self.driver.options.dir.join("state/keeper").display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.split('\0').collect();
            if words.contains(&"--serve") && words.contains(&folder.as_str()) {
                let pid = entry.file_name().to_string_lossy().parse().unwrap();
                kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            }
        }
    }

    /// Starts the driver again after it was killed.
    pub(crate) async fn restart_driver(&mut self) {
        self.driver = Driver::start(self.driver.options.clone()).await.unwrap();
    }

    /// No target directory, no mount, no tunnel port, no child process, no record; only the neighbour's.
    pub(crate) async fn assert_nothing_left(&self) {
        assert!(!self.target().exists(), "the target directory is left");
        let nfs = mounts::all().unwrap().into_iter();
        let nfs = nfs.filter(|m| m.kind == "nfs4" && Some(&m.path) != self.neighbour.as_ref()).map(|m| m.line);
        assert_eq!(nfs.collect::<Vec<_>>(), Vec::<String>::new(), "a mount is left");
        // Workers are reaped and ports closed right after the answer; give the process a moment, not a guess.
        let mut left: (Vec<u16>, Vec<String>) = Default::default();
        for _ in 0..300 {
            let ports = mounts::listening_ports().unwrap().into_iter().filter(|port| !self.ports.contains(port));
            let family = children(self.driver.process.id().unwrap()).into_iter();
            let family = family.filter(|(pid, line)| !waits_for_jobs(*pid, line)).map(|(_, line)| line);
            // The data plane stays as long as the driver.
            let kept = |line: &String| line.contains(" tunnel ");
            left = (ports.collect(), family.filter(|line| !kept(line)).collect());
            if left.0.is_empty() && left.1.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("left behind: ports {:?}, child processes {:?}", left.0, left.1);
    }

    /// How many access points the file system has.
    pub(crate) async fn access_points(&self) -> usize {
        let described = self.fake.client().describe_access_points().file_system_id(&self.file_system).send().await;
        described.unwrap().access_points().len()
    }

    /// Stops both processes; a clean stop is part of every test.
    pub(crate) async fn stop(mut self) {
        if self.neighbour.is_some() {
            self.unpublish_neighbour().await;
        }
        self.driver.stop().await.unwrap();
        self.fake.stop().await.unwrap();
    }
}

/// Waits until `found` finds something.
pub(crate) async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = found() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

/// Whether a process is a mount worker that has done a job well and is kept for the next one: it sleeps then (S), while one in
/// a call of the NFS client waits in state D.
fn waits_for_jobs(pid: i32, line: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    line.contains(" mount-worker ") && stat.contains(") S ")
}

/// The process ids and command lines of a process's children.
pub(crate) fn children(parent: u32) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold spaces; the parent's id is the second field after it.
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if after.split(' ').nth(1) == Some(parent.to_string().as_str()) {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
            found.push((entry.file_name().to_string_lossy().parse().unwrap(), line));
        }
    }
    found
}
