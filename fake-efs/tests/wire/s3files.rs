//! What file systems of S3 Files speak: NFSv4.1 and 4.2, without hard links; and what they are: objects of a bucket.

use std::sync::Arc;

use fake_efs::admission::Dialect;
use fake_efs::buckets::{Attributes, Content, Object, Wanted, WriteCondition};
use fake_efs::nfs::{Options, Status};
use fake_efs::world::limits::Delays;
use fake_efs::world::s3files::CreateBucketFileSystem;
use fake_efs::world::scope::{Requester, Service};
use fake_efs::world::{Settings, World};

use super::client::*;
use super::operations::populated;
use super::server::Running;

const READ_PLUS: u32 = 68;
const SEEK: u32 = 69;
/// The first operation of RFC 7862 and the last of RFC 8276.
const NEW_IN_4_2: std::ops::RangeInclusive<u32> = 59..=75;

fn of_s3_files() -> Running {
    let running = populated();
    running.policy(|policy| policy.dialect = Dialect::S3Files);
    running
}

/// A session that was set up with this minor version.
fn session(running: &Running, minor: u32) -> Wire {
    let mut wire = Wire::connect(running.address);
    let mut reply = wire.compound(minor, &[exchange_id(&format!("s3 {minor}"), 1, 0)]);
    assert_eq!(reply.status, OK);
    reply.op(42);
    wire.client = reply.u64();
    let number = reply.u32();
    let mut reply = wire.compound(minor, &[create_session(wire.client, number)]);
    assert_eq!(reply.status, OK);
    reply.op(43);
    wire.session = reply.stateid();
    let reply = wire.compound(minor, &[sequence(wire.session, 1, 1, 1, false), reclaim_complete()]);
    assert_eq!(reply.status, OK);
    wire
}

/// Runs operations behind SEQUENCE with a minor version; the status.
fn run(wire: &mut Wire, minor: u32, ops: &[Op]) -> u32 {
    wire.sequence += 1;
    let head = sequence(wire.session, wire.sequence, 0, 0, false);
    let ops: Vec<Op> = std::iter::once(head).chain(ops.iter().cloned()).collect();
    wire.compound(minor, &ops).status
}

#[test]
fn minor_versions_1_and_2_are_spoken_and_no_others() {
    let running = of_s3_files();
    for minor in [1, 2] {
        let mut wire = session(&running, minor);
        assert_eq!(run(&mut wire, minor, &[putrootfh(), lookup(b"f"), getattr(&[4])]), OK, "{minor}");
    }
    let mut wire = Wire::connect(running.address);
    for minor in [0, 3] {
        let reply = wire.compound(minor, &[putrootfh()]);
        assert_eq!((reply.status, reply.count), (Status::MinorVersMismatch as u32, 0), "{minor}");
    }
}

/// A client that is told OP_ILLEGAL of an operation that its minor version has takes the server for broken.
#[test]
fn what_4_2_has_and_the_server_does_not_is_not_supported_and_never_illegal() {
    let running = of_s3_files();
    let mut wire = session(&running, 2);
    for number in NEW_IN_4_2 {
        let status = run(&mut wire, 2, &[putrootfh(), lookup(b"f"), words(number, &[0; 8])]);
        assert_eq!(status, Status::NotSupp as u32, "operation {number}");
    }
    for number in [0, 2, *NEW_IN_4_2.end() + 1, 200_001] {
        let status = run(&mut wire, 2, &[putrootfh(), words(number, &[0; 8])]);
        assert_eq!(status, Status::OpIllegal as u32, "operation {number}");
    }
    // 4.1 has none of them.
    let mut wire = session(&running, 1);
    for number in [READ_PLUS, SEEK] {
        let status = run(&mut wire, 1, &[putrootfh(), words(number, &[0; 8])]);
        assert_eq!(status, Status::OpIllegal as u32, "operation {number}");
    }
}

/// An object has one key.
#[test]
fn hard_links_are_refused() {
    let running = of_s3_files();
    for minor in [1, 2] {
        let mut wire = session(&running, minor);
        let link = [putrootfh(), lookup(b"f"), savefh(), putrootfh(), link(b"new")];
        assert_eq!(run(&mut wire, minor, &link), Status::NotSupp as u32, "{minor}");
        assert_eq!(run(&mut wire, minor, &[putrootfh(), lookup(b"new")]), Status::NoEnt as u32, "{minor}");
    }
}

/// Through the whole of it: an object is read over NFS, written over NFS, and is a new version of the object.
#[test]
fn files_are_the_objects_of_a_bucket() {
    let world =
        World::new(Settings { delays: Delays { bucket_export: 0.0, ..Delays::default() }, ..Settings::default() });
    let (buckets, now) = (world.buckets(), world.now());
    buckets.create("a-bucket", &world.home().account, "us-east-1", now).unwrap();
    buckets.set_versioning("a-bucket", true).unwrap();
    let put = |text: &'static str| {
        let content = Content::new(text.into(), buckets.room(text.len() as u64).unwrap());
        let object = Arc::new(Object::new(Arc::new(content), Attributes::default(), None));
        buckets.put("a-bucket", "data/k", object, &WriteCondition::Always, now).unwrap();
    };
    put("from the bucket");
    let input = CreateBucketFileSystem {
        bucket: "arn:aws:s3:::a-bucket".to_owned(),
        prefix: Some("data/".to_owned()),
        role_arn: "arn:aws:iam::123456789012:role/s3files".to_owned(),
        kms_key_id: None,
        client_token: None,
        tags: Vec::new(),
    };
    let requester = Requester::root(world.home().clone().of(Service::S3Files));
    let fs = world.create_bucket_file_system(&requester, input).unwrap();
    let running = Running::with(world.files(&fs.id).unwrap(), Options::default());
    running.policy(|policy| policy.dialect = Dialect::S3Files);
    let mut wire = Wire::session(running.address, "bonded");
    let (stateid, handle) = wire.open("k", 3);
    let text = |wire: &mut Wire| {
        let mut reply = wire.run(&[putfh(&handle), read(stateid, 0, 100)]);
        assert_eq!(reply.status, OK);
        reply.op(22).op(25).u32();
        String::from_utf8(reply.opaque()).unwrap()
    };
    assert_eq!(text(&mut wire), "from the bucket");
    put("from the bucket, again");
    assert_eq!(text(&mut wire), "from the bucket, again");
    assert_eq!(wire.run(&[putfh(&handle), write(stateid, 0, 2, b"over NFS, ")]).status, OK);
    world.synchronize();
    let found = buckets.get("a-bucket", "data/k", None).unwrap();
    assert_eq!(found.object.content.slice(0..22).concat(), b"over NFS, ucket, again");
    let all = Wanted { most: 10, ..Wanted::default() };
    assert_eq!(buckets.versions("a-bucket", &all).unwrap().rows.len(), 3);
    assert_eq!(wire.run(&[putrootfh(), remove(b"k")]).status, OK);
    world.synchronize();
    assert!(buckets.objects("a-bucket", &all).unwrap().rows.is_empty());
}
