//! File handles: opaque to clients, and not to be made up by them.
//!
//! A handle is 28 bytes: the store's instance, the file's number, and a check value keyed with the store's secret. Without
//! the secret a client of one access point can't name files outside its root directory.

use sha2::{Digest, Sha256};

use super::status::Status;
use crate::store::{FileId, Instance};

const LENGTH: usize = 28;
const BODY: usize = 16;

/// The handle of a file.
pub(super) fn encode(instance: &Instance, id: FileId) -> [u8; LENGTH] {
    let mut handle = [0; LENGTH];
    handle[..8].copy_from_slice(&instance.id);
    handle[8..BODY].copy_from_slice(&id.0.to_be_bytes());
    let check = check_value(instance, &handle[..BODY]);
    handle[BODY..].copy_from_slice(&check);
    handle
}

/// The file that a handle stands for. A handle of another store, for example from before a restart, is stale.
pub(super) fn decode(instance: &Instance, handle: &[u8]) -> Result<FileId, Status> {
    let handle: &[u8; LENGTH] = handle.try_into().map_err(|_| Status::BadHandle)?;
    let (body, check) = handle.split_at(BODY);
    if body[..8] != instance.id {
        return Err(Status::Stale);
    }
    if check != check_value(instance, body) {
        return Err(Status::BadHandle);
    }
    let number = body[8..].try_into().map_err(|_| Status::BadHandle)?;
    Ok(FileId(u64::from_be_bytes(number)))
}

// A plain hash with the key in front is enough: the length of what is hashed is fixed, so it can't be extended.
fn check_value(instance: &Instance, body: &[u8]) -> [u8; LENGTH - BODY] {
    let digest = Sha256::new().chain_update(instance.key).chain_update(body).finalize();
    let mut check = [0; LENGTH - BODY];
    check.copy_from_slice(&digest[..LENGTH - BODY]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_file_and_no_other() {
        let instance = Instance::random();
        let handle = encode(&instance, FileId(42));
        assert_eq!(decode(&instance, &handle), Ok(FileId(42)));
        for position in 0..LENGTH {
            let mut forged = handle;
            forged[position] ^= 1;
            let expected = if position < 8 { Status::Stale } else { Status::BadHandle };
            assert_eq!(decode(&instance, &forged), Err(expected));
        }
        assert_eq!(decode(&instance, &handle[..20]), Err(Status::BadHandle));
        assert_eq!(decode(&Instance::random(), &handle), Err(Status::Stale));
    }
}
