//! Clients that others wrote: the nfs-rs crate over 4.1 and 4.0, and a TLS client with an EFS certificate.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

#[path = "wire/server.rs"]
mod server;

use std::sync::Arc;

use bytes::Bytes;
use fake_efs::store::{NewBody, NewNode};
use futures::StreamExt;
use nfs_rs::{OPEN_BOTH, OPEN_READ, parse_url_and_mount, write_all};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use server::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion, version};

async fn exercise(running: &Running, version: &str) {
    let port = running.address.port();
    let url = format!("nfs://127.0.0.1/?version={version}&nfsport={port}&noresvport=true&uid=0&gid=0");
    let mount = parse_url_and_mount(&url).await.unwrap();
    let data: Bytes = (0..3_000_000u32).map(|n| (n % 253) as u8).collect::<Vec<_>>().into();
    mount.mkdir_path("d", 0o755).await.unwrap();
    let made = mount.create_path("d/f", Some(0o640)).await.unwrap();
    write_all(&*mount, made.fh.clone(), 0, data.clone()).await.unwrap();
    mount.close(made.fh).await.unwrap();
    let opened = mount.open_path("d/f", OPEN_READ).await.unwrap();
    let (mut read, size) = (Vec::new(), mount.get_max_read_size());
    while read.len() < data.len() {
        let part = mount.read(opened.fh.clone(), read.len() as u64, size).await.unwrap();
        assert!(!part.is_empty());
        read.extend_from_slice(&part);
    }
    assert!(read == data);
    let attributes = mount.getattr(opened.fh.clone()).await.unwrap();
    assert_eq!((attributes.filesize, attributes.file_mode & 0o7777, attributes.nlink), (3_000_000, 0o640, 1));
    mount.close(opened.fh).await.unwrap();
    mount.symlink_path("d/f", "s").await.unwrap();
    assert_eq!(mount.readlink_path("s").await.unwrap(), "d/f");
    mount.rename_path("d/f", "moved").await.unwrap();
    mount.link_path("moved", "d/hard").await.unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut entries = mount.readdir_path("/").await.unwrap();
    while let Some(entry) = entries.next().await {
        names.push(entry.unwrap().file_name);
    }
    drop(entries);
    names.retain(|name| name != "." && name != "..");
    names.sort();
    assert_eq!(names, ["d", "moved", "s"]);
    let locked = mount.open_path_stateful("moved", OPEN_BOTH).await.unwrap();
    let token = mount.lock_open_stateful(&locked, 2, 0, 10).await.unwrap();
    mount.unlock_stateful(token).await.unwrap();
    mount.close_stateful(locked).await.unwrap();
    for path in ["d/hard", "moved", "s"] {
        mount.remove_path(path).await.unwrap();
    }
    mount.rmdir_path("d").await.unwrap();
    assert!(mount.lookup_path("d").await.is_err());
    mount.umount().await.unwrap();
}

#[tokio::test]
async fn nfs_rs_works_over_4_1() {
    let running = tokio::task::spawn_blocking(Running::memory).await.unwrap();
    exercise(&running, "4.1").await;
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
}

#[tokio::test]
async fn nfs_rs_works_over_4_0() {
    let running = tokio::task::spawn_blocking(Running::memory).await.unwrap();
    exercise(&running, "4.0").await;
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
}

/// libnfs speaks 4.0 only. Its programs are a Debian package (`libnfs-utils`) that nothing here installs.
#[test]
fn libnfs_s_programs_work_over_4_0() {
    use std::process::Command;

    let running = Running::memory();
    let url = |path: &str| format!("nfs://127.0.0.1{path}?version=4&nfsport={}", running.address.port());
    // The programs take what is before the last slash for the export, which can't be empty.
    let store = running.store();
    let node = NewNode { body: NewBody::Directory, mode: 0o777, uid: 0, gid: 0 };
    store.create(store.root(), b"d", &node).unwrap();
    let local = tempfile::TempDir::new().unwrap();
    let data: Vec<u8> = (0..700_000u32).map(|n| (n % 249) as u8).collect();
    // Version 4.0.0 can't encode a WRITE of more than a few KiB: it gives up before it sends anything.
    std::fs::write(local.path().join("f"), &data[..1000]).unwrap();
    let copied = match Command::new("nfs-cp").arg(local.path().join("f")).arg(url("/d/copied")).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIP nfs-cp is not installed (Debian package libnfs-utils)");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(copied.status.success(), "{copied:?}");
    let listed = Command::new("nfs-ls").arg(url("/d")).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("copied") && text.contains("1000"), "{text}");
    let copied = store.lookup(store.lookup(store.root(), b"d").unwrap(), b"copied").unwrap();
    let mut contents = Vec::new();
    store.read(copied, 0, 2000, &mut contents).unwrap();
    assert!(contents == data[..1000]);
    store.write(copied, 0, &data).unwrap();
    let read = Command::new("nfs-cat").arg(url("/d/copied")).output().unwrap();
    assert!(read.stdout == data, "{} bytes, {}", read.stdout.len(), String::from_utf8_lossy(&read.stderr));
}

fn utf8(text: &str) -> Vec<u8> {
    [&[0x0c, text.len() as u8], text.as_bytes()].concat()
}

/// A client configuration that trusts the server and speaks one version of TLS.
fn trusting(
    running: &Running,
    only: &'static SupportedProtocolVersion,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(running.authority.pem().as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[only])
        .unwrap()
        .with_root_certificates(roots)
}

/// One whose certificate names a file system and an access point, or without a certificate.
fn client(running: &Running, certificate: bool, only: &'static SupportedProtocolVersion) -> ClientConfig {
    let builder = trusting(running, only);
    if !certificate {
        return builder.with_no_client_auth();
    }
    with_certificate(builder, &[(3, utf8("fs-test")), (1, utf8("fsap-0123456789abcdef0"))])
}

/// The same with extensions of EFS.
fn with_certificate(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    extensions: &[(u64, Vec<u8>)],
) -> ClientConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    for (last, content) in extensions.iter().cloned() {
        let oid = [1, 3, 6, 1, 4, 1, 4843, 7, last];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, content));
    }
    let chain = vec![params.self_signed(&key).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    builder.with_client_auth_cert(chain, key).unwrap()
}

/// One NULL call over TLS; the first words of the reply.
async fn call(running: &Running, config: ClientConfig) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(running.address).await?;
    let name = ServerName::try_from("fs-test.efs.us-east-1.amazonaws.com").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let mut null = 0x8000_0028_u32.to_be_bytes().to_vec();
    for word in [7u32, 0, 2, 100_003, 4, 0, 0, 0, 0, 0] {
        null.extend_from_slice(&word.to_be_bytes());
    }
    stream.write_all(&null).await?;
    let mut reply = vec![0; 28];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

#[tokio::test]
async fn tls_clients_are_known_by_their_certificates() {
    let running = tokio::task::spawn_blocking(Running::memory).await.unwrap();
    for version in [&version::TLS12, &version::TLS13] {
        for certificate in [true, false] {
            let reply = call(&running, client(&running, certificate, version)).await.unwrap();
            assert_eq!(reply[4..12], [0, 0, 0, 7, 0, 0, 0, 1]);
            let callers = running.callers();
            let claims = callers.last().unwrap().certificate.as_ref();
            let named = claims.map(|claims| (claims.file_system_id.as_str(), claims.access_point_id.as_deref()));
            assert_eq!(named, certificate.then_some(("fs-test", Some("fsap-0123456789abcdef0"))));
        }
    }
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
}

/// Who asks for an access point in a way that can't be read must not get the whole file system instead.
#[tokio::test]
async fn a_certificate_that_can_not_be_read_is_admitted_to_nothing() {
    let running = tokio::task::spawn_blocking(Running::memory).await.unwrap();
    let (fs, point) = ((3, utf8("fs-test")), utf8("fsap-0123456789abcdef0"));
    let ia5 = [&[0x16], &point[1..]].concat();
    let trailing = [&point[..], &[0, 0]].concat();
    for (extensions, admitted) in [
        (vec![fs.clone(), (1, point.clone())], true),
        (vec![(9, utf8("something else"))], true),
        (vec![fs.clone(), (1, ia5)], false),
        (vec![fs.clone(), (1, trailing)], false),
        (vec![(1, point)], false),
        (vec![fs.clone(), (2, utf8("junk"))], false),
        (vec![fs.clone(), (2, Vec::new())], false),
    ] {
        let before = running.callers().len();
        let config = with_certificate(trusting(&running, &version::TLS13), &extensions);
        call(&running, config).await.unwrap();
        assert_eq!(running.callers().len() > before, admitted, "{extensions:?}");
    }
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
}

#[tokio::test]
async fn faults_of_the_handshake_are_what_a_client_sees() {
    use fake_efs::nfs::{WireEffect, WireFault};
    use fake_efs::tls::ServerFlaw;

    let running = tokio::task::spawn_blocking(Running::memory).await.unwrap();
    let attempt = || call(&running, client(&running, true, &version::TLS13));
    let faults = running.server.faults();
    faults.add(WireFault::new(WireEffect::BadCertificate { flaw: ServerFlaw::Expired }).times(1));
    assert!(attempt().await.unwrap_err().to_string().contains("expired"));
    faults.add(WireFault::new(WireEffect::BadCertificate { flaw: ServerFlaw::WrongName }).times(1));
    assert!(attempt().await.unwrap_err().to_string().contains("not valid for"));
    faults.add(WireFault::new(WireEffect::RefuseTls).times(1));
    attempt().await.unwrap_err();
    attempt().await.unwrap();
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
}
