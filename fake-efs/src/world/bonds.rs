//! Which files are bonded to which bucket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;

use super::ids::FileSystemId;
use super::limits::Delays;
use super::model::{Bond, FileSystem, ImportTrigger};
use super::{State, World};
use crate::bond::{AtOnce, Bonded, Terms};
use crate::store::Store;

/// Bonds that have been made, by file system.
#[derive(Default)]
pub(super) struct Bonds(Mutex<HashMap<FileSystemId, Arc<Bonded>>>);

impl Bonds {
    fn lock(&self) -> MutexGuard<'_, HashMap<FileSystemId, Arc<Bonded>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self, id: &FileSystemId) {
        self.lock().remove(id);
    }
}

/// A bucket's name, from its ARN.
pub(crate) fn bucket_name(arn: &str) -> &str {
    arn.rsplit(":::").next().unwrap_or_default()
}

fn terms(bond: &Bond, delays: &Delays) -> Terms {
    let rules = bond.synchronization.import_data_rules.iter();
    let at_once = rules
        .filter(|rule| rule.trigger == ImportTrigger::OnDirectoryFirstAccess)
        .map(|rule| AtOnce { prefix: rule.prefix.clone(), below: u64::try_from(rule.size_less_than).unwrap_or(0) });
    let delay = SignedDuration::try_from_secs_f64(delays.bucket_export).unwrap_or(SignedDuration::MAX);
    Terms { at_once: at_once.collect(), export_after: delay }
}

impl World {
    /// The files of a file system: those of S3 Files together with their bucket, once there is one.
    pub(super) fn store_of(&self, state: &State, fs: &FileSystem) -> Option<Arc<dyn Store>> {
        let inner = self.volumes.store(&fs.id)?;
        let Some(bond) = fs.bond() else { return Some(inner) };
        let mut bonds = self.bonds.lock();
        if let Some(bonded) = bonds.get(&fs.id) {
            return Some(Arc::<Bonded>::clone(bonded));
        }
        let bucket = bucket_name(&bond.bucket);
        if self.buckets.info(bucket).is_err() {
            return Some(inner);
        }
        let (clock, prefix) = (Arc::clone(&self.clock), bond.prefix.clone().unwrap_or_default());
        let (buckets, terms) = (Arc::clone(&self.buckets), terms(bond, &state.delays));
        let bonded = Bonded::new(inner, buckets, bucket.to_owned(), prefix, Arc::new(move || clock.now()), terms);
        let bonded = Arc::new(bonded);
        bonds.insert(fs.id.clone(), Arc::clone(&bonded));
        Some(bonded)
    }

    /// Tells all bonds what has been configured.
    pub(super) fn renew_terms(&self, state: &State) {
        for (id, bonded) in &*self.bonds.lock() {
            if let Some(bond) = state.file_systems.get(id).and_then(|fs| fs.bond()) {
                bonded.set_terms(terms(bond, &state.delays));
            }
        }
    }

    /// Whether there is any bond to be brought up to date.
    pub(crate) fn has_bonds(&self) -> bool {
        !self.bonds.lock().is_empty()
    }

    /// Brings buckets and files up to date with each other. May wait for the host's disk.
    pub fn synchronize(&self) {
        let bonds: Vec<_> = self.bonds.lock().iter().map(|(id, bonded)| (id.clone(), Arc::clone(bonded))).collect();
        for (id, bonded) in bonds {
            if let Err(error) = bonded.synchronize() {
                tracing::warn!(file_system = %id, %error, "can't exchange files with the bucket");
            }
        }
    }

    /// How many files and directories have yet to be exported, and how many objects have yet to go; none without a bond.
    pub fn pending_exports(&self, id: &FileSystemId) -> Option<(usize, usize)> {
        let bonded = self.bonds.lock().get(id).cloned();
        bonded.map(|bonded| bonded.pending())
    }
}
