//! AWS's own recipe with other people's programs: a certificate made and signed by the openssl command line, stunnel as the TLS
//! client, and the nfs-rs crate behind it. Nothing of it shares code with the server that it meets.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fake_efs::identities::{Credential, Signatures};
use fake_efs::journal::Query;
use fake_efs::world::scope::{Requester, Scope};
use fake_efs::{FakeEfs, Instance};
use nfs_rs::{Mount, NfsError, OPEN_READ, parse_url_and_mount, write_all};
use serde_json::json;

const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const USER: &str = "arn:aws:iam::123456789012:user/mounter";
const REGION: &str = "us-east-1";

/// Whether the programs are here. They are Debian packages, and no other machine's business.
fn has_programs() -> bool {
    for (program, package) in [("stunnel4", "stunnel4"), ("openssl", "openssl")] {
        if Command::new(program)
            .arg("version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            assert!(std::env::var_os("REQUIRE_ALL").is_none(), "can't run: {program} is not installed");
            println!("SKIP {program} is not installed (Debian package {package})");
            return false;
        }
    }
    true
}

/// Runs openssl with some input and gives its output.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let mut process =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let key = format!("hexkey:{}", hex::encode(key));
    openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"], message.as_bytes())
}

fn sha256(message: &str) -> String {
    hex::encode(openssl(&["dgst", "-sha256", "-binary"], message.as_bytes()))
}

/// A file system with a mount target and an access point.
struct Scene {
    fake: Instance,
    folder: tempfile::TempDir,
    file_system: String,
    access_point: String,
    mount_target: SocketAddr,
}

impl Scene {
    async fn set() -> Self {
        let fake = FakeEfs::builder().signatures(Signatures::Checked).start().await.unwrap();
        fake.identities().add_key(Credential {
            access_key_id: KEY_ID.to_owned(),
            secret: SECRET.to_owned(),
            session_token: None,
            expires: None,
            account: "123456789012".to_owned(),
            principal: USER.to_owned(),
        });
        let (world, root) = (fake.world(), Requester::root(Scope::new("123456789012", REGION)));
        let made = world.create_file_system(&root, serde_json::from_value(json!({"CreationToken": "t"})).unwrap());
        let file_system = made.unwrap().row.id.to_string();
        let target = json!({"FileSystemId": file_system, "SubnetId": "subnet-01234567"});
        let target = world.create_mount_target(&root, serde_json::from_value(target).unwrap()).unwrap();
        let point = json!({
            "FileSystemId": file_system, "ClientToken": "t", "PosixUser": {"Uid": 1234, "Gid": 5678},
            "RootDirectory": {"Path": "/data", "CreationInfo": {"OwnerUid": 1234, "OwnerGid": 5678, "Permissions": "0750"}},
        });
        let point = world.create_access_point(&root, serde_json::from_value(point).unwrap()).unwrap();
        let mount_target = SocketAddr::new(target.address.unwrap(), fake.nfs_addr().port());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), fake.ca_pem()).unwrap();
        let access_point = point.id.to_string();
        Self { fake, folder, file_system, access_point, mount_target }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a certificate as AWS's mount helper does, signed with a secret.
    fn certify(&self, secret: &str) -> PathBuf {
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa-3072.pem");
        let key = key.to_str().unwrap();
        let public = openssl(&["rsa", "-in", key, "-RSAPublicKey_out", "-outform", "DER"], b"");
        let public_hash = hex::encode(openssl(&["dgst", "-sha1", "-binary"], &public));
        let now = jiff::Timestamp::now();
        let (date, time) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
        let scope = format!("{date}/{REGION}/elasticfilesystem/aws4_request");
        let query = format!(
            "Action=Connect&PublicKeyHash={public_hash}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F{}\
             &X-Amz-Date={time}&X-Amz-Expires=86400&X-Amz-SignedHeaders=host",
            scope.replace('/', "%2F")
        );
        let canonical = format!("GET\n/\n{query}\nhost:{}\nhost\n{}", self.file_system, sha256(""));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&canonical));
        let parts = [&date, REGION, "elasticfilesystem", "aws4_request", &to_sign];
        let signature =
            hex::encode(parts.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part)));
        let config = format!(
            "[req]\nprompt=no\ndistinguished_name=subject\n[subject]\nCN={fs}.efs.{REGION}.amazonaws.com\n\
             [extensions]\nsubjectKeyIdentifier=hash\n\
             1.3.6.1.4.1.4843.7.1=ASN1:UTF8String:{point}\n\
             1.3.6.1.4.1.4843.7.2=ASN1:SEQUENCE:client_auth\n\
             1.3.6.1.4.1.4843.7.3=ASN1:UTF8String:{fs}\n\
             1.3.6.1.4.1.4843.7.4=ASN1:SEQUENCE:client_info\n\
             [client_auth]\naccess_key=UTF8String:{KEY_ID}\nsignature=OCTETSTRING:{signature}\nsigned_at=UTCTIME:{utc}\n\
             [client_info]\nsource=UTF8String:stunnel-test\nversion=UTF8String:1\n",
            fs = self.file_system,
            point = self.access_point,
            utc = now.strftime("%y%m%d%H%M%SZ"),
        );
        let (config_file, certificate) = (self.path("openssl.cnf"), self.path("certificate.pem"));
        std::fs::write(&config_file, config).unwrap();
        let (config_file, out) = (config_file.to_str().unwrap(), certificate.to_str().unwrap());
        let request = ["req", "-new", "-x509", "-sha256", "-days", "1", "-key", key, "-config", config_file];
        openssl(&[&request[..], &["-extensions", "extensions", "-out", out]].concat(), b"");
        let config = format!(
            "foreground = quiet\nclient = yes\npid =\nconnect = {target}\ncert = {out}\nkey = {key}\nCAfile = {ca}\n\
             verifyChain = yes\ncheckHost = {fs}.efs.{REGION}.amazonaws.com\nTIMEOUTclose = 0\n",
            target = self.mount_target,
            ca = self.path("ca.pem").display(),
            fs = self.file_system,
        );
        let stunnel = self.path("stunnel.conf");
        std::fs::write(&stunnel, config).unwrap();
        stunnel
    }
}

/// Gives every connection to a port of its own to an stunnel, as inetd would; ends them when dropped.
struct Tunnel {
    port: u16,
    children: Arc<Mutex<Vec<Child>>>,
}

impl Tunnel {
    fn open(config: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let children: Arc<Mutex<Vec<Child>>> = Arc::default();
        let served = Arc::clone(&children);
        // Ends with the process: nothing connects to it any more.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (input, output) = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
                let child =
                    Command::new("stunnel4").arg(&config).stdin(input).stdout(output).stderr(Stdio::null()).spawn();
                served.lock().unwrap().push(child.unwrap());
            }
        });
        Self { port, children }
    }

    async fn mount(&self) -> Result<Box<dyn Mount>, NfsError> {
        // What the client says about itself does not count: the access point's user does.
        parse_url_and_mount(&format!("nfs://127.0.0.1/?version=4.1&nfsport={}&noresvport=true&uid=0&gid=0", self.port))
            .await
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for child in self.children.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn last_connect(fake: &Instance) -> fake_efs::journal::Entry {
    let query = Query { operation: Some("Connect".to_owned()), ..Query::default() };
    fake.journal().query(&query).pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stunnel_with_a_certificate_by_openssl_is_known_and_served() {
    if !has_programs() {
        return;
    }
    let scene = Scene::set().await;
    let tunnel = Tunnel::open(scene.certify(SECRET));
    let mount = tunnel.mount().await.unwrap();
    let data: Bytes = (0..2_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let made = mount.create_path("f", Some(0o640)).await.unwrap();
    write_all(&*mount, made.fh.clone(), 0, data.clone()).await.unwrap();
    mount.close(made.fh).await.unwrap();
    let opened = mount.open_path("f", OPEN_READ).await.unwrap();
    let (mut read, size) = (Vec::new(), mount.get_max_read_size());
    while read.len() < data.len() {
        let part = mount.read(opened.fh.clone(), read.len() as u64, size).await.unwrap();
        assert!(!part.is_empty());
        read.extend_from_slice(&part);
    }
    assert!(read == data);
    let attributes = mount.getattr(opened.fh.clone()).await.unwrap();
    assert_eq!((attributes.uid, attributes.gid), (1234, 5678));
    mount.close(opened.fh).await.unwrap();
    mount.umount().await.unwrap();

    let connect = last_connect(&scene.fake);
    assert_eq!((connect.principal.as_str(), connect.error), (USER, None));
    assert_eq!(connect.arguments["AccessPointId"], scene.access_point);
    assert_eq!(connect.arguments["Client"], "stunnel-test/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_signed_with_another_secret_is_refused() {
    if !has_programs() {
        return;
    }
    let scene = Scene::set().await;
    let tunnel = Tunnel::open(scene.certify("another-secret"));
    assert!(tunnel.mount().await.is_err());
    let connect = last_connect(&scene.fake);
    assert!(connect.error.unwrap().contains("signature does not match"));
}
