//! A plain HTTP client for the EFS API and the fake's own API: no SDK, so that the server's speed is what is measured.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// A signature that names service and region, by which servers find their way, and proves nothing.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/elasticfilesystem/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=00";

/// Connections that fill a file system.
const FILLERS: usize = 16;

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct Rest {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Rest {
    /// A client for the server at `base`, e.g. `http://127.0.0.1:4080`.
    pub fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            base: base.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Calls and parses the JSON answer; an empty one is null.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let what = || format!("{method} {path}");
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", AUTHORIZATION)
            .header("x-amz-date", "20260101T000000Z")
            .header("content-type", "application/json")
            .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))?;
        let answer = self.client.request(request).await.with_context(what)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.with_context(what)?.to_bytes();
        ensure!(
            status.is_success(),
            "{} answered {status}: {}",
            what(),
            String::from_utf8_lossy(&bytes).chars().take(200).collect::<String>()
        );
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).with_context(|| format!("parsing the answer of {}", what()))
    }
}

/// Makes access points on a file system as an earlier driver would have, without the driver.
pub async fn fill(rest: &Rest, file_system: &str, count: u32) -> anyhow::Result<()> {
    stream::iter(0..count)
        .map(|number| async move {
            let gid = 50_000 + number;
            let body = json!({
                "ClientToken": format!("{file_system}-{number}"),
                "FileSystemId": file_system,
                "PosixUser": { "Uid": gid, "Gid": gid },
                "RootDirectory": { "Path": format!("/filler/{number}"),
                    "CreationInfo": { "OwnerUid": gid, "OwnerGid": gid, "Permissions": "0700" } },
            });
            rest.call("POST", "/2015-02-01/access-points", Some(&body)).await.map(drop)
        })
        .buffer_unordered(FILLERS)
        .try_collect::<()>()
        .await
}
