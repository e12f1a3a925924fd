//! What the rest of a cluster does: the provisioner, the scheduler, the kubelet, the driver and the fake, as far as scenarios
//! can see them; and what they do when they are broken.

use http::Method;
use serde_json::{Value, json};

use crate::api::{Key, World};

/// One thing that is wrong with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Claims stay pending.
    NothingBinds,
    /// Handles name another file system.
    OtherFileSystem,
    /// Pods fail.
    PodsFail,
    /// Pods print something else.
    OtherContent,
    /// Volumes of deleted claims stay.
    VolumesStay,
    /// Access points of deleted volumes stay.
    AccessPointsStay,
    /// Access points of kept volumes go.
    AccessPointsGo,
    /// Directory volumes get access points.
    DirectoriesHaveAccessPoints,
    /// All volumes get one group id.
    OneGroup,
    /// All volumes get one access point.
    OneAccessPoint,
    /// Roles are not assumed.
    NoRole,
    /// Mounts have the driver's own role, whoever the pod is.
    DriversIdentity,
    /// Every pod is scheduled.
    AllScheduled,
    /// Claims don't grow.
    NothingGrows,
    /// Pods are restarted when claims grow.
    Restarts,
    /// I/O stops when the node driver does.
    WriterStops,
    /// A number gets lost.
    WriterSkips,
    /// The node driver doesn't come back.
    NoNewDriver,
    /// The start-up taint stays.
    TaintStays,
    /// Calls are not counted.
    NothingCounted,
    /// Claims are made although the API is down.
    NoOutage,
    /// A lost answer leaves two access points with one client token.
    TwoOfOneToken,
    /// The release leaves a ClusterRole behind.
    RoleStays,
}

/// A cluster with the driver installed: two nodes, and one controller.
pub(crate) fn populate(world: &mut World) {
    for node in ["node-a", "node-b"] {
        world.put("nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}, "spec": {}}));
        node_driver(world, node);
    }
    world.put(
        "pods",
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "controller", "namespace": "kube-system", "labels": {"app": "efs-csi-controller"},
                "annotations": {"prometheus.io/port": "9909"}},
            "spec": {"containers": [{"name": "efs-plugin"}]},
        }),
    );
    world.put(
        "pods",
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "somebody-elses", "namespace": "default"},
            "spec": {"nodeName": "node-b", "containers": [{"name": "task"}]}, "status": {"phase": "Running"},
        }),
    );
    world.put(
        "daemonsets",
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "efs-csi-node", "namespace": "kube-system", "generation": 2},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 2},
        }),
    );
    if world.has(Defect::RoleStays) {
        world.put(
            "clusterroles",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "left", "labels": {"app.kubernetes.io/instance": "aws-efs-csi-driver"}},
            }),
        );
    }
}

fn node_driver(world: &mut World, node: &str) {
    let uid = world.number();
    world.put(
        "pods",
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("driver-{uid}"), "namespace": "kube-system", "uid": uid.to_string(),
                "labels": {"app": "efs-csi-node"}},
            "spec": {"nodeName": node, "containers": [{"name": "efs-plugin"}], "tolerations": [{"operator": "Exists"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }),
    );
}

/// One turn of all controllers.
pub(crate) fn reconcile(world: &mut World) {
    for (key, claim) in world.of("persistentvolumeclaims") {
        if claim["status"]["phase"] == "Bound" {
            grow(world, &key, claim);
        } else {
            bind(world, &key, claim);
        }
    }
    for (key, volume) in world.of("persistentvolumes") {
        let released = volume["status"]["phase"] == "Released";
        if released && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete" && !world.has(Defect::VolumesStay) {
            reclaim(world, &key, &volume);
        }
    }
    evict(world);
    for (key, pod) in world.of("pods") {
        if key.1.starts_with("e2e-") && pod["status"]["phase"].is_null() {
            schedule(world, key, pod);
        }
    }
}

/// Ends the pods that don't tolerate a NoExecute taint of their node.
fn evict(world: &mut World) {
    for (node, object) in world.of("nodes") {
        let taints = object["spec"]["taints"].as_array();
        if taints.into_iter().flatten().any(|taint| taint["effect"] == "NoExecute") {
            for (key, pod) in world.of("pods") {
                if pod["spec"]["nodeName"] == *node.2 && pod["spec"]["tolerations"].is_null() {
                    delete(world, &key);
                }
            }
        }
    }
}

fn bind(world: &mut World, key: &Key, mut claim: Value) {
    if world.has(Defect::NothingBinds) {
        return;
    }
    let volume_name = match claim["spec"]["volumeName"].as_str() {
        Some(name) => name.to_owned(),
        None => {
            if world.faults && !world.has(Defect::NoOutage) {
                let name = format!("event-{}", world.number());
                let event = json!({
                    "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": key.1},
                    "involvedObject": {"name": key.2}, "reason": "ProvisioningFailed",
                });
                world.put("events", event);
                return;
            }
            provision(world, key, &claim)
        }
    };
    claim["spec"]["volumeName"] = json!(volume_name);
    claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
    world.put("persistentvolumeclaims", claim);
}

fn provision(world: &mut World, key: &Key, claim: &Value) -> String {
    let class_key = (
        "storageclasses".to_owned(),
        String::new(),
        claim["spec"]["storageClassName"].as_str().unwrap_or_default().to_owned(),
    );
    let class = world.objects[&class_key].clone();
    let parameters = &class["parameters"];
    let number = world.number();
    let name = format!("pvc-{number}");
    let wanted = parameters["fileSystemId"].as_str().unwrap_or_default();
    let file_system = if world.has(Defect::OtherFileSystem) { "fs-0fffffff" } else { wanted };
    let directory = parameters["provisioningMode"] == "efs-dir" && !world.has(Defect::DirectoriesHaveAccessPoints);
    let handle = if directory {
        format!("efs:{file_system}:/e2e-directories/{name}")
    } else {
        let id = if world.has(Defect::OneAccessPoint) { "fsap-1".to_owned() } else { format!("fsap-{number:017x}") };
        let group = if world.has(Defect::OneGroup) { 50_000 } else { 50_000 + number };
        if world.has(Defect::TwoOfOneToken) {
            world.access_points.insert(format!("{id}0"), (name.clone(), group));
        }
        world.access_points.insert(id.clone(), (name.clone(), group));
        format!("efs:{file_system}::{id}")
    };
    if !parameters["csi.storage.k8s.io/provisioner-secret-name"].is_null() && !world.has(Defect::NoRole) {
        world.journal.push("AssumeRole".to_owned());
    }
    world.put(
        "persistentvolumes",
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "claimRef": {"namespace": key.1, "name": key.2},
                "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
                "csi": {"driver": "efs.csi.aws.com", "volumeHandle": handle},
            },
            "status": {"phase": "Bound"},
        }),
    );
    name
}

fn grow(world: &mut World, key: &Key, mut claim: Value) {
    let wanted = claim["spec"]["resources"]["requests"]["storage"].clone();
    if wanted == claim["status"]["capacity"]["storage"] || world.has(Defect::NothingGrows) {
        return;
    }
    claim["status"]["capacity"]["storage"] = wanted;
    world.put("persistentvolumeclaims", claim);
    if world.has(Defect::Restarts) {
        for (pod_key, mut pod) in world.of("pods") {
            if pod_key.1 == key.1 {
                pod["status"]["containerStatuses"] = json!([{"restartCount": 1}]);
                world.put("pods", pod);
            }
        }
    }
}

fn schedule(world: &mut World, key: Key, mut pod: Value) {
    let claim = pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"].as_str().unwrap_or_default().to_owned();
    let claim = world.objects.get(&("persistentvolumeclaims".to_owned(), key.1.clone(), claim));
    let alone = claim.is_some_and(|claim| claim["spec"]["accessModes"][0] == "ReadWriteOncePod");
    let taken = world
        .of("pods")
        .iter()
        .any(|(other, p)| other.1 == key.1 && other.2 != key.2 && p["status"]["phase"] == "Running");
    if alone && taken && !world.has(Defect::AllScheduled) {
        pod["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False"}]});
    } else {
        let script = pod["spec"]["containers"][0]["command"][2].as_str().unwrap_or_default().to_owned();
        let runs_on = script.contains("sleep 3600") || script.contains("while :;");
        let ended = if world.has(Defect::PodsFail) { "Failed" } else { "Succeeded" };
        pod["status"] = json!({"phase": if runs_on { "Running" } else { ended }});
        let node = pod["spec"]["nodeSelector"]["kubernetes.io/hostname"].as_str().unwrap_or("node-a").to_owned();
        pod["spec"]["nodeName"] = json!(node);
        connect(world, &key.1, pod["spec"]["serviceAccountName"].as_str().unwrap_or("default"));
    }
    world.put("pods", pod);
}

/// The mount of a pod, as the fake's journal has it.
fn connect(world: &mut World, namespace: &str, account: &str) {
    let object = world.objects.get(&("serviceaccounts".to_owned(), namespace.to_owned(), account.to_owned()));
    let annotated = object.and_then(|it| it["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].as_str());
    let (asked, role) = match annotated {
        Some(role) => ("AssumeRoleWithWebIdentity", role.to_owned()),
        None => match world.associations.get(&(namespace.to_owned(), account.to_owned())) {
            Some(role) => ("GetCredentials", role.clone()),
            None => return,
        },
    };
    let role = if world.has(Defect::DriversIdentity) { "node" } else { role.rsplit('/').next().unwrap_or_default() };
    world.journal.push(asked.to_owned());
    world.journal.push(format!("Connect arn:aws:sts::123456789012:assumed-role/{role}/session"));
}

fn reclaim(world: &mut World, key: &Key, volume: &Value) {
    world.objects.remove(key);
    if !world.has(Defect::AccessPointsStay) {
        let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default();
        let id = handle.rsplit(':').next().unwrap_or_default().to_owned();
        world.access_points.remove(&id);
    }
}

/// Deletes an object with what hangs on it.
pub(crate) fn delete(world: &mut World, key: &Key) {
    let object = world.objects.remove(key);
    match key.0.as_str() {
        "namespaces" => {
            let inside: Vec<Key> = world.objects.keys().filter(|k| k.1 == key.2).cloned().collect();
            for key in inside {
                delete(world, &key);
            }
        }
        "persistentvolumeclaims" => {
            for (volume_key, mut volume) in world.of("persistentvolumes") {
                let reference = &volume["spec"]["claimRef"];
                if reference["namespace"] == *key.1 && reference["name"] == *key.2 {
                    volume["status"]["phase"] = json!("Released");
                    if world.has(Defect::AccessPointsGo) {
                        world.access_points.clear();
                    }
                    world.objects.insert(volume_key, volume);
                }
            }
        }
        "pods" if key.2.starts_with("driver-") => {
            let node =
                object.map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
            if !world.has(Defect::NoNewDriver) {
                node_driver(world, &node);
            }
            let node_key = ("nodes".to_owned(), String::new(), node);
            if !world.has(Defect::TaintStays)
                && let Some(node) = world.objects.get_mut(&node_key)
            {
                node["spec"] = json!({});
            }
            if world.has(Defect::WriterStops) {
                world.written = u64::MAX;
            }
        }
        "pods" => {
            // Others may be scheduled now.
            for (other, mut pod) in world.of("pods") {
                if other.1 == key.1 && pod["status"]["phase"].is_null() {
                    pod["status"] = json!({});
                    world.put("pods", pod);
                }
            }
        }
        _ => {}
    }
}

/// What a pod has printed.
pub(crate) fn log(world: &mut World, namespace: &str, pod: &str) -> Option<String> {
    world.objects.get(&("pods".to_owned(), namespace.to_owned(), pod.to_owned()))?;
    if namespace == "kube-system" {
        return Some(format!("log of {pod}\n"));
    }
    if world.has(Defect::OtherContent) {
        return Some("something else\n".to_owned());
    }
    let scenario = namespace.trim_start_matches("e2e-").rsplit_once('-').map(|(name, _)| name).unwrap_or_default();
    Some(match (scenario, pod) {
        ("static", "visitor") => "here\n".to_owned(),
        ("sub-path", "visitor") => "found\n".to_owned(),
        ("ownership", _) => "1234:5678\nchown: /data/file: Operation not permitted\n".to_owned(),
        ("shared", _) => "0\n1\n2\n3\n4\n5\n".to_owned(),
        (_, "writer") if scenario != "dynamic" => {
            if world.written != u64::MAX {
                world.written += 7;
            }
            let skipped = if world.has(Defect::WriterSkips) { 20 } else { u64::MAX };
            let end = if world.written == u64::MAX { 7 } else { world.written };
            (0..end).filter(|n| *n != skipped).map(|n| format!("{n}\n")).collect()
        }
        _ => "kept\n".to_owned(),
    })
}

/// What a pod or service serves.
pub(crate) fn page(world: &mut World, method: &Method, target: &str, path: &str, body: &[u8]) -> (u16, String) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let answer = match (method.as_str(), path) {
        ("GET", "_fake/state") => json!({"access_points_total": world.access_points.len()}),
        ("GET", "_fake/journal") => json!({"entries": world.journal}),
        ("POST", "_fake/faults") => {
            world.faults = true;
            json!({"id": 1})
        }
        ("POST", "_fake/pod-associations") => {
            let part = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            world.associations.insert((part("namespace"), part("service_account")), part("role"));
            json!({})
        }
        ("DELETE", "_fake/faults") => {
            world.faults = false;
            json!({})
        }
        ("GET", "2015-02-01/access-points") => {
            let points = world.access_points.iter().map(|(id, (token, group))| {
                json!({"AccessPointId": id, "ClientToken": token, "PosixUser": {"Uid": group, "Gid": group}})
            });
            json!({"AccessPoints": points.collect::<Vec<_>>()})
        }
        ("GET", "metrics") => {
            let calls = if world.has(Defect::NothingCounted) { 0 } else { world.access_points.len() };
            let name = "aws_efs_csi_api_request_duration_seconds";
            let page = format!(
                "# TYPE {name} histogram\n{name}_count{{request=\"CreateAccessPoint\",service=\"efs\"}} {calls}\n"
            );
            return (200, page);
        }
        _ => return (404, format!("{target} has no {path}")),
    };
    (200, answer.to_string())
}
