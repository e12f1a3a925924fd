//! Values that the schema refuses, each with the path of the value in the message.

use crate::helm::Helm;

#[test]
fn wrong_values_are_refused_with_their_path() {
    let Some(helm) = Helm::find() else { return };
    for (values, path) in [
        ("controller: {replicaCount: many}", "/controller/replicaCount"),
        ("controller: {replicas: 3}", "'replicas' not allowed"),
        ("controller: {timeout: 15}", "/controller/timeout"),
        ("controller: {tags: [a, b]}", "/controller/tags"),
        ("controller: {livenessProbe: {period: 3}}", "/controller/livenessProbe"),
        ("node: {healthPort: 99999}", "/node/healthPort"),
        ("csiDriver: {nodeAllocatableUpdatePeriodSeconds: '5'}", "/csiDriver/nodeAllocatableUpdatePeriodSeconds"),
        // Helm takes what is null away from the defaults: I/O would stand still with each restart, and nobody has asked for that.
        ("node: {tunnel: null}", "'/node': missing property 'tunnel'"),
        ("node: {tunnel: {enabled: null}}", "'/node/tunnel': missing property 'enabled'"),
        ("node: {unmountTimeout: 30 seconds}", "/node/unmountTimeout"),
        ("node: {kubeletPath: kubelet}", "/node/kubeletPath"),
        ("node: {hostAliases: {files: {ip: 10.0.0.1, region: us-east-1}}}", "/node/hostAliases"),
        ("node: {hostAliases: {fs-01234567: {ip: 10.0.0.1}}}", "/node/hostAliases/fs-01234567"),
        ("node: {volumeAttachLimit: 0}", "/node/volumeAttachLimit"),
        ("portRangeUpperBound: '21 000'", "/portRangeUpperBound"),
        ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
        ("image: {digest: 1234}", "/image/digest"),
        ("storageClasses: [{parameters: {}}]", "/storageClasses/0"),
        ("storageClasses: [{name: a, reclaimPolicy: Keep}]", "/storageClasses/0/reclaimPolicy"),
        ("endpointUrls: {efs: 'localhost:4566'}", "/endpointUrls/efs"),
        ("fake-efs: {fileSystemId: my-files}", "/fake-efs/fileSystemId"),
        ("fakeEfs: {enabled: true}", "'fakeEfs' not allowed"),
        ("image: null", "missing property 'image'"),
        (
            "sidecars: {csiProvisioner: {image: {tag: null}}}",
            "at '/sidecars/csiProvisioner/image': missing property 'tag'",
        ),
        ("controller: {serviceAccount: null}", "at '/controller': missing property 'serviceAccount'"),
        ("node: {healthPort: null}", "at '/node': missing property 'healthPort'"),
        ("node: {kubeletPath: null}", "at '/node': missing property 'kubeletPath'"),
        ("node: {hostAliases: {fs-01234567: null}}", "/node/hostAliases/fs-01234567"),
        ("node: {volMetricsRefreshPeriod: '0'}", "/node/volMetricsRefreshPeriod"),
        ("storageClasses: [null]", "/storageClasses/0"),
        ("useFIPS: 'yes'", "/useFIPS"),
    ] {
        let refusal = helm.template(values).expect_err(values);
        assert!(refusal.contains(path), "{values}: {path} is not in\n{refusal}");
    }
}

/// YAML reads an octal number without quotes as its decimal value, and nobody can tell afterwards what was written.
#[test]
fn permissions_that_were_read_as_a_number_are_refused() {
    let Some(helm) = Helm::find() else { return };
    for permissions in ["0777", "0700", "0755", "01000", "01777", "750", "2775", "511", "8"] {
        let values = format!("storageClasses: [{{name: a, parameters: {{directoryPerms: {permissions}}}}}]");
        let refusal = helm.template(&values).expect_err(permissions);
        assert!(refusal.contains("directoryPerms") && refusal.contains("quote it"), "{permissions}: {refusal}");
    }
}

#[test]
fn numbers_that_lost_digits_are_refused() {
    let Some(helm) = Helm::find() else { return };
    let refusal = helm.template("controller: {tags: {a: 123456789012345678}}").expect_err("it has too many digits");
    assert!(refusal.contains("quote it"), "{refusal}");
}

#[test]
fn a_pair_of_numbers_that_kubernetes_refuses_is_refused_by_its_name() {
    let Some(helm) = Helm::find() else { return };
    for (pair, what) in
        [("maxSurge: 1, maxUnavailable: 1", "not both"), ("maxSurge: 0, maxUnavailable: '0%'", "both 0")]
    {
        let refusal = helm.template(&format!("node: {{rollingUpdate: {{{pair}}}}}")).expect_err(pair);
        assert!(refusal.contains("node.rollingUpdate:") && refusal.contains(what), "{refusal}");
        let on_delete = format!("node: {{updateStrategy: OnDelete, rollingUpdate: {{{pair}}}}}");
        helm.template(&on_delete).unwrap_or_else(|e| panic!("{pair}: nobody looks at it: {e}"));
    }
}

/// The stock registrar removes the registration socket when it ends, also its successor's; the stock liveness probe listens on the host's port.
#[test]
fn a_surge_is_refused_with_a_stock_sidecar_that_cannot_run_twice_on_a_node() {
    let Some(helm) = Helm::find() else { return };
    for sidecar in ["nodeDriverRegistrar", "livenessProbe"] {
        let values = |surge: &str| {
            format!("{{sidecars: {{{sidecar}: {{enabled: true}}}}, node: {{rollingUpdate: {{maxSurge: {surge}}}}}}}")
        };
        for surge in ["1", "10%"] {
            let refusal = helm.template(&values(surge)).expect_err(surge);
            assert!(refusal.contains("node.rollingUpdate.maxSurge"), "{refusal}");
        }
        for none in ["0", "0%"] {
            helm.template(&values(none)).unwrap_or_else(|e| panic!("{none}: {e}"));
        }
    }
}

/// A key that no schema knows is a typing error; so every key of values.yaml must be in it.
#[test]
fn every_default_value_passes_the_schema() {
    let Some(helm) = Helm::find() else { return };
    let defaults = std::fs::read_to_string(crate::helm::chart().join("values.yaml")).unwrap();
    helm.template(&defaults).unwrap_or_else(|e| panic!("{e}"));
}
