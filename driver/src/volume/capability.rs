//! What a volume may be asked to do: access modes and mount options, read from the CSI capability.

use csi_proto::csi;
use csi_proto::csi::volume_capability::AccessType;
use csi_proto::csi::volume_capability::access_mode::Mode;

/// File system types that may be named; none is the usual case.
const FS_TYPES: [&str; 3] = ["", "efs", "s3files"];

/// It is no option of the kernel's, and one of AWS's own client alone.
const CROSS_ACCOUNT: &str = "crossaccount";
/// What to write in its place.
pub const CROSS_ACCOUNT_INSTEAD: &str = "put crossaccount: \"true\" into the provisioner secret instead, or into the volumeAttributes of a \
                                         static PersistentVolume";

/// The options in an entry of `mountOptions`: divided at commas, but not at those within quotes.
pub fn options(entry: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let divided = entry.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    divided.map(str::trim).filter(|option| !option.is_empty())
}

/// Why a capability is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// No access mode, or `UNKNOWN`.
    #[error("access mode is missing or unknown ({0}); use one of the CSI access modes")]
    AccessMode(i32),
    /// No access type.
    #[error("access_type is missing; it must be mount")]
    NoAccessType,
    /// A block volume.
    #[error("only filesystem volumes are supported; set volumeMode: Filesystem")]
    NotMount,
    /// A file system type other than efs.
    #[error("fsType {0:?} is not supported; leave it out or use efs")]
    FsType(String),
    /// `crossaccount` among the mount options.
    #[error("mount option crossaccount cannot be set by hand; {CROSS_ACCOUNT_INSTEAD}")]
    CrossAccountFlag,
}

/// A capability that the driver supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Who may use the volume from where.
    pub mode: Mode,
    /// Mount options of the StorageClass or PersistentVolume.
    pub mount_flags: Vec<String>,
}

impl Capability {
    /// Whether the mode allows no writer.
    pub fn is_read_only(&self) -> bool {
        matches!(self.mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
    }
}

impl TryFrom<&csi::VolumeCapability> for Capability {
    type Error = CapabilityError;

    fn try_from(capability: &csi::VolumeCapability) -> Result<Self, CapabilityError> {
        let mount = match &capability.access_type {
            Some(AccessType::Mount(mount)) => mount,
            Some(AccessType::Block(_)) => return Err(CapabilityError::NotMount),
            None => return Err(CapabilityError::NoAccessType),
        };
        let number = capability.access_mode.as_ref().map_or(0, |mode| mode.mode);
        let mode = match Mode::try_from(number) {
            Ok(Mode::Unknown) | Err(_) => return Err(CapabilityError::AccessMode(number)),
            Ok(mode) => mode,
        };
        if !FS_TYPES.contains(&mount.fs_type.as_str()) {
            return Err(CapabilityError::FsType(mount.fs_type.clone()));
        }
        // Case counts in values alone.
        let key = |option: &str| option.split_once('=').map_or(option, |(key, _)| key).to_ascii_lowercase();
        if mount.mount_flags.iter().flat_map(|entry| options(entry)).any(|option| key(option) == CROSS_ACCOUNT) {
            return Err(CapabilityError::CrossAccountFlag);
        }
        Ok(Self { mode, mount_flags: mount.mount_flags.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use csi_proto::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn capability(mode: i32, access: Option<AccessType>) -> csi::VolumeCapability {
        csi::VolumeCapability { access_mode: Some(AccessMode { mode }), access_type: access }
    }

    fn mount(fs_type: &str, flags: &[&str]) -> Option<AccessType> {
        Some(AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            mount_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..Default::default()
        }))
    }

    #[test]
    fn every_access_mode_of_a_file_system_is_supported() {
        for mode in 1..=7 {
            let read = Capability::try_from(&capability(mode, mount("", &["iam"]))).unwrap();
            assert_eq!((read.mode as i32, read.is_read_only()), (mode, mode == 2 || mode == 3));
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |c| Capability::try_from(&c).unwrap_err();
        assert_eq!(refused(capability(0, mount("", &[]))), CapabilityError::AccessMode(0));
        assert_eq!(refused(capability(99, mount("", &[]))), CapabilityError::AccessMode(99));
        assert_eq!(refused(capability(1, None)), CapabilityError::NoAccessType);
        assert_eq!(refused(capability(1, Some(AccessType::Block(BlockVolume {})))), CapabilityError::NotMount);
        assert_eq!(refused(capability(1, mount("ext4", &[]))), CapabilityError::FsType("ext4".into()));
        for flags in [&["ro", "crossaccount"][..], &["crossaccount,ro"], &[" tls , CrossAccount"], &["crossaccount=1"]]
        {
            assert_eq!(refused(capability(1, mount("", flags))), CapabilityError::CrossAccountFlag, "{flags:?}");
        }
        for flags in [&["context=\"a,crossaccount\""][..], &["crossaccounts", "awsprofile=crossaccount"]] {
            Capability::try_from(&capability(1, mount("", flags))).unwrap();
        }
    }
}
