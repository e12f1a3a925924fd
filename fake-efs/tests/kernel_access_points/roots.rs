//! The directory that a mount sees as its root.

use anyhow::ensure;

use crate::lab::fake::AccessPoint;
use crate::lab::files::{self, Errno};
use crate::lab::mounts::Mounted;
use crate::scene::{Row, Scene, described};

pub(crate) const ROWS: &[Row] = &[
    ("a_new_file_system_has_a_root_of_root_0755", new_file_system),
    ("an_access_point_without_a_path_shows_the_whole_file_system", whole_file_system),
    ("an_access_point_shows_its_directory_as_the_root", subtree),
    ("a_path_of_the_mount_is_below_the_access_point", path_below),
    ("dot_dot_does_not_lead_out_of_an_access_point", no_escape),
    ("a_symbolic_link_of_an_access_point_is_resolved_by_the_client", links_stay),
    ("a_missing_root_is_made_at_the_first_connection", made_at_first_connection),
    ("missing_parents_are_made_for_root", parents_made),
    ("a_missing_root_without_creation_info_is_refused", refused_without_creation_info),
    ("an_existing_root_keeps_owner_and_mode", existing_kept),
    ("a_removed_root_is_made_again_at_the_next_mount", made_again),
    ("a_root_that_is_a_file_is_refused", file_as_root),
    ("two_access_points_mounted_at_once_keep_their_roots", two_at_once),
    ("an_access_point_of_root_slash_is_the_file_systems_root", slash),
    ("what_is_written_through_an_access_point_is_in_its_directory", written_below),
];

const MADE: AccessPoint<'static> =
    AccessPoint { path: Some("/data"), user: None, creation: Some((1001, 1002, "0750")) };

fn new_file_system(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    assert_eq!(described(plain.path())?, (0, 0, 0o755));
    assert!(files::names(plain.path())?.is_empty());
    Ok(())
}

fn whole_file_system(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::put(&plain.path().join("file"), "content")?;
    let mount = scene.through("all", &AccessPoint::default())?;
    assert_eq!(files::text(&mount.at("file"))?, "content");
    Ok(())
}

fn subtree(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::mkdir(&plain.path().join("data"), 0o755)?;
    files::put(&plain.path().join("outside"), "")?;
    files::put(&plain.path().join("data/inside"), "content")?;
    let mount = scene.through("data", &AccessPoint { path: Some("/data"), ..AccessPoint::default() })?;
    assert_eq!(files::names(mount.root())?, ["inside"]);
    assert_eq!(files::text(&mount.at("inside"))?, "content");
    Ok(())
}

fn path_below(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    for path in ["data", "data/deep", "deep"] {
        files::mkdir(&plain.path().join(path), 0o755)?;
    }
    files::put(&plain.path().join("data/deep/inside"), "content")?;
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    let tunnel = scene.fake.tunnel(&scene.file_system, Some(&id))?;
    let mount = Mounted::nfs(tunnel.address(), "/deep", &scene.target("deep"), "")?;
    assert_eq!(files::names(mount.path())?, ["inside"]);
    drop(mount);
    let outside = Mounted::nfs(tunnel.address(), "/data", &scene.target("outside"), "");
    assert_eq!(outside.err(), Some(Errno::NOENT));
    Ok(())
}

fn no_escape(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::put(&plain.path().join("secret"), "")?;
    let mount = scene.through("data", &MADE)?;
    files::mkdir(&mount.at("inner"), 0o755)?;
    // The client stops at its own root; `inner/..` asks the server.
    assert_eq!(files::names(&mount.at("inner/.."))?, ["inner"]);
    assert_eq!(files::lstat(&mount.at("inner/../../secret")).err(), Some(Errno::NOENT));
    Ok(())
}

fn links_stay(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::put(&plain.path().join("secret"), "outside")?;
    let mount = scene.through("data", &MADE)?;
    files::symlink("../secret", &mount.at("link"))?;
    assert!(files::text(&mount.at("link")).is_err(), "the link must not lead out of the access point");
    Ok(())
}

fn made_at_first_connection(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    assert_eq!(files::lstat(&plain.path().join("data")).err(), Some(Errno::NOENT), "making it is not enough");
    let mount = scene.fake.mount(&scene.file_system, Some(&id), &scene.target("data"))?;
    assert_eq!(described(mount.root())?, (1001, 1002, 0o750));
    assert_eq!(described(&plain.path().join("data"))?, (1001, 1002, 0o750));
    Ok(())
}

fn parents_made(scene: &Scene<'_>) -> anyhow::Result<()> {
    let wanted = AccessPoint { path: Some("/a/b/c"), ..MADE };
    let mount = scene.through("deep", &wanted)?;
    assert_eq!(described(mount.root())?, (1001, 1002, 0o750));
    let plain = scene.plain()?;
    assert_eq!(described(&plain.path().join("a"))?, (0, 0, 0o755));
    assert_eq!(described(&plain.path().join("a/b"))?, (0, 0, 0o755));
    assert_eq!(described(&plain.path().join("a/b/c"))?, (1001, 1002, 0o750));
    Ok(())
}

fn refused_without_creation_info(scene: &Scene<'_>) -> anyhow::Result<()> {
    let wanted = AccessPoint { path: Some("/missing"), ..AccessPoint::default() };
    let id = scene.fake.access_point(&scene.file_system, &wanted)?;
    let refusal = scene.refusal(Some(&id))?;
    ensure!(matches!(refusal, Errno::NOENT | Errno::ACCESS | Errno::PERM), "{refusal:?}");
    assert!(files::names(scene.plain()?.path())?.is_empty(), "nothing was made");
    Ok(())
}

fn existing_kept(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::mkdir(&plain.path().join("data"), 0o711)?;
    files::chown(&plain.path().join("data"), Some(7), Some(8))?;
    let mount = scene.through("data", &MADE)?;
    assert_eq!(described(mount.root())?, (7, 8, 0o711));
    Ok(())
}

fn made_again(scene: &Scene<'_>) -> anyhow::Result<()> {
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    let mount = scene.fake.mount(&scene.file_system, Some(&id), &scene.target("data"))?;
    let plain = scene.plain()?;
    files::put(&mount.at("file"), "")?;
    drop(mount);
    std::fs::remove_dir_all(plain.path().join("data"))?;
    let mount = scene.fake.mount(&scene.file_system, Some(&id), &scene.target("again"))?;
    assert_eq!(described(mount.root())?, (1001, 1002, 0o750));
    assert!(files::names(mount.root())?.is_empty());
    Ok(())
}

fn file_as_root(scene: &Scene<'_>) -> anyhow::Result<()> {
    files::put(&scene.plain()?.path().join("data"), "a file")?;
    let id = scene.fake.access_point(&scene.file_system, &MADE)?;
    scene.refusal(Some(&id))?;
    Ok(())
}

fn two_at_once(scene: &Scene<'_>) -> anyhow::Result<()> {
    let one = scene.through("one", &AccessPoint { path: Some("/one"), ..MADE })?;
    let two = scene.through("two", &AccessPoint { path: Some("/two"), ..MADE })?;
    files::put(&one.at("file"), "of one")?;
    files::put(&two.at("file"), "of two")?;
    let plain = scene.plain()?;
    assert_eq!(files::text(&plain.path().join("one/file"))?, "of one");
    assert_eq!(files::text(&plain.path().join("two/file"))?, "of two");
    // A client that had merged the two would look for both behind one connection.
    drop(one);
    assert_eq!(files::names(two.root())?, ["file"]);
    Ok(())
}

fn slash(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("slash", &AccessPoint { path: Some("/"), ..AccessPoint::default() })?;
    assert_eq!(described(mount.root())?, (0, 0, 0o755));
    Ok(())
}

fn written_below(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mount = scene.through("data", &MADE)?;
    files::put(&mount.at("file"), "content")?;
    assert_eq!(files::text(&scene.plain()?.path().join("data/file"))?, "content");
    Ok(())
}
