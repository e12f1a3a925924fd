use std::net::SocketAddr;

use aws_sdk_efs::types::{CreationInfo, PosixUser, RootDirectory};
use fake_efs::Instance;
use fake_efs::admission::{Admission, Caller, CertificateClaims, IamClaim, Refusal};
use serde_json::json;

use crate::support::{client, fake, file_system};

/// A TLS client that names a file system and perhaps an access point.
fn claims(file_system: &str, access_point: Option<&str>) -> CertificateClaims {
    CertificateClaims {
        file_system_id: file_system.to_owned(),
        access_point_id: access_point.map(str::to_owned),
        iam: None,
        client_info: Some(("k8s".to_owned(), "1".to_owned())),
        public_key_hash: "00".repeat(20),
    }
}

fn connect(fake: &Instance, certificate: Option<CertificateClaims>) -> Result<Admission, Refusal> {
    connect_to(fake, fake.nfs_addr(), certificate)
}

fn connect_to(
    fake: &Instance,
    local: SocketAddr,
    certificate: Option<CertificateClaims>,
) -> Result<Admission, Refusal> {
    fake.gate().admit(&Caller { local, remote: SocketAddr::from(([127, 0, 0, 1], 40_000)), certificate })
}

#[tokio::test]
async fn an_access_point_gives_root_user_and_creation_info() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let info = CreationInfo::builder().owner_uid(7).owner_gid(8).permissions("0750").build().unwrap();
    let made = client
        .create_access_point()
        .file_system_id(&fs)
        .posix_user(PosixUser::builder().uid(1).gid(2).secondary_gids(3).build().unwrap())
        .root_directory(RootDirectory::builder().path("/a").creation_info(info).build())
        .send()
        .await
        .unwrap();
    let id = made.access_point_id().unwrap();
    let admission = connect(&fake, Some(claims(&fs, Some(id)))).unwrap();
    assert_eq!((admission.root_path.as_str(), admission.principal.as_str()), ("/a", "anonymous"));
    let (user, info) = (admission.posix_user.unwrap(), admission.creation_info.unwrap());
    assert_eq!((user.uid, user.gid, user.secondary_gids), (1, 2, vec![3]));
    assert_eq!((info.owner_uid, info.owner_gid, info.permissions), (7, 8, 0o750));
    assert!(admission.rights.write && admission.rights.root);
    let noted = &fake.journal().query(&Default::default()).pop().unwrap();
    assert_eq!((noted.operation.as_str(), &noted.arguments["AccessPointId"]), ("Connect", &json!(id)));

    client.delete_access_point().access_point_id(id).send().await.unwrap();
    assert!(matches!(connect(&fake, Some(claims(&fs, Some(id)))), Err(Refusal::AccessPoint(..))));
}

#[tokio::test]
async fn a_plain_client_of_the_main_address_needs_a_lone_file_system() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    assert!(matches!(connect(&fake, None), Err(Refusal::NoMountTarget(_))));
    let one = file_system(&client).await;
    client.describe_file_systems().send().await.unwrap();
    assert_eq!(connect(&fake, None).unwrap().file_system_id, one);
    let two = file_system(&client).await;
    assert!(matches!(connect(&fake, None), Err(Refusal::Ambiguous(_))));
    assert_eq!(connect(&fake, Some(claims(&two, None))).unwrap().file_system_id, two);
    assert!(matches!(connect(&fake, Some(claims("fs-01234567", None))), Err(Refusal::FileSystem(_))));
}

#[tokio::test]
async fn deleting_the_mount_target_revokes_its_connections_and_refuses_new_ones() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let target = client.create_mount_target().file_system_id(&fs).subnet_id("subnet-01234560").send().await.unwrap();
    let admission = connect(&fake, None).unwrap();
    assert_eq!(admission.mount_target_id.as_deref(), Some(target.mount_target_id()));
    assert!(!admission.revoked.is_cancelled());
    client.delete_mount_target().mount_target_id(target.mount_target_id()).send().await.unwrap();
    assert!(admission.revoked.is_cancelled());
    assert!(matches!(connect(&fake, Some(claims(&fs, None))), Err(Refusal::NoMountTarget(_))));
}

#[tokio::test]
async fn a_file_system_policy_decides_about_mount_write_and_root() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let put = |statement: serde_json::Value| {
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        client.put_file_system_policy().file_system_id(&fs).policy(policy).send()
    };
    put(json!({"Effect": "Allow", "Principal": "*", "Action": "elasticfilesystem:ClientMount"})).await.unwrap();
    let rights = connect(&fake, None).unwrap().rights;
    assert!(!rights.write && !rights.root);
    put(json!({"Effect": "Allow", "Principal": "*", "Action": "elasticfilesystem:*",
        "Condition": {"Bool": {"aws:SecureTransport": "true"}}}))
    .await
    .unwrap();
    assert!(matches!(connect(&fake, None), Err(Refusal::Policy { .. })));
    assert!(connect(&fake, Some(claims(&fs, None))).unwrap().rights.write);
    client.delete_file_system_policy().file_system_id(&fs).send().await.unwrap();
    assert!(connect(&fake, None).unwrap().rights.root);
    let locked_out = put(json!({"Effect": "Deny", "Principal": "*", "Action": "*"})).await.unwrap_err();
    assert!(locked_out.into_service_error().is_invalid_policy_exception());
}

#[tokio::test]
async fn a_signature_counts_for_a_day_and_needs_its_own_session_token() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    client.describe_file_systems().send().await.unwrap();
    let sign = |key: &str, token: Option<&str>| {
        let iam = IamClaim {
            access_key_id: key.to_owned(),
            signature: "0".repeat(64),
            signed_at: jiff::Timestamp::now(),
            session_token: token.map(str::to_owned),
        };
        Some(CertificateClaims { iam: Some(iam), ..claims(&fs, None) })
    };
    let unknown = connect(&fake, sign("AKIDEXAMPLE", None)).unwrap();
    assert_eq!(unknown.principal, "arn:aws:iam::123456789012:user/AKIDEXAMPLE");
    let now = fake.world().now();
    let day = jiff::SignedDuration::from_hours(1);
    let known = fake.identities().new_session("123456789012", "arn:aws:sts::123456789012:assumed-role/r/s", now, day);
    let wrong_token = connect(&fake, sign(&known.access_key_id, Some("other")));
    assert!(matches!(wrong_token, Err(Refusal::Signature(why)) if why.contains("session token")));
    let wrong_signature = connect(&fake, sign(&known.access_key_id, known.session_token.as_deref()));
    assert!(matches!(wrong_signature, Err(Refusal::Signature(why)) if why.contains("does not match")));
    fake.world().advance(jiff::SignedDuration::from_hours(25));
    let old = connect(&fake, sign("AKIDEXAMPLE", None));
    assert!(matches!(old, Err(Refusal::Signature(why)) if why.contains("24 hours")));
}

#[tokio::test]
async fn a_replication_destination_is_read_only_until_the_replication_is_deleted() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let source = file_system(&client).await;
    let to = aws_sdk_efs::types::DestinationToCreate::builder().region("us-east-1").build();
    let made = client.create_replication_configuration().source_file_system_id(&source).destinations(to).send().await;
    let destination = made.unwrap().destinations()[0].file_system_id().to_owned();
    client.describe_file_systems().send().await.unwrap();
    assert!(!connect(&fake, Some(claims(&destination, None))).unwrap().rights.write);
    client.delete_replication_configuration().source_file_system_id(&source).send().await.unwrap();
    assert!(connect(&fake, Some(claims(&destination, None))).unwrap().rights.write);
}
