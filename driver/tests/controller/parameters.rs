//! StorageClass parameters over the wire: what is asked arrives, what is wrong is told at once.

use csi_proto::csi;
use efs_csi_driver::cli::UnknownParameters;
use tonic::Code;

use crate::support::{Bed, assert_refused, config, request};

#[tokio::test]
async fn all_problems_are_told_at_once() {
    let bed = Bed::new().await;
    let wrong = [
        ("provisioningMode", "efs-fs"),
        ("directoryPerms", "zzz"),
        ("uid", "-1"),
        ("gid", "many"),
        ("gidRangeStart", "0"),
        ("gidRangeEnd", "x"),
        ("basePath", "/a/../../b"),
        ("subPathPattern", "${.PVC.annotations}"),
        ("reuseAccessPoint", "maybe"),
        ("dirPerms", "700"),
    ];
    let names: Vec<&str> =
        wrong.iter().map(|(name, _)| *name).chain(["fs-bad", "did you mean directoryPerms?"]).collect();
    assert_refused(bed.create(request("pvc-1", "fs-bad", &wrong)).await, Code::InvalidArgument, &names);
    assert_eq!(bed.calls("CreateAccessPoint"), 0);
}

#[tokio::test]
async fn unknown_parameters_can_be_ignored_as_the_go_driver_does() {
    let bed = Bed::with(efs_csi_driver::config::ControllerConfig {
        unknown_parameters: UnknownParameters::Ignore,
        ..config()
    })
    .await;
    let fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[("anything", "goes")])).await.unwrap();
}

#[tokio::test]
async fn directories_can_be_mounted_without_encryption_and_access_points_not() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let plain = ("encryptInTransit", "false");
    assert_refused(
        bed.create(request("pvc-1", &fs, &[plain])).await,
        Code::InvalidArgument,
        &["encryptInTransit", "efs-dir only"],
    );
    let encrypted = bed.create(request("pvc-1", &fs, &[("encryptInTransit", "true")])).await.unwrap();
    assert!(encrypted.volume_context.is_empty(), "{encrypted:?}");
}

#[tokio::test]
async fn the_file_systems_id_can_stand_in_a_config_map_or_a_secret() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    {
        let mut objects = bed.cluster.objects.lock().unwrap();
        objects.insert("ConfigMap efs/ids/main".to_owned(), format!(" {fs}\n"));
        objects.insert("Secret efs/ids/main".to_owned(), fs.clone());
        objects.insert("Secret efs/ids/blank".to_owned(), " ".to_owned());
        objects.insert("Secret efs/ids/bad".to_owned(), "fs-XYZ".to_owned());
    }
    bed.create(request("pvc-1", "", &[("fileSystemIdConfigRef", "efs/ids/main")])).await.unwrap();
    // UB-5: with the Go driver a blank ConfigRef hides the SecretRef.
    let both = [("fileSystemIdConfigRef", " "), ("fileSystemIdSecretRef", "efs / ids / main")];
    bed.create(request("pvc-2", "", &both)).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 2);
    for (reference, words) in [
        ("efs/ids/none", ["Secret efs/ids", "\"none\""]),
        ("efs/ids/blank", ["Secret efs/ids", "\"blank\""]),
        ("efs/ids/bad", ["fs-XYZ", "fs-[0-9a-f]"]),
        ("efs/ids", ["fileSystemIdSecretRef", "namespace/name/key"]),
    ] {
        let refused = bed.create(request("pvc-3", "", &[("fileSystemIdSecretRef", reference)])).await;
        assert_refused(refused, Code::InvalidArgument, &words);
    }
    let two = bed.create(request("pvc-3", &fs, &[("fileSystemIdSecretRef", "efs/ids/main")])).await;
    assert_refused(two, Code::InvalidArgument, &["only one of fileSystemId, fileSystemIdSecretRef"]);
    let none = bed.create(request("pvc-3", " ", &[])).await;
    assert_refused(none, Code::InvalidArgument, &["one of fileSystemId"]);
}

#[tokio::test]
async fn patterns_name_directories_by_the_claim() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let meta = [
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("csi.storage.k8s.io/pvc/namespace", "team-a"),
        ("csi.storage.k8s.io/pv/name", "pvc-1"),
        ("basePath", "/base"),
        ("subPathPattern", "${.PVC.namespace}/${.PVC.name}"),
        ("ensureUniqueDirectory", "false"),
    ];
    bed.create(request("pvc-1", &fs, &meta)).await.unwrap();
    let points = bed.access_points(&fs).await;
    assert_eq!(points[0].root_directory().unwrap().path(), Some("/base/team-a/data"));
    // UB-8: without the names the Go driver makes a directory of nothing.
    let refused = bed.create(request("pvc-2", &fs, &[("subPathPattern", "${.PVC.name}")])).await;
    assert_refused(refused, Code::InvalidArgument, &["${.PVC.name}", "--extra-create-metadata"]);
    // UB-11: with the Go driver the volume would be the whole file system.
    let root = [("subPathPattern", ""), ("ensureUniqueDirectory", "false")];
    assert_refused(bed.create(request("pvc-2", &fs, &root)).await, Code::InvalidArgument, &["root of the file system"]);
}

#[tokio::test]
async fn tags_follow_the_flag_and_the_parameter() {
    let mut with_tags = config();
    with_tags.tags = [("env".to_owned(), "prod".to_owned())].into();
    let bed = Bed::with(with_tags).await;
    let fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    assert!(bed.access_points(&fs).await[0].tags().iter().any(|tag| tag.key() == "env" && tag.value() == "prod"));
    let refused = bed.create(request("pvc-2", &fs, &[("enableTagging", "false")])).await;
    assert_refused(refused, Code::InvalidArgument, &["enableTagging", "--tags"]);

    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[("enableTagging", "false")])).await.unwrap();
    assert!(bed.access_points(&fs).await[0].tags().is_empty());
}

fn zones(names: &[&str]) -> Vec<csi::Topology> {
    let topology = |zone: &&str| csi::Topology {
        segments: [("topology.kubernetes.io/zone".to_owned(), (*zone).to_owned())].into(),
    };
    names.iter().map(topology).collect()
}

/// Creates a volume with `enforceZoneAffinity` as given, requisite zones and preferred ones.
async fn in_zones(
    bed: &Bed,
    name: &str,
    fs: &str,
    affinity: Option<&str>,
    requisite: &[&str],
    preferred: &[&str],
) -> Result<Vec<csi::Topology>, tonic::Status> {
    let affinity: Vec<_> = affinity.into_iter().map(|value| ("enforceZoneAffinity", value)).collect();
    let mut asked = request(name, fs, &affinity);
    let wish = csi::TopologyRequirement { requisite: zones(requisite), preferred: zones(preferred) };
    asked.accessibility_requirements = (!requisite.is_empty() || !preferred.is_empty()).then_some(wish);
    bed.create(asked).await.map(|volume| volume.accessible_topology)
}

#[tokio::test]
async fn one_zone_file_systems_keep_their_pods_in_the_zone() {
    let bed = Bed::new().await;
    let (a, b, c) = ("us-east-1a", "us-east-1b", "us-east-1c");
    let one_zone = bed.file_system(Some(a)).await;
    let (always, never, automatic) = (Some("true"), Some("false"), None);
    // affinity, requisite, preferred → bound to the zone?
    type Wish<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str], bool);
    let cases: [Wish<'_>; 12] = [
        (always, &[], &[], true),
        (always, &[b, a], &[b], true),
        // A preference is to be tried first, and forbids nothing when it can't be met.
        (always, &[], &[b], true),
        (always, &[], &[b, a], true),
        (never, &[a], &[a], false),
        (never, &[b], &[], false),
        // Automatic: where the zone is among those that the volume may be used in, and never to anyone's harm.
        (automatic, &[], &[], false),
        (automatic, &[b, a], &[], true),
        (automatic, &[b, a], &[b, a], true),
        (automatic, &[], &[a], true),
        (automatic, &[], &[b], false),
        (automatic, &[b, c], &[b], false),
    ];
    for (n, (affinity, requisite, preferred, bound)) in cases.into_iter().enumerate() {
        let made = in_zones(&bed, &format!("pvc-{n}"), &one_zone, affinity, requisite, preferred).await.unwrap();
        assert_eq!(made, if bound { zones(&[a]) } else { vec![] }, "{affinity:?} {requisite:?} {preferred:?}");
    }
    assert_eq!(bed.calls("DescribeFileSystems"), 1, "a zone never changes");

    let before = bed.access_points(&one_zone).await.len();
    let refused = in_zones(&bed, "pvc-x", &one_zone, always, &[b, c], &[b]).await;
    assert_refused(refused, Code::ResourceExhausted, &[a, b, c]);
    assert_eq!(bed.access_points(&one_zone).await.len(), before, "the refused one left nothing");

    let regional = bed.file_system(None).await;
    for (n, affinity) in [always, automatic].into_iter().enumerate() {
        let made = in_zones(&bed, &format!("pvc-regional-{n}"), &regional, affinity, &[b], &[b]).await.unwrap();
        assert!(made.is_empty(), "a regional file system is everywhere");
    }
}

/// The Go driver asks for a zone only when told to; its IAM policies may forbid the question.
#[tokio::test]
async fn a_zone_that_may_not_be_asked_for_binds_nobody_unless_it_is_demanded() {
    use fake_efs::faults::{Effect, Rule};
    let bed = Bed::new().await;
    let fs = bed.file_system(Some("us-east-1a")).await;
    let denied = Effect::Error { name: "AccessDeniedException".into(), status: Some(403), message: None };
    bed.fake.faults().add(Rule::on("DescribeFileSystems", denied)).unwrap();
    assert_eq!(in_zones(&bed, "pvc-1", &fs, None, &["us-east-1a"], &[]).await.unwrap(), []);
    let refused = in_zones(&bed, "pvc-2", &fs, Some("true"), &["us-east-1a"], &[]).await;
    assert_refused(refused, Code::PermissionDenied, &["DescribeFileSystems", &fs]);
}

#[tokio::test]
async fn capacity_is_none_in_zones_that_a_volume_is_kept_out_of() {
    let bed = Bed::new().await;
    let fs = bed.file_system(Some("us-east-1a")).await;
    for (affinity, zone, none) in
        [("true", "us-east-1b", true), ("true", "us-east-1a", false), ("false", "us-east-1b", false)]
    {
        let asked = csi::GetCapacityRequest {
            parameters: request("x", &fs, &[("enforceZoneAffinity", affinity)]).parameters,
            accessible_topology: zones(&[zone]).pop(),
            ..Default::default()
        };
        let capacity = bed.csi.clone().get_capacity(asked).await.unwrap().into_inner().available_capacity;
        assert_eq!(capacity == 0, none, "{affinity} {zone}");
    }
}

#[tokio::test]
async fn requests_against_the_specification_are_refused() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let change = |edit: fn(&mut csi::CreateVolumeRequest)| {
        let mut asked = request("pvc-1", &fs, &[]);
        edit(&mut asked);
        bed.create(asked)
    };
    assert_refused(change(|r| r.name.clear()).await, Code::InvalidArgument, &["name"]);
    assert_refused(change(|r| r.name = "a\u{7}b".into()).await, Code::InvalidArgument, &["control character"]);
    assert_refused(
        change(|r| r.volume_content_source = Some(csi::VolumeContentSource::default())).await,
        Code::InvalidArgument,
        &["volume_content_source"],
    );
    let range = |required_bytes, limit_bytes| Some(csi::CapacityRange { required_bytes, limit_bytes });
    let mut asked = request("pvc-1", &fs, &[]);
    asked.capacity_range = range(2, 1);
    assert_refused(bed.create(asked.clone()).await, Code::OutOfRange, &["limit_bytes=1"]);
    asked.capacity_range = range(-1, 0);
    assert_refused(bed.create(asked).await, Code::InvalidArgument, &["required_bytes=-1"]);
    let mut asked = request("pvc-1", &fs, &[]);
    asked.mutable_parameters = [("XXX_FakeKey".to_owned(), "x".to_owned())].into();
    assert_refused(bed.create(asked).await, Code::InvalidArgument, &["XXX_FakeKey"]);
    assert_eq!(bed.calls("CreateAccessPoint"), 0);
}
