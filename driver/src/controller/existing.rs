//! Comparing a volume that exists with what a call asks for.

use std::ops::RangeInclusive;

use crate::efs::{AccessPoint, LifeCycle};
use crate::volume::FileSystemId;

use super::capacity::{CAPACITY_TAG, CapacityRange};
use super::paths::Root;

/// What a CreateVolume call asks of an access point.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) file_system: &'a FileSystemId,
    pub(crate) root: &'a Root,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) range: &'a RangeInclusive<u32>,
    pub(crate) permissions: &'a str,
    pub(crate) capacity: &'a CapacityRange,
    /// The access point of an earlier claim: its capacity and mode may differ.
    pub(crate) reuse: bool,
}

/// How an existing access point relates to what is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the volume.
    Same,
    /// It differs; the text gives both values.
    Different(String),
    /// It is being deleted.
    Leaving,
    /// It is broken.
    Broken,
}

/// Capacity in bytes that an access point was made for, if its tags tell.
pub(crate) fn capacity_of(access_point: &AccessPoint) -> Option<i64> {
    access_point.tags.get(CAPACITY_TAG)?.parse().ok()
}

/// Compares an access point with what is wanted.
pub(crate) fn compare(existing: &AccessPoint, wanted: &Wanted<'_>) -> Verdict {
    match existing.state {
        LifeCycle::Deleting | LifeCycle::Deleted => return Verdict::Leaving,
        LifeCycle::Error | LifeCycle::Misconfigured => return Verdict::Broken,
        LifeCycle::Creating | LifeCycle::Available | LifeCycle::Updating | LifeCycle::Unknown => {}
    }
    let different = |what: &str, has: &dyn std::fmt::Display, wants: &dyn std::fmt::Display| {
        Verdict::Different(format!("{what} {has}, but {wants} is asked for"))
    };
    if existing.file_system != *wanted.file_system {
        return different("file system", &existing.file_system, wanted.file_system);
    }
    // An earlier claim's directory was named after that claim's volume; below the base path it is this class's all the same.
    let is_root = wanted.root.matches(&existing.root) || (wanted.reuse && wanted.root.is_sibling(&existing.root));
    if !is_root {
        return different("root directory", &existing.root, &wanted.root.path);
    }
    let Some(user) = &existing.posix_user else {
        return Verdict::Different("no POSIX user, but one is asked for".to_owned());
    };
    for (what, has, fixed) in [("uid", user.uid, wanted.uid), ("gid", user.gid, wanted.gid)] {
        match fixed {
            Some(id) if id != has => return different(what, &has, &id),
            None if !wanted.range.contains(&has) => {
                let range = format!("one of {} to {}", wanted.range.start(), wanted.range.end());
                return different(what, &has, &range);
            }
            _ => {}
        }
    }
    if wanted.reuse {
        return Verdict::Same;
    }
    if let Some(owner) = &existing.root_owner {
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        if octal(&owner.permissions) != octal(wanted.permissions) {
            return different("directoryPerms", &owner.permissions, &wanted.permissions);
        }
    }
    match capacity_of(existing) {
        Some(has) if !wanted.capacity.allows(has) => different("capacity", &has, wanted.capacity),
        _ => Verdict::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::paths::{BasePath, Naming};
    use crate::efs::{Owner, PosixUser};

    /// UB-21: the Go driver takes an access point that is on its way out, or broken, for a volume.
    #[test]
    fn the_state_decides_before_anything_else() {
        let fs: FileSystemId = "fs-01234567".parse().unwrap();
        let root = Naming { base: BasePath::default(), pattern: None }.root("pvc-1").unwrap();
        let capacity = CapacityRange::default();
        let wanted = Wanted {
            file_system: &fs,
            root: &root,
            uid: Some(1),
            gid: None,
            range: &(1..=9),
            permissions: "0700",
            capacity: &capacity,
            reuse: false,
        };
        let existing = |state, uid| AccessPoint {
            id: "fsap-01234567".parse().unwrap(),
            file_system: fs.clone(),
            client_token: "pvc-1".to_owned(),
            posix_user: Some(PosixUser { uid, gid: 9, secondary_gids: vec![] }),
            root: "/pvc-1".to_owned(),
            root_owner: Some(Owner { uid, gid: 9, permissions: "700".to_owned() }),
            state,
            tags: [].into(),
            tags_told: true,
        };
        for uid in [1, 2] {
            for (state, verdict) in [
                (LifeCycle::Deleting, Verdict::Leaving),
                (LifeCycle::Deleted, Verdict::Leaving),
                (LifeCycle::Error, Verdict::Broken),
            ] {
                assert_eq!(compare(&existing(state, uid), &wanted), verdict, "{state:?}");
            }
        }
        for state in [LifeCycle::Creating, LifeCycle::Available, LifeCycle::Updating, LifeCycle::Unknown] {
            assert_eq!(compare(&existing(state, 1), &wanted), Verdict::Same, "{state:?}");
            assert!(
                matches!(compare(&existing(state, 2), &wanted), Verdict::Different(text) if text.contains("uid 2"))
            );
        }
    }
}
