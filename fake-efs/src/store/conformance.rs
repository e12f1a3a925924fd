//! What every store must do, run against each of them.

use super::*;

type Make<'a> = &'a dyn Fn(Limits) -> Box<dyn Store>;

pub(super) fn check_all(make: Make<'_>) {
    names_and_contents(&*make(Limits::default()));
    renames(&*make(Limits::default()));
    cookies_are_stable(&*make(Limits::default()));
    open_files_outlive_their_names(&*make(Limits::default()));
    attributes_change(&*make(Limits::default()));
    limits_hold(make);
}

fn node(body: NewBody) -> NewNode {
    NewNode { body, mode: 0o755, uid: 1, gid: 2 }
}

fn file(store: &dyn Store, directory: FileId, name: &[u8]) -> FileId {
    store.create(directory, name, &node(NewBody::Regular { verifier: None })).unwrap().0.id
}

fn directory(store: &dyn Store, parent: FileId, name: &[u8]) -> FileId {
    store.create(parent, name, &node(NewBody::Directory)).unwrap().0.id
}

fn names(store: &dyn Store, id: FileId) -> Vec<String> {
    let mut names = Vec::new();
    let complete = store.read_directory(id, 0, &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    });
    assert!(complete.unwrap());
    names.sort();
    names
}

fn contents(store: &dyn Store, id: FileId) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(store.read(id, 0, 1 << 20, &mut out).unwrap());
    out
}

fn names_and_contents(store: &dyn Store) {
    let root = store.root();
    let top = store.attributes(root).unwrap();
    assert_eq!((top.kind, top.mode, top.uid, top.gid, top.links), (Kind::Directory, 0o755, 0, 0, 2));
    let a = directory(store, root, b"a");
    assert_eq!(store.attributes(root).unwrap().links, 3);
    assert_eq!(store.parent(a).unwrap(), root);
    assert_eq!(store.parent(root).unwrap(), root);
    let f = file(store, a, b"f");
    assert_eq!(store.lookup(a, b"f").unwrap(), f);
    let made = store.attributes(f).unwrap();
    assert_eq!((made.kind, made.mode, made.uid, made.gid, made.links, made.size), (Kind::Regular, 0o755, 1, 2, 1, 0));
    let again = store.create(a, b"f", &node(NewBody::Directory));
    assert!(matches!(again, Err(StoreError::Exists)));
    assert!(matches!(store.lookup(a, b"g"), Err(StoreError::NotFound)));
    assert!(matches!(store.lookup(f, b"g"), Err(StoreError::NotDirectory)));

    let written = store.write(f, 3, b"hello").unwrap();
    assert_eq!(written.size, 8);
    assert!(written.change > made.change);
    assert_eq!(contents(store, f), b"\0\0\0hello");
    store.commit(f).unwrap();
    let mut out = b"kept".to_vec();
    assert!(!store.read(f, 3, 2, &mut out).unwrap());
    assert_eq!(out, b"kepthe");
    assert!(matches!(store.read(a, 0, 1, &mut out), Err(StoreError::IsDirectory)));

    let change = store.link(f, root, b"hard").unwrap();
    assert!(change.after > change.before);
    assert_eq!(store.attributes(f).unwrap().links, 2);
    assert!(matches!(store.link(a, root, b"dir"), Err(StoreError::IsDirectory)));
    assert!(matches!(store.link(f, root, b"a"), Err(StoreError::Exists)));
    assert!(matches!(store.remove(root, b"a"), Err(StoreError::NotEmpty)));
    store.remove(a, b"f").unwrap();
    assert_eq!(contents(store, store.lookup(root, b"hard").unwrap()), b"\0\0\0hello");
    store.remove(root, b"hard").unwrap();
    assert!(matches!(store.attributes(f), Err(StoreError::Stale)));
    store.remove(root, b"a").unwrap();
    assert_eq!(store.attributes(root).unwrap().links, 2);
    assert!(matches!(store.create(a, b"late", &node(NewBody::Fifo)), Err(StoreError::Stale | StoreError::NotFound)));

    let target = b"../some where".to_vec();
    let (link, _) = store.create(root, b"s", &node(NewBody::Symlink { target: target.clone() })).unwrap();
    assert_eq!((link.kind, link.size), (Kind::Symlink, target.len() as u64));
    assert_eq!(store.read_link(link.id).unwrap(), target);
    assert!(matches!(store.read_link(root), Err(StoreError::Invalid)));
    let (pipe, _) = store.create(root, b"p", &node(NewBody::Fifo)).unwrap();
    assert_eq!(pipe.kind, Kind::Fifo);
    let (socket, _) = store.create(root, b"\xff", &node(NewBody::Socket)).unwrap();
    assert_eq!(socket.kind, Kind::Socket);
    assert_eq!(store.lookup(root, b"\xff").unwrap(), socket.id);
    assert_eq!(names(store, root).len(), 3);

    let exclusive = store.create(root, b"x", &node(NewBody::Regular { verifier: Some([7; 8]) })).unwrap().0.id;
    assert_eq!(store.verifier(exclusive).unwrap(), Some([7; 8]));
}

fn renames(store: &dyn Store) {
    let root = store.root();
    let (a, b) = (directory(store, root, b"a"), directory(store, root, b"b"));
    let inner = directory(store, a, b"inner");
    let f = file(store, a, b"f");
    store.rename(a, b"f", b, b"g").unwrap();
    assert_eq!(store.lookup(b, b"g").unwrap(), f);
    assert!(matches!(store.lookup(a, b"f"), Err(StoreError::NotFound)));
    assert!(matches!(store.rename(a, b"f", b, b"g"), Err(StoreError::NotFound)));
    assert!(matches!(store.rename(root, b"a", inner, b"a"), Err(StoreError::Invalid)));
    assert!(matches!(store.rename(root, b"a", a, b"a"), Err(StoreError::Invalid)));
    assert!(matches!(store.rename(b, b"g", root, b"a"), Err(StoreError::IsDirectory)));
    assert!(matches!(store.rename(root, b"a", b, b"g"), Err(StoreError::NotDirectory)));
    assert!(matches!(store.rename(root, b"b", root, b"a"), Err(StoreError::NotEmpty)));

    let h = file(store, b, b"h");
    store.write(h, 0, b"new").unwrap();
    let (source, destination) = store.rename(b, b"h", b, b"g").unwrap();
    assert_eq!(source, destination);
    assert!(source.after > source.before);
    assert_eq!(store.lookup(b, b"g").unwrap(), h);
    assert!(matches!(store.attributes(f), Err(StoreError::Stale)));

    store.link(h, b, b"same").unwrap();
    store.rename(b, b"same", b, b"g").unwrap();
    assert_eq!(names(store, b), ["g", "same"]);

    // A directory takes its link count and its parent along.
    let links = |id| store.attributes(id).unwrap().links;
    assert_eq!((links(root), links(a), links(b)), (4, 3, 2));
    store.rename(a, b"inner", b, b"moved").unwrap();
    assert_eq!((links(root), links(a), links(b)), (4, 2, 3));
    assert_eq!(store.parent(inner).unwrap(), b);
    store.rename(b, b"moved", root, b"a").unwrap();
    assert_eq!((links(root), links(b)), (4, 2));
    assert_eq!(store.lookup(root, b"a").unwrap(), inner);
}

fn cookies_are_stable(store: &dyn Store) {
    let root = store.root();
    for number in 0..100 {
        file(store, root, format!("f{number}").as_bytes());
    }
    let (mut seen, mut after, mut round) = (Vec::new(), 0, 0);
    loop {
        let mut left = 7;
        let complete = store
            .read_directory(root, after, &mut |entry| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                assert!(entry.cookie > 2);
                after = entry.cookie;
                seen.push(String::from_utf8(entry.name.to_vec()).unwrap());
                true
            })
            .unwrap();
        if complete {
            break;
        }
        // Between two pages entries before and behind the position come and go.
        store.remove(root, format!("f{round}").as_bytes()).unwrap();
        store.remove(root, format!("f{}", 99 - round).as_bytes()).unwrap();
        file(store, root, format!("new{round}").as_bytes());
        store.rename(root, format!("new{round}").as_bytes(), root, b"f50").unwrap();
        round += 1;
    }
    let permanent: Vec<_> = seen.iter().filter(|name| (20..80).any(|n| **name == format!("f{n}"))).collect();
    assert_eq!(permanent.len(), 60, "{seen:?}");
}

fn open_files_outlive_their_names(store: &dyn Store) {
    let root = store.root();
    let f = file(store, root, b"f");
    store.write(f, 0, b"data").unwrap();
    let objects = store.usage().objects;
    store.pin(f).unwrap();
    store.pin(f).unwrap();
    store.remove(root, b"f").unwrap();
    assert_eq!(store.attributes(f).unwrap().links, 0);
    store.write(f, 4, b"more").unwrap();
    assert_eq!(contents(store, f), b"datamore");
    assert!(matches!(store.link(f, root, b"back"), Err(StoreError::Stale)));
    store.unpin(f);
    assert!(store.attributes(f).is_ok());
    store.unpin(f);
    assert!(matches!(store.attributes(f), Err(StoreError::Stale)));
    assert_eq!(store.usage().objects, objects - 1);
}

fn attributes_change(store: &dyn Store) {
    let f = file(store, store.root(), b"f");
    let time = Time { seconds: -5, nanoseconds: 999_999_999 };
    let changes = Changes {
        mode: Some(0o4711),
        uid: Some(70_000),
        gid: Some(u32::MAX),
        size: Some(10),
        accessed: Some(time),
        modified: Some(time),
    };
    let before = store.attributes(f).unwrap();
    let after = store.set_attributes(f, &changes).unwrap();
    assert_eq!(after, store.attributes(f).unwrap());
    assert_eq!((after.mode, after.uid, after.gid, after.size), (0o4711, 70_000, u32::MAX, 10));
    assert_eq!((after.accessed, after.modified), (time, time));
    assert!(after.change > before.change);
    assert!(after.changed >= before.changed);
    assert_eq!(contents(store, f), [0; 10]);
    let resized = store.set_attributes(store.root(), &Changes { size: Some(1), ..Changes::default() });
    assert!(matches!(resized, Err(StoreError::IsDirectory)));
}

fn limits_hold(make: Make<'_>) {
    let limits = Limits { file_size: 1 << 20, links: 3, name: 255, symlink: 10, depth: 3, metered_bytes: 300 << 10 };
    let store = &*make(limits);
    let root = store.root();
    let f = file(store, root, b"f");
    assert!(matches!(store.write(f, (1 << 20) - 1, b"ab"), Err(StoreError::FileTooBig)));
    assert!(matches!(store.write(f, u64::MAX, b"ab"), Err(StoreError::FileTooBig)));
    let too_long = Changes { size: Some((1 << 20) + 1), ..Changes::default() };
    assert!(matches!(store.set_attributes(f, &too_long), Err(StoreError::FileTooBig)));
    assert!(matches!(store.write(f, 0, &[1; 400 << 10]), Err(StoreError::NoSpace)));
    store.link(f, root, b"2").unwrap();
    store.link(f, root, b"3").unwrap();
    assert!(matches!(store.link(f, root, b"4"), Err(StoreError::TooManyLinks)));
    let long = [b'x'; 256];
    assert!(matches!(store.create(root, &long, &node(NewBody::Fifo)), Err(StoreError::NameTooLong)));
    assert!(matches!(store.rename(root, b"2", root, &long), Err(StoreError::NameTooLong)));
    store.create(root, &long[..255], &node(NewBody::Fifo)).unwrap();
    let symlink = |target: &[u8]| store.create(root, b"s", &node(NewBody::Symlink { target: target.to_vec() }));
    assert!(matches!(symlink(b"01234567890"), Err(StoreError::NameTooLong)));
    assert!(matches!(symlink(b""), Err(StoreError::Invalid)));
    let a = directory(store, root, b"a");
    let b = directory(store, a, b"b");
    let c = directory(store, b, b"c");
    assert!(matches!(store.create(c, b"d", &node(NewBody::Directory)), Err(StoreError::NameTooLong)));
    let other = directory(store, root, b"other");
    directory(store, other, b"child");
    assert!(matches!(store.rename(root, b"other", b, b"o"), Err(StoreError::NameTooLong)));
    store.rename(root, b"other", a, b"o").unwrap();
}
