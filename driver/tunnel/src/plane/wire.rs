//! What driver and data plane say to each other: frames of a length (4 bytes, big endian) and one JSON object.
//!
//! Either side may be older than the other for the time of an upgrade. So what a side doesn't know is passed over: members of
//! objects are ignored, an unknown order is answered as [`Reply::Unsupported`], an unknown question as [`Answer::Unsupported`].
//! One thing isn't: a member of a [`TunnelSpec`] that the data plane doesn't know could decide whose data a tunnel serves, so
//! such an order is refused.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use tokio_util::codec::LengthDelimitedCodec;

use crate::bind::Partition;
use crate::dial::LocateError;
use crate::failure::Failure;
use crate::identity::{IamSource, TunnelSpec};
use crate::report::TunnelReport;

/// A frame to the data plane is never longer. The longest is the answer with credentials, whose session token has some KiB; ports to
/// avoid take 6 bytes each.
pub const TO_PLANE_MAX: usize = 512 * 1024;
/// A frame to the driver is never longer: a report of some hundred bytes for each of a thousand tunnels and more.
pub const TO_DRIVER_MAX: usize = 8 * 1024 * 1024;

/// What the driver sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a message lives as long as it takes to be sent")]
pub enum ToPlane {
    /// Do something. The reply has the same number.
    Order {
        /// Its number.
        id: u64,
        /// What.
        order: Order,
    },
    /// The answer to a question.
    Answer {
        /// The question's number.
        id: u64,
        /// The answer.
        answer: Answer,
    },
}

/// What the data plane sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a message lives as long as it takes to be sent")]
pub enum ToDriver {
    /// What became of an order.
    Reply {
        /// The order's number.
        id: u64,
        /// The reply.
        reply: Reply,
    },
    /// Something that only the driver can find out.
    Question {
        /// Its number.
        id: u64,
        /// What.
        question: Question,
    },
}

/// What the data plane is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Say who you are. The first order of a connection.
    Hello {
        /// The driver's version.
        version: String,
    },
    /// Open the tunnel for `spec`, at any port but those in `avoid`, and hold it for this connection.
    Open {
        /// What it stands for.
        spec: TunnelSpec,
        /// Ports of the range to take.
        first: u16,
        /// Its last port.
        last: u16,
        /// The kernel may still talk to these for another volume.
        avoid: BTreeSet<u16>,
    },
    /// Open the tunnel for `spec` at `port`, where a mount expects it, and hold it for this connection.
    Reopen {
        /// What it stands for.
        spec: TunnelSpec,
        /// Where.
        port: u16,
        /// Where the mount target was reached the last time.
        #[serde(default)]
        address: Option<SocketAddr>,
    },
    /// Make sure that the mount target can be reached through the tunnel at `port`.
    Check {
        /// The tunnel's port.
        port: u16,
    },
    /// Close the connection that [`Order::Check`] has made, if the kernel didn't want it.
    DiscardWarm {
        /// The tunnel's port.
        port: u16,
    },
    /// This connection doesn't need the tunnel any more.
    Close {
        /// The tunnel's port.
        port: u16,
    },
    /// Close all tunnels that no connection holds but those at these ports.
    Settle {
        /// The ports.
        ports: BTreeSet<u16>,
    },
    /// Tell about all tunnels.
    Report,
    /// Make connections for those that another data plane carries and is about to end. It says this in place of [`Order::Hello`], as it
    /// is no driver.
    Expect {
        /// By port; those that aren't known here are passed over.
        tunnels: Vec<Expected>,
    },
    /// An order of a newer version.
    #[serde(other)]
    Unknown,
}

/// The connections of the kernel's to one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The tunnel's port.
    pub port: u16,
    /// How many there are.
    pub connections: usize,
    /// Where the kernel's sessions are.
    #[serde(default)]
    pub partition: Option<Partition>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Order::Hello`].
    Hello {
        /// The data plane's version.
        version: String,
        /// Which executable it runs, see [`super::executable`].
        executable: String,
    },
    /// Done.
    Done,
    /// The tunnel is at this port.
    Open {
        /// The port.
        port: u16,
    },
    /// The mount target was reached.
    Reached {
        /// Where, if that is known.
        address: Option<SocketAddr>,
    },
    /// All tunnels.
    Report {
        /// By port.
        tunnels: Vec<TunnelReport>,
    },
    /// It didn't work.
    Failed(Failure),
    /// The order isn't known here, or its reply isn't.
    #[serde(other)]
    Unsupported,
}

/// What the data plane can't find out by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// Where is the mount target?
    Locate {
        /// Of this tunnel.
        spec: TunnelSpec,
    },
    /// Nothing could be reached at the addresses of the last answer. No answer is expected.
    Forget {
        /// Of this tunnel.
        spec: TunnelSpec,
    },
    /// Which credentials sign the certificate?
    Credentials {
        /// Where they come from.
        source: IamSource,
        /// The file system's region.
        region: String,
    },
    /// A question of a newer version.
    #[serde(other)]
    Unknown,
}

/// What the driver has found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// The addresses to try, best first.
    Addresses {
        /// Never empty.
        addresses: Vec<SocketAddr>,
    },
    /// No address.
    NoAddress {
        /// What was tried and how to fix it.
        message: String,
        /// True when the file system or its mount target doesn't exist.
        missing: bool,
    },
    /// Credentials.
    Credentials(Secret),
    /// None.
    NoCredentials {
        /// Why.
        reason: String,
    },
    /// None yet: the kubelet hasn't brought a token since this driver began. Another driver may have one, and the last credentials
    /// serve until they end. A data plane that doesn't know this answer takes it as the next one, and does the same.
    NotYet {
        /// What is waited for.
        reason: String,
    },
    /// The question isn't known here, or its answer isn't.
    #[serde(other)]
    Unsupported,
}

/// Credentials on their way between two processes of one node.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    /// Seconds since 1970.
    expires: Option<u64>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl From<&Credentials> for Secret {
    fn from(credentials: &Credentials) -> Self {
        let expires = credentials.expiry().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        Self {
            access_key_id: credentials.access_key_id().to_owned(),
            secret_access_key: credentials.secret_access_key().to_owned(),
            session_token: credentials.session_token().map(str::to_owned),
            expires: expires.map(|end| end.as_secs()),
        }
    }
}

impl From<Secret> for Credentials {
    fn from(secret: Secret) -> Self {
        let expires: Option<SystemTime> = secret.expires.map(|end| UNIX_EPOCH + Duration::from_secs(end));
        Self::new(secret.access_key_id, secret.secret_access_key, secret.session_token, expires, "driver")
    }
}

impl From<LocateError> for Answer {
    fn from(error: LocateError) -> Self {
        Self::NoAddress { message: error.message, missing: error.missing }
    }
}

/// Frames of at most `limit` bytes.
pub(super) fn frames(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(limit).new_codec()
}

pub(super) fn encode(message: &impl Serialize) -> Bytes {
    // None of the types has a map with keys that aren't texts, or a serializer that fails.
    serde_json::to_vec(message).map(Bytes::from).unwrap_or_default()
}

/// A message that can't be read. The JSON library's own words hold the value that it stumbled over, and that may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {column}")]
pub(super) struct Unreadable {
    what: &'static str,
    column: usize,
}

impl From<Unreadable> for io::Error {
    fn from(error: Unreadable) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            Category::Data => "a member that is missing, not known or of another type",
            Category::Syntax | Category::Eof | Category::Io => "no JSON",
        };
        Self { what, column: error.column() }
    }
}

pub(super) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Unreadable> {
    Ok(serde_json::from_slice(frame)?)
}

/// The number of an order that can't be read as a whole, so that whoever has sent it needn't wait for its reply.
pub(super) fn order_id(frame: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Envelope {
        order: Numbered,
    }
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    decode::<Envelope>(frame).ok().map(|envelope| envelope.order.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::FailureKind;

    #[test]
    fn what_a_newer_side_says_is_understood_as_far_as_it_goes() {
        let order = br#"{"order":{"id":7,"order":{"do":"dance","how":"well"},"priority":1}}"#;
        assert!(matches!(decode(order), Ok(ToPlane::Order { id: 7, order: Order::Unknown })));
        let order = br#"{"order":{"id":8,"order":{"do":"close","port":20049,"gently":true}}}"#;
        assert!(matches!(decode(order), Ok(ToPlane::Order { id: 8, order: Order::Close { port: 20049 } })));
        let reply = br#"{"reply":{"id":7,"reply":{"is":"danced","steps":3}}}"#;
        assert!(matches!(decode(reply), Ok(ToDriver::Reply { id: 7, reply: Reply::Unsupported })));
        let question = br#"{"question":{"id":1,"question":{"ask":"weather"}}}"#;
        assert!(matches!(decode(question), Ok(ToDriver::Question { question: Question::Unknown, .. })));
        let answer = br#"{"answer":{"id":1,"answer":{"is":"sunny"}}}"#;
        assert!(matches!(decode(answer), Ok(ToPlane::Answer { answer: Answer::Unsupported, .. })));
    }

    /// What it doesn't know could be what keeps two tenants apart.
    #[test]
    fn an_identity_with_an_unknown_member_is_refused_and_still_has_its_number() {
        let order = br#"{"order":{"id":9,"order":{"do":"reopen","port":20049,"spec":{"file_system":"fs-1","region":"r","server_name":"n","pod":"x"}}}}"#;
        assert!(decode::<ToPlane>(order).is_err());
        assert_eq!(order_id(order), Some(9));
        assert_eq!((order_id(b"{}"), order_id(b"x")), (None, None));
    }

    /// As from a driver of another version, whose answer has another shape.
    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        let answers = [
            r#"{"answer":{"id":1,"answer":{"is":"credentials","access_key_id":"a","secret_access_key":"b","expires":"TopSecret"}}}"#,
            r#"{"answer":{"id":1,"answer":{"is":"credentials","access_key_id":"a","secret_access_key":{"v":"TopSecret"}}}}"#,
            r#"{"answer":{"id":1,"answer":"TopSecret"}}"#,
            r#"{"TopSecret":1}"#,
        ];
        for answer in answers {
            let error = decode::<ToPlane>(answer.as_bytes()).expect_err("unreadable");
            assert!(!format!("{error} {error:?}").contains("TopSecret"), "{error}");
        }
        assert_eq!(decode::<ToPlane>(b"x").expect_err("no JSON").to_string(), "no JSON at byte 1");
    }

    #[test]
    fn everything_survives_the_way() {
        let failure = Failure::new(FailureKind::Refused, "no");
        for reply in [Reply::Done, Reply::Open { port: 1 }, Reply::Failed(failure), Reply::Reached { address: None }] {
            let sent = ToDriver::Reply { id: 1, reply: reply.clone() };
            let Ok(ToDriver::Reply { id: 1, reply: came }) = decode(&encode(&sent)) else { panic!("{sent:?}") };
            assert_eq!(came, reply);
        }
        let end = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let credentials = Credentials::new("AKID", "secret", Some("token".to_owned()), Some(end), "test");
        let secret = Secret::from(&credentials);
        assert!(!format!("{secret:?}").contains("secret\""));
        let came: Credentials = decode::<Secret>(&encode(&secret)).expect("a secret").into();
        assert_eq!((came.access_key_id(), came.secret_access_key()), ("AKID", "secret"));
        assert_eq!((came.session_token(), came.expiry()), (Some("token"), Some(end)));
    }
}
