//! What the CSI calls say about a volume, as types: the handle, the access point and file system ids in it.

pub mod capability;
pub mod id;
pub mod tags;

pub use id::{AccessPointId, FileSystemId, FileSystemKind, IdError, VolumeId};
