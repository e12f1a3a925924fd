//! Which names there can be.

use super::{Outcome, Place, cases, refused};
use crate::lab::files::{Errno, create_new, link, lstat, mkdir, names, put, rename, symlink, text, unlink};

fn a_name_of_255_bytes_is_kept(place: &Place) -> Outcome {
    let name = "n".repeat(255);
    put(&place.at(&name), "content")?;
    assert_eq!(names(&place.there)?, std::slice::from_ref(&name));
    assert_eq!(text(&place.other(&name))?, "content");
    unlink(&place.at(&name))?;
    Ok(())
}

fn a_name_of_256_bytes_is_too_long(place: &Place) -> Outcome {
    let name = place.at(&"n".repeat(256));
    put(&place.at("file"), "")?;
    refused(create_new(&name, 0o644), Errno::NAMETOOLONG);
    refused(mkdir(&name, 0o755), Errno::NAMETOOLONG);
    refused(symlink("x", &name), Errno::NAMETOOLONG);
    refused(link(&place.at("file"), &name), Errno::NAMETOOLONG);
    refused(rename(&place.at("file"), &name), Errno::NAMETOOLONG);
    refused(lstat(&name), Errno::NAMETOOLONG);
    refused(unlink(&name), Errno::NAMETOOLONG);
    Ok(())
}

fn a_directory_name_of_255_bytes_is_kept(place: &Place) -> Outcome {
    let name = "d".repeat(255);
    mkdir(&place.at(&name), 0o755)?;
    put(&place.at(&name).join("file"), "inside")?;
    assert_eq!(text(&place.other(&name).join("file"))?, "inside");
    Ok(())
}

fn a_path_of_4096_bytes_is_too_long(place: &Place) -> Outcome {
    refused(lstat(&place.at(&"d/".repeat(2100))), Errno::NAMETOOLONG);
    Ok(())
}

fn names_may_contain_any_text(place: &Place) -> Outcome {
    let odd = [
        "a b",
        "tab\tname",
        "new\nline",
        "'quoted'",
        "back\\slash",
        "*?[]",
        "-rf",
        "käse",
        "\u{1F9C0}",
        ".hidden",
        "...",
    ];
    for name in odd {
        put(&place.at(name), name)?;
    }
    for name in odd {
        assert_eq!(text(&place.other(name))?, name);
    }
    assert_eq!(names(place.root())?.len(), odd.len());
    Ok(())
}

fn the_longest_multi_byte_name_counts_in_bytes(place: &Place) -> Outcome {
    put(&place.at(&"ä".repeat(127)), "")?;
    refused(put(&place.at(&"ä".repeat(128)), ""), Errno::NAMETOOLONG);
    Ok(())
}

fn a_trailing_slash_means_a_directory(place: &Place) -> Outcome {
    put(&place.at("file"), "")?;
    mkdir(&place.at("directory"), 0o755)?;
    refused(lstat(&place.at("file/")), Errno::NOTDIR);
    lstat(&place.at("directory/"))?;
    refused(create_new(&place.at("new/"), 0o644), Errno::ISDIR);
    Ok(())
}

fn composed_and_decomposed_letters_are_different_names(place: &Place) -> Outcome {
    put(&place.at("\u{e9}"), "composed")?;
    put(&place.at("e\u{301}"), "decomposed")?;
    assert_eq!(text(&place.other("\u{e9}"))?, "composed");
    assert_eq!(names(place.root())?.len(), 2);
    Ok(())
}

cases!("names":
    a_name_of_255_bytes_is_kept,
    a_name_of_256_bytes_is_too_long,
    a_directory_name_of_255_bytes_is_kept,
    a_path_of_4096_bytes_is_too_long,
    names_may_contain_any_text,
    the_longest_multi_byte_name_counts_in_bytes,
    a_trailing_slash_means_a_directory,
    composed_and_decomposed_letters_are_different_names,
);
