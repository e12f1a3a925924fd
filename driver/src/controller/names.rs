//! Names of volumes that this process has made, and what they stand for. One name is one volume, whatever the parameters (CSI specification,
//! CreateVolume): EFS keeps that for access points on all file systems of an account, the ledger for the directories of one file system.
//! Between the two, and between file systems, nobody keeps it but this.

use moka::future::Cache;

use super::ControllerError;
use super::parameters::ProvisioningMode;
use crate::volume::FileSystemId;

/// Names that are remembered.
const MOST_NAMES: u64 = 10_000;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    file_system: FileSystemId,
    mode: ProvisioningMode,
    handle: String,
}

/// The names.
#[derive(Debug)]
pub(super) struct Names {
    made: Cache<String, Made>,
    /// Their names by handle, for deletions.
    names: Cache<String, String>,
}

impl Default for Names {
    fn default() -> Self {
        Self { made: Cache::new(MOST_NAMES), names: Cache::new(MOST_NAMES) }
    }
}

impl Names {
    /// Refuses a name that stands for a volume of another kind or on another file system.
    pub(super) async fn check(
        &self,
        name: &str,
        file_system: &FileSystemId,
        mode: ProvisioningMode,
    ) -> Result<(), ControllerError> {
        let Some(made) = self.made.get(name).await else { return Ok(()) };
        let difference = if made.file_system != *file_system {
            format!("file system {}, but {file_system} is asked for", made.file_system)
        } else if made.mode != mode {
            format!("provisioningMode {}, but {} is asked for", made.mode.as_str(), mode.as_str())
        } else {
            return Ok(());
        };
        Err(ControllerError::Conflict { name: name.to_owned(), existing: made.handle, difference })
    }

    pub(super) async fn made(&self, name: &str, file_system: &FileSystemId, mode: ProvisioningMode, handle: &str) {
        let made = Made { file_system: file_system.clone(), mode, handle: handle.to_owned() };
        self.made.insert(name.to_owned(), made).await;
        self.names.insert(handle.to_owned(), name.to_owned()).await;
    }

    pub(super) async fn deleted(&self, handle: &str) {
        if let Some(name) = self.names.remove(handle).await {
            self.made.invalidate(&name).await;
        }
    }
}
