//! ControllerGetVolumeHealth and ControllerListVolumeHealth: what AWS says, and how seldom it is asked.

use csi_proto::csi::{self, VolumeHealthErrorType as Status};
use fake_efs::faults::{Effect, Rule};
use tonic::Code;

use crate::support::{Bed, assert_refused, claimant, request};

type Answer<T> = Result<T, tonic::Status>;

async fn get(bed: &Bed, volume_id: &str) -> Answer<csi::VolumeHealth> {
    let request = csi::ControllerGetVolumeHealthRequest { volume_id: volume_id.to_owned(), ..Default::default() };
    let answer = bed.csi.clone().controller_get_volume_health(request).await?;
    Ok(answer.into_inner().volume_health.expect("it is always set"))
}

async fn list(bed: &Bed, max_entries: i32, token: &str) -> Answer<csi::ControllerListVolumeHealthResponse> {
    let request =
        csi::ControllerListVolumeHealthRequest { max_entries, starting_token: token.to_owned(), ..Default::default() };
    bed.csi.clone().controller_list_volume_health(request).await.map(tonic::Response::into_inner)
}

fn reasons(health: &csi::VolumeHealth) -> Vec<(Status, &str)> {
    health.health_statuses.iter().map(|entry| (entry.status(), entry.reason.as_str())).collect()
}

const MISSING: (Status, &str) = (Status::Inaccessible, "MountTargetMissing");

#[tokio::test]
async fn a_volume_is_well_with_a_mount_target_and_inaccessible_without() {
    let bed = Bed::new().await;
    let (with, without) = (bed.mountable_file_system().await, bed.file_system(None).await);
    let well = bed.create(request("pvc-1", &with, &[])).await.unwrap().volume_id;
    let ill = bed.create(request("pvc-2", &without, &[])).await.unwrap().volume_id;
    let found = get(&bed, &well).await.unwrap();
    assert_eq!((found.volume_id.as_str(), reasons(&found)), (well.as_str(), vec![]));
    let found = get(&bed, &ill).await.unwrap();
    assert_eq!(reasons(&found), [MISSING]);
    assert!(found.health_statuses[0].message.contains(&without), "{found:?}");
    let listed = list(&bed, 0, "").await.unwrap();
    assert_eq!(listed.entries, [found], "those that are well are left out");
    assert_eq!(listed.next_token, "");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_never_well() {
    let bed = Bed::new().await;
    let fs = bed.mountable_file_system().await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    get(&bed, &id).await.unwrap();
    bed.delete(&id).await.unwrap();
    assert_refused(get(&bed, &id).await, Code::NotFound, &["has deleted"]);
    assert_refused(get(&bed, "").await, Code::InvalidArgument, &["volume_id"]);
    assert_refused(get(&bed, "fake-vol-id").await, Code::NotFound, &["fake-vol-id"]);
    assert_refused(get(&bed, &format!("{fs}::fsap-00000000")).await, Code::NotFound, &["fsap-00000000"]);
    assert_refused(get(&bed, "fs-00000000").await, Code::NotFound, &["fs-00000000"]);
}

#[tokio::test]
async fn pages_of_unwell_volumes_lead_on_and_wrong_tokens_are_refused() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let mut made = Vec::new();
    for n in 0..3 {
        made.push(bed.create(request(&format!("pvc-{n}"), &fs, &[])).await.unwrap().volume_id);
    }
    made.sort();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&bed, 2, &token).await.unwrap();
        assert!(page.entries.len() <= 2);
        seen.extend(page.entries.into_iter().map(|entry| entry.volume_id));
        token = page.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made);
    for bad in ["invalid-token", "after:", "after:nonsense"] {
        assert_refused(list(&bed, 0, bad).await, Code::Aborted, &["starting_token", bad]);
    }
    assert_refused(list(&bed, -1, "").await, Code::InvalidArgument, &["max_entries"]);
}

/// Three calls when somebody asks for the first time, and none more within a minute, at any number of volumes and questions.
#[tokio::test]
async fn a_file_system_costs_three_calls_at_first_whatever_the_number_of_volumes() {
    let bed = Bed::new().await;
    let fs = bed.mountable_file_system().await;
    let mut made = Vec::new();
    for n in 0..20 {
        made.push(bed.create(request(&format!("pvc-{n}"), &fs, &[])).await.unwrap().volume_id);
    }
    const DESCRIBE: [&str; 3] = ["DescribeFileSystems", "DescribeMountTargets", "DescribeAccessPoints"];
    let before = DESCRIBE.map(|operation| bed.calls(operation));
    for _ in 0..3 {
        for id in &made {
            assert_eq!(reasons(&get(&bed, id).await.unwrap()), []);
        }
        assert_eq!(list(&bed, 0, "").await.unwrap().entries, []);
    }
    assert_eq!(DESCRIBE.map(|operation| bed.calls(operation)), before.map(|calls| calls + 1));
}

#[tokio::test]
async fn a_new_volume_is_known_before_the_next_listing() {
    let bed = Bed::new().await;
    let fs = bed.mountable_file_system().await;
    let first = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    get(&bed, &first).await.unwrap();
    let second = bed.create(request("pvc-2", &fs, &[])).await.unwrap().volume_id;
    assert_eq!(reasons(&get(&bed, &second).await.unwrap()), []);
}

/// What a PersistentVolume names is there for somebody, so that its loss must be told.
#[tokio::test]
async fn what_a_persistent_volume_names_and_aws_has_no_more_is_told() {
    let bed = Bed::new().await;
    let fs = bed.mountable_file_system().await;
    let of_point = format!("{fs}::fsap-00000000");
    let of_nothing = "fs-00000000".to_owned();
    let leaving = format!("{fs}::fsap-00000001");
    let volumes = [("pv-1", &of_point, false), ("pv-2", &of_nothing, false), ("pv-3", &leaving, true)];
    let claimants = volumes.map(|(name, handle, is_leaving)| claimant(name, handle, is_leaving)).to_vec();
    *bed.cluster.claimants.lock().unwrap() = Some(claimants);
    let missing = (Status::Inaccessible, "AccessPointMissing");
    let lost = (Status::DataLoss, "FileSystemMissing");
    assert_eq!(reasons(&get(&bed, &of_point).await.unwrap()), [missing]);
    assert_eq!(reasons(&get(&bed, &of_nothing).await.unwrap()), [lost]);
    assert_refused(get(&bed, &leaving).await, Code::NotFound, &["fsap-00000001"]);
    let listed = list(&bed, 0, "").await.unwrap().entries;
    let mut told: Vec<_> = listed.iter().map(|entry| (entry.volume_id.as_str(), reasons(entry))).collect();
    told.sort();
    let mut want = [(of_point.as_str(), vec![missing]), (of_nothing.as_str(), vec![lost])];
    want.sort();
    assert_eq!(told, want);
}

#[tokio::test]
async fn what_aws_does_not_tell_is_an_error_and_no_health() {
    let bed = Bed::new().await;
    let fs = bed.mountable_file_system().await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    for operation in ["DescribeFileSystems", "DescribeMountTargets", "DescribeAccessPoints"] {
        let (mut another, _served) = bed.another_controller().await;
        let denied = Effect::Error { name: "AccessDeniedException".to_owned(), status: Some(403), message: None };
        let rule = bed.fake.faults().add(Rule::on(operation, denied)).unwrap();
        let request = csi::ControllerGetVolumeHealthRequest { volume_id: id.clone(), ..Default::default() };
        let refused = another.controller_get_volume_health(request).await;
        assert_refused(refused, Code::PermissionDenied, &[operation, &fs]);
        bed.fake.faults().remove(rule);
    }
}

/// Another account may have taken its role back: that says nothing of everybody else's volumes.
#[tokio::test]
async fn a_file_system_of_which_aws_tells_nothing_hides_no_other_in_the_list() {
    let bed = Bed::new().await;
    let (denied, unwell) = (bed.file_system(None).await, bed.file_system(None).await);
    let hidden = bed.create(request("pvc-1", &denied, &[])).await.unwrap().volume_id;
    let told = bed.create(request("pvc-2", &unwell, &[])).await.unwrap().volume_id;
    let effect = Effect::Error { name: "AccessDeniedException".to_owned(), status: Some(403), message: None };
    let mut rule = Rule::on("DescribeMountTargets", effect.clone());
    rule.resource = Some(denied.clone());
    bed.fake.faults().add(rule).unwrap();
    let listed = list(&bed, 0, "").await.unwrap().entries;
    assert_eq!(listed.iter().map(|entry| entry.volume_id.as_str()).collect::<Vec<_>>(), [told.as_str()]);
    assert_refused(get(&bed, &hidden).await, Code::PermissionDenied, &[&denied]);
    // When nothing is known of any, that is an error: an empty list would say that all are well.
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    bed.fake.faults().add(Rule::on("DescribeMountTargets", effect)).unwrap();
    assert_refused(list(&bed, 0, "").await, Code::PermissionDenied, &["DescribeMountTargets", &fs]);
}
