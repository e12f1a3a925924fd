//! What the file system's policy grants to IAM principals, who prove themselves by a signature in their certificate.

use serde_json::{Value, json};

use crate::lab::fake::{AccessPoint, TlsMount};
use crate::lab::files::{self, Errno};
use crate::lab::signing::Keys;
use crate::scene::{Row, Scene, described, is_denial};

pub(crate) const ROWS: &[Row] = &[
    ("write_for_one_principal_only", write_for_one),
    ("a_denied_principal_is_refused_and_others_are_not", one_denied),
    ("root_access_for_one_principal_only", root_for_one),
    ("a_role_s_session_is_known_by_its_token", role),
    ("an_account_in_a_policy_stands_for_its_principals", account),
    ("a_wrong_signature_is_refused_where_anonymous_callers_are_not", wrong_signature),
    ("principals_of_one_access_point_are_different_clients", different_clients),
];

const WRITER: &str = "arn:aws:iam::123456789012:user/writer";
const READER: &str = "arn:aws:iam::123456789012:user/reader";

/// The keys of a user, whom the fake is told about.
fn user(scene: &Scene<'_>, arn: &str) -> anyhow::Result<Keys> {
    let name = arn.rsplit('/').next().unwrap_or_default().to_uppercase();
    let keys = Keys::new(&format!("AKIA{name}"), &format!("secret-of-{name}"));
    let account = arn.split(':').nth(4);
    let body = json!({
        "access_key_id": keys.id, "secret_access_key": keys.secret, "account": account, "principal": arn,
    });
    scene.fake.admin("keys", &body)?;
    Ok(keys)
}

fn mount(scene: &Scene<'_>, name: &str, keys: &Keys) -> anyhow::Result<TlsMount> {
    scene.fake.mount_as(&scene.file_system, None, Some(keys), &scene.target(name))
}

fn statement(effect: &str, principal: Value, actions: &[&str]) -> Value {
    let actions: Vec<String> = actions.iter().map(|action| format!("elasticfilesystem:{action}")).collect();
    json!({"Effect": effect, "Principal": {"AWS": principal}, "Action": actions})
}

fn set(scene: &Scene<'_>, statements: &[Value]) -> anyhow::Result<()> {
    scene.fake.set_policy(&scene.file_system, &json!({"Version": "2012-10-17", "Statement": statements}))
}

fn is_refused(mounted: anyhow::Result<TlsMount>) -> bool {
    mounted.is_err_and(|error| error.downcast::<Errno>().is_ok_and(is_denial))
}

/// A directory in which everybody may write, if the policy lets them.
fn open_directory(scene: &Scene<'_>) -> anyhow::Result<()> {
    files::mkdir(&scene.plain()?.path().join("open"), 0o777)?;
    files::chmod(&scene.plain()?.path().join("open"), 0o777)?;
    Ok(())
}

fn write_for_one(scene: &Scene<'_>) -> anyhow::Result<()> {
    open_directory(scene)?;
    let (writer, reader) = (user(scene, WRITER)?, user(scene, READER)?);
    set(
        scene,
        &[statement("Allow", json!("*"), &["ClientMount"]), statement("Allow", json!(WRITER), &["ClientWrite"])],
    )?;
    let writing = mount(scene, "writer", &writer)?;
    files::put(&writing.at("open/file"), "content")?;
    let reading = mount(scene, "reader", &reader)?;
    assert_eq!(files::text(&reading.at("open/file"))?, "content");
    assert_eq!(files::put(&reading.at("open/file"), "other"), Err(Errno::ROFS));
    let anonymous = scene.fake.mount(&scene.file_system, None, &scene.target("anonymous"))?;
    assert_eq!(files::put(&anonymous.at("open/file"), "other"), Err(Errno::ROFS));
    Ok(())
}

fn one_denied(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (writer, reader) = (user(scene, WRITER)?, user(scene, READER)?);
    let everything = statement("Allow", json!("*"), &["ClientMount", "ClientWrite", "ClientRootAccess"]);
    set(scene, &[everything, statement("Deny", json!([READER]), &["ClientMount"])])?;
    assert!(is_refused(mount(scene, "reader", &reader)));
    files::put(&mount(scene, "writer", &writer)?.at("file"), "")?;
    files::put(&scene.fake.mount(&scene.file_system, None, &scene.target("anonymous"))?.at("other"), "")?;
    Ok(())
}

fn root_for_one(scene: &Scene<'_>) -> anyhow::Result<()> {
    open_directory(scene)?;
    let (writer, reader) = (user(scene, WRITER)?, user(scene, READER)?);
    let mount_and_write = statement("Allow", json!("*"), &["ClientMount", "ClientWrite"]);
    set(scene, &[mount_and_write, statement("Allow", json!(WRITER), &["ClientRootAccess"])])?;
    let root = mount(scene, "root", &writer)?;
    files::put(&root.at("open/by-root"), "")?;
    assert_eq!(described(&root.at("open/by-root"))?.0, 0);
    let squashed = mount(scene, "squashed", &reader)?;
    files::put(&squashed.at("open/squashed"), "")?;
    assert_eq!(described(&squashed.at("open/squashed"))?.0, 65_534);
    Ok(())
}

fn role(scene: &Scene<'_>) -> anyhow::Result<()> {
    let arn = "arn:aws:iam::123456789012:role/efs";
    set(scene, &[statement("Allow", json!(arn), &["ClientMount", "ClientWrite", "ClientRootAccess"])])?;
    let session = scene.fake.assume_role(arn)?;
    files::put(&mount(scene, "role", &session)?.at("file"), "")?;
    scene.denied(None)?;
    // The keys of a session are worth nothing without its token, or with another.
    assert!(is_refused(mount(scene, "without", &Keys { session_token: None, ..session.clone() })));
    let other = scene.fake.assume_role(arn)?;
    assert!(is_refused(mount(scene, "other", &Keys { session_token: other.session_token, ..session })));
    Ok(())
}

fn account(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (own, stranger) = (user(scene, WRITER)?, user(scene, "arn:aws:iam::210987654321:user/stranger")?);
    let account = json!("arn:aws:iam::123456789012:root");
    set(scene, &[statement("Allow", account, &["ClientMount", "ClientWrite", "ClientRootAccess"])])?;
    files::put(&mount(scene, "own", &own)?.at("file"), "")?;
    assert!(is_refused(mount(scene, "stranger", &stranger)));
    Ok(())
}

fn wrong_signature(scene: &Scene<'_>) -> anyhow::Result<()> {
    let keys = user(scene, WRITER)?;
    files::put(&mount(scene, "right", &keys)?.at("file"), "")?;
    assert!(is_refused(mount(scene, "wrong", &Keys::new(&keys.id, "another secret"))));
    files::put(&scene.fake.mount(&scene.file_system, None, &scene.target("anonymous"))?.at("other"), "")?;
    Ok(())
}

/// Linux would send both mounts' calls over one connection if the server gave them the same client.
fn different_clients(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (writer, reader) = (user(scene, WRITER)?, user(scene, READER)?);
    let wanted =
        AccessPoint { path: Some("/data"), user: Some((5001, 5001, &[])), creation: Some((5001, 5001, "0755")) };
    let point = scene.fake.access_point(&scene.file_system, &wanted)?;
    set(
        scene,
        &[statement("Allow", json!("*"), &["ClientMount"]), statement("Allow", json!(WRITER), &["ClientWrite"])],
    )?;
    let through =
        |name: &str, keys| scene.fake.mount_as(&scene.file_system, Some(&point), Some(keys), &scene.target(name));
    let (reading, writing) = (through("reader", &reader)?, through("writer", &writer)?);
    files::put(&writing.at("file"), "content")?;
    assert_eq!(files::put(&reading.at("other"), ""), Err(Errno::ROFS));
    assert_eq!(described(&writing.at("file"))?.0, 5001);
    assert_eq!((reading.tunnel.established(), writing.tunnel.established()), (1, 1));
    Ok(())
}
