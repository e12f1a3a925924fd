//! chmod and chown: who may, and what becomes of the set-id bits.

use super::{MEMBER, OWNER, Outcome, Place, SECONDARY, STRANGER, becomes_later, cases, refused};
use crate::lab::files::{
    self, Answer, Errno, chmod, chown, create_new, fstat, lstat, mkdir, mode, open_write, put, symlink, write_at,
};
use std::path::PathBuf;

fn file(place: &Place, mode: u32) -> Answer<PathBuf> {
    let path = place.at("file");
    put(&path, "content")?;
    chown(&path, Some(OWNER.uid), Some(OWNER.gid))?;
    chmod(&path, mode)?;
    Ok(path)
}

fn ids(path: &std::path::Path) -> Answer<(u32, u32)> {
    lstat(path).map(|stat| (stat.st_uid, stat.st_gid))
}

fn a_new_file_belongs_to_its_creator(place: &Place) -> Outcome {
    STRANGER.run(|| create_new(&place.at("file"), 0o640))?;
    assert_eq!(ids(&place.at("file"))?, (STRANGER.uid, STRANGER.gid));
    assert_eq!(mode(&place.at("file"))?, 0o640);
    Ok(())
}

fn a_new_directory_belongs_to_its_creator(place: &Place) -> Outcome {
    STRANGER.run(|| mkdir(&place.at("directory"), 0o750))?;
    assert_eq!(ids(&place.at("directory"))?, (STRANGER.uid, STRANGER.gid));
    assert_eq!(mode(&place.at("directory"))?, 0o750);
    Ok(())
}

fn a_new_symbolic_link_belongs_to_its_creator(place: &Place) -> Outcome {
    STRANGER.run(|| symlink("nowhere", &place.at("link")))?;
    assert_eq!(ids(&place.at("link"))?, (STRANGER.uid, STRANGER.gid));
    Ok(())
}

fn the_owner_changes_the_mode(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    OWNER.run(|| chmod(&path, 0o600))?;
    assert_eq!(mode(&path)?, 0o600);
    Ok(())
}

fn a_stranger_can_not_change_the_mode(place: &Place) -> Outcome {
    let path = file(place, 0o666)?;
    refused(STRANGER.run(|| chmod(&path, 0o777)), Errno::PERM);
    refused(MEMBER.run(|| chmod(&path, 0o777)), Errno::PERM);
    Ok(())
}

fn all_mode_bits_are_kept(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    for bits in [0, 0o1, 0o17, 0o177, 0o777, 0o1777, 0o2755, 0o4755, 0o7777] {
        chmod(&path, bits)?;
        assert_eq!(mode(&path)?, bits, "{bits:o}");
    }
    Ok(())
}

fn the_mode_of_a_directory_keeps_its_special_bits(place: &Place) -> Outcome {
    mkdir(&place.at("directory"), 0o755)?;
    for bits in [0o1777, 0o2775, 0o3770] {
        chmod(&place.at("directory"), bits)?;
        assert_eq!(mode(&place.at("directory"))?, bits, "{bits:o}");
    }
    Ok(())
}

fn setting_the_mode_changes_the_change_time_only(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    files::set_times(&path, files::at(1_000_000, 0), files::at(2_000_000, 0))?;
    let told = || lstat(&path).map(|stat| files::ctime(&stat));
    becomes_later(told()?, told, |round| chmod(&path, 0o600 + round % 8))?;
    assert_eq!(lstat(&path)?.st_mtime, 2_000_000);
    Ok(())
}

fn root_changes_owner_and_group(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    chown(&path, Some(70_000), Some(80_000))?;
    assert_eq!(ids(&path)?, (70_000, 80_000));
    chown(&path, Some(5), None)?;
    assert_eq!(ids(&path)?, (5, 80_000));
    chown(&path, None, Some(6))?;
    assert_eq!(ids(&path)?, (5, 6));
    Ok(())
}

fn the_highest_ids_are_kept(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    chown(&path, Some(u32::MAX - 1), Some(u32::MAX - 1))?;
    assert_eq!(ids(&path)?, (u32::MAX - 1, u32::MAX - 1));
    Ok(())
}

fn the_owner_can_not_give_a_file_away(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    refused(OWNER.run(|| chown(&path, Some(STRANGER.uid), None)), Errno::PERM);
    assert_eq!(ids(&path)?, (OWNER.uid, OWNER.gid));
    Ok(())
}

fn a_stranger_can_not_take_a_file(place: &Place) -> Outcome {
    let path = file(place, 0o666)?;
    refused(STRANGER.run(|| chown(&path, Some(STRANGER.uid), None)), Errno::PERM);
    refused(STRANGER.run(|| chown(&path, None, Some(STRANGER.gid))), Errno::PERM);
    Ok(())
}

fn the_owner_gives_a_file_to_one_of_its_groups(place: &Place) -> Outcome {
    let path = place.at("file");
    SECONDARY.run(|| create_new(&path, 0o644))?;
    SECONDARY.run(|| chown(&path, None, Some(1007)))?;
    assert_eq!(ids(&path)?, (SECONDARY.uid, 1007));
    Ok(())
}

fn the_owner_can_not_give_a_file_to_a_foreign_group(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    refused(OWNER.run(|| chown(&path, None, Some(4242))), Errno::PERM);
    Ok(())
}

fn changing_the_owner_of_a_link_leaves_its_target(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    symlink("file", &place.at("link"))?;
    chown(&place.at("link"), Some(7), Some(8))?;
    assert_eq!(ids(&place.at("link"))?, (7, 8));
    assert_eq!(ids(&path)?, (OWNER.uid, OWNER.gid));
    Ok(())
}

fn a_change_of_group_by_the_owner_clears_the_set_id_bits(place: &Place) -> Outcome {
    let path = place.at("file");
    SECONDARY.run(|| -> Answer<()> {
        create_new(&path, 0o755)?;
        chmod(&path, 0o6755)?;
        assert_eq!(mode(&path)?, 0o6755);
        chown(&path, None, Some(1007))
    })?;
    assert_eq!(mode(&path)?, 0o755);
    Ok(())
}

fn writing_by_a_user_clears_the_set_id_bits(place: &Place) -> Outcome {
    let path = file(place, 0o6777)?;
    STRANGER.run(|| -> Answer<()> {
        let opened = open_write(&path)?;
        write_at(&opened, "x", 0)?;
        opened.sync_all().map_err(|_| Errno::IO)
    })?;
    assert_eq!(mode(&path)?, 0o777);
    Ok(())
}

fn set_group_id_is_cleared_when_the_owner_is_not_in_the_group(place: &Place) -> Outcome {
    let path = file(place, 0o644)?;
    chown(&path, None, Some(4242))?;
    OWNER.run(|| chmod(&path, 0o2755))?;
    assert_eq!(mode(&path)?, 0o755);
    Ok(())
}

fn a_set_group_id_directory_hands_its_group_to_files(place: &Place) -> Outcome {
    let path = place.at("directory");
    mkdir(&path, 0o777)?;
    chown(&path, None, Some(4242))?;
    chmod(&path, 0o2777)?;
    STRANGER.run(|| create_new(&path.join("file"), 0o644))?;
    assert_eq!(ids(&path.join("file"))?, (STRANGER.uid, 4242));
    Ok(())
}

fn a_set_group_id_directory_hands_its_bit_to_directories(place: &Place) -> Outcome {
    let path = place.at("directory");
    mkdir(&path, 0o777)?;
    chown(&path, None, Some(4242))?;
    chmod(&path, 0o2777)?;
    STRANGER.run(|| mkdir(&path.join("inner"), 0o755))?;
    assert_eq!(ids(&path.join("inner"))?, (STRANGER.uid, 4242));
    assert_eq!(mode(&path.join("inner"))?, 0o2755);
    Ok(())
}

fn the_mode_of_an_open_file_can_be_changed_by_its_descriptor(place: &Place) -> Outcome {
    let created = create_new(&place.at("file"), 0o600)?;
    rustix::fs::fchmod(&created, files::Mode::from_raw_mode(0o640))?;
    assert_eq!(fstat(&created)?.st_mode & 0o7777, 0o640);
    assert_eq!(mode(&place.other("file"))?, 0o640);
    Ok(())
}

cases!("ownership":
    a_new_file_belongs_to_its_creator,
    a_new_directory_belongs_to_its_creator,
    a_new_symbolic_link_belongs_to_its_creator,
    the_owner_changes_the_mode,
    a_stranger_can_not_change_the_mode,
    all_mode_bits_are_kept,
    the_mode_of_a_directory_keeps_its_special_bits,
    setting_the_mode_changes_the_change_time_only,
    root_changes_owner_and_group,
    the_highest_ids_are_kept,
    the_owner_can_not_give_a_file_away,
    a_stranger_can_not_take_a_file,
    the_owner_gives_a_file_to_one_of_its_groups,
    the_owner_can_not_give_a_file_to_a_foreign_group,
    changing_the_owner_of_a_link_leaves_its_target,
    a_change_of_group_by_the_owner_clears_the_set_id_bits,
    writing_by_a_user_clears_the_set_id_bits,
    set_group_id_is_cleared_when_the_owner_is_not_in_the_group,
    a_set_group_id_directory_hands_its_group_to_files,
    a_set_group_id_directory_hands_its_bit_to_directories,
    the_mode_of_an_open_file_can_be_changed_by_its_descriptor,
);
