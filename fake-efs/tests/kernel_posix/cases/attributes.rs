//! What stat and statfs tell.

use std::collections::BTreeSet;

use super::{Outcome, Place, cases};
use crate::lab::files::{self, Errno, create_new, fstat, link, mkdir, mkfifo, put, stat, symlink, truncate, write_at};

fn different_files_have_different_numbers(place: &Place) -> Outcome {
    let mut seen = BTreeSet::new();
    for number in 0..100 {
        put(&place.at(&number.to_string()), "")?;
        assert!(seen.insert(stat(&place.at(&number.to_string()))?.st_ino));
    }
    Ok(())
}

fn a_file_has_the_same_number_on_both_mounts(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    mkdir(&place.at("directory"), 0o755)?;
    for name in ["file", "directory"] {
        assert_eq!(stat(&place.at(name))?.st_ino, stat(&place.other(name))?.st_ino);
    }
    Ok(())
}

fn all_of_one_mount_is_one_device(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    put(&place.at("directory/file"), "")?;
    assert_eq!(stat(&place.at("directory/file"))?.st_dev, stat(place.root())?.st_dev);
    Ok(())
}

fn the_kinds_of_files_are_told_apart(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    mkdir(&place.at("directory"), 0o755)?;
    symlink("file", &place.at("link"))?;
    mkfifo(&place.at("fifo"), 0o644)?;
    for (name, kind) in [("file", 0o100_000), ("directory", 0o040_000), ("link", 0o120_000), ("fifo", 0o010_000)] {
        assert_eq!(files::lstat(&place.other(name))?.st_mode & 0o170_000, kind, "{name}");
    }
    Ok(())
}

fn the_size_follows_every_change(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    for (offset, expected) in [(0, 5), (100, 105), (50, 105), (1000, 1005)] {
        write_at(&file, "12345", offset)?;
        assert_eq!(fstat(&file)?.st_size, expected);
    }
    truncate(&place.at("file"), 77)?;
    assert_eq!(fstat(&file)?.st_size, 77);
    Ok(())
}

fn an_open_descriptor_sees_new_links(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    link(&place.at("file"), &place.at("link"))?;
    assert_eq!(fstat(&file)?.st_nlink, 2);
    Ok(())
}

fn an_empty_file_takes_no_blocks(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    // EFS meters 4 KiB of metadata for every file; none of it is the file's own blocks.
    assert!(stat(&place.at("file"))?.st_blocks <= 8);
    Ok(())
}

fn the_file_system_tells_its_size(place: &Place) -> Outcome {
    let all = rustix::fs::statvfs(place.root())?;
    assert!(all.f_blocks > 0);
    assert!(all.f_bavail <= all.f_bfree && all.f_bfree <= all.f_blocks);
    assert!(all.f_bsize >= 512);
    Ok(())
}

fn the_longest_name_has_255_bytes(place: &Place) -> Outcome {
    assert_eq!(rustix::fs::statvfs(place.root())?.f_namemax, 255);
    Ok(())
}

fn efs_is_eight_exbibytes_large(place: &Place) -> Outcome {
    let all = rustix::fs::statvfs(place.root())?;
    assert_eq!(u128::from(all.f_blocks) * u128::from(all.f_frsize), 9_223_372_036_853_727_232);
    Ok(())
}

fn efs_counts_no_inodes(place: &Place) -> Outcome {
    let all = rustix::fs::statvfs(place.root())?;
    assert_eq!((all.f_files, all.f_ffree, all.f_favail), (0, 0, 0));
    Ok(())
}

fn the_attributes_of_a_fresh_file_are_plausible(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let told = stat(&place.other("file"))?;
    assert_eq!((told.st_nlink, told.st_size, told.st_uid, told.st_gid), (1, 7, 0, 0));
    assert!(told.st_blksize >= 512);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|_| Errno::RANGE)?;
    let now = i64::try_from(now.as_secs()).map_err(|_| Errno::RANGE)?;
    for time in [told.st_atime, told.st_mtime, told.st_ctime] {
        assert!((now - 60..=now + 60).contains(&time), "{time}, now {now}");
    }
    Ok(())
}

cases!("attributes":
    different_files_have_different_numbers,
    a_file_has_the_same_number_on_both_mounts,
    all_of_one_mount_is_one_device,
    the_kinds_of_files_are_told_apart,
    the_size_follows_every_change,
    an_open_descriptor_sees_new_links,
    an_empty_file_takes_no_blocks,
    the_file_system_tells_its_size,
    the_longest_name_has_255_bytes,
    efs_is_eight_exbibytes_large,
    efs_counts_no_inodes,
    the_attributes_of_a_fresh_file_are_plausible,
);
