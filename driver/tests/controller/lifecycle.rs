//! Volumes are made, found again, expanded, modified and deleted.

use csi_proto::csi;
use csi_proto::csi::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::support::{Bed, GIB, assert_refused, capability, request};

#[tokio::test]
async fn a_volume_is_an_access_point_with_everything_that_was_asked() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let asked = request("pvc-1", &fs, &[("uid", "1001"), ("gid", "1002"), ("basePath", "/dynamic")]);
    let volume = bed.create(asked).await.unwrap();

    let made = bed.access_points(&fs).await;
    let [point] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!(volume.volume_id, format!("efs:{fs}::{}", point.access_point_id().unwrap()));
    assert_eq!(volume.capacity_bytes, GIB);
    assert!(volume.volume_context.is_empty() && volume.accessible_topology.is_empty());
    assert_eq!(point.client_token(), Some("pvc-1"));
    let user = point.posix_user().unwrap();
    assert_eq!((user.uid(), user.gid()), (1001, 1002));
    let root = point.root_directory().unwrap();
    let info = root.creation_info().unwrap();
    assert_eq!(root.path(), Some("/dynamic/pvc-1"));
    assert_eq!((info.owner_uid(), info.owner_gid(), info.permissions()), (1001, 1002, "700"));
    let tag = |key: &str| point.tags().iter().find(|tag| tag.key() == key).map(|tag| tag.value());
    assert_eq!(tag("efs.csi.aws.com/cluster"), Some("true"));
    assert_eq!(tag("efs.csi.aws.com/capacity"), Some("1073741824"));
    assert_eq!((bed.calls("CreateAccessPoint"), bed.calls("DescribeAccessPoints")), (1, 1), "the other one is ours");
}

#[tokio::test]
async fn a_repeated_call_finds_the_same_volume() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let parameters = [("subPathPattern", "shared/dir"), ("gidRangeStart", "2000"), ("gidRangeEnd", "2100")];
    let first = bed.create(request("pvc-1", &fs, &parameters)).await.unwrap();
    let second = bed.create(request("pvc-1", &fs, &parameters)).await.unwrap();
    assert_eq!(first, second);
    let (other, _socket) = bed.another_controller().await;
    let third =
        other.clone().create_volume(request("pvc-1", &fs, &parameters)).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(first, third);
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

#[tokio::test]
async fn thirty_two_equal_calls_at_once_make_one_volume() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let (other, _socket) = bed.another_controller().await;
    let calls = (0..32).map(|n| {
        let mut client = if n % 2 == 0 { bed.csi.clone() } else { other.clone() };
        let request = request("pvc-1", &fs, &[]);
        async move { client.create_volume(request).await.unwrap().into_inner().volume.unwrap().volume_id }
    });
    let ids: std::collections::HashSet<String> = futures::future::join_all(calls).await.into_iter().collect();
    assert_eq!((ids.len(), bed.access_points(&fs).await.len()), (1, 1));
}

#[tokio::test]
async fn names_of_128_characters_work() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let name = format!("sanity-{}", "a".repeat(121));
    let first = bed.create(request(&name, &fs, &[])).await.unwrap();
    assert_eq!(first, bed.create(request(&name, &fs, &[])).await.unwrap());
    let other = format!("{}b", &name[..127]);
    assert_ne!(first.volume_id, bed.create(request(&other, &fs, &[])).await.unwrap().volume_id);
}

#[tokio::test]
async fn deleting_twice_is_as_good_as_once() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    bed.delete(&id).await.unwrap();
    assert!(bed.access_points(&fs).await.is_empty());
    bed.delete(&id).await.unwrap();
    let again = bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    assert_ne!(again.volume_id, id);
}

#[tokio::test]
async fn volumes_that_are_no_access_points_of_ours_are_left_alone() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let other = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    for harmless in ["fake-vol-id", &fs, &format!("{fs}:/data"), "efs:fs-00000000::fsap-00000000"] {
        bed.delete(harmless).await.unwrap();
    }
    let elsewhere = id.replace(&fs, &other);
    assert_refused(bed.delete(&elsewhere).await, Code::FailedPrecondition, &[&fs, &other]);
    assert_refused(bed.delete("").await, Code::InvalidArgument, &["volume_id"]);
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

#[tokio::test]
async fn every_access_mode_of_a_file_system_is_provisioned() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    for mode in 1..=7 {
        let mut asked = request(&format!("pvc-{mode}"), &fs, &[]);
        asked.volume_capabilities = vec![capability(Mode::try_from(mode).unwrap())];
        bed.create(asked).await.unwrap();
    }
    let mut none = request("pvc-x", &fs, &[]);
    none.volume_capabilities.clear();
    assert_refused(bed.create(none).await, Code::InvalidArgument, &["volume_capabilities"]);
}

#[tokio::test]
async fn expanding_remembers_the_new_capacity_and_never_shrinks() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let expand = |required_bytes, limit_bytes| {
        let mut csi = bed.csi.clone();
        let request = csi::ControllerExpandVolumeRequest {
            volume_id: id.clone(),
            capacity_range: Some(csi::CapacityRange { required_bytes, limit_bytes }),
            ..Default::default()
        };
        async move { csi.controller_expand_volume(request).await.map(tonic::Response::into_inner) }
    };
    let grown = expand(3 * GIB, 0).await.unwrap();
    assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (3 * GIB, false));
    assert_eq!(expand(2 * GIB, 0).await.unwrap().capacity_bytes, 3 * GIB);
    assert_refused(expand(GIB, 2 * GIB).await, Code::OutOfRange, &["can't shrink"]);
    let got = bed.csi.clone().controller_get_volume(csi::ControllerGetVolumeRequest { volume_id: id.clone() }).await;
    assert_eq!(got.unwrap().into_inner().volume.unwrap().capacity_bytes, 3 * GIB);

    let none = csi::ControllerExpandVolumeRequest { volume_id: id.clone(), ..Default::default() };
    assert_refused(bed.csi.clone().controller_expand_volume(none).await, Code::InvalidArgument, &["capacity_range"]);
}

#[tokio::test]
async fn an_attributes_class_tags_the_access_point() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let mut asked = request("pvc-1", &fs, &[]);
    asked.mutable_parameters = [("tagSpecification_1".to_owned(), "env=test".to_owned())].into();
    let id = bed.create(asked).await.unwrap().volume_id;
    let modify = |volume_id: &str, key: &str, value: &str| {
        let mut csi = bed.csi.clone();
        let request = csi::ControllerModifyVolumeRequest {
            volume_id: volume_id.to_owned(),
            mutable_parameters: [(key.to_owned(), value.to_owned())].into(),
            ..Default::default()
        };
        async move { csi.controller_modify_volume(request).await }
    };
    modify(&id, "tagSpecification_2", "team=a").await.unwrap();
    modify(&id, "tagSpecification_2", "team=a").await.unwrap();
    assert_refused(modify(&id, "XXX_FakeKey", "x").await, Code::InvalidArgument, &["XXX_FakeKey"]);
    assert_refused(modify("non-existing-volume-id", "a", "b").await, Code::NotFound, &["non-existing-volume-id"]);
    let points = bed.access_points(&fs).await;
    let tag = |key: &str| points[0].tags().iter().find(|tag| tag.key() == key).map(|tag| tag.value());
    assert_eq!((tag("env"), tag("team"), tag("efs.csi.aws.com/cluster")), (Some("test"), Some("a"), Some("true")));
}

#[tokio::test]
async fn validation_looks_the_volume_up() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let validate = |volume_id: &str, capabilities: Vec<csi::VolumeCapability>, context: &[(&str, &str)]| {
        let mut csi = bed.csi.clone();
        let request = csi::ValidateVolumeCapabilitiesRequest {
            volume_id: volume_id.to_owned(),
            volume_capabilities: capabilities,
            volume_context: context.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        };
        async move { csi.validate_volume_capabilities(request).await.map(tonic::Response::into_inner) }
    };
    let caps = vec![capability(Mode::SingleNodeWriter)];
    let confirmed = validate(&id, caps.clone(), &[("encryptInTransit", "true")]).await.unwrap().confirmed.unwrap();
    assert_eq!(confirmed.volume_capabilities, caps);
    let refused = validate(&id, vec![capability(Mode::Unknown)], &[]).await.unwrap();
    assert!(refused.confirmed.is_none() && refused.message.contains("access mode"), "{refused:?}");
    let refused = validate(&id, caps.clone(), &[("path", "/x")]).await.unwrap();
    assert!(refused.confirmed.is_none() && refused.message.contains("path"), "{refused:?}");
    for absent in ["fake-vol-id-1234567890", "efs:fs-00000000::fsap-00000000", &format!("{fs}::fsap-00000000")] {
        assert_refused(validate(absent, caps.clone(), &[]).await, Code::NotFound, &[absent]);
    }
    assert_refused(validate("", caps, &[]).await, Code::InvalidArgument, &["volume_id"]);
    assert_refused(validate(&id, vec![], &[]).await, Code::InvalidArgument, &["volume_capabilities"]);
}

/// What is confirmed must be so: the volume is the one that the parameters give, as far as it shows.
#[tokio::test]
async fn parameters_that_the_volume_does_not_have_are_not_confirmed() {
    let bed = Bed::new().await;
    let (fs, other) = (bed.file_system(None).await, bed.file_system(None).await);
    let own = [("uid", "1000"), ("gidRangeStart", "7000"), ("gidRangeEnd", "7009")];
    let asked = request("pvc-1", &fs, &own);
    let id = bed.create(asked.clone()).await.unwrap().volume_id;
    let validate = |changed: &[(&str, &str)]| {
        let mut csi = bed.csi.clone();
        let mut parameters = asked.parameters.clone();
        parameters.extend(changed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let request = csi::ValidateVolumeCapabilitiesRequest {
            volume_id: id.clone(),
            volume_capabilities: vec![capability(Mode::SingleNodeWriter)],
            parameters,
            ..Default::default()
        };
        async move { csi.validate_volume_capabilities(request).await.unwrap().into_inner() }
    };
    let confirmed = validate(&[("directoryPerms", "0700")]).await;
    assert!(confirmed.confirmed.is_some_and(|it| it.parameters["uid"] == "1000"), "{}", confirmed.message);
    for (changed, word) in [
        (("fileSystemId", other.as_str()), "fileSystemId"),
        (("provisioningMode", "efs-dir"), "provisioningMode efs-ap, not efs-dir"),
        (("uid", "1001"), "uid 1000, not 1001"),
        (("gid", "5"), "gid"),
        (("gidRangeStart", "7010"), "gid"),
        (("directoryPerms", "755"), "directoryPerms 700, not 755"),
    ] {
        let answer = validate(&[("gidRangeEnd", "7020"), changed]).await;
        assert!(answer.confirmed.is_none() && answer.message.contains(word), "{changed:?}: {}", answer.message);
    }
}

#[tokio::test]
async fn a_modification_with_a_wrong_parameter_changes_nothing() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let volume_id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let tags = async || bed.access_points(&fs).await[0].tags().to_vec();
    let before = tags().await;
    let both = [("tagSpecification_1", "team=a"), ("XXX_FakeKey", "x")];
    let modification = csi::ControllerModifyVolumeRequest {
        volume_id,
        mutable_parameters: both.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..Default::default()
    };
    let refused = bed.csi.clone().controller_modify_volume(modification).await;
    assert_refused(refused, Code::InvalidArgument, &["XXX_FakeKey"]);
    assert_eq!(tags().await, before);
}
