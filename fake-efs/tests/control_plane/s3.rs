//! Buckets over a socket, without an SDK: what S3 answers, to the header. boto3 and the AWS CLI are in `tests/foreign.rs`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use fake_efs::faults::{Effect, Rule};
use fake_efs::identities::Signatures;
use fake_efs::journal::Query;
use fake_efs::world::clock::SystemClock;
use fake_efs::world::ids::FileSystemId;
use fake_efs::world::limits::Limits;
use fake_efs::{FakeEfs, Instance};
use serde_json::json;

use crate::support::{Answer, fake, get as get_json, page, request, send};

/// A signature that nobody checks.
const SIGNED: (&str, &str) = (
    "authorization",
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261203/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x",
);

/// A call of S3.
async fn call(fake: &Instance, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: Vec<_> = headers.iter().copied().chain([SIGNED]).collect();
    request(fake, method, path, &headers, body).await
}

async fn put(fake: &Instance, path: &str, body: &[u8]) -> Answer {
    call(fake, "PUT", path, &[], body).await
}

async fn get(fake: &Instance, path: &str) -> Answer {
    call(fake, "GET", path, &[], b"").await
}

async fn versioned(fake: &Instance, bucket: &str) {
    assert_eq!(put(fake, &format!("/{bucket}"), b"").await.status, 200);
    let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(put(fake, &format!("/{bucket}?versioning"), body).await.status, 200);
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let fake = fake(|_| {}).await;
    assert_eq!(put(&fake, "/a-bucket", b"").await.status, 200);
    let headers = [("content-type", "text/plain"), ("x-amz-meta-colour", "red"), ("cache-control", "no-store")];
    let put = call(&fake, "PUT", "/a-bucket/a/b%20%C3%A4", &headers, b"hello").await;
    assert_eq!((put.status, put.header("etag")), (200, Some("\"5d41402abc4b2a76b9719d911017c592\"")));
    assert_eq!(put.header("x-amz-version-id"), None);
    for method in ["GET", "HEAD"] {
        let got = call(&fake, method, "/a-bucket/a/b%20%C3%A4", &[], b"").await;
        assert_eq!(got.status, 200);
        for (name, value) in headers {
            assert_eq!(got.header(name), Some(value), "{method}");
        }
        assert_eq!(got.header("content-length"), Some("5"));
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("x-amz-server-side-encryption"), Some("AES256"));
        assert!(got.header("last-modified").is_some_and(|time| time.ends_with(" GMT")));
        assert_eq!(got.body, if method == "GET" { b"hello".as_slice() } else { b"" });
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_kept_to() {
    let fake = fake(|_| {}).await;
    put(&fake, "/a-bucket", b"").await;
    let etag = put(&fake, "/a-bucket/k", b"0123456789").await.header("etag").unwrap().to_owned();
    let part = |range| {
        let fake = &fake;
        async move { call(fake, "GET", "/a-bucket/k", &[("range", range)], b"").await }
    };
    for (range, body, shown) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let got = part(range).await;
        assert_eq!((got.status, got.text().as_str(), got.header("content-range")), (206, body, Some(shown)), "{range}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let got = part(range).await;
        assert_eq!((got.status, got.code()), (416, Some("InvalidRange".to_owned())), "{range}");
    }
    // What can't be understood is as if it weren't there.
    for range in ["bytes=4-2", "lines=1-2", "bytes=0-1,3-4"] {
        assert_eq!(part(range).await.status, 200, "{range}");
    }
    let with = |name: &'static str, value: String| {
        let fake = &fake;
        async move { call(fake, "GET", "/a-bucket/k", &[(name, &value)], b"").await }
    };
    assert_eq!(with("if-match", etag.clone()).await.status, 200);
    let failed = with("if-match", "\"other\"".to_owned()).await;
    assert_eq!((failed.status, failed.code()), (412, Some("PreconditionFailed".to_owned())));
    let known = with("if-none-match", etag.clone()).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(etag.as_str())));
    assert_eq!(with("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT".to_owned()).await.status, 304);
    assert_eq!(with("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT".to_owned()).await.status, 412);
    let absent = call(&fake, "PUT", "/a-bucket/k", &[("if-none-match", "*")], b"x").await;
    assert_eq!((absent.status, absent.code()), (412, Some("PreconditionFailed".to_owned())));
    assert_eq!(call(&fake, "PUT", "/a-bucket/k", &[("if-match", &etag)], b"x").await.status, 200);
    assert_eq!(call(&fake, "PUT", "/a-bucket/k", &[("if-match", &etag)], b"y").await.status, 412);
}

#[tokio::test]
async fn versions_are_named_and_a_delete_marker_says_that_it_is_one() {
    let fake = fake(|_| {}).await;
    versioned(&fake, "a-bucket").await;
    let one = put(&fake, "/a-bucket/k", b"one").await.header("x-amz-version-id").unwrap().to_owned();
    let two = put(&fake, "/a-bucket/k", b"two").await.header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(get(&fake, "/a-bucket/k").await.header("x-amz-version-id"), Some(two.as_str()));
    assert_eq!(get(&fake, &format!("/a-bucket/k?versionId={one}")).await.text(), "one");
    let gone = call(&fake, "DELETE", "/a-bucket/k", &[], b"").await;
    assert_eq!((gone.status, gone.header("x-amz-delete-marker")), (204, Some("true")));
    let marker = gone.header("x-amz-version-id").unwrap();
    let missing = get(&fake, "/a-bucket/k").await;
    assert_eq!((missing.status, missing.code()), (404, Some("NoSuchKey".to_owned())));
    assert_eq!(missing.header("x-amz-delete-marker"), Some("true"));
    let refused = get(&fake, &format!("/a-bucket/k?versionId={marker}")).await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("DELETE")));
    for (id, status, code) in
        [("x", 400, "InvalidArgument"), ("", 400, "InvalidArgument"), (&"0".repeat(32), 404, "NoSuchVersion")]
    {
        let refused = get(&fake, &format!("/a-bucket/k?versionId={id}")).await;
        assert_eq!((refused.status, refused.code()), (status, Some(code.to_owned())), "{id:?}");
    }
    let listed = get(&fake, "/a-bucket?versions").await.text();
    assert_eq!((listed.matches("<Version>").count(), listed.matches("<DeleteMarker>").count()), (2, 1), "{listed}");
    let left = call(&fake, "DELETE", "/a-bucket", &[], b"").await;
    assert_eq!((left.status, left.code()), (409, Some("BucketNotEmpty".to_owned())));
    for id in [&one, &two, marker] {
        assert_eq!(call(&fake, "DELETE", &format!("/a-bucket/k?versionId={id}"), &[], b"").await.status, 204);
    }
    assert_eq!(call(&fake, "DELETE", "/a-bucket", &[], b"").await.status, 204);
    assert_eq!(get(&fake, "/a-bucket/k").await.code().as_deref(), Some("NoSuchBucket"));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_s3_s_codes() {
    let fake = fake(|settings| settings.limits = Limits { bucket_bytes: 100_000, ..Limits::default() }).await;
    put(&fake, "/a-bucket", b"").await;
    let refused = |method: &'static str, path: String, headers: Vec<(&'static str, String)>, body: Vec<u8>| {
        let fake = &fake;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = call(fake, method, &path, &headers, &body).await;
            (answer.status, answer.code().unwrap_or_default())
        }
    };
    let small = || b"x".to_vec();
    let own = |path: &str| path.to_owned();
    for (method, path, headers, body, status, code) in [
        ("PUT", own("/a-bucket/k"), vec![], vec![0; 200_000], 400, "EntityTooLarge"),
        ("PUT", format!("/a-bucket/{}", "k".repeat(1025)), vec![], small(), 400, "KeyTooLongError"),
        ("PUT", own("/A_bucket"), vec![], vec![], 400, "InvalidBucketName"),
        ("PUT", own("/none/k"), vec![], small(), 404, "NoSuchBucket"),
        ("GET", own("/a-bucket/none"), vec![], vec![], 404, "NoSuchKey"),
        ("PUT", own("/a-bucket/k"), vec![("content-md5", own("AAAAAAAAAAAAAAAAAAAAAA=="))], small(), 400, "BadDigest"),
        ("PUT", own("/a-bucket/k"), vec![("x-amz-checksum-crc32", own("AAAAAA=="))], small(), 400, "BadDigest"),
        ("PUT", own("/a-bucket/k"), vec![("x-amz-content-sha256", "0".repeat(64))], small(), 400, "XAmzContentSHA256Mismatch"),
        ("PUT", own("/a-bucket/k"), vec![("x-amz-meta-a", "v".repeat(2048))], small(), 400, "MetadataTooLarge"),
        ("PUT", own("/a-bucket/k"), vec![("x-amz-storage-class", own("TAPE"))], small(), 400, "InvalidStorageClass"),
        ("PUT", own("/a-bucket/k"), vec![("x-amz-acl", own("public-read"))], small(), 400, "AccessControlListNotSupported"),
        ("PUT", own("/a-bucket/k"), vec![("x-amz-tagging", own("a=b"))], small(), 501, "NotImplemented"),
        ("GET", own("/a-bucket?policy"), vec![], vec![], 501, "NotImplemented"),
        ("PUT", own("/a-bucket?versioning"), vec![], b"<nonsense".to_vec(), 400, "MalformedXML"),
        ("GET", own("/a-bucket?list-type=2&continuation-token=x"), vec![], vec![], 400, "InvalidArgument"),
        ("GET", own("/a-bucket?list-type=2&max-keys=-1"), vec![], vec![], 400, "InvalidArgument"),
        ("PUT", own("/a-bucket"), vec![], b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>".to_vec(), 400, "InvalidLocationConstraint"),
    ] {
        assert_eq!(refused(method, path.clone(), headers, body).await, (status, code.to_owned()), "{method} {path}");
    }
    // Nothing of that was kept.
    assert!(fake.world().buckets().bytes() < 5000, "{}", fake.world().buckets().bytes());
    let archived = call(&fake, "PUT", "/a-bucket/ice", &[("x-amz-storage-class", "GLACIER")], b"x").await;
    assert_eq!(archived.status, 200);
    assert_eq!(get(&fake, "/a-bucket/ice").await.code().as_deref(), Some("InvalidObjectState"));
}

#[tokio::test]
async fn bodies_in_pieces_are_put_together_and_their_trailers_checked() {
    let fake = fake(|_| {}).await;
    put(&fake, "/a-bucket", b"").await;
    let headers = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "9"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let body = |sum: &str| format!("5\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n").into_bytes();
    assert_eq!(call(&fake, "PUT", "/a-bucket/k", &headers, &body("y/Q5Jg==")).await.status, 200);
    let got = call(&fake, "GET", "/a-bucket/k", &[("x-amz-checksum-mode", "ENABLED")], b"").await;
    assert_eq!((got.text().as_str(), got.header("content-encoding")), ("123456789", None));
    assert_eq!(got.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let wrong = call(&fake, "PUT", "/a-bucket/k", &headers, &body("AAAAAA==")).await;
    assert_eq!((wrong.status, wrong.code().as_deref()), (400, Some("BadDigest")));
    let torn = call(&fake, "PUT", "/a-bucket/k", &headers, b"5\r\n12").await;
    assert_eq!((torn.status, torn.code().as_deref()), (400, Some("IncompleteBody")));
}

/// A client that signs as S3's do.
struct Signer<'a> {
    fake: &'a Instance,
    key: &'a str,
    secret: &'a str,
    token: Option<&'a str>,
    at: SystemTime,
}

impl Signer<'_> {
    async fn call(&self, method: &str, path: &str, body: &[u8], expires: Option<u64>) -> Answer {
        self.send(method, path, body, expires, None).await
    }

    /// Puts an object of five bytes that comes in pieces.
    async fn put_pieces(&self, path: &str, body: &[u8], hash: &str) -> Answer {
        self.send("PUT", path, body, None, Some(hash)).await
    }

    async fn send(&self, method: &str, path: &str, body: &[u8], expires: Option<u64>, hash: Option<&str>) -> Answer {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        if let Some(seconds) = expires {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(Duration::from_secs(seconds));
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        }
        let token = self.token.map(str::to_owned);
        let identity = aws_sdk_efs::config::Credentials::new(self.key, self.secret, token, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(self.at)
            .settings(settings)
            .build()
            .expect("all parameters");
        let host = self.fake.http_url().trim_start_matches("http://").to_owned();
        let uri = format!("http://{host}{path}");
        let signed = match (expires, hash) {
            (Some(_), _) => SignableBody::UnsignedPayload,
            (None, Some(hash)) => SignableBody::Precomputed(hash.to_owned()),
            (None, None) => SignableBody::Bytes(body),
        };
        let request_to_sign =
            SignableRequest::new(method, &uri, [("host", host.as_str())].into_iter(), signed).expect("a request");
        let (instructions, _) = sign(request_to_sign, &parameters.into()).expect("a signature").into_parts();
        let mut to_send = http::Request::builder().method(method).uri(&uri).body(()).expect("a request");
        instructions.apply_to_request_http1x(&mut to_send);
        let headers: Vec<_> =
            to_send.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        let length = hash.map(|_| ("x-amz-decoded-content-length", "5"));
        let headers: Vec<_> = headers.into_iter().chain(length).collect();
        let path = to_send.uri().path_and_query().expect("an address").as_str();
        request(self.fake, method, path, &headers, body).await
    }
}

#[tokio::test]
async fn signatures_are_those_of_the_fake_s_accounts() {
    let fake = FakeEfs::builder().signatures(Signatures::Checked).start().await.unwrap();
    for (key, account) in [("AKIDONE", "123456789012"), ("AKIDTWO", "210987654321")] {
        let body = json!({ "access_key_id": key, "secret_access_key": "secret", "account": account });
        assert_eq!(send(&fake, "POST", "/_fake/keys", &body).await.0, 200);
    }
    let now = SystemTime::now();
    let one = Signer { fake: &fake, key: "AKIDONE", secret: "secret", token: None, at: now };
    let two = Signer { key: "AKIDTWO", ..one };
    assert_eq!(one.call("PUT", "/a-bucket", b"", None).await.status, 200);
    let path = "/a-bucket/a%20b/%C3%A4%2B%21~%2A";
    assert_eq!(one.call("PUT", path, b"hello", None).await.status, 200);
    assert_eq!(one.call("GET", path, b"", None).await.text(), "hello");
    assert_eq!(one.call("GET", path, b"", Some(60)).await.text(), "hello");
    let code = |answer: Answer| (answer.status, answer.code().unwrap_or_default());
    let wrong = Signer { secret: "other", ..one };
    assert_eq!(code(wrong.call("GET", path, b"", None).await), (403, "SignatureDoesNotMatch".to_owned()));
    let unknown = Signer { key: "AKIDNONE", ..one };
    assert_eq!(code(unknown.call("GET", path, b"", None).await), (403, "InvalidAccessKeyId".to_owned()));
    let late = Signer { at: now - Duration::from_secs(3600), ..one };
    assert_eq!(code(late.call("GET", path, b"", None).await), (403, "RequestTimeTooSkewed".to_owned()));
    assert_eq!(late.call("GET", path, b"", Some(7200)).await.text(), "hello");
    assert_eq!(code(late.call("GET", path, b"", Some(60)).await), (403, "AccessDenied".to_owned()));
    // Another account sees nothing of it, and can't have a bucket of that name.
    assert_eq!(code(two.call("GET", path, b"", None).await), (403, "AccessDenied".to_owned()));
    assert_eq!(code(two.call("PUT", "/a-bucket", b"", None).await), (409, "BucketAlreadyExists".to_owned()));
    assert!(!two.call("GET", "/", b"", None).await.text().contains("a-bucket"));
    assert!(one.call("GET", "/", b"", None).await.text().contains("<Name>a-bucket</Name>"));
    // Pieces with signatures must have the right ones; that right ones are accepted, the example of S3's reference shows.
    let forged = b"5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\n\r\n";
    let forged = one.put_pieces("/a-bucket/pieces", forged, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD").await;
    assert_eq!(code(forged), (403, "SignatureDoesNotMatch".to_owned()));
    let plain = b"5\r\nhello\r\n0\r\n\r\n";
    let plain = one.put_pieces("/a-bucket/pieces", plain, "STREAMING-UNSIGNED-PAYLOAD-TRAILER").await;
    assert_eq!(plain.status, 200);
    let unsigned = request(&fake, "GET", path, &[], b"").await;
    assert_eq!(unsigned.status, 404, "it is nobody's call: S3 is known by its signature");
}

#[tokio::test]
async fn policies_of_principals_decide_and_hide_what_is_missing() {
    let fake = fake(|_| {}).await;
    put(&fake, "/a-bucket", b"").await;
    put(&fake, "/a-bucket/open/k", b"x").await;
    let policy = json!({
        "principal": "arn:aws:iam::123456789012:user/AKIDEXAMPLE",
        "policy": { "Statement": [
            { "Effect": "Allow", "Action": ["s3:GetObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::a-bucket/open/*" },
        ] },
    });
    assert_eq!(send(&fake, "POST", "/_fake/policies", &policy).await.0, 200);
    assert_eq!(get(&fake, "/a-bucket/open/k").await.status, 200);
    for (method, path) in [
        ("GET", "/a-bucket/other"),
        ("PUT", "/a-bucket/open/k"),
        ("GET", "/a-bucket?list-type=2"),
        ("GET", "/a-bucket/open/none"),
        ("HEAD", "/a-bucket"),
    ] {
        assert_eq!(call(&fake, method, path, &[], b"").await.status, 403, "{method} {path}");
    }
    let body = b"<Delete><Object><Key>open/k</Key></Object><Object><Key>other</Key></Object></Delete>";
    let gone = call(&fake, "POST", "/a-bucket?delete", &[], body).await.text();
    assert!(gone.contains("<Deleted><Key>open/k</Key></Deleted>"), "{gone}");
    assert!(gone.contains("<Code>AccessDenied</Code><Key>other</Key>"), "{gone}");
}

#[tokio::test]
async fn faults_strike_and_the_journal_tells() {
    let fake = fake(|_| {}).await;
    put(&fake, "/a-bucket", b"").await;
    put(&fake, "/a-bucket/k", b"hello").await;
    let rule = json!({ "service": "s3", "operation": "GetObject", "resource": "a-bucket", "times": 1, "effect": { "kind": "throttle" } });
    assert_eq!(send(&fake, "POST", "/_fake/faults", &rule).await.0, 200);
    let slow = get(&fake, "/a-bucket/k").await;
    assert_eq!((slow.status, slow.code().as_deref()), (503, Some("SlowDown")));
    let unknown = json!({ "service": "s3", "operation": "Nonsense", "effect": { "kind": "throttle" } });
    assert_eq!(send(&fake, "POST", "/_fake/faults", &unknown).await.0, 400);
    let other = Effect::Error { name: "Teapot".to_owned(), status: Some(418), message: None };
    fake.faults().add(Rule::on("HeadBucket", other).times(1)).unwrap();
    assert_eq!(call(&fake, "HEAD", "/a-bucket", &[], b"").await.status, 418);
    fake.faults().add(Rule::on("GetObject", Effect::Truncate).times(1)).unwrap();
    let torn = get(&fake, "/a-bucket/k").await;
    assert_eq!((torn.header("content-length"), torn.text().as_str()), (Some("5"), "he"));
    fake.faults().add(Rule::on("PutObject", Effect::DropBefore).times(1)).unwrap();
    assert_eq!(put(&fake, "/a-bucket/k", b"other").await.status, 0);
    assert_eq!(get(&fake, "/a-bucket/k").await.text(), "hello");
    let mut entries = fake.journal().query(&Query::default());
    entries.retain(|entry| entry.service == "s3");
    entries.sort_by_key(|entry| entry.number);
    let notes = entries;
    let note =
        |i: usize| (notes[i].operation.as_str(), notes[i].status, notes[i].error.as_deref(), notes[i].fault.is_some());
    assert_eq!(note(1), ("PutObject", 200, None, false));
    assert_eq!(note(2), ("GetObject", 503, Some("SlowDown"), true));
    assert_eq!(notes[1].arguments, json!({ "Bucket": "a-bucket", "Key": "k" }));
    assert_eq!(notes[1].account, "123456789012");
}

#[tokio::test]
async fn a_file_system_is_bound_to_a_bucket_that_exists_and_keeps_versions() {
    let fake = fake(|_| {}).await;
    let bind = |name: &'static str| {
        let fake = &fake;
        async move {
            let body = json!({
                "bucket": format!("arn:aws:s3:::{name}"),
                "roleArn": "arn:aws:iam::123456789012:role/s3files",
            });
            send(fake, "PUT", "/file-systems", &body).await
        }
    };
    // Without any bucket, every name will do.
    assert_eq!(bind("some-bucket").await.0, 201);
    put(&fake, "/a-bucket", b"").await;
    let (status, body) = bind("some-bucket").await;
    assert_eq!((status, body["errorCode"].as_str()), (404, Some("BucketNotFound")));
    let (status, body) = bind("a-bucket").await;
    assert_eq!((status, body["errorCode"].as_str()), (400, Some("ValidationException")));
    assert!(body["message"].as_str().unwrap().contains("Enable versioning"));
    versioned(&fake, "b-bucket").await;
    assert_eq!(bind("b-bucket").await.0, 201);
}

#[tokio::test]
async fn an_object_in_parts_is_put_together_when_all_are_there() {
    let fake = fake(|settings| settings.limits = Limits { bucket_bytes: 30 << 20, ..Limits::default() }).await;
    put(&fake, "/a-bucket", b"").await;
    let begun = call(&fake, "POST", "/a-bucket/big?uploads", &[("x-amz-meta-a", "b")], b"").await.text();
    let id = begun.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 << 20), (2, 5 << 20), (3, 7)] {
        let body = vec![b'0' + number; size];
        let part = put(&fake, &format!("/a-bucket/big?partNumber={number}&uploadId={id}"), &body).await;
        parts.push((number, part.header("etag").unwrap().to_owned()));
    }
    // Nothing is there before.
    assert_eq!(get(&fake, "/a-bucket/big").await.status, 404);
    assert!(get(&fake, "/a-bucket?uploads").await.text().contains(&id));
    let listed = get(&fake, &format!("/a-bucket/big?uploadId={id}&max-parts=2")).await.text();
    assert!(listed.contains("<NextPartNumberMarker>2<") && listed.matches("<Part>").count() == 2, "{listed}");
    let complete = |parts: Vec<(u8, String)>| {
        let (fake, id) = (&fake, &id);
        async move {
            let parts =
                parts.iter().map(|(n, tag)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>"));
            let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
            call(fake, "POST", &format!("/a-bucket/big?uploadId={id}"), &[], body.as_bytes()).await
        }
    };
    let [one, two, three] = parts.clone().try_into().unwrap();
    for (wrong, code) in [
        (vec![two.clone(), one.clone()], "InvalidPartOrder"),
        (vec![one.clone(), (2, "\"other\"".to_owned())], "InvalidPart"),
        (vec![one.clone(), (4, one.1.clone())], "InvalidPart"),
        (vec![(0, one.1.clone())], "InvalidArgument"),
        (vec![], "MalformedXML"),
    ] {
        assert_eq!(complete(wrong).await.code().as_deref(), Some(code));
    }
    put(&fake, &format!("/a-bucket/big?partNumber=2&uploadId={id}"), b"small").await;
    let small = (2, "\"eb5c1399a871211c7e7ed732d15e3a8b\"".to_owned());
    assert_eq!(complete(vec![one.clone(), small, three.clone()]).await.code().as_deref(), Some("EntityTooSmall"));
    let done = complete(vec![one, three]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let got = get(&fake, "/a-bucket/big").await;
    assert_eq!((got.body.len(), got.header("x-amz-meta-a")), ((5 << 20) + 7, Some("b")));
    assert!(got.body.ends_with(b"13333333") && got.header("etag").unwrap().ends_with("-2\""));
    let second = get(&fake, "/a-bucket/big?partNumber=2").await;
    assert_eq!(
        (second.status, second.text().as_str(), second.header("x-amz-mp-parts-count")),
        (206, "3333333", Some("2"))
    );
    assert_eq!(get(&fake, "/a-bucket/big?partNumber=3").await.code().as_deref(), Some("InvalidPartNumber"));
    assert_eq!(complete(parts).await.code().as_deref(), Some("NoSuchUpload"));
    // What was not chosen is gone, and so is what is aborted.
    assert!(fake.world().buckets().bytes() < (5 << 20) + 5000);
    let begun = call(&fake, "POST", "/a-bucket/other?uploads", &[], b"").await.text();
    let id = begun.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let copied = [("x-amz-copy-source", "/a-bucket/big"), ("x-amz-copy-source-range", "bytes=5242879-5242881")];
    let path = format!("/a-bucket/other?partNumber=1&uploadId={id}");
    let part = call(&fake, "PUT", &path, &copied, b"").await;
    assert!(part.text().contains("<ETag>"), "{}", part.text());
    let beyond = [copied[0], ("x-amz-copy-source-range", "bytes=0-99999999")];
    assert_eq!(call(&fake, "PUT", &path, &beyond, b"").await.code().as_deref(), Some("InvalidArgument"));
    assert_eq!(call(&fake, "DELETE", &format!("/a-bucket/other?uploadId={id}"), &[], b"").await.status, 204);
    assert_eq!(put(&fake, &path, b"x").await.code().as_deref(), Some("NoSuchUpload"));
}

#[tokio::test]
async fn files_and_objects_are_the_same_after_their_delay() {
    let fake = fake(|settings| settings.clock = Arc::new(SystemClock::default())).await;
    versioned(&fake, "a-bucket").await;
    put(&fake, "/a-bucket/data/k", b"hello").await;
    put(&fake, "/a-bucket/data/large", &vec![b'x'; 200_000]).await;
    let body = json!({
        "bucket": "arn:aws:s3:::a-bucket",
        "prefix": "data/",
        "roleArn": "arn:aws:iam::123456789012:role/s3files",
    });
    let (_, made) = send(&fake, "PUT", "/file-systems", &body).await;
    let id = FileSystemId::parse(made["fileSystemId"].as_str().unwrap()).unwrap();
    let files = fake.world().files(&id).unwrap();
    let root = files.root();
    let text = |name: &[u8]| {
        let mut out = Vec::new();
        files.read(files.lookup(root, name).unwrap(), 0, 1 << 20, &mut out).unwrap();
        out
    };
    assert_eq!(text(b"k"), b"hello");
    assert_eq!(text(b"large").len(), 200_000);
    files.write(files.lookup(root, b"k").unwrap(), 0, b"jelly").unwrap();
    let (_, state) = get_json(&fake, "/_fake/state", &[]).await;
    assert_eq!(state["pending_exports"][id.as_str()], json!({ "changed": 1, "removed": 0 }));
    assert_eq!(
        (&state["buckets"][0]["name"], &state["buckets"][0]["versioning"]),
        (&json!("a-bucket"), &json!("enabled"))
    );
    let page = page(&fake).await;
    let table = page.split("<section id=\"buckets\"").nth(1).expect("a table of buckets");
    let table = table.split("</section>").next().unwrap();
    assert!(table.contains("a-bucket") && table.contains(id.as_str()), "{table}");
    assert_eq!(get(&fake, "/a-bucket/data/k").await.text(), "hello");
    let later = json!({ "advance_seconds": 60 });
    assert_eq!(send(&fake, "POST", "/_fake/clock", &later).await.0, 200);
    assert_eq!(fake.world().pending_exports(&id), Some((0, 0)));
    let got = get(&fake, "/a-bucket/data/k").await;
    assert_eq!((got.text().as_str(), got.header("x-amz-meta-file-permissions")), ("jelly", Some("0644")));
    // Without a delay, the next look at the bucket shows it.
    assert_eq!(send(&fake, "PUT", "/_fake/delays", &json!({ "bucket_export": 0 })).await.0, 200);
    files.write(files.lookup(root, b"k").unwrap(), 0, b"belly").unwrap();
    assert_eq!(get(&fake, "/a-bucket/data/k").await.text(), "belly");
    // And what is put is there at once.
    put(&fake, "/a-bucket/data/k", b"put").await;
    assert_eq!(text(b"k"), b"put");
    call(&fake, "DELETE", "/a-bucket/data/k", &[], b"").await;
    assert!(files.lookup(root, b"k").is_err());
    assert_eq!(send(&fake, "DELETE", &format!("/file-systems/{id}"), &json!({})).await.0, 204);
    assert_eq!(get(&fake, "/a-bucket/data/large").await.status, 200, "objects stay");
}
