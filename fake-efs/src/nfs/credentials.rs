//! As whom an operation is done, and what the permission bits let that user do.

use super::rpc::Credential;
use super::status::Status;
use crate::admission::{Admission, PosixUser, Rights};
use crate::store::{Attributes, Kind};

/// The user to whom nobody and squashed root are mapped.
pub(super) const NOBODY: u32 = 65_534;

/// Permission bits as in one digit of a mode.
pub(super) const READ: u32 = 4;
/// Write permission.
pub(super) const WRITE: u32 = 2;
/// Execute or search permission.
pub(super) const EXECUTE: u32 = 1;

/// The user whose rights an operation has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    gids: Vec<u32>,
}

impl User {
    /// The caller, or the access point's user in its place; root only where the policy grants root access.
    pub(super) fn of_call(credential: &Credential, admission: &Admission) -> Self {
        let claimed = match (&admission.posix_user, credential) {
            (Some(PosixUser { uid, gid, secondary_gids }), _) => {
                Self { uid: *uid, gid: *gid, gids: secondary_gids.clone() }
            }
            (None, Credential::Sys { uid, gid, gids }) => Self { uid: *uid, gid: *gid, gids: gids.clone() },
            (None, Credential::None) => Self { uid: NOBODY, gid: NOBODY, gids: Vec::new() },
        };
        claimed.squashed(admission.rights)
    }

    fn squashed(self, rights: Rights) -> Self {
        if rights.root || self.uid != 0 { self } else { Self { uid: NOBODY, gid: NOBODY, gids: Vec::new() } }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub(super) fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.gids.contains(&gid)
    }

    pub(super) fn owns(&self, file: &Attributes) -> bool {
        self.is_root() || self.uid == file.uid
    }

    /// Which of [`READ`], [`WRITE`] and [`EXECUTE`] the user has. Root has all, but executes only what somebody may execute.
    pub(super) fn permissions(&self, file: &Attributes) -> u32 {
        if self.is_root() {
            let execute = file.kind == Kind::Directory || file.mode & 0o111 != 0;
            return READ | WRITE | if execute { EXECUTE } else { 0 };
        }
        let shift = if self.uid == file.uid {
            6
        } else if self.is_in_group(file.gid) {
            3
        } else {
            0
        };
        (file.mode >> shift) & 7
    }

    pub(super) fn require(&self, file: &Attributes, wanted: u32) -> Result<(), Status> {
        if self.permissions(file) & wanted == wanted { Ok(()) } else { Err(Status::Access) }
    }

    /// Whether the user may remove or replace `victim` in a directory that may be sticky.
    pub(super) fn require_removal(&self, directory: &Attributes, victim: &Attributes) -> Result<(), Status> {
        let sticky = directory.mode & 0o1000 != 0;
        if sticky && !self.owns(directory) && !self.owns(victim) {
            return Err(Status::Perm);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FileId, Time};

    fn file(mode: u32, uid: u32, gid: u32) -> Attributes {
        let (id, now) = (FileId(9), Time::default());
        Attributes {
            id,
            kind: Kind::Regular,
            mode,
            uid,
            gid,
            links: 1,
            size: 0,
            used: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            change: 1,
        }
    }

    fn user(uid: u32, gid: u32, gids: &[u32]) -> User {
        User { uid, gid, gids: gids.to_vec() }
    }

    #[test]
    fn the_first_class_that_matches_decides() {
        let file = file(0o074, 1, 2);
        assert_eq!(user(1, 2, &[]).permissions(&file), 0);
        assert_eq!(user(3, 2, &[]).permissions(&file), 7);
        assert_eq!(user(3, 9, &[8, 2]).permissions(&file), 7);
        assert_eq!(user(3, 9, &[]).permissions(&file), 4);
        assert_eq!(user(0, 0, &[]).permissions(&file), 7);
    }

    #[test]
    fn root_executes_only_what_is_executable() {
        assert_eq!(user(0, 0, &[]).permissions(&file(0o600, 1, 1)), READ | WRITE);
        assert_eq!(user(0, 0, &[]).permissions(&file(0o001, 1, 1)), 7);
    }

    #[test]
    fn root_is_squashed_without_the_right() {
        let root = user(0, 0, &[4]);
        assert_eq!(root.clone().squashed(Rights { write: true, root: true }), root);
        assert_eq!(root.squashed(Rights { write: true, root: false }), user(NOBODY, NOBODY, &[]));
    }

    #[test]
    fn in_a_sticky_directory_only_owners_remove() {
        let (sticky, victim) = (file(0o1777, 1, 1), file(0o644, 2, 2));
        assert_eq!(user(3, 3, &[]).require_removal(&sticky, &victim), Err(Status::Perm));
        for owner in [0, 1, 2] {
            assert_eq!(user(owner, 3, &[]).require_removal(&sticky, &victim), Ok(()));
        }
        assert_eq!(user(3, 3, &[]).require_removal(&file(0o777, 1, 1), &victim), Ok(()));
    }
}
