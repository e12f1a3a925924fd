//! What buckets do, without a server in front of them.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::*;

const ACCOUNT: &str = "123456789012";
const B: &str = "a-bucket";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn buckets() -> Buckets {
    let buckets = Buckets::new(1 << 20, 1);
    buckets.create(B, ACCOUNT, "us-east-1", at(0)).unwrap();
    buckets
}

fn object(buckets: &Buckets, text: &str) -> Arc<Object> {
    let room = buckets.room(text.len() as u64).unwrap();
    let content = Content::new(Bytes::copy_from_slice(text.as_bytes()), room);
    Arc::new(Object::new(Arc::new(content), Attributes::default(), None))
}

fn put(buckets: &Buckets, key: &str, text: &str) -> Option<VersionId> {
    buckets.put(B, key, object(buckets, text), &WriteCondition::Always, at(1)).unwrap().version_id
}

fn delete(buckets: &Buckets, key: &str) -> Deleted {
    buckets.delete_object(B, key, &WriteCondition::Always, at(2)).unwrap()
}

fn text(buckets: &Buckets, key: &str, version: Option<&VersionId>) -> Result<String> {
    let content = Arc::clone(&buckets.get(B, key, version)?.object.content);
    Ok(String::from_utf8(content.slice(0..content.size()).concat()).unwrap())
}

fn wanted(prefix: &str, delimiter: Option<&str>, most: usize) -> Wanted {
    Wanted { prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), most, after: None }
}

#[test]
fn a_bucket_s_name_is_there_once_for_all_accounts() {
    let buckets = buckets();
    assert_eq!(buckets.create(B, ACCOUNT, "us-east-1", at(1)), Err(Refusal::BucketAlreadyOwnedByYou));
    assert_eq!(buckets.create(B, "999999999999", "us-east-1", at(1)), Err(Refusal::BucketAlreadyExists));
    assert_eq!(buckets.create("A", ACCOUNT, "us-east-1", at(1)), Err(Refusal::InvalidBucketName));
    assert_eq!(buckets.info(B).unwrap().created, at(0));
    assert_eq!(buckets.delete("other"), Err(Refusal::NoSuchBucket));
    assert_eq!(buckets.delete(B), Ok(()));
    assert!(buckets.is_empty());
    assert_eq!(buckets.bytes(), 0);
}

#[test]
fn without_versioning_a_write_takes_the_place_of_the_one_before() {
    let buckets = buckets();
    assert_eq!(put(&buckets, "k", "one"), None);
    assert_eq!(put(&buckets, "k", "two"), None);
    assert_eq!(text(&buckets, "k", None).unwrap(), "two");
    assert_eq!(text(&buckets, "k", Some(&VersionId::Null)).unwrap(), "two");
    assert_eq!(buckets.versions(B, &wanted("", None, 10)).unwrap().rows.len(), 1);
    assert_eq!(buckets.delete(B), Err(Refusal::BucketNotEmpty));
    assert_eq!(delete(&buckets, "k"), Deleted { version_id: None, marker: false });
    assert_eq!(text(&buckets, "k", None), Err(Refusal::NoSuchKey { marker: None }));
    assert_eq!(buckets.delete(B), Ok(()));
}

#[test]
fn a_delete_marker_hides_the_versions_and_goes_as_they_do() {
    let buckets = buckets();
    put(&buckets, "k", "before");
    buckets.set_versioning(B, true).unwrap();
    let one = put(&buckets, "k", "one").unwrap();
    let two = put(&buckets, "k", "two").unwrap();
    assert_ne!(one, two);
    let marker = delete(&buckets, "k");
    assert!(marker.marker);
    let id = marker.version_id.unwrap();
    assert_eq!(text(&buckets, "k", None), Err(Refusal::NoSuchKey { marker: Some(id.clone()) }));
    assert_eq!(text(&buckets, "k", Some(&id)), Err(Refusal::IsDeleteMarker(id.clone())));
    assert_eq!(text(&buckets, "k", Some(&one)).unwrap(), "one");
    assert_eq!(text(&buckets, "k", Some(&VersionId::Null)).unwrap(), "before");
    assert_eq!(text(&buckets, "other", Some(&one)), Err(Refusal::NoSuchVersion));
    assert!(buckets.objects(B, &wanted("", None, 10)).unwrap().rows.is_empty());
    assert_eq!(buckets.delete(B), Err(Refusal::VersionsLeft));

    let gone = buckets.delete_version(B, "k", &id).unwrap();
    assert_eq!(gone, Deleted { version_id: Some(id), marker: true });
    assert_eq!(text(&buckets, "k", None).unwrap(), "two");
    assert!(!buckets.delete_version(B, "k", &two).unwrap().marker);
    assert_eq!(text(&buckets, "k", None).unwrap(), "one");
    // What isn't there can be deleted, too.
    assert!(!buckets.delete_version(B, "k", &two).unwrap().marker);
    for id in [one, VersionId::Null] {
        buckets.delete_version(B, "k", &id).unwrap();
    }
    assert_eq!(buckets.delete(B), Ok(()));
    assert_eq!(buckets.bytes(), 0);
}

#[test]
fn with_suspended_versioning_only_the_version_without_a_name_is_written() {
    let buckets = buckets();
    buckets.set_versioning(B, true).unwrap();
    let one = put(&buckets, "k", "one").unwrap();
    buckets.set_versioning(B, false).unwrap();
    assert_eq!(buckets.info(B).unwrap().versioning, Versioning::Suspended);
    assert_eq!(put(&buckets, "k", "two"), Some(VersionId::Null));
    assert_eq!(put(&buckets, "k", "three"), Some(VersionId::Null));
    let marker = delete(&buckets, "k");
    assert_eq!(marker, Deleted { version_id: Some(VersionId::Null), marker: true });
    let rows = buckets.versions(B, &wanted("", None, 10)).unwrap().rows;
    let shown: Vec<_> = rows.iter().map(|row| (row.version_id.clone(), row.latest, row.object.is_some())).collect();
    assert_eq!(shown, [(VersionId::Null, true, false), (one, false, true)]);
}

#[test]
fn a_write_whose_condition_fails_changes_nothing() {
    let buckets = buckets();
    let write = |text: &str, condition| buckets.put(B, "k", object(&buckets, text), &condition, at(1));
    let etag = write("one", WriteCondition::Absent).unwrap().etag;
    assert_eq!(write("two", WriteCondition::Absent), Err(Refusal::PreconditionFailed(Condition::IfNoneMatch)));
    assert_eq!(text(&buckets, "k", None).unwrap(), "one");
    write("two", WriteCondition::Unchanged(etag.clone())).unwrap();
    let stale = WriteCondition::Unchanged(etag);
    let failed = Err(Refusal::PreconditionFailed(Condition::IfMatch));
    assert_eq!(write("three", stale.clone()), failed);
    assert_eq!(buckets.delete_object(B, "k", &stale, at(1)).map(|_| ()), failed.map(|_| ()));
    assert_eq!(text(&buckets, "k", None).unwrap(), "two");
}

#[test]
fn what_is_kept_has_a_bound_and_copies_share_their_bytes() {
    let buckets = Buckets::new(10_000, 1);
    buckets.create(B, ACCOUNT, "us-east-1", at(0)).unwrap();
    let big = object(&buckets, &"x".repeat(5000));
    buckets.put(B, "k", Arc::clone(&big), &WriteCondition::Always, at(1)).unwrap();
    let copy = Object {
        content: Arc::clone(&big.content),
        etag: big.etag.clone(),
        attributes: Attributes::default(),
        checksum: None,
        parts: Vec::new(),
    };
    buckets.put(B, "copy", Arc::new(copy), &WriteCondition::Always, at(1)).unwrap();
    drop(big);
    let error = buckets.room(5000).unwrap_err();
    assert!(matches!(error, Refusal::Full { wanted: 5000, free: 2500..4000, most: 10_000 }), "{error:?}");
    delete(&buckets, "k");
    assert!(buckets.room(5000).is_err());
    delete(&buckets, "copy");
    assert!(buckets.room(5000).is_ok());
    // Even with no room at all, what is there can be deleted.
    put(&buckets, "last", "x");
    buckets.set_room(0);
    delete(&buckets, "last");
    buckets.set_room(10_000);
    // Nothing but names takes room, too.
    let many = (0..100).find(|i| {
        let content = Content::new(Bytes::new(), buckets.room(0).unwrap());
        let object = Arc::new(Object::new(Arc::new(content), Attributes::default(), None));
        buckets.put(B, &format!("{i}"), object, &WriteCondition::Always, at(1)).is_err()
    });
    assert!(many.is_some_and(|many| (10..20).contains(&many)), "{many:?}");
    assert!(matches!(
        buckets.put(B, "", object(&buckets, ""), &WriteCondition::Always, at(1)),
        Err(Refusal::KeyTooLong)
    ));
}

#[test]
fn a_listing_shows_keys_in_the_order_of_their_bytes_and_groups_them() {
    let buckets = buckets();
    for key in ["b", "a/1", "a/2", "a", "a-", "ä/x", "a/deep/er", "\u{10ffff}/y", "\u{10ffff}\u{10ffff}"] {
        put(&buckets, key, key);
    }
    let list = |wanted: Wanted| {
        let page = buckets.objects(B, &wanted).unwrap();
        let keys: Vec<String> = page.rows.iter().map(|row| row.key.clone()).collect();
        (keys, page.prefixes, page.next)
    };
    let all = ["a", "a-", "a/1", "a/2", "a/deep/er", "b", "ä/x", "\u{10ffff}/y", "\u{10ffff}\u{10ffff}"];
    assert_eq!(list(wanted("", None, 10)).0, all);
    let (keys, prefixes, next) = list(wanted("", Some("/"), 10));
    assert_eq!(keys, ["a", "a-", "b", "\u{10ffff}\u{10ffff}"]);
    assert_eq!(prefixes, ["a/", "ä/", "\u{10ffff}/"]);
    assert_eq!(next, None);
    let (keys, prefixes, _) = list(wanted("a/", Some("/"), 10));
    assert_eq!((keys, prefixes), (vec!["a/1".to_owned(), "a/2".to_owned()], vec!["a/deep/".to_owned()]));
    assert_eq!(list(wanted("a", Some(""), 10)).0.len(), 5);
    assert_eq!(list(wanted("", None, 0)), (vec![], vec![], None));

    // Page by page, it is the same.
    let mut seen = Vec::new();
    let mut after = None;
    for _ in 0..10 {
        let (keys, prefixes, next) = list(Wanted { after, ..wanted("", Some("/"), 1) });
        assert_eq!(keys.len() + prefixes.len(), 1);
        seen.extend(keys);
        seen.extend(prefixes);
        after = next.map(|next| Place::from_token(&next.to_token()).unwrap());
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "a-", "a/", "b", "ä/", "\u{10ffff}/", "\u{10ffff}\u{10ffff}"]);
    for bad in ["", "zz", "6", "78"] {
        assert_eq!(Place::from_token(bad), Err(Refusal::InvalidToken));
    }
    let after = |place| list(Wanted { after: Some(place), ..wanted("a/", None, 10) }).0;
    assert_eq!(after(Place::Key("a/1".to_owned())), ["a/2", "a/deep/er"]);
    assert_eq!(after(Place::Key("A".to_owned())), ["a/1", "a/2", "a/deep/er"]);
    assert_eq!(after(Place::Key("b".to_owned())), [""; 0]);
}

#[test]
fn a_marker_means_a_key_or_what_was_shown_as_one() {
    let marked = |marker: &str, delimiter| Place::marked(marker.to_owned(), "p/", delimiter);
    assert_eq!(marked("p/a/", Some("/")), Place::Prefix("p/a/".to_owned()));
    assert_eq!(marked("p/a/b", Some("/")), Place::Key("p/a/b".to_owned()));
    assert_eq!(marked("p/a/", None), Place::Key("p/a/".to_owned()));
    assert_eq!(marked("p/a/b/", Some("/")), Place::Key("p/a/b/".to_owned()));
}

#[test]
fn versions_are_listed_page_by_page_the_youngest_of_each_key_first() {
    let buckets = buckets();
    buckets.set_versioning(B, true).unwrap();
    for key in ["a", "b", "a", "c/1", "c/2", "b", "a"] {
        put(&buckets, key, key);
    }
    delete(&buckets, "b");
    let list = |after| {
        let page = buckets.versions(B, &Wanted { after, ..wanted("", Some("/"), 2) }).unwrap();
        let rows = page.rows.iter();
        let mut shown: Vec<_> = rows
            .map(|row| format!("{}{}{}", row.key, if row.latest { "!" } else { "" }, row.object.is_none()))
            .collect();
        shown.extend(page.prefixes);
        (shown, page.next)
    };
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (shown, next) = list(after);
        assert!(shown.len() <= 2);
        seen.extend(shown);
        if next.is_none() {
            break;
        }
        after = next;
    }
    assert_eq!(seen, ["a!false", "afalse", "afalse", "b!true", "bfalse", "bfalse", "c/"]);
    let (shown, _) = list(Some(Place::Version("b".to_owned(), VersionId::Null)));
    assert_eq!(shown, ["b!true", "bfalse"], "behind a version that is gone");
}
