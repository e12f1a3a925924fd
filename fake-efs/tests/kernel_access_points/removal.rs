//! What mounts notice when something is deleted.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::lab::fake::AccessPoint;
use crate::lab::files;
use crate::scene::{Row, Scene};

pub(crate) const ROWS: &[Row] = &[
    ("an_access_point_that_does_not_exist_is_refused", unknown),
    ("an_access_point_of_another_file_system_is_refused", foreign),
    ("a_deleted_access_point_can_not_be_mounted", deleted),
    ("the_directory_of_a_deleted_access_point_stays", directory_stays),
    ("a_mount_of_a_deleted_access_point_is_refused_when_it_reconnects", mounted_then_deleted),
    ("a_deleted_mount_target_ends_its_connections", mount_target),
    ("a_deleted_mount_target_takes_no_new_connections", mount_target_gone),
];

const MADE: AccessPoint<'static> =
    AccessPoint { path: Some("/data"), user: None, creation: Some((1001, 1002, "0755")) };

fn unknown(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.denied(Some("fsap-00000000000000000"))
}

fn foreign(scene: &Scene<'_>) -> anyhow::Result<()> {
    let other = scene.fake.file_system("the-other-one")?;
    let id = scene.fake.access_point(&other, &MADE)?;
    scene.denied(Some(&id))
}

fn deleted(scene: &Scene<'_>) -> anyhow::Result<()> {
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    drop(scene.fake.mount(&scene.file_system, Some(&id), &scene.target("before"))?);
    scene.fake.delete_access_point(&id)?;
    scene.denied(Some(&id))
}

fn directory_stays(scene: &Scene<'_>) -> anyhow::Result<()> {
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    let mount = scene.fake.mount(&scene.file_system, Some(&id), &scene.target("before"))?;
    files::put(&mount.at("file"), "content")?;
    drop(mount);
    scene.fake.delete_access_point(&id)?;
    assert_eq!(files::text(&scene.plain()?.path().join("data/file"))?, "content");
    Ok(())
}

fn mounted_then_deleted(scene: &Scene<'_>) -> anyhow::Result<()> {
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    let mount = scene.fake.mount(&scene.file_system, Some(&id), &scene.target("data"))?;
    files::put(&mount.at("file"), "content")?;
    scene.fake.delete_access_point(&id)?;
    mount.tunnel.reset();
    // A listing can't come from the client's cache when the server refuses every attribute of the root.
    let answer = within(Duration::from_secs(20), {
        let path = mount.at("new");
        move || files::mkdir(&path, 0o755)
    });
    ensure!(answer != Some(Ok(())), "the mount still works");
    Ok(())
}

fn mount_target(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.fake.mount(&scene.file_system, None, &scene.target("all"))?;
    files::put(&mount.at("file"), "content")?;
    assert!(mount.tunnel.established() > 0);
    scene.fake.delete_mount_target(&scene.file_system)?;
    let end = Instant::now() + Duration::from_secs(10);
    while mount.tunnel.established() > 0 {
        ensure!(Instant::now() < end, "{} connections live on", mount.tunnel.established());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn mount_target_gone(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.fake.delete_mount_target(&scene.file_system)?;
    let end = Instant::now() + Duration::from_secs(10);
    // Refused outright or answered with nothing: no way to a mount.
    while crate::lab::tunnel::greets(scene.file_system.address) {
        ensure!(Instant::now() < end, "{} still answers", scene.file_system.address);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What `work` answers, if it does so in time. It goes on in its thread otherwise; the mount is forced off at the end.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    receive.recv_timeout(limit).ok()
}
