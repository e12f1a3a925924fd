//! Names of volumes that this process has made, and what they stand for. One name is one volume, whatever the parameters (CSI specification,
//! CreateVolume): EFS keeps that for access points on all file systems of an account, the ledger for the directories of one file system.
//! Between the two, and between file systems, nobody keeps it but this.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ControllerError;
use super::lately::Lately;
use super::parameters::ProvisioningMode;
use crate::volume::FileSystemId;

/// Names that are remembered.
const MOST_NAMES: usize = 10_000;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    file_system: FileSystemId,
    mode: ProvisioningMode,
    handle: Arc<str>,
}

/// The names.
#[derive(Debug)]
pub(super) struct Names(Mutex<Known>);

#[derive(Debug)]
struct Known {
    made: Lately<Arc<str>, Made>,
    /// Their names by handle, for deletions.
    names: Lately<Arc<str>, Arc<str>>,
}

impl Default for Names {
    fn default() -> Self {
        Self(Mutex::new(Known { made: Lately::at_most(MOST_NAMES), names: Lately::at_most(MOST_NAMES) }))
    }
}

impl Names {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a name that stands for a volume of another kind or on another file system.
    pub(super) fn check(
        &self,
        name: &str,
        file_system: &FileSystemId,
        mode: ProvisioningMode,
    ) -> Result<(), ControllerError> {
        let known = self.known();
        let Some(made) = known.made.get(name) else { return Ok(()) };
        let difference = if made.file_system != *file_system {
            format!("file system {}, but {file_system} is asked for", made.file_system)
        } else if made.mode != mode {
            format!("provisioningMode {}, but {} is asked for", made.mode.as_str(), mode.as_str())
        } else {
            return Ok(());
        };
        Err(ControllerError::Conflict { name: name.to_owned(), existing: made.handle.to_string(), difference })
    }

    pub(super) fn made(&self, name: &str, file_system: &FileSystemId, mode: ProvisioningMode, handle: &str) {
        let (name, handle) = (Arc::<str>::from(name), Arc::<str>::from(handle));
        let made = Made { file_system: file_system.clone(), mode, handle: Arc::clone(&handle) };
        let mut known = self.known();
        known.made.note(Arc::clone(&name), made);
        known.names.note(handle, name);
    }

    pub(super) fn deleted(&self, handle: &str) {
        let mut known = self.known();
        if let Some(name) = known.names.remove(handle) {
            known.made.remove(&name);
        }
    }
}
