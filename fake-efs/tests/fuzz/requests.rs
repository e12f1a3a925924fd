//! HTTP requests: every address of every service with broken labels, queries, bodies and headers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fake_efs::{FakeEfs, Instance};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::mutation::{bytes, mutate, one};
use super::rounds::run;

/// The addresses of the EFS API with a body that fits; `{}` stands for an id.
const EFS: [(&str, &str, &str); 31] = [
    (
        "POST",
        "/file-systems",
        r#"{"CreationToken":"t","Encrypted":true,"Tags":[{"Key":"k","Value":"v"}],"Backup":false}"#,
    ),
    ("GET", "/file-systems?MaxItems=2&Marker=m&CreationToken=t&FileSystemId={}", ""),
    ("PUT", "/file-systems/{}", r#"{"ThroughputMode":"provisioned","ProvisionedThroughputInMibps":1.5}"#),
    ("PUT", "/file-systems/{}/protection", r#"{"ReplicationOverwriteProtection":"DISABLED"}"#),
    ("DELETE", "/file-systems/{}", ""),
    ("POST", "/file-systems/{}/replication-configuration", r#"{"Destinations":[{"Region":"us-west-2"}]}"#),
    ("GET", "/file-systems/replication-configurations?FileSystemId={}&MaxResults=1&NextToken=n", ""),
    ("DELETE", "/file-systems/{}/replication-configuration?deletionMode=ALL_CONFIGURATIONS", ""),
    (
        "POST",
        "/access-points",
        r#"{"ClientToken":"t","FileSystemId":"{}","PosixUser":{"Uid":1,"Gid":2,"SecondaryGids":[3]},"RootDirectory":{"Path":"/a","CreationInfo":{"OwnerUid":1,"OwnerGid":2,"Permissions":"0755"}}}"#,
    ),
    ("GET", "/access-points?MaxResults=1&NextToken=n&FileSystemId={}&AccessPointId={}", ""),
    ("DELETE", "/access-points/{}", ""),
    (
        "POST",
        "/mount-targets",
        r#"{"FileSystemId":"{}","SubnetId":"subnet-01234567","IpAddress":"10.0.0.9","SecurityGroups":["sg-01234567"]}"#,
    ),
    ("GET", "/mount-targets?MaxItems=1&Marker=m&FileSystemId={}&MountTargetId={}&AccessPointId={}", ""),
    ("DELETE", "/mount-targets/{}", ""),
    ("GET", "/mount-targets/{}/security-groups", ""),
    ("PUT", "/mount-targets/{}/security-groups", r#"{"SecurityGroups":["sg-01234567"]}"#),
    ("POST", "/resource-tags/{}", r#"{"Tags":[{"Key":"k","Value":"v"}]}"#),
    ("DELETE", "/resource-tags/{}?tagKeys=a&tagKeys=b", ""),
    ("GET", "/resource-tags/{}?MaxResults=1&NextToken=n", ""),
    ("POST", "/create-tags/{}", r#"{"Tags":[{"Key":"k","Value":"v"}]}"#),
    ("POST", "/delete-tags/{}", r#"{"TagKeys":["k"]}"#),
    ("GET", "/tags/{}/?MaxItems=1&Marker=m", ""),
    ("PUT", "/file-systems/{}/lifecycle-configuration", r#"{"LifecyclePolicies":[{"TransitionToIA":"AFTER_7_DAYS"}]}"#),
    ("GET", "/file-systems/{}/lifecycle-configuration", ""),
    (
        "PUT",
        "/file-systems/{}/policy",
        r#"{"Policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"true\"}}}}"}"#,
    ),
    ("GET", "/file-systems/{}/policy", ""),
    ("DELETE", "/file-systems/{}/policy", ""),
    ("PUT", "/file-systems/{}/backup-policy", r#"{"BackupPolicy":{"Status":"ENABLED"}}"#),
    ("GET", "/file-systems/{}/backup-policy", ""),
    ("PUT", "/account-preferences", r#"{"ResourceIdType":"LONG_ID"}"#),
    ("GET", "/account-preferences?MaxResults=1&NextToken=n", ""),
];

/// The fake's own API. Fault rules stay away: they would be found everywhere.
const ADMIN: [(&str, &str, &str); 10] = [
    ("GET", "/_fake/journal?after=1&limit=2&service=efs&mentions={}", ""),
    ("DELETE", "/_fake/faults/{}", ""),
    ("POST", "/_fake/faults/{}/enable", ""),
    ("GET", "/_fake/{}", ""),
    ("POST", "/_fake/clock", r#"{"advance_seconds":1.5}"#),
    ("PUT", "/_fake/delays", r#"{"file_system_create":0}"#),
    ("POST", "/_fake/keys", r#"{"access_key_id":"AKID","secret_access_key":"s","account":"123456789012"}"#),
    ("POST", "/_fake/roles", r#"{"arn":"arn:aws:iam::123456789012:role/r","external_id":"x"}"#),
    (
        "POST",
        "/_fake/pod-associations",
        r#"{"namespace":"n","service_account":"a","role":"arn:aws:iam::123456789012:role/r"}"#,
    ),
    ("DELETE", "/_fake/journal", ""),
];

/// What is on the machine, STS, and the console.
const OTHERS: [(&str, &str, &str); 11] = [
    ("PUT", "/latest/api/token", ""),
    ("GET", "/latest/meta-data/iam/security-credentials/{}", ""),
    ("GET", "/v1/credentials", ""),
    ("POST", "/", "Action=AssumeRole&RoleArn=arn:aws:iam::123456789012:role/r&RoleSessionName=s&DurationSeconds=900"),
    (
        "POST",
        "/",
        "Action=AssumeRoleWithWebIdentity&RoleArn=arn:aws:iam::123456789012:role/r&RoleSessionName=s&WebIdentityToken=e30.e30.x",
    ),
    ("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", ""),
    ("PATCH", "/{}", ""),
    ("GET", "/?file-system={}&access-point={}&text={}&calls-from=1&outcome=errors", ""),
    ("GET", "/?file-system={}&directory={}/{}&after=1", ""),
    ("GET", "/?connection={}&service={}", ""),
    ("GET", "/?directory={}&access-points-from={}", ""),
];

/// Things to put in the place of an id, percent-encoded.
const IDS: [&str; 16] = [
    "",
    "fs-0123456789abcdef0",
    "fs-01234567",
    "fsap-0123456789abcdef0",
    "fsmt-01234567",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%00",
    "%ff%fe",
    "%",
    "%zz",
    "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system%2ffs-0123456789abcdef0",
    "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point%2F",
    "replication-configurations",
    "%F0%9F%98%80",
    "18446744073709551616",
];

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One connection, kept as long as the server keeps it.
pub(crate) struct Caller {
    pub(crate) address: String,
    pub(crate) stream: Option<TcpStream>,
}

impl Caller {
    /// Sends a request; `None` if the server closed without an answer. A kept connection may have been closed before: then the
    /// request goes over a new one, as every client of HTTP does it.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Option<Answer> {
        let kept = self.stream.is_some();
        let answer = self.ask_once(request);
        if answer.is_none() && kept { self.ask_once(request) } else { answer }
    }

    fn ask_once(&mut self, request: &[u8]) -> Option<Answer> {
        let stream = self.stream.get_or_insert_with(|| {
            let stream = TcpStream::connect(&self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        });
        // An early answer closes the connection before all of a long body is sent.
        let _ = stream.write_all(request);
        let (mut received, mut piece) = (Vec::new(), [0; 16 << 10]);
        let mut read = |received: &mut Vec<u8>| {
            let count = stream.read(&mut piece).unwrap_or_else(|error| {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no answer: {error}");
                0
            });
            received.extend_from_slice(&piece[..count]);
            count > 0
        };
        let at = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !read(&mut received) {
                self.stream = None;
                return None;
            }
        };
        let head = String::from_utf8(received[..at].to_vec()).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let mut answer = Answer { status, head, body: received.split_off(at + 4) };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let head_only = request.starts_with(b"HEAD ");
        while !head_only && answer.body.len() < length && read(&mut answer.body) {}
        assert!(head_only || answer.body.len() == length, "{} bytes of {length}", answer.body.len());
        if answer.header("connection") == Some("close") {
            self.stream = None;
        }
        Some(answer)
    }
}

/// A value of any type.
fn value(rng: &mut StdRng, depth: u32) -> Value {
    match rng.random_range(0..if depth > 3 { 8 } else { 10 }) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(one(rng, &[0, -1, 1, i64::MAX, i64::MIN, 4_294_967_296])),
        3 => json!(u64::MAX),
        4 => json!(one(rng, &[0.5, -0.0, 1e308, 1e-308])),
        5 => json!(""),
        6 => json!("x".repeat(rng.random_range(0..3000))),
        7 => json!(one(rng, &["../../etc/passwd", "\u{0}", "\u{feff}", "fs-01234567", "//", "é\n\t"])),
        8 => (0..rng.random_range(0..4)).map(|_| value(rng, depth + 1)).collect(),
        _ => {
            (0..rng.random_range(0..4)).map(|n| (format!("m{n}"), value(rng, depth + 1))).collect::<Map<_, _>>().into()
        }
    }
}

/// Replaces members of a body, adds unknown ones and takes others away.
fn change(rng: &mut StdRng, body: &mut Value) {
    match body {
        Value::Object(members) if !members.is_empty() && rng.random_bool(0.8) => {
            let index = rng.random_range(0..members.len());
            let name = members.keys().nth(index).cloned().unwrap();
            match rng.random_range(0..5) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert("Unknown".to_owned(), value(rng, 0))),
                2 => drop(members.insert(name, value(rng, 0))),
                _ => change(rng, members.get_mut(&name).unwrap()),
            }
        }
        Value::Array(items) if !items.is_empty() && rng.random_bool(0.8) => {
            let index = rng.random_range(0..items.len());
            if rng.random_bool(0.2) {
                let copies = vec![items[index].clone(); rng.random_range(1..200)];
                items.extend(copies);
            } else {
                change(rng, &mut items[index]);
            }
        }
        other => *other = value(rng, 0),
    }
}

fn body(rng: &mut StdRng, template: &str) -> Vec<u8> {
    let mut text = template.as_bytes().to_vec();
    match rng.random_range(0..12) {
        0..=1 => {}
        2..=6 => {
            if let Ok(mut parsed) = serde_json::from_slice::<Value>(&text) {
                for _ in 0..rng.random_range(1..4) {
                    change(rng, &mut parsed);
                }
                text = parsed.to_string().into_bytes();
            }
        }
        7..=8 => mutate(rng, &mut text, 0),
        9 => text = bytes(rng, 300),
        10 => {
            let piece = one(rng, &["[", "{\"a\":", "\"", "1e9"]);
            text = piece.repeat(rng.random_range(1..3000)).into_bytes();
        }
        // Too large, now and then.
        _ if rng.random_bool(0.05) => text = vec![b' '; (1 << 20) + 1],
        _ => text = [&b"\xef\xbb\xbf"[..], &text].concat(),
    }
    text
}

/// A path with its ids filled in and its query disturbed.
fn target(rng: &mut StdRng, template: &str, known: &[String]) -> String {
    let mut path = String::new();
    for (index, piece) in template.split("{}").enumerate() {
        if index > 0 {
            match rng.random_range(0..10) {
                0..=4 if !known.is_empty() => path.push_str(&one(rng, known)),
                9 => path.push_str(&"a".repeat(rng.random_range(100..5000))),
                _ => path.push_str(one(rng, &IDS)),
            }
        }
        path.push_str(piece);
    }
    if rng.random_bool(0.3) {
        let extra = ["&", "=", "&&==&", "&x=%ff", "&MaxItems=-1", "&MaxResults=99999999999999999999", "&MaxItems=1.5"];
        let more = ["&Marker=%00", "&NextToken=AAAA", "&FileSystemId=", "&tagKeys=", "&%ff=%ff", "&+=+", "&a=%"];
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(if rng.random() { one(rng, &extra) } else { one(rng, &more) });
    }
    path
}

/// A whole request.
fn request(rng: &mut StdRng, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let method = if rng.random_bool(0.05) { one(rng, &["HEAD", "OPTIONS", "PATCH", "TRACE", "X"]) } else { method };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n", body.len());
    let headers = [
        "authorization: AWS4-HMAC-SHA256 garbage",
        "authorization: AWS4-HMAC-SHA256 Credential=////, SignedHeaders=, Signature=",
        "authorization: AWS4-HMAC-SHA256 Credential=AKID/20200101/nowhere/elasticfilesystem/aws4_request, SignedHeaders=host, Signature=0",
        "authorization: Bearer \u{e9}",
        "content-type: text/plain",
        "x-aws-ec2-metadata-token: 7fffffffffffffff-",
        "x-aws-ec2-metadata-token-ttl-seconds: 99999999999999999999",
        "accept: application/json",
    ];
    if rng.random_bool(0.5) {
        head.push_str(one(rng, &headers));
        head.push_str("\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// An error is in AWS's shape: the name in header and body, and a message.
fn check(method_and_path: &str, answer: &Answer) {
    let Answer { status, head, body } = answer;
    assert!(*status < 500, "{method_and_path}: {head}\n{}", String::from_utf8_lossy(body));
    let is_efs = method_and_path.contains(" /2015-02-01") || method_and_path.contains(" /_fake");
    if !is_efs {
        return;
    }
    assert!(answer.header("x-amzn-requestid").is_some(), "{method_and_path}: {head}");
    if method_and_path.starts_with("HEAD") {
        return;
    }
    if *status < 300 {
        assert!(body.is_empty() || serde_json::from_slice::<Value>(body).is_ok(), "{method_and_path}: {head}");
        return;
    }
    let shown: Value =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{method_and_path}: {error}: {head}"));
    let name = shown["ErrorCode"].as_str().unwrap_or_else(|| panic!("{method_and_path}: {shown}"));
    assert_eq!(answer.header("x-amzn-errortype"), Some(name), "{method_and_path}");
    assert!(shown["Message"].is_string(), "{method_and_path}: {shown}");
}

fn start() -> Instance {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| runtime.block_on(FakeEfs::builder().start())).unwrap()
}

/// Ids that exist.
fn known(caller: &mut Caller) -> Vec<String> {
    let mut post = |path: &str, body: String| {
        let head = format!("POST /2015-02-01{path} HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n\r\n", body.len());
        let answer = caller.ask(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let mut ids = Vec::new();
    for n in 0..3 {
        let fs = post("/file-systems", format!(r#"{{"CreationToken":"fuzz{n}"}}"#));
        let fs = fs["FileSystemId"].as_str().unwrap().to_owned();
        let point = post("/access-points", format!(r#"{{"ClientToken":"fuzz{n}","FileSystemId":"{fs}"}}"#));
        let target = post("/mount-targets", format!(r#"{{"FileSystemId":"{fs}","SubnetId":"subnet-0123456{n}"}}"#));
        for made in [&point["AccessPointId"], &target["MountTargetId"]] {
            ids.push(made.as_str().unwrap().to_owned());
        }
        ids.push(fs);
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_requests() {
    run("requests", 60, |rng| {
        let fake = start();
        let address = fake.http_url().trim_start_matches("http://").to_owned();
        let mut caller = Caller { address, stream: None };
        let known = known(&mut caller);
        for _ in 0..300 {
            let (prefix, (method, path, template)) = match rng.random_range(0..10) {
                0 => ("", one(rng, &ADMIN)),
                1 => ("", one(rng, &OTHERS)),
                _ => ("/2015-02-01", one(rng, &EFS)),
            };
            let path = target(rng, &format!("{prefix}{path}"), &known);
            let template = template.replace("{}", &one(rng, &known));
            let body = body(rng, &template);
            let request = request(rng, method, &path, &body);
            let shown = String::from_utf8_lossy(&request[..request.len().min(400)]).into_owned();
            match caller.ask(&request) {
                // HTTP's own parser has no words for what is not HTTP.
                Some(answer) if answer.status == 400 && answer.header("x-amzn-requestid").is_none() => {}
                Some(answer) => check(&shown, &answer),
                None => assert!(body.len() > 1 << 20, "closed without an answer: {shown}"),
            }
        }
        let alive = caller.ask(b"GET /2015-02-01/file-systems HTTP/1.1\r\nhost: fake\r\n\r\n").unwrap();
        assert_eq!(alive.status, 200, "no longer served");
        300
    });
}
