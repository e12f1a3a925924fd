//! The cluster's id, which tells what it has made from what other clusters on the same file system have: the uid of its namespace
//! kube-system, or what `--cluster-id` says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;

use super::cluster::{Cluster, ClusterError};
use super::{Controller, ControllerError};

/// How long the id is taken for known. It never changes.
const KNOWN_AGE: Duration = Duration::from_secs(10 * 60);

/// How long it counts as unknown after a question that failed, so that not every call waits for an API server that says nothing.
const UNKNOWN_AGE: Duration = Duration::from_secs(20);

/// What is known of the id.
#[derive(Debug, Clone)]
enum Known {
    Id(String),
    /// The driver runs outside a cluster.
    NoCluster,
    /// It can't be found out just now; `for_good` where the service account may not ask.
    Unknown {
        why: Arc<ControllerError>,
        for_good: bool,
    },
}

/// The id as it was last found out.
#[derive(Debug)]
pub(super) struct ClusterId(Cache<(), Known>);

struct Ages;

impl Expiry<(), Known> for Ages {
    fn expire_after_create(&self, (): &(), known: &Known, _: Instant) -> Option<Duration> {
        Some(if matches!(known, Known::Unknown { .. }) { UNKNOWN_AGE } else { KNOWN_AGE })
    }
}

impl Default for ClusterId {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(1).expire_after(Ages).build())
    }
}

impl ClusterId {
    async fn get(&self, cluster: &dyn Cluster) -> Known {
        let ask = async {
            match cluster.id().await {
                Ok(Some(id)) => Known::Id(id),
                Ok(None) => Known::NoCluster,
                Err(error) => {
                    let for_good =
                        matches!(error, ControllerError::Cluster { source: ClusterError::Forbidden { .. }, .. });
                    tracing::warn!(%error, "the cluster's id is unknown; what carries a cluster's name is not deleted");
                    Known::Unknown { why: Arc::new(error), for_good }
                }
            }
        };
        self.0.get_with((), ask).await
    }
}

impl Controller {
    /// The cluster's name, as far as it is known. Nothing outside a cluster.
    pub(super) async fn cluster_id(&self) -> Option<String> {
        match self.known_id().await {
            Known::Id(id) => Some(id),
            Known::NoCluster | Known::Unknown { .. } => None,
        }
    }

    /// The name that what is made now shall carry. Nothing outside a cluster, or where the service account may not find it out.
    ///
    /// # Errors
    /// When it can't be found out just now: without it, what is made would be anybody's.
    pub(super) async fn name_for_new(&self) -> Result<Option<String>, ControllerError> {
        match self.known_id().await {
            Known::Id(id) => Ok(Some(id)),
            Known::NoCluster | Known::Unknown { for_good: true, .. } => Ok(None),
            Known::Unknown { why, .. } => Err(unknown(why)),
        }
    }

    async fn known_id(&self) -> Known {
        match &self.config.cluster_id {
            Some(id) => Known::Id(id.clone()),
            None => self.cluster_id.get(&*self.cluster).await,
        }
    }

    /// Which of these clusters are not this one. Its own are the id of `--cluster-id` and the one that it had, or would have, without.
    /// Whoever runs outside a cluster is none of them.
    ///
    /// # Errors
    /// When it can't be told: then nothing that carries a cluster's name may be deleted.
    pub(super) async fn others_among<'a>(&self, clusters: &[&'a str]) -> Result<Vec<&'a str>, ControllerError> {
        let given = self.config.cluster_id.as_deref();
        let mut others: Vec<&str> = clusters.iter().copied().filter(|cluster| Some(*cluster) != given).collect();
        if others.is_empty() {
            return Ok(others);
        }
        match self.cluster_id.get(&*self.cluster).await {
            Known::Id(own) => others.retain(|cluster| *cluster != own),
            Known::NoCluster => {}
            Known::Unknown { why, .. } => return Err(unknown(why)),
        }
        Ok(others)
    }
}

fn unknown(why: Arc<ControllerError>) -> ControllerError {
    ControllerError::Cluster { what: "the cluster's id".to_owned(), source: ClusterError::IdUnknown(why) }
}
