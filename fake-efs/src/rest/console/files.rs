//! A browser of the files. It goes from the root by names, as the store has them: it follows no links, and nothing leads out of the
//! file system.

use std::fmt::Write;
use std::sync::Arc;

use super::Front;
use super::html::{Cell, Table, bytes, escape, link};
use super::view::View;
use crate::store::{Attributes, FileId, Kind, Store, StoreError};
use crate::world::ids::FileSystemId;

/// Entries on a page.
const ENTRIES: usize = 200;

/// A page of a directory.
struct Page {
    entries: Vec<(Vec<u8>, Attributes)>,
    /// Where the next page begins.
    next: Option<u64>,
}

/// The directory at a path, one name after the other; links on the way are no directories.
fn find(store: &dyn Store, path: &[Vec<u8>]) -> Result<FileId, StoreError> {
    let mut at = store.root();
    for name in path {
        at = store.lookup(at, name)?;
    }
    match store.attributes(at)?.kind {
        Kind::Directory => Ok(at),
        _ => Err(StoreError::NotDirectory),
    }
}

fn read(store: &dyn Store, directory: FileId, after: u64) -> Result<Page, StoreError> {
    let mut page = Page { entries: Vec::new(), next: None };
    let mut last = 0;
    store.read_directory(directory, after, &mut |entry| {
        if page.entries.len() == ENTRIES {
            page.next = Some(last);
            return false;
        }
        last = entry.cookie;
        page.entries.push((entry.name.to_vec(), *entry.attributes));
        true
    })?;
    Ok(page)
}

/// As `ls -l` shows it.
fn mode(file: &Attributes) -> String {
    let kind = match file.kind {
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::Regular => '-',
    };
    let mut out = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = file.mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (file.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    let _ = write!(out, " {:04o}", file.mode & 0o7777);
    out
}

impl Front {
    /// The files of a file system, if the view names a directory.
    pub(super) fn console_files(&self, view: &View) -> String {
        let (Some(id), Some(path)) = (&view.file_system, &view.directory) else { return String::new() };
        let failed = |why: &str| {
            let title = "<h2 id=\"files-title\">Files</h2>";
            format!(
                "<section id=\"files\" aria-labelledby=\"files-title\">{title}<p class=\"none\">{}</p></section>",
                escape(why)
            )
        };
        let Some(store) = self.world.files(id) else { return failed("there is no such file system") };
        match find(&*store, path).and_then(|directory| read(&*store, directory, view.after)) {
            Ok(page) => steps(id, path) + &table(&store, view, (id, path), page),
            Err(error) => steps(id, path) + &failed(&error.to_string()),
        }
    }
}

/// The way from the root, each step a link.
fn steps(id: &FileSystemId, path: &[Vec<u8>]) -> String {
    let mut out = String::from("<nav id=\"steps\" aria-label=\"directories above\"><ol>");
    for depth in 0..=path.len() {
        let name = depth.checked_sub(1).map_or_else(|| format!("{id}:/"), |at| text(&path[at]));
        let address = View::of_directory(id, &path[..depth]).address();
        let current = if depth == path.len() { " aria-current=\"page\"" } else { "" };
        let _ = write!(out, "<li{current}>{}</li>", link(&name, &address));
    }
    out + "</ol></nav>"
}

/// A name for people. Bytes that are no text are shown as such, so that two names never look alike.
fn text(name: &[u8]) -> String {
    let mut out = String::new();
    for chunk in name.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn table(store: &Arc<dyn Store>, view: &View, (id, path): (&FileSystemId, &[Vec<u8>]), page: Page) -> String {
    let count = page.entries.len();
    let mut rows = Vec::new();
    for (name, file) in page.entries {
        let shown = text(&name);
        let named = match file.kind {
            Kind::Directory => {
                let below = [path, std::slice::from_ref(&name)].concat();
                Cell::Link(format!("{shown}/"), View::of_directory(id, &below).address())
            }
            // Where it leads is a matter of the client's own tree.
            Kind::Symlink => Cell::Text(format!("{shown} → {}", text(&store.read_link(file.id).unwrap_or_default()))),
            _ => Cell::Text(shown),
        };
        let modified = jiff::Timestamp::new(file.modified.seconds, 0).unwrap_or_default();
        rows.push(vec![
            named,
            mode(&file).into(),
            file.uid.to_string().into(),
            file.gid.to_string().into(),
            bytes(file.size).into(),
            file.links.to_string().into(),
            modified.strftime("%Y-%m-%d %H:%M:%S").to_string().into(),
        ]);
    }
    let mut more = Vec::new();
    if view.after > 0 {
        more.push(("first page", View { after: 0, ..view.clone() }.address()));
    }
    if let Some(next) = page.next {
        more.push(("next page", View { after: next, ..view.clone() }.address()));
    }
    let columns = &["name", "mode", "owner", "group", "size", "links", "modified"];
    Table { id: "files", title: "Files", columns, rows, total: count, more }.html()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, NewBody, NewNode};

    fn make(store: &MemoryStore, parent: FileId, name: &[u8], body: NewBody) -> FileId {
        store.create(parent, name, &NewNode { body, mode: 0o4755, uid: 1, gid: 2 }).unwrap().0.id
    }

    #[test]
    fn links_are_not_followed_and_nothing_leads_up() {
        let store = MemoryStore::default();
        let d = make(&store, store.root(), b"d", NewBody::Directory);
        make(&store, store.root(), b"link", NewBody::Symlink { target: b"d".to_vec() });
        let path = |names: &[&[u8]]| names.iter().map(|name| name.to_vec()).collect::<Vec<_>>();
        assert_eq!(find(&store, &path(&[b"d"])).unwrap(), d);
        assert_eq!(find(&store, &[]).unwrap(), store.root());
        assert!(matches!(find(&store, &path(&[b"link"])), Err(StoreError::NotDirectory)));
        assert!(find(&store, &path(&[b"link", b"x"])).is_err());
        for name in [&b".."[..], b".", b"", b"d/.."] {
            assert!(find(&store, &path(&[b"d", name])).is_err(), "{name:?}");
        }
    }

    #[test]
    fn pages_show_every_entry_once() {
        let store = MemoryStore::default();
        for n in 0..2 * ENTRIES + 1 {
            make(&store, store.root(), n.to_string().as_bytes(), NewBody::Fifo);
        }
        let (mut seen, mut after, mut sizes) = (std::collections::BTreeSet::new(), 0, Vec::new());
        loop {
            let page = read(&store, store.root(), after).unwrap();
            sizes.push(page.entries.len());
            seen.extend(page.entries.into_iter().map(|(name, _)| name));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!((sizes, seen.len()), (vec![ENTRIES, ENTRIES, 1], 2 * ENTRIES + 1));
    }

    #[test]
    fn modes_and_names_are_shown_to_the_bit() {
        let store = MemoryStore::default();
        let id = make(&store, store.root(), b"f", NewBody::Fifo);
        let file = store.attributes(id).unwrap();
        assert_eq!(mode(&file), "prwsr-xr-x 4755");
        assert_eq!(mode(&Attributes { mode: 0o7600, ..file }), "prwS--S--T 7600");
        assert_eq!(text(b"a\xff\xc3\xa9"), "a\\xffé");
    }
}
