//! What Kubernetes knows about this node: its Node object (labels, taints) and its CSINode object (registered drivers).

use std::time::Duration;

use async_trait::async_trait;
use efs_common::causes::causes;
use k8s_openapi::api::core::v1::{Node, ServiceAccount, Taint};
use k8s_openapi::api::storage::v1::CSINode;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::blocking::Blocking;
use crate::efs::metadata::{NoFacts, NodeFacts, NodeObject};
use crate::kubernetes::{self, Deadline, Unanswered};

/// The API server answers in milliseconds, or is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The zone's id on nodes of Amazon EKS and the AWS cloud provider.
const ZONE_ID_LABEL: &str = "topology.k8s.aws/zone-id";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// The annotation that names a service account's role.
pub(super) const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// Why Kubernetes can't be asked, with the fix where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct ClusterError {
    what: String,
    reason: String,
    /// Whether the API server can't be reached, or is out of order.
    pub(crate) is_away: bool,
}

/// This node's objects, read through the API server by the pod's service account or a kubeconfig.
pub struct ThisNode {
    name: String,
    blocking: Blocking,
    client: OnceCell<Client>,
    deadline: Deadline,
}

impl std::fmt::Debug for ThisNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThisNode").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ThisNode {
    /// The node called `name`. The API server is looked for when it is first needed.
    pub fn new(name: String) -> Self {
        Self { name, blocking: Blocking::default(), client: OnceCell::new(), deadline: Deadline::new(ANSWER_WITHIN) }
    }

    /// The same, whose reading of files is seen in `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    /// The same through a client that exists.
    pub fn with_client(name: String, client: Client) -> Self {
        Self { client: OnceCell::new_with(Some(client)), ..Self::new(name) }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Node object.
    ///
    /// # Errors
    /// When it can't be read in time.
    pub async fn node(&self) -> Result<Node, ClusterError> {
        let what = format!("node {}", self.name);
        let read = async |client| Api::<Node>::all(client).get(&self.name).await;
        self.ask(what, "allow get on nodes", read).await
    }

    /// The drivers that the kubelet has registered on this node, each with the limit of volumes that it announced.
    ///
    /// # Errors
    /// When the CSINode object can't be read in time. A missing one has no drivers.
    pub async fn drivers(&self) -> Result<Vec<(String, Option<i32>)>, ClusterError> {
        let what = format!("CSINode {}", self.name);
        let read = async |client| Api::<CSINode>::all(client).get_opt(&self.name).await;
        let found = self.ask(what, "allow get on csinodes", read).await?;
        let drivers = found.map(|node| node.spec.drivers).unwrap_or_default();
        Ok(drivers.into_iter().map(|driver| (driver.name, driver.allocatable.and_then(|it| it.count))).collect())
    }

    /// The role that a service account is annotated with.
    ///
    /// # Errors
    /// When the service account can't be read in time.
    pub async fn role_of(&self, namespace: &str, account: &str) -> Result<Option<String>, ClusterError> {
        let what = format!("service account {namespace}/{account}");
        let read = async |client| Api::<ServiceAccount>::namespaced(client, namespace).get(account).await;
        let found = self.ask(what, "allow get on serviceaccounts", read).await?;
        let annotations = found.metadata.annotations.unwrap_or_default();
        Ok(annotations.get(ROLE_ANNOTATION).filter(|role| !role.is_empty()).cloned())
    }

    /// Replaces the taints, provided that they are still `old`: a taint that somebody else changes meanwhile is not lost.
    ///
    /// # Errors
    /// When the taints have changed, or the API server refuses or doesn't answer in time.
    pub async fn replace_taints(&self, old: &[Taint], new: &[Taint]) -> Result<Node, ClusterError> {
        let patch = json!([
            {"op": "test", "path": "/spec/taints", "value": old},
            {"op": "replace", "path": "/spec/taints", "value": new},
        ]);
        let what = format!("taints of node {}", self.name);
        let write = async |client: Client| {
            let request = http::Request::patch(format!("/api/v1/nodes/{}", self.name))
                .header(http::header::CONTENT_TYPE, "application/json-patch+json")
                .body(patch.to_string().into_bytes())
                .map_err(kube::Error::HttpError)?;
            client.request::<Node>(request).await
        };
        self.ask(what, "allow patch on nodes", write).await
    }

    /// Asks under a deadline and explains a failure.
    pub(super) async fn ask<T, F>(
        &self,
        what: String,
        permission: &str,
        question: impl FnOnce(Client) -> F,
    ) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        // Boxed: the client's futures are large, and callers would carry them.
        let asked = Box::pin(async {
            let client = self.client.get_or_try_init(|| kubernetes::client(&self.blocking)).await?.clone();
            Ok::<_, Unanswered>(question(client).await?)
        });
        let (reason, is_away) = match self.deadline.ask(asked, Unanswered::is_told).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Unanswered::Kube(kube::Error::Api(status)))) if status.code == 403 => {
                (format!("{}; {permission} in the RBAC of the node's service account", status.message), false)
            }
            Ok(Err(error)) => (causes(&error), error.is_away()),
            Err(silent) => (silent.to_string(), true),
        };
        Err(ClusterError { what, reason, is_away })
    }
}

#[async_trait]
impl NodeObject for ThisNode {
    async fn facts(&self) -> Result<NodeFacts, NoFacts> {
        let unread = |error: ClusterError| NoFacts { reason: error.to_string(), is_away: error.is_away };
        let node = self.node().await.map_err(unread)?;
        let labels = node.metadata.labels.unwrap_or_default();
        let label = |key: &str| labels.get(key).filter(|value| !value.is_empty()).cloned();
        let provider_id = node.spec.and_then(|spec| spec.provider_id).unwrap_or_default();
        Ok(NodeFacts {
            // Where the provider gives no id, the node's name tells it from others just as well.
            node_id: instance_id(&provider_id).unwrap_or(&self.name).to_owned(),
            region: label(REGION_LABEL),
            zone: label(ZONE_LABEL),
            zone_id: label(ZONE_ID_LABEL),
        })
    }
}

/// The instance's id in a provider id such as `aws:///us-east-1a/i-0123456789abcdef0`, by the Go driver's rules: `i-…` of EC2,
/// or the 32 letters and digits of a Fargate task.
fn instance_id(provider_id: &str) -> Option<&str> {
    let last = provider_id.rsplit('/').next()?;
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_instance = last.strip_prefix("i-").is_some_and(plain);
    (is_instance || (last.len() == 32 && plain(last))).then_some(last)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::Value;

    /// What an API server in memory does with a call: method, path and body to status and answer.
    pub(crate) type Answer = dyn FnMut(&str, &str, Value) -> (u16, Value) + Send;

    /// A node whose API server is a function.
    pub(crate) fn node(answer: impl FnMut(&str, &str, Value) -> (u16, Value) + Send + 'static) -> ThisNode {
        let answer: Arc<Mutex<Box<Answer>>> = Arc::new(Mutex::new(Box::new(answer)));
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = Arc::clone(&answer);
            async move {
                let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
                let content = request.headers().get("content-type").map(|it| it.to_str().unwrap().to_owned());
                let body = request.into_body().collect_bytes().await.unwrap();
                if method == "PATCH" && path.contains("/nodes/") {
                    assert_eq!(content.as_deref(), Some("application/json-patch+json"));
                }
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let (status, answer) = (answer.lock().unwrap())(&method, &path, body);
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(answer).unwrap())
            }
        });
        ThisNode::with_client("node-a".to_owned(), Client::new(service, "default"))
    }

    /// The answer of an API server that refuses.
    pub(crate) fn refusal(code: u16, message: &str) -> (u16, Value) {
        let status = json!({"kind": "Status", "status": "Failure", "message": message, "reason": "x", "code": code});
        (code, status)
    }

    #[tokio::test]
    async fn labels_and_provider_id_tell_zone_region_and_instance() {
        let labels = json!({REGION_LABEL: "us-east-1", ZONE_LABEL: "us-east-1a", ZONE_ID_LABEL: "use1-az4"});
        let object = json!({
            "metadata": {"name": "node-a", "labels": labels},
            "spec": {"providerID": "aws:///us-east-1a/i-0123456789abcdef0"},
        });
        let this = node(move |method, path, _| {
            assert_eq!((method, path), ("GET", "/api/v1/nodes/node-a"));
            (200, object.clone())
        });
        let facts = this.facts().await.unwrap();
        assert_eq!(facts.node_id, "i-0123456789abcdef0");
        assert_eq!(facts.region.as_deref(), Some("us-east-1"));
        assert_eq!(facts.zone.as_deref(), Some("us-east-1a"));
        assert_eq!(facts.zone_id.as_deref(), Some("use1-az4"));
    }

    #[tokio::test]
    async fn a_bare_node_is_known_by_its_name_only() {
        let this = node(|_, _, _| (200, json!({"metadata": {"name": "node-a", "labels": {ZONE_LABEL: ""}}})));
        let facts = this.facts().await.unwrap();
        assert_eq!((facts.node_id.as_str(), facts.region, facts.zone), ("node-a", None, None));
    }

    #[tokio::test]
    async fn a_missing_permission_names_itself() {
        let this = node(|_, _, _| refusal(403, "nodes \"node-a\" is forbidden"));
        let NoFacts { reason: error, is_away } = this.facts().await.unwrap_err();
        assert!(!is_away && error.contains("forbidden") && error.contains("allow get on nodes"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_api_server_is_given_up_on() {
        let service =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let this = ThisNode::with_client("node-a".to_owned(), Client::new(service, "default"));
        let begun = tokio::time::Instant::now();
        for _ in 0..3 {
            let NoFacts { reason, is_away } = this.facts().await.unwrap_err();
            assert!(is_away && reason.ends_with("the API server gave no answer within 5 s"), "{reason}");
        }
        assert_eq!(begun.elapsed(), ANSWER_WITHIN);
    }

    #[test]
    fn provider_ids_are_read_like_the_go_driver_reads_them() {
        for (text, want) in [
            ("aws:///us-east-1a/i-0abc", Some("i-0abc")),
            ("aws:///us-east-1a/00000000/0123456789abcdef0123456789abcdef", Some("0123456789abcdef0123456789abcdef")),
            ("i-0abc", Some("i-0abc")),
            ("kind://docker/kind/kind-control-plane", None),
            ("aws:///us-east-1a/i-", None),
            ("", None),
        ] {
            assert_eq!(instance_id(text), want, "{text}");
        }
    }
}
