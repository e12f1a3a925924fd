//! Hard and symbolic links.

use std::path::Path;

use super::{Outcome, Place, becomes, becomes_later, cases, refused};
use crate::lab::files::{
    self, Errno, OFlags, chmod, create_new, fstat, get, link, lstat, mkdir, names, open, put, read_at, readlink, stat,
    symlink, text, unlink, write_at,
};

fn a_hard_link_is_the_same_file(place: &Place) -> Outcome {
    put(&place.at("one"), "content")?;
    link(&place.at("one"), &place.at("two"))?;
    let (one, two) = (stat(&place.at("one"))?, stat(&place.at("two"))?);
    assert_eq!(one.st_ino, two.st_ino);
    assert_eq!((one.st_nlink, two.st_nlink), (2, 2));
    put(&place.at("two"), "changed")?;
    assert_eq!(text(&place.at("one"))?, "changed");
    chmod(&place.at("one"), 0o600)?;
    assert_eq!(files::mode(&place.at("two"))?, 0o600);
    Ok(())
}

fn the_content_stays_until_the_last_link_goes(place: &Place) -> Outcome {
    put(&place.at("one"), "content")?;
    link(&place.at("one"), &place.at("two"))?;
    unlink(&place.at("one"))?;
    assert_eq!(stat(&place.at("two"))?.st_nlink, 1);
    assert_eq!(text(&place.at("two"))?, "content");
    Ok(())
}

fn a_hundred_links_are_counted(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    for number in 0..99 {
        link(&place.at("file"), &place.at(&format!("link{number}")))?;
    }
    assert_eq!(stat(&place.at("file"))?.st_nlink, 100);
    assert_eq!(stat(&place.other("link42"))?.st_nlink, 100);
    Ok(())
}

fn linking_changes_the_change_time(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    let told = || stat(&place.at("file")).map(|stat| files::ctime(&stat));
    becomes_later(told()?, told, |round| link(&place.at("file"), &place.at(&format!("link{round}"))))
}

fn a_link_onto_an_existing_name_is_refused(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    put(&place.at("other"), "")?;
    mkdir(&place.at("directory"), 0o755)?;
    refused(link(&place.at("file"), &place.at("other")), Errno::EXIST);
    refused(link(&place.at("file"), &place.at("directory")), Errno::EXIST);
    refused(link(&place.at("file"), &place.at("file")), Errno::EXIST);
    Ok(())
}

fn a_directory_can_not_be_hard_linked(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    refused(link(&place.at("directory"), &place.at("link")), Errno::PERM);
    Ok(())
}

fn a_missing_file_can_not_be_linked(place: &Place) -> Outcome {
    refused(link(&place.at("missing"), &place.at("link")), Errno::NOENT);
    put(&place.at("file"), "")?;
    refused(link(&place.at("file"), &place.at("missing/link")), Errno::NOENT);
    refused(link(&place.at("file"), &place.at("file/link")), Errno::NOTDIR);
    Ok(())
}

fn a_symbolic_link_can_be_hard_linked(place: &Place) -> Outcome {
    symlink("target", &place.at("one"))?;
    link(&place.at("one"), &place.at("two"))?;
    assert_eq!(readlink(&place.at("two"))?, Path::new("target"));
    assert_eq!(lstat(&place.at("one"))?.st_nlink, 2);
    Ok(())
}

fn links_reach_across_directories(place: &Place) -> Outcome {
    mkdir(&place.at("a"), 0o755)?;
    mkdir(&place.at("b"), 0o755)?;
    put(&place.at("a/file"), "content")?;
    link(&place.at("a/file"), &place.at("b/file"))?;
    unlink(&place.at("a/file"))?;
    assert_eq!(text(&place.other("b/file"))?, "content");
    Ok(())
}

fn a_symbolic_link_leads_to_its_target(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    symlink("file", &place.at("link"))?;
    assert_eq!(text(&place.at("link"))?, "content");
    assert_eq!(lstat(&place.at("link"))?.st_mode & 0o170_000, 0o120_000);
    assert_eq!(stat(&place.at("link"))?.st_mode & 0o170_000, 0o100_000);
    Ok(())
}

fn a_symbolic_link_keeps_any_text(place: &Place) -> Outcome {
    for (number, target) in ["x", "../..", "/", "no such//place/./", "käse \u{1F9C0}\n", "a b\tc"].iter().enumerate() {
        let name = place.at(&format!("link{number}"));
        symlink(target, &name)?;
        assert_eq!(readlink(&name)?, Path::new(target));
    }
    Ok(())
}

fn the_size_of_a_symbolic_link_is_the_length_of_its_text(place: &Place) -> Outcome {
    symlink("twelve bytes", &place.at("link"))?;
    assert_eq!(lstat(&place.at("link"))?.st_size, 12);
    Ok(())
}

fn a_symbolic_link_of_4000_bytes_is_kept(place: &Place) -> Outcome {
    let target = "directory/".repeat(400);
    symlink(&target, &place.at("link"))?;
    assert_eq!(readlink(&place.at("link"))?, Path::new(&target));
    assert_eq!(readlink(&place.other("link"))?, Path::new(&target));
    Ok(())
}

fn a_dangling_link_is_there_but_leads_nowhere(place: &Place) -> Outcome {
    symlink("missing", &place.at("link"))?;
    lstat(&place.at("link"))?;
    refused(stat(&place.at("link")), Errno::NOENT);
    Ok(())
}

fn a_loop_of_links_is_noticed(place: &Place) -> Outcome {
    symlink("two", &place.at("one"))?;
    symlink("one", &place.at("two"))?;
    refused(get(&place.at("one")), Errno::LOOP);
    Ok(())
}

fn creating_through_a_dangling_link_makes_its_target(place: &Place) -> Outcome {
    symlink("target", &place.at("link"))?;
    put(&place.at("link"), "content")?;
    assert_eq!(text(&place.at("target"))?, "content");
    Ok(())
}

fn creating_exclusively_does_not_follow_a_link(place: &Place) -> Outcome {
    symlink("target", &place.at("link"))?;
    refused(create_new(&place.at("link"), 0o644), Errno::EXIST);
    refused(lstat(&place.at("target")), Errno::NOENT);
    Ok(())
}

fn opening_without_following_refuses_a_link(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    symlink("file", &place.at("link"))?;
    refused(open(&place.at("link"), OFlags::RDONLY | OFlags::NOFOLLOW, 0), Errno::LOOP);
    Ok(())
}

fn a_symbolic_link_over_an_existing_name_is_refused(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    refused(symlink("target", &place.at("file")), Errno::EXIST);
    symlink("target", &place.at("link"))?;
    refused(symlink("target", &place.at("link")), Errno::EXIST);
    Ok(())
}

fn removing_a_link_leaves_its_target(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    symlink("file", &place.at("link"))?;
    unlink(&place.at("link"))?;
    assert_eq!(names(place.root())?, ["file"]);
    Ok(())
}

fn a_file_that_is_no_link_has_no_target(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    refused(readlink(&place.at("file")), Errno::INVAL);
    Ok(())
}

fn a_removed_open_file_can_still_be_used(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    write_at(&file, "content", 0)?;
    unlink(&place.at("file"))?;
    write_at(&file, "CON", 0)?;
    file.sync_all().map_err(|_| Errno::IO)?;
    assert_eq!(read_at(&file, 10, 0)?, b"CONtent");
    refused(lstat(&place.at("file")), Errno::NOENT);
    drop(file);
    becomes(&Vec::new(), || names(place.root()))
}

fn a_removed_open_file_is_not_its_successor(place: &Place) -> Outcome {
    let old = create_new(&place.at("file"), 0o644)?;
    write_at(&old, "old", 0)?;
    unlink(&place.at("file"))?;
    put(&place.at("file"), "new!")?;
    assert_eq!(read_at(&old, 10, 0)?, b"old");
    assert_eq!(fstat(&old)?.st_size, 3);
    assert_ne!(fstat(&old)?.st_ino, stat(&place.at("file"))?.st_ino);
    Ok(())
}

fn a_file_with_another_link_counts_one_less_when_removed_open(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    link(&place.at("file"), &place.at("kept"))?;
    unlink(&place.at("file"))?;
    write_at(&file, "late", 0)?;
    drop(file);
    assert_eq!(text(&place.at("kept"))?, "late");
    becomes(&1, || {
        // The client asks for the attributes again when it opens the file.
        text(&place.at("kept"))?;
        Ok(stat(&place.at("kept"))?.st_nlink)
    })
}

cases!("links":
    a_hard_link_is_the_same_file,
    the_content_stays_until_the_last_link_goes,
    a_hundred_links_are_counted,
    linking_changes_the_change_time,
    a_link_onto_an_existing_name_is_refused,
    a_directory_can_not_be_hard_linked,
    a_missing_file_can_not_be_linked,
    a_symbolic_link_can_be_hard_linked,
    links_reach_across_directories,
    a_symbolic_link_leads_to_its_target,
    a_symbolic_link_keeps_any_text,
    the_size_of_a_symbolic_link_is_the_length_of_its_text,
    a_symbolic_link_of_4000_bytes_is_kept,
    a_dangling_link_is_there_but_leads_nowhere,
    a_loop_of_links_is_noticed,
    creating_through_a_dangling_link_makes_its_target,
    creating_exclusively_does_not_follow_a_link,
    opening_without_following_refuses_a_link,
    a_symbolic_link_over_an_existing_name_is_refused,
    removing_a_link_leaves_its_target,
    a_file_that_is_no_link_has_no_target,
    a_removed_open_file_can_still_be_used,
    a_removed_open_file_is_not_its_successor,
    a_file_with_another_link_counts_one_less_when_removed_open,
);
