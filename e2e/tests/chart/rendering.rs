//! Snapshots of what the chart renders, for a matrix of values, and the properties that no values may break.

use serde_json::{Value, json};

use crate::helm::{Helm, container, find, values_file};

/// Renders and compares with the snapshot; keys that Helm makes at random are blanked.
fn snapshot(name: &str, values: &str) {
    let Some(helm) = Helm::find() else { return };
    helm.lint(values).unwrap_or_else(|e| panic!("{e}"));
    let rendered = helm.install(values).unwrap_or_else(|e| panic!("{e}"));
    insta::with_settings!({
        omit_expression => true,
        filters => vec![(r"(tls\.(?:crt|key)): \S+", "$1: <made by helm>"), (r"LAST DEPLOYED: .*", "LAST DEPLOYED: <now>")],
    }, { insta::assert_snapshot!(name, rendered) });
}

#[test]
fn the_default_values_render_as_recorded() {
    snapshot("default", "");
}

#[test]
fn values_without_a_controller_render_as_recorded() {
    snapshot("static-only", &values_file("static-only.yaml"));
}

#[test]
fn everything_switched_on_renders_as_recorded() {
    snapshot("everything", &values_file("everything.yaml"));
}

#[test]
fn the_fake_file_system_renders_as_recorded() {
    snapshot("fake-efs", &values_file("fake-efs.yaml"));
}

#[test]
fn the_go_drivers_default_values_render_as_recorded() {
    snapshot("go-driver-4.4.1", &values_file("go-driver-4.4.1.yaml"));
}

#[test]
fn the_node_pod_is_the_driver_with_its_data_plane_and_declares_no_port() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents("");
    let pod = &find(&documents, "DaemonSet", "efs-csi-node")["spec"]["template"]["spec"];
    for (list, expected) in [("containers", vec!["efs-plugin"]), ("initContainers", vec!["tunnel-folder", "tunnel"])] {
        let containers = pod[list].as_array().unwrap();
        let names: Vec<_> = containers.iter().map(|c| &c["name"]).collect();
        assert_eq!(names, expected);
        assert!(containers.iter().all(|container| container.get("ports").is_none()));
    }
    assert_eq!(pod["containers"][0]["livenessProbe"]["httpGet"]["port"], 9809);
}

/// A sidecar starts before the driver and ends after it, only if it is one: an init container that is always restarted.
#[test]
fn the_data_plane_is_a_sidecar_with_a_user_of_its_own_and_without_privileges_that_can_be_left_out() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents("");
    let containers = &find(&documents, "DaemonSet", "efs-csi-node")["spec"]["template"]["spec"]["initContainers"];
    let (folder, tunnel) = (&containers[0], &containers[1]);
    assert_eq!(tunnel["restartPolicy"], "Always");
    let security = &tunnel["securityContext"];
    assert_eq!((&security["privileged"], &security["allowPrivilegeEscalation"]), (&json!(false), &json!(false)));
    assert_eq!((&security["runAsUser"], &security["runAsNonRoot"]), (&json!(65532), &json!(true)));
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(tunnel["volumeMounts"].as_array().unwrap().len(), 1, "it sees its own folder and nothing else");
    let probe = &tunnel["livenessProbe"];
    assert_eq!(probe["exec"]["command"], json!(["/efs-csi-driver", "tunnel", "--check", "/keeper"]));
    assert_eq!(probe["terminationGracePeriodSeconds"], 5);
    assert_eq!(folder["args"], json!(["tunnel", "--prepare=65532", "/keeper"]));
    assert_eq!(folder["securityContext"]["capabilities"]["drop"], json!(["ALL"]));

    let as_root = helm.documents("node: {tunnel: {securityContext: {runAsUser: 0, runAsNonRoot: false}}}");
    let containers = &find(&as_root, "DaemonSet", "efs-csi-node")["spec"]["template"]["spec"]["initContainers"];
    assert_eq!(containers.as_array().unwrap().len(), 1, "root needs no folder of its own");
    let without = helm.documents("node: {tunnel: {enabled: false}}");
    let pod = &find(&without, "DaemonSet", "efs-csi-node")["spec"]["template"]["spec"];
    assert!(!pod.to_string().contains("keeper") && !pod.to_string().contains("tunnel"), "{pod}");
}

/// The API server refuses a probe that asks in two ways.
#[test]
fn a_start_up_probe_of_the_users_takes_the_place_of_the_charts() {
    let Some(helm) = Helm::find() else { return };
    for handler in ["httpGet: {path: /healthz, port: healthz}", "tcpSocket: {port: 9809}", "grpc: {port: 9809}"] {
        let documents = helm.documents(&format!("node: {{startupProbe: {{{handler}}}}}"));
        let probe = &container(find(&documents, "DaemonSet", "efs-csi-node"), "efs-plugin")["startupProbe"];
        assert!(probe.get("exec").is_none(), "{probe}");
        assert!(probe.get(handler.split(':').next().unwrap()).is_some(), "{probe}");
    }
}

/// Two parties that register one plug-in would take turns; none would leave it unknown to the kubelet.
#[test]
fn exactly_one_party_registers_the_driver_with_the_kubelet() {
    let Some(helm) = Helm::find() else { return };
    for sidecar in [false, true] {
        let values = json!({
            "sidecars": {"nodeDriverRegistrar": {"enabled": sidecar}},
            "node": {"kubeletPath": "/opt/kubelet/"},
        });
        let documents = helm.documents(&values.to_string());
        let pod = &find(&documents, "DaemonSet", "efs-csi-node")["spec"]["template"]["spec"];
        let registering: Vec<_> = pod["containers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|container| {
                let mounts = container["volumeMounts"].as_array().unwrap();
                mounts.iter().any(|mount| mount["name"] == "registration-dir" && mount["mountPath"] == "/registration")
            })
            .collect();
        assert_eq!(registering.len(), 1, "sidecar={sidecar}");
        assert_eq!(registering[0]["name"], if sidecar { "csi-driver-registrar" } else { "efs-plugin" });
        // The stock registrar takes the path from its environment.
        let told = format!("{} {}", registering[0]["args"], registering[0]["env"]);
        assert!(told.contains("--kubelet-registration-path="), "{told}");
        assert!(told.contains("/opt/kubelet/plugins/efs.csi.aws.com/csi.sock"), "{told}");
        let volume = pod["volumes"].as_array().unwrap().iter().find(|v| v["name"] == "registration-dir").unwrap();
        assert_eq!(volume["hostPath"]["path"], "/opt/kubelet/plugins_registry/");
    }
}

#[test]
fn the_controller_runs_without_root_privilege_or_capabilities() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents("sidecars: {csiResizer: {enabled: true}, livenessProbe: {enabled: true}}");
    let controller = find(&documents, "Deployment", "efs-csi-controller");
    let pod = &controller["spec"]["template"]["spec"];
    // What the Pod Security Standard "restricted" asks for, of the sidecars, too.
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["privileged"], Value::Null, "{}", container["name"]);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{}", container["name"]);
        assert_eq!(security["readOnlyRootFilesystem"], true, "{}", container["name"]);
        assert_eq!(security["allowPrivilegeEscalation"], false, "{}", container["name"]);
    }
}

/// The stock sidecars hold the health port when they run, and a socket of a pod's network can't be bound twice.
#[test]
fn no_two_containers_of_a_pod_listen_on_one_port() {
    let Some(helm) = Helm::find() else { return };
    for probe in [false, true] {
        for metrics in [false, true] {
            let values = json!({
                "sidecars": {"livenessProbe": {"enabled": probe}},
                "controller": {"enableMetrics": metrics},
                "node": {"podMonitor": {"enabled": metrics}},
            });
            let documents = helm.documents(&values.to_string());
            for (kind, name) in [("Deployment", "efs-csi-controller"), ("DaemonSet", "efs-csi-node")] {
                let workload = find(&documents, kind, name);
                let mut ports = Vec::new();
                for container in workload["spec"]["template"]["spec"]["containers"].as_array().unwrap() {
                    for arg in container["args"].as_array().unwrap() {
                        let arg = arg.as_str().unwrap();
                        if let Some(port) =
                            arg.strip_prefix("--http-endpoint=:").or_else(|| arg.strip_prefix("--health-port="))
                        {
                            ports.push(port.to_owned());
                        }
                    }
                }
                let expected = if probe && metrics { 2 } else { 1 };
                assert_eq!(ports.len(), expected, "{name} probe={probe} metrics={metrics}: {ports:?}");
                ports.dedup();
                assert_eq!(ports.len(), expected, "{name} probe={probe} metrics={metrics}: {ports:?}");
                let probed = container(workload, "efs-plugin")["livenessProbe"]["httpGet"]["port"].to_string();
                assert!(ports.contains(&probed), "{name}: {probed} is probed, but {ports:?} are served");
            }
        }
    }
}

#[test]
fn a_service_scrapes_the_port_that_the_driver_serves() {
    let Some(helm) = Helm::find() else { return };
    for probe in [false, true] {
        let values = json!({"sidecars": {"livenessProbe": {"enabled": probe}}, "controller": {"enableMetrics": true}});
        let documents = helm.documents(&values.to_string());
        let service = find(&documents, "Service", "efs-csi-controller");
        assert_eq!(service["spec"]["ports"][0]["port"], 3301);
        let target = &service["spec"]["ports"][0]["targetPort"];
        let plugin = container(find(&documents, "Deployment", "efs-csi-controller"), "efs-plugin");
        let served = format!("--http-endpoint=:{target}");
        assert!(plugin["args"].as_array().unwrap().contains(&json!(served)), "{served} is not in {}", plugin["args"]);
    }
}

#[test]
fn tags_are_escaped_unless_their_author_did() {
    let Some(helm) = Helm::find() else { return };
    let values = json!({"controller": {"tags": {"team": "a b:c", "done": r"x\ y", "n": 7}}});
    let documents = helm.documents(&values.to_string());
    let plugin = container(find(&documents, "Deployment", "efs-csi-controller"), "efs-plugin").clone();
    assert!(
        plugin["args"].as_array().unwrap().contains(&json!(r"--tags=done:x\ y n:7 team:a\ b\:c")),
        "{}",
        plugin["args"]
    );
}

#[test]
fn pods_reach_the_fake_without_the_clusters_dns() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents(&values_file("fake-efs.yaml"));
    let service = find(&documents, "Service", "fake-efs");
    assert_eq!(service["spec"]["ports"][0]["name"], "http", "the first port is the one in the environment");
    for (kind, name) in [("Deployment", "efs-csi-controller"), ("DaemonSet", "efs-csi-node")] {
        let plugin = container(find(&documents, kind, name), "efs-plugin");
        let url = plugin["env"].as_array().unwrap().iter().find(|e| e["name"] == "AWS_ENDPOINT_URL").unwrap();
        assert_eq!(url["value"], "http://$(FAKE_EFS_SERVICE_HOST):$(FAKE_EFS_SERVICE_PORT)");
    }
}

#[test]
fn a_node_pod_of_one_container_is_replaced_by_one_that_starts_beside_it() {
    let Some(helm) = Helm::find() else { return };
    let beside = json!({"maxSurge": 1, "maxUnavailable": 0});
    for (values, expected) in [
        (json!({}), beside.clone()),
        (json!({"sidecars": {"livenessProbe": {"enabled": true}}}), Value::Null),
        (json!({"sidecars": {"nodeDriverRegistrar": {"enabled": true}}}), Value::Null),
        // Kubernetes refuses two numbers above 0, and two of 0; it takes 0 and 1 for those that are left out.
        (json!({"node": {"rollingUpdate": {"maxUnavailable": "10%"}}}), json!({"maxUnavailable": "10%"})),
        (
            json!({"node": {"rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}}}),
            json!({"maxUnavailable": "10%", "maxSurge": 0}),
        ),
        (json!({"node": {"rollingUpdate": {"maxUnavailable": 0}}}), beside.clone()),
        (json!({"node": {"rollingUpdate": {"maxUnavailable": null}}}), beside),
        (json!({"node": {"rollingUpdate": {"maxSurge": "25%"}}}), json!({"maxSurge": "25%", "maxUnavailable": 0})),
        (
            json!({"node": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}}),
            json!({"maxSurge": 2, "maxUnavailable": 0}),
        ),
        (json!({"node": {"rollingUpdate": {"maxSurge": 0}}}), json!({"maxSurge": 0})),
        (json!({"node": {"updateStrategy": "OnDelete"}}), Value::Null),
    ] {
        let documents = helm.documents(&values.to_string());
        let node = find(&documents, "DaemonSet", "efs-csi-node");
        assert_eq!(node["spec"]["updateStrategy"]["rollingUpdate"], expected, "{values}");
    }
}

/// The API versions that every Kubernetes from 1.29 to 1.36 serves, and those of the Prometheus operator.
const SERVED: &[&str] = &[
    "v1",
    "apps/v1",
    "monitoring.coreos.com/v1",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1",
];

#[test]
fn every_supported_kubernetes_gets_the_same_manifests_of_apis_that_it_serves() {
    let Some(helm) = Helm::find() else { return };
    for values in ["".to_owned(), values_file("everything.yaml"), values_file("fake-efs.yaml")] {
        let known = |documents: Vec<Value>| {
            // Certificates are made anew each time.
            documents.into_iter().filter(|document| document["kind"] != "Secret").collect::<Vec<_>>()
        };
        let usual = known(helm.documents(&values));
        for document in &usual {
            let version = document["apiVersion"].as_str().unwrap_or_default();
            assert!(SERVED.contains(&version), "{version} {}", document["kind"]);
        }
        for minor in 29..=36 {
            let version = format!("--kube-version=1.{minor}.0");
            assert_eq!(known(helm.documents_for(&version, &values)), usual, "{version}");
        }
    }
    let refused = helm.template_for("--kube-version=1.20.0", "").expect_err("1.20 is too old");
    assert!(refused.contains("1.20"), "{refused}");
}

/// An older API server would refuse or drop the field.
#[test]
fn tokens_come_as_secrets_only_where_the_cluster_knows_it_and_nothing_is_said_by_default() {
    let Some(helm) = Helm::find() else { return };
    let values = json!({"csiDriver": {"serviceAccountTokenInSecrets": true}}).to_string();
    for (version, expected) in [("1.34.9", Value::Null), ("1.35.0", json!(true))] {
        let documents = helm.documents_for(&format!("--kube-version={version}"), &values);
        let driver = find(&documents, "CSIDriver", "efs.csi.aws.com");
        assert_eq!(driver["spec"]["serviceAccountTokenInSecrets"], expected, "{version}");
    }
    let documents = helm.documents("");
    assert_eq!(find(&documents, "CSIDriver", "efs.csi.aws.com")["spec"], json!({"attachRequired": false}));
}

/// Numbers as people write them; the API server takes text in parameters, and Helm reads whole numbers as floating-point ones.
#[test]
fn numbers_are_printed_whole_and_what_is_null_is_left_out() {
    let Some(helm) = Helm::find() else { return };
    let parameters = json!({
        "directoryPerms": "750", "uid": 1_000_000, "gidRangeStart": 50_000, "encryptInTransit": true, "basePath": null,
    });
    let values = json!({
        "enabled": true,
        "global": {"imageRegistry": "x"},
        "controller": {
            "replicaCount": "3", "tags": {"cost": 1_000_000, "none": null, "part": 1.5}, "nodeSelector": null, "securityContext": null,
            "containerSecurityContext": null, "podDisruptionBudget": {"enabled": null},
        },
        "sidecars": {"livenessProbe": {"enabled": null}},
        "storageClasses": [{"name": "a", "mountOptions": null, "annotations": null, "parameters": parameters}],
    });
    let documents = helm.documents(&values.to_string());
    let rendered = &find(&documents, "StorageClass", "a")["parameters"];
    let wanted =
        json!({"directoryPerms": "750", "uid": "1000000", "gidRangeStart": "50000", "encryptInTransit": "true"});
    assert_eq!(*rendered, wanted);
    let controller = find(&documents, "Deployment", "efs-csi-controller");
    assert_eq!(controller["spec"]["replicas"], 3);
    let arguments = container(controller, "efs-plugin")["args"].as_array().unwrap().clone();
    assert!(arguments.contains(&json!("--tags=cost:1000000 part:1.5")), "{arguments:?}");
}

/// `--set-string` and tools that write values make texts of switches and numbers; "false" must not count as true.
#[test]
fn switches_and_numbers_may_be_text() {
    let Some(helm) = Helm::find() else { return };
    let values = json!({
        "useFIPS": "false",
        "sidecars": {"livenessProbe": {"enabled": "false"}, "csiResizer": {"enabled": "true"}},
        "node": {"volMetricsOptIn": "true", "volMetricsRefreshPeriod": "30.5", "serviceAccount": {"create": "false"}},
    });
    let plain = json!({
        "sidecars": {"csiResizer": {"enabled": true}},
        "node": {"volMetricsOptIn": true, "volMetricsRefreshPeriod": 30.5, "serviceAccount": {"create": false}},
    });
    assert_eq!(helm.documents(&values.to_string()), helm.documents(&plain.to_string()));
}

#[test]
fn sections_that_are_null_are_as_if_nothing_was_switched_on_in_them() {
    let Some(helm) = Helm::find() else { return };
    let defaults = helm.documents("");
    for section in [
        "endpointUrls: null",
        "tlsCa: null",
        "networkPolicy: null",
        "fake-efs: null",
        "storageClasses: null",
        "sidecars: {livenessProbe: null, nodeDriverRegistrar: null, csiResizer: null}",
        "controller: {serviceMonitor: null, podDisruptionBudget: null, fileSystemIdRefs: null}",
        "node: {podMonitor: null}",
    ] {
        assert_eq!(helm.documents(section), defaults, "{section}");
    }
}

#[test]
fn a_mount_targets_name_ends_as_its_partition_says() {
    let Some(helm) = Helm::find() else { return };
    for region in [
        "us-east-1",
        "us-gov-west-1",
        "cn-north-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "us-isof-south-1",
        "eu-isoe-west-1",
        "eusc-de-east-1",
    ] {
        let values = json!({"node": {"hostAliases": {"fs-01234567": {"ip": "192.0.2.10", "region": region}}}});
        let documents = helm.documents(&values.to_string());
        let pod = &find(&documents, "DaemonSet", "efs-csi-node")["spec"]["template"]["spec"];
        let name = efs_csi_driver::endpoints::file_system_name(efs_tunnel::Service::Efs, "fs-01234567", region);
        assert_eq!(pod["hostAliases"][0]["hostnames"], json!([name]));
    }
}
