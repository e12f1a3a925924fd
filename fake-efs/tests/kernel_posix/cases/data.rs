//! Reading, writing, appending, truncating, holes.

use super::{Outcome, Place, cases, refused, refused_with_any};
use crate::lab::files::{
    Errno, OFlags, create_new, fstat, ftruncate, get, mkdir, open, open_both, open_read, put, read_at, size, stat,
    text, truncate, write, write_at,
};

/// Bytes that differ at every offset of interest.
fn pattern(length: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at.wrapping_mul(2_654_435_761) >> 11) & 0xFF).expect("masked to a byte");
    (0..length).map(byte).collect()
}

fn what_is_written_is_read(place: &Place) -> Outcome {
    let content = pattern(100_000);
    put(&place.at("file"), &content)?;
    assert!(get(&place.at("file"))? == content);
    assert!(get(&place.other("file"))? == content);
    Ok(())
}

fn five_mebibytes_come_back_unchanged(place: &Place) -> Outcome {
    let content = pattern(5 * 1024 * 1024 + 17);
    put(&place.at("file"), &content)?;
    assert!(get(&place.other("file"))? == content);
    Ok(())
}

fn overwriting_changes_only_the_bytes_written(place: &Place) -> Outcome {
    let mut content = pattern(20_000);
    put(&place.at("file"), &content)?;
    let file = open_both(&place.at("file"))?;
    for (offset, length) in [(0, 1), (4095, 2), (4096, 4096), (12_345, 678), (19_999, 1)] {
        write_at(&file, vec![b'#'; length], offset)?;
        let offset = usize::try_from(offset).expect("a small offset");
        content[offset..offset + length].fill(b'#');
    }
    drop(file);
    assert!(get(&place.other("file"))? == content);
    Ok(())
}

fn reading_stops_at_the_end(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    let file = open_read(&place.at("file"))?;
    assert_eq!(read_at(&file, 100, 0)?, b"content");
    assert_eq!(read_at(&file, 100, 5)?, b"nt");
    assert_eq!(read_at(&file, 100, 7)?, b"");
    assert_eq!(read_at(&file, 100, 1 << 40)?, b"");
    Ok(())
}

fn writing_beyond_the_end_leaves_zeros_between(place: &Place) -> Outcome {
    put(&place.at("file"), "start")?;
    write_at(&open_both(&place.at("file"))?, "end", 10_000)?;
    let content = get(&place.other("file"))?;
    assert_eq!(content.len(), 10_003);
    assert_eq!(&content[..5], b"start");
    assert!(content[5..10_000].iter().all(|&byte| byte == 0));
    assert_eq!(&content[10_000..], b"end");
    Ok(())
}

fn a_file_may_reach_beyond_four_gibibytes(place: &Place) -> Outcome {
    let far = 5 * 1024 * 1024 * 1024_u64;
    let file = create_new(&place.at("file"), 0o644)?;
    write_at(&file, "far", far)?;
    drop(file);
    assert_eq!(size(&place.other("file"))?, 5 * 1024 * 1024 * 1024 + 3);
    assert_eq!(read_at(&open_read(&place.other("file"))?, 5, far - 2)?, b"\0\0far");
    Ok(())
}

fn a_hole_takes_no_space(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    write_at(&file, "far", 1 << 30)?;
    file.sync_all().map_err(|_| Errno::IO)?;
    let stat = stat(&place.other("file"))?;
    assert!(stat.st_blocks < 2048, "{} blocks of 512 bytes", stat.st_blocks);
    Ok(())
}

fn written_bytes_take_space(place: &Place) -> Outcome {
    put(&place.at("file"), pattern(1 << 20))?;
    let stat = stat(&place.other("file"))?;
    assert!(stat.st_blocks >= 2048, "{} blocks of 512 bytes", stat.st_blocks);
    Ok(())
}

fn appending_writes_at_the_end(place: &Place) -> Outcome {
    put(&place.at("file"), "one ")?;
    let file = open(&place.at("file"), OFlags::WRONLY | OFlags::APPEND, 0)?;
    write(&file, "two ")?;
    write(&file, "three")?;
    drop(file);
    assert_eq!(text(&place.at("file"))?, "one two three");
    Ok(())
}

fn appending_follows_the_end_when_it_moves(place: &Place) -> Outcome {
    let file = open(&place.at("file"), OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND, 0o644)?;
    write(&file, "long start")?;
    truncate(&place.at("file"), 4)?;
    write(&file, "!")?;
    drop(file);
    assert_eq!(text(&place.at("file"))?, "long!");
    Ok(())
}

fn two_descriptors_append_without_overwriting(place: &Place) -> Outcome {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
    let one = open(&place.at("file"), flags, 0o644)?;
    let two = open(&place.at("file"), flags, 0o644)?;
    for _ in 0..50 {
        write(&one, "a")?;
        write(&two, "b")?;
    }
    drop((one, two));
    assert_eq!(text(&place.at("file"))?, "ab".repeat(50));
    Ok(())
}

fn truncating_cuts_the_end(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    truncate(&place.at("file"), 3)?;
    assert_eq!(text(&place.at("file"))?, "con");
    assert_eq!(text(&place.other("file"))?, "con");
    Ok(())
}

fn truncating_to_more_adds_zeros(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    truncate(&place.at("file"), 10)?;
    assert_eq!(get(&place.other("file"))?, b"content\0\0\0");
    Ok(())
}

fn cut_bytes_do_not_come_back(place: &Place) -> Outcome {
    put(&place.at("file"), pattern(10_000))?;
    truncate(&place.at("file"), 100)?;
    truncate(&place.at("file"), 10_000)?;
    let content = get(&place.other("file"))?;
    assert_eq!(content.len(), 10_000);
    assert!(content[..100] == pattern(10_000)[..100]);
    assert!(content[100..].iter().all(|&byte| byte == 0));
    Ok(())
}

fn truncating_an_open_file_keeps_its_position(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    write(&file, "0123456789")?;
    ftruncate(&file, 4)?;
    write(&file, "x")?;
    drop(file);
    assert_eq!(get(&place.at("file"))?, b"0123\0\0\0\0\0\0x");
    Ok(())
}

fn truncating_to_the_same_size_keeps_the_content(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    truncate(&place.at("file"), 7)?;
    assert_eq!(text(&place.at("file"))?, "content");
    Ok(())
}

fn truncating_at_every_page_boundary_is_exact(place: &Place) -> Outcome {
    let content = pattern(3 * 4096);
    for size in [0, 1, 4095, 4096, 4097, 8191, 8192, 8193] {
        put(&place.at("file"), &content)?;
        truncate(&place.at("file"), size)?;
        let size = usize::try_from(size).expect("a small size");
        assert!(get(&place.other("file"))? == content[..size], "{size}");
    }
    Ok(())
}

fn a_directory_can_not_be_truncated(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    refused(truncate(&place.at("directory"), 0), Errno::ISDIR);
    Ok(())
}

fn a_descriptor_for_reading_can_not_truncate(place: &Place) -> Outcome {
    put(&place.at("file"), "content")?;
    refused_with_any(ftruncate(&open_read(&place.at("file"))?, 0), &[Errno::INVAL, Errno::BADF]);
    Ok(())
}

fn a_file_grows_to_a_tebibyte_without_data(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    ftruncate(&file, 1 << 40)?;
    assert_eq!(fstat(&file)?.st_size, 1 << 40);
    assert_eq!(read_at(&file, 3, (1 << 40) - 3)?, b"\0\0\0");
    Ok(())
}

fn sparse_islands_are_read_where_they_were_written(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    for island in [7, 3, 1, 5] {
        write_at(&file, format!("island {island}"), island * 1_000_000)?;
    }
    drop(file);
    let file = open_read(&place.other("file"))?;
    for island in [1, 3, 5, 7_u64] {
        assert_eq!(read_at(&file, 8, island * 1_000_000)?, format!("island {island}").as_bytes());
        assert_eq!(read_at(&file, 4, island * 1_000_000 - 4)?, [0; 4]);
    }
    Ok(())
}

fn small_writes_add_up(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    let content = pattern(5_000);
    for chunk in content.chunks(7) {
        write(&file, chunk)?;
    }
    drop(file);
    assert!(get(&place.other("file"))? == content);
    Ok(())
}

fn writing_backwards_gives_the_same_file(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    let content = pattern(64 * 1024);
    for (number, chunk) in content.chunks(4096).enumerate().rev() {
        write_at(&file, chunk, u64::try_from(number * 4096).expect("a small offset"))?;
    }
    drop(file);
    assert!(get(&place.other("file"))? == content);
    Ok(())
}

fn synchronous_writes_are_seen_at_once(place: &Place) -> Outcome {
    let file = open(&place.at("file"), OFlags::WRONLY | OFlags::CREATE | OFlags::SYNC, 0o644)?;
    for round in 1..=10 {
        write(&file, "x")?;
        assert_eq!(size(&place.other("file"))?, round);
    }
    Ok(())
}

fn direct_writes_are_read_back(place: &Place) -> Outcome {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT;
    let file = match open(&place.at("file"), flags, 0o644) {
        // tmpfs of this kernel knows no direct I/O.
        Err(Errno::INVAL) => return Ok(()),
        opened => opened?,
    };
    let content = pattern(64 * 1024);
    write_at(&file, &content, 0)?;
    assert!(get(&place.other("file"))? == content);
    assert!(read_at(&file, 8192, 4096)? == content[4096..12_288]);
    Ok(())
}

fn a_copy_in_the_kernel_is_equal(place: &Place) -> Outcome {
    let content = pattern(300_000);
    put(&place.at("file"), &content)?;
    let copied = std::fs::copy(place.at("file"), place.at("copy")).map_err(|_| Errno::IO)?;
    assert_eq!(copied, 300_000);
    assert!(get(&place.other("copy"))? == content);
    Ok(())
}

fn space_can_be_reserved_or_is_refused(place: &Place) -> Outcome {
    let file = create_new(&place.at("file"), 0o644)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 100_000) {
        Ok(()) => assert_eq!(fstat(&file)?.st_size, 100_000),
        Err(errno) => assert_eq!(errno, Errno::OPNOTSUPP),
    }
    Ok(())
}

cases!("data":
    what_is_written_is_read,
    five_mebibytes_come_back_unchanged,
    overwriting_changes_only_the_bytes_written,
    reading_stops_at_the_end,
    writing_beyond_the_end_leaves_zeros_between,
    a_file_may_reach_beyond_four_gibibytes,
    a_hole_takes_no_space,
    written_bytes_take_space,
    appending_writes_at_the_end,
    appending_follows_the_end_when_it_moves,
    two_descriptors_append_without_overwriting,
    truncating_cuts_the_end,
    truncating_to_more_adds_zeros,
    cut_bytes_do_not_come_back,
    truncating_an_open_file_keeps_its_position,
    truncating_to_the_same_size_keeps_the_content,
    truncating_at_every_page_boundary_is_exact,
    a_directory_can_not_be_truncated,
    a_descriptor_for_reading_can_not_truncate,
    a_file_grows_to_a_tebibyte_without_data,
    sparse_islands_are_read_where_they_were_written,
    small_writes_add_up,
    writing_backwards_gives_the_same_file,
    synchronous_writes_are_seen_at_once,
    direct_writes_are_read_back,
    a_copy_in_the_kernel_is_equal,
    space_can_be_reserved_or_is_refused,
);
