//! Files mapped into memory. Rust can't map a file without `unsafe`, so Python does it.

use std::process::Command;

use super::{Outcome, Place, cases};
use crate::lab::files::{Errno, get, put, text};
use crate::lab::process;

/// Runs a Python script with the file's path as its argument.
fn python(place: &Place, script: &str) -> Outcome {
    if !process::installed("python3") {
        println!("SKIP python3 is not installed");
        return Ok(());
    }
    let script = format!("import mmap, os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\n{script}\n");
    let run = process::output(Command::new("python3").arg("-c").arg(script).arg(place.at("file")));
    if let Err(error) = run {
        panic!("{error:#}");
    }
    Ok(())
}

fn a_mapped_file_shows_its_content(place: &Place) -> Outcome {
    put(&place.at("file"), "mapped content")?;
    python(place, "assert mmap.mmap(fd, 0, prot=mmap.PROT_READ)[:] == b'mapped content'")
}

fn a_change_in_the_map_reaches_the_file(place: &Place) -> Outcome {
    put(&place.at("file"), vec![b'.'; 20_000])?;
    python(place, "m = mmap.mmap(fd, 0); m[5000:5005] = b'dirty'; m[19999:] = b'!'; m.flush(); m.close()")?;
    let content = get(&place.other("file"))?;
    assert_eq!(&content[4999..5006], b".dirty.");
    assert_eq!((content.len(), content[19_999]), (20_000, b'!'));
    Ok(())
}

fn a_change_in_the_map_is_written_when_it_is_closed(place: &Place) -> Outcome {
    put(&place.at("file"), "0123456789")?;
    python(place, "m = mmap.mmap(fd, 0); m[3:6] = b'abc'; m.close(); os.close(fd)")?;
    // Close-to-open: what was dirty is flushed when the last descriptor goes.
    let _ = crate::lab::files::open_both(&place.at("file"))?.sync_all().map_err(|_| Errno::IO);
    assert_eq!(text(&place.other("file"))?, "012abc6789");
    Ok(())
}

fn a_private_map_changes_nothing(place: &Place) -> Outcome {
    put(&place.at("file"), "unchanged")?;
    python(place, "m = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE); m[0:2] = b'XX'; assert m[:3] == b'XXc'")?;
    assert_eq!(text(&place.other("file"))?, "unchanged");
    Ok(())
}

fn a_write_is_seen_through_the_map(place: &Place) -> Outcome {
    put(&place.at("file"), "before")?;
    python(place, "m = mmap.mmap(fd, 0); os.pwrite(fd, b'AFTER!', 0); assert m[:] == b'AFTER!'")
}

cases!("mapping":
    a_mapped_file_shows_its_content,
    a_change_in_the_map_reaches_the_file,
    a_change_in_the_map_is_written_when_it_is_closed,
    a_private_map_changes_nothing,
    a_write_is_seen_through_the_map,
);
