//! How long the fields of a request may be, and how much of them is told again. A message goes back in HTTP/2 headers, which callers limit,
//! and each line of the log repeats the volume: neither may be as long as a caller likes.

use std::collections::HashMap;
use std::fmt::{self, Write};

use csi_proto::csi::{self, volume_capability::AccessType};

/// Bytes of a value that are told again.
const TOLD: usize = 200;
/// Bytes of a whole message.
const MESSAGE: usize = 4096;
/// Bytes of a volume's name, by the CSI specification.
const NAME: usize = 128;
/// Bytes of a volume id. The specification says 128, but a PersistentVolume that somebody wrote may name any path, and the Go driver mounts
/// it: what is published must stay so, and be unpublished. Nothing longer than a path and two ids can be a volume of EFS.
const VOLUME_ID: usize = 4096 + 128;
/// Bytes of a path (PATH_MAX), and of a token for the next page.
const PATH: usize = 4096;
/// Bytes of all mount options, by the CSI specification.
const OPTIONS: usize = 4096;
/// Bytes of keys and values of a map. The specification says 4 KiB; the 50 tags that EFS allows for an access point need more.
const MAP: usize = 64 * 1024;

/// A field is longer than it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: has {bytes} bytes, the limit is {limit}")]
pub struct TooLong {
    field: &'static str,
    bytes: usize,
    limit: usize,
}

/// A request whose fields have limits.
pub trait Limited {
    /// Finds the first field that is too long.
    ///
    /// # Errors
    /// The field, with its limit.
    fn check(&self) -> Result<(), TooLong>;
}

/// A text with its end cut off if it is long.
pub fn cut(text: &str) -> String {
    cut_to(TOLD, text.to_owned())
}

/// A whole message, of which a caller gets at most this much.
pub(crate) fn message(text: String) -> String {
    cut_to(MESSAGE, text)
}

fn cut_to(limit: usize, mut text: String) -> String {
    let bytes = text.len();
    if bytes > limit {
        text.truncate(text.floor_char_boundary(limit));
        // Writing to a String can't fail.
        let _ = write!(text, "… ({bytes} bytes)");
    }
    text
}

/// Prints what it holds up to the length of a message, and formats no more than that.
pub(crate) struct Brief<T>(pub(crate) T);

impl<T: fmt::Debug> fmt::Debug for Brief<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Rest<'a, 'b>(&'a mut fmt::Formatter<'b>, usize);
        impl Write for Rest<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let end = text.floor_char_boundary(self.1.min(text.len()));
                self.0.write_str(&text[..end])?;
                self.1 -= end;
                if end < text.len() { Err(fmt::Error) } else { Ok(()) }
            }
        }
        let mut rest = Rest(f, MESSAGE);
        match write!(rest, "{:?}", self.0) {
            Ok(()) => Ok(()),
            Err(fmt::Error) => f.write_char('…'),
        }
    }
}

fn text(field: &'static str, value: &str, limit: usize) -> Result<(), TooLong> {
    size(field, value.len(), limit)
}

fn map(field: &'static str, map: &HashMap<String, String>) -> Result<(), TooLong> {
    size(field, map.iter().map(|(key, value)| key.len() + value.len()).sum(), MAP)
}

fn size(field: &'static str, bytes: usize, limit: usize) -> Result<(), TooLong> {
    match bytes > limit {
        true => Err(TooLong { field, bytes, limit }),
        false => Ok(()),
    }
}

fn capabilities<'a>(all: impl IntoIterator<Item = &'a csi::VolumeCapability>) -> Result<(), TooLong> {
    for capability in all {
        if let Some(AccessType::Mount(mount)) = &capability.access_type {
            size("mount_flags (mountOptions)", mount.mount_flags.iter().map(String::len).sum(), OPTIONS)?;
        }
    }
    Ok(())
}

impl Limited for csi::CreateVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("name", &self.name, NAME)?;
        map("parameters", &self.parameters)?;
        map("mutable_parameters", &self.mutable_parameters)?;
        capabilities(&self.volume_capabilities)
    }
}

impl Limited for csi::DeleteVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)
    }
}

impl Limited for csi::ValidateVolumeCapabilitiesRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        map("volume_context", &self.volume_context)?;
        map("parameters", &self.parameters)?;
        capabilities(&self.volume_capabilities)
    }
}

impl Limited for csi::ListVolumesRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("starting_token", &self.starting_token, PATH)
    }
}

impl Limited for csi::GetCapacityRequest {
    fn check(&self) -> Result<(), TooLong> {
        map("parameters", &self.parameters)?;
        capabilities(&self.volume_capabilities)
    }
}

impl Limited for csi::ControllerExpandVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        capabilities(&self.volume_capability)
    }
}

impl Limited for csi::ControllerGetVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)
    }
}

impl Limited for csi::ControllerModifyVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        map("mutable_parameters", &self.mutable_parameters)
    }
}

impl Limited for csi::NodePublishVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        text("target_path", &self.target_path, PATH)?;
        map("volume_context", &self.volume_context)?;
        capabilities(&self.volume_capability)
    }
}

impl Limited for csi::NodeUnpublishVolumeRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        text("target_path", &self.target_path, PATH)
    }
}

impl Limited for csi::NodeGetVolumeStatsRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        text("volume_path", &self.volume_path, PATH)
    }
}

impl Limited for csi::NodeGetVolumeHealthRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)?;
        text("volume_publish_path", &self.volume_publish_path, PATH)?;
        text("staging_target_path", &self.staging_target_path, PATH)
    }
}

impl Limited for csi::NodeGetStorageHealthRequest {
    fn check(&self) -> Result<(), TooLong> {
        Ok(())
    }
}

impl Limited for csi::ControllerGetVolumeHealthRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("volume_id", &self.volume_id, VOLUME_ID)
    }
}

impl Limited for csi::ControllerListVolumeHealthRequest {
    fn check(&self) -> Result<(), TooLong> {
        text("starting_token", &self.starting_token, PATH)
    }
}

impl Limited for csi::NodeGetInfoRequest {
    fn check(&self) -> Result<(), TooLong> {
        Ok(())
    }
}

/// For tests that need no real request.
#[cfg(test)]
impl Limited for &str {
    fn check(&self) -> Result<(), TooLong> {
        text("the request", self, NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters_and_says_how_long_it_was() {
        assert_eq!(cut("fs-1"), "fs-1");
        assert_eq!(cut(&"ä".repeat(TOLD)), format!("{}… (400 bytes)", "ä".repeat(TOLD / 2)));
        let odd = format!("a{}", "ä".repeat(TOLD));
        assert!(cut(&odd).ends_with("ä… (401 bytes)") && cut(&odd).len() < TOLD + 20);
        let long = "x".repeat(3_500_000);
        assert!(message(long.clone()).len() < MESSAGE + 30);
        let shown = format!("{:?}", Brief(&long));
        assert!(shown.ends_with("x…") && shown.len() < MESSAGE + 30, "{} bytes", shown.len());
        assert_eq!(format!("{:?}", Brief("a")), "\"a\"");
    }

    #[test]
    fn each_overlong_field_is_named_with_its_limit() {
        let long = || "x".repeat(100_000);
        let map = || HashMap::from([("key".to_owned(), long())]);
        let create = csi::CreateVolumeRequest { name: "ä".repeat(65), ..Default::default() };
        assert_eq!(create.check().unwrap_err().to_string(), "name: has 130 bytes, the limit is 128");
        assert_eq!(csi::CreateVolumeRequest { name: "ä".repeat(64), ..Default::default() }.check(), Ok(()));
        let told = |request: &dyn Limited| request.check().unwrap_err().field;
        assert_eq!(told(&csi::CreateVolumeRequest { parameters: map(), ..Default::default() }), "parameters");
        assert_eq!(told(&csi::DeleteVolumeRequest { volume_id: long(), ..Default::default() }), "volume_id");
        assert_eq!(told(&csi::ListVolumesRequest { starting_token: long(), ..Default::default() }), "starting_token");
        let mount =
            csi::volume_capability::MountVolume { mount_flags: vec!["ro".to_owned(), long()], ..Default::default() };
        let capability = csi::VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..Default::default() };
        let publish = csi::NodePublishVolumeRequest { volume_capability: Some(capability), ..Default::default() };
        assert_eq!(told(&publish), "mount_flags (mountOptions)");
        assert_eq!(told(&csi::NodeUnpublishVolumeRequest { target_path: long(), ..Default::default() }), "target_path");
        // The longest that may be mounted by now.
        let longest = format!("efs:fs-{0}:/{1}:fsap-{0}", "0".repeat(40), "p".repeat(4095));
        assert_eq!(csi::NodeUnpublishVolumeRequest { volume_id: longest, ..Default::default() }.check(), Ok(()));
    }
}
