use std::sync::Arc;

use aws_sdk_efs::error::ProvideErrorMetadata;
use aws_sdk_efs::types::{LifeCycleState, Tag, ThroughputMode};
use fake_efs::world::clock::{Clock, ManualClock};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{client, client_as, fake, file_system, get};

#[tokio::test]
async fn a_file_system_is_creating_first_and_available_when_its_delay_has_passed() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
    let fake = fake(|settings| {
        settings.clock = Arc::<ManualClock>::clone(&clock);
        settings.delays.file_system_create = 10.0;
    })
    .await;
    let client = client(&fake);
    let tag = Tag::builder().key("Name").value("data").build().unwrap();
    let made = client.create_file_system().creation_token("t").tags(tag).encrypted(true).send().await.unwrap();
    assert_eq!(made.life_cycle_state(), &LifeCycleState::Creating);
    assert_eq!(made.name(), Some("data"));
    assert_eq!(made.owner_id(), "123456789012");
    assert_eq!(made.creation_time().secs(), 1_800_000_000);
    assert!(made.kms_key_id().unwrap().starts_with("arn:aws:kms:us-east-1:123456789012:key/"));
    let refused = client.create_access_point().file_system_id(made.file_system_id()).send().await.unwrap_err();
    assert!(refused.into_service_error().is_incorrect_file_system_life_cycle_state());
    clock.advance(SignedDuration::from_secs(10));
    let page = client.describe_file_systems().creation_token("t").send().await.unwrap();
    assert_eq!(page.file_systems()[0].life_cycle_state(), &LifeCycleState::Available);
    assert_eq!(page.file_systems()[0].file_system_arn(), made.file_system_arn());
    fake.shutdown().await;
}

#[tokio::test]
async fn a_repeated_creation_token_is_refused_with_the_id_of_the_first() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let first = client.create_file_system().creation_token("t").send().await.unwrap();
    let error = client.create_file_system().creation_token("t").send().await.unwrap_err();
    let error = error.into_service_error();
    assert!(error.is_file_system_already_exists());
    let aws_sdk_efs::operation::create_file_system::CreateFileSystemError::FileSystemAlreadyExists(error) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(error.file_system_id(), first.file_system_id());
    // Another region and another account are other name spaces; the account follows the access key, so the region does here.
    client_as(&fake, "AKIDEXAMPLE", "eu-west-1", 1).create_file_system().creation_token("t").send().await.unwrap();
}

#[tokio::test]
async fn listing_shows_every_file_system_once_although_others_come_and_go_meanwhile() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(file_system(&client).await);
    }
    let first = client.describe_file_systems().max_items(3).send().await.unwrap();
    let mut seen: Vec<_> = first.file_systems().iter().map(|fs| fs.file_system_id().to_owned()).collect();
    client.delete_file_system().file_system_id(&ids[2]).send().await.unwrap();
    let new = file_system(&client).await;
    let mut marker = first.next_marker().map(str::to_owned);
    while let Some(token) = marker {
        let page = client.describe_file_systems().max_items(3).marker(&token).send().await.unwrap();
        assert_eq!(page.marker(), Some(token.as_str()));
        seen.extend(page.file_systems().iter().map(|fs| fs.file_system_id().to_owned()));
        marker = page.next_marker().map(str::to_owned);
    }
    ids.push(new);
    assert_eq!(seen, ids);
    let bad = client.describe_file_systems().marker("nonsense").send().await.unwrap_err();
    assert!(bad.into_service_error().is_bad_request());
}

#[tokio::test]
async fn a_deleted_file_system_is_gone_and_its_token_is_free_again() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let first = client.create_file_system().creation_token("t").send().await.unwrap();
    client.delete_file_system().file_system_id(first.file_system_id()).send().await.unwrap();
    let gone = client.describe_file_systems().file_system_id(first.file_system_id()).send().await.unwrap_err();
    assert!(gone.into_service_error().is_file_system_not_found());
    let again = client.delete_file_system().file_system_id(first.file_system_id()).send().await.unwrap_err();
    assert!(again.into_service_error().is_file_system_not_found());
    client.create_file_system().creation_token("t").send().await.unwrap();
}

#[tokio::test]
async fn the_throughput_mode_changes_once_a_day() {
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let fake = fake(|settings| settings.clock = Arc::<ManualClock>::clone(&clock)).await;
    let client = client(&fake);
    let id = file_system(&client).await;
    let update = |mode: ThroughputMode, mibps: Option<f64>| {
        let call = client.update_file_system().file_system_id(&id).throughput_mode(mode);
        call.set_provisioned_throughput_in_mibps(mibps).send()
    };
    let updating = update(ThroughputMode::Provisioned, Some(8.0)).await.unwrap();
    assert_eq!(updating.life_cycle_state(), &LifeCycleState::Updating);
    update(ThroughputMode::Provisioned, Some(16.0)).await.unwrap();
    let early = update(ThroughputMode::Provisioned, Some(4.0)).await.unwrap_err();
    assert!(early.into_service_error().is_too_many_requests());
    let early = update(ThroughputMode::Elastic, None).await.unwrap_err();
    assert!(early.into_service_error().is_too_many_requests());
    clock.advance(SignedDuration::from_hours(24));
    update(ThroughputMode::Elastic, None).await.unwrap();
    clock.advance(SignedDuration::from_hours(24));
    let much = update(ThroughputMode::Provisioned, Some(5000.0)).await.unwrap_err();
    assert!(much.into_service_error().is_throughput_limit_exceeded());
    let missing = update(ThroughputMode::Provisioned, None).await.unwrap_err();
    assert!(missing.into_service_error().is_bad_request());
}

#[tokio::test]
async fn arns_are_accepted_in_paths_and_queries() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let made = client.create_file_system().send().await.unwrap();
    let arn = made.file_system_arn().unwrap();
    let page = client.describe_file_systems().file_system_id(arn).send().await.unwrap();
    assert_eq!(page.file_systems()[0].file_system_id(), made.file_system_id());
    client.describe_lifecycle_configuration().file_system_id(arn).send().await.unwrap();
    let elsewhere = arn.replace("us-east-1", "us-east-2");
    let error = client.describe_lifecycle_configuration().file_system_id(elsewhere).send().await.unwrap_err();
    assert!(error.into_service_error().is_file_system_not_found());
}

#[tokio::test]
async fn pages_of_tags_survive_tags_that_come_and_go() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let tag = |key: &str| {
        let tag = Tag::builder().key(key).value("v").build().unwrap();
        client.tag_resource().resource_id(&fs).tags(tag).send()
    };
    for key in ["d", "b", "c"] {
        tag(key).await.unwrap();
    }
    let mut token = None;
    let mut seen = Vec::new();
    loop {
        let list = client.list_tags_for_resource().resource_id(&fs).max_results(1).set_next_token(token);
        let page = list.send().await.unwrap();
        seen.extend(page.tags().iter().map(|tag| tag.key().to_owned()));
        // What was shown goes, and something comes where nobody looks any more.
        client.untag_resource().resource_id(&fs).tag_keys(page.tags()[0].key()).send().await.unwrap();
        tag("a").await.unwrap();
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["b", "c", "d"]);
}

/// A filter that nothing passes makes an empty list; an id of nothing is an error (DescribeFileSystems and its like, "Errors").
#[tokio::test]
async fn a_listing_without_a_match_is_empty_and_an_id_of_nothing_is_its_error() {
    let fake = fake(|_| {}).await;
    let fs = file_system(&client(&fake)).await;
    let (no_fs, no_point, no_target) = ("fs-00000000000000000", "fsap-00000000000000000", "fsmt-00000000000000000");
    let empty = [
        ("file-systems?CreationToken=nobodys".to_owned(), "FileSystems"),
        (format!("mount-targets?FileSystemId={fs}"), "MountTargets"),
        (format!("access-points?FileSystemId={fs}"), "AccessPoints"),
        ("access-points".to_owned(), "AccessPoints"),
        ("file-systems/replication-configurations".to_owned(), "Replications"),
        (format!("resource-tags/{fs}"), "Tags"),
        (format!("tags/{fs}"), "Tags"),
        (format!("file-systems/{fs}/lifecycle-configuration"), "LifecyclePolicies"),
    ];
    for (path, list) in empty {
        let (status, body) = get(&fake, &format!("/2015-02-01/{path}"), &[]).await;
        assert_eq!((status, &body[list]), (200, &serde_json::json!([])), "{path}");
        assert!(body.get("NextMarker").is_none() && body.get("NextToken").is_none(), "{path}: {body}");
    }
    let missing = [
        (format!("file-systems?FileSystemId={no_fs}"), 404, "FileSystemNotFound"),
        (format!("mount-targets?FileSystemId={no_fs}"), 404, "FileSystemNotFound"),
        (format!("mount-targets?MountTargetId={no_target}"), 404, "MountTargetNotFound"),
        (format!("mount-targets?AccessPointId={no_point}"), 404, "AccessPointNotFound"),
        (format!("mount-targets/{no_target}/security-groups"), 404, "MountTargetNotFound"),
        (format!("access-points?FileSystemId={no_fs}"), 404, "FileSystemNotFound"),
        (format!("access-points?AccessPointId={no_point}"), 404, "AccessPointNotFound"),
        (format!("file-systems/replication-configurations?FileSystemId={no_fs}"), 404, "FileSystemNotFound"),
        (format!("file-systems/replication-configurations?FileSystemId={fs}"), 404, "ReplicationNotFound"),
        (format!("resource-tags/{no_fs}"), 404, "FileSystemNotFound"),
        (format!("resource-tags/{no_point}"), 404, "AccessPointNotFound"),
        (format!("tags/{no_fs}"), 404, "FileSystemNotFound"),
        (format!("file-systems/{no_fs}/lifecycle-configuration"), 404, "FileSystemNotFound"),
        (format!("file-systems/{no_fs}/policy"), 404, "FileSystemNotFound"),
        (format!("file-systems/{fs}/policy"), 404, "PolicyNotFound"),
        (format!("file-systems/{no_fs}/backup-policy"), 404, "FileSystemNotFound"),
        (format!("file-systems/{fs}/backup-policy"), 404, "PolicyNotFound"),
    ];
    for (path, expected, code) in missing {
        let (status, body) = get(&fake, &format!("/2015-02-01/{path}"), &[]).await;
        assert_eq!((status, &body["ErrorCode"]), (expected, &serde_json::json!(code)), "{path}");
    }
}

/// All of it is read before the answer is given, or the connection would be reset while the client still sends.
#[tokio::test]
async fn a_body_that_is_too_long_is_refused_in_words() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    for length in [2_000_000, 20_000_000] {
        let tag = Tag::builder().key("k").value("x".repeat(length)).build().unwrap();
        let error = client.create_file_system().tags(tag).send().await.unwrap_err();
        let text = format!("{error:?}");
        assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(413), "{length}");
        let error = error.into_service_error();
        assert_eq!(error.code(), Some("RequestEntityTooLargeException"), "{text}");
        assert_eq!(error.message(), Some("The request body is larger than 1048576 bytes."), "{text}");
    }
    // Who asks before it sends is answered before it sends.
    let address = fake.http_url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "POST /2015-02-01/file-systems HTTP/1.1\r\nhost: fake\r\nexpect: 100-continue\r\ncontent-length: 20000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("RequestEntityTooLargeException"), "{answer}");
}
