//! Opening and creating.

use std::sync::Barrier;

use super::{Outcome, Place, cases, refused};
use crate::lab::files::{
    Errno, OFlags, create_new, fstat, get, lstat, mkdir, mode, names, open, open_both, open_read, open_write, put,
    read_at, rmdir, size, text, unlink, write, write_at,
};

fn a_missing_file_can_not_be_opened(place: &Place) -> Outcome {
    refused(open_read(&place.at("missing")), Errno::NOENT);
    refused(open_read(&place.at("missing/file")), Errno::NOENT);
    Ok(())
}

fn a_file_is_no_directory(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    refused(open_read(&place.at("file/inner")), Errno::NOTDIR);
    refused(open(&place.at("file"), OFlags::RDONLY | OFlags::DIRECTORY, 0), Errno::NOTDIR);
    refused(rmdir(&place.at("file")), Errno::NOTDIR);
    Ok(())
}

fn a_directory_can_not_be_opened_for_writing(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    refused(open_write(&place.at("directory")), Errno::ISDIR);
    refused(open(&place.at("directory"), OFlags::WRONLY | OFlags::CREATE, 0o644), Errno::ISDIR);
    refused(unlink(&place.at("directory")), Errno::ISDIR);
    Ok(())
}

fn a_directory_has_no_bytes_to_read(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    refused(get(&place.at("directory")), Errno::ISDIR);
    Ok(())
}

fn creating_makes_an_empty_file(place: &Place) -> Outcome {
    open(&place.at("file"), OFlags::WRONLY | OFlags::CREATE, 0o640)?;
    assert_eq!(size(&place.at("file"))?, 0);
    assert_eq!(mode(&place.at("file"))?, 0o640);
    assert_eq!(lstat(&place.at("file"))?.st_nlink, 1);
    Ok(())
}

fn creating_an_existing_file_keeps_content_and_mode(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    open(&place.at("file"), OFlags::WRONLY | OFlags::CREATE, 0o600)?;
    assert_eq!(text(&place.at("file"))?, "content");
    assert_eq!(mode(&place.at("file"))?, 0o644);
    Ok(())
}

fn truncating_at_open_empties_the_file(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    open(&place.at("file"), OFlags::WRONLY | OFlags::TRUNC, 0)?;
    assert_eq!(size(&place.at("file"))?, 0);
    assert_eq!(size(&place.other("file"))?, 0);
    Ok(())
}

fn creating_exclusively_refuses_what_exists(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    mkdir(&place.at("directory"), 0o755)?;
    refused(create_new(&place.at("file"), 0o644), Errno::EXIST);
    refused(create_new(&place.at("directory"), 0o644), Errno::EXIST);
    assert_eq!(text(&place.at("file"))?, "content");
    Ok(())
}

fn creating_exclusively_sets_the_mode(place: &Place) -> Outcome {
    for bits in [0o600, 0o444, 0o755, 0o4755] {
        let name = place.at(&format!("file{bits:o}"));
        create_new(&name, bits)?;
        assert_eq!(mode(&name)?, bits);
    }
    Ok(())
}

/// Both mounts try to create the same names at the same time; each name must have one winner.
fn of_two_exclusive_creations_one_wins(place: &Place) -> Outcome {
    const ROUNDS: usize = 40;
    let start = Barrier::new(2);
    let race = |other: bool| {
        let mut won = 0;
        for round in 0..ROUNDS {
            let name = format!("file{round}");
            let path = if other { place.other(&name) } else { place.at(&name) };
            start.wait();
            match create_new(&path, 0o644) {
                Ok(_) => won += 1,
                Err(errno) => assert_eq!(errno, Errno::EXIST),
            }
        }
        won
    };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| race(true));
        (race(false), second.join().expect("the racer does not panic"))
    });
    assert_eq!(first + second, ROUNDS, "{first} + {second}");
    assert_eq!(names(place.root())?.len(), ROUNDS);
    Ok(())
}

fn of_two_directories_made_at_once_one_wins(place: &Place) -> Outcome {
    const ROUNDS: usize = 40;
    let start = Barrier::new(2);
    let race = |other: bool| {
        let mut won = 0;
        for round in 0..ROUNDS {
            let name = format!("directory{round}");
            let path = if other { place.other(&name) } else { place.at(&name) };
            start.wait();
            match mkdir(&path, 0o755) {
                Ok(()) => won += 1,
                Err(errno) => assert_eq!(errno, Errno::EXIST),
            }
        }
        won
    };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| race(true));
        (race(false), second.join().expect("the racer does not panic"))
    });
    assert_eq!(first + second, ROUNDS, "{first} + {second}");
    Ok(())
}

fn a_file_opened_for_reading_can_not_be_written(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let file = open_read(&place.at("file"))?;
    refused(write(&file, "x"), Errno::BADF);
    Ok(())
}

fn a_file_opened_for_writing_can_not_be_read(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let file = open_write(&place.at("file"))?;
    refused(read_at(&file, 1, 0), Errno::BADF);
    Ok(())
}

fn a_file_can_be_open_for_reading_then_writing_then_both(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let reading = open_read(&place.at("file"))?;
    let writing = open_write(&place.at("file"))?;
    let both = open_both(&place.at("file"))?;
    write_at(&writing, "CON", 0)?;
    assert_eq!(read_at(&both, 7, 0)?, b"CONtent");
    drop(writing);
    drop(both);
    assert_eq!(read_at(&reading, 7, 0)?, b"CONtent");
    let again = open_write(&place.at("file"))?;
    drop(reading);
    write_at(&again, "tent", 3)?;
    drop(again);
    assert_eq!(text(&place.other("file"))?, "CONtent");
    Ok(())
}

fn a_hundred_files_are_open_at_once(place: &Place) -> Outcome {
    let mut files = Vec::new();
    for number in 0..100 {
        let file = create_new(&place.at(&format!("file{number}")), 0o644)?;
        write_at(&file, number.to_string(), 0)?;
        files.push(file);
    }
    for (number, file) in files.iter().enumerate() {
        assert_eq!(read_at(file, 9, 0)?, number.to_string().as_bytes());
    }
    Ok(())
}

fn one_file_is_open_a_hundred_times(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let mut files = Vec::new();
    for _ in 0..50 {
        files.push(open_read(&place.at("file"))?);
        files.push(open_both(&place.other("file"))?);
    }
    for file in &files {
        assert_eq!(fstat(file)?.st_size, 7);
    }
    Ok(())
}

fn an_unnamed_temporary_file_is_refused_or_works(place: &Place) -> Outcome {
    match open(place.root(), OFlags::TMPFILE | OFlags::RDWR, 0o600) {
        Ok(file) => {
            write_at(&file, "x", 0)?;
            assert!(names(place.root())?.is_empty());
        }
        Err(errno) => assert_eq!(errno, Errno::OPNOTSUPP),
    }
    Ok(())
}

fn a_removed_file_can_be_made_again(place: &Place) -> Outcome {
    for round in 0..20 {
        let file = create_new(&place.at("file"), 0o644)?;
        write_at(&file, round.to_string(), 0)?;
        drop(file);
        assert_eq!(text(&place.at("file"))?, round.to_string());
        unlink(&place.at("file"))?;
    }
    Ok(())
}

cases!("opening":
    a_missing_file_can_not_be_opened,
    a_file_is_no_directory,
    a_directory_can_not_be_opened_for_writing,
    a_directory_has_no_bytes_to_read,
    creating_makes_an_empty_file,
    creating_an_existing_file_keeps_content_and_mode,
    truncating_at_open_empties_the_file,
    creating_exclusively_refuses_what_exists,
    creating_exclusively_sets_the_mode,
    of_two_exclusive_creations_one_wins,
    of_two_directories_made_at_once_one_wins,
    a_file_opened_for_reading_can_not_be_written,
    a_file_opened_for_writing_can_not_be_read,
    a_file_can_be_open_for_reading_then_writing_then_both,
    a_hundred_files_are_open_at_once,
    one_file_is_open_a_hundred_times,
    an_unnamed_temporary_file_is_refused_or_works,
    a_removed_file_can_be_made_again,
);
