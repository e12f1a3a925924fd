//! Access, modification and change times.

use super::{OWNER, Outcome, Place, STRANGER, becomes_later, cases, refused};
use crate::lab::files::{
    Answer, Errno, NOW, OMIT, at, atime, chmod, chown, create_new, ctime, get, lstat, mkdir, mtime, open_read, put,
    read_at, rename, set_times, stat, symlink, truncate, write_at,
};

fn aged(place: &Place) -> Answer<std::path::PathBuf> {
    let path = place.at("file");
    put(&path, "content")?;
    set_times(&path, at(1_000_000, 0), at(2_000_000, 0))?;
    Ok(path)
}

fn both_times_can_be_set(place: &Place) -> Outcome {
    let path = aged(place)?;
    let told = stat(&path)?;
    assert_eq!((atime(&told), mtime(&told)), (1_000_000_000_000_000, 2_000_000_000_000_000));
    let told = stat(&place.other("file"))?;
    assert_eq!((atime(&told), mtime(&told)), (1_000_000_000_000_000, 2_000_000_000_000_000));
    Ok(())
}

fn nanoseconds_are_kept(place: &Place) -> Outcome {
    let path = aged(place)?;
    set_times(&path, at(5, 123_456_789), at(6, 987_654_321))?;
    let told = stat(&place.other("file"))?;
    assert_eq!((atime(&told), mtime(&told)), (5_123_456_789, 6_987_654_321));
    Ok(())
}

fn one_time_can_be_left_alone(place: &Place) -> Outcome {
    let path = aged(place)?;
    set_times(&path, OMIT, at(7, 0))?;
    assert_eq!((stat(&path)?.st_atime, stat(&path)?.st_mtime), (1_000_000, 7));
    set_times(&path, at(8, 0), OMIT)?;
    assert_eq!((stat(&path)?.st_atime, stat(&path)?.st_mtime), (8, 7));
    Ok(())
}

fn times_before_1970_and_after_2038_are_kept(place: &Place) -> Outcome {
    let path = aged(place)?;
    set_times(&path, at(-86_400, 0), at(4_294_967_296, 0))?;
    let told = stat(&place.other("file"))?;
    assert_eq!((told.st_atime, told.st_mtime), (-86_400, 4_294_967_296));
    Ok(())
}

fn now_is_the_present(place: &Place) -> Outcome {
    let path = aged(place)?;
    set_times(&path, NOW, NOW)?;
    let told = stat(&path)?;
    assert!(told.st_atime > 1_600_000_000 && told.st_mtime > 1_600_000_000);
    Ok(())
}

fn setting_times_changes_the_change_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    let told = || stat(&path).map(|stat| ctime(&stat));
    becomes_later(told()?, told, |round| set_times(&path, at(1, 0), at(i64::from(round), 0)))
}

fn writing_changes_modification_and_change_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    let told = || stat(&place.other("file")).map(|stat| ctime(&stat));
    becomes_later(told()?, told, |round| put(&path, round.to_string()))?;
    assert!(stat(&path)?.st_mtime > 2_000_000);
    Ok(())
}

fn truncating_changes_the_modification_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    truncate(&path, 3)?;
    assert!(stat(&place.other("file"))?.st_mtime > 2_000_000);
    Ok(())
}

fn reading_does_not_change_the_modification_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    get(&path)?;
    get(&place.other("file"))?;
    assert_eq!(stat(&place.other("file"))?.st_mtime, 2_000_000);
    Ok(())
}

fn reading_does_not_change_the_access_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    // Recent enough that a client which updates access times "relatively" leaves it alone.
    set_times(&path, at(2_000_001, 0), at(2_000_000, 0))?;
    drop(get(&place.other("file"))?);
    assert_eq!(stat(&place.other("file"))?.st_atime, 2_000_001);
    Ok(())
}

fn the_mode_does_not_change_the_modification_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    chmod(&path, 0o600)?;
    assert_eq!(stat(&path)?.st_mtime, 2_000_000);
    Ok(())
}

fn renaming_keeps_the_modification_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    rename(&path, &place.at("new"))?;
    assert_eq!(stat(&place.other("new"))?.st_mtime, 2_000_000);
    Ok(())
}

fn the_times_of_a_directory_can_be_set(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    set_times(&place.at("directory"), at(11, 0), at(12, 0))?;
    let told = stat(&place.other("directory"))?;
    assert_eq!((told.st_atime, told.st_mtime), (11, 12));
    Ok(())
}

fn the_times_of_a_symbolic_link_can_be_set(place: &Place) -> Outcome {
    let path = aged(place)?;
    symlink("file", &place.at("link"))?;
    set_times(&place.at("link"), at(11, 0), at(12, 0))?;
    assert_eq!(lstat(&place.at("link"))?.st_mtime, 12);
    assert_eq!(stat(&path)?.st_mtime, 2_000_000);
    Ok(())
}

fn the_owner_sets_any_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    chown(&path, Some(OWNER.uid), Some(OWNER.gid))?;
    chmod(&path, 0o444)?;
    OWNER.run(|| set_times(&path, at(3, 0), at(4, 0)))?;
    assert_eq!(stat(&path)?.st_mtime, 4);
    Ok(())
}

fn a_stranger_who_may_write_can_not_set_a_time(place: &Place) -> Outcome {
    let path = aged(place)?;
    chmod(&path, 0o666)?;
    refused(STRANGER.run(|| set_times(&path, at(3, 0), at(4, 0))), Errno::PERM);
    assert_eq!(stat(&path)?.st_mtime, 2_000_000);
    Ok(())
}

fn a_stranger_who_may_write_can_set_the_present(place: &Place) -> Outcome {
    let path = aged(place)?;
    chmod(&path, 0o666)?;
    STRANGER.run(|| set_times(&path, NOW, NOW))?;
    assert!(stat(&path)?.st_mtime > 1_600_000_000);
    Ok(())
}

fn a_stranger_who_may_not_write_can_not_set_the_present(place: &Place) -> Outcome {
    let path = aged(place)?;
    refused(STRANGER.run(|| set_times(&path, NOW, NOW)), Errno::ACCESS);
    Ok(())
}

fn each_write_moves_the_time_forward(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    let mut last = 0;
    for round in 0..10 {
        write_at(&file, "x", round)?;
        file.sync_all().map_err(|_| Errno::IO)?;
        let now = mtime(&stat(&place.other("file"))?);
        assert!(now >= last);
        last = now;
    }
    drop(read_at(&open_read(&place.at("file"))?, 1, 0)?);
    assert!(mtime(&stat(&place.other("file"))?) == last);
    Ok(())
}

cases!("times":
    both_times_can_be_set,
    nanoseconds_are_kept,
    one_time_can_be_left_alone,
    times_before_1970_and_after_2038_are_kept,
    now_is_the_present,
    setting_times_changes_the_change_time,
    writing_changes_modification_and_change_time,
    truncating_changes_the_modification_time,
    reading_does_not_change_the_modification_time,
    reading_does_not_change_the_access_time,
    the_mode_does_not_change_the_modification_time,
    renaming_keeps_the_modification_time,
    the_times_of_a_directory_can_be_set,
    the_times_of_a_symbolic_link_can_be_set,
    the_owner_sets_any_time,
    a_stranger_who_may_write_can_not_set_a_time,
    a_stranger_who_may_write_can_set_the_present,
    a_stranger_who_may_not_write_can_not_set_the_present,
    each_write_moves_the_time_forward,
);
