use aws_config::imds;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_efs::config::{BehaviorVersion, Credentials, ProvideCredentials, Region};
use aws_sdk_efs::error::ProvideErrorMetadata;
use fake_efs::identities::{Credential, Role, Signatures};
use fake_efs::world::errors::ErrorName;
use fake_efs::{FakeEfs, Instance};

use crate::support::{client_as, client_with, fake};

const ROLE: &str = "arn:aws:iam::210987654321:role/efs";

/// A fake that checks signatures and knows one key.
async fn strict() -> Instance {
    let fake = FakeEfs::builder().signatures(Signatures::Checked).start().await.expect("free ports on loopback");
    fake.identities().add_key(Credential {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret: "secret".to_owned(),
        session_token: None,
        expires: None,
        account: "123456789012".to_owned(),
        principal: "arn:aws:iam::123456789012:user/ci".to_owned(),
    });
    fake
}

fn sts(fake: &Instance, secret: &str) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(fake.http_url())
        .credentials_provider(Credentials::new("AKIDEXAMPLE", secret, None, None, "test"))
        .build();
    aws_sdk_sts::Client::from_conf(config)
}

#[tokio::test]
async fn signatures_are_checked_on_demand() {
    let fake = strict().await;
    client_as(&fake, "AKIDEXAMPLE", "us-east-1", 1).create_file_system().creation_token("a/b c").send().await.unwrap();
    let listed = client_as(&fake, "AKIDEXAMPLE", "us-east-1", 1);
    // A query that needs encoding is signed as it is sent.
    listed.describe_file_systems().creation_token("a/b c").send().await.unwrap();
    let unknown = client_as(&fake, "AKIDNOBODY", "us-east-1", 1).describe_file_systems().send().await.unwrap_err();
    assert_eq!(unknown.into_service_error().code(), Some("UnrecognizedClientException"));
    let credentials = Credentials::new("AKIDEXAMPLE", "wrong", None, None, "test");
    let wrong = client_with(&fake, credentials, "us-east-1", 1).describe_file_systems().send().await.unwrap_err();
    assert_eq!(wrong.raw_response().map(|r| r.status().as_u16()), Some(403));
    assert_eq!(wrong.into_service_error().code(), Some("InvalidSignatureException"));
    fake.world().advance(jiff::SignedDuration::from_mins(16));
    let skewed = client_as(&fake, "AKIDEXAMPLE", "us-east-1", 1).describe_file_systems().send().await.unwrap_err();
    let told = skewed.raw_response().and_then(|answer| answer.headers().get("date")).unwrap().to_owned();
    assert!(skewed.into_service_error().message().unwrap().starts_with("Signature expired"));
    let told = jiff::fmt::rfc2822::parse(&told.replace("GMT", "+0000")).unwrap().timestamp();
    let off = told.duration_since(fake.world().now()).abs();
    assert!(
        off < jiff::SignedDuration::from_secs(30),
        "answers bear the time by which signatures are judged, not {told}"
    );
}

#[tokio::test]
async fn a_cross_account_role_is_assumed_with_its_external_id_and_works_in_its_account() {
    let fake = strict().await;
    fake.identities().add_role(Role {
        arn: ROLE.to_owned(),
        external_id: Some("xid".to_owned()),
        trusted: Vec::new(),
        web_identity: false,
    });
    let base = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(fake.http_url())
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .load()
        .await;
    let provider = |id: &str| AssumeRoleProvider::builder(ROLE).session_name("s1").external_id(id).configure(&base);
    assert!(provider("wrong").build().await.provide_credentials().await.is_err());
    let credentials = provider("xid").build().await.provide_credentials().await.unwrap();
    let client = client_with(&fake, credentials, "us-east-1", 1);
    let made = client.create_file_system().send().await.unwrap();
    assert_eq!(made.owner_id(), "210987654321");
    let call = fake.journal().query(&Default::default()).pop().unwrap();
    assert_eq!(call.principal, "arn:aws:sts::210987654321:assumed-role/efs/s1");
    // The other account sees nothing of it.
    let own = client_as(&fake, "AKIDEXAMPLE", "us-east-1", 1).describe_file_systems().send().await.unwrap();
    assert!(own.file_systems().is_empty());
    fake.world().advance(jiff::SignedDuration::from_hours(2));
    let expired = client.describe_file_systems().send().await.unwrap_err();
    assert_eq!(expired.into_service_error().code(), Some("ExpiredTokenException"));
}

#[tokio::test]
async fn sts_says_who_calls_and_refuses_a_wrong_secret() {
    let fake = strict().await;
    let who = sts(&fake, "secret").get_caller_identity().send().await.unwrap();
    assert_eq!((who.account(), who.arn()), (Some("123456789012"), Some("arn:aws:iam::123456789012:user/ci")));
    let wrong = sts(&fake, "wrong").get_caller_identity().send().await.unwrap_err();
    assert_eq!(wrong.into_service_error().code(), Some("SignatureDoesNotMatch"));
    let invalid = sts(&fake, "secret").assume_role().role_arn("nonsense").role_session_name("s").send().await;
    assert_eq!(invalid.unwrap_err().into_service_error().code(), Some("ValidationError"));
    let name = "a".repeat(65);
    let invalid = sts(&fake, "secret").assume_role().role_arn(ROLE).role_session_name(name).send().await;
    assert_eq!(invalid.unwrap_err().into_service_error().code(), Some("ValidationError"));
}

#[tokio::test]
async fn a_web_identity_is_let_in_while_its_token_is_valid() {
    use base64::Engine;
    let fake = fake(|_| {}).await;
    let token = |exp: i64| {
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let payload =
            format!(r#"{{"sub":"system:serviceaccount:kube-system:efs","aud":["sts.amazonaws.com"],"exp":{exp}}}"#);
        format!("{}.{}.{}", encode(r#"{"alg":"RS256"}"#), encode(&payload), encode("signature"))
    };
    let assume = |token: String| {
        let call = sts(&fake, "secret").assume_role_with_web_identity().role_arn(ROLE).role_session_name("s1");
        call.web_identity_token(token).send()
    };
    let now = fake.world().now().as_second();
    let granted = assume(token(now + 600)).await.unwrap();
    assert_eq!(granted.subject_from_web_identity_token(), Some("system:serviceaccount:kube-system:efs"));
    assert_eq!(granted.audience(), Some("sts.amazonaws.com"));
    let expired = assume(token(now - 1)).await.unwrap_err();
    assert!(expired.into_service_error().is_expired_token_exception());
    let shown = fake.journal().query(&Default::default());
    assert!(shown.iter().all(|call| !call.arguments.to_string().contains("eyJ")), "tokens are secrets");
}

#[tokio::test]
async fn the_metadata_service_speaks_version_2_only() {
    let fake = fake(|_| {}).await;
    let imds = imds::Client::builder().endpoint(fake.http_url()).unwrap().build();
    let zone = imds.get("/latest/meta-data/placement/availability-zone").await.unwrap();
    assert_eq!(zone.as_ref(), "us-east-1a");
    let document = imds.get("/latest/dynamic/instance-identity/document").await.unwrap();
    let document: serde_json::Value = serde_json::from_str(document.as_ref()).unwrap();
    assert_eq!((&document["region"], &document["accountId"]), (&"us-east-1".into(), &"123456789012".into()));
    let role = imds.get("/latest/meta-data/iam/security-credentials/").await.unwrap();
    let path = format!("/latest/meta-data/iam/security-credentials/{}", role.as_ref());
    let credentials: serde_json::Value = serde_json::from_str(imds.get(path).await.unwrap().as_ref()).unwrap();
    let key = credentials["AccessKeyId"].as_str().unwrap();
    assert_eq!(
        fake.identities().find(key).unwrap().principal,
        "arn:aws:sts::123456789012:assumed-role/fake-node/i-0fa4e0ef500000001"
    );
    assert!(imds.get("/latest/meta-data/nothing").await.is_err());
    let bare = crate::support::get(&fake, "/latest/meta-data/placement/region", &[]).await;
    assert_eq!(bare.0, 401);
}

#[tokio::test]
async fn eks_pod_identity_wants_a_token() {
    let fake = fake(|_| {}).await;
    assert_eq!(crate::support::get(&fake, "/v1/credentials", &[]).await.0, 401);
    let (status, body) = crate::support::get(&fake, "/v1/credentials", &[("authorization", "jwt")]).await;
    assert_eq!((status, body["AccountId"].as_str()), (200, Some("123456789012")));
    fake.faults()
        .add(fake_efs::faults::Rule::on(
            "GetCredentials",
            fake_efs::faults::Effect::error(ErrorName::InternalServerError),
        ))
        .unwrap();
    assert_eq!(crate::support::get(&fake, "/v1/credentials", &[("authorization", "jwt")]).await.0, 500);
}

/// Clients of an administrator, and of a role that has a policy.
async fn with_policy(fake: &Instance, policy: &serde_json::Value) -> (aws_sdk_efs::Client, aws_sdk_efs::Client) {
    let role = "arn:aws:iam::123456789012:role/csi";
    fake.identities().add_role(Role {
        arn: role.to_owned(),
        external_id: None,
        trusted: Vec::new(),
        web_identity: false,
    });
    let body = serde_json::json!({ "principal": role, "policy": policy });
    assert_eq!(crate::support::send(fake, "POST", "/_fake/policies", &body).await.0, 200);
    let given = sts(fake, "secret").assume_role().role_arn(role).role_session_name("s1").send().await;
    let given = given.ok().and_then(|given| given.credentials).expect("the key may assume any role of its account");
    let token = Some(given.session_token);
    let credentials = Credentials::new(given.access_key_id, given.secret_access_key, token, None, "test");
    (client_as(fake, "AKIDEXAMPLE", "us-east-1", 1), client_with(fake, credentials, "us-east-1", 1))
}

/// AWS's managed policy for the driver, AmazonEFSCSIDriverPolicy.
#[tokio::test]
async fn the_managed_policy_of_the_csi_driver_is_understood() {
    const TAG: &str = "efs.csi.aws.com/cluster";
    let tagged = serde_json::json!({"aws:RequestTag/efs.csi.aws.com/cluster": "false"});
    let only = serde_json::json!({ "aws:TagKeys": TAG });
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "AllowDescribe", "Effect": "Allow", "Resource": "*", "Action": [
            "elasticfilesystem:DescribeAccessPoints", "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeMountTargets", "ec2:DescribeAvailabilityZones"]},
        {"Sid": "AllowCreateAccessPoint", "Effect": "Allow", "Action": ["elasticfilesystem:CreateAccessPoint"],
         "Resource": "*", "Condition": {"Null": tagged, "ForAllValues:StringEquals": only}},
        {"Sid": "AllowTagNewAccessPoints", "Effect": "Allow", "Action": ["elasticfilesystem:TagResource"], "Resource": "*",
         "Condition": {"StringEquals": {"elasticfilesystem:CreateAction": "CreateAccessPoint"}, "Null": tagged,
                       "ForAllValues:StringEquals": only}},
        {"Sid": "AllowDeleteAccessPoint", "Effect": "Allow", "Action": "elasticfilesystem:DeleteAccessPoint",
         "Resource": "*", "Condition": {"Null": {"aws:ResourceTag/efs.csi.aws.com/cluster": "false"}}},
    ]});
    let fake = strict().await;
    let (admin, csi) = with_policy(&fake, &policy).await;
    let fs = crate::support::file_system(&admin).await;
    let tag = |key: &str| aws_sdk_efs::types::Tag::builder().key(key).value("true").build().unwrap();
    let create = |tags: &[&str]| {
        let tags = tags.iter().map(|key| tag(key)).collect();
        csi.create_access_point().file_system_id(&fs).set_tags(Some(tags)).send()
    };
    let own = create(&[TAG]).await.unwrap().access_point_id.unwrap();
    for denied in [&[][..], &["other"], &[TAG, "other"]] {
        let denied = create(denied).await.unwrap_err().into_service_error();
        assert_eq!(denied.code(), Some("AccessDeniedException"));
    }
    csi.describe_access_points().file_system_id(&fs).send().await.unwrap();
    csi.tag_resource().resource_id(&own).tags(tag(TAG)).send().await.unwrap_err();
    csi.delete_access_point().access_point_id(&own).send().await.unwrap();
    let other = admin.create_access_point().file_system_id(&fs).send().await.unwrap().access_point_id.unwrap();
    csi.delete_access_point().access_point_id(other).send().await.unwrap_err();
}

#[tokio::test]
async fn a_role_may_do_what_its_policy_allows() {
    let fake = strict().await;
    let policy = serde_json::json!({"Statement": [
        {"Effect": "Allow", "Action": "elasticfilesystem:Describe*", "Resource": "*"},
        {"Effect": "Allow", "Action": "elasticfilesystem:CreateAccessPoint", "Resource": "arn:aws:elasticfilesystem:*:file-system/*",
         "Condition": {"StringEquals": {"aws:RequestTag/owner": "csi"}}},
        {"Effect": "Allow", "Action": "elasticfilesystem:DeleteAccessPoint", "Resource": "*",
         "Condition": {"StringEquals": {"aws:ResourceTag/owner": "csi"}}},
    ]});
    let (admin, csi) = with_policy(&fake, &policy).await;
    let fs = crate::support::file_system(&admin).await;
    csi.describe_file_systems().send().await.unwrap();
    let denied = csi.delete_file_system().file_system_id(&fs).send().await.unwrap_err();
    assert_eq!(denied.raw_response().map(|r| r.status().as_u16()), Some(403));
    let denied = denied.into_service_error();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    assert_eq!(
        denied.message(),
        Some(
            "User: arn:aws:sts::123456789012:assumed-role/csi/s1 is not authorized to perform: elasticfilesystem:DeleteFileSystem on the specified resource"
        )
    );
    let tag = |value: &str| aws_sdk_efs::types::Tag::builder().key("Owner").value(value).build().unwrap();
    let create = |tags| csi.create_access_point().file_system_id(&fs).set_tags(tags).send();
    let own = create(Some(vec![tag("csi")])).await.unwrap().access_point_id.unwrap();
    assert!(create(Some(vec![tag("me")])).await.is_err() && create(None).await.is_err());
    let other = admin.create_access_point().file_system_id(&fs).send().await.unwrap().access_point_id.unwrap();
    csi.delete_access_point().access_point_id(own).send().await.unwrap();
    csi.delete_access_point().access_point_id(other).send().await.unwrap_err();
}
