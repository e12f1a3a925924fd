//! ValidateVolumeCapabilities: does the volume exist, and can it do what is asked?

use std::fmt::Display;

use csi_proto::csi;

use super::create_volume::check_capabilities;
use super::directories::{DirectoryVolume, is_directory_handle};
use super::existing::capacity_of;
use super::parameters::{CreateParameters, FileSystemSource, ProvisioningMode};
use super::secrets::CrossAccount;
use super::tagging::mutable_tags;
use super::{Controller, ControllerError};
use crate::efs::Role;
use crate::volume::VolumeId;

/// The volume context keys that NodePublishVolume understands, in lower case.
const CONTEXT_KEYS: [&str; 6] = [
    "directoryid",
    "encryptintransit",
    "mounttargetip",
    "mounttargetipmap",
    "crossaccount",
    "storage.kubernetes.io/csiprovisioneridentity",
];

impl Controller {
    pub(crate) async fn validate_volume_capabilities(
        &self,
        request: csi::ValidateVolumeCapabilitiesRequest,
    ) -> Result<csi::ValidateVolumeCapabilitiesResponse, ControllerError> {
        if request.volume_id.is_empty() {
            return Err(ControllerError::Invalid("volume_id: is missing".to_owned()));
        }
        if request.volume_capabilities.is_empty() {
            return Err(ControllerError::Invalid("volume_capabilities: at least one is needed".to_owned()));
        }
        let account = CrossAccount::read(&request.secrets)?;
        let found = self.find(&request.volume_id, account.role.as_ref()).await?;
        let refused = check_capabilities(&request.volume_capabilities)
            .err()
            .or_else(|| self.check_parameters(&request, &found).err())
            .or_else(|| mutable_tags(&request.mutable_parameters).err())
            .map(|error| error.to_string())
            .or_else(|| {
                let known = |key: &String| CONTEXT_KEYS.contains(&key.to_ascii_lowercase().as_str());
                let unknown = request.volume_context.keys().find(|key| !known(key))?;
                Some(format!("volume_context: {unknown:?} is not supported"))
            });
        Ok(match refused {
            Some(message) => csi::ValidateVolumeCapabilitiesResponse { confirmed: None, message },
            None => csi::ValidateVolumeCapabilitiesResponse {
                confirmed: Some(csi::validate_volume_capabilities_response::Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    mutable_parameters: request.mutable_parameters,
                }),
                message: String::new(),
            },
        })
    }

    /// Whether the volume is one that these parameters give, as far as it shows: what is confirmed must be so.
    fn check_parameters(
        &self,
        request: &csi::ValidateVolumeCapabilitiesRequest,
        found: &FoundVolume,
    ) -> Result<(), ControllerError> {
        if request.parameters.is_empty() {
            return Ok(());
        }
        let parameters =
            CreateParameters::parse(&request.parameters, self.config.unknown_parameters, self.tags.has_flag_tags())?;
        let differs = |what: &str, has: &dyn Display, wants: &dyn Display| {
            Err(ControllerError::Invalid(format!("parameters: the volume has {what} {has}, not {wants}")))
        };
        if let FileSystemSource::Id(id) = &parameters.file_system
            && id.as_str() != found.id.file_system.as_str()
        {
            return differs("fileSystemId", &found.id.file_system, id);
        }
        let mode = match (&found.access_point, &found.directory) {
            (Some(_), _) => ProvisioningMode::AccessPoint(found.id.kind()),
            (None, Some(_)) => ProvisioningMode::Directory,
            // A static volume was made by no class.
            (None, None) => return differs("provisioningMode", &"none", &parameters.mode.as_str()),
        };
        if mode != parameters.mode {
            return differs("provisioningMode", &mode.as_str(), &parameters.mode.as_str());
        }
        let Some(access_point) = &found.access_point else { return Ok(()) };
        let user = access_point.posix_user.as_ref();
        for (what, fixed, has) in
            [("uid", parameters.uid, user.map(|user| user.uid)), ("gid", parameters.gid, user.map(|user| user.gid))]
        {
            let Some(has) = has else { return differs(what, &"none", &"one of its own") };
            match fixed {
                Some(id) if id != has => return differs(what, &has, &id),
                None if !parameters.gid_range.contains(&has) => {
                    let (start, end) = (parameters.gid_range.start(), parameters.gid_range.end());
                    return differs(what, &has, &format!("one of {start} to {end}"));
                }
                _ => {}
            }
        }
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        match &access_point.root_owner {
            // The mode of a directory that an earlier claim of the name has used is that claim's.
            Some(owner) if !parameters.reuse && octal(&owner.permissions) != octal(&parameters.permissions) => {
                differs("directoryPerms", &owner.permissions, &parameters.permissions)
            }
            _ => Ok(()),
        }
    }

    /// Looks a volume up by its handle.
    ///
    /// # Errors
    /// NOT_FOUND when the handle is none of ours, or AWS doesn't know its access point or file system.
    pub(super) async fn find(&self, handle: &str, role: Option<&Role>) -> Result<FoundVolume, ControllerError> {
        let not_found = |why: String| ControllerError::NotFound(handle.to_owned(), why);
        let id: VolumeId = handle.parse().map_err(|error: crate::volume::IdError| not_found(error.to_string()))?;
        // Calls without secrets about another account's volume use the role that other calls brought along.
        let role = match role {
            Some(role) => Some(role.clone()),
            None => self.role_of(&id.file_system).await?,
        };
        let api = self.api(&id.file_system, role.as_ref()).await?;
        let mut directory = None;
        let looking = |error: crate::efs::EfsError| match error.is_not_found() {
            true => not_found(error.to_string()),
            false => ControllerError::efs(format!("cannot look up volume {handle:?}"))(error),
        };
        let access_point = match &id.access_point {
            None => {
                self.file_system(api.as_ref(), &id.file_system).await.map_err(looking)?;
                if is_directory_handle(handle, &id) {
                    directory = self.directory(api.as_ref(), &id, role.as_ref()).await?;
                    if directory.is_none() {
                        return Err(not_found("there is no directory that this driver made".to_owned()));
                    }
                }
                None
            }
            Some(access_point) => {
                let found = api.access_point(&id.file_system, access_point).await.map_err(looking)?;
                if found.file_system != id.file_system {
                    return Err(not_found(format!("{access_point} belongs to {}", found.file_system)));
                }
                Some(found)
            }
        };
        Ok(FoundVolume { id, access_point, directory, role })
    }
}

/// A volume that exists.
#[derive(Debug)]
pub(super) struct FoundVolume {
    pub(super) id: VolumeId,
    /// Its access point, unless the volume is a file system or a directory.
    pub(super) access_point: Option<crate::efs::AccessPoint>,
    /// Its directory, if it is a directory of ours.
    pub(super) directory: Option<DirectoryVolume>,
    /// The role for its account.
    pub(super) role: Option<Role>,
}

impl FoundVolume {
    /// The capacity in bytes that is remembered; 0 when none is.
    pub(super) fn capacity(&self) -> i64 {
        let of_directory = self.directory.as_ref().map(|directory| directory.capacity);
        self.access_point.as_ref().and_then(capacity_of).or(of_directory).unwrap_or_default()
    }
}
