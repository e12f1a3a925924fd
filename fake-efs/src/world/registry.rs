//! A table of resources by id that also knows their order of creation within an account and region.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::RangeBounds;
use std::sync::Arc;

use super::model::{AccessPoint, FileSystem, MountTarget, Replication};
use super::scope::Scope;

/// What a registry needs to know about its rows.
pub(crate) trait Resource {
    /// Account and region.
    fn scope(&self) -> &Scope;
    /// Order of creation.
    fn seq(&self) -> u64;
}

/// Rows by id, and their ids in order of creation. Rows are shared, so that a listing copies pointers only.
#[derive(Debug)]
pub(crate) struct Registry<K, V> {
    rows: HashMap<K, Arc<V>>,
    order: HashMap<Scope, BTreeMap<u64, K>>,
    next: u64,
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), order: HashMap::new(), next: 1 }
    }
}

impl<K: Hash + Eq + Clone, V> Registry<K, V> {
    /// The next row's order number.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next
    }

    /// A row.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, id: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(id)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.rows.values()
    }

    /// The ids of an account and region in order of creation.
    pub(crate) fn index(&self, scope: &Scope) -> Option<&BTreeMap<u64, K>> {
        self.order.get(scope)
    }

    /// Number of rows of an account and region.
    pub(crate) fn count(&self, scope: &Scope) -> usize {
        self.order.get(scope).map_or(0, BTreeMap::len)
    }

    /// Rows of an account and region whose order number is in a range.
    pub(crate) fn range(&self, scope: &Scope, range: impl RangeBounds<u64>) -> impl Iterator<Item = (u64, &Arc<V>)> {
        let rows = self.order.get(scope).map(|index| index.range(range));
        rows.into_iter().flatten().filter_map(|(&seq, id)| Some((seq, self.rows.get(id)?)))
    }
}

impl<K: Hash + Eq + Clone, V: Resource + Clone> Registry<K, V> {
    /// Adds or replaces a row.
    pub(crate) fn insert(&mut self, id: K, row: V) {
        self.next = self.next.max(row.seq() + 1);
        self.order.entry(row.scope().clone()).or_default().insert(row.seq(), id.clone());
        self.rows.insert(id, Arc::new(row));
    }

    /// A row to change; listings that are still being sent keep the old one.
    pub(crate) fn get_mut(&mut self, id: &K) -> Option<&mut V> {
        self.rows.get_mut(id).map(Arc::make_mut)
    }

    /// Removes a row.
    pub(crate) fn remove(&mut self, id: &K) -> Option<Arc<V>> {
        let row = self.rows.remove(id)?;
        if let Some(index) = self.order.get_mut(row.scope()) {
            index.remove(&row.seq());
        }
        Some(row)
    }
}

macro_rules! resource {
    ($name:ident, $scope:ident) => {
        impl Resource for $name {
            fn scope(&self) -> &Scope {
                &self.$scope
            }

            fn seq(&self) -> u64 {
                self.seq
            }
        }
    };
}

resource!(FileSystem, scope);
resource!(AccessPoint, scope);
resource!(MountTarget, scope);
resource!(Replication, source_scope);
