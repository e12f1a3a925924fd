use aws_sdk_efs::error::ProvideErrorMetadata;
use aws_sdk_efs::operation::create_access_point::CreateAccessPointError;
use aws_sdk_efs::types::{CreationInfo, PosixUser, RootDirectory, Tag};

use crate::support::{client, fake, file_system};

#[tokio::test]
async fn an_access_point_is_described_as_it_was_made() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let user = PosixUser::builder().uid(1000).gid(4_294_967_295).secondary_gids(7).build().unwrap();
    let info = CreationInfo::builder().owner_uid(1000).owner_gid(1001).permissions("0750").build().unwrap();
    let root = RootDirectory::builder().path("/a/b").creation_info(info).build();
    let tag = Tag::builder().key("Name").value("n").build().unwrap();
    let made = client
        .create_access_point()
        .client_token("pvc-1")
        .file_system_id(&fs)
        .posix_user(user.clone())
        .root_directory(root.clone())
        .tags(tag)
        .send()
        .await
        .unwrap();
    let id = made.access_point_id().unwrap();
    assert!(id.starts_with("fsap-") && id.len() == 22);
    assert_eq!(
        made.access_point_arn(),
        Some(&*format!("arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/{id}"))
    );
    let page = client.describe_access_points().access_point_id(id).send().await.unwrap();
    let point = &page.access_points()[0];
    assert_eq!(point.posix_user(), Some(&user));
    assert_eq!(point.root_directory(), Some(&root));
    assert_eq!((point.client_token(), point.name()), (Some("pvc-1"), Some("n")));
    assert_eq!(point.life_cycle_state().map(|s| s.as_str()), Some("available"));
}

#[tokio::test]
async fn a_client_token_counts_in_the_whole_account_and_the_conflict_names_the_access_point() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let (one, two) = (file_system(&client).await, file_system(&client).await);
    let first = client.create_access_point().client_token("t").file_system_id(&one).send().await.unwrap();
    for fs in [&one, &two] {
        let error = client.create_access_point().client_token("t").file_system_id(fs).send().await.unwrap_err();
        let CreateAccessPointError::AccessPointAlreadyExists(error) = error.into_service_error() else { panic!() };
        assert_eq!(Some(error.access_point_id()), first.access_point_id());
    }
    assert_eq!(fake.journal().count("CreateAccessPoint"), 3);
}

#[tokio::test]
async fn the_limit_of_access_points_is_per_file_system() {
    let fake = fake(|settings| settings.limits.access_points = 2).await;
    let client = client(&fake);
    let (one, two) = (file_system(&client).await, file_system(&client).await);
    for _ in 0..2 {
        client.create_access_point().file_system_id(&one).send().await.unwrap();
    }
    let error = client.create_access_point().file_system_id(&one).send().await.unwrap_err();
    assert!(error.into_service_error().is_access_point_limit_exceeded());
    client.create_access_point().file_system_id(&two).send().await.unwrap();
}

#[tokio::test]
async fn listing_takes_a_file_system_or_an_access_point_but_not_both() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let (one, two) = (file_system(&client).await, file_system(&client).await);
    let mut ids = Vec::new();
    for fs in [&one, &two, &one, &one] {
        let made = client.create_access_point().file_system_id(fs).send().await.unwrap();
        ids.push((fs.clone(), made.access_point_id().unwrap().to_owned()));
    }
    let pages = client.describe_access_points().file_system_id(&one).max_results(2).into_paginator().items().send();
    let seen: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let seen: Vec<_> = seen.iter().map(|p| p.access_point_id().unwrap()).collect();
    assert_eq!(seen, [&*ids[0].1, &*ids[2].1, &*ids[3].1]);
    assert_eq!(client.describe_access_points().send().await.unwrap().access_points().len(), 4);
    let both = client.describe_access_points().file_system_id(&one).access_point_id(&ids[0].1).send().await;
    assert!(both.unwrap_err().into_service_error().is_bad_request());
    let unknown = client.describe_access_points().file_system_id("fs-0123456789abcdef0").send().await;
    assert!(unknown.unwrap_err().into_service_error().is_file_system_not_found());
}

#[tokio::test]
async fn a_deleted_access_point_is_gone_and_a_second_delete_says_so() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let made = client.create_access_point().client_token("t").file_system_id(&fs).send().await.unwrap();
    let id = made.access_point_id().unwrap();
    client.delete_access_point().access_point_id(id).send().await.unwrap();
    let again = client.delete_access_point().access_point_id(id).send().await.unwrap_err();
    assert!(again.into_service_error().is_access_point_not_found());
    client.create_access_point().client_token("t").file_system_id(&fs).send().await.unwrap();
}

#[tokio::test]
async fn a_path_that_breaks_the_model_is_a_validation_exception() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let root = RootDirectory::builder().path("//pvc-1").build();
    let error = client.create_access_point().file_system_id(&fs).root_directory(root).send().await.unwrap_err();
    let error = error.into_service_error();
    assert_eq!(error.code(), Some("ValidationException"));
    assert!(error.message().unwrap().contains("Value '//pvc-1' at 'rootDirectory.path'"));
}

/// The model's pattern lets some names pass that no file can have; the first mount would make a directory that nobody can remove.
#[tokio::test]
async fn a_path_that_no_directory_can_have_is_refused() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    for (path, allowed) in [
        ("/a\0b".to_owned(), false),
        ("/".to_owned() + &"漢".repeat(85), true),
        ("/".to_owned() + &"漢".repeat(86), false),
    ] {
        let root = RootDirectory::builder().path(&path).build();
        let made = client.create_access_point().file_system_id(&fs).root_directory(root).send().await;
        let refused = made.map_err(|error| error.into_service_error());
        assert!(
            allowed == refused.is_ok() && refused.as_ref().err().is_none_or(|error| error.is_bad_request()),
            "{path:?}: {refused:?}"
        );
    }
}
