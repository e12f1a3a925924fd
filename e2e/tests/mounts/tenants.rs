//! Mounts with the identity of the pod: what tenants of one file system see of each other, and what becomes of their mounts.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use csi_proto::csi;
use efs_csi_e2e::mounts;
use efs_csi_e2e::tenants::{
    self, ADMIN, AUDITOR, FILE_SYSTEM, POINT_A, POINT_B, TEAM_A, TEAM_B, Tenant, WORKER, handle, port,
};
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::fixture::{Fixture, can_mount, until};

/// Who root is without ClientRootAccess.
const NOBODY: u32 = 65_534;
/// Far more than a republish takes that asks nobody; one that waits for STS or a server takes longer. (How long it takes is a matter of
/// the benches.)
const ASKS_NOBODY: Duration = Duration::from_secs(2);

struct Scene {
    fixture: Fixture,
    _seed: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let seed = tempfile::tempdir().unwrap();
        let path = tenants::write_seed(seed.path()).unwrap();
        let arguments = ["--strict-signatures", "--seed-file", path.to_str().unwrap()];
        Self { fixture: Fixture::start_both_with(&arguments, tenants::with_agent).await, _seed: seed }
    }

    async fn send(&self, request: csi::NodePublishVolumeRequest) -> Result<(), Status> {
        self.fixture.driver.node().node_publish_volume(request).await.map(drop)
    }

    /// Publishes for a pod of a tenant, and answers where.
    async fn publish(&self, tenant: Tenant, volume: &str, pod: &str) -> Result<PathBuf, Status> {
        let target = self.fixture.target_named(pod);
        self.send(tenant.request(volume, &target, 1)).await.map(|()| target)
    }

    /// Unpublishes all; nothing is left, and no token has got into a log or onto a disk.
    async fn stop(self, published: &[(&str, &Path)]) {
        for (volume, target) in published {
            self.fixture.unpublish(volume, target).await.unwrap();
        }
        self.fixture.assert_nothing_left().await;
        let folder = self.fixture.path("");
        assert!(folder.join("driver.log").exists() && folder.join("fake-efs.log").exists());
        assert_eq!(tenants::files_with_tokens(&folder).unwrap(), Vec::<PathBuf>::new());
        self.fixture.stop().await;
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn two_tenants_of_one_file_system_each_see_their_own() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start().await;
    let (of_a, of_b) = (handle(POINT_A), handle(POINT_B));
    // The policy lets each in by its own access point alone.
    for (tenant, volume) in [(TEAM_A, &of_b), (TEAM_B, &of_a), (TEAM_A, &FILE_SYSTEM.to_owned())] {
        let status = scene.publish(tenant, volume, "refused").await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        let whose = format!("(as service account {}/app", tenant.name);
        assert!(status.message().contains(&whose), "{status:?}");
        assert!(mounts::at(&scene.fixture.target_named("refused")).unwrap().is_empty());
    }
    let a = scene.publish(TEAM_A, &of_a, "a").await.unwrap();
    let b = scene.publish(TEAM_B, &of_b, "b").await.unwrap();
    std::fs::write(a.join("plans"), "of team-a").unwrap();
    std::fs::write(b.join("books"), "of team-b").unwrap();
    assert_eq!((names(&a), names(&b)), (vec!["plans".to_owned()], vec!["books".to_owned()]));
    // Whoever may see all of it sees both, each with its access point's owner.
    let all = scene.publish(ADMIN, FILE_SYSTEM, "all").await.unwrap();
    for (path, owner) in [("team-a/plans", 51_001), ("team-b/books", 51_002)] {
        assert_eq!(std::fs::metadata(all.join(path)).unwrap().uid(), owner, "{path}");
    }
    scene.stop(&[(&of_a, &a), (&of_b, &b), (FILE_SYSTEM, &all)]).await;
}

/// One volume, mounted by four pods of two service accounts.
#[tokio::test]
async fn two_identities_never_share_a_port_a_tunnel_or_a_connection() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start().await;
    let publish = async |tenant: Tenant, pod: &str| scene.publish(tenant, FILE_SYSTEM, pod).await.unwrap();
    // At once, so that they race for ports.
    let (one, two) = tokio::join!(publish(ADMIN, "one"), publish(AUDITOR, "two"));
    let (three, four) = tokio::join!(publish(ADMIN, "three"), publish(AUDITOR, "four"));
    let all = [&one, &two, &three, &four];
    let [p1, p2, p3, p4] = all.map(|target| port(target).unwrap());
    assert_eq!((p1, p2), (p3, p4), "pods of one service account share");
    assert_ne!(p1, p2, "those of two don't");
    // By turns, so that the kernel would have the occasion to mix them up.
    for n in 0..50 {
        std::fs::write(one.join(format!("file-{n}")), "x").unwrap();
        let refused = std::fs::write(two.join(format!("file-{n}")), "y").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem, "{refused:?}");
        assert_eq!(std::fs::read_to_string(two.join(format!("file-{n}"))).unwrap(), "x");
    }
    let seen = tenants::connected(&scene.fixture.fake).await.unwrap();
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&ADMIN.principal(), &AUDITOR.principal()]);
    // The same after both have connected anew.
    scene.fixture.fake.end_connections().await.unwrap();
    std::fs::write(three.join("again"), "x").unwrap();
    assert_eq!(std::fs::write(four.join("again"), "y").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::fs::read_to_string(four.join("again")).unwrap(), "x");
    scene.stop(&all.map(|target| (FILE_SYSTEM, target.as_path()))).await;
}

#[tokio::test]
async fn without_root_access_root_is_squashed_and_without_write_nothing_changes() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start().await;
    let admin = scene.publish(ADMIN, FILE_SYSTEM, "admin").await.unwrap();
    let worker = scene.publish(WORKER, FILE_SYSTEM, "worker").await.unwrap();
    let auditor = scene.publish(AUDITOR, FILE_SYSTEM, "auditor").await.unwrap();
    // The root directory is root's, who isn't root here.
    let refused = std::fs::write(worker.join("mine"), "x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused:?}");
    let drop_box = admin.join("drop-box");
    std::fs::create_dir(&drop_box).unwrap();
    std::fs::set_permissions(&drop_box, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(worker.join("drop-box/theirs"), "x").unwrap();
    std::fs::write(admin.join("drop-box/ours"), "x").unwrap();
    let owner = |name: &str| std::fs::metadata(drop_box.join(name)).unwrap().uid();
    assert_eq!((owner("theirs"), owner("ours")), (NOBODY, 0));
    assert_eq!(std::fs::read_to_string(auditor.join("drop-box/theirs")).unwrap(), "x");
    let errors = [
        std::fs::write(auditor.join("drop-box/new"), "x").unwrap_err(),
        std::fs::remove_file(auditor.join("drop-box/theirs")).unwrap_err(),
        std::fs::create_dir(auditor.join("new")).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::ReadOnlyFilesystem), "{errors:?}");
    let all = [&admin, &worker, &auditor];
    scene.stop(&all.map(|target| (FILE_SYSTEM, target.as_path()))).await;
}

#[tokio::test]
async fn a_republish_of_a_mount_takes_the_token_and_asks_nobody() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start().await;
    let fake = &scene.fixture.fake;
    let (a, b) = (handle(POINT_A), handle(POINT_B));
    let (at_a, at_b) = (scene.publish(TEAM_A, &a, "a").await.unwrap(), scene.publish(TEAM_B, &b, "b").await.unwrap());
    std::fs::write(at_a.join("file"), "x").unwrap();
    let before = (port(&at_a).unwrap(), port(&at_b).unwrap());
    assert_eq!(tenants::exchanges(fake).await.unwrap(), 2);
    // STS, the agent, the EFS API and the file server all stand still.
    fake.process.signal(Signal::STOP).unwrap();
    for serial in 2..30 {
        let begun = Instant::now();
        scene.send(TEAM_A.request(&a, &at_a, serial)).await.unwrap();
        scene.send(TEAM_B.request(&b, &at_b, serial)).await.unwrap();
        assert!(begun.elapsed() < ASKS_NOBODY, "{:?}", begun.elapsed());
    }
    fake.process.signal(Signal::CONT).unwrap();
    assert_eq!((port(&at_a).unwrap(), port(&at_b).unwrap()), before, "nothing is mounted a second time");
    assert_eq!(tenants::exchanges(fake).await.unwrap(), 2, "the credentials are young");
    // Another pod's token isn't taken for this mount.
    let other = scene.send(TEAM_B.request(&a, &at_a, 1)).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other:?}");
    assert_eq!(std::fs::read_to_string(at_a.join("file")).unwrap(), "x");
    scene.stop(&[(&a, &at_a), (&b, &at_b)]).await;
}

/// A connection that lives is not looked at again, one that is made is.
#[tokio::test]
async fn credentials_that_have_ended_are_looked_at_again_when_a_connection_is_made() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start().await;
    let (volume, fake) = (handle(POINT_A), &scene.fixture.fake);
    let target = scene.publish(TEAM_A, &volume, "a").await.unwrap();
    std::fs::write(target.join("file"), "x").unwrap();
    // Hours pass for the file system, which this node doesn't see.
    fake.command(Method::POST, "/_fake/clock", &json!({ "advance_seconds": 7200 })).await.unwrap();
    std::fs::write(target.join("file"), "the connection lives").unwrap();
    let refused = async || {
        let connects = tenants::journal(fake, "Connect").await.unwrap();
        connects.into_iter().filter_map(|it| it["error"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(refused().await, Vec::<String>::new());
    fake.end_connections().await.unwrap();
    // It may wait for ever, so it is another process. What it asks for is in no cache.
    let mut writer = std::process::Command::new("touch").arg(target.join("new")).spawn().unwrap();
    for _ in 0..300 {
        if !refused().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let why = refused().await;
    assert!(why.iter().any(|error| error.contains("the session is over")), "{why:?}");
    // With the next pod come credentials that are good.
    scene.fixture.unpublish(&volume, &target).await.unwrap();
    until("the writer's end", || writer.try_wait().unwrap()).await;
    let target = scene.publish(TEAM_A, &volume, "next").await.unwrap();
    assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "the connection lives");
    assert_eq!(tenants::exchanges(fake).await.unwrap(), 2);
    scene.stop(&[(&volume, &target)]).await;
}
