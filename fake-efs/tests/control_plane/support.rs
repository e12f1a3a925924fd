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

/// One request on one connection.
pub(crate) async fn exchange(
    fake: &Instance,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, serde_json::Value) {
    let text = raw(fake, method, path, headers, body).await;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
}

/// The console as a browser gets it.
pub(crate) async fn page(fake: &Instance) -> String {
    raw(fake, "GET", "/", &[], b"").await
}

async fn raw(fake: &Instance, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
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
    stream.read_to_end(&mut answer).await.expect("the fake answers");
    String::from_utf8_lossy(&answer).into_owned()
}
