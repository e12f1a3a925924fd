use std::path::Path;

use aws_sdk_efs::types::Tag;
use fake_efs::admission::Caller;
use fake_efs::store::{NewBody, NewNode};
use fake_efs::{FakeEfs, Instance, StartError};

use crate::support::{client, file_system};

async fn open(folder: &Path) -> Result<Instance, StartError> {
    FakeEfs::builder().data(Some(folder.to_owned())).start().await
}

#[tokio::test]
async fn everything_is_there_after_a_restart_with_the_same_ids_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let fake = open(folder.path()).await.unwrap();
    let efs = client(&fake);
    let (fs, gone) = (file_system(&efs).await, file_system(&efs).await);
    let tag = Tag::builder().key("a").value("b").build().unwrap();
    efs.tag_resource().resource_id(&fs).tags(tag).send().await.unwrap();
    let point = efs.create_access_point().client_token("t").file_system_id(&fs).send().await.unwrap();
    let lost = efs.create_access_point().file_system_id(&fs).send().await.unwrap();
    let target = efs.create_mount_target().file_system_id(&fs).subnet_id("subnet-01234560").send().await.unwrap();
    efs.delete_access_point().access_point_id(lost.access_point_id().unwrap()).send().await.unwrap();
    efs.delete_file_system().file_system_id(&gone).send().await.unwrap();
    let caller = |fake: &Instance| Caller {
        local: fake.nfs_addr(),
        remote: std::net::SocketAddr::from(([127, 0, 0, 1], 40_000)),
        certificate: None,
    };
    let store = fake.gate().admit(&caller(&fake)).unwrap().store;
    let body = NewBody::Regular { verifier: None };
    let node = NewNode { body, mode: 0o640, uid: 7, gid: 8 };
    let (file, _) = store.create(store.root(), b"name", &node).unwrap();
    store.write(file.id, 0, b"kept").unwrap();
    drop(store);
    let before = efs.describe_file_systems().send().await.unwrap();
    // Nothing is written at the end, so a killed process would leave the same.
    fake.shutdown().await;

    let fake = open(folder.path()).await.unwrap();
    let efs = client(&fake);
    let after = efs.describe_file_systems().send().await.unwrap();
    let shown = |page: &aws_sdk_efs::operation::describe_file_systems::DescribeFileSystemsOutput| {
        let rows = page.file_systems().iter();
        rows.map(|f| (f.file_system_id.clone(), f.creation_token.clone(), f.tags.clone(), f.number_of_mount_targets))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&after), shown(&before));
    assert_eq!(after.file_systems().len(), 1);
    let points = efs.describe_access_points().file_system_id(&fs).send().await.unwrap();
    assert_eq!(points.access_points().len(), 1);
    assert_eq!(points.access_points()[0].access_point_id(), point.access_point_id());
    let conflict = efs.create_access_point().client_token("t").file_system_id(&fs).send().await.unwrap_err();
    assert!(conflict.into_service_error().is_access_point_already_exists());
    let targets = efs.describe_mount_targets().file_system_id(&fs).send().await.unwrap();
    assert_eq!(targets.mount_targets()[0].ip_address(), target.ip_address());
    let address = (target.ip_address().unwrap().to_owned(), fake.nfs_addr().port());
    tokio::net::TcpStream::connect(address).await.unwrap();
    let store = fake.gate().admit(&caller(&fake)).unwrap().store;
    let file = store.lookup(store.root(), b"name").unwrap();
    let mut contents = Vec::new();
    store.read(file, 0, 16, &mut contents).unwrap();
    assert_eq!(contents, b"kept");
    fake.shutdown().await;
}

#[tokio::test]
async fn a_damaged_archive_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let fake = open(folder.path()).await.unwrap();
    file_system(&client(&fake)).await;
    fake.shutdown().await;
    let log = folder.path().join("world.log");
    let text = std::fs::read_to_string(&log).unwrap().replace("123456789012", "123456789013");
    std::fs::write(&log, &text).unwrap();
    let error = open(folder.path()).await.err().unwrap().to_string();
    assert!(error.contains("world.log is damaged at line 2: wrong checksum; move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), text);
}
