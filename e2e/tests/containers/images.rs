//! What is in the images.

use std::process::{Command, Stdio};

use crate::docker::{TAG, have, inspect};

const IMAGES: [&str; 3] = ["efs-csi-driver", "fake-efs", "csi-sanity"];

/// The paths of all files in an image.
fn files(image: &str) -> Vec<String> {
    let created = Command::new("docker").args(["create", &format!("{image}:{TAG}")]).output().expect("docker runs");
    let id = String::from_utf8_lossy(&created.stdout).trim().to_owned();
    let mut export = Command::new("docker").args(["export", &id]).stdout(Stdio::piped()).spawn().expect("docker runs");
    let archive = export.stdout.take().expect("is piped");
    let listing = Command::new("tar").arg("-t").stdin(archive).output().expect("tar runs");
    export.wait().expect("docker ends");
    Command::new("docker").args(["rm", "--force", &id]).output().expect("docker runs");
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    listing.lines().filter(|line| !line.ends_with('/')).map(str::to_owned).collect()
}

#[test]
fn an_image_holds_one_program_and_the_files_it_reads() {
    for image in IMAGES.into_iter().filter(|image| have(&[image])) {
        // Docker itself adds these to every container.
        let added = ["dev/console", ".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"];
        let mut files = files(image);
        files.retain(|file| !added.contains(&file.as_str()));
        files.sort();
        let mut expected = vec![
            image,
            "etc/group",
            "etc/nsswitch.conf",
            "etc/passwd",
            "etc/ssl/certs/ca-certificates.crt",
            "sbom.spdx.json",
        ];
        expected.sort_unstable();
        assert_eq!(files, expected);
    }
}

#[test]
fn an_image_says_what_it_is_and_does_not_run_as_root() {
    for image in IMAGES.into_iter().filter(|image| have(&[image])) {
        let config = inspect(image)["Config"].clone();
        assert_eq!(config["User"], "65532:65532");
        let labels = &config["Labels"];
        assert_eq!(labels["org.opencontainers.image.title"], image);
        assert_eq!(labels["org.opencontainers.image.version"], TAG);
        assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
        assert_eq!(labels["org.opencontainers.image.revision"].as_str().map(str::len), Some(40));
    }
}

#[test]
fn the_drivers_image_is_small() {
    if !have(&["efs-csi-driver"]) {
        return;
    }
    let bytes = inspect("efs-csi-driver")["Size"].as_u64().expect("an image has a size");
    // deploy/image.sh checks the compressed size; uncompressed, a static executable is two to three times that.
    assert!(bytes < 45 << 20, "{bytes} bytes");
}
