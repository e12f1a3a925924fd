//! NodePublishVolume's request as types: handle, access mode, volume context and mount flags, with the Go driver's rules
//! about what goes together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use csi_proto::csi::{self, volume_capability};
use efs_tunnel::{IamSource, Route, TunnelSpec};

use super::errors::NodeError;
use super::pod::{PodAttributes, PodRequest, is_role};
use super::records::MountRequest;
use crate::efs::metadata::UnknownError;
use crate::endpoints;
use crate::limits::cut;
use crate::mount::MountOptions;
use crate::mount::options::{EfsOptions, ParsedOptions};
use crate::volume::{AccessPointId, FileSystemKind, VolumeId};

pub use csi::volume_capability::access_mode::Mode;

/// A path is never longer than this (PATH_MAX), in bytes.
const PATH_MAX: usize = 4096;

/// What to publish where.
#[derive(Debug)]
pub struct PublishRequest {
    /// The handle as given.
    pub volume: String,
    /// The target path as given, checked.
    pub target: PathBuf,
    /// The access mode.
    pub mode: Mode,
    /// What to mount and how; a pod's identity is not in it yet.
    pub mount: MountRequest,
    /// The pod, when the mount is to have its identity.
    pub pod: Option<PodRequest>,
    /// The file id that the directory must have, where the controller has told it.
    pub directory_id: Option<u64>,
}

/// A volume context, with the keys that the Go driver knows.
#[derive(Debug, PartialEq, Eq)]
struct Context {
    encrypted: bool,
    directory_id: Option<u64>,
    route: Route,
    pod: PodAttributes,
}

impl PublishRequest {
    /// Checks a request. `node_region` is the region for volumes that name none, or why it is unknown.
    pub fn parse(
        request: &csi::NodePublishVolumeRequest,
        node_region: &Result<String, UnknownError>,
    ) -> Result<Self, NodeError> {
        let target = target_path("target_path", &request.target_path)?;
        let (mode, flags) = capability(request.volume_capability.as_ref())?;
        let volume = volume_id(&request.volume_id)?;
        let context = Context::parse(&request.volume_context)?;
        let parsed = ParsedOptions::parse(flags, volume.kind()).map_err(|error| {
            NodeError::request(format!("mountOptions {:?}", error.option), error.source.to_string())
        })?;
        if !parsed.ignored.is_empty() {
            tracing::info!(volume = request.volume_id, options = ?parsed.ignored, "mount options without effect");
        }
        let access_point = access_point(&volume, &parsed.efs)?;
        let encrypted = encrypted(&context, &parsed.efs, access_point.as_ref())?;
        let always_signed = volume.kind() == FileSystemKind::S3Files;
        if always_signed {
            check_for_s3_files(&context)?;
        }
        if context.pod.is_asked_for && !encrypted {
            let reason = "pod needs encryption; remove encryptInTransit: \"false\"";
            return Err(NodeError::request("volume_context[\"authenticationSource\"]", reason));
        }
        let iam = iam_source(&parsed.efs, encrypted, always_signed || context.pod.is_asked_for)?;
        if parsed.efs.max_connections.is_some() && !encrypted {
            let reason = "needs encryption; remove encryptInTransit: \"false\", or use nconnect";
            return Err(NodeError::request("mountOptions maxconn", reason));
        }
        check_pod(&context.pod, iam.as_ref())?;
        let mut options: MountOptions = parsed.kernel;
        if request.readonly || matches!(mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly) {
            options.set_read_only();
        }
        let region = match (&parsed.efs.region, node_region) {
            (Some(region), _) | (None, Ok(region)) => region.as_str(),
            (None, Err(error)) => return Err(NodeError::Unknown(error.clone())),
        };
        if !endpoints::is_region(region) {
            let field = if parsed.efs.region.is_some() { "mountOptions region" } else { "region of the node" };
            return Err(NodeError::request(field, format!("{region:?} is not the name of a region")));
        }
        let pod = PodRequest::parse(request, context.pod, region)?;
        let spec = TunnelSpec {
            service: volume.kind().into(),
            file_system: volume.file_system.to_string(),
            access_point: access_point.as_ref().map(ToString::to_string),
            region: region.to_owned(),
            server_name: endpoints::file_system_name(volume.kind().into(), volume.file_system.as_str(), region),
            iam,
            route: route(context.route, &parsed.efs)?,
        };
        let mount = MountRequest { spec, encrypted, path: subdirectory(&volume)?, options };
        Ok(Self { volume: request.volume_id.clone(), target, mode, mount, pod, directory_id: context.directory_id })
    }
}

/// An absolute path without `..` and with a last component of its own, so that it can't climb out of anything.
pub fn target_path(field: &str, path: &str) -> Result<PathBuf, NodeError> {
    let wrong = |reason: &str| Err(NodeError::request(field, format!("{:?} {reason}", cut(path))));
    if path.is_empty() {
        return Err(NodeError::request(field, "is missing"));
    }
    if path.len() > PATH_MAX || path.contains('\0') {
        return wrong("is not a usable path");
    }
    let parsed = Path::new(path);
    if !parsed.is_absolute() {
        return wrong("must be an absolute path");
    }
    if parsed.components().any(|component| matches!(component, Component::ParentDir)) {
        return wrong("must not contain \"..\"");
    }
    if parsed.file_name().is_none() {
        return wrong("must name a directory below the root");
    }
    Ok(parsed.components().collect())
}

/// A well-formed handle of a service that this driver has.
pub fn volume_id(handle: &str) -> Result<VolumeId, NodeError> {
    if handle.is_empty() {
        return Err(NodeError::request("volume_id", "is missing"));
    }
    handle.parse().map_err(|error| NodeError::request("volume_id", format!("{error}")))
}

/// What S3 Files refuses and EFS doesn't.
fn check_for_s3_files(context: &Context) -> Result<(), NodeError> {
    if !context.encrypted {
        let reason = "S3 Files is always encrypted; remove encryptInTransit: \"false\"";
        return Err(NodeError::request("volume_context[\"encryptInTransit\"]", reason));
    }
    if context.route.cross_account {
        let reason = "is for EFS only; name the mount targets with mounttargetip or mounttargetipmap";
        return Err(NodeError::request("volume_context[\"crossaccount\"]", reason));
    }
    Ok(())
}

fn capability(capability: Option<&csi::VolumeCapability>) -> Result<(Mode, &[String]), NodeError> {
    let wrong = |reason: &str| NodeError::request("volume_capability", reason);
    let capability = capability.ok_or_else(|| wrong("is missing"))?;
    let flags = match &capability.access_type {
        Some(volume_capability::AccessType::Mount(mount)) => mount.mount_flags.as_slice(),
        Some(volume_capability::AccessType::Block(_)) => {
            return Err(wrong("volume capability not supported: EFS has no block volumes, use access type mount"));
        }
        None => return Err(wrong("has no access type")),
    };
    match capability.access_mode.as_ref().map(csi::volume_capability::AccessMode::mode) {
        Some(Mode::Unknown) | None => Err(wrong("volume capability not supported: unknown access mode")),
        Some(mode) => Ok((mode, flags)),
    }
}

fn subdirectory(volume: &VolumeId) -> Result<String, NodeError> {
    let path = volume.path.as_deref().unwrap_or_default();
    if path.split('/').any(|part| part == "..") {
        return Err(NodeError::request("volume_id", format!("path {:?} leads out of the file system", cut(path))));
    }
    Ok(volume.subdirectory())
}

fn access_point(volume: &VolumeId, options: &EfsOptions) -> Result<Option<AccessPointId>, NodeError> {
    let Some(option) = &options.access_point else { return Ok(volume.access_point.clone()) };
    let option: AccessPointId =
        option.parse().map_err(|error| NodeError::request("mountOptions accesspoint", format!("{error}")))?;
    match &volume.access_point {
        Some(handle) if *handle != option => Err(NodeError::request(
            "mountOptions accesspoint",
            format!("names {option}, the volume handle names {handle}; remove one of them"),
        )),
        _ => {
            tracing::warn!(access_point = %option, "mountOptions accesspoint is deprecated, write it in the volume handle");
            Ok(Some(option))
        }
    }
}

fn encrypted(context: &Context, options: &EfsOptions, point: Option<&AccessPointId>) -> Result<bool, NodeError> {
    if options.tls && !context.encrypted {
        return Err(NodeError::request(
            "mountOptions tls",
            "contradicts encryptInTransit: \"false\"; remove one of them",
        ));
    }
    if point.is_some() && !context.encrypted {
        tracing::info!("an access point needs encryption, so encryptInTransit: \"false\" has no effect");
    }
    Ok(context.encrypted || point.is_some())
}

fn iam_source(options: &EfsOptions, encrypted: bool, always_signed: bool) -> Result<Option<IamSource>, NodeError> {
    let source = match (&options.role, &options.token_file, &options.profile) {
        (Some(role), Some(token_file), _) => {
            IamSource::WebIdentity { role: role.clone(), token_file: token_file.clone() }
        }
        (_, _, Some(profile)) => IamSource::Profile(profile.clone()),
        _ => IamSource::Default,
    };
    if !options.iam && !always_signed {
        if source != IamSource::Default {
            return Err(NodeError::request("mountOptions awsprofile or rolearn", "needs the mount option iam"));
        }
        return Ok(None);
    }
    if !encrypted {
        return Err(NodeError::request("mountOptions iam", "needs encryption; remove encryptInTransit: \"false\""));
    }
    Ok(Some(source))
}

/// The pod's identity goes with nothing that names another one.
fn check_pod(pod: &PodAttributes, iam: Option<&IamSource>) -> Result<(), NodeError> {
    let field = |key: &str| format!("volume_context[{key:?}]");
    if !pod.is_asked_for {
        let given = [("roleArn", &pod.role), ("stsRegion", &pod.sts_region)];
        return match given.iter().find(|(_, value)| value.is_some()) {
            Some((key, _)) => Err(NodeError::request(field(key), "needs authenticationSource: pod")),
            None => Ok(()),
        };
    }
    match iam {
        None | Some(IamSource::Default) => Ok(()),
        Some(_) => {
            let reason = "contradicts authenticationSource: pod; remove one of them";
            Err(NodeError::request("mountOptions awsprofile, rolearn or jwtpath", reason))
        }
    }
}

fn route(context: Route, options: &EfsOptions) -> Result<Route, NodeError> {
    let address = match (context.address, options.mount_target) {
        (Some(one), Some(other)) if one != other => {
            let reason = format!("names {other}, the volume attribute names {one}; remove one of them");
            return Err(NodeError::request("mountOptions mounttargetip", reason));
        }
        (one, other) => one.or(other),
    };
    if context.cross_account && address.is_some() {
        let field = match context.address {
            Some(_) => "volume_context[\"mounttargetip\"]",
            None => "mountOptions mounttargetip",
        };
        return Err(NodeError::request(field, "can't be combined with crossaccount: \"true\""));
    }
    if let Some(zone) = &options.zone
        && !endpoints::is_region(zone)
    {
        let reason = format!("{zone:?} is neither name nor id of an availability zone");
        return Err(NodeError::request("mountOptions az or azid", reason));
    }
    Ok(Route { address, zone: options.zone.clone(), max_connections: options.max_connections, ..context })
}

impl Context {
    fn parse(attributes: &HashMap<String, String>) -> Result<Self, NodeError> {
        let mut context =
            Self { encrypted: true, directory_id: None, route: Route::default(), pod: PodAttributes::default() };
        for (key, value) in attributes {
            let field = || format!("volume_context[{key:?}]");
            match key.to_ascii_lowercase().as_str() {
                "storage.kubernetes.io/csiprovisioneridentity" => {}
                "csi.storage.k8s.io/ephemeral" if value == "true" => {
                    return Err(NodeError::request(field(), "ephemeral inline volumes are not supported"));
                }
                key if key.starts_with("csi.storage.k8s.io/") => {}
                "directoryid" => {
                    let id = value.parse();
                    let reason = || format!("{value:?} must be the file id of the volume's directory, a number");
                    context.directory_id = Some(id.map_err(|_| NodeError::request(field(), reason()))?);
                }
                "encryptintransit" => context.encrypted = boolean(value).ok_or_else(|| not_boolean(field(), value))?,
                "authenticationsource" => {
                    context.pod.is_asked_for = match value.as_str() {
                        "driver" => false,
                        "pod" => true,
                        _ => {
                            let reason = format!("{:?} is neither \"driver\" nor \"pod\"", cut(value));
                            return Err(NodeError::request(field(), reason));
                        }
                    }
                }
                "rolearn" if !is_role(value) => {
                    let reason = format!("{:?} is not the ARN of a role", cut(value));
                    return Err(NodeError::request(field(), reason));
                }
                "rolearn" => context.pod.role = Some(value.clone()),
                "stsregion" if !endpoints::is_region(value) => {
                    return Err(NodeError::request(field(), format!("{:?} is not the name of a region", cut(value))));
                }
                "stsregion" => context.pod.sts_region = Some(value.clone()),
                "crossaccount" => {
                    context.route.cross_account = boolean(value).ok_or_else(|| not_boolean(field(), value))?;
                }
                "mounttargetip" => {
                    let address = value.parse().map_err(|_| not_address(field(), value))?;
                    context.route.address = Some(address);
                }
                "mounttargetipmap" => {
                    let map: std::collections::BTreeMap<String, String> =
                        serde_json::from_str(value).map_err(|error| {
                            NodeError::request(field(), format!("is not a JSON object of texts: {error}"))
                        })?;
                    for (zone, address) in map {
                        // One of each family, where the mount target has both.
                        let parsed: Result<Vec<IpAddr>, _> =
                            address.split(',').map(|address| address.trim().parse()).collect();
                        let parsed = parsed.map_err(|_| not_address(field(), &address))?;
                        context.route.by_zone.insert(zone, parsed.into());
                    }
                }
                "path" => {
                    let reason = "is not supported any more; write the path in the volume handle, fs-…:/path";
                    return Err(NodeError::request(field(), reason));
                }
                _ => return Err(NodeError::request(field(), "is not supported")),
            }
        }
        Ok(context)
    }
}

/// A boolean as the Go driver reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn not_boolean(field: String, value: &str) -> NodeError {
    NodeError::request(field, format!("{value:?} is neither \"true\" nor \"false\""))
}

fn not_address(field: String, value: &str) -> NodeError {
    NodeError::request(field, format!("{value:?} is not an IPv4 or IPv6 address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::options::ParsedOptions;
    use std::fmt::Write as _;

    const TARGET: &str = "/var/lib/kubelet/pods/p/volumes/kubernetes.io~csi/v/mount";
    const POINT: &str = "fsap-0123456789abcdef0";
    const ROLE: &str = "arn:aws:iam::123456789012:role/app";

    /// A request for `handle` with these mount options and attributes.
    fn request(handle: &str, flags: &[&str], context: &[(&str, &str)]) -> csi::NodePublishVolumeRequest {
        let mount = volume_capability::MountVolume {
            mount_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..Default::default()
        };
        csi::NodePublishVolumeRequest {
            volume_id: handle.to_owned(),
            target_path: TARGET.to_owned(),
            volume_capability: Some(csi::VolumeCapability {
                access_mode: Some(volume_capability::AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
                access_type: Some(volume_capability::AccessType::Mount(mount)),
            }),
            volume_context: context.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Default::default()
        }
    }

    fn parse(request: &csi::NodePublishVolumeRequest) -> Result<PublishRequest, NodeError> {
        PublishRequest::parse(request, &Ok("us-east-1".to_owned()))
    }

    fn parsed(handle: &str, flags: &[&str], context: &[(&str, &str)]) -> PublishRequest {
        parse(&request(handle, flags, context))
            .unwrap_or_else(|error| panic!("{handle} {flags:?} {context:?}: {error}"))
    }

    fn refusal(request: &csi::NodePublishVolumeRequest) -> String {
        let error = parse(request).expect_err("must be refused");
        format!("{}: {error}", csi_proto::code_name(error.code()))
    }

    #[test]
    fn both_grammars_name_the_same_mounts() {
        let handle = format!("fs-12345678:/sub/dir:{POINT}");
        let (old, new) = (parsed(&handle, &[], &[]), parsed(&format!("efs:{handle}"), &[], &[]));
        assert_eq!(old.mount, new.mount);
        assert_eq!((old.mount.path.as_str(), old.mount.encrypted), ("/sub/dir", true));
        assert_eq!(old.mount.spec.access_point.as_deref(), Some(POINT));
        assert_eq!(old.mount.spec.server_name, "fs-12345678.efs.us-east-1.amazonaws.com");
        assert_eq!(old.target, Path::new(TARGET));
        for whole in ["fs-12345678", "fs-12345678:", "efs:fs-12345678::", "fs-12345678:/"] {
            let mount = parsed(whole, &[], &[]).mount;
            assert_eq!((mount.path.as_str(), mount.spec.access_point), ("/", None), "{whole}");
        }
    }

    #[test]
    fn volumes_of_s3_files_are_always_signed_and_encrypted() {
        let handles = [
            ("s3files:fs-12345678".to_owned(), "/", None),
            ("s3files:fs-12345678:/sub/dir".to_owned(), "/sub/dir", None),
            (format!("s3files:fs-12345678:/sub:{POINT}"), "/sub", Some(POINT)),
            (format!("s3files:fs-12345678::{POINT}"), "/", Some(POINT)),
        ];
        for (handle, path, point) in handles {
            let mount = parsed(&handle, &[], &[]).mount;
            assert_eq!((mount.path.as_str(), mount.spec.access_point.as_deref()), (path, point), "{handle}");
            assert_eq!(mount.spec.service, efs_tunnel::Service::S3Files);
            assert_eq!(mount.spec.server_name, "fs-12345678.s3files.us-east-1.on.aws");
            assert_eq!((mount.encrypted, mount.spec.iam), (true, Some(IamSource::Default)));
        }
        let zoned = parsed("s3files:fs-12345678", &["azid=use1-az4", "nodirects3read,nos3readcache", "tls,iam"], &[]);
        assert_eq!(zoned.mount.spec.route.zone.as_deref(), Some("use1-az4"));
        let profile = parsed("s3files:fs-12345678", &["awsprofile=other"], &[]).mount.spec.iam;
        assert_eq!(profile, Some(IamSource::Profile("other".to_owned())));
        for (flags, context, words) in [
            (&[][..], &[("encryptInTransit", "false")][..], "S3 Files is always encrypted"),
            (&[], &[("crossaccount", "true")], "crossaccount"),
            (&["az=use1-az4"], &[], "use azid"),
            (&["crossaccount"], &[], "crossaccount"),
            (&["stunnel"], &[], "stunnel"),
            (&["notls"], &[], "notls"),
            (&["vers=4.0"], &[], "one of 4, 4.1, 4.2"),
        ] {
            let told = refusal(&request(&format!("s3files:fs-12345678::{POINT}"), flags, context));
            assert!(told.starts_with("INVALID_ARGUMENT") && told.contains(words), "{told}");
        }
    }

    #[test]
    fn an_access_point_in_the_options_is_the_one_of_the_handle() {
        let by_option = parsed("fs-12345678", &[&format!("accesspoint={POINT}")], &[]);
        assert_eq!(by_option.mount, parsed(&format!("fs-12345678::{POINT}"), &[], &[]).mount);
        let both = parsed(&format!("fs-12345678::{POINT}"), &[&format!("accesspoint={POINT}")], &[]);
        assert_eq!(both.mount, by_option.mount);
    }

    #[test]
    fn plain_mounts_are_made_only_where_nothing_needs_a_tunnel() {
        let plain = [("encryptInTransit", "false")];
        assert!(!parsed("fs-12345678", &[], &plain).mount.encrypted);
        assert!(parsed("fs-12345678", &["tls"], &[]).mount.encrypted);
        assert!(parsed(&format!("fs-12345678::{POINT}"), &[], &plain).mount.encrypted, "an access point needs one");
        assert!(!parsed("fs-12345678", &[], &[("EncryptInTransit", "F")]).mount.encrypted, "keys have no case");
    }

    #[test]
    fn readers_get_read_only_mounts() {
        let read_only = |change: &dyn Fn(&mut csi::NodePublishVolumeRequest)| {
            let mut request = request("fs-12345678", &[], &[]);
            change(&mut request);
            parse(&request).expect("parse").mount.options.read_only()
        };
        let mode = |mode: Mode| {
            move |request: &mut csi::NodePublishVolumeRequest| {
                let capability = request.volume_capability.as_mut().expect("capability");
                capability.access_mode = Some(volume_capability::AccessMode { mode: mode.into() });
            }
        };
        assert!(!read_only(&|_| {}));
        assert!(read_only(&|request| request.readonly = true));
        assert!(read_only(&mode(Mode::SingleNodeReaderOnly)) && read_only(&mode(Mode::MultiNodeReaderOnly)));
        for writer in [
            Mode::SingleNodeWriter,
            Mode::MultiNodeSingleWriter,
            Mode::MultiNodeMultiWriter,
            Mode::SingleNodeSingleWriter,
            Mode::SingleNodeMultiWriter,
        ] {
            assert!(!read_only(&mode(writer)), "{writer:?}");
        }
        assert!(parsed("fs-12345678", &["ro"], &[]).mount.options.read_only());
    }

    #[test]
    fn the_way_to_the_mount_target_is_kept_with_the_tunnel() {
        let one = parsed("fs-12345678", &[], &[("mounttargetip", "192.0.2.1")]).mount.spec.route;
        assert_eq!(one.address, Some(IpAddr::from([192, 0, 2, 1])));
        let six = parsed("fs-12345678", &["mounttargetip=2001:db8::1"], &[]).mount.spec.route;
        assert!(six.address.is_some_and(|address| address.is_ipv6()));
        let map = r#"{"us-east-1a":"192.0.2.1","use1-az2":"192.0.2.2,2001:db8::2"}"#;
        let zones = parsed("fs-12345678", &[], &[("mounttargetipmap", map)]).mount.spec.route;
        assert_eq!(zones.by_zone["us-east-1a"].all(), [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(zones.by_zone["use1-az2"].all(), [IpAddr::from([192, 0, 2, 2]), "2001:db8::2".parse().unwrap()]);
        // Records of an earlier version are read, and an earlier version reads ours where there is one address.
        let route = r#"{"by_zone":{"us-east-1a":"192.0.2.1"}}"#;
        let kept: efs_tunnel::Route = serde_json::from_str(route).unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), route);
        assert!(parsed("fs-12345678", &[], &[("crossaccount", "true")]).mount.spec.route.cross_account);
        let several = parsed("fs-12345678", &["maxconn=4"], &[]).mount.spec.route;
        assert_eq!(several.max_connections, Some(4));
        let zone = parsed("fs-12345678", &["az=us-east-1b"], &[]).mount.spec.route;
        assert_eq!(zone.zone.as_deref(), Some("us-east-1b"));
        let region = parsed("fs-12345678", &["region=cn-north-1"], &[]).mount.spec;
        assert_eq!(region.server_name, "fs-12345678.efs.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn credentials_are_named_not_kept() {
        let iam = |flags: &[&str]| parsed("fs-12345678", flags, &[]).mount.spec.iam;
        assert_eq!(iam(&[]), None);
        assert_eq!(iam(&["iam"]), Some(IamSource::Default));
        assert_eq!(iam(&["iam", "awsprofile=dev"]), Some(IamSource::Profile("dev".to_owned())));
        let role = "arn:aws:iam::123456789012:role/efs".to_owned();
        let web = iam(&["iam", &format!("rolearn={role}"), "jwtpath=/var/run/token"]);
        assert_eq!(web, Some(IamSource::WebIdentity { role, token_file: "/var/run/token".to_owned() }));
    }

    /// What is wrong, then handle, mount options and attributes.
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

    /// Pod information, which a CSIDriver with podInfoOnMount asks for, and keys of sidecars are nobody's fault.
    #[test]
    fn attributes_that_kubernetes_adds_are_ignored() {
        let context = [
            ("storage.kubernetes.io/csiProvisionerIdentity", "1-efs.csi.aws.com"),
            ("csi.storage.k8s.io/pod.name", "web-0"),
            ("csi.storage.k8s.io/ephemeral", "false"),
        ];
        assert_eq!(parsed("fs-12345678", &[], &context).mount, parsed("fs-12345678", &[], &[]).mount);
    }

    #[test]
    fn wrong_requests_are_refused_with_the_words_recorded() {
        let fs = "fs-12345678";
        let with_point = format!("{fs}::{POINT}");
        let (plain, pod) = (("encryptInTransit", "false"), ("authenticationSource", "pod"));
        let of_pod =
            [("csi.storage.k8s.io/pod.namespace", "team-a"), ("csi.storage.k8s.io/serviceAccount.name", "app")];
        let cases: &[Case<'_>] = &[
            ("no handle", "", &[], &[]),
            ("a handle of nothing", "volume", &[], &[]),
            ("S3 Files without encryption", "s3files:fs-12345678", &[], &[plain]),
            ("S3 Files across accounts", "s3files:fs-12345678", &[], &[("crossaccount", "true")]),
            ("a path that climbs out", "fs-12345678:a/../../b", &[], &[]),
            ("two access points", &with_point, &["accesspoint=fsap-ffffffffffffffff0"], &[]),
            ("an access point of nothing", fs, &["accesspoint=fsap-x"], &[]),
            ("tls and not", fs, &["tls"], &[plain]),
            ("iam without encryption", fs, &["iam"], &[plain]),
            ("connections without encryption", fs, &["maxconn=4"], &[plain]),
            ("too many connections", fs, &["maxconn=17"], &[]),
            ("a profile without iam", fs, &["awsprofile=dev"], &[]),
            ("an option of nobody", fs, &["nconect=4"], &[]),
            ("a smuggled option", fs, &["rsize=1048576,port=22"], &[]),
            ("a region of nothing", fs, &["region=us east"], &[]),
            ("a zone that is a host", fs, &["az=evil.example.com"], &[]),
            ("two addresses", fs, &["mounttargetip=192.0.2.1"], &[("mounttargetip", "192.0.2.2")]),
            ("an address across accounts", fs, &[], &[("mounttargetip", "192.0.2.2"), ("crossaccount", "true")]),
            ("an address of nothing", fs, &[], &[("mounttargetip", "192.0.2.2,port=1")]),
            ("a map with an address of nothing", fs, &[], &[("mounttargetipmap", r#"{"a":"x,y"}"#)]),
            ("a map of nothing", fs, &[], &[("mounttargetipmap", "a=b")]),
            ("a boolean of nothing", fs, &[], &[("encryptInTransit", "maybe")]),
            ("an attribute of the past", fs, &[], &[("path", "/x")]),
            ("an attribute of nobody", fs, &[], &[("encryptInTransitt", "true")]),
            ("an inline volume", fs, &[], &[("csi.storage.k8s.io/ephemeral", "true")]),
            ("an authentication of nobody", fs, &[], &[("authenticationSource", "node")]),
            ("a role without a pod", fs, &[], &[("roleArn", ROLE)]),
            (
                "a region of STS without a pod",
                fs,
                &[],
                &[("authenticationSource", "driver"), ("stsRegion", "eu-west-1")],
            ),
            ("a role of nothing", fs, &[], &[pod, ("roleArn", "arn:aws:iam::1:role/x")]),
            ("a region of STS that is a host", fs, &[], &[pod, ("stsRegion", "evil.example.com")]),
            ("a pod without encryption", fs, &[], &[pod, plain]),
            ("two identities", fs, &["iam", "awsprofile=dev"], &[pod]),
            ("two identities, one implied", fs, &["awsprofile=dev"], &[pod]),
            ("an authentication that got lost", fs, &[], &[("authenticationSource", "")]),
            ("a pod that nobody names", fs, &[], &[pod]),
            ("a pod without a service account", fs, &[], &[pod, ("csi.storage.k8s.io/pod.namespace", "team-a")]),
            ("a pod without tokens", fs, &[], &[pod, of_pod[0], of_pod[1]]),
            ("tokens that are none", fs, &[], &[pod, of_pod[0], of_pod[1], (super::super::pod::TOKENS_KEY, "secret")]),
        ];
        let mut text = String::new();
        for (name, handle, flags, context) in cases {
            writeln!(text, "{name}\n    {}", refusal(&request(handle, flags, context))).expect("write");
        }
        type Change = (&'static str, fn(&mut csi::NodePublishVolumeRequest));
        let changes: [Change; 9] = [
            ("no target", |it| it.target_path.clear()),
            ("a relative target", |it| it.target_path = "pods/p".to_owned()),
            ("a target that climbs", |it| it.target_path = "/var/lib/kubelet/../../etc".to_owned()),
            ("the root as target", |it| it.target_path = "/".to_owned()),
            ("a target with a NUL", |it| it.target_path = "/a\0b".to_owned()),
            ("no capability", |it| it.volume_capability = None),
            ("a block volume", |it| {
                let block = volume_capability::AccessType::Block(volume_capability::BlockVolume {});
                it.volume_capability.as_mut().expect("capability").access_type = Some(block);
            }),
            ("no access type", |it| it.volume_capability.as_mut().expect("capability").access_type = None),
            ("no access mode", |it| it.volume_capability.as_mut().expect("capability").access_mode = None),
        ];
        for (name, change) in changes {
            let mut request = request(fs, &[], &[]);
            change(&mut request);
            writeln!(text, "{name}\n    {}", refusal(&request)).expect("write");
        }
        insta::assert_snapshot!(text);
    }

    #[tokio::test]
    async fn a_node_without_a_region_needs_one_in_the_options() {
        use crate::efs::metadata::{Given, Metadata};
        let nobody = Metadata::new(Given::default(), None).without_imds().region().await;
        let error = PublishRequest::parse(&request("fs-12345678", &[], &[]), &nobody).expect_err("unknown");
        assert!(matches!(error, NodeError::Unknown(_)), "{error}");
        let named = PublishRequest::parse(&request("fs-12345678", &["region=eu-west-1"], &[]), &nobody).expect("parse");
        assert_eq!(named.mount.spec.region, "eu-west-1");
    }

    /// What the options come to is the options' business; here it only matters that all of them arrive.
    #[test]
    fn options_for_the_kernel_arrive() {
        let flags = ["nconnect=4", "noatime"].map(str::to_owned);
        let want = ParsedOptions::parse(&flags, FileSystemKind::Efs).expect("options").kernel;
        assert_eq!(parsed("fs-12345678", &["nconnect=4", "noatime"], &[]).mount.options, want);
    }
}
