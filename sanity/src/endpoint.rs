//! Where a driver listens, in the forms that the Go suite takes, and how to connect to it.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint as Transport, Uri};
use tower::service_fn;

/// Pause between two attempts to connect while the driver is still starting.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The address of a driver: `unix:/path`, `unix:///path`, a plain path, `dns:///host:port`, `tcp://host:port` or
/// `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address, `host:port`, without TLS.
    Tcp(String),
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The text is not an address.
    #[error("{0:?} is not an address: give unix:///path/to/csi.sock, a path, or dns:///host:port")]
    Malformed(String),
    /// Nobody answered in time.
    #[error("nothing answers at {endpoint} within {patience:?}: {reason}")]
    Unreachable {
        /// The address tried.
        endpoint: Endpoint,
        /// How long was tried.
        patience: Duration,
        /// What the last attempt ended with.
        reason: String,
    },
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.is_empty() { Err(malformed()) } else { Ok(Self::Unix(path.into())) };
        }
        let address = ["dns:///", "dns:", "passthrough:///", "tcp://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .or_else(|| (!text.contains('/')).then_some(text));
        match address {
            Some(address) if is_host_and_port(address) => Ok(Self::Tcp(address.to_owned())),
            None if !text.contains("://") => Ok(Self::Unix(text.into())),
            Some(name) if name == text && !name.is_empty() && !name.contains(':') => Ok(Self::Unix(name.into())),
            _ => Err(malformed()),
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) && address.parse::<Uri>().is_ok()
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl Endpoint {
    /// Opens a plain-text connection whose `:authority` is `localhost`, trying again until `patience` is over.
    ///
    /// # Errors
    /// [`EndpointError::Unreachable`] with the last reason.
    pub async fn connect(&self, patience: Duration) -> Result<Channel, EndpointError> {
        let unreachable = |reason: String| EndpointError::Unreachable { endpoint: self.clone(), patience, reason };
        let mut last = String::from("the connection attempt did not end");
        let attempts = async {
            loop {
                match self.attempt().await {
                    Ok(channel) => return channel,
                    Err(error) => last = with_causes(&error),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        match tokio::time::timeout(patience, attempts).await {
            Ok(channel) => Ok(channel),
            Err(_elapsed) => Err(unreachable(last)),
        }
    }

    async fn attempt(&self) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Unix(path) => {
                let path = path.clone();
                let connector = service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                Transport::from_static("http://localhost").connect_with_connector(connector).await
            }
            Self::Tcp(address) => {
                Transport::from_shared(format!("http://{address}"))?
                    .origin(Uri::from_static("http://localhost"))
                    .connect()
                    .await
            }
        }
    }
}

/// An error and all its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_go_suite_is_understood() {
        for (text, expected) in [
            ("unix:///run/csi.sock", Endpoint::Unix("/run/csi.sock".into())),
            ("unix:/run/csi.sock", Endpoint::Unix("/run/csi.sock".into())),
            ("unix:csi.sock", Endpoint::Unix("csi.sock".into())),
            ("/run/csi.sock", Endpoint::Unix("/run/csi.sock".into())),
            ("csi.sock", Endpoint::Unix("csi.sock".into())),
            ("dns:///driver:9000", Endpoint::Tcp("driver:9000".into())),
            ("tcp://127.0.0.1:9000", Endpoint::Tcp("127.0.0.1:9000".into())),
            ("127.0.0.1:9000", Endpoint::Tcp("127.0.0.1:9000".into())),
            ("[::1]:9000", Endpoint::Tcp("[::1]:9000".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for text in ["", "unix://", "unix:", "dns:///driver", "tcp://host:99999", "ftp://host:1/x", ":80"] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains("unix:///path/to/csi.sock"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let endpoint: Endpoint = "unix:///nonexistent/csi.sock".parse().unwrap();
        let error = endpoint.connect(Duration::from_millis(80)).await.unwrap_err().to_string();
        assert!(error.contains("unix:///nonexistent/csi.sock") && error.contains("No such file"), "{error}");
    }
}
