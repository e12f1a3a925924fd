//! Calls to the driver. Each has a deadline, and each is written down with its answer for the failure text.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use csi_proto::{code_name, csi};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::endpoint::with_causes;

/// How many calls of one check are kept; older ones are dropped.
const CALLS_KEPT: usize = 64;
/// How much of one request or answer is kept, in bytes.
const TEXT_KEPT: usize = 2048;

/// What a driver answered to one call.
pub type Answer<T> = Result<T, Refusal>;

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code; `DeadlineExceeded` when no answer came in time.
    pub code: Code,
    /// The driver's message, or ours when the driver did not answer.
    pub message: String,
    /// Who refused.
    pub cause: Cause,
}

/// Where a [`Refusal`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The driver answered with a status.
    Driver,
    /// No answer within the deadline.
    Deadline,
    /// The connection broke or does not carry gRPC.
    Transport,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cause {
            Cause::Driver => write!(f, "{}: {}", code_name(self.code), self.message),
            Cause::Deadline | Cause::Transport => f.write_str(&self.message),
        }
    }
}

/// One call as it is shown in a failure. Secrets are blanked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CallRecord {
    /// The RPC's name in the specification.
    pub rpc: &'static str,
    /// The request, abbreviated.
    pub request: String,
    /// The answer or the status, abbreviated.
    pub answer: String,
    /// How long the answer took, in milliseconds.
    pub milliseconds: u64,
}

/// What happened in the calls of one check.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    calls: VecDeque<CallRecord>,
    /// Every RPC called, also those whose records were dropped.
    rpcs: BTreeSet<&'static str>,
    /// The last sign that the driver is gone or stuck.
    pub(crate) trouble: Option<(Cause, String)>,
}

/// Connections to one driver and the log that its calls go to.
#[derive(Debug, Clone)]
pub struct Session {
    identity: Channel,
    controller: Channel,
    node: Channel,
    deadline: Duration,
    log: Arc<Mutex<CallLog>>,
}

impl Session {
    /// Calls for the Node service (and Identity) go to `node`, those for the controllers to `controller`; an answer that takes
    /// longer than `deadline` counts as none.
    #[must_use]
    pub fn new(node: Channel, controller: Channel, deadline: Duration) -> Self {
        Self { identity: node.clone(), controller, node, deadline, log: Arc::default() }
    }

    /// The same connections with a log of its own.
    #[must_use]
    pub fn fresh_log(&self) -> Self {
        Self { log: Arc::default(), ..self.clone() }
    }

    /// The same log, but Identity calls go to the controller's address.
    #[must_use]
    pub fn identity_of_controller(&self) -> Self {
        Self { identity: self.controller.clone(), ..self.clone() }
    }

    /// The same connections and log with another deadline.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The calls so far, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.log().calls.iter().cloned().collect()
    }

    /// The names of all RPCs called so far.
    #[must_use]
    pub fn rpcs(&self) -> BTreeSet<&'static str> {
        self.log().rpcs.clone()
    }

    /// What made this session believe that the driver is gone or stuck.
    pub(crate) fn trouble(&self) -> Option<(Cause, String)> {
        self.log().trouble.clone()
    }

    fn log(&self) -> std::sync::MutexGuard<'_, CallLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self) -> csi::identity_client::IdentityClient<Channel> {
        csi::identity_client::IdentityClient::new(self.identity.clone())
    }

    fn controller(&self) -> csi::controller_client::ControllerClient<Channel> {
        csi::controller_client::ControllerClient::new(self.controller.clone())
    }

    fn group_controller(&self) -> csi::group_controller_client::GroupControllerClient<Channel> {
        csi::group_controller_client::GroupControllerClient::new(self.controller.clone())
    }

    fn node(&self) -> csi::node_client::NodeClient<Channel> {
        csi::node_client::NodeClient::new(self.node.clone())
    }

    async fn call<Q, A, F, R>(&self, rpc: &'static str, message: Q, send: F) -> Answer<A>
    where
        Q: Blank,
        A: Debug,
        F: FnOnce(Request<Q>) -> R,
        R: Future<Output = Result<Response<A>, Status>>,
    {
        let shown = abbreviate(&message.blanked());
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        let start = Instant::now();
        let answer = match tokio::time::timeout(self.deadline, send(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.refusal(rpc, &status, start.elapsed())),
            Err(_elapsed) => Err(self.no_answer(rpc)),
        };
        let mut log = self.log();
        if let Err(refusal) = &answer
            && refusal.cause != Cause::Driver
        {
            log.trouble = Some((refusal.cause, refusal.message.clone()));
        }
        log.rpcs.insert(rpc);
        if log.calls.len() == CALLS_KEPT {
            log.calls.pop_front();
        }
        log.calls.push_back(CallRecord {
            rpc,
            request: shown,
            answer: match &answer {
                Ok(response) => format!("OK {}", abbreviate(response)),
                Err(refusal) => clip(refusal.to_string()),
            },
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        answer
    }

    fn refusal(&self, rpc: &str, status: &Status, elapsed: Duration) -> Refusal {
        if elapsed >= self.deadline {
            return self.no_answer(rpc);
        }
        match std::error::Error::source(status) {
            None => Refusal { code: status.code(), message: status.message().to_owned(), cause: Cause::Driver },
            Some(source) => Refusal {
                code: status.code(),
                message: format!("the connection failed during {rpc}: {}", with_causes(source)),
                cause: Cause::Transport,
            },
        }
    }

    fn no_answer(&self, rpc: &str) -> Refusal {
        Refusal {
            code: Code::DeadlineExceeded,
            message: format!("no answer to {rpc} within {:?}", self.deadline),
            cause: Cause::Deadline,
        }
    }
}

/// A request that can be shown: secrets (fields marked `csi_secret`) are blanked.
trait Blank: Debug + Clone {
    fn blanked(&self) -> Self {
        self.clone()
    }
}

fn blank_values(secrets: &mut std::collections::HashMap<String, String>) {
    for value in secrets.values_mut() {
        "***".clone_into(value);
    }
}

macro_rules! blank {
    ($request:ident, open) => {
        impl Blank for csi::$request {}
    };
    ($request:ident, secret) => {
        impl Blank for csi::$request {
            fn blanked(&self) -> Self {
                let mut copy = self.clone();
                blank_values(&mut copy.secrets);
                copy
            }
        }
    };
}

macro_rules! client {
    ($($service:ident $module:ident $trait:ident {
        $($method:ident($request:ident) -> $response:ident, $name:literal, $secrecy:ident;)*
    })*) => {
        $($(blank!($request, $secrecy);)*)*

        impl Session {
            $($(
                #[doc = concat!("Calls `", $name, "`.")]
                ///
                /// # Errors
                /// The driver's status, or ours when no answer came.
                pub async fn $method(&self, request: csi::$request) -> Answer<csi::$response> {
                    let mut client = self.$service();
                    self.call($name, request, |request| async move { client.$method(request).await }).await
                }
            )*)*
        }
    };
}
every_rpc!(client);

fn abbreviate(message: &impl Debug) -> String {
    clip(format!("{message:?}"))
}

fn clip(mut text: String) -> String {
    if text.len() > TEXT_KEPT {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(TEXT_KEPT));
        text.push_str(&format!("… ({whole} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let request = csi::CreateVolumeRequest {
            secrets: [("password".to_owned(), "hunter2".to_owned())].into(),
            parameters: [("visible".to_owned(), "yes".to_owned())].into(),
            ..Default::default()
        };
        let shown = abbreviate(&request.blanked());
        assert!(shown.contains("password") && shown.contains("visible") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let text = clip("é".repeat(TEXT_KEPT));
        assert!(text.len() < TEXT_KEPT + 32 && text.ends_with("bytes)"), "{}", text.len());
    }
}
