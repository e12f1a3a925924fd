//! Removing everything in a directory. Every name is looked up in the handle of its parent, so that links are removed and never
//! followed.

use crate::error::DirectoryError;
use crate::files::{Files, FilesError, Handle, Kind, found};

/// Entries that are listed at once: so many that a listing is cheap beside their removal, so few that memory doesn't matter.
const PAGE: usize = 512;

/// Removes everything in a directory, depth first and without recursion, so that no depth is too great; gives the number of entries.
pub(super) async fn empty(files: &dyn Files, top: &Handle) -> Result<u64, DirectoryError> {
    let failed = |name: &str| DirectoryError::files(format!("remove {name:?} in the trash"));
    let mut removed = 0;
    // Handles of the directories from the top to the one being emptied, each with its own name.
    let mut stack: Vec<(Handle, String)> = vec![(top.clone(), String::new())];
    while let Some((directory, name)) = stack.last().cloned() {
        let listed = found(files.list(&directory, PAGE).await).map_err(failed(&name))?.unwrap_or_default();
        if listed.is_empty() {
            stack.pop();
            if let Some((parent, _)) = stack.last() {
                found(files.remove(parent, &name).await).map_err(failed(&name))?;
                removed += 1;
            }
            continue;
        }
        let mut deeper = None;
        let mut progress = false;
        for entry in &listed {
            let node = match entry.kind {
                // What the server said of a file's kind is enough to remove it: a directory with entries would be refused.
                Some(Kind::Link | Kind::Other) => None,
                _ => found(files.lookup(&directory, &entry.name).await).map_err(failed(&entry.name))?,
            };
            match node {
                Some(node) if node.kind == Kind::Directory => {
                    deeper = Some((node.handle, entry.name.clone()));
                    break;
                }
                _ => {
                    let gone =
                        found(files.remove(&directory, &entry.name).await).map_err(failed(&entry.name))?.is_some();
                    progress |= gone;
                    removed += u64::from(gone);
                }
            }
        }
        match deeper {
            Some(deeper) => stack.push(deeper),
            // The list names entries that can't be found by these names: without an end to this, it would never end.
            None if !progress => {
                let name = listed.first().map_or("", |entry| entry.name.as_str());
                let reason = "its name is not UTF-8; remove it from a mount of the file system".to_owned();
                return Err(failed(name)(FilesError::Refused(reason)));
            }
            None => {}
        }
    }
    Ok(removed)
}
