//! Advisory locks: ranges, kinds, owners, two mounts.

use std::fs::File;

use nix::errno::Errno as LockErrno;

use super::{Outcome, Place, cases};
use crate::lab::files::{Answer, open_both, open_read, open_write, put, rename, unlink};
use crate::lab::locks::Kind::{Exclusive, Shared};
use crate::lab::locks::{Range, conflict, lock, try_lock, unlock};

/// One file, opened through both mounts.
fn opened(place: &Place) -> Answer<(File, File)> {
    put(&place.at("file"), "0123456789")?;
    Ok((open_both(&place.at("file"))?, open_both(&place.other("file"))?))
}

#[track_caller]
fn denied(answer: Result<(), LockErrno>) {
    assert!(matches!(answer, Err(LockErrno::EAGAIN | LockErrno::EACCES)), "{answer:?}");
}

fn an_exclusive_lock_keeps_the_other_mount_out(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    denied(try_lock(&there, Exclusive, Range::ALL));
    denied(try_lock(&there, Shared, Range::ALL));
    unlock(&here, Range::ALL)?;
    try_lock(&there, Exclusive, Range::ALL)?;
    denied(try_lock(&here, Shared, Range::ALL));
    Ok(())
}

fn an_exclusive_lock_keeps_another_owner_of_the_same_mount_out(place: &Place) -> Outcome {
    let (here, _) = opened(place)?;
    let again = open_both(&place.at("file"))?;
    try_lock(&here, Exclusive, Range::ALL)?;
    denied(try_lock(&again, Shared, Range::ALL));
    Ok(())
}

fn shared_locks_go_together(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Shared, Range::ALL)?;
    try_lock(&there, Shared, Range::ALL)?;
    denied(try_lock(&there, Exclusive, Range::ALL));
    unlock(&here, Range::ALL)?;
    try_lock(&there, Exclusive, Range::ALL)?;
    Ok(())
}

fn ranges_that_do_not_touch_do_not_conflict(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::new(0, 100))?;
    try_lock(&there, Exclusive, Range::new(100, 100))?;
    denied(try_lock(&there, Exclusive, Range::new(99, 1)));
    denied(try_lock(&here, Exclusive, Range::new(199, 1)));
    try_lock(&here, Exclusive, Range::new(200, 1))?;
    Ok(())
}

fn a_range_to_the_end_covers_everything_after(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::new(50, 0))?;
    denied(try_lock(&there, Shared, Range::new(1 << 40, 1)));
    try_lock(&there, Exclusive, Range::new(0, 50))?;
    Ok(())
}

fn unlocking_the_middle_splits_a_lock(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::new(0, 300))?;
    unlock(&here, Range::new(100, 100))?;
    try_lock(&there, Exclusive, Range::new(100, 100))?;
    denied(try_lock(&there, Exclusive, Range::new(99, 1)));
    denied(try_lock(&there, Exclusive, Range::new(200, 1)));
    Ok(())
}

fn neighbouring_locks_join(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::new(0, 100))?;
    try_lock(&here, Exclusive, Range::new(100, 100))?;
    assert_eq!(conflict(&there, Exclusive, Range::new(50, 100))?.map(|(kind, _)| kind), Some(Exclusive));
    unlock(&here, Range::new(0, 200))?;
    assert_eq!(conflict(&there, Exclusive, Range::ALL)?, None);
    Ok(())
}

fn a_shared_lock_can_become_exclusive(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Shared, Range::ALL)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    denied(try_lock(&there, Shared, Range::ALL));
    Ok(())
}

fn an_exclusive_lock_can_become_shared(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    try_lock(&here, Shared, Range::ALL)?;
    try_lock(&there, Shared, Range::ALL)?;
    denied(try_lock(&there, Exclusive, Range::ALL));
    Ok(())
}

fn part_of_an_exclusive_lock_can_become_shared(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::new(0, 300))?;
    try_lock(&here, Shared, Range::new(100, 100))?;
    try_lock(&there, Shared, Range::new(100, 100))?;
    denied(try_lock(&there, Shared, Range::new(0, 100)));
    denied(try_lock(&there, Shared, Range::new(200, 100)));
    denied(try_lock(&there, Exclusive, Range::new(150, 1)));
    Ok(())
}

fn a_refused_upgrade_keeps_the_shared_lock(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Shared, Range::ALL)?;
    try_lock(&there, Shared, Range::ALL)?;
    denied(try_lock(&here, Exclusive, Range::ALL));
    unlock(&there, Range::ALL)?;
    denied(try_lock(&there, Exclusive, Range::ALL));
    Ok(())
}

fn locking_twice_counts_once(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    unlock(&here, Range::ALL)?;
    try_lock(&there, Exclusive, Range::ALL)?;
    Ok(())
}

fn unlocking_what_is_not_locked_is_fine(place: &Place) -> Outcome {
    let (here, _) = opened(place)?;
    unlock(&here, Range::new(10, 10))?;
    unlock(&here, Range::ALL)?;
    Ok(())
}

fn closing_gives_up_the_locks(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    drop(here);
    try_lock(&there, Exclusive, Range::ALL)?;
    Ok(())
}

fn who_asks_is_told_the_lock_in_the_way(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    assert_eq!(conflict(&there, Exclusive, Range::ALL)?, None);
    try_lock(&here, Shared, Range::new(10, 20))?;
    assert_eq!(conflict(&there, Exclusive, Range::ALL)?, Some((Shared, Range::new(10, 20))));
    assert_eq!(conflict(&there, Shared, Range::ALL)?, None);
    try_lock(&here, Exclusive, Range::new(10, 20))?;
    assert_eq!(conflict(&there, Shared, Range::new(29, 1))?, Some((Exclusive, Range::new(10, 20))));
    assert_eq!(conflict(&there, Shared, Range::new(30, 1))?, None);
    Ok(())
}

fn a_waiting_lock_is_granted_when_the_holder_lets_go(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lock(&there, Exclusive, Range::ALL));
        // Whether the waiter came first or not, it must end with the lock.
        std::thread::yield_now();
        unlock(&here, Range::ALL)?;
        waiting.join().expect("waiting for a lock does not panic")
    })?;
    denied(try_lock(&here, Shared, Range::ALL));
    Ok(())
}

fn an_exclusive_lock_needs_a_file_open_for_writing(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    let reading = open_read(&place.at("file"))?;
    assert_eq!(try_lock(&reading, Exclusive, Range::ALL), Err(LockErrno::EBADF));
    try_lock(&reading, Shared, Range::ALL)?;
    Ok(())
}

fn a_shared_lock_needs_a_file_open_for_reading(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    let writing = open_write(&place.at("file"))?;
    assert_eq!(try_lock(&writing, Shared, Range::ALL), Err(LockErrno::EBADF));
    Ok(())
}

fn a_lock_follows_a_renamed_file(place: &Place) -> Outcome {
    let (here, _) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    rename(&place.at("file"), &place.at("new"))?;
    denied(try_lock(&open_both(&place.other("new"))?, Exclusive, Range::ALL));
    Ok(())
}

fn a_new_file_of_the_same_name_is_not_locked(place: &Place) -> Outcome {
    let (here, _) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    unlink(&place.at("file"))?;
    put(&place.at("file"), "")?;
    try_lock(&open_both(&place.other("file"))?, Exclusive, Range::ALL)?;
    Ok(())
}

fn a_lock_does_not_stop_reads_and_writes(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    try_lock(&here, Exclusive, Range::ALL)?;
    crate::lab::files::write_at(&there, "written", 0)?;
    assert_eq!(crate::lab::files::read_at(&there, 7, 0)?, b"written");
    Ok(())
}

fn a_whole_file_lock_of_flock_keeps_the_other_mount_out(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    here.try_lock().expect("nobody else locks");
    assert!(there.try_lock().is_err());
    assert!(there.try_lock_shared().is_err());
    here.unlock().expect("it is locked");
    there.try_lock_shared().expect("it is free");
    Ok(())
}

fn a_hundred_ranges_are_locked_one_by_one(place: &Place) -> Outcome {
    let (here, there) = opened(place)?;
    for number in 0..100 {
        try_lock(&here, Exclusive, Range::new(number * 20, 10))?;
    }
    for number in [0, 42, 99] {
        denied(try_lock(&there, Exclusive, Range::new(number * 20 + 9, 1)));
        try_lock(&there, Exclusive, Range::new(number * 20 + 10, 10))?;
    }
    Ok(())
}

/// Two mounts add to a number in a file under a lock; no addition may be lost.
fn a_lock_makes_read_and_write_one_step(place: &Place) -> Outcome {
    const ROUNDS: u32 = 30;
    put(&place.at("file"), "0")?;
    let count = |other: bool| -> Result<(), super::Unexpected> {
        for _ in 0..ROUNDS {
            let file = open_both(&if other { place.other("file") } else { place.at("file") })?;
            lock(&file, Exclusive, Range::ALL)?;
            let text = crate::lab::files::read_at(&file, 20, 0)?;
            let number: u32 = String::from_utf8_lossy(&text).parse().expect("a number was written");
            crate::lab::files::write_at(&file, (number + 1).to_string(), 0)?;
            unlock(&file, Range::ALL)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| count(true));
        count(false)?;
        other.join().expect("counting does not panic")
    })?;
    assert_eq!(crate::lab::files::text(&place.other("file"))?, (2 * ROUNDS).to_string());
    Ok(())
}

cases!("locks":
    an_exclusive_lock_keeps_the_other_mount_out,
    an_exclusive_lock_keeps_another_owner_of_the_same_mount_out,
    shared_locks_go_together,
    ranges_that_do_not_touch_do_not_conflict,
    a_range_to_the_end_covers_everything_after,
    unlocking_the_middle_splits_a_lock,
    neighbouring_locks_join,
    a_shared_lock_can_become_exclusive,
    an_exclusive_lock_can_become_shared,
    part_of_an_exclusive_lock_can_become_shared,
    a_refused_upgrade_keeps_the_shared_lock,
    locking_twice_counts_once,
    unlocking_what_is_not_locked_is_fine,
    closing_gives_up_the_locks,
    who_asks_is_told_the_lock_in_the_way,
    a_waiting_lock_is_granted_when_the_holder_lets_go,
    an_exclusive_lock_needs_a_file_open_for_writing,
    a_shared_lock_needs_a_file_open_for_reading,
    a_lock_follows_a_renamed_file,
    a_new_file_of_the_same_name_is_not_locked,
    a_lock_does_not_stop_reads_and_writes,
    a_whole_file_lock_of_flock_keeps_the_other_mount_out,
    a_hundred_ranges_are_locked_one_by_one,
    a_lock_makes_read_and_write_one_step,
);
