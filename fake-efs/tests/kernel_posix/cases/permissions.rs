//! Who may do what: mode bits by class, search, the sticky bit, root.

use std::path::PathBuf;

use rustix::fs::Access;

use super::{Case, MEMBER, OWNER, Outcome, Place, SECONDARY, STRANGER, cases, refused};
use crate::lab::files::{
    self, Answer, Errno, OFlags, chmod, chown, create_new, link, lstat, mkdir, names, open, open_both, open_read,
    open_write, put, read_at, rename, rmdir, symlink, truncate, unlink, write_at,
};
use crate::lab::users::User;

/// A class of users and where its bits are in a mode.
const CLASSES: [(&str, User, u32); 4] = [
    ("owner", OWNER, 6),
    ("group_member", MEMBER, 3),
    ("secondary_group_member", SECONDARY, 3),
    ("stranger", STRANGER, 0),
];

/// What a class may be allowed: a name, the bits that are needed, and what they are needed for.
type Right = (&'static str, u32, fn(PathBuf) -> Answer<()>);

/// Makes what a right is about, with a mode.
type Maker = fn(&Place, u32) -> Answer<PathBuf>;

const FILE_RIGHTS: [Right; 3] = [
    ("read_a_file", 4, |path| open_read(&path).map(drop)),
    ("write_a_file", 2, |path| open_write(&path).map(drop)),
    ("execute_a_file", 1, |path| files::access(&path, Access::EXEC_OK)),
];

const DIRECTORY_RIGHTS: [Right; 4] = [
    ("list_a_directory", 4, |path| names(&path).map(drop)),
    ("add_to_a_directory", 3, |path| create_new(&path.join("new"), 0o644).map(drop)),
    ("remove_from_a_directory", 3, |path| unlink(&path.join("entry"))),
    ("search_a_directory", 1, |path| lstat(&path.join("entry")).map(drop)),
];

fn file(place: &Place, mode: u32) -> Answer<PathBuf> {
    let path = place.at("file");
    put(&path, "content")?;
    chown(&path, Some(OWNER.uid), Some(OWNER.gid))?;
    chmod(&path, mode)?;
    Ok(path)
}

fn directory(place: &Place, mode: u32) -> Answer<PathBuf> {
    let path = place.at("directory");
    mkdir(&path, 0o755)?;
    put(&path.join("entry"), "content")?;
    chown(&path, Some(OWNER.uid), Some(OWNER.gid))?;
    chmod(&path, mode)?;
    Ok(path)
}

/// Each class gets a right from its own bits and from no others.
fn matrix() -> Vec<Case> {
    let mut all = Vec::new();
    for (class, user, shift) in CLASSES {
        let makers: [(&[Right], Maker); 2] = [(&FILE_RIGHTS, file), (&DIRECTORY_RIGHTS, directory)];
        for (rights, make) in makers {
            for &(right, bits, attempt) in rights {
                all.push(Case::new("permissions", &format!("{class}_bits_let_it_{right}"), move |place| {
                    let path = make(place, bits << shift)?;
                    user.run(|| attempt(path))?;
                    Ok(())
                }));
                all.push(Case::new(
                    "permissions",
                    &format!("missing_{class}_bits_keep_it_from_{right}"),
                    move |place| {
                        let path = make(place, 0o777 & !(bits << shift))?;
                        refused(user.run(|| attempt(path)), Errno::ACCESS);
                        Ok(())
                    },
                ));
            }
        }
    }
    all
}

fn root_reads_and_writes_a_file_of_mode_0(place: &Place) -> Outcome {
    let path = file(place, 0)?;
    let opened = open_both(&path)?;
    write_at(&opened, "CON", 0)?;
    assert_eq!(read_at(&opened, 7, 0)?, b"CONtent");
    Ok(())
}

fn root_enters_a_directory_of_mode_0(place: &Place) -> Outcome {
    let path = directory(place, 0)?;
    put(&path.join("more"), "")?;
    assert_eq!(names(&path)?, ["entry", "more"]);
    Ok(())
}

fn every_directory_of_a_path_must_be_searchable(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    mkdir(&path.join("inner"), 0o777)?;
    put(&path.join("inner/file"), "")?;
    STRANGER.run(|| lstat(&path.join("inner/file")))?;
    chmod(&path, 0o644)?;
    refused(STRANGER.run(|| lstat(&path.join("inner/file"))), Errno::ACCESS);
    Ok(())
}

fn a_file_is_removed_by_the_right_on_its_directory_not_its_own(place: &Place) -> Outcome {
    let path = file(place, 0)?;
    STRANGER.run(|| unlink(&path))?;
    refused(lstat(&path), Errno::NOENT);
    Ok(())
}

fn a_new_file_without_write_bits_can_be_written_by_its_creator(place: &Place) -> Outcome {
    let path = place.at("file");
    OWNER.run(|| -> Answer<()> {
        let created = create_new(&path, 0o444)?;
        write_at(&created, "written", 0)?;
        created.sync_all().map_err(|_| Errno::IO)
    })?;
    assert_eq!(files::text(&path)?, "written");
    refused(OWNER.run(|| open_write(&path)), Errno::ACCESS);
    Ok(())
}

fn a_new_file_of_mode_0_can_be_used_by_its_creator(place: &Place) -> Outcome {
    let path = place.at("file");
    OWNER.run(|| -> Answer<()> {
        let created = create_new(&path, 0)?;
        write_at(&created, "x", 0)?;
        assert_eq!(read_at(&created, 1, 0)?, b"x");
        Ok(())
    })?;
    Ok(())
}

fn an_open_file_stays_writable_when_its_mode_is_taken_away(place: &Place) -> Outcome {
    let path = file(place, 0o600)?;
    OWNER.run(|| -> Answer<()> {
        let opened = open_both(&path)?;
        chmod(&path, 0)?;
        write_at(&opened, "still", 0)?;
        opened.sync_all().map_err(|_| Errno::IO)
    })?;
    assert_eq!(files::text(&path)?, "stillnt");
    Ok(())
}

fn opening_an_existing_file_with_create_needs_no_right_on_the_directory(place: &Place) -> Outcome {
    let path = directory(place, 0o555)?;
    chmod(&path.join("entry"), 0o666)?;
    STRANGER.run(|| open(&path.join("entry"), OFlags::WRONLY | OFlags::CREATE, 0o644))?;
    Ok(())
}

fn truncating_at_open_needs_write_permission(place: &Place) -> Outcome {
    let path = file(place, 0o444)?;
    refused(STRANGER.run(|| open(&path, OFlags::RDONLY | OFlags::TRUNC, 0)), Errno::ACCESS);
    assert_eq!(files::text(&path)?, "content");
    Ok(())
}

fn truncating_needs_write_permission(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    refused(STRANGER.run(|| truncate(&path, 0)), Errno::ACCESS);
    assert_eq!(files::size(&path)?, 7);
    Ok(())
}

fn making_a_directory_needs_write_permission(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    refused(STRANGER.run(|| mkdir(&path.join("new"), 0o755)), Errno::ACCESS);
    Ok(())
}

fn removing_a_directory_needs_write_permission(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    mkdir(&path.join("inner"), 0o777)?;
    refused(STRANGER.run(|| rmdir(&path.join("inner"))), Errno::ACCESS);
    Ok(())
}

fn making_a_symbolic_link_needs_write_permission(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    refused(STRANGER.run(|| symlink("entry", &path.join("new"))), Errno::ACCESS);
    Ok(())
}

fn making_a_hard_link_needs_write_permission(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    // With protected_hardlinks only an owner may link at all, so the owner of the file tries.
    chown(&path.join("entry"), Some(STRANGER.uid), Some(STRANGER.gid))?;
    refused(STRANGER.run(|| link(&path.join("entry"), &path.join("new"))), Errno::ACCESS);
    Ok(())
}

fn renaming_needs_write_permission_on_the_source_directory(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    refused(STRANGER.run(|| rename(&path.join("entry"), &place.at("moved"))), Errno::ACCESS);
    Ok(())
}

fn renaming_needs_write_permission_on_the_target_directory(place: &Place) -> Outcome {
    let path = directory(place, 0o755)?;
    put(&place.at("mine"), "")?;
    refused(STRANGER.run(|| rename(&place.at("mine"), &path.join("moved"))), Errno::ACCESS);
    Ok(())
}

fn sticky(place: &Place) -> Answer<PathBuf> {
    let path = place.at("sticky");
    mkdir(&path, 0o777)?;
    chown(&path, Some(OWNER.uid), Some(OWNER.gid))?;
    chmod(&path, 0o1777)?;
    put(&path.join("members"), "")?;
    chown(&path.join("members"), Some(MEMBER.uid), Some(MEMBER.gid))?;
    chmod(&path.join("members"), 0o666)?;
    Ok(path)
}

fn in_a_sticky_directory_a_stranger_can_not_remove(place: &Place) -> Outcome {
    let path = sticky(place)?;
    refused(STRANGER.run(|| unlink(&path.join("members"))), Errno::PERM);
    Ok(())
}

fn in_a_sticky_directory_a_stranger_can_not_rename(place: &Place) -> Outcome {
    let path = sticky(place)?;
    refused(STRANGER.run(|| rename(&path.join("members"), &path.join("taken"))), Errno::PERM);
    Ok(())
}

fn in_a_sticky_directory_a_stranger_can_not_replace(place: &Place) -> Outcome {
    let path = sticky(place)?;
    STRANGER.run(|| put(&path.join("own"), ""))?;
    refused(STRANGER.run(|| rename(&path.join("own"), &path.join("members"))), Errno::PERM);
    Ok(())
}

fn in_a_sticky_directory_the_owner_of_the_file_removes(place: &Place) -> Outcome {
    let path = sticky(place)?;
    MEMBER.run(|| unlink(&path.join("members")))?;
    Ok(())
}

fn in_a_sticky_directory_the_owner_of_the_directory_removes(place: &Place) -> Outcome {
    let path = sticky(place)?;
    OWNER.run(|| unlink(&path.join("members")))?;
    Ok(())
}

fn the_owner_class_counts_even_if_others_may_more(place: &Place) -> Outcome {
    let path = file(place, 0o077)?;
    refused(OWNER.run(|| open_read(&path)), Errno::ACCESS);
    STRANGER.run(|| open_read(&path))?;
    Ok(())
}

fn sixteen_groups_reach_the_server(place: &Place) -> Outcome {
    const MANY: User = User {
        uid: 1003,
        gid: 1003,
        groups: &[2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 2009, 2010, 2011, 2012, 2013, 2014, 2015, 2016],
    };
    let path = file(place, 0o040)?;
    chown(&path, None, Some(2016))?;
    MANY.run(|| open_read(&path))?;
    Ok(())
}

mod single {
    use super::*;
    cases!("permissions":
        root_reads_and_writes_a_file_of_mode_0,
        root_enters_a_directory_of_mode_0,
        every_directory_of_a_path_must_be_searchable,
        a_file_is_removed_by_the_right_on_its_directory_not_its_own,
        a_new_file_without_write_bits_can_be_written_by_its_creator,
        a_new_file_of_mode_0_can_be_used_by_its_creator,
        an_open_file_stays_writable_when_its_mode_is_taken_away,
        opening_an_existing_file_with_create_needs_no_right_on_the_directory,
        truncating_at_open_needs_write_permission,
        truncating_needs_write_permission,
        making_a_directory_needs_write_permission,
        removing_a_directory_needs_write_permission,
        making_a_symbolic_link_needs_write_permission,
        making_a_hard_link_needs_write_permission,
        renaming_needs_write_permission_on_the_source_directory,
        renaming_needs_write_permission_on_the_target_directory,
        in_a_sticky_directory_a_stranger_can_not_remove,
        in_a_sticky_directory_a_stranger_can_not_rename,
        in_a_sticky_directory_a_stranger_can_not_replace,
        in_a_sticky_directory_the_owner_of_the_file_removes,
        in_a_sticky_directory_the_owner_of_the_directory_removes,
        the_owner_class_counts_even_if_others_may_more,
        sixteen_groups_reach_the_server,
    );
}

/// The matrix and the single cases.
pub(super) fn all() -> Vec<Case> {
    let mut all = matrix();
    all.extend(single::all());
    all
}
