//! Files and objects beside each other, without servers.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::buckets::{self, Content, Object, Wanted, WriteCondition};
use crate::store::MemoryStore;

const B: &str = "a-bucket";

struct Scene {
    buckets: Arc<Buckets>,
    inner: Arc<MemoryStore>,
    files: Bonded,
    now: Arc<Mutex<Timestamp>>,
}

/// A bonded file system below `p/`, whose files are exported after so many seconds.
fn scene(seconds: i64, objects: &[(&str, &str)]) -> Scene {
    let buckets = Arc::new(Buckets::new(64 << 20, 1));
    let now = Arc::new(Mutex::new(Timestamp::from_second(1000).unwrap()));
    buckets.create(B, "123456789012", "us-east-1", Timestamp::from_second(1000).unwrap()).unwrap();
    buckets.set_versioning(B, true).unwrap();
    for (key, text) in objects {
        put(&buckets, key, text);
    }
    let inner = Arc::new(MemoryStore::default());
    let clock = Arc::clone(&now);
    let rule = |prefix: &str, below| AtOnce { prefix: prefix.to_owned(), below };
    let at_once = vec![rule("", 10), rule("eager/", 1000)];
    let files = Bonded::new(
        Arc::<MemoryStore>::clone(&inner),
        Arc::clone(&buckets),
        B.to_owned(),
        "p/".to_owned(),
        Arc::new(move || *clock.lock().unwrap()),
        Terms { at_once, export_after: SignedDuration::from_secs(seconds) },
    );
    Scene { buckets, inner, files, now }
}

fn put(buckets: &Buckets, key: &str, text: &str) {
    put_with(buckets, key, text, buckets::Attributes::default());
}

fn put_with(buckets: &Buckets, key: &str, text: &str, attributes: buckets::Attributes) {
    let room = buckets.room(text.len() as u64).unwrap();
    let content = Content::new(Bytes::copy_from_slice(text.as_bytes()), room);
    let object = Arc::new(Object::new(Arc::new(content), attributes, None));
    buckets.put(B, key, object, &WriteCondition::Always, Timestamp::from_second(500).unwrap()).unwrap();
}

impl Scene {
    fn find(&self, path: &str) -> Result<FileId> {
        path.split('/').try_fold(self.files.root(), |at, name| self.files.lookup(at, name.as_bytes()))
    }

    fn text(&self, path: &str) -> Result<String> {
        self.text_of(self.find(path)?)
    }

    fn text_of(&self, id: FileId) -> Result<String> {
        let mut out = Vec::new();
        self.files.read(id, 0, 1000, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let directory = if path.is_empty() { self.files.root() } else { self.find(path).unwrap() };
        let mut names = Vec::new();
        let mut note = |entry: Entry<'_>| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            true
        };
        self.files.read_directory(directory, 0, &mut note).unwrap();
        names.sort();
        names
    }

    fn make(&self, directory: &str, name: &str, text: &str) -> FileId {
        let directory = if directory.is_empty() { self.files.root() } else { self.find(directory).unwrap() };
        let node = NewNode { body: NewBody::Regular { verifier: None }, mode: 0o640, uid: 5, gid: 6 };
        let id = self.files.create(directory, name.as_bytes(), &node).unwrap().0.id;
        self.files.write(id, 0, text.as_bytes()).unwrap();
        id
    }

    fn make_directory(&self, name: &str) -> FileId {
        let node = NewNode { body: NewBody::Directory, mode: 0o750, uid: 5, gid: 6 };
        self.files.create(self.files.root(), name.as_bytes(), &node).unwrap().0.id
    }

    fn pass(&self, seconds: i64) {
        let mut now = self.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        drop(now);
        self.files.synchronize().unwrap();
    }

    /// Keys and texts of what the bucket shows.
    fn objects(&self) -> Vec<(String, String)> {
        let page = self.buckets.objects(B, &Wanted { most: 100, ..Wanted::default() }).unwrap();
        let text =
            |object: &Object| String::from_utf8(object.content.slice(0..object.content.size()).concat()).unwrap();
        page.rows.iter().map(|row| (row.key.clone(), text(&row.object))).collect()
    }

    fn keys(&self) -> Vec<String> {
        self.objects().into_iter().map(|(key, _)| key).collect()
    }
}

#[test]
fn a_directory_is_imported_when_it_is_looked_at_and_large_files_when_they_are_read() {
    let scene =
        scene(60, &[("p/small", "small"), ("p/large", "0123456789abc"), ("p/a/b/deep", "deep"), ("other", "x")]);
    assert_eq!(scene.inner.usage().objects, 1, "nothing before somebody looks");
    assert_eq!(scene.names(""), ["a", "large", "small"]);
    assert_eq!(scene.inner.usage().objects, 4, "nothing of the directory below");
    let large = scene.find("large").unwrap();
    let attributes = scene.files.attributes(large).unwrap();
    assert_eq!((attributes.size, attributes.mode, attributes.modified.seconds), (13, 0o644, 500));
    let used = |id| scene.inner.attributes(id).unwrap().used;
    assert_eq!(used(large), 0);
    assert_eq!(scene.text("large").unwrap(), "0123456789abc");
    assert!(used(large) > 0);
    assert_eq!(scene.files.attributes(large).unwrap().modified.seconds, 500);
    put(&scene.buckets, "p/eager/large", "0123456789abc");
    assert!(used(scene.find("eager/large").unwrap()) > 0);
    assert_eq!(scene.text("a/b/deep").unwrap(), "deep");
    assert!(matches!(scene.find("other"), Err(StoreError::NotFound)));
    // Reading alone writes nothing.
    scene.pass(1000);
    assert_eq!(scene.files.pending(), (0, 0));
    let versions = scene.buckets.versions(B, &Wanted { most: 100, ..Wanted::default() }).unwrap().rows.len();
    assert_eq!(versions, 5);
}

#[test]
fn what_can_be_no_name_is_not_shown_and_archived_objects_cannot_be_read() {
    let long = format!("p/{}", "n".repeat(256));
    let scene = scene(
        0,
        &[("p/a//b", "1"), ("p/../c", "2"), ("p/./d", "3"), (&long, "4"), ("p/", "5"), ("p/e", "6"), ("p/e/f", "7")],
    );
    let frozen = buckets::Attributes { storage_class: Some("GLACIER".to_owned()), ..Default::default() };
    put_with(&scene.buckets, "p/ice", "x", frozen);
    assert_eq!(scene.names(""), ["a", "e", "ice"]);
    assert!(scene.names("a").is_empty());
    assert!(matches!(scene.text("ice"), Err(StoreError::Io(_))));
}

#[test]
fn a_file_is_exported_when_it_was_left_alone_for_long_enough() {
    let scene = scene(60, &[]);
    let id = scene.make("", "f", "one");
    scene.pass(59);
    assert_eq!(scene.objects(), []);
    scene.files.write(id, 3, b" two").unwrap();
    scene.pass(59);
    assert_eq!(scene.objects(), [], "the last write counts");
    assert_eq!(scene.files.pending(), (1, 0));
    scene.pass(1);
    assert_eq!(scene.objects(), [("p/f".to_owned(), "one two".to_owned())]);
    let metadata = scene.buckets.get(B, "p/f", None).unwrap().object.attributes.metadata.clone();
    assert_eq!((metadata["file-permissions"].as_str(), metadata["file-owner"].as_str()), ("0640", "5"));
    scene.pass(1000);
    assert_eq!(scene.buckets.versions(B, &Wanted { most: 100, ..Wanted::default() }).unwrap().rows.len(), 1);
    scene.files.set_attributes(id, &Changes { mode: Some(0o600), ..Changes::default() }).unwrap();
    scene.pass(60);
    let metadata = scene.buckets.get(B, "p/f", None).unwrap().object.attributes.metadata.clone();
    assert_eq!(metadata["file-permissions"], "0600");
    scene.files.remove(scene.files.root(), b"f").unwrap();
    assert_eq!(scene.keys(), ["p/f"]);
    scene.pass(60);
    assert_eq!(scene.keys(), [""; 0]);
    assert_eq!(scene.buckets.versions(B, &Wanted { most: 100, ..Wanted::default() }).unwrap().rows.len(), 3);
}

#[test]
fn a_part_that_is_written_or_cut_off_leaves_the_rest_as_it_is_in_the_bucket() {
    let scene = scene(0, &[("p/written", "0123456789abc"), ("p/cut", "0123456789abc"), ("p/emptied", "0123456789abc")]);
    scene.files.write(scene.find("written").unwrap(), 3, b"xyz").unwrap();
    for (name, size) in [("cut", 5), ("emptied", 0)] {
        let size = Changes { size: Some(size), ..Changes::default() };
        scene.files.set_attributes(scene.find(name).unwrap(), &size).unwrap();
    }
    scene.pass(0);
    let texts: Vec<_> = scene.objects().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["01234", "", "012xyz6789abc"]);
}

#[test]
fn directories_and_renames_become_keys() {
    let scene = scene(0, &[("p/old/a", "a"), ("p/old/deep/b", "0123456789 b"), ("p/f", "f")]);
    scene.make_directory("new");
    scene.make("new", "c", "c");
    scene.pass(0);
    assert_eq!(scene.keys(), ["p/f", "p/new/", "p/new/c", "p/old/a", "p/old/deep/b"]);
    let root = scene.files.root();
    scene.files.rename(root, b"old", scene.find("new").unwrap(), b"moved").unwrap();
    scene.files.rename(root, b"f", scene.find("new").unwrap(), b"c").unwrap();
    scene.pass(0);
    let keys = ["p/new/", "p/new/c", "p/new/moved/", "p/new/moved/a", "p/new/moved/deep/", "p/new/moved/deep/b"];
    assert_eq!(scene.keys(), keys);
    assert_eq!(scene.objects()[1].1, "f");
    assert_eq!(scene.objects()[5].1, "0123456789 b", "whose bytes nobody has read");
    assert_eq!(scene.text("new/moved/deep/b").unwrap(), "0123456789 b");
    scene.files.remove(scene.find("new/moved/deep").unwrap(), b"b").unwrap();
    scene.files.remove(scene.find("new/moved").unwrap(), b"deep").unwrap();
    scene.pass(0);
    assert_eq!(scene.keys(), &keys[..4]);
    assert!(matches!(scene.files.remove(scene.find("new").unwrap(), b"moved"), Err(StoreError::NotEmpty)));
}

#[test]
fn a_key_that_would_be_too_long_stays_in_the_file_system() {
    let scene = scene(0, &[]);
    let mut at = scene.files.root();
    let node = NewNode { body: NewBody::Directory, mode: 0o755, uid: 0, gid: 0 };
    let name = "d".repeat(250);
    for _ in 0..4 {
        at = scene.files.create(at, name.as_bytes(), &node).unwrap().0.id;
    }
    let node = NewNode { body: NewBody::Regular { verifier: None }, ..node };
    scene.files.create(at, b"short", &node).unwrap();
    scene.files.create(at, &b"l".repeat(30), &node).unwrap();
    scene.files.create(scene.files.root(), b"\xff", &node).unwrap();
    scene.pass(0);
    assert_eq!(scene.files.pending(), (0, 0));
    assert_eq!(scene.keys().len(), 5);
    assert!(scene.keys()[4].ends_with("/short"));
}

#[test]
fn changes_of_the_bucket_appear() {
    let scene = scene(60, &[("p/f", "one"), ("p/g", "gone"), ("p/a/b", "b")]);
    assert_eq!(scene.text("f").unwrap(), "one");
    let id = scene.find("f").unwrap();
    put(&scene.buckets, "p/f", "another text");
    put(&scene.buckets, "p/new/x", "x");
    put(&scene.buckets, "p/a/c", "c");
    scene.buckets.delete_object(B, "p/g", &WriteCondition::Always, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(scene.text("f").unwrap(), "another text");
    assert_eq!(scene.find("f").unwrap(), id, "it is the same file");
    assert_eq!(scene.names(""), ["a", "f", "new"]);
    assert_eq!(scene.names("a"), ["b", "c"]);
    // More changes than anybody remembers.
    for i in 0..5000 {
        put(&scene.buckets, "p/busy", &i.to_string());
    }
    put(&scene.buckets, "p/f", "last");
    scene.buckets.delete_object(B, "p/a/b", &WriteCondition::Always, Timestamp::UNIX_EPOCH).unwrap();
    for i in 0..5000 {
        put(&scene.buckets, "p/busy", &i.to_string());
    }
    assert_eq!(scene.text("f").unwrap(), "last");
    assert_eq!(scene.names("a"), ["c"]);
    assert_eq!(scene.text("busy").unwrap(), "4999");
    assert_eq!(scene.files.pending(), (0, 0));
}

#[test]
fn a_reader_gets_one_version_or_the_other_but_never_both() {
    let scene = scene(60, &[("p/f", "0123456789 one")]);
    let id = scene.find("f").unwrap();
    put(&scene.buckets, "p/f", "9876543210 two");
    assert_eq!(scene.text_of(id).unwrap(), "9876543210 two");
    put(&scene.buckets, "p/f", "short");
    assert_eq!(scene.text_of(id).unwrap(), "short");
}

#[test]
fn the_bucket_wins_a_conflict_and_the_loser_is_kept() {
    let scene = scene(60, &[("p/f", "one"), ("p/g", "one"), ("p/lost+found/z", "never seen")]);
    assert_eq!(scene.names(""), ["f", "g"]);
    for name in ["f", "g"] {
        scene.files.write(scene.find(name).unwrap(), 0, b"here").unwrap();
    }
    scene.make("", "h", "here");
    put(&scene.buckets, "p/f", "there");
    put(&scene.buckets, "p/h", "there");
    scene.buckets.delete_object(B, "p/g", &WriteCondition::Always, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(scene.names(""), ["f", "h", "lost+found"]);
    assert_eq!((scene.text("f").unwrap(), scene.text("h").unwrap()), ("there".to_owned(), "there".to_owned()));
    let lost = scene.names("lost+found");
    assert_eq!(lost.iter().map(|name| &name[..2]).collect::<Vec<_>>(), ["f.", "g.", "h."]);
    assert!(lost.iter().all(|name| scene.text(&format!("lost+found/{name}")).unwrap() == "here"));
    // What is there has nothing to do with the bucket.
    scene.make("lost+found", "x", "x");
    put(&scene.buckets, "p/lost+found/y", "y");
    scene.pass(1000);
    assert_eq!(scene.keys(), ["p/f", "p/h", "p/lost+found/y", "p/lost+found/z"]);
    assert_eq!(scene.names("lost+found").len(), 4);
    // A removal that loses is none.
    scene.files.remove(scene.files.root(), b"f").unwrap();
    put(&scene.buckets, "p/f", "again");
    scene.pass(60);
    assert_eq!(scene.text("f").unwrap(), "again");
    assert_eq!(scene.keys()[0], "p/f");
}

#[test]
fn a_name_that_is_used_again_is_a_new_version() {
    let scene = scene(60, &[("p/f", "one")]);
    scene.files.remove(scene.find("f").map(|_| scene.files.root()).unwrap(), b"f").unwrap();
    scene.make("", "f", "two");
    scene.pass(60);
    assert_eq!(scene.objects(), [("p/f".to_owned(), "two".to_owned())]);
    assert_eq!(scene.names(""), ["f"]);
    // As programs write files that must never be half there.
    scene.make("", ".f.new", "three");
    let root = scene.files.root();
    scene.files.rename(root, b".f.new", root, b"f").unwrap();
    scene.pass(60);
    assert_eq!(scene.objects(), [("p/f".to_owned(), "three".to_owned())]);
    assert_eq!(scene.names(""), ["f"]);
    assert_eq!(scene.buckets.versions(B, &Wanted { most: 100, ..Wanted::default() }).unwrap().rows.len(), 3);
}

#[test]
fn a_bucket_that_is_full_or_gone_keeps_nobody_from_his_files() {
    let scene = scene(0, &[]);
    scene.buckets.set_room(0);
    let id = scene.make("", "f", "one");
    assert_eq!(scene.files.pending(), (1, 0));
    scene.buckets.set_room(1 << 20);
    scene.pass(1);
    assert_eq!(scene.keys(), ["p/f"]);
    scene.buckets.delete_object(B, "p/f", &WriteCondition::Always, Timestamp::UNIX_EPOCH).unwrap();
    for row in scene.buckets.versions(B, &Wanted { most: 100, ..Wanted::default() }).unwrap().rows {
        scene.buckets.delete_version(B, &row.key, &row.version_id).unwrap();
    }
    scene.buckets.delete(B).unwrap();
    scene.make("", "g", "two");
    assert_eq!(scene.text("g").unwrap(), "two");
    assert!(scene.text_of(id).is_ok());
}
