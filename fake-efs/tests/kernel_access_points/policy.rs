//! What the file system's policy grants to anonymous callers; `principals` is about the others.

use serde_json::{Value, json};

use crate::lab::fake::AccessPoint;
use crate::lab::files::{self, Errno};
use crate::lab::mounts::Mounted;
use crate::scene::{Row, Scene, described, is_denial};

pub(crate) const ROWS: &[Row] = &[
    ("without_a_policy_everybody_mounts_writes_and_is_root", no_policy),
    ("mount_alone_is_read_only", mount_only),
    ("mount_and_write_squash_root", mount_and_write),
    ("root_access_keeps_root", all_three),
    ("nothing_granted_is_refused", nothing),
    ("a_denial_of_plain_connections_leaves_tls", tls_required),
    ("a_denial_outside_an_access_point_leaves_the_access_point", access_point_required),
    ("write_for_one_access_point_only", write_through_one),
    ("an_explicit_denial_wins", denial_wins),
];

fn allow(actions: &[&str]) -> Value {
    statement("Allow", actions, &json!({}))
}

fn statement(effect: &str, actions: &[&str], condition: &Value) -> Value {
    let actions: Vec<String> = actions.iter().map(|action| format!("elasticfilesystem:{action}")).collect();
    json!({"Effect": effect, "Principal": {"AWS": "*"}, "Action": actions, "Condition": condition})
}

fn set(scene: &Scene<'_>, statements: &[Value]) -> anyhow::Result<()> {
    scene.fake.set_policy(&scene.file_system, &json!({"Version": "2012-10-17", "Statement": statements}))
}

fn no_policy(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::put(&plain.path().join("file"), "")?;
    files::chown(&plain.path().join("file"), Some(7), Some(7))?;
    assert_eq!(described(&plain.path().join("file"))?, (7, 7, 0o644));
    Ok(())
}

fn mount_only(scene: &Scene<'_>) -> anyhow::Result<()> {
    files::put(&scene.plain()?.path().join("file"), "content")?;
    set(scene, &[allow(&["ClientMount"])])?;
    let mount = scene.fake.mount(&scene.file_system, None, &scene.target("read-only"))?;
    assert_eq!(files::text(&mount.at("file"))?, "content");
    assert_eq!(files::put(&mount.at("new"), ""), Err(Errno::ROFS));
    assert_eq!(files::unlink(&mount.at("file")), Err(Errno::ROFS));
    assert_eq!(files::mkdir(&mount.at("new"), 0o755), Err(Errno::ROFS));
    assert_eq!(files::chmod(&mount.at("file"), 0o600), Err(Errno::ROFS));
    Ok(())
}

fn mount_and_write(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = scene.plain()?;
    files::mkdir(&plain.path().join("open"), 0o777)?;
    drop(plain);
    set(scene, &[allow(&["ClientMount", "ClientWrite"])])?;
    let mount = scene.fake.mount(&scene.file_system, None, &scene.target("squashed"))?;
    assert_eq!(files::put(&mount.at("new"), ""), Err(Errno::ACCESS), "the root directory is root's");
    files::put(&mount.at("open/new"), "")?;
    assert_eq!(described(&mount.at("open/new"))?.0, 65_534);
    assert_eq!(files::chown(&mount.at("open/new"), Some(0), None), Err(Errno::PERM));
    Ok(())
}

fn all_three(scene: &Scene<'_>) -> anyhow::Result<()> {
    set(scene, &[allow(&["ClientMount", "ClientWrite", "ClientRootAccess"])])?;
    let mount = scene.fake.mount(&scene.file_system, None, &scene.target("root"))?;
    files::put(&mount.at("new"), "")?;
    files::chown(&mount.at("new"), Some(7), Some(8))?;
    assert_eq!(described(&mount.at("new"))?, (7, 8, 0o644));
    Ok(())
}

fn nothing(scene: &Scene<'_>) -> anyhow::Result<()> {
    set(scene, &[statement("Deny", &["ClientMount"], &json!({}))])?;
    scene.denied(None)?;
    assert!(plainly(scene).is_err_and(is_denial));
    Ok(())
}

fn plainly(scene: &Scene<'_>) -> Result<Mounted, Errno> {
    Mounted::nfs(scene.file_system.address, "/", &scene.target("plainly"), "")
}

fn tls_required(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = json!({"Bool": {"aws:SecureTransport": "false"}});
    let everything = ["ClientMount", "ClientWrite", "ClientRootAccess"];
    set(scene, &[allow(&everything), statement("Deny", &everything, &plain)])?;
    assert!(plainly(scene).is_err_and(is_denial));
    let mount = scene.fake.mount(&scene.file_system, None, &scene.target("tls"))?;
    files::put(&mount.at("file"), "")?;
    Ok(())
}

fn access_point_arn(scene: &Scene<'_>, id: &str) -> Value {
    let arn = format!("arn:aws:elasticfilesystem:{}:123456789012:access-point/{id}", scene.fake.ready.region);
    json!({"StringEquals": {"elasticfilesystem:AccessPointArn": arn}})
}

fn access_point_required(scene: &Scene<'_>) -> anyhow::Result<()> {
    let id = scene.fake.access_point(&scene.file_system, &AccessPoint::default())?;
    set(scene, &[statement("Allow", &["ClientMount", "ClientWrite"], &access_point_arn(scene, &id))])?;
    scene.denied(None)?;
    scene.fake.mount(&scene.file_system, Some(&id), &scene.target("through"))?;
    Ok(())
}

fn write_through_one(scene: &Scene<'_>) -> anyhow::Result<()> {
    let wanted =
        AccessPoint { path: Some("/data"), user: Some((5001, 5001, &[])), creation: Some((5001, 5001, "0755")) };
    let reader = scene.fake.access_point(&scene.file_system, &wanted)?;
    let writer = scene.fake.access_point(&scene.file_system, &wanted)?;
    let write = statement("Allow", &["ClientWrite"], &access_point_arn(scene, &writer));
    set(scene, &[allow(&["ClientMount"]), write])?;
    let writing = scene.fake.mount(&scene.file_system, Some(&writer), &scene.target("writer"))?;
    files::put(&writing.at("file"), "content")?;
    let reading = scene.fake.mount(&scene.file_system, Some(&reader), &scene.target("reader"))?;
    assert_eq!(files::text(&reading.at("file"))?, "content");
    assert_eq!(files::put(&reading.at("file"), ""), Err(Errno::ROFS));
    Ok(())
}

fn denial_wins(scene: &Scene<'_>) -> anyhow::Result<()> {
    let everything = allow(&["ClientMount", "ClientWrite", "ClientRootAccess"]);
    set(scene, &[everything, statement("Deny", &["ClientWrite"], &json!({}))])?;
    let mount = scene.fake.mount(&scene.file_system, None, &scene.target("denied"))?;
    assert_eq!(files::put(&mount.at("file"), ""), Err(Errno::ROFS));
    Ok(())
}
