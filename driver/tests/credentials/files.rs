//! Files that the environment names and that are not what they should be: whoever reads them must not take health, calls and the end of
//! the process along.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Longer than any answer that waits for nothing, shorter than anybody's patience.
const SOON: Duration = Duration::from_secs(8);

fn pipe(path: &Path) -> String {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    path.display().to_string()
}

/// A port of this machine that is free.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the driver answers at its HTTP endpoint.
async fn get(port: u16, path: &str) -> String {
    let asked = async {
        let mut stream = loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(SOON, asked).await.unwrap_or_else(|_| "nothing in time".to_owned())
}

impl Driver {
    /// Sends SIGTERM and waits for the end.
    async fn ends(mut self) -> bool {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            if self.process.try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// What becomes of a CreateVolume as soon as the driver serves, and soon.
    async fn refuses(&mut self, what: &str, fs: &str) -> Status {
        let asked = async {
            while self.endpoint.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.create("efs-ap", fs, &[]).await
        };
        let refused = tokio::time::timeout(SOON, asked).await.unwrap_or_else(|_| panic!("{what}: no answer"));
        refused.expect_err(what)
    }

    /// A driver that needn't answer, with an HTTP endpoint at this port.
    fn spawn(fake: &Instance, port: u16, environment: &[(&str, String)]) -> Self {
        let http = format!("127.0.0.1:{port}");
        Self::spawn_with(fake, environment, Stdio::inherit(), &["--http-endpoint", &http])
    }
}

#[tokio::test]
async fn a_named_file_that_is_none_is_refused_by_name_and_holds_up_nothing() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let fs = file_system(&fake, "123456789012");
    let path = |name: &str| folder.path().join(name);
    let pipe = pipe(&path("pipe"));
    let own = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    let nobody = ("AWS_EC2_METADATA_DISABLED", "true");
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/irsa");
    std::fs::write(path("profile"), format!("[default]\nrole_arn = {}\nweb_identity_token_file = {pipe}\n", role.1))
        .unwrap();
    let profile = path("profile").display().to_string();
    let uri = format!("{}/v1/credentials", fake.http_url());
    for (named, environment) in [
        ("AWS_CONFIG_FILE", own(&[nobody, ("AWS_CONFIG_FILE", &pipe)])),
        ("AWS_SHARED_CREDENTIALS_FILE", own(&[nobody, ("AWS_SHARED_CREDENTIALS_FILE", &pipe)])),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", own(&[nobody, role, ("AWS_WEB_IDENTITY_TOKEN_FILE", &pipe)])),
        ("web_identity_token_file", own(&[nobody, ("AWS_CONFIG_FILE", &profile)])),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            own(&[
                nobody,
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &pipe),
            ]),
        ),
    ] {
        let port = free_port();
        let mut driver = Driver::spawn(&fake, port, &environment);
        assert!(get(port, "/healthz").await.contains("200 OK"), "{named}");
        let refused = driver.refuses(named, &fs).await;
        assert_eq!(refused.code(), Code::Unavailable, "{named}: {refused}");
        for word in [named, pipe.as_str(), "is a named pipe (FIFO), and must be a regular file"] {
            assert!(refused.message().contains(word), "{named}: {refused}");
        }
        assert!(get(port, "/healthz").await.contains("200 OK"), "{named}");
        assert!(driver.ends().await, "{named}: SIGTERM ends it");
    }
}

/// With TLS the bundle is read; the endpoint needn't exist.
#[tokio::test]
async fn a_bundle_of_authorities_that_is_none_is_refused_by_name_and_holds_up_nothing() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let pipe = pipe(&folder.path().join("pipe"));
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let mut environment = keys().to_vec();
        environment.push((variable, pipe.clone()));
        environment.push(("AWS_ENDPOINT_URL", "https://127.0.0.1:9".to_owned()));
        let port = free_port();
        let mut driver = Driver::spawn(&fake, port, &environment);
        let refused = driver.refuses(variable, "fs-0123456789abcdef0").await;
        assert_eq!(refused.code(), Code::Unavailable, "{variable}: {refused}");
        let words = format!("{variable}={pipe}: it is a named pipe (FIFO)");
        assert!(refused.message().contains(&words), "{variable}: {refused}");
        assert!(get(port, "/healthz").await.contains("200 OK"), "{variable}");
        assert!(driver.ends().await, "{variable}: SIGTERM ends it");
    }
}

/// Profiles change while a process runs, as a Secret that is mounted does.
#[tokio::test]
async fn a_profile_that_changes_counts_at_the_next_question() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let fs = file_system(&fake, "123456789012");
    let file = folder.path().join("credentials");
    let write = |secret: &str| {
        let text = format!("[default]\naws_access_key_id = AKIDSTATIC\naws_secret_access_key = {secret}\n");
        std::fs::write(&file, text).unwrap();
    };
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    let mut driver = Driver::start(&fake, &environment).await;
    let none = driver.create("efs-ap", &fs, &[]).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated, "there are none yet: {none}");
    write("static-secret");
    driver.create("efs-ap", &fs, &[]).await.unwrap();
    assert_eq!(who(&fake, "CreateAccessPoint"), STATIC_USER);
}

/// A program that gives no credentials is ended with all that it has started, and named.
#[tokio::test]
async fn a_credential_process_that_hangs_is_ended_with_its_children_and_named() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let fs = file_system(&fake, "123456789012");
    let path = |name: &str| folder.path().join(name);
    let program = path("program");
    // The number of the child is written for the test.
    let pids = path("pids").display().to_string();
    // One of them leaves the process group, with a child of its own.
    let leaver = format!("sleep 600 & echo $! >> {pids}; echo $$ >> {pids}; wait");
    let text =
        format!("#!/bin/sh\nsleep 600 &\necho $! >> {pids}\nsetsid sh -c '{leaver}' &\necho $$ >> {pids}\nwait\n");
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(
        path("config"),
        format!("[profile team-a]\ncredential_process = {} # it hangs\n", program.display()),
    )
    .unwrap();
    let environment = [
        ("AWS_CONFIG_FILE", path("config").display().to_string()),
        ("AWS_PROFILE", "team-a".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("PATH", std::env::var("PATH").unwrap()),
    ];
    let mut driver = Driver::start(&fake, &environment).await;
    let refused = driver.create("efs-ap", &fs, &[]).await.unwrap_err();
    for word in ["credential_process of profile \"team-a\"", "has not ended within"] {
        assert!(refused.message().contains(word), "{refused}");
    }
    assert!(!refused.message().contains("EFS API"), "{refused}");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let pids = std::fs::read_to_string(path("pids")).unwrap();
    assert!(pids.lines().count() >= 4, "{pids}");
    let runs = |pid: &&str| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    let begun = Instant::now();
    while let Some(pid) = pids.lines().find(runs) {
        assert!(begun.elapsed() < Duration::from_secs(2), "{pid} still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One that works does so as before: through a shell, with pipes and quotes.
#[tokio::test]
async fn a_credential_process_gives_credentials() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let answer = r#"{"Version": 1, "AccessKeyId": "AKIDSTATIC", "SecretAccessKey": "static-secret"}"#;
    std::fs::write(folder.path().join("answer 1"), answer).unwrap();
    let config = folder.path().join("config");
    let command = format!("cat '{}/answer 1' | cat", folder.path().display());
    std::fs::write(&config, format!("[default]\ncredential_process = {command}\n")).unwrap();
    let environment = [
        ("AWS_CONFIG_FILE", config.display().to_string()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("PATH", std::env::var("PATH").unwrap()),
    ];
    arrives_as(&fake, &environment, STATIC_USER).await;
}

/// Waits until the log of a driver has this text.
async fn logged(log: &Path, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let all = std::fs::read_to_string(log).unwrap();
        if let Some(line) = all.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        assert!(begun.elapsed() < SOON, "{text:?} is not in {all}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_of_no_use_is_told_at_the_start() {
    let fake = strict().await;
    for (variable, proxy) in
        [("HTTPS_PROXY", "socks5://p:1080"), ("ALL_PROXY", "socks4://p:1"), ("https_proxy", "ftp://p")]
    {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut environment = keys().to_vec();
        environment.push((variable, proxy.to_owned()));
        let _driver = Driver::start_with_log(&fake, &environment, log.reopen().unwrap().into()).await;
        let line = logged(log.path(), variable).await;
        assert!(line.contains("http://") && line.contains("https://"), "{line}");
    }
}

/// A node learns its labels from Kubernetes, a controller everything else.
#[tokio::test]
async fn a_kubeconfig_that_is_no_file_is_refused_by_name_and_holds_up_nothing() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let fs = file_system(&fake, "123456789012");
    let path = |name: &str| folder.path().join(name);
    let pipe = pipe(&path("pipe"));
    let kubeconfig = |name: &str, cluster: &str, user: &str| {
        let text = format!(
            r#"{{"current-context": "a", "contexts": [{{"name": "a", "context": {{"cluster": "a", "user": "a"}}}}],
            "clusters": [{{"name": "a", "cluster": {{"server": "http://127.0.0.1:9"{cluster}}}}}],
            "users": [{{"name": "a", "user": {{{user}}}}}]}}"#
        );
        std::fs::write(path(name), text).unwrap();
        path(name).display().to_string()
    };
    let token = kubeconfig("token", "", &format!(r#""tokenFile": "{pipe}""#));
    let authority = kubeconfig("authority", &format!(r#", "certificate-authority": "{pipe}""#), "");
    let certificate =
        kubeconfig("certificate", "", &format!(r#""client-certificate": "{pipe}", "client-key": "/none""#));
    for (named_by, config) in [
        ("KUBECONFIG", pipe.clone()),
        ("KUBECONFIG", format!("{token}:{pipe}")),
        ("the token", token),
        ("certificate-authority of the kubeconfig", authority),
        ("client-certificate of the kubeconfig", certificate),
    ] {
        let mut environment = keys().to_vec();
        environment.push(("KUBECONFIG", config.clone()));
        let port = free_port();
        let mut driver = Driver::spawn(&fake, port, &environment);
        assert!(get(port, "/healthz").await.contains("200 OK"), "{named_by}");
        let refused = driver.refuses(named_by, &fs).await;
        let words = format!("{named_by}={pipe}: it is a named pipe (FIFO)");
        assert!(refused.message().contains(&words), "{words}: {refused}");
        assert!(driver.ends().await, "{named_by}: SIGTERM ends it");
    }
}
