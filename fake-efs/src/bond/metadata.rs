//! What an object says of the file that it is: owner, mode and time as user metadata.
//!
//! AWS doesn't publish how S3 Files writes them; these are the names that AWS DataSync and Storage Gateway share.

use std::collections::BTreeMap;

use crate::store::{Attributes, Changes, Time};

const MODE: &str = "file-permissions";
const OWNER: &str = "file-owner";
const GROUP: &str = "file-group";
const MODIFIED: &str = "file-mtime";

/// The metadata of a file.
pub(super) fn of(file: &Attributes) -> BTreeMap<String, String> {
    let nanoseconds = i128::from(file.modified.seconds) * 1_000_000_000 + i128::from(file.modified.nanoseconds);
    [
        (MODE, format!("{:04o}", file.mode)),
        (OWNER, file.uid.to_string()),
        (GROUP, file.gid.to_string()),
        (MODIFIED, format!("{nanoseconds}ns")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What the metadata say of a file; what can't be read is as if it weren't there.
pub(super) fn read(metadata: &BTreeMap<String, String>) -> Changes {
    let text = |name: &str| metadata.get(name).map(String::as_str);
    // Others write the kind of the file into the same number.
    let mode = text(MODE).and_then(|text| u32::from_str_radix(text, 8).ok()).map(|mode| mode & 0o7777);
    let modified = text(MODIFIED).and_then(|text| {
        let nanoseconds: i64 = text.strip_suffix("ns")?.parse().ok()?;
        let (seconds, nanoseconds) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        Some(Time { seconds, nanoseconds: u32::try_from(nanoseconds).ok()? })
    });
    let number = |name| text(name).and_then(|text| text.parse().ok());
    Changes { mode, uid: number(OWNER), gid: number(GROUP), modified, ..Changes::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, NewBody, NewNode, Store};

    #[test]
    fn metadata_bring_a_file_back_as_it_was() {
        let store = MemoryStore::default();
        let body = NewBody::Regular { verifier: None };
        let (file, _) = store.create(store.root(), b"f", &NewNode { body, mode: 0o4751, uid: 7, gid: 8 }).unwrap();
        let back = read(&of(&file));
        assert_eq!((back.mode, back.uid, back.gid), (Some(0o4751), Some(7), Some(8)));
        assert_eq!(back.modified, Some(file.modified));
        let strange = [("file-permissions", "0100644"), ("file-owner", "nobody"), ("file-mtime", "yesterday")];
        let strange = strange.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(read(&strange), Changes { mode: Some(0o644), ..Changes::default() });
    }
}
