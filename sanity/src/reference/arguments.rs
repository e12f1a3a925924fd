//! What every RPC demands of its arguments.

use std::path::Path;

use csi_proto::csi::{CapacityRange, VolumeCapability};
use tonic::Status;

use super::{LARGEST_VOLUME, MUTABLE_PARAMETER, state::mode};
use crate::{config::Pairs, names::LONGEST_NAME};

/// The size of a map of strings, in bytes.
const MAP_LIMIT: usize = 4096;

pub(super) fn given(field: &str, value: &str) -> Result<(), Status> {
    if value.is_empty() { Err(Status::invalid_argument(format!("{field} is missing"))) } else { Ok(()) }
}

pub(super) fn name(field: &str, value: &str) -> Result<(), Status> {
    given(field, value)?;
    if value.len() > LONGEST_NAME {
        return Err(Status::invalid_argument(format!("{field} has more than {LONGEST_NAME} bytes")));
    }
    let banned = |c: char| matches!(u32::from(c), 0..=8 | 0xb | 0xc | 0xe..=0x1f | 0x7f..=0x9f);
    if value.chars().any(banned) {
        return Err(Status::invalid_argument(format!("{field} holds a control character")));
    }
    Ok(())
}

pub(super) fn absolute(field: &str, value: &str) -> Result<(), Status> {
    given(field, value)?;
    if Path::new(value).is_absolute() {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{field} is not an absolute path")))
}

pub(super) fn capability(capability: Option<&VolumeCapability>) -> Result<VolumeCapability, Status> {
    let capability = capability.ok_or_else(|| Status::invalid_argument("volume_capability is missing"))?;
    if capability.access_type.is_none() {
        return Err(Status::invalid_argument("volume_capability has no access_type"));
    }
    if mode(capability) == csi_proto::csi::volume_capability::access_mode::Mode::Unknown {
        return Err(Status::invalid_argument("volume_capability has no access_mode"));
    }
    Ok(capability.clone())
}

pub(super) fn capabilities(capabilities: &[VolumeCapability]) -> Result<(), Status> {
    if capabilities.is_empty() {
        return Err(Status::invalid_argument("volume_capabilities is missing"));
    }
    capabilities.iter().try_for_each(|one| capability(Some(one)).map(|_| ()))
}

/// The size that a range leads to: the least, or the limit alone.
pub(super) fn size(range: Option<&CapacityRange>) -> Result<Option<i64>, Status> {
    let Some(CapacityRange { required_bytes, limit_bytes }) = range.copied() else { return Ok(None) };
    if required_bytes < 0 || limit_bytes < 0 || (required_bytes == 0 && limit_bytes == 0) {
        return Err(Status::invalid_argument("capacity_range is negative or empty"));
    }
    if limit_bytes != 0 && limit_bytes < required_bytes {
        return Err(Status::invalid_argument("capacity_range has a limit below what is required"));
    }
    if required_bytes > LARGEST_VOLUME {
        return Err(Status::out_of_range(format!("volumes have at most {LARGEST_VOLUME} bytes")));
    }
    Ok(Some(if required_bytes == 0 { limit_bytes.min(LARGEST_VOLUME) } else { required_bytes }))
}

pub(super) fn fits(range: Option<&CapacityRange>, capacity: i64) -> bool {
    range.is_none_or(|range| {
        capacity >= range.required_bytes && (range.limit_bytes == 0 || capacity <= range.limit_bytes)
    })
}

pub(super) fn mutable_parameters(parameters: &Pairs) -> Result<(), Status> {
    match parameters.keys().find(|key| *key != MUTABLE_PARAMETER) {
        Some(key) => Err(Status::invalid_argument(format!("mutable parameter {key} is not supported"))),
        None => Ok(()),
    }
}

pub(super) fn map(field: &str, map: &Pairs) -> Result<(), Status> {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size <= MAP_LIMIT {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{field} has more than {MAP_LIMIT} bytes")))
}

/// One page of a list that is sorted by identifier. A token is the identifier after which the page starts, so tokens stay
/// good while entries come and go.
pub(super) fn page<T>(
    entries: Vec<(String, T)>,
    max_entries: i32,
    starting_token: &str,
) -> Result<(Vec<T>, String), Status> {
    let most = usize::try_from(max_entries).map_err(|_| Status::invalid_argument("max_entries is negative"))?;
    let after = match starting_token {
        "" => None,
        token => match token.strip_prefix("after:") {
            Some(id) => Some(id.to_owned()),
            None => return Err(Status::aborted("starting_token is not one of ours")),
        },
    };
    let mut rest: Vec<(String, T)> =
        entries.into_iter().filter(|(id, _)| after.as_ref().is_none_or(|after| id > after)).collect();
    let mut next = String::new();
    if most != 0 && rest.len() > most {
        rest.truncate(most);
        next = rest.last().map(|(id, _)| format!("after:{id}")).unwrap_or_default();
    }
    Ok((rest.into_iter().map(|(_, entry)| entry).collect(), next))
}
