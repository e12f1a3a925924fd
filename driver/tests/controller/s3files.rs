//! Volumes of S3 Files: access points as for EFS, over another API and within AWS's managed policy for it.

use aws_credential_types::Credentials;
use aws_sdk_s3files::Client;
use aws_sdk_s3files::types::{PosixUser, Tag};
use csi_proto::csi;
use csi_proto::csi::volume_capability::access_mode::Mode;
use fake_efs::faults::{Effect, Rule};
use fake_efs::world::scope::{Requester, Service};
use serde_json::json;
use tonic::Code;

use crate::support::{Bed, GIB, assert_refused, capability, claimant, config, request};

const BUCKET: &str = "arn:aws:s3:::a-bucket";
const ROLE: &str = "arn:aws:iam::123456789012:role/s3files";
const SUBNET: &str = "subnet-0123456789abcdef0";
/// Whom the controller's keys belong to.
const CONTROLLER: &str = "arn:aws:iam::123456789012:user/AKIAEXAMPLE";

/// A client that may do everything.
fn admin(bed: &Bed) -> Client {
    of_account(bed, "123456789012")
}

fn of_account(bed: &Bed, account: &str) -> Client {
    let key = format!("AKIAADMIN{account}");
    bed.fake.identities().add_key(fake_efs::identities::Credential {
        access_key_id: key.clone(),
        secret: "secret".to_owned(),
        session_token: None,
        expires: None,
        account: account.to_owned(),
        principal: format!("arn:aws:iam::{account}:user/admin"),
    });
    let config = aws_sdk_s3files::Config::builder()
        .behavior_version(aws_sdk_s3files::config::BehaviorVersion::latest())
        .region(aws_sdk_s3files::config::Region::new("us-east-1"))
        .endpoint_url(bed.fake.http_url())
        .credentials_provider(Credentials::new(key, "secret", None, None, "test"));
    Client::from_conf(config.build())
}

async fn file_system(s3: &Client) -> String {
    let made = s3.create_file_system().bucket(BUCKET).role_arn(ROLE).send().await.unwrap();
    let id = made.file_system_id.unwrap();
    s3.create_mount_target().file_system_id(&id).subnet_id(SUBNET).send().await.unwrap();
    id
}

fn asked(name: &str, fs: &str, parameters: &[(&str, &str)]) -> csi::CreateVolumeRequest {
    let mode = [("provisioningMode", "s3files-ap")];
    let all: Vec<_> = mode.iter().chain(parameters).copied().collect();
    request(name, fs, &all)
}

async fn points(s3: &Client, fs: &str) -> Vec<aws_sdk_s3files::types::ListAccessPointsDescription> {
    s3.list_access_points().file_system_id(fs).send().await.unwrap().access_points
}

/// Attaches AWS's managed policy AmazonS3FilesCSIDriverPolicy to the controller.
fn restrict(bed: &Bed) {
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
    bed.fake.identities().attach_policy(CONTROLLER, &policy.to_string()).unwrap();
}

#[tokio::test]
async fn a_volume_is_an_access_point_of_s3_files_made_with_one_call() {
    let bed = Bed::new().await;
    let s3 = admin(&bed);
    let fs = file_system(&s3).await;
    let volume = bed.create(asked("pvc-1", &fs, &[("basePath", "/base")])).await.unwrap();
    let point = points(&s3, &fs).await.pop().unwrap();
    assert_eq!(volume.volume_id, format!("s3files:{fs}::{}", point.access_point_id()));
    assert!(volume.volume_context.is_empty() && volume.accessible_topology.is_empty());
    let user = point.posix_user().unwrap();
    assert!(user.uid() == user.gid() && (50_000..=60_000).contains(&user.uid()), "{user:?}");
    let root = point.root_directory().unwrap();
    assert_eq!((root.path(), root.creation_permissions().unwrap().permissions()), (Some("/base/pvc-1"), "700"));
    let whole = s3.get_access_point().access_point_id(point.access_point_id()).send().await.unwrap();
    let cluster = Tag::builder().key("efs.csi.aws.com/cluster").value("true").build().unwrap();
    assert!(whole.tags().contains(&cluster), "{:?}", whole.tags());
    bed.create(asked("pvc-2", &fs, &[])).await.unwrap();
    assert_eq!(bed.calls("CreateAccessPoint"), 2);
    // EFS has nothing to do with it.
    assert_eq!((bed.calls("DescribeAccessPoints"), bed.calls("DescribeFileSystems")), (0, 0));
    bed.delete(&volume.volume_id).await.unwrap();
    bed.delete(&volume.volume_id).await.unwrap();
    assert_eq!(points(&s3, &fs).await.len(), 1);
}

/// UB-20: a call that is repeated after its answer was lost finds its access point; with the Go driver the claim is stuck for ever.
#[tokio::test]
async fn a_repeated_creation_is_resolved_by_the_conflicts_resource_id() {
    for conflicts in [false, true] {
        let bed = Bed::new().await;
        bed.fake.world().set_limits(|limits| limits.repeats_conflict = conflicts);
        let s3 = admin(&bed);
        let fs = file_system(&s3).await;
        let first = bed.create(asked("pvc-1", &fs, &[])).await.unwrap();
        assert_eq!(bed.create(asked("pvc-1", &fs, &[])).await.unwrap().volume_id, first.volume_id);
        let (mut other, _served) = bed.another_controller().await;
        let again = other.create_volume(asked("pvc-1", &fs, &[])).await.unwrap().into_inner().volume.unwrap();
        assert_eq!(again.volume_id, first.volume_id, "a controller that knows nothing");
        assert_eq!(points(&s3, &fs).await.len(), 1);
        let different = bed.create(asked("pvc-1", &fs, &[("basePath", "/other")])).await;
        assert_refused(different, Code::AlreadyExists, &["pvc-1", "root directory"]);
        // Fixed ids make the request the same to the byte.
        let fixed = [("uid", "7"), ("gid", "8")];
        let first = bed.create(asked("pvc-2", &fs, &fixed)).await.unwrap();
        let again = other.create_volume(asked("pvc-2", &fs, &fixed)).await.unwrap().into_inner().volume.unwrap();
        assert_eq!(again.volume_id, first.volume_id);
    }
}

#[tokio::test]
async fn the_managed_policy_is_enough_for_a_volumes_life() {
    let bed = Bed::new().await;
    let s3 = admin(&bed);
    let fs = file_system(&s3).await;
    restrict(&bed);
    let id = bed.create(asked("pvc-1", &fs, &[])).await.unwrap().volume_id;
    assert_eq!(bed.create(asked("pvc-1", &fs, &[])).await.unwrap().volume_id, id);
    let (mut other, _served) = bed.another_controller().await;
    assert_eq!(other.create_volume(asked("pvc-1", &fs, &[])).await.unwrap().into_inner().volume.unwrap().volume_id, id);
    let validate = |id: &str| csi::ValidateVolumeCapabilitiesRequest {
        volume_id: id.to_owned(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter)],
        ..Default::default()
    };
    for _ in 0..3 {
        let confirmed = other.validate_volume_capabilities(validate(&id)).await.unwrap().into_inner().confirmed;
        assert!(confirmed.is_some());
    }
    // Learnt from the first refusal.
    let refused = |operation: &str| bed.calls(operation);
    assert_eq!((refused("GetAccessPoint"), refused("GetFileSystem")), (2, 0), "once by each controller");
    let range = Some(csi::CapacityRange { required_bytes: 5 * GIB, limit_bytes: 0 });
    let expand =
        csi::ControllerExpandVolumeRequest { volume_id: id.clone(), capacity_range: range, ..Default::default() };
    assert_eq!(other.controller_expand_volume(expand).await.unwrap().into_inner().capacity_bytes, 5 * GIB);
    let missing = validate(&format!("s3files:{fs}::fsap-0123456789abcdef0"));
    assert_refused(other.validate_volume_capabilities(missing).await, Code::NotFound, &["fsap-0123456789abcdef0"]);
    let delete = csi::DeleteVolumeRequest { volume_id: id, ..Default::default() };
    other.delete_volume(delete).await.unwrap();
    assert!(points(&s3, &fs).await.is_empty());
}

/// UB-43: the Go driver looks through all file systems of the account to see whether one is there.
#[tokio::test]
async fn one_file_system_is_asked_for_and_not_all_of_them() {
    let bed = Bed::new().await;
    let s3 = admin(&bed);
    for _ in 0..101 {
        s3.create_file_system().bucket(BUCKET).role_arn(ROLE).send().await.unwrap();
    }
    let fs = file_system(&s3).await;
    let validate = |id: &str| csi::ValidateVolumeCapabilitiesRequest {
        volume_id: id.to_owned(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter)],
        ..Default::default()
    };
    let mut csi = bed.csi.clone();
    for handle in [format!("s3files:{fs}"), format!("s3files:{fs}:/a/b")] {
        let answer = csi.validate_volume_capabilities(validate(&handle)).await.unwrap().into_inner();
        assert!(answer.confirmed.is_some(), "{}", answer.message);
    }
    assert_eq!((bed.calls("GetFileSystem"), bed.calls("ListFileSystems")), (1, 0));
    let missing = csi.validate_volume_capabilities(validate("s3files:fs-0123456789abcdef0")).await;
    assert_refused(missing, Code::NotFound, &["fs-0123456789abcdef0"]);
    // Where only the lists are allowed, the second page has it.
    restrict(&bed);
    let (mut other, _served) = bed.another_controller().await;
    let answer = other.validate_volume_capabilities(validate(&format!("s3files:{fs}"))).await.unwrap();
    assert!(answer.into_inner().confirmed.is_some());
    assert_eq!(bed.calls("ListFileSystems"), 2);
}

/// UB-14: the Go driver ignores the role of another account.
#[tokio::test]
async fn the_role_of_another_account_is_assumed() {
    let bed = Bed::new().await;
    let theirs = of_account(&bed, "210987654321");
    let fs = file_system(&theirs).await;
    assert_refused(bed.create(asked("pvc-1", &fs, &[])).await, Code::InvalidArgument, &["FileSystemNotFound"]);
    let mut with_role = asked("pvc-1", &fs, &[]);
    with_role.secrets.insert("awsRoleArn".to_owned(), "arn:aws:iam::210987654321:role/provisioner".to_owned());
    let volume = bed.create(with_role.clone()).await.unwrap();
    assert!(volume.volume_context.contains_key("mounttargetipmap"), "{:?}", volume.volume_context);
    assert_eq!(points(&theirs, &fs).await.len(), 1);
    // A call without secrets uses what others brought along.
    bed.delete(&volume.volume_id).await.unwrap();
    assert!(points(&theirs, &fs).await.is_empty());
    with_role.secrets.insert("crossaccount".to_owned(), "true".to_owned());
    assert_refused(bed.create(with_role).await, Code::InvalidArgument, &["crossaccount", "EFS only"]);
}

/// Issue 1913 of the Go driver: a volume whose directory is to be deleted is never deleted where pods don't reach the metadata
/// service. Here nothing is mounted and nobody asked for a zone, and AWS's managed policy is enough.
#[tokio::test]
async fn a_root_directory_is_deleted_without_a_mount_or_a_metadata_service() {
    for managed_policy in [false, true] {
        let mut settings = config();
        settings.delete_root_directory = true;
        let bed = Bed::with_files(settings).await;
        let s3 = admin(&bed);
        let fs = file_system(&s3).await;
        if managed_policy {
            restrict(&bed);
            let mounting = json!([
                "s3files:ListMountTargets",
                "s3files:ClientMount",
                "s3files:ClientWrite",
                "s3files:ClientRootAccess",
                "s3files:ListAccessPoints",
                "s3files:ListFileSystems",
                "s3files:CreateAccessPoint",
                "s3files:DeleteAccessPoint"
            ]);
            let more = json!({"Statement": [{"Effect": "Allow", "Action": mounting, "Resource": "*"},
                {"Effect": "Allow", "Action": "s3files:TagResource", "Resource": "*",
                 "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["efs.csi.aws.com/cluster"]}}}]});
            bed.fake.identities().attach_policy(CONTROLLER, &more.to_string()).unwrap();
        }
        let kept = bed.create(asked("pvc-2", &fs, &[])).await.unwrap();
        let volume = bed.create(asked("pvc-1", &fs, &[])).await.unwrap();
        let store = bed.fake.world().files(&fs.parse_id()).unwrap();
        let directory = |name: &[u8]| store.lookup(store.root(), name);
        for name in ["pvc-1", "pvc-2"] {
            let node = fake_efs::store::NewNode {
                body: fake_efs::store::NewBody::Directory,
                mode: 0o700,
                uid: 60_000,
                gid: 60_000,
            };
            let made = store.create(store.root(), name.as_bytes(), &node).unwrap().0.id;
            let file = fake_efs::store::NewBody::Regular { verifier: None };
            store.create(made, b"file", &fake_efs::store::NewNode { body: file, ..node }).unwrap();
        }
        let volumes = vec![claimant("pvc-1", &volume.volume_id, true), claimant("pvc-2", &kept.volume_id, false)];
        *bed.cluster.claimants.lock().unwrap() = Some(volumes);
        bed.delete(&volume.volume_id).await.unwrap();
        assert!(directory(b"pvc-1").is_err(), "managed policy: {managed_policy}");
        assert!(directory(b"pvc-2").is_ok());
        assert_eq!(points(&s3, &fs).await.len(), 1);
        let metadata = bed.fake.journal().query(&Default::default());
        assert!(!metadata.iter().any(|entry| entry.service == "imds"));
    }
}

trait ParseId {
    fn parse_id(&self) -> fake_efs::world::ids::FileSystemId;
}

impl ParseId for String {
    fn parse_id(&self) -> fake_efs::world::ids::FileSystemId {
        fake_efs::world::ids::FileSystemId::parse(self).unwrap()
    }
}

#[tokio::test]
async fn what_aws_refuses_has_its_code_and_its_words() {
    let bed = Bed::new().await;
    let s3 = admin(&bed);
    let fs = file_system(&s3).await;
    bed.fake.world().set_limits(|limits| limits.access_points = 1);
    bed.create(asked("pvc-1", &fs, &[])).await.unwrap();
    assert_refused(bed.create(asked("pvc-2", &fs, &[])).await, Code::ResourceExhausted, &["maximum number"]);
    let broken = file_system(&s3).await;
    let why = "The bucket a-bucket does not exist.";
    assert!(bed.fake.world().misconfigure(&broken.parse_id(), Some(why.to_owned())));
    assert_refused(bed.create(asked("pvc-3", &broken, &[])).await, Code::Unavailable, &["misconfigured", why]);
    assert!(bed.fake.world().misconfigure(&broken.parse_id(), None));
    bed.create(asked("pvc-3", &broken, &[])).await.unwrap();
    let mut rule = Rule::on(
        "CreateAccessPoint",
        Effect::Error { name: "AccessDeniedException".to_owned(), status: Some(403), message: None },
    );
    rule.service = Some("s3files".to_owned());
    bed.fake.faults().add(rule).unwrap();
    let denied = bed.create(asked("pvc-4", &broken, &[])).await;
    assert_refused(denied, Code::PermissionDenied, &["must allow s3files:CreateAccessPoint"]);
}

#[tokio::test]
async fn what_s3_files_cannot_do_is_refused_before_aws_is_asked() {
    let bed = Bed::new().await;
    let fs = file_system(&admin(&bed)).await;
    let five = asked("pvc-1", &fs, &[("basePath", "/1/2/3/4")]);
    assert_refused(bed.create(five).await, Code::InvalidArgument, &["/1/2/3/4/pvc-1", "at most 4 components"]);
    bed.create(asked("pvc-1", &fs, &[("basePath", "/1/2/3")])).await.unwrap();
    let zoned = asked("pvc-2", &fs, &[("az", "use1-az1")]);
    assert_refused(bed.create(zoned).await, Code::InvalidArgument, &["az", "EFS only"]);
    assert_eq!(bed.calls("CreateAccessPoint"), 1);
    // An empty list of tags is not what AWS takes.
    bed.create(asked("pvc-3", &fs, &[("enableTagging", "false")])).await.unwrap();
    // A file system of EFS is none of S3 Files, and the other way round.
    let share = bed.file_system(None).await;
    assert_refused(bed.create(asked("pvc-4", &share, &[])).await, Code::InvalidArgument, &["FileSystemNotFound"]);
    assert_refused(bed.create(request("pvc-4", &fs, &[])).await, Code::InvalidArgument, &["FileSystemNotFound"]);
}

#[tokio::test]
async fn volumes_are_listed_got_tagged_and_counted() {
    let bed = Bed::new().await;
    let s3 = admin(&bed);
    let fs = file_system(&s3).await;
    let share = bed.file_system(None).await;
    let mut ids = vec![bed.create(request("pvc-0", &share, &[])).await.unwrap().volume_id];
    for n in 1..4 {
        ids.push(bed.create(asked(&format!("pvc-{n}"), &fs, &[])).await.unwrap().volume_id);
    }
    let mut csi = bed.csi.clone();
    for most in [0, 1, 2] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let asked = csi::ListVolumesRequest { max_entries: most, starting_token: token };
            let page = csi.list_volumes(asked).await.unwrap().into_inner();
            assert!(most == 0 || page.entries.len() <= most as usize);
            seen.extend(page.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
            token = page.next_token;
            if token.is_empty() {
                break;
            }
        }
        seen.sort();
        ids.sort();
        assert_eq!(seen, ids, "pages of {most}");
    }
    let volume_id = ids.iter().find(|id| id.starts_with("s3files:")).unwrap().clone();
    let got =
        csi.controller_get_volume(csi::ControllerGetVolumeRequest { volume_id: volume_id.clone() }).await.unwrap();
    let got = got.into_inner();
    assert_eq!(got.volume.unwrap().capacity_bytes, GIB);
    assert!(!got.status.unwrap().volume_condition.unwrap().abnormal);
    let mutable_parameters = [("tagSpecification_1".to_owned(), "team=blue".to_owned())].into();
    let modify =
        csi::ControllerModifyVolumeRequest { volume_id: volume_id.clone(), mutable_parameters, ..Default::default() };
    csi.controller_modify_volume(modify).await.unwrap();
    let point = volume_id.rsplit(':').next().unwrap();
    let tags = s3.list_tags_for_resource().resource_id(point).send().await.unwrap();
    assert!(tags.tags().iter().any(|tag| (tag.key(), tag.value()) == ("team", "blue")));
    let parameters = asked("x", &fs, &[]).parameters;
    let capacity = csi::GetCapacityRequest { parameters, ..Default::default() };
    assert_eq!(csi.get_capacity(capacity).await.unwrap().into_inner().available_capacity, i64::MAX);
}

/// No two volumes get one id, also not that of an access point that somebody else has made.
#[tokio::test]
async fn ids_come_from_the_same_pool_and_are_nobody_elses() {
    let bed = Bed::new().await;
    let s3 = admin(&bed);
    let fs = file_system(&s3).await;
    let user = PosixUser::builder().uid(3).gid(3).build().unwrap();
    s3.create_access_point().file_system_id(&fs).posix_user(user).send().await.unwrap();
    let range = [("gidRangeStart", "1"), ("gidRangeEnd", "4")];
    for n in 0..3 {
        bed.create(asked(&format!("pvc-{n}"), &fs, &range)).await.unwrap();
    }
    let mut ids: Vec<_> = points(&s3, &fs).await.iter().map(|it| it.posix_user().unwrap().uid()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_refused(bed.create(asked("pvc-4", &fs, &range)).await, Code::ResourceExhausted, &["all 4 ids"]);
}

/// The Go driver refuses `reuseAccessPoint` with S3 Files.
#[tokio::test]
async fn a_claim_takes_up_the_access_point_of_an_earlier_one_of_its_name() {
    let bed = Bed::new().await;
    let fs = file_system(&admin(&bed)).await;
    let claim = |name: &str| {
        let claim = [
            ("reuseAccessPoint", "true"),
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/pvc/namespace", "a"),
        ];
        asked(name, &fs, &claim)
    };
    let first = bed.create(claim("pvc-1")).await.unwrap().volume_id;
    let second = bed.create(claim("pvc-2")).await.unwrap().volume_id;
    assert_eq!(first, second);
    let mut elsewhere = claim("pvc-3");
    elsewhere.parameters.insert("csi.storage.k8s.io/pvc/namespace".to_owned(), "b".to_owned());
    assert_ne!(bed.create(elsewhere).await.unwrap().volume_id, first);
    // The requests reach S3 Files under this account's own name.
    let mine = Requester::root(bed.fake.world().home().clone().of(Service::S3Files));
    assert!(bed.fake.world().has_file_system(&mine, &fs));
}
