//! The examples in `deploy/examples`: each object is one that Kubernetes understands, and each handle one that the driver does.

use std::path::Path;

use efs_csi_driver::volume::VolumeId;
use serde_json::Value;

use crate::{helm, manifests};

fn examples() -> Vec<(String, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut examples: Vec<_> = std::fs::read_dir(&folder)
        .expect("there are examples")
        .map(|entry| entry.expect("the folder is readable").path())
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("an example is text");
            (path.file_name().expect("it has a name").to_string_lossy().into_owned(), helm::parse(&text))
        })
        .collect();
    examples.sort_by(|a, b| a.0.cmp(&b.0));
    examples
}

#[test]
fn kubernetes_understands_every_field_of_every_example() {
    let examples = examples();
    assert!(examples.len() >= 10, "only {} examples", examples.len());
    for (name, documents) in examples {
        for document in &documents {
            let lost = manifests::lost(document);
            assert!(lost.is_empty(), "{name}: {} {}: {lost:#?}", document["kind"], document["metadata"]["name"]);
        }
    }
}

#[test]
fn the_driver_understands_every_handle() {
    let mut handles = 0;
    for (name, documents) in examples() {
        for document in documents.iter().filter(|d| d["kind"] == "PersistentVolume") {
            let handle = document["spec"]["csi"]["volumeHandle"].as_str().expect("a volume has a handle");
            handle.parse::<VolumeId>().unwrap_or_else(|e| panic!("{name}: {handle}: {e}"));
            handles += 1;
        }
    }
    assert!(handles >= 5, "only {handles} handles");
}

/// A claim that names a volume or class of its own example gets it.
#[test]
fn claims_and_pods_refer_to_what_is_there() {
    let examples = examples();
    let all: Vec<&Value> = examples.iter().flat_map(|(_, documents)| documents).collect();
    let is_there = |kind: &str, name: &Value| all.iter().any(|d| d["kind"] == kind && d["metadata"]["name"] == *name);
    for document in &all {
        let spec = &document["spec"];
        if document["kind"] == "PersistentVolumeClaim" {
            let (volume, class) = (&spec["volumeName"], &spec["storageClassName"]);
            assert!(volume.is_null() || is_there("PersistentVolume", volume), "{document}");
            assert!(class == "" || is_there("StorageClass", class), "{document}");
        }
        let pod = if document["kind"] == "Pod" { spec } else { &spec["template"]["spec"] };
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            assert!(is_there("PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]), "{document}");
        }
    }
}
