//! What this node is: its name, region and availability zone.
//!
//! What the operator says in flags counts, and asks nobody. What is left open is taken from the instance metadata service, and
//! where there is none (kind, on-premises and hybrid nodes, a hop limit of 1) from the labels of the Kubernetes node object. Each
//! value is looked up when it is first needed and under a deadline, so a driver that is told everything asks nobody, and one
//! that can't find out starts all the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use efs_common::causes::causes;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::http_client::http_client;
use super::profiles::Profiles;
use crate::blocking::{Blocking, apart};
use crate::files::FileError;

/// The metadata service answers from the same host; this is generous.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A metadata service that didn't answer is not asked again for this long.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// `--node-id`.
    pub node_id: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `--availability-zone`.
    pub availability_zone: Option<String>,
}

/// What a node object in Kubernetes says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The instance's id, or the node's name.
    pub node_id: String,
    /// The region.
    pub region: Option<String>,
    /// The availability zone's name.
    pub zone: Option<String>,
    /// The availability zone's id.
    pub zone_id: Option<String>,
}

/// Why a node object can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoFacts {
    /// The reason.
    pub reason: String,
    /// Whether the API server can't be reached, or is out of order.
    pub is_away: bool,
}

/// Reads the node object.
#[async_trait]
pub trait NodeObject: std::fmt::Debug + Send + Sync {
    /// What it says now, or why it can't be read. Must answer or give up within seconds.
    async fn facts(&self) -> Result<NodeFacts, NoFacts>;
}

/// A value that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what}: no {flag}, no {variable}, {reason}")]
pub struct UnknownError {
    what: &'static str,
    flag: &'static str,
    variable: &'static str,
    reason: String,
    /// Whether the API server, which may know it, is away.
    pub(crate) is_away: bool,
}

#[cfg(test)]
impl UnknownError {
    /// An unknown region.
    pub(crate) fn for_test(is_away: bool) -> Self {
        let reason = if is_away { "the API server is away" } else { "nobody knows it" }.to_owned();
        Self { what: "region", flag: "--region", variable: "AWS_REGION", reason, is_away }
    }
}

/// One value that can be looked up.
struct Value {
    /// Its path below `/latest/meta-data`.
    path: &'static str,
    /// Where it is in the node object.
    pick: fn(&NodeFacts) -> Option<String>,
}

const NODE_ID: Value = Value { path: "instance-id", pick: |facts| Some(facts.node_id.clone()) };
const REGION: Value = Value { path: "placement/region", pick: |facts| facts.region.clone() };
const ZONE: Value = Value { path: "placement/availability-zone", pick: |facts| facts.zone.clone() };
const ZONE_ID: Value = Value { path: "placement/availability-zone-id", pick: |facts| facts.zone_id.clone() };

/// This node's properties.
#[derive(Debug)]
pub struct Metadata {
    given: Given,
    region_variable: Option<String>,
    imds: Imds,
    node_object: Option<Arc<dyn NodeObject>>,
    node_id: OnceCell<String>,
    region: OnceCell<String>,
    zone: OnceCell<String>,
    zone_id: OnceCell<String>,
}

impl Metadata {
    /// `region_variable` is the value of `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub fn new(given: Given, region_variable: Option<String>) -> Self {
        Self {
            given,
            region_variable,
            imds: Imds::default(),
            node_object: None,
            node_id: OnceCell::new(),
            region: OnceCell::new(),
            zone: OnceCell::new(),
            zone_id: OnceCell::new(),
        }
    }

    /// The same, which also asks Kubernetes.
    #[must_use]
    pub fn with_node_object(self, node_object: Option<Arc<dyn NodeObject>>) -> Self {
        Self { node_object, ..self }
    }

    /// The same, whose reading of files is seen in `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { imds: Imds { blocking, ..self.imds }, ..self }
    }

    /// The same, without the instance metadata service (`AWS_EC2_METADATA_DISABLED`, or nodes where it describes another
    /// machine).
    #[must_use]
    pub fn without_imds(self) -> Self {
        Self { imds: Imds { disabled: true, ..self.imds }, ..self }
    }

    /// The node's name for CSI.
    pub async fn node_id(&self) -> Result<String, UnknownError> {
        if let Some(id) = &self.given.node_id {
            return Ok(id.clone());
        }
        self.ask(&self.node_id, &NODE_ID).await.map_err(|NoFacts { reason, is_away }| UnknownError {
            what: "node id",
            flag: "--node-id",
            variable: "CSI_NODE_NAME",
            reason,
            is_away,
        })
    }

    /// The region.
    pub async fn region(&self) -> Result<String, UnknownError> {
        if let Some(region) = self.given.region.as_ref().or(self.region_variable.as_ref()) {
            return Ok(region.clone());
        }
        self.ask(&self.region, &REGION).await.map_err(|NoFacts { reason, is_away }| UnknownError {
            what: "region",
            flag: "--region",
            variable: "AWS_REGION",
            reason,
            is_away,
        })
    }

    /// The availability zone's name, if it can be found out.
    pub async fn zone(&self) -> Option<String> {
        if self.given.availability_zone.is_some() {
            return self.given.availability_zone.clone();
        }
        self.ask_unless_told(&self.zone, &ZONE).await
    }

    /// The availability zone's id, e.g. `use1-az1`, if it can be found out.
    pub async fn zone_id(&self) -> Option<String> {
        self.ask_unless_told(&self.zone_id, &ZONE_ID).await
    }

    /// Asks others only when the flags leave something open: with all of them given, there may be nobody to ask.
    async fn ask_unless_told(&self, cell: &OnceCell<String>, value: &Value) -> Option<String> {
        let Given { node_id, region, availability_zone } = &self.given;
        if node_id.is_some() && region.is_some() && availability_zone.is_some() {
            return None;
        }
        self.ask(cell, value).await.ok()
    }

    async fn ask(&self, cell: &OnceCell<String>, value: &Value) -> Result<String, NoFacts> {
        let asked = async {
            let imds = match self.imds.ask(value.path).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => format!("the instance metadata service says: {reason}"),
            };
            let told = |reason| Err(NoFacts { reason, is_away: false });
            let Some(object) = &self.node_object else { return told(imds) };
            match object.facts().await.map(|facts| (value.pick)(&facts)) {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => told(format!("{imds}, and the node object has no label for it")),
                Err(NoFacts { reason, is_away }) => {
                    Err(NoFacts { reason: format!("{imds}, and the node object can't be read: {reason}"), is_away })
                }
            }
        };
        cell.get_or_try_init(|| asked).await.cloned()
    }
}

/// The instance metadata service.
#[derive(Debug, Default)]
struct Imds {
    disabled: bool,
    blocking: Blocking,
    client: OnceCell<aws_config::imds::Client>,
    absent_since: Mutex<Option<Instant>>,
}

/// Why the instance metadata service has told nothing.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("switched off")]
    Off,
    #[error("no answer a moment ago")]
    Lately,
    #[error("no answer")]
    Silent,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}", causes(.0.as_ref()))]
    Failed(#[source] Box<ImdsError>),
}

impl Imds {
    async fn ask(&self, path: &str) -> Result<String, Untold> {
        if self.disabled {
            return Err(Untold::Off);
        }
        let absent = || self.absent_since.lock().unwrap_or_else(PoisonError::into_inner);
        // Publishing a volume asks for the region: it must not wait for a silent address each time.
        if absent().is_some_and(|since| since.elapsed() < ABSENT_FOR) {
            return Err(Untold::Lately);
        }
        // The SDK looks into the profile for the service's address, by itself.
        Profiles::of_process(&self.blocking).await?;
        // Boxed: the SDK's futures are so deep that the compiler gives up on what contains them.
        let asked = Box::pin(async {
            let client = self.client.get_or_init(|| async {
                let config = ProviderConfig::without_region().with_http_client(http_client(&self.blocking));
                aws_config::imds::Client::builder()
                    .configure(&config)
                    .connect_timeout(Duration::from_secs(1))
                    .read_timeout(Duration::from_secs(1))
                    .max_attempts(2)
                    .build()
            });
            let (client, path) = (client.await.clone(), format!("/latest/meta-data/{path}"));
            apart(async move { client.get(path).await }).await
        });
        let (there, answer) = match timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(value)) => (true, Ok(value.as_ref().to_owned())),
            Ok(Err(error)) => (matches!(error, ImdsError::ErrorResponse(_)), Err(Untold::Failed(Box::new(error)))),
            Err(_) => (false, Err(Untold::Silent)),
        };
        *absent() = (!there).then(Instant::now);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_efs::FakeEfs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A node object that counts how often it is read.
    #[derive(Debug)]
    struct Object {
        facts: Result<NodeFacts, NoFacts>,
        reads: AtomicUsize,
    }

    #[async_trait]
    impl NodeObject for Object {
        async fn facts(&self) -> Result<NodeFacts, NoFacts> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.facts.clone()
        }
    }

    fn object(facts: Result<NodeFacts, NoFacts>) -> Arc<Object> {
        Arc::new(Object { facts, reads: AtomicUsize::new(0) })
    }

    fn labels() -> NodeFacts {
        NodeFacts {
            node_id: "i-label".to_owned(),
            region: Some("label-region".to_owned()),
            zone: Some("label-zone".to_owned()),
            zone_id: None,
        }
    }

    /// A metadata service at `url`.
    fn with_imds(metadata: Metadata, url: &str) -> Metadata {
        let client = aws_config::imds::Client::builder().endpoint(url).expect("URL").max_attempts(1).build();
        Metadata { imds: Imds { client: OnceCell::new_with(Some(client)), ..Imds::default() }, ..metadata }
    }

    /// An address of this machine at which nobody listens.
    async fn nobody() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        format!("http://{}", listener.local_addr().expect("address"))
    }

    #[tokio::test]
    async fn flags_are_believed_without_asking() {
        let given = Given {
            node_id: Some("n".to_owned()),
            region: Some("r".to_owned()),
            availability_zone: Some("z".to_owned()),
        };
        let object = object(Ok(labels()));
        let metadata = Metadata::new(given, Some("other".to_owned())).with_node_object(Some(object.clone()));
        assert_eq!(metadata.node_id().await.expect("node id"), "n");
        assert_eq!(metadata.region().await.expect("region"), "r");
        assert_eq!(metadata.zone().await.as_deref(), Some("z"));
        assert_eq!(metadata.zone_id().await, None);
        assert!(!metadata.imds.client.initialized());
        assert_eq!(object.reads.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_metadata_service_is_believed_before_the_labels() {
        let fake = FakeEfs::builder().start().await.expect("fake");
        let object = object(Ok(labels()));
        let metadata = Metadata::new(Given::default(), None).with_node_object(Some(object.clone()));
        let metadata = with_imds(metadata, &fake.http_url());
        assert_eq!(metadata.region().await.expect("region"), "us-east-1");
        assert!(metadata.zone().await.expect("zone").starts_with("us-east-1"));
        assert!(metadata.node_id().await.expect("node id").starts_with("i-"));
        assert_ne!(metadata.node_id().await.expect("node id"), "i-label");
        assert_eq!(object.reads.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn without_a_metadata_service_the_labels_tell_and_each_value_is_read_once() {
        let object = object(Ok(labels()));
        let metadata = Metadata::new(Given::default(), None).with_node_object(Some(object.clone()));
        let metadata = with_imds(metadata, &nobody().await);
        for _ in 0..3 {
            assert_eq!(metadata.region().await.expect("region"), "label-region");
            assert_eq!(metadata.zone().await.as_deref(), Some("label-zone"));
            assert_eq!(metadata.node_id().await.expect("node id"), "i-label");
        }
        assert_eq!(object.reads.load(Ordering::Relaxed), 3);
        // A label that is not there yet may come; it is looked for again.
        assert_eq!((metadata.zone_id().await, metadata.zone_id().await), (None, None));
        assert_eq!(object.reads.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn what_nobody_knows_names_everybody_that_was_asked() {
        let metadata = Metadata::new(Given::default(), None).without_imds();
        let error = metadata.region().await.expect_err("unknown").to_string();
        let want = "unknown region: no --region, no AWS_REGION, the instance metadata service says: switched off";
        assert_eq!(error, want);
        let refusing =
            metadata.with_node_object(Some(object(Err(NoFacts { reason: "forbidden".to_owned(), is_away: false }))));
        let error = refusing.node_id().await.expect_err("unknown").to_string();
        assert!(error.ends_with("and the node object can't be read: forbidden"), "{error}");
        let bare = NodeFacts { node_id: "n".to_owned(), ..NodeFacts::default() };
        let unlabelled = refusing.with_node_object(Some(object(Ok(bare))));
        let error = unlabelled.region().await.expect_err("unknown").to_string();
        assert!(error.ends_with("and the node object has no label for it"), "{error}");
        assert_eq!(unlabelled.zone().await, None);
    }

    #[tokio::test]
    async fn an_absent_metadata_service_is_left_alone_for_a_while() {
        let metadata = with_imds(Metadata::new(Given::default(), None), &nobody().await);
        let first = metadata.region().await.expect_err("unknown").to_string();
        assert!(!first.contains("a moment ago"), "{first}");
        let second = metadata.zone_id().await;
        let third = metadata.region().await.expect_err("unknown").to_string();
        assert!(second.is_none() && third.contains("no answer a moment ago"), "{third}");
    }
}
