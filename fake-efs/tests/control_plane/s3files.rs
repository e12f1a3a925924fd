use aws_sdk_s3files::Client;
use aws_sdk_s3files::config::retry::RetryConfig;
use aws_sdk_s3files::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3files::error::ProvideErrorMetadata;
use aws_sdk_s3files::operation::create_access_point::CreateAccessPointError;
use aws_sdk_s3files::types::{
    CreationPermissions, ExpirationDataRule, ImportDataRule, ImportTrigger, LifeCycleState, PosixUser, RootDirectory,
    Tag,
};
use fake_efs::admission::{Admission, Caller, CertificateClaims, Dialect, IamClaim, Refusal};
use fake_efs::faults::{Effect, Rule};
use fake_efs::seed::Seed;
use fake_efs::{FakeEfs, Instance};
use serde_json::json;

use crate::support::{client as efs_client, exchange, fake, file_system as efs_file_system, send};

const BUCKET: &str = "arn:aws:s3:::a-bucket";
const ROLE: &str = "arn:aws:iam::123456789012:role/s3files";

fn client(fake: &Instance) -> Client {
    client_as(fake, "AKIDEXAMPLE")
}

fn client_as(fake: &Instance, access_key_id: &str) -> Client {
    let config = aws_sdk_s3files::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(fake.http_url())
        .credentials_provider(Credentials::new(access_key_id, "secret", None, None, "test"))
        .retry_config(RetryConfig::standard().with_max_attempts(1))
        .build();
    Client::from_conf(config)
}

/// Makes a file system and returns its id. It is available at the next call.
async fn file_system(client: &Client) -> String {
    let made = client.create_file_system().bucket(BUCKET).role_arn(ROLE).send().await;
    made.expect("an empty world takes a file system").file_system_id.expect("it has an id")
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().expect("key and value are there")
}

#[tokio::test]
async fn a_file_system_is_bound_to_a_bucket_and_shown_as_it_was_made() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let made = client
        .create_file_system()
        .bucket(BUCKET)
        .prefix("some/where/")
        .role_arn(ROLE)
        .client_token("t")
        .tags(tag("Name", "n"))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), Some(&LifeCycleState::Creating));
    let id = made.file_system_id().unwrap();
    let arn = format!("arn:aws:s3files:us-east-1:123456789012:file-system/{id}");
    assert_eq!(made.file_system_arn(), Some(&*arn));
    for name in [id, &arn] {
        let got = client.get_file_system().file_system_id(name).send().await.unwrap();
        assert_eq!(got.status(), Some(&LifeCycleState::Available));
        assert_eq!((got.bucket(), got.prefix(), got.role_arn()), (Some(BUCKET), "some/where/", Some(ROLE)));
        assert_eq!((got.client_token(), got.name(), got.owner_id()), (Some("t"), Some("n"), Some("123456789012")));
        assert_eq!(got.tags(), [tag("Name", "n")]);
    }
    let other = client.create_file_system().bucket("arn:aws:s3:::other").role_arn(ROLE).send().await.unwrap();
    let all = client.list_file_systems().max_results(1).into_paginator().items().send();
    let all: Vec<_> = all.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(all.iter().map(|fs| fs.file_system_id()).collect::<Vec<_>>(), [id, other.file_system_id().unwrap()]);
    let some = client.list_file_systems().bucket("arn:aws:s3:::other").send().await.unwrap();
    assert_eq!(some.file_systems().iter().map(|fs| fs.bucket()).collect::<Vec<_>>(), ["arn:aws:s3:::other"]);
    client.delete_file_system().file_system_id(id).force_delete(true).send().await.unwrap();
    let gone = client.get_file_system().file_system_id(id).send().await.unwrap_err();
    assert!(gone.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn the_two_services_see_nothing_of_each_other() {
    let fake = fake(|_| {}).await;
    let (s3, efs) = (client(&fake), efs_client(&fake));
    let (bucket, share) = (file_system(&s3).await, efs_file_system(&efs).await);
    let listed = efs.describe_file_systems().send().await.unwrap();
    assert_eq!(listed.file_systems().iter().map(|fs| fs.file_system_id()).collect::<Vec<_>>(), [&*share]);
    let listed = s3.list_file_systems().send().await.unwrap();
    assert_eq!(listed.file_systems().iter().map(|fs| fs.file_system_id()).collect::<Vec<_>>(), [&*bucket]);
    assert!(efs.describe_file_systems().file_system_id(&bucket).send().await.is_err());
    assert!(efs.create_access_point().file_system_id(&bucket).send().await.is_err());
    assert!(s3.get_file_system().file_system_id(&share).send().await.is_err());
    let point = s3.create_access_point().file_system_id(&bucket).client_token("t").send().await.unwrap();
    assert!(efs.describe_access_points().access_point_id(point.access_point_id()).send().await.is_err());
    assert!(efs.describe_access_points().send().await.unwrap().access_points().is_empty());
    // Tokens are each service's own.
    efs.create_access_point().file_system_id(&share).client_token("t").send().await.unwrap();
}

#[tokio::test]
async fn an_access_point_is_got_as_it_was_made_and_listed_without_token_and_tags() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let user = PosixUser::builder().uid(1000).gid(4_294_967_295).secondary_gids(7).build().unwrap();
    let creation = CreationPermissions::builder().owner_uid(1).owner_gid(2).permissions("0750").build().unwrap();
    let root = RootDirectory::builder().path("/a/b").creation_permissions(creation).build();
    let made = client
        .create_access_point()
        .client_token("pvc-1")
        .file_system_id(&fs)
        .posix_user(user.clone())
        .root_directory(root.clone())
        .tags(tag("Name", "n"))
        .send()
        .await
        .unwrap();
    let arn =
        format!("arn:aws:s3files:us-east-1:123456789012:file-system/{fs}/access-point/{}", made.access_point_id());
    assert_eq!((made.access_point_arn(), made.status()), (&*arn, &LifeCycleState::Creating));
    let got = client.get_access_point().access_point_id(&arn).send().await.unwrap();
    assert_eq!((got.posix_user(), got.root_directory()), (Some(&user), Some(&root)));
    assert_eq!((got.client_token(), got.name(), got.status()), ("pvc-1", Some("n"), &LifeCycleState::Available));
    client.create_access_point().file_system_id(&fs).send().await.unwrap();
    let page = client.list_access_points().file_system_id(&fs).max_results(1).send().await.unwrap();
    let listed = &page.access_points()[0];
    assert_eq!((listed.posix_user(), listed.root_directory()), (Some(&user), Some(&root)));
    let next = client.list_access_points().file_system_id(&fs).set_next_token(page.next_token).send().await.unwrap();
    assert_eq!((next.access_points().len(), next.next_token()), (1, None));
    let raw = exchange(&fake, "GET", &format!("/access-points?fileSystemId={fs}"), &[], b"").await.1;
    let first = raw["accessPoints"][0].as_object().unwrap();
    assert!(!first.contains_key("clientToken") && !first.contains_key("tags"), "{first:?}");
    client.delete_access_point().access_point_id(made.access_point_id()).send().await.unwrap();
    let gone = client.delete_access_point().access_point_id(made.access_point_id()).send().await.unwrap_err();
    let gone = gone.into_service_error();
    assert_eq!((gone.is_resource_not_found_exception(), gone.code()), (true, Some("ResourceNotFoundException")));
}

#[tokio::test]
async fn the_same_request_again_is_answered_alike_and_another_with_its_token_is_a_conflict() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let create = |uid: i64| {
        let user = PosixUser::builder().uid(uid).gid(1).build().unwrap();
        client.create_access_point().client_token("t").file_system_id(&fs).posix_user(user).send()
    };
    let first = create(1).await.unwrap();
    assert_eq!(create(1).await.unwrap().access_point_id(), first.access_point_id());
    let conflict = |error: CreateAccessPointError| {
        let CreateAccessPointError::ConflictException(error) = error else { panic!("{error:?}") };
        (error.error_code, error.resource_id, error.resource_type)
    };
    let expected = (
        "AccessPointAlreadyExists".to_owned(),
        Some(first.access_point_id().to_owned()),
        Some("AccessPoint".to_owned()),
    );
    assert_eq!(conflict(create(2).await.unwrap_err().into_service_error()), expected);
    fake.world().set_limits(|limits| limits.repeats_conflict = true);
    assert_eq!(conflict(create(1).await.unwrap_err().into_service_error()), expected);
    let listed = client.list_access_points().file_system_id(&fs).send().await.unwrap();
    assert_eq!(listed.access_points().len(), 1);
}

#[tokio::test]
async fn each_quota_is_402() {
    let fake = fake(|settings| (settings.limits.access_points, settings.limits.file_systems) = (1, 1)).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    client.create_access_point().file_system_id(&fs).send().await.unwrap();
    let error = client.create_access_point().file_system_id(&fs).send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 402);
    assert!(error.into_service_error().is_service_quota_exceeded_exception());
    let error = client.create_file_system().bucket(BUCKET).role_arn(ROLE).send().await.unwrap_err();
    assert!(error.into_service_error().is_service_quota_exceeded_exception());
    // EFS counts its own.
    efs_file_system(&efs_client(&fake)).await;
}

#[tokio::test]
async fn what_breaks_the_model_is_named() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let path = |path: &str| {
        client.create_access_point().file_system_id(&fs).root_directory(RootDirectory::builder().path(path).build())
    };
    path("/1/2/3/4").send().await.unwrap();
    let cases = [
        (path("/1/2/3/4/5"), "'rootDirectory.path'"),
        (path("/.hidden"), "'rootDirectory.path'"),
        (client.create_access_point().file_system_id("fs-01234567"), "'fileSystemId'"),
        (client.create_access_point().file_system_id(&fs).set_tags(Some(Vec::new())), "'tags'"),
        (client.create_access_point().file_system_id(&fs).client_token("x".repeat(65)), "'clientToken'"),
    ];
    for (call, member) in cases {
        let error = call.send().await.unwrap_err().into_service_error();
        assert!(error.is_validation_exception(), "{error:?}");
        assert!(error.message().unwrap().contains(member), "{:?}", error.message());
    }
    let error = client.create_file_system().bucket("a-bucket").role_arn(ROLE).send().await.unwrap_err();
    assert!(error.into_service_error().message().unwrap().contains("'bucket'"));
    let (status, body) = exchange(&fake, "GET", "/access-points", &[], b"").await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ValidationException")));
    assert!(body["message"].as_str().unwrap().contains("'fileSystemId'"), "{body}");
}

#[tokio::test]
async fn mount_targets_have_zone_ids_and_one_place_in_a_zone() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let made = client.create_mount_target().file_system_id(&fs).subnet_id("subnet-0000000a").send().await.unwrap();
    let id = made.mount_target_id();
    let got = client.get_mount_target().mount_target_id(id).send().await.unwrap();
    assert_eq!(got.status(), Some(&LifeCycleState::Available));
    assert!(got.availability_zone_id().is_some() && got.ipv4_address().is_some() && got.security_groups().len() == 1);
    let again = client.create_mount_target().file_system_id(&fs).subnet_id("subnet-0000000a").send().await;
    assert!(again.unwrap_err().into_service_error().is_conflict_exception());
    let changed =
        client.update_mount_target().mount_target_id(id).security_groups("sg-0000000000000000a").send().await.unwrap();
    assert_eq!(changed.security_groups(), ["sg-0000000000000000a"]);
    let point = client.create_access_point().file_system_id(&fs).send().await.unwrap();
    let by_point = client.list_mount_targets().access_point_id(point.access_point_id()).send().await.unwrap();
    let by_system = client.list_mount_targets().file_system_id(&fs).send().await.unwrap();
    let all = client.list_mount_targets().send().await.unwrap();
    for listed in [&by_point, &by_system, &all] {
        assert_eq!(listed.mount_targets().iter().map(|t| t.mount_target_id()).collect::<Vec<_>>(), [id]);
    }
    let in_use = client.delete_file_system().file_system_id(&fs).send().await.unwrap_err();
    assert!(in_use.into_service_error().is_conflict_exception());
    client.delete_mount_target().mount_target_id(id).send().await.unwrap();
    client.delete_file_system().file_system_id(&fs).send().await.unwrap();
    let unknown = client.list_mount_targets().file_system_id(&fs).send().await.unwrap_err();
    assert!(unknown.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn tags_are_put_listed_page_by_page_and_removed() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let point = client.create_access_point().file_system_id(&fs).tags(tag("a", "1")).send().await.unwrap();
    for id in [&*fs, point.access_point_id(), point.access_point_arn()] {
        client.tag_resource().resource_id(id).tags(tag("b", "2")).tags(tag("c", "3")).send().await.unwrap();
        let page = client.list_tags_for_resource().resource_id(id).max_results(1).send().await.unwrap();
        assert_eq!((page.tags().len(), page.next_token().is_some()), (1, true));
        client.untag_resource().resource_id(id).tag_keys("b").tag_keys("nothing").send().await.unwrap();
        let all = client.list_tags_for_resource().resource_id(id).into_paginator().items().send();
        let all: Vec<_> = all.collect::<Result<Vec<_>, _>>().await.unwrap();
        assert!(!all.contains(&tag("b", "2")) && all.contains(&tag("c", "3")), "{all:?}");
    }
}

#[tokio::test]
async fn a_policy_is_put_got_and_taken_away() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let none = client.get_file_system_policy().file_system_id(&fs).send().await.unwrap_err();
    assert!(none.into_service_error().is_resource_not_found_exception());
    let policy =
        |action: &str| json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": action}}).to_string();
    let put = |action: &str| client.put_file_system_policy().file_system_id(&fs).policy(policy(action)).send();
    put("s3files:ClientMount").await.unwrap();
    let got = client.get_file_system_policy().file_system_id(&fs).send().await.unwrap();
    assert_eq!((got.file_system_id(), got.policy()), (&*fs, &*policy("s3files:ClientMount")));
    for wrong in ["elasticfilesystem:ClientMount", "s3files:ClientMunt"] {
        assert!(put(wrong).await.unwrap_err().into_service_error().is_validation_exception(), "{wrong}");
    }
    client.delete_file_system_policy().file_system_id(&fs).send().await.unwrap();
    assert!(client.get_file_system_policy().file_system_id(&fs).send().await.is_err());
}

#[tokio::test]
async fn a_synchronization_configuration_is_not_overwritten_by_who_has_not_seen_it() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let put = |seen: Option<i32>, days: i32| {
        let import = ImportDataRule::builder()
            .prefix("logs/")
            .trigger(ImportTrigger::OnFileAccess)
            .size_less_than(1 << 20)
            .build()
            .unwrap();
        let expiration = ExpirationDataRule::builder().days_after_last_access(days).build().unwrap();
        client
            .put_synchronization_configuration()
            .file_system_id(&fs)
            .set_latest_version_number(seen)
            .import_data_rules(import)
            .expiration_data_rules(expiration)
            .send()
    };
    let get = || client.get_synchronization_configuration().file_system_id(&fs).send();
    let first = get().await.unwrap().latest_version_number();
    put(None, 7).await.unwrap();
    let got = get().await.unwrap();
    assert_eq!(got.expiration_data_rules()[0].days_after_last_access(), 7);
    assert_eq!(got.import_data_rules()[0].prefix(), "logs/");
    let stale = put(first, 8).await.unwrap_err().into_service_error();
    assert!(stale.is_conflict_exception(), "{stale:?}");
    put(got.latest_version_number(), 9).await.unwrap();
    assert_eq!(get().await.unwrap().expiration_data_rules()[0].days_after_last_access(), 9);
    assert!(put(None, 366).await.unwrap_err().into_service_error().is_validation_exception());
}

#[tokio::test]
async fn a_misconfigured_file_system_says_why_and_takes_no_access_point() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let trouble = |why| json!({"file_system_id": fs, "status_message": why});
    assert_eq!(send(&fake, "PUT", "/_fake/misconfigured", &trouble(Some("The bucket is gone."))).await.0, 200);
    let listed = client.list_file_systems().send().await.unwrap();
    let shown = &listed.file_systems()[0];
    assert_eq!((shown.status().as_str(), shown.status_message()), ("misconfigured", Some("The bucket is gone.")));
    let refused = client.create_access_point().file_system_id(&fs).send().await.unwrap_err();
    assert!(refused.into_service_error().is_conflict_exception());
    assert_eq!(send(&fake, "PUT", "/_fake/misconfigured", &trouble(None)).await.0, 200);
    client.create_access_point().file_system_id(&fs).send().await.unwrap();
    let share = efs_file_system(&efs_client(&fake)).await;
    let other = json!({"file_system_id": share, "status_message": "x"});
    assert_eq!(send(&fake, "PUT", "/_fake/misconfigured", &other).await.0, 404);
}

#[tokio::test]
async fn the_managed_policy_lets_the_driver_make_tagged_access_points_and_look_at_lists_only() {
    let fake = fake(|_| {}).await;
    let principal = "arn:aws:iam::123456789012:user/AKIDDRIVER";
    let only_tag = json!({
        "StringLike": {"aws:RequestTag/efs.csi.aws.com/cluster": "*"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["efs.csi.aws.com/cluster"]}});
    let mut tagging = only_tag.clone();
    tagging["StringEquals"] = json!({"s3files:CreateAction": "CreateAccessPoint"});
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": ["s3files:ListAccessPoints", "s3files:ListFileSystems"], "Resource": "*"},
        {"Effect": "Allow", "Action": "s3files:CreateAccessPoint", "Resource": "*", "Condition": only_tag},
        {"Effect": "Allow", "Action": "s3files:TagResource", "Resource": "*", "Condition": tagging},
        {"Effect": "Allow", "Action": "s3files:DeleteAccessPoint", "Resource": "*",
         "Condition": {"StringLike": {"aws:ResourceTag/efs.csi.aws.com/cluster": "*"}}}]});
    let attached = json!({"principal": principal, "policy": policy});
    assert_eq!(send(&fake, "POST", "/_fake/policies", &attached).await.0, 200);
    let admin = client(&fake);
    let fs = file_system(&admin).await;
    let driver = client_as(&fake, "AKIDDRIVER");
    let ours = tag("efs.csi.aws.com/cluster", "true");
    let create = |tags: Vec<Tag>| driver.create_access_point().file_system_id(&fs).set_tags(Some(tags)).send();
    let made = create(vec![ours.clone()]).await.unwrap();
    let denied = create(vec![ours.clone(), tag("b", "2")]).await.unwrap_err();
    assert_eq!(denied.raw_response().unwrap().status().as_u16(), 403);
    assert_eq!(denied.into_service_error().code(), Some("AccessDeniedException"));
    assert!(driver.create_access_point().file_system_id(&fs).send().await.is_err());
    assert!(driver.list_access_points().file_system_id(&fs).send().await.is_ok());
    assert!(driver.list_file_systems().send().await.is_ok());
    assert!(driver.get_access_point().access_point_id(made.access_point_id()).send().await.is_err());
    assert!(driver.list_mount_targets().file_system_id(&fs).send().await.is_err());
    // Tags that come later are not what the policy allows.
    assert!(driver.tag_resource().resource_id(made.access_point_id()).tags(ours).send().await.is_err());
    driver.delete_access_point().access_point_id(made.access_point_id()).send().await.unwrap();
    let foreign = admin.create_access_point().file_system_id(&fs).send().await.unwrap();
    assert!(driver.delete_access_point().access_point_id(foreign.access_point_id()).send().await.is_err());
}

#[tokio::test]
async fn faults_strike_the_service_that_they_are_for_in_its_own_words() {
    let fake = fake(|_| {}).await;
    let (s3, efs) = (client(&fake), efs_client(&fake));
    let (bucket, share) = (file_system(&s3).await, efs_file_system(&efs).await);
    let mut rule = Rule::on("CreateAccessPoint", Effect::Throttle);
    rule.service = Some("s3files".to_owned());
    fake.faults().add(rule).unwrap();
    efs.create_access_point().file_system_id(&share).send().await.unwrap();
    let error = s3.create_access_point().file_system_id(&bucket).send().await.unwrap_err().into_service_error();
    let CreateAccessPointError::ThrottlingException(error) = error else { panic!("{error:?}") };
    assert_eq!(error.error_code(), "ThrottlingException");
}

/// A TLS client that names a file system and has signed with a session's key.
fn signed(file_system: &str, key: &str) -> CertificateClaims {
    CertificateClaims {
        file_system_id: file_system.to_owned(),
        access_point_id: None,
        iam: Some(IamClaim {
            access_key_id: key.to_owned(),
            signature: "0".repeat(64),
            signed_at: jiff::Timestamp::now(),
            session_token: None,
        }),
        client_info: None,
        public_key_hash: "00".repeat(20),
    }
}

fn connect(fake: &Instance, certificate: Option<CertificateClaims>) -> Result<Admission, Refusal> {
    let (local, remote) = (fake.nfs_addr(), ([127, 0, 0, 1], 40_000).into());
    fake.gate().admit(&Caller { local, remote, certificate })
}

#[tokio::test]
async fn nobody_gets_in_without_a_signature_and_the_policies_of_both_sides_count_together() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    client.list_file_systems().send().await.unwrap();
    let unsigned = CertificateClaims { iam: None, ..signed(&fs, "-") };
    assert!(matches!(connect(&fake, Some(unsigned)), Err(Refusal::Unsigned(_))));
    // A plain client can't name it, and it is not the lone file system that is meant.
    assert!(matches!(connect(&fake, None), Err(Refusal::NoMountTarget(_))));
    let admission = connect(&fake, Some(signed(&fs, "AKIDNODE"))).unwrap();
    assert_eq!(admission.dialect, Dialect::S3Files);
    assert!(admission.rights.write && admission.rights.root);

    let node = "arn:aws:iam::123456789012:user/AKIDNODE";
    let attach = async |actions: serde_json::Value| {
        let policy = json!({"Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}});
        let attached = json!({"principal": node, "policy": policy});
        assert_eq!(send(&fake, "POST", "/_fake/policies", &attached).await.0, 200);
    };
    let rights = || connect(&fake, Some(signed(&fs, "AKIDNODE"))).map(|it| (it.rights.write, it.rights.root));
    attach(json!(["elasticfilesystem:*"])).await;
    assert!(matches!(rights(), Err(Refusal::Policy { .. })));
    attach(json!(["s3files:ClientMount"])).await;
    assert_eq!(rights().unwrap(), (false, false));
    let put = |effect: &str, action: &str| {
        let statement = json!({"Effect": effect, "Principal": {"AWS": node}, "Action": action});
        let policy = json!({ "Statement": statement }).to_string();
        client.put_file_system_policy().file_system_id(&fs).policy(policy).send()
    };
    put("Allow", "s3files:ClientWrite").await.unwrap();
    assert_eq!(rights().unwrap(), (true, false));
    put("Deny", "s3files:ClientMount").await.unwrap();
    assert!(matches!(rights(), Err(Refusal::Policy { .. })));
}

#[tokio::test]
async fn a_seed_has_file_systems_of_both_services() {
    let seed = r#"
subnets: [{id: subnet-0000000a, zone: us-east-1a, vpc: vpc-1}]
file_systems: [{id: fs-0000000000000000a}]
s3_file_systems:
  - id: fs-0000000000000000b
    bucket: a-bucket
    prefix: p/
    tags: {Name: data}
    policy: {Statement: {Effect: Allow, Principal: "*", Action: "s3files:ClientMount"}}
    mount_targets: [{subnet: subnet-0000000a}]
    access_points: [{id: fsap-0000000000000000b, path: /a, uid: 1, gid: 2, permissions: "0700"}]
"#;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), seed).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    // The second start finds what the first has kept, and the seed makes nothing twice.
    for _ in 0..2 {
        let seed = Seed::read(file.path()).unwrap();
        let fake = FakeEfs::builder().seed(Some(seed)).data(Some(folder.path().to_owned())).start().await.unwrap();
        let client = client(&fake);
        let all = client.list_file_systems().send().await.unwrap();
        let fs = &all.file_systems()[0];
        assert_eq!((all.file_systems().len(), fs.file_system_id(), fs.bucket()), (1, "fs-0000000000000000b", BUCKET));
        let point = client.get_access_point().access_point_id("fsap-0000000000000000b").send().await.unwrap();
        assert_eq!(point.root_directory().and_then(|root| root.path()), Some("/a"));
        let targets = client.list_mount_targets().file_system_id(fs.file_system_id()).send().await.unwrap();
        assert_eq!(targets.mount_targets().len(), 1);
        assert!(client.get_file_system_policy().file_system_id(fs.file_system_id()).send().await.is_ok());
        drop(fake);
    }
}
