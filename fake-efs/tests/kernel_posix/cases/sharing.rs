//! What one mount sees of another's work. The second mount caches nothing; the first does as mounts do, so that it must
//! see changes when it opens a file anew (close-to-open consistency).

use super::{Outcome, Place, cases, refused};
use crate::lab::files::{
    Errno, OFlags, chmod, create_new, get, lstat, mkdir, mode, names, open, open_both, open_read, put, read_at, rename,
    rmdir, size, symlink, text, truncate, unlink, write_at,
};

fn a_closed_file_is_read_by_the_other(place: &Place) -> Outcome {
    put(&place.at("file"), "from here")?;
    assert_eq!(text(&place.other("file"))?, "from here");
    put(&place.other("file"), "from there")?;
    assert_eq!(text(&place.at("file"))?, "from there");
    Ok(())
}

fn a_reopened_file_shows_each_new_version(place: &Place) -> Outcome {
    for version in 0..20 {
        put(&place.other("file"), format!("version {version}"))?;
        assert_eq!(text(&place.at("file"))?, format!("version {version}"));
    }
    Ok(())
}

fn a_flushed_write_is_seen_before_closing(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    write_at(&file, "flushed", 0)?;
    file.sync_all().map_err(|_| Errno::IO)?;
    assert_eq!(text(&place.other("file"))?, "flushed");
    Ok(())
}

fn a_new_name_is_seen(place: &Place) -> Outcome {
    refused(lstat(&place.other("new")), Errno::NOENT);
    put(&place.at("new"), "")?;
    lstat(&place.other("new"))?;
    assert_eq!(names(&place.there)?, ["new"]);
    Ok(())
}

fn a_removed_name_is_missed(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    lstat(&place.other("file"))?;
    unlink(&place.at("file"))?;
    refused(lstat(&place.other("file")), Errno::NOENT);
    assert!(names(&place.there)?.is_empty());
    Ok(())
}

fn a_new_mode_is_seen(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    chmod(&place.at("file"), 0o600)?;
    assert_eq!(mode(&place.other("file"))?, 0o600);
    Ok(())
}

fn a_new_size_is_seen(place: &Place) -> Outcome {
    put(&place.at("file"), "0123456789")?;
    truncate(&place.at("file"), 4)?;
    assert_eq!(size(&place.other("file"))?, 4);
    Ok(())
}

fn both_write_their_own_parts_of_a_file(place: &Place) -> Outcome {
    put(&place.at("file"), vec![b'.'; 8192])?;
    let (here, there) = (open_both(&place.at("file"))?, open_both(&place.other("file"))?);
    write_at(&here, "here", 0)?;
    write_at(&there, "there", 4096)?;
    drop((here, there));
    let content = get(&place.other("file"))?;
    assert_eq!((&content[..4], &content[4096..4101]), (&b"here"[..], &b"there"[..]));
    assert_eq!(content.len(), 8192);
    Ok(())
}

fn synchronous_appends_of_both_are_all_kept(place: &Place) -> Outcome {
    for round in 0..10 {
        for path in [place.at("file"), place.other("file")] {
            let file = open(&path, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND, 0o644)?;
            crate::lab::files::write(&file, round.to_string())?;
        }
    }
    assert_eq!(text(&place.at("file"))?, "00112233445566778899");
    Ok(())
}

fn a_file_removed_by_the_other_is_stale_or_still_readable(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let file = open_read(&place.at("file"))?;
    unlink(&place.other("file"))?;
    // A server can't know that another client still reads; NFS answers ESTALE, a local file system the content.
    match read_at(&file, 7, 0) {
        Ok(content) => assert_eq!(content, b"content"),
        Err(errno) => assert_eq!(errno, Errno::STALE),
    }
    refused(open_read(&place.other("file")), Errno::NOENT);
    Ok(())
}

fn a_name_replaced_by_the_other_opens_the_new_file(place: &Place) -> Outcome {
    put(&place.at("file"), "old")?;
    assert_eq!(text(&place.at("file"))?, "old");
    put(&place.other("next"), "new")?;
    rename(&place.other("next"), &place.other("file"))?;
    // The lookup is cached for some seconds at most; a flush of the name cache is what a second mount can't force.
    assert_eq!(text(&place.other("file"))?, "new");
    Ok(())
}

fn a_directory_moved_by_the_other_is_found_there(place: &Place) -> Outcome {
    mkdir(&place.at("old"), 0o755)?;
    put(&place.at("old/file"), "content")?;
    rename(&place.other("old"), &place.other("new"))?;
    assert_eq!(text(&place.other("new/file"))?, "content");
    Ok(())
}

fn a_directory_emptied_by_the_other_can_be_removed(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    put(&place.at("directory/file"), "")?;
    unlink(&place.other("directory/file"))?;
    rmdir(&place.at("directory"))?;
    refused(lstat(&place.other("directory")), Errno::NOENT);
    Ok(())
}

fn a_directory_filled_by_the_other_can_not_be_removed(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    put(&place.other("directory/file"), "")?;
    super::refused_with_any(rmdir(&place.at("directory")), &[Errno::NOTEMPTY, Errno::EXIST]);
    Ok(())
}

fn a_link_made_by_the_other_is_followed(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    symlink("file", &place.other("link"))?;
    assert_eq!(text(&place.at("link"))?, "content");
    Ok(())
}

fn two_mounts_make_files_in_one_directory(place: &Place) -> Outcome {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| (0..50).try_for_each(|number| put(&place.other(&format!("there{number}")), "x")));
        (0..50).try_for_each(|number| put(&place.at(&format!("here{number}")), "x"))?;
        other.join().expect("making files does not panic")
    })?;
    assert_eq!(names(&place.there)?.len(), 100);
    Ok(())
}

cases!("sharing":
    a_closed_file_is_read_by_the_other,
    a_reopened_file_shows_each_new_version,
    a_flushed_write_is_seen_before_closing,
    a_new_name_is_seen,
    a_removed_name_is_missed,
    a_new_mode_is_seen,
    a_new_size_is_seen,
    both_write_their_own_parts_of_a_file,
    synchronous_appends_of_both_are_all_kept,
    a_file_removed_by_the_other_is_stale_or_still_readable,
    a_name_replaced_by_the_other_opens_the_new_file,
    a_directory_moved_by_the_other_is_found_there,
    a_directory_emptied_by_the_other_can_be_removed,
    a_directory_filled_by_the_other_can_not_be_removed,
    a_link_made_by_the_other_is_followed,
    two_mounts_make_files_in_one_directory,
);
