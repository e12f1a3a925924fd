//! EKS Pod Identity: the agent on the node gives credentials for a token, which is the whole proof.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::errors::ExchangeError;
use super::token::Token;
use crate::pod_agent::AgentUri;

/// An answer has this long. The agent itself waits for 1.8 s while another call asks for the same token.
const WITHIN: Duration = Duration::from_millis(2_500);
/// Attempts while it doesn't answer, and the first pause between two.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// An answer has 1 to 2 KiB.
const ANSWER_MAX: usize = 64 * 1024;

/// Asks the agent for the credentials of a token's owner. No proxy: it is an address of this node.
pub(super) async fn ask(agent: &AgentUri, token: &Token) -> Result<Credentials, ExchangeError> {
    let mut attempt = 1;
    loop {
        let asked = timeout(WITHIN, ask_once(agent, token)).await;
        let failed = match asked {
            Ok(Err(ExchangeError::Away(reason))) => reason,
            Ok(answer) => return answer,
            Err(_) => format!("no answer within {WITHIN:?}"),
        };
        if attempt == ATTEMPTS {
            return Err(ExchangeError::Away(failed));
        }
        sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

async fn ask_once(agent: &AgentUri, token: &Token) -> Result<Credentials, ExchangeError> {
    let away = |reason: String| ExchangeError::Away(reason);
    let uri = agent.uri();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address: std::net::IpAddr = host.parse().map_err(|_| away(format!("{host} is no address")))?;
    let stream = TcpStream::connect((address, uri.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| away(format!("{error}; is the add-on eks-pod-identity-agent installed?")))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let mut value =
        http::HeaderValue::from_str(token.reveal()).map_err(|_| away("the token is no header".to_owned()))?;
    // Libraries don't print what is marked so.
    value.set_sensitive(true);
    let request = Request::builder()
        .method(Method::GET)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::AUTHORIZATION, value)
        .body(Empty::<Bytes>::new())
        .map_err(|error| away(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| away(error.to_string()));
    let read = match answer {
        Ok(answer) => {
            let status = answer.status();
            body(answer.into_body()).await.map(|body| (status, body))
        }
        Err(error) => Err(error),
    };
    connection.abort();
    let (status, body) = read?;
    understand(status, &body)
}

async fn body(body: Incoming) -> Result<Zeroizing<Vec<u8>>, ExchangeError> {
    let whole = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| {
        ExchangeError::Away(match error.downcast_ref::<LengthLimitError>() {
            Some(_) => format!("an answer of more than {ANSWER_MAX} bytes"),
            None => error.to_string(),
        })
    })?;
    Ok(Zeroizing::new(whole.to_bytes().into()))
}

fn understand(status: StatusCode, body: &[u8]) -> Result<Credentials, ExchangeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Given {
        access_key_id: String,
        secret_access_key: String,
        token: String,
        expiration: Timestamp,
    }
    if status.is_success() {
        // The parser's own words would repeat what it has read.
        let nonsense = || ExchangeError::Away("an answer that holds no credentials".to_owned());
        let given: Given = serde_json::from_slice(body).map_err(|_| nonsense())?;
        if given.access_key_id.is_empty() || given.secret_access_key.is_empty() {
            return Err(nonsense());
        }
        let expires: SystemTime = given.expiration.into();
        return Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.token),
            Some(expires),
            "pod",
        ));
    }
    let said = format!("HTTP status {}: {}", status.as_u16(), String::from_utf8_lossy(body).trim());
    Err(match status {
        // The agent looks at the token first.
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => ExchangeError::Token(said),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => ExchangeError::Away(said),
        status if status.is_client_error() => {
            ExchangeError::Denied(format!("{said}; is there a pod identity association for this service account?"))
        }
        _ => ExchangeError::Away(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_understood() {
        let whole = r#"{"AccessKeyId":"ASIA1","SecretAccessKey":"secret","Token":"session","AccountId":"1","Expiration":"2030-01-01T00:00:00Z"}"#;
        let given = understand(StatusCode::OK, whole.as_bytes()).expect("credentials");
        assert_eq!((given.access_key_id(), given.session_token()), ("ASIA1", Some("session")));
        let kind = |status: u16, body: &str| match understand(
            StatusCode::from_u16(status).expect("status"),
            body.as_bytes(),
        ) {
            Err(ExchangeError::Token(_)) => "token",
            Err(ExchangeError::Denied(_)) => "denied",
            Err(ExchangeError::Away(_)) => "away",
            Ok(_) => "given",
        };
        for (status, body, want) in [
            (200, "", "away"),
            (200, "<html>", "away"),
            (
                200,
                r#"{"AccessKeyId":"","SecretAccessKey":"s","Token":"t","Expiration":"2030-01-01T00:00:00Z"}"#,
                "away",
            ),
            (200, &whole.replace("2030-01-01T00:00:00Z", "tomorrow"), "away"),
            (400, "token has expired", "token"),
            (401, "", "token"),
            (403, "AccessDenied", "denied"),
            (404, "ResourceNotFound", "denied"),
            (429, "", "away"),
            (500, "", "away"),
            (302, "", "away"),
        ] {
            assert_eq!(kind(status, body), want, "{status} {body}");
        }
    }
}
