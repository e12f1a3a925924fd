//! fake-efs inside the cluster, asked through the API server.

use http::Method;
use serde_json::{Value, json};

use super::cluster::Cluster;

/// The fake's admin API.
#[derive(Clone, Debug)]
pub struct FakeAdmin {
    cluster: Cluster,
    namespace: String,
}

impl FakeAdmin {
    /// The fake that the chart installed in `namespace`.
    pub fn new(cluster: Cluster, namespace: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned() }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let text = self.cluster.page(method, &self.namespace, "services/fake-efs:http", path, body).await?;
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Everything that the fake knows.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn state(&self) -> anyhow::Result<Value> {
        self.ask(Method::GET, "/_fake/state", None).await
    }

    /// The calls so far.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn journal(&self) -> anyhow::Result<Value> {
        self.ask(Method::GET, "/_fake/journal", None).await
    }

    /// The calls of one operation so far, as text.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn journal_of(&self, operation: &str) -> anyhow::Result<String> {
        Ok(self.ask(Method::GET, &format!("/_fake/journal?operation={operation}"), None).await?.to_string())
    }

    /// Gives the pods of a service account a role (a pod identity association).
    ///
    /// # Errors
    /// When the fake doesn't take it.
    pub async fn associate(&self, namespace: &str, account: &str, role: &str) -> anyhow::Result<()> {
        let association = json!({ "namespace": namespace, "service_account": account, "role": role });
        self.ask(Method::POST, "/_fake/pod-associations", Some(&association)).await?;
        Ok(())
    }

    /// Is there an access point of this id?
    ///
    /// # Errors
    /// When the fake doesn't answer.
    pub async fn has_access_point(&self, id: &str) -> anyhow::Result<bool> {
        Ok(self.access_points().await?.iter().any(|a| a["AccessPointId"] == id))
    }

    /// All access points, as the EFS API describes them.
    ///
    /// # Errors
    /// When the fake doesn't answer.
    pub async fn access_points(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.ask(Method::GET, "/2015-02-01/access-points?MaxResults=1000", None).await?;
        Ok(answer["AccessPoints"].as_array().cloned().unwrap_or_default())
    }

    /// Makes calls go wrong from now on.
    ///
    /// # Errors
    /// When the fake doesn't take the rule.
    pub async fn add_fault(&self, operation: &str, effect: &Value) -> anyhow::Result<()> {
        self.ask(Method::POST, "/_fake/faults", Some(&json!({"operation": operation, "effect": effect}))).await?;
        Ok(())
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// When the fake doesn't answer.
    pub async fn clear_faults(&self) -> anyhow::Result<()> {
        self.ask(Method::DELETE, "/_fake/faults", None).await?;
        Ok(())
    }
}
