//! Why the API server of Kubernetes did not give what the controller asked for.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use efs_common::causes::causes;
use efs_common::retry::Retry;

/// What else failed, told to all calls that waited for the same answer.
type Cause = Arc<dyn Error + Send + Sync>;

/// Why there is no answer that helps.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// The service account may not ask this.
    #[error("{words}; allow {verb} on it in the RBAC of the controller's service account")]
    Forbidden {
        /// What it may not do.
        verb: &'static str,
        /// The API server's words.
        words: String,
    },
    /// The API server refuses for a reason that it keeps, such as that there is no such object.
    #[error("{0}")]
    Refused(String),
    /// The API server has too much to do, or is out of order.
    #[error("{0}")]
    Busy(String),
    /// Nothing answers, or what answers makes no sense.
    #[error("{}", causes(.0.as_ref()))]
    Unreachable(#[source] Arc<kube::Error>),
    /// No answer came in time.
    #[error("{0}")]
    Silent(#[source] Cause),
    /// All answers together came too late.
    #[error("the API server did not list all within {} s", .0.as_secs())]
    SlowList(Duration),
    /// There is no kubeconfig and no service account, or they can't be used.
    #[error("no way to the API server: {}", causes(.0.as_ref()))]
    NoWay(#[source] Cause),
    /// A question without whose answer nothing may be deleted.
    #[error("{0}")]
    Needed(#[source] Cause),
    /// Who this cluster is can't be found out.
    #[error("{0}; until then nothing is made, and nothing is deleted that clusters have made, or set --cluster-id")]
    IdUnknown(#[source] Cause),
}

impl ClusterError {
    /// From an answer that is none. `verb` is what was asked for.
    pub(super) fn from_answer(verb: &'static str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else { return Self::Unreachable(Arc::new(error)) };
        // The API server's own words; the error's are a dump of its answer.
        let words = if status.message.is_empty() { causes(&error) } else { status.message.clone() };
        match status.code {
            403 => Self::Forbidden { verb, words },
            429 | 500.. => Self::Busy(words),
            _ => Self::Refused(words),
        }
    }

    /// Whether it is worth another try.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Forbidden { .. } | Self::Refused(_) | Self::NoWay(_) => Retry::Never,
            Self::Busy(_) | Self::Unreachable(_) | Self::Silent(_) | Self::SlowList(_) => Retry::Later,
            // Whatever it was: with a final answer csi-provisioner would forget a volume whose directory may still be somebody's.
            Self::Needed(_) | Self::IdUnknown(_) => Retry::Later,
        }
    }
}
