//! Every object that the chart renders is read into the Kubernetes API's own types, and nothing of it may get lost there: a
//! field that the API server would drop or refuse (a wrong name, a wrong level, a wrong type) fails here.

use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, networking::v1 as networking, policy::v1 as policy};
use k8s_openapi::api::{rbac::v1 as rbac, storage::v1 as storage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::helm::{Helm, values_file};

/// Reads a document into `T`, writes it again, and names what the second lacks or has differently.
fn lost_in<T: Serialize + for<'de> Deserialize<'de>>(document: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(document.clone()) {
        Err(error) => vec![error.to_string()],
        Ok(typed) => {
            let mut lost = Vec::new();
            compare("", document, &serde_json::to_value(typed).expect("API types are JSON"), &mut lost);
            lost
        }
    }
}

fn compare(path: &str, given: &Value, kept: &Value, lost: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                match kept.get(key) {
                    Some(kept) => compare(&format!("{path}.{key}"), value, kept, lost),
                    None => lost.push(format!("{path}.{key}")),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                compare(&format!("{path}[{index}]"), given, kept, lost);
            }
        }
        _ if given == kept => {}
        _ => lost.push(format!("{path}: {given} became {kept}")),
    }
}

/// The parts of the Prometheus operator's objects that the chart uses; their API types come with the operator.
mod monitoring {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Monitor {
        api_version: String,
        kind: String,
        metadata: Metadata,
        spec: Spec,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Metadata {
        name: String,
        namespace: String,
        labels: BTreeMap<String, String>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Spec {
        selector: Selector,
        namespace_selector: Namespaces,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        endpoints: Vec<Endpoint>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pod_metrics_endpoints: Vec<Endpoint>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Selector {
        match_labels: BTreeMap<String, String>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Namespaces {
        match_names: Vec<String>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Endpoint {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port_number: Option<u16>,
        path: String,
        interval: String,
    }
}

/// What Kubernetes would drop of this object, or why it would refuse it.
pub(crate) fn lost(document: &Value) -> Vec<String> {
    let kind = format!("{}/{}", document["apiVersion"].as_str().unwrap_or(""), document["kind"].as_str().unwrap_or(""));
    match kind.as_str() {
        "apps/v1/Deployment" => lost_in::<apps::Deployment>(document),
        "apps/v1/StatefulSet" => lost_in::<apps::StatefulSet>(document),
        "apps/v1/DaemonSet" => lost_in::<apps::DaemonSet>(document),
        "v1/ConfigMap" => lost_in::<core::ConfigMap>(document),
        "v1/PersistentVolume" => lost_in::<core::PersistentVolume>(document),
        "v1/PersistentVolumeClaim" => lost_in::<core::PersistentVolumeClaim>(document),
        "v1/Pod" => lost_in::<core::Pod>(document),
        "v1/Secret" => lost_in::<core::Secret>(document),
        "v1/Service" => lost_in::<core::Service>(document),
        "v1/ServiceAccount" => lost_in::<core::ServiceAccount>(document),
        "networking.k8s.io/v1/NetworkPolicy" => lost_in::<networking::NetworkPolicy>(document),
        "policy/v1/PodDisruptionBudget" => lost_in::<policy::PodDisruptionBudget>(document),
        "rbac.authorization.k8s.io/v1/ClusterRole" => lost_in::<rbac::ClusterRole>(document),
        "rbac.authorization.k8s.io/v1/ClusterRoleBinding" => lost_in::<rbac::ClusterRoleBinding>(document),
        "rbac.authorization.k8s.io/v1/Role" => lost_in::<rbac::Role>(document),
        "rbac.authorization.k8s.io/v1/RoleBinding" => lost_in::<rbac::RoleBinding>(document),
        "storage.k8s.io/v1/CSIDriver" => lost_in::<storage::CSIDriver>(document),
        "storage.k8s.io/v1/StorageClass" => lost_in::<storage::StorageClass>(document),
        "monitoring.coreos.com/v1/ServiceMonitor" | "monitoring.coreos.com/v1/PodMonitor" => {
            lost_in::<monitoring::Monitor>(document)
        }
        other => vec![format!("{other} is a kind that this test does not know")],
    }
}

#[test]
fn kubernetes_understands_every_field_of_every_object() {
    let Some(helm) = Helm::find() else { return };
    for name in ["everything.yaml", "fake-efs.yaml", "go-driver-4.4.1.yaml", "static-only.yaml"] {
        let documents = helm.documents(&values_file(name));
        assert!(documents.len() >= 5, "{name} renders {} objects", documents.len());
        for document in &documents {
            let lost = lost(document);
            assert!(lost.is_empty(), "{name}: {} {}: {lost:#?}", document["kind"], document["metadata"]["name"]);
        }
    }
}

/// Two objects of one kind and name would overwrite each other without a word.
#[test]
fn no_object_is_rendered_twice() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents(&values_file("everything.yaml"));
    let mut names: Vec<_> = documents
        .iter()
        .map(|d| format!("{} {}/{}", d["kind"], d["metadata"]["namespace"], d["metadata"]["name"]))
        .collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_field_at_a_wrong_place_is_noticed() {
    let documents = crate::helm::parse(
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1, targtPort: 2}], replicas: 2}}",
    );
    assert_eq!(lost(&documents[0]), [".spec.ports[0].targtPort", ".spec.replicas"]);
}
