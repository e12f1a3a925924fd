//! Directories and reading them while they change.

use std::collections::BTreeSet;

use super::{Outcome, Place, cases, refused, refused_with_any};
use crate::lab::files::{Answer, Errno, lstat, mkdir, names, put, rename, rmdir, stat, symlink, unlink};

fn fill(place: &Place, count: usize) -> Answer<BTreeSet<String>> {
    let all: BTreeSet<String> = (0..count).map(|number| format!("entry-with-a-longer-name-{number:05}")).collect();
    for name in &all {
        put(&place.at(name), "")?;
    }
    Ok(all)
}

/// The names that a stream gives, each once or the test fails.
fn rest(stream: std::fs::ReadDir) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for entry in stream {
        let name = entry.expect("the directory can be read").file_name().to_string_lossy().into_owned();
        assert!(seen.insert(name.clone()), "{name} came twice");
    }
    seen
}

fn stream(place: &Place) -> Answer<std::fs::ReadDir> {
    std::fs::read_dir(place.root()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn a_new_directory_is_empty_and_has_two_links(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    assert!(names(&place.at("directory"))?.is_empty());
    assert_eq!(stat(&place.at("directory"))?.st_nlink, 2);
    Ok(())
}

fn each_subdirectory_adds_a_link(place: &Place) -> Outcome {
    mkdir(&place.at("a"), 0o755)?;
    for number in 0..5 {
        mkdir(&place.at(&format!("a/{number}")), 0o755)?;
    }
    put(&place.at("a/file"), "")?;
    assert_eq!(stat(&place.at("a"))?.st_nlink, 7);
    rmdir(&place.at("a/0"))?;
    assert_eq!(stat(&place.at("a"))?.st_nlink, 6);
    Ok(())
}

fn an_existing_name_can_not_be_made_a_directory(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    mkdir(&place.at("directory"), 0o755)?;
    symlink("nowhere", &place.at("link"))?;
    for name in ["file", "directory", "link"] {
        refused(mkdir(&place.at(name), 0o755), Errno::EXIST);
    }
    Ok(())
}

fn a_missing_parent_is_not_made(place: &Place) -> Outcome {
    refused(mkdir(&place.at("missing/directory"), 0o755), Errno::NOENT);
    put(&place.at("file"), "")?;
    refused(mkdir(&place.at("file/directory"), 0o755), Errno::NOTDIR);
    Ok(())
}

fn a_full_directory_can_not_be_removed(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    put(&place.at("directory/file"), "")?;
    refused_with_any(rmdir(&place.at("directory")), &[Errno::NOTEMPTY, Errno::EXIST]);
    unlink(&place.at("directory/file"))?;
    rmdir(&place.at("directory"))?;
    refused(lstat(&place.at("directory")), Errno::NOENT);
    Ok(())
}

fn dot_and_dot_dot_can_not_be_removed(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    refused(rmdir(&place.at("directory/.")), Errno::INVAL);
    refused_with_any(rmdir(&place.at("directory/..")), &[Errno::NOTEMPTY, Errno::EXIST]);
    Ok(())
}

fn a_missing_directory_can_not_be_removed(place: &Place) -> Outcome {
    refused(rmdir(&place.at("missing")), Errno::NOENT);
    refused(unlink(&place.at("missing")), Errno::NOENT);
    Ok(())
}

fn entries_change_the_time_of_their_directory(place: &Place) -> Outcome {
    let long_ago = crate::lab::files::at(1_000_000, 0);
    let aged = || -> Answer<()> { crate::lab::files::set_times(place.root(), long_ago, long_ago) };
    let fresh = || -> Answer<bool> { Ok(stat(place.root())?.st_mtime > 1_000_000) };
    aged()?;
    put(&place.at("file"), "")?;
    assert!(fresh()?, "making a file");
    aged()?;
    mkdir(&place.at("directory"), 0o755)?;
    assert!(fresh()?, "making a directory");
    aged()?;
    unlink(&place.at("file"))?;
    assert!(fresh()?, "removing a file");
    aged()?;
    rmdir(&place.at("directory"))?;
    assert!(fresh()?, "removing a directory");
    Ok(())
}

fn a_list_names_every_entry_once(place: &Place) -> Outcome {
    let all = fill(place, 300)?;
    assert_eq!(rest(stream(place)?), all);
    Ok(())
}

fn a_list_tells_the_kind_of_each_entry(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    mkdir(&place.at("directory"), 0o755)?;
    symlink("file", &place.at("link"))?;
    for entry in stream(place)? {
        let entry = entry.map_err(|_| Errno::IO)?;
        let kind = entry.file_type().map_err(|_| Errno::IO)?;
        match entry.file_name().to_string_lossy().as_ref() {
            "file" => assert!(kind.is_file()),
            "directory" => assert!(kind.is_dir()),
            name => assert!(kind.is_symlink(), "{name}"),
        }
    }
    Ok(())
}

fn the_number_of_an_entry_is_that_of_its_file(place: &Place) -> Outcome {
    use std::os::unix::fs::DirEntryExt as _;
    fill(place, 20)?;
    for entry in stream(place)? {
        let entry = entry.map_err(|_| Errno::IO)?;
        assert_eq!(entry.ino(), lstat(&entry.path())?.st_ino);
    }
    Ok(())
}

fn a_directory_of_2000_entries_is_listed_completely(place: &Place) -> Outcome {
    mkdir(&place.at("many"), 0o755)?;
    for number in 0..2000 {
        symlink("x", &place.at(&format!("many/{number}")))?;
    }
    let many = Place { here: place.at("many"), there: place.other("many") };
    assert_eq!(rest(stream(&many)?).len(), 2000);
    assert_eq!(names(&place.other("many"))?.len(), 2000);
    Ok(())
}

fn removing_what_was_listed_empties_the_directory(place: &Place) -> Outcome {
    fill(place, 500)?;
    for entry in stream(place)? {
        unlink(&entry.map_err(|_| Errno::IO)?.path())?;
    }
    assert!(names(place.root())?.is_empty());
    Ok(())
}

fn entries_that_stay_are_listed_while_others_go(place: &Place) -> Outcome {
    let all = fill(place, 400)?;
    let mut listing = stream(place)?;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let entry = listing.next().expect("400 entries").map_err(|_| Errno::IO)?;
        seen.insert(entry.file_name().to_string_lossy().into_owned());
    }
    let going: BTreeSet<String> = all.iter().step_by(3).cloned().collect();
    for name in &going {
        unlink(&place.other(name))?;
    }
    seen.extend(rest(listing));
    let missed: Vec<&String> = all.difference(&going).filter(|name| !seen.contains(*name)).collect();
    assert!(missed.is_empty(), "not listed although they stayed: {missed:?}");
    Ok(())
}

fn entries_that_stay_are_listed_once_while_others_come(place: &Place) -> Outcome {
    let all = fill(place, 400)?;
    let mut listing = stream(place)?;
    let first = listing.next().expect("400 entries").map_err(|_| Errno::IO)?;
    for number in 0..200 {
        put(&place.other(&format!("newcomer{number}")), "")?;
    }
    let mut seen = rest(listing);
    assert!(seen.insert(first.file_name().to_string_lossy().into_owned()), "the first entry came again");
    assert!(seen.is_superset(&all));
    Ok(())
}

fn a_new_list_shows_what_happened_in_between(place: &Place) -> Outcome {
    fill(place, 3)?;
    assert_eq!(names(place.root())?.len(), 3);
    put(&place.at("more"), "")?;
    assert_eq!(names(place.root())?.len(), 4);
    unlink(&place.at("more"))?;
    assert_eq!(names(place.root())?.len(), 3);
    assert_eq!(names(&place.there)?.len(), 3);
    Ok(())
}

fn a_tree_of_fifty_levels_can_be_walked(place: &Place) -> Outcome {
    let mut path = place.root().to_owned();
    for _ in 0..50 {
        path.push("deeper");
        mkdir(&path, 0o755)?;
    }
    put(&path.join("bottom"), "found")?;
    let other = place.there.join(path.strip_prefix(place.root()).expect("below the place"));
    assert_eq!(crate::lab::files::text(&other.join("bottom"))?, "found");
    Ok(())
}

fn a_whole_tree_can_be_removed(place: &Place) -> Outcome {
    for outer in 0..5 {
        mkdir(&place.at(&format!("{outer}")), 0o755)?;
        for inner in 0..5 {
            mkdir(&place.at(&format!("{outer}/{inner}")), 0o755)?;
            put(&place.at(&format!("{outer}/{inner}/file")), "")?;
        }
    }
    for outer in 0..5 {
        std::fs::remove_dir_all(place.at(&format!("{outer}"))).map_err(|_| Errno::IO)?;
    }
    assert!(names(&place.there)?.is_empty());
    Ok(())
}

fn a_removed_directory_that_is_open_takes_no_entries(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    let open = crate::lab::files::open_read(&place.at("directory"))?;
    rmdir(&place.at("directory"))?;
    let made = rustix::fs::mkdirat(&open, "new", crate::lab::files::Mode::from_raw_mode(0o755));
    refused_with_any(made, &[Errno::NOENT, Errno::STALE]);
    Ok(())
}

fn names_differ_by_case(place: &Place) -> Outcome {
    put(&place.at("name"), "lower")?;
    put(&place.at("NAME"), "upper")?;
    assert_eq!(names(place.root())?, ["NAME", "name"]);
    Ok(())
}

fn moving_entries_during_a_list_loses_none_of_the_others(place: &Place) -> Outcome {
    let all = fill(place, 300)?;
    let mut listing = stream(place)?;
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let entry = listing.next().expect("300 entries").map_err(|_| Errno::IO)?;
        seen.insert(entry.file_name().to_string_lossy().into_owned());
    }
    let moved: BTreeSet<String> = all.iter().skip(150).step_by(2).cloned().collect();
    for name in &moved {
        rename(&place.other(name), &place.other(&format!("moved-{name}")))?;
    }
    seen.extend(rest(listing));
    assert!(all.difference(&moved).all(|name| seen.contains(name)));
    Ok(())
}

cases!("directories":
    a_new_directory_is_empty_and_has_two_links,
    each_subdirectory_adds_a_link,
    an_existing_name_can_not_be_made_a_directory,
    a_missing_parent_is_not_made,
    a_full_directory_can_not_be_removed,
    dot_and_dot_dot_can_not_be_removed,
    a_missing_directory_can_not_be_removed,
    entries_change_the_time_of_their_directory,
    a_list_names_every_entry_once,
    a_list_tells_the_kind_of_each_entry,
    the_number_of_an_entry_is_that_of_its_file,
    a_directory_of_2000_entries_is_listed_completely,
    removing_what_was_listed_empties_the_directory,
    entries_that_stay_are_listed_while_others_go,
    entries_that_stay_are_listed_once_while_others_come,
    a_new_list_shows_what_happened_in_between,
    a_tree_of_fifty_levels_can_be_walked,
    a_whole_tree_can_be_removed,
    a_removed_directory_that_is_open_takes_no_entries,
    names_differ_by_case,
    moving_entries_during_a_list_loses_none_of_the_others,
);
