//! Who one is behind an access point.

use crate::lab::fake::AccessPoint;
use crate::lab::files::{self, Errno};
use crate::lab::users::User;
use crate::scene::{Row, Scene, described, is_denial};

pub(crate) const ROWS: &[Row] = &[
    ("without_an_enforced_user_the_clients_ids_count", client_ids),
    ("without_an_enforced_user_root_is_root", root_is_root),
    ("new_files_belong_to_the_enforced_user_whoever_writes", enforced_ownership),
    ("root_of_the_client_is_not_root_behind_an_enforced_user", root_is_enforced),
    ("a_client_user_gets_the_enforced_users_rights", client_user_is_enforced),
    ("an_enforced_secondary_group_grants", secondary_group_grants),
    ("the_clients_own_groups_do_not_count", client_groups_ignored),
    ("chown_to_another_user_is_refused", chown_refused),
    ("chgrp_to_a_foreign_group_is_refused", chgrp_refused),
    ("chown_to_oneself_is_allowed", chown_to_oneself),
    ("chgrp_to_an_enforced_secondary_group_is_allowed", chgrp_to_secondary),
    ("an_enforced_user_0_may_do_everything", enforced_root),
    ("the_enforced_user_needs_search_permission_on_the_root", search_needed),
    ("a_file_of_somebody_else_stays_closed", foreign_file),
    ("two_access_points_have_two_users", two_users),
];

const USER: AccessPoint<'static> =
    AccessPoint { path: Some("/data"), user: Some((5001, 5002, &[5003, 5004])), creation: Some((5001, 5002, "0755")) };
const STRANGER: User = User::new(1004, 1004);

fn client_ids(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount =
        scene.through("data", &AccessPoint { path: Some("/data"), user: None, creation: Some((0, 0, "0777")) })?;
    STRANGER.run(|| files::put(&mount.at("file"), ""))?;
    assert_eq!(described(&mount.at("file"))?, (1004, 1004, 0o644));
    Ok(())
}

fn root_is_root(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount =
        scene.through("data", &AccessPoint { path: Some("/data"), user: None, creation: Some((7, 7, "0700")) })?;
    files::put(&mount.at("file"), "")?;
    assert_eq!(described(&mount.at("file"))?.0, 0);
    files::chown(&mount.at("file"), Some(9), Some(9))?;
    assert_eq!(described(&mount.at("file"))?, (9, 9, 0o644));
    Ok(())
}

fn enforced_ownership(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    files::put(&mount.at("by-root"), "")?;
    STRANGER.run(|| files::put(&mount.at("by-stranger"), ""))?;
    files::mkdir(&mount.at("directory"), 0o755)?;
    files::symlink("x", &mount.at("link"))?;
    for name in ["by-root", "by-stranger", "directory", "link"] {
        let (uid, gid, _) = described(&mount.at(name))?;
        assert_eq!((uid, gid), (5001, 5002), "{name}");
    }
    Ok(())
}

fn root_is_enforced(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    let plain = scene.plain()?;
    files::put(&plain.path().join("data/roots"), "secret")?;
    files::chmod(&plain.path().join("data/roots"), 0o600)?;
    assert_eq!(files::open_read(&mount.at("roots")).err(), Some(Errno::ACCESS));
    Ok(())
}

fn client_user_is_enforced(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    files::put(&mount.at("file"), "content")?;
    files::chmod(&mount.at("file"), 0o600)?;
    assert_eq!(STRANGER.run(|| files::text(&mount.at("file")))?, "content");
    Ok(())
}

fn secondary_group_grants(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    let plain = scene.plain()?;
    files::put(&plain.path().join("data/groups"), "content")?;
    files::chown(&plain.path().join("data/groups"), Some(9), Some(5004))?;
    files::chmod(&plain.path().join("data/groups"), 0o640)?;
    assert_eq!(files::text(&mount.at("groups"))?, "content");
    assert_eq!(files::open_write(&mount.at("groups")).err(), Some(Errno::ACCESS));
    Ok(())
}

fn client_groups_ignored(scene: &Scene<'_>) -> anyhow::Result<()> {
    const MEMBER: User = User { uid: 1005, gid: 4242, groups: &[4242] };
    let mount = scene.through("data", &USER)?;
    let plain = scene.plain()?;
    files::put(&plain.path().join("data/groups"), "content")?;
    files::chown(&plain.path().join("data/groups"), Some(9), Some(4242))?;
    files::chmod(&plain.path().join("data/groups"), 0o640)?;
    assert_eq!(MEMBER.run(|| files::open_read(&mount.at("groups"))).err(), Some(Errno::ACCESS));
    Ok(())
}

fn chown_refused(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    files::put(&mount.at("file"), "")?;
    assert_eq!(files::chown(&mount.at("file"), Some(0), None), Err(Errno::PERM));
    assert_eq!(files::chown(&mount.at("file"), Some(1004), Some(1004)), Err(Errno::PERM));
    let (uid, gid, _) = described(&mount.at("file"))?;
    assert_eq!((uid, gid), (5001, 5002));
    Ok(())
}

fn chgrp_refused(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    files::put(&mount.at("file"), "")?;
    assert_eq!(files::chown(&mount.at("file"), None, Some(4242)), Err(Errno::PERM));
    Ok(())
}

fn chown_to_oneself(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    files::put(&mount.at("file"), "")?;
    files::chown(&mount.at("file"), Some(5001), Some(5002))?;
    Ok(())
}

fn chgrp_to_secondary(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    files::put(&mount.at("file"), "")?;
    files::chown(&mount.at("file"), None, Some(5003))?;
    assert_eq!(described(&mount.at("file"))?.1, 5003);
    Ok(())
}

fn enforced_root(scene: &Scene<'_>) -> anyhow::Result<()> {
    let wanted = AccessPoint { path: Some("/data"), user: Some((0, 0, &[])), creation: Some((7, 7, "0700")) };
    let mount = scene.through("data", &wanted)?;
    STRANGER.run(|| -> anyhow::Result<()> {
        files::put(&mount.at("file"), "")?;
        Ok(files::chown(&mount.at("file"), Some(9), Some(10))?)
    })?;
    let (uid, gid, _) = described(&mount.at("file"))?;
    assert_eq!((uid, gid), (9, 10));
    Ok(())
}

fn search_needed(scene: &Scene<'_>) -> anyhow::Result<()> {
    let wanted = AccessPoint { path: Some("/data"), user: Some((5001, 5002, &[])), creation: Some((7, 7, "0700")) };
    let id = scene.fake.access_point(&scene.file_system, &wanted)?;
    match scene.fake.mount(&scene.file_system, Some(&id), &scene.target("data")) {
        // Either the mount is refused or what is in it.
        Ok(mount) => assert_eq!(files::lstat(&mount.at("anything")).err(), Some(Errno::ACCESS)),
        Err(error) => assert!(is_denial(error.downcast::<Errno>()?)),
    }
    Ok(())
}

fn foreign_file(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &USER)?;
    let plain = scene.plain()?;
    files::put(&plain.path().join("data/foreign"), "content")?;
    assert_eq!(files::text(&mount.at("foreign"))?, "content");
    assert_eq!(files::open_write(&mount.at("foreign")).err(), Some(Errno::ACCESS));
    assert_eq!(files::chmod(&mount.at("foreign"), 0o666), Err(Errno::PERM));
    Ok(())
}

fn two_users(scene: &Scene<'_>) -> anyhow::Result<()> {
    let one = scene.through("one", &AccessPoint { path: Some("/one"), ..USER })?;
    let wanted =
        AccessPoint { path: Some("/two"), user: Some((6001, 6001, &[])), creation: Some((6001, 6001, "0755")) };
    let two = scene.through("two", &wanted)?;
    files::put(&one.at("file"), "")?;
    files::put(&two.at("file"), "")?;
    assert_eq!(described(&one.at("file"))?.0, 5001);
    assert_eq!(described(&two.at("file"))?.0, 6001);
    Ok(())
}
