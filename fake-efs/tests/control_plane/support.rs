//! What the tests share: a running fake and an SDK client for it.

use aws_sdk_efs::Client;
use aws_sdk_efs::config::retry::RetryConfig;
use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use fake_efs::world::Settings;
use fake_efs::{FakeEfs, Instance};

/// A fake with frozen time and fixed ids.
pub(crate) async fn fake(change: impl FnOnce(&mut Settings)) -> Instance {
    FakeEfs::builder()
        .settings(|settings| {
            settings.random_seed = 1;
            change(settings);
        })
        .start()
        .await
        .expect("free ports on loopback")
}

/// An SDK client that doesn't retry.
pub(crate) fn client(fake: &Instance) -> Client {
    client_as(fake, "AKIDEXAMPLE", "us-east-1", 1)
}

/// An SDK client with an access key, a region and a number of attempts.
pub(crate) fn client_as(fake: &Instance, access_key_id: &str, region: &str, attempts: u32) -> Client {
    client_with(fake, Credentials::new(access_key_id, "secret", None, None, "test"), region, attempts)
}

/// An SDK client with credentials, a region and a number of attempts.
pub(crate) fn client_with(fake: &Instance, credentials: Credentials, region: &str, attempts: u32) -> Client {
    let config = aws_sdk_efs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(fake.http_url())
        .credentials_provider(credentials)
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .build();
    Client::from_conf(config)
}

/// Makes a file system and returns its id. It is available at the next call.
pub(crate) async fn file_system(client: &Client) -> String {
    client.create_file_system().send().await.expect("an empty world takes a file system").file_system_id
}

/// Sends a request without an SDK; status and JSON body.
pub(crate) async fn get(fake: &Instance, path: &str, headers: &[(&str, &str)]) -> (u16, serde_json::Value) {
    exchange(fake, "GET", path, headers, b"").await
}

/// Sends a JSON body without an SDK; status and JSON body.
pub(crate) async fn send(
    fake: &Instance,
    method: &str,
    path: &str,
    body: &serde_json::Value,
) -> (u16, serde_json::Value) {
    exchange(fake, method, path, &[], body.to_string().as_bytes()).await
}

/// One request on one connection; status and JSON body.
pub(crate) async fn exchange(
    fake: &Instance,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, serde_json::Value) {
    let answer = request(fake, method, path, headers, body).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(serde_json::Value::Null))
}

/// The console as a browser gets it.
pub(crate) async fn page(fake: &Instance) -> String {
    request(fake, "GET", "/", &[], b"").await.text()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if the connection ended without one.
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of an error in XML.
    pub(crate) fn code(&self) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once("<Code>")?;
        Some(rest.split_once("</Code>")?.0.to_owned())
    }
}

/// One request on one connection.
pub(crate) async fn request(
    fake: &Instance,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = fake.http_url().trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("the fake listens");
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("the fake reads");
    let mut answer = Vec::new();
    // A fault may end the connection anywhere.
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: answer.get(end + 4..).unwrap_or_default().to_vec() }
}
