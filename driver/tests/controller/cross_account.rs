//! File systems of another account: the role is assumed once, and nodes learn where to mount.

use std::collections::HashMap;

use tonic::Code;

use crate::support::{Bed, assert_refused, request};

const ROLE: &str = "arn:aws:iam::123456789012:role/efs-provisioner";

fn secrets(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[tokio::test]
async fn the_role_is_assumed_once_and_the_context_names_the_mount_targets() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let target =
        bed.aws.create_mount_target().file_system_id(&fs).subnet_id("subnet-0123456789abcdef0").send().await.unwrap();
    let (zone, id, ip) = (
        target.availability_zone_name().unwrap(),
        target.availability_zone_id().unwrap(),
        target.ip_address().unwrap().to_owned(),
    );
    for n in 0..3 {
        let mut asked = request(&format!("pvc-{n}"), &fs, &[]);
        asked.secrets = secrets(&[("awsRoleArn", ROLE), ("externalId", "x")]);
        let volume = bed.create(asked).await.unwrap();
        let map: HashMap<String, String> = serde_json::from_str(&volume.volume_context["mounttargetipmap"]).unwrap();
        assert_eq!(map, secrets(&[(zone, &ip), (id, &ip)]));
    }
    // UB-12: the Go driver assumes the role anew for every call.
    assert_eq!((bed.calls("AssumeRole"), bed.calls("DescribeMountTargets")), (1, 1));

    let mut asked = request("pvc-az", &fs, &[("az", zone)]);
    asked.secrets = secrets(&[("awsRoleArn", ROLE)]);
    assert_eq!(bed.create(asked).await.unwrap().volume_context, secrets(&[("mounttargetip", &ip)]));

    let mut asked = request("pvc-dns", &fs, &[]);
    asked.secrets = secrets(&[("awsRoleArn", ROLE), ("crossaccount", "true")]);
    assert_eq!(bed.create(asked).await.unwrap().volume_context, secrets(&[("crossaccount", "true")]));
}

#[tokio::test]
async fn a_file_system_without_mount_targets_is_refused_before_pods_hang() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let mut asked = request("pvc-1", &fs, &[]);
    asked.secrets = secrets(&[("awsRoleArn", ROLE)]);
    assert_refused(bed.create(asked).await, Code::FailedPrecondition, &[&fs, "no mount target"]);
}

/// UB-13: STS says AccessDenied where EFS says AccessDeniedException; the Go driver knows only the latter.
#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_permission_denied() {
    use fake_efs::faults::{Effect, Rule};
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let denied =
        Effect::Error { name: "AccessDenied".to_owned(), status: Some(403), message: Some("not you".to_owned()) };
    bed.fake.faults().add(Rule::on("AssumeRole", denied)).unwrap();
    let mut asked = request("pvc-1", &fs, &[]);
    asked.secrets = secrets(&[("awsRoleArn", ROLE)]);
    assert_refused(bed.create(asked).await, Code::PermissionDenied, &["sts:AssumeRole", "not you"]);
}

#[tokio::test]
async fn bad_secrets_are_refused_without_telling_them() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let mut asked = request("pvc-1", &fs, &[]);
    asked.secrets = secrets(&[("awsRoleArn", ROLE), ("crossaccount", "hush")]);
    let refused = bed.create(asked).await;
    assert!(!refused.as_ref().unwrap_err().message().contains("hush"));
    assert_refused(refused, Code::InvalidArgument, &["crossaccount", "boolean"]);
}

/// UB-9: the Go driver forgets `az` when it finds the access point of an earlier claim.
#[tokio::test]
async fn the_zone_counts_for_a_reused_access_point_too() {
    let bed = Bed::new().await;
    let fs = bed.mountable_file_system().await;
    let targets = bed.aws.describe_mount_targets().file_system_id(&fs).send().await.unwrap();
    let target = &targets.mount_targets()[0];
    let (zone, ip) = (target.availability_zone_name().unwrap(), target.ip_address().unwrap());
    let claim = [("reuseAccessPoint", "true"), ("csi.storage.k8s.io/pvc/name", "data"), ("az", zone)];
    let mut handles = Vec::new();
    for name in ["pvc-1", "pvc-2"] {
        let pattern = [("subPathPattern", "data"), ("ensureUniqueDirectory", "false")];
        let mut asked = request(name, &fs, &[claim.as_slice(), &pattern].concat());
        asked.secrets = secrets(&[("awsRoleArn", ROLE)]);
        let volume = bed.create(asked).await.unwrap();
        assert_eq!(volume.volume_context, secrets(&[("mounttargetip", ip)]), "{name}");
        handles.push(volume.volume_id);
    }
    assert_eq!(handles[0], handles[1]);
}
