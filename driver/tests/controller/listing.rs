//! Volumes in lists, their condition, and what capacity is left.

use std::collections::{BTreeSet, HashMap};

use csi_proto::csi;
use csi_proto::csi::controller_client::ControllerClient;
use csi_proto::csi::volume_capability::AccessType;
use csi_proto::csi::volume_capability::access_mode::Mode;
use efs_csi_driver::controller::cluster::{ClassFacts, ClusterFacts, SecretName};
use tonic::Code;
use tonic::transport::Channel;

use crate::support::{Bed, GIB, assert_refused, config, request};

async fn list(bed: &Bed, max_entries: i32, token: &str) -> Result<csi::ListVolumesResponse, tonic::Status> {
    let request = csi::ListVolumesRequest { max_entries, starting_token: token.to_owned() };
    bed.csi.clone().list_volumes(request).await.map(tonic::Response::into_inner)
}

/// All volumes, in pages of so many.
async fn pages_of(csi: &ControllerClient<Channel>, max_entries: i32) -> Vec<csi::Volume> {
    let mut volumes = Vec::new();
    let mut starting_token = String::new();
    loop {
        let request = csi::ListVolumesRequest { max_entries, starting_token };
        let page = csi.clone().list_volumes(request).await.unwrap().into_inner();
        assert!(max_entries == 0 || page.entries.len() <= usize::try_from(max_entries).unwrap());
        volumes.extend(page.entries.into_iter().map(|entry| entry.volume.unwrap()));
        starting_token = page.next_token;
        if starting_token.is_empty() {
            return volumes;
        }
    }
}

fn handles(volumes: &[csi::Volume]) -> BTreeSet<String> {
    let handles: BTreeSet<String> = volumes.iter().map(|volume| volume.volume_id.clone()).collect();
    assert_eq!(handles.len(), volumes.len(), "each volume is listed once");
    handles
}

fn ids(list: &csi::ListVolumesResponse) -> Vec<String> {
    list.entries.iter().map(|entry| entry.volume.as_ref().unwrap().volume_id.clone()).collect()
}

#[tokio::test]
async fn own_volumes_are_listed_and_others_are_not() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.aws.create_access_point().client_token("foreign").file_system_id(&fs).send().await.unwrap();
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let all = list(&bed, 0, "").await.unwrap();
    assert_eq!((ids(&all), all.next_token.as_str()), (vec![id.clone()], ""));
    let condition = all.entries[0].status.as_ref().unwrap().volume_condition.as_ref().unwrap();
    assert!(!condition.abnormal, "{condition:?}");
    bed.delete(&id).await.unwrap();
    assert!(list(&bed, 0, "").await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn pages_cover_everything_once_and_never_exceed_the_limit() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    for n in 0..7 {
        bed.create(request(&format!("pvc-{n}"), &fs, &[])).await.unwrap();
        bed.aws.create_access_point().client_token(format!("foreign-{n}")).file_system_id(&fs).send().await.unwrap();
    }
    assert_eq!(handles(&pages_of(&bed.csi, 3).await).len(), 7);
    for bad in ["invalid-token", "efs:garbage", "efs:", "role:0123456789abcdef:", "dir:fs-x:y"] {
        assert_refused(list(&bed, 0, bad).await, Code::Aborted, &["starting_token", bad]);
    }
    assert_refused(list(&bed, -1, "").await, Code::InvalidArgument, &["max_entries"]);
}

#[tokio::test]
async fn a_volume_without_a_mount_target_is_abnormal() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let get = |volume_id: &str| {
        let mut csi = bed.csi.clone();
        let request = csi::ControllerGetVolumeRequest { volume_id: volume_id.to_owned() };
        async move { csi.controller_get_volume(request).await.map(tonic::Response::into_inner) }
    };
    let condition = get(&id).await.unwrap().status.unwrap().volume_condition.unwrap();
    assert!(condition.abnormal && condition.message.contains("mount target"), "{condition:?}");

    let fs = bed.file_system(None).await;
    bed.aws.create_mount_target().file_system_id(&fs).subnet_id("subnet-0123456789abcdef0").send().await.unwrap();
    let id = bed.create(request("pvc-2", &fs, &[])).await.unwrap().volume_id;
    let got = get(&id).await.unwrap();
    assert!(!got.status.unwrap().volume_condition.unwrap().abnormal);
    assert_eq!(got.volume.unwrap().volume_id, id);
    assert_refused(get("efs:fs-00000000::fsap-00000000").await, Code::NotFound, &["fsap-00000000"]);
    assert_refused(get("nonsense").await, Code::NotFound, &["nonsense"]);
    assert_refused(get("").await, Code::InvalidArgument, &["volume_id"]);
}

#[tokio::test]
async fn capacity_is_unlimited_until_the_access_points_are_used_up() {
    let mut config = crate::support::config();
    config.access_point_quota = 2;
    let bed = Bed::with(config).await;
    let fs = bed.file_system(None).await;
    let capacity = |parameters: std::collections::HashMap<String, String>| {
        let mut csi = bed.csi.clone();
        let request = csi::GetCapacityRequest { parameters, ..Default::default() };
        async move { csi.get_capacity(request).await.map(|answer| answer.into_inner().available_capacity) }
    };
    let class = request("pvc-1", &fs, &[]).parameters;
    assert_eq!(capacity(Default::default()).await.unwrap(), i64::MAX);
    for name in ["pvc-1", "pvc-2"] {
        assert_eq!(capacity(class.clone()).await.unwrap(), i64::MAX);
        bed.create(request(name, &fs, &[])).await.unwrap();
    }
    assert_eq!(capacity(class).await.unwrap(), 0);
}

#[tokio::test]
async fn there_is_no_capacity_for_what_no_volume_can_do() {
    let bed = Bed::new().await;
    let capacity = |access_type| {
        let mut csi = bed.csi.clone();
        let mut capability = crate::support::capability(Mode::SingleNodeWriter);
        capability.access_type = Some(access_type);
        let request = csi::GetCapacityRequest { volume_capabilities: vec![capability], ..Default::default() };
        async move { csi.get_capacity(request).await.map(|answer| answer.into_inner().available_capacity) }
    };
    assert_eq!(capacity(AccessType::Mount(Default::default())).await.unwrap(), i64::MAX);
    let refused = capacity(AccessType::Block(csi::volume_capability::BlockVolume {})).await;
    assert_refused(refused, Code::InvalidArgument, &["volume_capabilities"]);
}

#[tokio::test]
async fn directory_volumes_are_listed_with_the_others_and_keep_their_capacity() {
    let bed = Bed::with_files(config()).await;
    let (fs, other) = (bed.mountable_file_system().await, bed.mountable_file_system().await);
    let directory = |name: &str, fs: &str| request(name, fs, &[("provisioningMode", "efs-dir"), ("basePath", "/d")]);
    let mut made = vec![bed.create(request("pvc-point", &fs, &[])).await.unwrap()];
    for name in ["pvc-1", "pvc-2", "pvc-3"] {
        made.push(bed.create(directory(name, &fs)).await.unwrap());
        made.push(bed.create(directory(name.replace("pvc", "other").as_str(), &other)).await.unwrap());
    }
    for max_entries in [0, 1, 2, 5] {
        let listed = pages_of(&bed.csi, max_entries).await;
        assert_eq!(handles(&listed), handles(&made), "in pages of {max_entries}");
        assert!(listed.iter().all(|volume| volume.capacity_bytes == GIB));
    }

    let grown = made[1].volume_id.clone();
    let expand = csi::ControllerExpandVolumeRequest {
        volume_id: grown.clone(),
        capacity_range: Some(csi::CapacityRange { required_bytes: 3 * GIB, limit_bytes: 0 }),
        ..Default::default()
    };
    assert_eq!(bed.csi.clone().controller_expand_volume(expand).await.unwrap().into_inner().capacity_bytes, 3 * GIB);
    let gone = made.pop().unwrap().volume_id;
    bed.delete(&gone).await.unwrap();

    // A controller that starts knows of directories what the cluster's StorageClasses tell it.
    let class = |fs: &str| {
        let parameters = [("provisioningMode", "efs-dir"), ("fileSystemId", fs)];
        let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ClassFacts { parameters, secret: None }
    };
    let facts = ClusterFacts { classes: vec![class(&fs), class(&other), class("fs-00000000")], volumes: vec![] };
    *bed.cluster.facts.lock().unwrap() = Some(facts);
    let (fresh, _served) = bed.another_controller().await;
    for csi in [&bed.csi, &fresh] {
        let listed = pages_of(csi, 0).await;
        assert_eq!(handles(&listed), handles(&made));
        let capacity = listed.iter().find(|volume| volume.volume_id == grown).unwrap().capacity_bytes;
        assert_eq!(capacity, 3 * GIB, "the capacity outlives the process");
        let get = |volume_id: &str| {
            let request = csi::ControllerGetVolumeRequest { volume_id: volume_id.to_owned() };
            let mut csi = csi.clone();
            async move { csi.controller_get_volume(request).await.map(|got| got.into_inner().volume.unwrap()) }
        };
        assert_eq!(get(&grown).await.unwrap().capacity_bytes, 3 * GIB);
        assert_refused(get(&gone).await, Code::NotFound, &[&gone]);
    }
    let mut again = directory("pvc-1", &fs);
    again.capacity_range = Some(csi::CapacityRange { required_bytes: 2 * GIB, limit_bytes: 0 });
    assert_eq!(bed.create(again).await.unwrap().capacity_bytes, 3 * GIB, "a repeated creation finds it grown");
}

const OTHER_ACCOUNT: &str = "999988887777";

fn secret() -> HashMap<String, String> {
    [("awsRoleArn".to_owned(), format!("arn:aws:iam::{OTHER_ACCOUNT}:role/efs"))].into()
}

/// CSI sends no secrets with these calls; the role comes from earlier calls, or from the Secrets that StorageClasses name.
#[tokio::test]
async fn volumes_of_other_accounts_are_listed_looked_at_and_counted() {
    let mut config = config();
    config.access_point_quota = 1;
    let bed = Bed::with(config).await;
    let own = bed.file_system(None).await;
    let aws = bed.aws_of(OTHER_ACCOUNT);
    let fs = aws.create_file_system().send().await.unwrap().file_system_id().to_owned();
    aws.create_mount_target().file_system_id(&fs).subnet_id("subnet-0123456789abcdef0").send().await.unwrap();
    let mut made = vec![bed.create(request("pvc-own", &own, &[])).await.unwrap()];
    let mut asked = request("pvc-other", &fs, &[]);
    asked.secrets = secret();
    made.push(bed.create(asked.clone()).await.unwrap());
    asked.name = "pvc-other-2".to_owned();
    made.push(bed.create(asked).await.unwrap());

    let class = ClassFacts {
        parameters: [("fileSystemId".to_owned(), fs.clone())].into(),
        secret: Some(SecretName { namespace: "kube-system".into(), name: "x-account".into() }),
    };
    *bed.cluster.facts.lock().unwrap() = Some(ClusterFacts { classes: vec![class], volumes: vec![] });
    bed.cluster.secrets.lock().unwrap().insert("kube-system/x-account".into(), secret());
    let (fresh, _served) = bed.another_controller().await;
    for mut csi in [bed.csi.clone(), fresh] {
        for max_entries in [0, 1, 2] {
            assert_eq!(handles(&pages_of(&csi, max_entries).await), handles(&made), "in pages of {max_entries}");
        }
        let get = csi::ControllerGetVolumeRequest { volume_id: made[1].volume_id.clone() };
        let got = csi.controller_get_volume(get).await.unwrap().into_inner();
        assert!(!got.status.unwrap().volume_condition.unwrap().abnormal);
        let parameters = request("x", &fs, &[]).parameters;
        let capacity = csi.get_capacity(csi::GetCapacityRequest { parameters, ..Default::default() }).await.unwrap();
        assert_eq!(capacity.into_inner().available_capacity, 0, "the quota is used up over there");
    }
    // Deleted without its secret, as when its Secret is gone: the role is still known.
    bed.delete(&made[2].volume_id).await.unwrap();
    made.pop();
    assert_eq!(handles(&pages_of(&bed.csi, 0).await), handles(&made));
}

/// A list without a part would say that the volumes of that part are gone.
#[tokio::test]
async fn a_part_that_cannot_be_listed_fails_the_list() {
    use fake_efs::faults::{Effect, Rule};
    let bed = Bed::with_files(config()).await;
    let fs = bed.mountable_file_system().await;
    bed.create(request("pvc-1", &fs, &[("provisioningMode", "efs-dir")])).await.unwrap();
    let denied = Effect::Error { name: "AccessDeniedException".into(), status: Some(403), message: None };
    bed.fake.faults().add(Rule::on("DescribeFileSystems", denied)).unwrap();
    assert_refused(list(&bed, 0, "").await, Code::PermissionDenied, &[&fs]);
    bed.fake.faults().clear();
    // A file system that was deleted has no volumes any more.
    let facts = ClassFacts {
        parameters: [("provisioningMode", "efs-dir"), ("fileSystemId", "fs-00000000")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        secret: None,
    };
    *bed.cluster.facts.lock().unwrap() = Some(ClusterFacts { classes: vec![facts], volumes: vec![] });
    let (mut fresh, _served) = bed.another_controller().await;
    let listed = fresh.list_volumes(csi::ListVolumesRequest::default()).await.unwrap().into_inner();
    assert!(listed.entries.is_empty());
}
