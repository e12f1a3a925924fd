//! What a PersistentVolume uses: a file system, an access point, a directory, wherever it says so. Besides the volume handle that is the mount
//! option `accesspoint`, which the node still takes; and people mount EFS with Kubernetes' own NFS volumes and with csi-driver-nfs, too.

use efs_directories::DirectoryPath;
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolumeSpec};

use crate::identity::PLUGIN_NAME;
use crate::volume::id::clean_path;
use crate::volume::{AccessPointId, FileSystemId, VolumeId};

/// The driver of <https://github.com/kubernetes-csi/csi-driver-nfs>.
const NFS_PLUGIN: &str = "nfs.csi.k8s.io";

/// A place on EFS that a PersistentVolume uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The file system.
    pub file_system: FileSystemId,
    /// The access point, if it goes through one.
    pub access_point: Option<AccessPointId>,
    /// The directory below the access point's root, or the file system's; nothing for that root itself, or a path that no volume of this
    /// driver can have.
    pub path: Option<DirectoryPath>,
}

impl Used {
    /// What a handle of this driver says.
    pub fn of_handle(handle: &str) -> Option<Self> {
        let volume: VolumeId = handle.parse().ok()?;
        Some(Self {
            path: volume.subdirectory().parse().ok(),
            file_system: volume.file_system,
            access_point: volume.access_point,
        })
    }

    /// What a PersistentVolume says.
    pub fn of_volume(spec: &PersistentVolumeSpec) -> Option<Self> {
        if let Some(nfs) = &spec.nfs {
            return Self::of_export(&nfs.server, &nfs.path);
        }
        let csi = spec.csi.as_ref()?;
        match csi.driver.as_str() {
            PLUGIN_NAME => {
                let used = Self::of_handle(&csi.volume_handle)?;
                let option = || access_point_option(spec.mount_options.iter().flatten());
                // The attribute is that of old versions of the Go driver, whose node plug-in may still be at work during a migration.
                let attribute = || csi.volume_attributes.as_ref()?.get("path")?.parse().ok();
                let path = used.path.clone().or_else(attribute);
                Some(Self { access_point: used.access_point.clone().or_else(option), path, ..used })
            }
            NFS_PLUGIN => of_nfs_plugin(csi),
            _ => None,
        }
    }

    /// An NFS export whose server has the DNS name of a file system, or of its mount target in a zone. Of an address nobody tells
    /// whose it is.
    fn of_export(server: &str, path: &str) -> Option<Self> {
        let file_system = server.to_ascii_lowercase().split('.').find_map(|label| label.parse().ok())?;
        Some(Self { file_system, access_point: None, path: clean_path(&format!("/{path}")).parse().ok() })
    }
}

fn of_nfs_plugin(csi: &CSIPersistentVolumeSource) -> Option<Used> {
    // Its attributes' names are taken in any case; without them the handle tells: SERVER#SHARE#SUBDIRECTORY#…
    let mut parts = csi.volume_handle.split('#');
    let mut get = |name: &str| {
        let part = parts.next().unwrap_or_default();
        let mut attributes = csi.volume_attributes.iter().flatten();
        let found = attributes.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or(part, |(_, value)| value.as_str())
    };
    let (server, share, subdirectory) = (get("server"), get("share"), get("subdir"));
    Used::of_export(server, &format!("{share}/{subdirectory}"))
}

/// The access point of mount options, of which each may hold several with commas between: as the node reads them, in any case, and of
/// several the last.
fn access_point_option<'a>(options: impl IntoIterator<Item = &'a String>) -> Option<AccessPointId> {
    let words = options.into_iter().flat_map(|option| option.split(','));
    let named = words.filter_map(|word| word.trim().split_once('='));
    let last = named.filter(|(key, _)| key.eq_ignore_ascii_case("accesspoint")).last();
    last.and_then(|(_, id)| id.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FS: &str = "fs-0123456789abcdef0";
    const POINT: &str = "fsap-0123456789abcdef0";

    fn used(spec: serde_json::Value) -> Option<(String, Option<String>, Option<String>)> {
        let spec: PersistentVolumeSpec = serde_json::from_value(spec).unwrap();
        let used = Used::of_volume(&spec)?;
        Some((
            used.file_system.to_string(),
            used.access_point.map(|id| id.to_string()),
            used.path.map(|path| path.to_string()),
        ))
    }

    fn ours(handle: &str, options: &[&str]) -> Option<(String, Option<String>, Option<String>)> {
        let csi = serde_json::json!({"driver": PLUGIN_NAME, "volumeHandle": handle});
        used(serde_json::json!({"csi": csi, "mountOptions": options}))
    }

    #[test]
    fn handles_and_mount_options_name_access_points() {
        let point = || Some(POINT.to_owned());
        let path = || Some("/a/b".to_owned());
        assert_eq!(ours(&format!("{FS}::{POINT}"), &[]), Some((FS.into(), point(), None)));
        assert_eq!(ours(&format!("{FS}:/a//b/:{POINT}"), &[]), Some((FS.into(), point(), path())));
        let option = format!("accesspoint={POINT}");
        assert_eq!(ours(FS, &["tls", &option]), Some((FS.into(), point(), None)));
        assert_eq!(ours(&format!("{FS}:a/b"), &[&format!("tls,{option}")]), Some((FS.into(), point(), path())));
        assert_eq!(ours(&format!("{FS}:/a/b"), &["tls"]), Some((FS.into(), None, path())));
        let several = format!("accesspoint=fsap-00000000000000001,AccessPoint={POINT}");
        assert_eq!(ours(FS, &[&several]), Some((FS.into(), point(), None)));
        let attributes = serde_json::json!({"path": "/a/b"});
        let old = serde_json::json!({"driver": PLUGIN_NAME, "volumeHandle": FS, "volumeAttributes": attributes});
        assert_eq!(
            super::Used::of_volume(&serde_json::from_value(serde_json::json!({"csi": old})).unwrap())
                .unwrap()
                .path
                .unwrap()
                .to_string(),
            "/a/b"
        );
        assert_eq!(ours(&format!("s3files:{FS}::{POINT}"), &[]), Some((FS.into(), point(), None)));
        let of_s3 = Used::of_handle(&format!("s3files:{FS}")).unwrap().file_system;
        assert_ne!(of_s3, Used::of_handle(FS).unwrap().file_system, "the other service's file system of this id");
        assert_eq!(ours("nonsense", &[]), None);
    }

    #[test]
    fn other_nfs_volumes_name_file_systems() {
        let path = || Some("/a/b".to_owned());
        for server in
            [format!("{FS}.efs.us-east-1.amazonaws.com"), format!("us-east-1a.{FS}.efs.us-east-1.amazonaws.com")]
        {
            let nfs = serde_json::json!({"nfs": {"server": server, "path": "/a/b"}});
            assert_eq!(used(nfs), Some((FS.into(), None, path())));
            let attributes = serde_json::json!({"server": server, "share": "/a", "subdir": "b"});
            let csi = serde_json::json!({"driver": NFS_PLUGIN, "volumeHandle": "x", "volumeAttributes": attributes});
            assert_eq!(used(serde_json::json!({"csi": csi})), Some((FS.into(), None, path())));
        }
        let shouted = format!("{FS}.efs.us-east-1.amazonaws.com").to_uppercase();
        let nfs = serde_json::json!({"nfs": {"server": shouted, "path": "/x/../a/./b"}});
        assert_eq!(used(nfs), Some((FS.into(), None, path())));
        let attributes = serde_json::json!({"Server": shouted, "SHARE": "/a/b"});
        let csi = serde_json::json!({"driver": NFS_PLUGIN, "volumeHandle": "x", "volumeAttributes": attributes});
        assert_eq!(used(serde_json::json!({"csi": csi})), Some((FS.into(), None, path())));
        let csi =
            serde_json::json!({"driver": NFS_PLUGIN, "volumeHandle": format!("{FS}.efs.x.amazonaws.com#a#b#pvc-1#")});
        assert_eq!(used(serde_json::json!({"csi": csi})), Some((FS.into(), None, path())));
        assert_eq!(used(serde_json::json!({"nfs": {"server": "10.0.0.1", "path": "/a"}})), None);
        assert_eq!(used(serde_json::json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}})), None);
        assert_eq!(used(serde_json::json!({"hostPath": {"path": "/a"}})), None);
    }
}
