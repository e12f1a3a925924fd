//! Proxies, private certificate authorities and silent servers before the driver as a process, all over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::OriginalUri;
use axum::{Json, Router};
use csi_proto::csi;
use fake_efs::FakeEfs;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tonic::Code;

use crate::process::{Driver, file_system};
use crate::support::{assert_refused, request};

/// Names that only the proxy can resolve.
const EFS: &str = "https://efs.aws.test:8443";
const KUBERNETES: &str = "https://api.cluster.test:6443";

/// csi-provisioner gives a call up after 15 s.
const PATIENCE: Duration = Duration::from_secs(14);

/// A proxy that leads everything to one place, and what it was asked for.
struct Proxy {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:pass%40word@{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, upstream, Arc::clone(&log)));
            }
        });
        Self { url, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Whether it was asked for a tunnel to a place, with the name and password of its URL.
    fn has_led_to(&self, place: &str) -> bool {
        let is_right = |head: &String| {
            // user:pass@word
            head.starts_with(&format!("CONNECT {place} ")) && head.to_lowercase().contains("basic dxnlcjpwyxnzqhdvcmq=")
        };
        self.heads().iter().any(is_right)
    }
}

async fn pass_on(mut stream: TcpStream, upstream: SocketAddr, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_tunnel = text.starts_with("CONNECT ");
    log.lock().unwrap().push(text);
    let Ok(mut upstream) = TcpStream::connect(upstream).await else { return };
    let begun = match is_tunnel {
        true => stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await,
        false => upstream.write_all(&head).await,
    };
    if begun.is_ok() {
        // Either side may break it off.
        let _ = copy_bidirectional(&mut stream, &mut upstream).await;
    }
}

/// A private authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// TLS with a certificate for `name` before a plain server.
    async fn before(&self, name: &str, upstream: SocketAddr) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut upstream = TcpStream::connect(upstream).await.unwrap();
                    // Either side may break it off.
                    let _ = copy_bidirectional(&mut stream, &mut upstream).await;
                });
            }
        });
        address
    }
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap()
}

/// The proxy before a fake EFS with TLS.
async fn efs_behind_a_proxy() -> (fake_efs::Instance, Authority, Proxy) {
    let fake = FakeEfs::builder().start().await.unwrap();
    let authority = Authority::new();
    let tls = authority.before("efs.aws.test", address(&fake.http_url())).await;
    let proxy = Proxy::start(tls).await;
    (fake, authority, proxy)
}

#[tokio::test]
async fn aws_is_reached_through_the_proxy_and_believed_by_the_bundle() {
    let (fake, authority, proxy) = efs_behind_a_proxy().await;
    let fs = file_system(&fake);
    let profile = "[profile team]\nca_bundle = {dir}/ca.pem\n";
    let aws = [("AWS_ENDPOINT_URL", EFS), ("HTTPS_PROXY", &proxy.url), ("NO_PROXY", "other.test,10.0.0.0/8,")];
    let by_variable = [&aws[..], &[("AWS_CA_BUNDLE", "{dir}/ca.pem")]].concat();
    let mut driver = Driver::start(&[("ca.pem", &authority.pem)], &by_variable).await;
    driver.controller.create_volume(request("pvc-1", &fs, &[])).await.unwrap();
    assert!(proxy.has_led_to("efs.aws.test:8443"), "{:?}", proxy.heads());

    let by_profile = [&aws[..], &[("AWS_PROFILE", "team"), ("AWS_CONFIG_FILE", "{dir}/config")]].concat();
    let mut driver = Driver::start(&[("ca.pem", &authority.pem)], &by_profile).await;
    let profile = profile.replace("{dir}", driver.dir.path().to_str().unwrap());
    std::fs::write(driver.dir.path().join("config"), profile).unwrap();
    driver.controller.create_volume(request("pvc-2", &fs, &[])).await.unwrap();
    assert_eq!(fake.journal().count("CreateAccessPoint"), 2);
}

#[tokio::test]
async fn a_refusal_names_the_proxy_and_the_authorities() {
    let (fake, _, proxy) = efs_behind_a_proxy().await;
    let fs = file_system(&fake);
    let aws = [("AWS_ENDPOINT_URL", EFS), ("HTTPS_PROXY", &proxy.url)];
    let mut driver = Driver::start(&[], &aws).await;
    let refused = driver.controller.create_volume(request("pvc-1", &fs, &[])).await;
    let address = proxy.url.split_once('@').unwrap().1;
    let through = format!("through the proxy http://{address} (HTTPS_PROXY)");
    assert!(!refused.as_ref().unwrap_err().message().contains("word"), "{refused:?}");
    let words = [&*through, "this system's certificate authorities", "AWS_CA_BUNDLE"];
    assert_refused(refused, Code::Unavailable, &words);

    let wrong = Authority::new().pem;
    let bundled = [&aws[..], &[("AWS_CA_BUNDLE", "{dir}/ca.pem")]].concat();
    let mut driver = Driver::start(&[("ca.pem", &wrong)], &bundled).await;
    let refused = driver.controller.create_volume(request("pvc-1", &fs, &[])).await;
    assert_refused(refused, Code::Unavailable, &["/ca.pem (AWS_CA_BUNDLE): add the right one to that file"]);

    let mut driver = Driver::start(&[], &bundled).await;
    let refused = driver.controller.create_volume(request("pvc-1", &fs, &[])).await;
    assert_refused(refused, Code::Unavailable, &["AWS_CA_BUNDLE=", "/ca.pem"]);
}

#[tokio::test]
async fn what_no_proxy_names_and_pod_identity_go_round_the_proxy() {
    let (fake, _, proxy) = efs_behind_a_proxy().await;
    let fs = file_system(&fake);
    let all = [("ALL_PROXY", &*proxy.url), ("NO_PROXY", "aws.test:8443"), ("AWS_ENDPOINT_URL", EFS)];
    let mut driver = Driver::start(&[], &all).await;
    let refused = driver.controller.create_volume(request("pvc-1", &fs, &[])).await;
    assert!(refused.is_err(), "nobody else resolves the name");
    let pod_identity = [
        ("ALL_PROXY", &*proxy.url),
        ("AWS_ENDPOINT_URL", EFS),
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
    ];
    let mut driver = Driver::start(&[], &pod_identity).await;
    // No such address here, so that the call may wait for long.
    let call = timeout(Duration::from_secs(3), driver.controller.create_volume(request("pvc-1", &fs, &[]))).await;
    assert!(!matches!(call, Ok(Ok(_))), "{call:?}");
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

fn kubeconfig(server: &str, authority: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority": authority}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "users": [{"name": "it", "user": {"token": "t"}}],
    })
    .to_string()
}

/// An API server that knows one ConfigMap and is empty otherwise.
async fn api_server(fs: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fs = fs.to_owned();
    let answer = move |OriginalUri(uri): OriginalUri| async move {
        let answer: Value = match uri.path() {
            path if path.contains("/configmaps/") => json!({"metadata": {"name": "ids"}, "data": {"id": fs}}),
            "/api/v1/namespaces/kube-system" => json!({"metadata": {"name": "kube-system", "uid": "u-1"}}),
            _ => json!({"metadata": {}, "items": []}),
        };
        Json(answer)
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

/// A request whose file system's id is in a ConfigMap.
fn by_config_map(name: &str) -> csi::CreateVolumeRequest {
    let mut it = request(name, "", &[("fileSystemIdConfigRef", "efs/ids/id")]);
    it.parameters.remove("fileSystemId");
    it
}

/// kube's own reading of NO_PROXY refuses a list with an empty entry, and holds it against the proxy.
#[tokio::test]
async fn a_kubeconfig_behind_a_proxy_works() {
    let fake = FakeEfs::builder().start().await.unwrap();
    let authority = Authority::new();
    let tls = authority.before("api.cluster.test", api_server(&file_system(&fake)).await).await;
    let proxy = Proxy::start(tls).await;
    let files = [("ca.pem", &*authority.pem), ("config", &kubeconfig(KUBERNETES, "ca.pem"))];
    let variables = [
        ("AWS_ENDPOINT_URL", &*fake.http_url()),
        ("KUBECONFIG", "{dir}/config"),
        ("https_proxy", &proxy.url),
        ("NO_PROXY", "127.0.0.1,,other.test,"),
    ];
    let mut driver = Driver::start(&files, &variables).await;
    driver.controller.create_volume(by_config_map("pvc-1")).await.unwrap();
    assert!(proxy.has_led_to("api.cluster.test:6443"), "{:?}", proxy.heads());
    let seen = proxy.heads().len();

    let around = [&variables[..3], &[("NO_PROXY", ".cluster.test")]].concat();
    let mut driver = Driver::start(&files, &around).await;
    let refused = driver.controller.create_volume(by_config_map("pvc-2")).await;
    assert_refused(refused, Code::Unavailable, &["ConfigMap efs/ids"]);
    assert_eq!(proxy.heads().len(), seen);
}

/// A server that takes connections and says nothing.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

/// Every kind of call that asks Kubernetes, many at once: none waits for the others' silence too.
#[tokio::test]
async fn a_silent_or_missing_api_server_is_unavailable_before_the_provisioner_gives_up() {
    let fake = FakeEfs::builder().start().await.unwrap();
    let fs = file_system(&fake);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(silent().await).await;
    for (server, proxied) in [
        (format!("https://{}", silent().await), ""),
        (format!("http://{}", silent().await), ""),
        (KUBERNETES.to_owned(), &*proxy.url),
        (format!("https://{nobody}"), ""),
    ] {
        let files = [("config", &*kubeconfig(&server, "ca.pem")), ("ca.pem", &*Authority::new().pem)];
        let variables =
            [("AWS_ENDPOINT_URL", &*fake.http_url()), ("KUBECONFIG", "{dir}/config"), ("HTTPS_PROXY", proxied)];
        let driver = Driver::start(&files, &variables).await;
        let secret = {
            let mut it = request("pvc-s", "", &[("fileSystemIdSecretRef", "efs/ids/id")]);
            it.parameters.remove("fileSystemId");
            it
        };
        let creations = [by_config_map("pvc-c"), secret, request("pvc-i", &fs, &[])];
        let creations = creations.into_iter().map(|request| {
            let mut controller = driver.controller.clone();
            tokio::spawn(
                async move { timeout(PATIENCE, controller.create_volume(request)).await.map(|it| it.map(drop)) },
            )
        });
        // The account of a file system that no creation has named can only be told by the cluster.
        let deletions = (0..20).map(|n| {
            let mut controller = driver.controller.clone();
            let volume_id = format!("fs-0123456789abcde{n:02}::fsap-0123456789abcdef0");
            let request = csi::DeleteVolumeRequest { volume_id, ..Default::default() };
            tokio::spawn(
                async move { timeout(PATIENCE, controller.delete_volume(request)).await.map(|it| it.map(drop)) },
            )
        });
        for call in creations.chain(deletions).collect::<Vec<_>>() {
            let answer = call.await.unwrap().unwrap_or_else(|_| panic!("{server}: no answer within {PATIENCE:?}"));
            assert_refused(answer, Code::Unavailable, &["API server"]);
        }
    }
}
