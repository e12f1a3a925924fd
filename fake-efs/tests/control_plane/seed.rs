use std::path::Path;

use fake_efs::buckets::{Versioning, Wanted};
use fake_efs::seed::Seed;
use fake_efs::{FakeEfs, Instance};

use crate::support::{client, client_as};

const SEED: &str = r#"
zones:
  - {name: us-east-1a, id: use1-az4}
  - {name: us-east-1b, id: use1-az6, one_zone: false}
subnets:
  - {id: subnet-0000000a, zone: us-east-1a, vpc: vpc-1, cidr: 127.99.1.0/29}
  - {id: subnet-0000000b, zone: us-east-1b, vpc: vpc-1}
  - {id: subnet-0000000c, zone: us-east-1b, vpc: vpc-2}
security_groups:
  - {id: sg-0000000a, vpc: vpc-1}
keys:
  - {access_key_id: AKIDOTHER, secret_access_key: secret, account: "210987654321"}
limits: {access_points: 3}
delays: {access_point_create: 60}
machine: {zone: us-east-1b, zone_id: use1-az6}
faults:
  - {operation: DescribeBackupPolicy, effect: {kind: throttle}}
file_systems:
  - id: fs-0000000000000000a
    tags: {Name: data}
    policy:
      Statement: {Effect: Allow, Principal: "*", Action: "elasticfilesystem:ClientMount"}
    mount_targets: [{subnet: subnet-0000000a}]
    access_points:
      - {id: fsap-0000000000000000a, path: /a, uid: 1, gid: 2, permissions: "0700"}
  - account: "210987654321"
    creation_token: other
"#;

async fn seeded(text: &str) -> Result<Instance, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("a temporary file");
    let seed = Seed::read(file.path()).map_err(|error| error.to_string())?;
    FakeEfs::builder().seed(Some(seed)).start().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_seed_says_what_exists() {
    let fake = seeded(SEED).await.unwrap();
    let efs = client(&fake);
    let all = efs.describe_file_systems().send().await.unwrap();
    let fs = &all.file_systems()[0];
    assert_eq!((all.file_systems().len(), fs.file_system_id(), fs.name()), (1, "fs-0000000000000000a", Some("data")));
    assert_eq!(fs.number_of_mount_targets(), 1);
    let points = efs.describe_access_points().access_point_id("fsap-0000000000000000a").send().await.unwrap();
    let point = &points.access_points()[0];
    assert_eq!(point.posix_user().map(|u| (u.uid(), u.gid())), Some((1, 2)));
    assert_eq!(point.root_directory().and_then(|r| r.path()), Some("/a"));
    assert!(efs.describe_file_system_policy().file_system_id(fs.file_system_id()).send().await.is_ok());
    let other = client_as(&fake, "AKIDOTHER", "us-east-1", 1).describe_file_systems().send().await.unwrap();
    assert_eq!(other.file_systems()[0].creation_token(), "other");
    let throttled = efs.describe_backup_policy().file_system_id(fs.file_system_id()).send().await;
    assert!(throttled.is_err());
    let new = efs.create_access_point().file_system_id(fs.file_system_id()).send().await.unwrap();
    let new = efs.describe_access_points().access_point_id(new.access_point_id().unwrap()).send().await.unwrap();
    assert_eq!(new.access_points()[0].life_cycle_state().unwrap().as_str(), "creating");
}

#[tokio::test]
async fn a_seed_s_buckets_are_there_with_their_objects() {
    let seed = r#"
buckets:
  - name: a-bucket
    versioning: enabled
    objects:
      - {key: a/text, text: "hello", content_type: text/plain, metadata: {colour: red}}
      - {key: a/bytes, base64: "AAEC"}
      - {key: a/text, text: "again"}
  - {name: b-bucket, account: "210987654321", region: eu-central-1, versioning: suspended}
  - {name: c-bucket}
s3_file_systems: [{bucket: a-bucket}]
"#;
    let fake = seeded(seed).await.unwrap();
    let buckets = fake.world().buckets();
    let found = buckets.get("a-bucket", "a/text", None).unwrap();
    assert_eq!(found.object.content.slice(0..5).concat(), b"again");
    let all = Wanted { most: 10, ..Wanted::default() };
    let versions = buckets.versions("a-bucket", &all).unwrap().rows;
    assert_eq!(versions.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["a/bytes", "a/text", "a/text"]);
    let first = versions[2].object.as_ref().unwrap();
    assert_eq!(first.attributes.content_type.as_deref(), Some("text/plain"));
    assert_eq!(first.attributes.metadata["colour"], "red");
    assert_eq!(versions[0].object.as_ref().unwrap().content.slice(0..3).concat(), [0, 1, 2]);
    let shown: Vec<_> = buckets.list().into_iter().map(|b| (b.account, b.region, b.versioning)).collect();
    let row = |account: &str, region: &str, versioning| (account.to_owned(), region.to_owned(), versioning);
    assert_eq!(
        shown,
        [
            row("123456789012", "us-east-1", Versioning::Enabled),
            row("210987654321", "eu-central-1", Versioning::Suspended),
            row("123456789012", "us-east-1", Versioning::Never),
        ]
    );
}

#[tokio::test]
async fn unknown_subnets_groups_and_zones_get_the_errors_of_aws() {
    let fake = seeded(SEED).await.unwrap();
    let efs = client(&fake);
    let id = efs.create_file_system().send().await.unwrap().file_system_id;
    let create = |fs: &str, subnet: &str, group: Option<&str>| {
        let call = efs.create_mount_target().file_system_id(fs).subnet_id(subnet);
        call.set_security_groups(group.map(|g| vec![g.to_owned()])).send()
    };
    let error = create(&id, "subnet-0000000d", None).await.unwrap_err().into_service_error();
    assert!(error.is_subnet_not_found());
    let error = create(&id, "subnet-0000000b", Some("sg-0000000b")).await.unwrap_err().into_service_error();
    assert!(error.is_security_group_not_found());
    let made = create(&id, "subnet-0000000b", None).await.unwrap();
    assert_eq!((made.vpc_id(), made.availability_zone_id()), (Some("vpc-1"), Some("use1-az6")));
    let groups = efs.describe_mount_target_security_groups().mount_target_id(made.mount_target_id()).send().await;
    assert_eq!(groups.unwrap().security_groups(), ["sg-0000000a"]);
    // Another VPC is a conflict even in a zone that is free.
    let fs = "fs-0000000000000000a";
    let error = create(fs, "subnet-0000000c", None).await.unwrap_err().into_service_error();
    assert!(error.is_mount_target_conflict());
    // A /29 has three addresses left beside the five that AWS keeps; one is taken by the seed.
    for free in [true, true, false] {
        let id = efs.create_file_system().send().await.unwrap().file_system_id;
        match create(&id, "subnet-0000000a", None).await {
            Ok(made) => assert!(free && made.ip_address().unwrap().starts_with("127.99.1.")),
            Err(error) => assert!(!free && error.into_service_error().is_no_free_addresses_in_subnet()),
        }
    }
    let one_zone = efs.create_file_system().availability_zone_name("us-east-1b").send().await.unwrap_err();
    assert!(one_zone.into_service_error().is_unsupported_availability_zone());
}

#[tokio::test]
async fn a_wrong_seed_is_refused_with_its_place() {
    let unknown = seeded("colour: red").await.err().unwrap();
    assert!(unknown.contains("unknown field `colour`"), "{unknown}");
    let zone = seeded("subnets: [{id: subnet-0000000a, zone: us-east-1z, vpc: v}]").await.err().unwrap();
    assert!(zone.contains("subnet subnet-0000000a: there is no zone us-east-1z"), "{zone}");
    let policy = seeded("file_systems: [{policy: {}}]").await.err().unwrap();
    assert!(policy.contains("file system seed-0: InvalidPolicyException"), "{policy}");
    for (seed, words) in [
        ("buckets: [{name: A}]", "buckets[0].name: The specified bucket is not valid. (3 to 63 lower-case letters"),
        ("buckets: [{name: abc}, {name: abc}]", "buckets[1].name: Your previous request"),
        ("buckets: [{name: abc, account: '1'}]", "buckets[0].account: an account has 12 digits"),
        ("buckets: [{name: abc, versioning: yes-please}]", "buckets[0].versioning: unknown variant"),
        ("buckets: [{name: abc, objects: [{key: ''}]}]", "buckets[0].objects[0].key: Your key is too long"),
        ("buckets: [{name: abc, objects: [{key: k, base64: '!'}]}]", "buckets[0].objects[0].base64: not base64"),
        ("buckets: [{name: abc, objects: [{key: k, text: a, base64: AA==}]}]", "objects[0].text: an object has"),
        (
            "limits: {bucket_bytes: 2000}\nbuckets: [{name: abc, objects: [{key: k, text: aaaa}, {key: l}]}]",
            "objects[1].key",
        ),
        ("buckets: [{name: abc}]\ns3_file_systems: [{bucket: abd}]", "seed-0: BucketNotFound"),
        ("buckets: [{name: abc}]\ns3_file_systems: [{bucket: abc}]", "Enable versioning"),
    ] {
        let error = seeded(seed).await.err().unwrap_or_default();
        assert!(error.contains(words), "{seed}: {error}");
    }
    assert!(Seed::read(Path::new("/nonexistent")).is_err());
}
