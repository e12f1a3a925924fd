use super::*;
use crate::store::{Kind, NewBody, conformance};
use tempfile::TempDir;

/// A store that takes its directory with it.
fn fresh(limits: Limits) -> Box<dyn Store> {
    let directory = TempDir::new().unwrap();
    Box::new(DirectoryStore::open(&directory.keep(), limits).unwrap())
}

fn file(store: &DirectoryStore, directory: FileId, name: &[u8]) -> FileId {
    let node = NewNode { body: NewBody::Regular { verifier: Some([3; 8]) }, mode: 0o4640, uid: 1001, gid: 1002 };
    store.create(directory, name, &node).unwrap().0.id
}

fn directory(store: &DirectoryStore, parent: FileId, name: &[u8]) -> FileId {
    let node = NewNode { body: NewBody::Directory, mode: 0o1777, uid: 5, gid: 6 };
    store.create(parent, name, &node).unwrap().0.id
}

fn contents(store: &DirectoryStore, id: FileId) -> Vec<u8> {
    let mut out = Vec::new();
    store.read(id, 0, 1 << 20, &mut out).unwrap();
    out
}

fn entries(store: &DirectoryStore, id: FileId) -> Vec<(u64, Vec<u8>, FileId)> {
    let mut all = Vec::new();
    let visit = &mut |entry: Entry<'_>| {
        all.push((entry.cookie, entry.name.to_vec(), entry.attributes.id));
        true
    };
    store.read_directory(id, 0, visit).unwrap();
    all
}

#[test]
fn behaves_as_every_store_must() {
    conformance::check_all(&fresh);
}

#[test]
fn everything_is_there_after_it_is_opened_again() {
    let path = TempDir::new().unwrap();
    let open = || DirectoryStore::open(path.path(), Limits::default()).unwrap();
    let store = open();
    let root = store.root();
    let a = directory(&store, root, b"a");
    let b = directory(&store, a, b"b\xff");
    let f = file(&store, b, b"f");
    store.write(f, 5, b"hello").unwrap();
    store.link(f, root, b"hard").unwrap();
    let (link, _) = store
        .create(root, b"s", &NewNode { body: NewBody::Symlink { target: b"a/b".into() }, mode: 0o777, uid: 0, gid: 0 })
        .unwrap();
    file(&store, root, b"removed");
    store.remove(root, b"removed").unwrap();
    let orphan = file(&store, root, b"orphan");
    store.pin(orphan).unwrap();
    store.remove(root, b"orphan").unwrap();
    store.rename(a, b"b\xff", root, b"moved").unwrap();
    store.commit(f).unwrap();
    store.save_clients(&[b"one".to_vec(), b"\xff\0".to_vec()]);
    let (before, usage) = (store.attributes(f).unwrap(), store.usage());
    let (instance, listed) = (store.instance(), entries(&store, root));
    assert!(store.host_path(orphan).exists() || store.attributes(orphan).is_ok());
    // Not dropped first: a process that is killed closes nothing.
    std::mem::drop(store);

    let store = open();
    assert_eq!(store.instance(), instance);
    assert_eq!(entries(&store, root), listed);
    assert_eq!(store.lookup(root, b"moved").unwrap(), b);
    assert_eq!(store.parent(b).unwrap(), root);
    assert_eq!(store.lookup(b, b"f").unwrap(), f);
    assert_eq!(contents(&store, f), b"\0\0\0\0\0hello");
    let after = store.attributes(f).unwrap();
    assert!(after.change > before.change);
    assert_eq!(Attributes { change: 0, modified: before.modified, ..after }, Attributes { change: 0, ..before });
    assert_eq!(store.verifier(f).unwrap(), Some([3; 8]));
    assert_eq!((after.links, after.kind, after.mode), (2, Kind::Regular, 0o4640));
    assert_eq!(store.read_link(link.id).unwrap(), b"a/b");
    assert_eq!(store.attributes(a).unwrap().links, 2);
    assert!(store.attributes(orphan).is_err());
    assert!(!store.host_path(orphan).exists());
    assert_eq!(store.usage().objects, usage.objects - 1);
    assert_eq!(store.saved_clients(), [b"one".to_vec(), b"\xff\0".to_vec()]);
    let new = file(&store, root, b"new");
    assert!(new.0 > orphan.0, "a number was used twice");
}

#[test]
fn a_step_that_was_cut_off_is_left_out_and_damage_is_reported() {
    let path = TempDir::new().unwrap();
    let store = DirectoryStore::open(path.path(), Limits::default()).unwrap();
    let root = store.root();
    file(&store, root, b"first");
    let log = path.path().join("metadata");
    let whole = fs::read(&log).unwrap();
    file(&store, root, b"second");
    let more = fs::read(&log).unwrap();
    drop(store);
    for cut in (whole.len()..more.len()).step_by(17) {
        fs::write(&log, &more[..cut]).unwrap();
        let store = DirectoryStore::open(path.path(), Limits::default()).unwrap();
        assert!(store.lookup(root, b"first").is_ok());
        assert!(store.lookup(root, b"second").is_err());
    }
    fs::write(&log, b"[{\"inode\":\n").unwrap();
    let damaged = DirectoryStore::open(path.path(), Limits::default()).unwrap_err();
    assert!(matches!(damaged, OpenError::Damaged { line: 1, .. }), "{damaged}");
    assert!(damaged.to_string().contains("metadata line 1"), "{damaged}");
}
