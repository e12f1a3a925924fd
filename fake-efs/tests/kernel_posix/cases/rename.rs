//! Renaming: every kind of source over every kind of target, and what else may go wrong.

use std::path::Path;

use super::{Case, Outcome, Place, becomes, cases, refused, refused_with_any};
use crate::lab::files::{
    self, Answer, Errno, create_new, get, link, lstat, mkdir, mkfifo, names, open_read, put, read_at, readlink, rename,
    rmdir, stat, symlink, text, write_at,
};

/// What a name can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Nothing,
    File,
    Link,
    Fifo,
    EmptyDirectory,
    FullDirectory,
}

impl Thing {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::File => "a_file",
            Self::Link => "a_symbolic_link",
            Self::Fifo => "a_fifo",
            Self::EmptyDirectory => "an_empty_directory",
            Self::FullDirectory => "a_full_directory",
        }
    }

    fn is_directory(self) -> bool {
        matches!(self, Self::EmptyDirectory | Self::FullDirectory)
    }

    fn make(self, path: &Path) -> Answer<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::File => put(path, "a file"),
            Self::Link => symlink("somewhere", path),
            Self::Fifo => mkfifo(path, 0o644),
            Self::EmptyDirectory => mkdir(path, 0o755),
            Self::FullDirectory => mkdir(path, 0o755).and_then(|()| put(&path.join("entry"), "inside")),
        }
    }

    /// Fails unless the path is this thing, made by `make`.
    fn check(self, path: &Path) -> Answer<()> {
        match self {
            Self::Nothing => refused(lstat(path), Errno::NOENT),
            Self::File => assert_eq!(get(path)?, b"a file"),
            Self::Link => assert_eq!(readlink(path)?, Path::new("somewhere")),
            Self::Fifo => assert_eq!(lstat(path)?.st_mode & 0o170_000, 0o010_000),
            Self::EmptyDirectory => assert!(names(path)?.is_empty()),
            Self::FullDirectory => assert_eq!(names(path)?, ["entry"]),
        }
        Ok(())
    }
}

fn expected(source: Thing, target: Thing) -> Result<(), &'static [Errno]> {
    match (source.is_directory(), target) {
        (_, Thing::Nothing) => Ok(()),
        (true, Thing::EmptyDirectory) => Ok(()),
        (true, Thing::FullDirectory) => Err(&[Errno::NOTEMPTY, Errno::EXIST]),
        (true, _) => Err(&[Errno::NOTDIR]),
        (false, Thing::EmptyDirectory | Thing::FullDirectory) => Err(&[Errno::ISDIR]),
        (false, _) => Ok(()),
    }
}

fn over(source: Thing, target: Thing, from: &Path, to: &Path) -> Outcome {
    source.make(from)?;
    target.make(to)?;
    let id = lstat(from)?.st_ino;
    match expected(source, target) {
        Ok(()) => {
            rename(from, to)?;
            Thing::Nothing.check(from)?;
            source.check(to)?;
            assert_eq!(lstat(to)?.st_ino, id, "the renamed thing is still the same");
        }
        Err(errors) => {
            refused_with_any(rename(from, to), errors);
            source.check(from)?;
            target.check(to)?;
        }
    }
    Ok(())
}

fn matrix() -> Vec<Case> {
    let sources = [Thing::File, Thing::Link, Thing::Fifo, Thing::EmptyDirectory, Thing::FullDirectory];
    let targets = [Thing::Nothing, Thing::File, Thing::Link, Thing::Fifo, Thing::EmptyDirectory, Thing::FullDirectory];
    let mut all = Vec::new();
    for source in sources {
        for target in targets {
            let name = format!("{}_over_{}", source.name(), target.name());
            all.push(Case::new("rename", &name, move |place| {
                over(source, target, &place.at("from"), &place.at("to"))?;
                mkdir(&place.at("x"), 0o755)?;
                mkdir(&place.at("y"), 0o755)?;
                over(source, target, &place.at("x/from"), &place.at("y/to"))
            }));
        }
    }
    all
}

fn a_directory_can_not_move_into_itself(place: &Place) -> Outcome {
    mkdir(&place.at("outer"), 0o755)?;
    mkdir(&place.at("outer/inner"), 0o755)?;
    refused(rename(&place.at("outer"), &place.at("outer/new")), Errno::INVAL);
    refused(rename(&place.at("outer"), &place.at("outer/inner/new")), Errno::INVAL);
    refused_with_any(rename(&place.at("outer/inner"), &place.at("outer")), &[Errno::NOTEMPTY, Errno::EXIST]);
    Ok(())
}

fn the_other_client_refuses_to_move_a_directory_into_itself(place: &Place) -> Outcome {
    mkdir(&place.at("outer"), 0o755)?;
    mkdir(&place.at("elsewhere"), 0o755)?;
    mkdir(&place.at("elsewhere/inner"), 0o755)?;
    // The second mount believes that "inner" is elsewhere.
    lstat(&place.other("elsewhere/inner"))?;
    rename(&place.at("elsewhere/inner"), &place.at("outer/inner"))?;
    refused(rename(&place.other("outer"), &place.other("outer/inner/new")), Errno::INVAL);
    Ok(())
}

fn a_name_onto_itself_changes_nothing(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    rename(&place.at("file"), &place.at("file"))?;
    assert_eq!(text(&place.at("file"))?, "content");
    mkdir(&place.at("directory"), 0o755)?;
    rename(&place.at("directory"), &place.at("directory"))?;
    Ok(())
}

fn two_names_of_one_file_both_stay(place: &Place) -> Outcome {
    put(&place.at("one"), "content")?;
    link(&place.at("one"), &place.at("two"))?;
    rename(&place.at("one"), &place.at("two"))?;
    assert_eq!(names(place.root())?, ["one", "two"]);
    assert_eq!(stat(&place.at("two"))?.st_nlink, 2);
    Ok(())
}

fn a_missing_source_is_not_there(place: &Place) -> Outcome {
    put(&place.at("target"), "content")?;
    refused(rename(&place.at("missing"), &place.at("target")), Errno::NOENT);
    refused(rename(&place.at("missing/file"), &place.at("target")), Errno::NOENT);
    refused(rename(&place.at("target"), &place.at("missing/file")), Errno::NOENT);
    assert_eq!(text(&place.at("target"))?, "content");
    Ok(())
}

fn a_file_is_no_directory_to_move_into(place: &Place) -> Outcome {
    put(&place.at("one"), "")?;
    put(&place.at("two"), "")?;
    refused(rename(&place.at("one"), &place.at("two/new")), Errno::NOTDIR);
    Ok(())
}

fn a_replaced_file_loses_a_link(place: &Place) -> Outcome {
    put(&place.at("kept"), "old")?;
    link(&place.at("kept"), &place.at("replaced"))?;
    put(&place.at("new"), "new")?;
    rename(&place.at("new"), &place.at("replaced"))?;
    assert_eq!(stat(&place.at("kept"))?.st_nlink, 1);
    assert_eq!(text(&place.at("kept"))?, "old");
    Ok(())
}

fn link_counts_of_directories_follow_a_moved_directory(place: &Place) -> Outcome {
    mkdir(&place.at("a"), 0o755)?;
    mkdir(&place.at("b"), 0o755)?;
    mkdir(&place.at("a/moved"), 0o755)?;
    assert_eq!((stat(&place.at("a"))?.st_nlink, stat(&place.at("b"))?.st_nlink), (3, 2));
    rename(&place.at("a/moved"), &place.at("b/moved"))?;
    assert_eq!((stat(&place.at("a"))?.st_nlink, stat(&place.at("b"))?.st_nlink), (2, 3));
    Ok(())
}

fn the_parent_of_a_moved_directory_is_its_new_one(place: &Place) -> Outcome {
    mkdir(&place.at("a"), 0o755)?;
    mkdir(&place.at("b"), 0o755)?;
    mkdir(&place.at("a/moved"), 0o755)?;
    put(&place.at("b/here"), "")?;
    rename(&place.at("a/moved"), &place.at("b/moved"))?;
    assert_eq!(names(&place.at("b/moved/.."))?, ["here", "moved"]);
    assert_eq!(names(&place.other("b/moved/.."))?, ["here", "moved"]);
    Ok(())
}

fn an_open_file_can_be_used_under_its_new_name(place: &Place) -> Outcome {
    let file = create_new(&place.at("old"), 0o644)?;
    write_at(&file, "before ", 0)?;
    rename(&place.at("old"), &place.at("new"))?;
    write_at(&file, "after", 7)?;
    file.sync_all().map_err(|_| Errno::IO)?;
    assert_eq!(text(&place.at("new"))?, "before after");
    Ok(())
}

fn a_replaced_open_file_keeps_its_content(place: &Place) -> Outcome {
    put(&place.at("target"), "old content")?;
    let open = open_read(&place.at("target"))?;
    put(&place.at("source"), "new content")?;
    rename(&place.at("source"), &place.at("target"))?;
    assert_eq!(read_at(&open, 20, 0)?, b"old content");
    assert_eq!(text(&place.at("target"))?, "new content");
    drop(open);
    becomes(&vec!["target".to_owned()], || names(place.root()))
}

fn renaming_changes_the_times_of_both_directories(place: &Place) -> Outcome {
    mkdir(&place.at("a"), 0o755)?;
    mkdir(&place.at("b"), 0o755)?;
    put(&place.at("a/file"), "")?;
    let long_ago = files::at(1_000_000, 0);
    files::set_times(&place.at("a"), long_ago, long_ago)?;
    files::set_times(&place.at("b"), long_ago, long_ago)?;
    rename(&place.at("a/file"), &place.at("b/file"))?;
    assert!(stat(&place.at("a"))?.st_mtime > 1_000_000);
    assert!(stat(&place.at("b"))?.st_mtime > 1_000_000);
    Ok(())
}

fn a_tree_keeps_its_content_when_its_root_moves(place: &Place) -> Outcome {
    mkdir(&place.at("old"), 0o755)?;
    mkdir(&place.at("old/deep"), 0o755)?;
    mkdir(&place.at("old/deep/deeper"), 0o755)?;
    put(&place.at("old/deep/deeper/file"), "content")?;
    rename(&place.at("old"), &place.at("new"))?;
    assert_eq!(text(&place.at("new/deep/deeper/file"))?, "content");
    assert_eq!(text(&place.other("new/deep/deeper/file"))?, "content");
    refused(lstat(&place.other("old")), Errno::NOENT);
    Ok(())
}

fn the_working_name_can_be_swapped_a_hundred_times(place: &Place) -> Outcome {
    put(&place.at("current"), "0")?;
    for version in 1..=100 {
        put(&place.at("next"), version.to_string())?;
        rename(&place.at("next"), &place.at("current"))?;
        assert_eq!(text(&place.at("current"))?, version.to_string());
    }
    assert_eq!(names(place.root())?, ["current"]);
    Ok(())
}

fn a_removed_directory_can_be_replaced_by_a_renamed_one(place: &Place) -> Outcome {
    mkdir(&place.at("one"), 0o755)?;
    mkdir(&place.at("two"), 0o755)?;
    put(&place.at("two/file"), "")?;
    rmdir(&place.at("one"))?;
    rename(&place.at("two"), &place.at("one"))?;
    assert_eq!(names(&place.at("one"))?, ["file"]);
    Ok(())
}

mod single {
    use super::*;
    cases!("rename":
        a_directory_can_not_move_into_itself,
        the_other_client_refuses_to_move_a_directory_into_itself,
        a_name_onto_itself_changes_nothing,
        two_names_of_one_file_both_stay,
        a_missing_source_is_not_there,
        a_file_is_no_directory_to_move_into,
        a_replaced_file_loses_a_link,
        link_counts_of_directories_follow_a_moved_directory,
        the_parent_of_a_moved_directory_is_its_new_one,
        an_open_file_can_be_used_under_its_new_name,
        a_replaced_open_file_keeps_its_content,
        renaming_changes_the_times_of_both_directories,
        a_tree_keeps_its_content_when_its_root_moves,
        the_working_name_can_be_swapped_a_hundred_times,
        a_removed_directory_can_be_replaced_by_a_renamed_one,
    );
}

/// The matrix and the single cases.
pub(super) fn all() -> Vec<Case> {
    let mut all = matrix();
    all.extend(single::all());
    all
}
