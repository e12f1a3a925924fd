//! Names of volumes that this process has made, and what they stand for. One name is one volume, whatever the parameters (CSI specification,
//! CreateVolume): EFS keeps that for access points on all file systems of an account, the ledger for the directories of one file system.
//! Between the two, and between file systems, nobody keeps it but this, nor for what nodes alone read: AWS is told nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ControllerError;
use super::lately::Lately;
use super::parameters::{CreateParameters, ProvisioningMode};
use crate::volume::FileSystemId;

/// Names that are remembered.
const MOST_NAMES: usize = 10_000;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    file_system: FileSystemId,
    mode: ProvisioningMode,
    encrypted: bool,
    /// `authenticationSource` and what belongs to it.
    pod_identity: BTreeMap<&'static str, String>,
    handle: Arc<str>,
}

impl Made {
    fn new(file_system: &FileSystemId, parameters: &CreateParameters, handle: Arc<str>) -> Self {
        Self {
            file_system: file_system.clone(),
            mode: parameters.mode,
            encrypted: parameters.encrypted,
            pod_identity: parameters.pod_identity.clone(),
            handle,
        }
    }

    /// The first thing that is another one in `wanted`, as parameter, what there is and what is asked for.
    fn difference(&self, wanted: &Self) -> Option<(&'static str, String, String)> {
        if self.file_system != wanted.file_system {
            return Some(("file system", self.file_system.to_string(), wanted.file_system.to_string()));
        }
        if self.mode != wanted.mode {
            return Some(("provisioningMode", self.mode.as_str().to_owned(), wanted.mode.as_str().to_owned()));
        }
        if self.encrypted != wanted.encrypted {
            return Some(("encryptInTransit", self.encrypted.to_string(), wanted.encrypted.to_string()));
        }
        let value = |of: &Self, key: &str| of.pod_identity.get(key).map_or_else(|| "unset".to_owned(), Clone::clone);
        let keys = self.pod_identity.keys().chain(wanted.pod_identity.keys());
        keys.map(|key| (*key, value(self, key), value(wanted, key))).find(|(_, has, wants)| has != wants)
    }
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

    /// Refuses a name that stands for a volume of another kind, on another file system, or that nodes shall mount in another way.
    pub(super) fn check(
        &self,
        name: &str,
        file_system: &FileSystemId,
        parameters: &CreateParameters,
    ) -> Result<(), ControllerError> {
        let known = self.known();
        let Some(made) = known.made.get(name) else { return Ok(()) };
        let wanted = Made::new(file_system, parameters, Arc::clone(&made.handle));
        let Some((what, has, wants)) = made.difference(&wanted) else { return Ok(()) };
        Err(ControllerError::Conflict {
            name: name.to_owned(),
            existing: made.handle.to_string(),
            difference: format!("{what} {has}, but {wants} is asked for"),
        })
    }

    pub(super) fn made(&self, name: &str, file_system: &FileSystemId, parameters: &CreateParameters, handle: &str) {
        let (name, handle) = (Arc::<str>::from(name), Arc::<str>::from(handle));
        let made = Made::new(file_system, parameters, Arc::clone(&handle));
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
