//! Requests to S3: keys, queries, headers and documents that nobody should send, beside a file system that is bonded to the bucket.

use fake_efs::world::limits::{Delays, Limits};
use fake_efs::{FakeEfs, Instance};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::mutation::{bytes, mutate, one};
use super::requests::{Answer, Caller};
use super::rounds::run;

const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0\r\n";
/// Room for all buckets, so that some things don't fit.
const ROOM: u64 = 100_000;

/// Parts of keys, percent-encoded.
const PARTS: [&str; 14] =
    ["a", "b", "a/b", "a//b", "..", ".", "lost+found", "%2f", "%00", "%ff", "%", "%F0%9F%98%80", "a/", "a%20b+c"];
const BUCKETS: [&str; 8] = ["a-bucket", "a-bucket", "a-bucket", "a-bucket", "b-bucket", "none", "A_B", "%00"];
const QUERIES: [&str; 34] = [
    "versioning",
    "versions",
    "location",
    "uploads",
    "delete",
    "policy",
    "acl",
    "tagging",
    "versionId=null",
    "versionId=",
    "versionId=%00",
    "versionId=00000000000000000000000000000000",
    "list-type=2",
    "list-type=3",
    "prefix=a/",
    "prefix=%ff",
    "delimiter=/",
    "delimiter=",
    "delimiter=%F0%9F%98%80",
    "max-keys=1",
    "max-keys=0",
    "max-keys=-1",
    "max-keys=99999999999999999999",
    "continuation-token=6b",
    "continuation-token=70",
    "continuation-token=76",
    "start-after=%F0%9F%98%80",
    "key-marker=a",
    "version-id-marker=null",
    "encoding-type=url",
    "partNumber=1",
    "partNumber=-1",
    "uploadId=x",
    "X-Amz-Expires=-1",
];
const HEADERS: [&str; 30] = [
    "range: bytes=0-0",
    "range: bytes=-1",
    "range: bytes=18446744073709551615-",
    "range: bytes=0-18446744073709551615",
    "range: bytes=-18446744073709551615",
    "if-match: \"x\"",
    "if-match: *",
    "if-none-match: *",
    "if-none-match: \u{e9}",
    "if-modified-since: yesterday",
    "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT",
    "content-md5: AAAA",
    "content-type: \u{1}",
    "content-type: multipart/form-data; boundary=x",
    "expires: never",
    "x-amz-checksum-crc32: AAAAAA==",
    "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 5",
    "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 99999999999999999999",
    "x-amz-content-sha256: 0",
    "x-amz-copy-source: /a-bucket/a",
    "x-amz-copy-source: a-bucket/a?versionId=null",
    "x-amz-copy-source: %ff",
    "x-amz-copy-source: /a-bucket/a\r\nx-amz-copy-source-range: bytes=0-18446744073709551615",
    "x-amz-meta-\u{e9}: x",
    "x-amz-meta-a: \u{e9}",
    "x-amz-metadata-directive: REPLACE",
    "x-amz-storage-class: GLACIER",
    "x-amz-server-side-encryption: aws:kms",
    "x-amz-expected-bucket-owner: 1",
    "x-amz-acl: public-read",
];
const DOCUMENTS: [&str; 6] = [
    "hello",
    "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "<Delete><Object><Key>a</Key><VersionId>null</VersionId></Object><Quiet>true</Quiet></Delete>",
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>",
];

fn start() -> Instance {
    let runtime = tokio::runtime::Handle::current();
    let fake = FakeEfs::builder().settings(|settings| {
        settings.limits = Limits { bucket_bytes: ROOM, ..Limits::default() };
        settings.delays = Delays { bucket_export: 0.0, ..Delays::default() };
    });
    tokio::task::block_in_place(|| runtime.block_on(fake.start())).unwrap()
}

fn request(rng: &mut StdRng, uploads: &[String]) -> (Vec<u8>, bool) {
    let method = one(rng, &["GET", "GET", "PUT", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "X"]);
    let mut path = format!("/{}", one(rng, &BUCKETS));
    for _ in 0..rng.random_range(0..3) {
        path.push('/');
        path.push_str(one(rng, &PARTS));
    }
    if rng.random_bool(0.02) {
        path.push_str(&"k".repeat(rng.random_range(900..1200)));
    }
    let mut queries: Vec<String> = (0..rng.random_range(0..4)).map(|_| one(rng, &QUERIES).to_owned()).collect();
    if !uploads.is_empty() && rng.random_bool(0.1) {
        path = "/a-bucket/parts".to_owned();
        queries.push(format!("uploadId={}", one(rng, uploads)));
    }
    if !queries.is_empty() {
        path = format!("{path}?{}", queries.join("&"));
    }
    let mut body = match rng.random_range(0..8) {
        0 => Vec::new(),
        1 => bytes(rng, 300),
        2 => vec![b'x'; rng.random_range(0..20_000)],
        _ => one(rng, &DOCUMENTS).as_bytes().to_vec(),
    };
    if rng.random_bool(0.3) {
        mutate(rng, &mut body, 0);
    }
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\n{SIGNED}content-length: {}\r\n", body.len());
    for _ in 0..rng.random_range(0..3) {
        head.push_str(one(rng, &HEADERS));
        head.push_str("\r\n");
    }
    ([head.as_bytes(), b"\r\n", &body].concat(), method == "HEAD")
}

/// A refusal is S3's: a document with a code, and no failure of the server. Only what isn't there at all is answered with 501.
fn check(shown: &str, answer: &Answer, is_head: bool) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.status < 500 || answer.status == 501, "{shown}: {}\n{text}", answer.head);
    assert!(answer.header("x-amz-request-id").is_some(), "{shown}: {}", answer.head);
    if answer.status >= 400 && !is_head {
        let is_error = text.starts_with("<?xml") && text.contains("<Error><Code>") && text.contains("<RequestId>");
        assert!(is_error, "{shown}: {}\n{text}", answer.head);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bucket_requests() {
    run("buckets", 40, |rng| {
        let fake = start();
        let address = fake.http_url().trim_start_matches("http://").to_owned();
        let mut caller = Caller { address, stream: None };
        let mut ask = |line: &str, body: &str| {
            let length = body.len();
            let text = format!("{line} HTTP/1.1\r\nhost: fake\r\n{SIGNED}content-length: {length}\r\n\r\n{body}");
            caller.ask(text.as_bytes()).unwrap()
        };
        ask("PUT /a-bucket", "");
        ask("PUT /a-bucket?versioning", DOCUMENTS[2]);
        let begun = String::from_utf8(ask("POST /a-bucket/parts?uploads", "").body).unwrap();
        let upload = begun.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        let bind = json!({ "bucket": "arn:aws:s3:::a-bucket", "roleArn": "arn:aws:iam::123456789012:role/r" });
        let (bind, line) = (bind.to_string(), "PUT /file-systems HTTP/1.1\r\nhost: fake\r\ncontent-length:");
        let made = caller.ask(format!("{line} {}\r\n\r\n{bind}", bind.len()).as_bytes()).unwrap();
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let id = fake_efs::world::ids::FileSystemId::parse(made["fileSystemId"].as_str().unwrap()).unwrap();
        let files = fake.world().files(&id).unwrap();
        for _ in 0..300 {
            let (request, is_head) = request(rng, std::slice::from_ref(&upload));
            let shown = String::from_utf8_lossy(&request[..request.len().min(600)]).into_owned();
            match caller.ask(&request) {
                // HTTP's own parser has no words for what is not HTTP.
                Some(answer) if answer.status == 400 && answer.header("x-amz-request-id").is_none() => {}
                Some(answer) => check(&shown, &answer, is_head),
                None => panic!("closed without an answer: {shown}"),
            }
            // Whatever is in the bucket now, its files can be listed and read.
            let mut seen = Vec::new();
            files
                .read_directory(files.root(), 0, &mut |entry| {
                    seen.push(entry.attributes.id);
                    true
                })
                .unwrap();
            for id in seen {
                let _ = files.read(id, 0, 100, &mut Vec::new());
            }
            assert!(fake.world().buckets().bytes() <= ROOM);
        }
        300
    });
}
