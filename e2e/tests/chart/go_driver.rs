//! Values of the Go driver's chart: every key of its defaults counts here too, in what is rendered or in a note.

use serde_json::{Value, json};

use crate::helm::{Helm, container, find, values_file};

/// Values that make the others visible: a switch whose feature is off changes nothing.
fn visible() -> Value {
    json!({
        "image": {"repository": "registry.example.com/efs-csi-driver"},
        "sidecars": {"livenessProbe": {"enabled": true}, "nodeDriverRegistrar": {"enabled": true}},
        "controller": {"enableMetrics": true, "podDisruptionBudget": {"enabled": true}},
        "node": {"maxInflightMountCallsOptIn": true, "volumeAttachLimitOptIn": true},
    })
}

/// Another value than the default one that still passes the schema.
fn other(path: &str, default: &Value) -> Value {
    let key = path.rsplit('.').next().unwrap_or(path);
    match (key, default) {
        (_, Value::Bool(b)) => json!(!b),
        (_, Value::Number(n)) => json!(n.as_i64().expect("whole numbers only") + 1),
        ("pullPolicy", _) => json!("Always"),
        ("dnsPolicy", _) => json!("Default"),
        ("unhealthyPodEvictionPolicy", _) => json!("AlwaysAllow"),
        ("portRangeUpperBound", _) => json!("21050"),
        ("kubeletPath", _) => json!("/opt/kubelet"),
        ("timeout" | "unmountTimeout" | "leaderElectionRenewDeadline" | "leaderElectionLeaseDuration", _) => {
            json!("99s")
        }
        (_, Value::String(_)) => json!("other:x=y"),
        ("resources", _) => json!({"limits": {"memory": "1Gi"}}),
        ("dnsConfig", _) => json!({"nameservers": ["192.0.2.1"]}),
        ("affinity", _) => json!({"podAffinity": {"x": []}}),
        ("rollingUpdate", _) => json!({"maxUnavailable": 3}),
        ("readinessProbe" | "startupProbe", _) => json!({"tcpSocket": {"port": 1}}),
        ("httpGet", _) => json!({"path": "/x", "port": 1}),
        ("hostAliases", _) => json!({"fs-01234567": {"ip": "192.0.2.1", "region": "us-east-1"}}),
        ("socketDirVolume", _) => json!({"hostPath": {"path": "/x"}}),
        ("storageClasses" | "env" | "volumes" | "volumeMounts", _) => json!([{"name": "x"}]),
        ("tolerations", _) => json!([{"key": "x"}]),
        ("topologySpreadConstraints", _) => json!([{"maxSkew": 1}]),
        ("imagePullSecrets" | "additionalArgs", _) => json!(["--x=y"]),
        (_, Value::Object(_)) => json!({"x": "y"}),
        other => panic!("{path}: no other value for {other:?}"),
    }
}

/// The paths to change one by one: scalars, lists, empty objects, and objects that only make sense as a whole.
fn leaves(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    let whole = ["affinity", "httpGet", "socketDirVolume"];
    match value {
        Value::Object(map) if !map.is_empty() && !whole.iter().any(|w| path.ends_with(w)) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value, out);
            }
        }
        leaf => out.push((path.to_owned(), leaf.clone())),
    }
}

fn set(values: &mut Value, path: &str, value: Value) {
    let mut at = values;
    for key in path.split('.') {
        if at.is_null() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = value;
}

#[test]
fn every_key_has_an_effect_or_a_note() {
    let Some(helm) = Helm::find() else { return };
    let defaults: Value = serde_yaml_ng::from_str(&values_file("go-driver-4.4.1.yaml")).unwrap();
    let mut keys = Vec::new();
    leaves("", &defaults, &mut keys);
    assert!(keys.len() > 120, "only {} keys", keys.len());
    let output = |values: &Value| {
        let text = helm.install(&values.to_string()).unwrap_or_else(|e| panic!("{values}: {e}"));
        text.lines().filter(|line| !line.starts_with("LAST DEPLOYED")).collect::<Vec<_>>().join("\n")
    };
    let before = output(&visible());
    let mut without_effect = Vec::new();
    for (path, default) in keys {
        let mut values = visible();
        let default = values.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or(default);
        set(&mut values, &path, other(&path, &default));
        let after = output(&values);
        if after != before {
            continue;
        }
        // What is another value for the Go driver's chart may be the default of this one.
        set(&mut values, &path, default);
        if output(&values) == after {
            without_effect.push(path);
        }
    }
    assert!(without_effect.is_empty(), "without an effect or a note: {without_effect:#?}");
}

#[test]
fn the_go_drivers_image_is_replaced_and_the_notes_say_so() {
    let Some(helm) = Helm::find() else { return };
    for repository in
        ["public.ecr.aws/efs-csi-driver/amazon/aws-efs-csi-driver", "mirror.example.com/aws-efs-csi-driver"]
    {
        let values = json!({"image": {"repository": repository, "tag": "v3.4.1"}}).to_string();
        let documents = helm.documents(&values);
        let plugin = container(find(&documents, "DaemonSet", "efs-csi-node"), "efs-plugin");
        assert_eq!(plugin["image"], "efs-csi-driver:0.2.0");
        let notes = helm.install(&values).unwrap();
        assert!(notes.contains(repository), "{notes}");
    }
    let values = json!({"image": {"repository": "mirror.example.com/efs-csi-driver", "tag": "v7"}}).to_string();
    let documents = helm.documents(&values);
    let plugin = container(find(&documents, "DaemonSet", "efs-csi-node"), "efs-plugin");
    assert_eq!(plugin["image"], "mirror.example.com/efs-csi-driver:v7");
}

/// The API server refuses a container that is privileged and must not escalate. Helm merges a user's `privileged: true` into
/// this chart's defaults, so the chart must see to it.
#[test]
fn a_privileged_controller_is_still_a_valid_pod() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents(&values_file("go-driver-4.4.1.yaml"));
    let security = &container(find(&documents, "Deployment", "efs-csi-controller"), "efs-plugin")["securityContext"];
    assert_eq!(security["privileged"], true);
    assert_eq!(security.get("allowPrivilegeEscalation"), None);
    assert!(helm.install(&values_file("go-driver-4.4.1.yaml")).unwrap().contains("which it doesn't need"));
}

#[test]
fn a_controller_that_is_to_be_root_may_be() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents("controller: {securityContext: {runAsUser: 0}}");
    let security = &find(&documents, "Deployment", "efs-csi-controller")["spec"]["template"]["spec"]["securityContext"];
    assert_eq!((&security["runAsUser"], &security["runAsNonRoot"]), (&json!(0), &json!(false)));
}

/// `helm upgrade` can't change what a Deployment or DaemonSet selects its pods by; with other labels than the Go driver's
/// chart the switch would fail.
#[test]
fn workloads_select_their_pods_like_the_go_drivers_chart_does() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents("");
    for (kind, name) in [("Deployment", "efs-csi-controller"), ("DaemonSet", "efs-csi-node")] {
        assert_eq!(
            find(&documents, kind, name)["spec"]["selector"]["matchLabels"],
            json!({"app": name, "app.kubernetes.io/name": "aws-efs-csi-driver", "app.kubernetes.io/instance": "efs"})
        );
    }
    assert_eq!(find(&documents, "CSIDriver", "efs.csi.aws.com")["spec"], json!({"attachRequired": false}));
}
