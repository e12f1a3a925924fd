//! The table of buckets, with the file systems that they are bonded to.

use super::Front;
use super::html::{Cell, Table, word};
use super::pages::{ROWS, file_system, paged};
use super::view::View;
use crate::world::bonds::bucket_name;
use crate::world::overview::Overview;

impl Front {
    /// All buckets, or that of the chosen file system. Nothing as long as there is none.
    pub(super) fn buckets(&self, view: &View, all: &Overview) -> String {
        let mut buckets = self.world.buckets().list();
        if buckets.is_empty() {
            return String::new();
        }
        let bonded = |name: &str| {
            let systems = all.file_systems.iter().map(|shown| &shown.row);
            let systems = systems.filter(|fs| fs.bond().is_some_and(|bond| bucket_name(&bond.bucket) == name));
            systems.map(|fs| &fs.id).collect::<Vec<_>>()
        };
        if let Some(id) = &view.file_system {
            buckets.retain(|bucket| bonded(&bucket.name).contains(&id));
        }
        let (rows, total, more) = paged(view, "buckets", ROWS, buckets);
        let rows = rows.into_iter().map(|bucket| {
            let systems = bonded(&bucket.name);
            let pending = systems.iter().filter_map(|id| self.world.pending_exports(id));
            let pending = pending.fold(0, |sum, (changed, removed)| sum + changed + removed);
            vec![
                bucket.name.into(),
                bucket.account.into(),
                bucket.region.into(),
                word(bucket.versioning).into(),
                Cell::Several(systems.into_iter().map(file_system).collect()),
                pending.to_string().into(),
            ]
        });
        let columns = &["name", "account", "region", "versioning", "file systems", "pending exports"];
        Table { id: "buckets", title: "Buckets", columns, rows: rows.collect(), total, more }.html()
    }
}
