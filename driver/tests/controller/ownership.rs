//! Whose directories and access points are: what is made, what goes with a volume, and what stays.

#[path = "ownership/clusters.rs"]
mod clusters;
#[path = "ownership/creations.rs"]
mod creations;
#[path = "ownership/deletions.rs"]
mod deletions;
#[path = "ownership/reported.rs"]
mod reported;
#[path = "ownership/sharing.rs"]
mod sharing;

use std::time::Duration;

use efs_csi_driver::config::ControllerConfig;
use fake_efs::faults::Effect;
use futures::TryStreamExt as _;

use crate::support::{Bed, config, request};

/// A controller that deletes root directories, which then stay in the trash, with a file system as root sees it.
struct Deleting {
    bed: Bed,
    fs: String,
    files: Box<dyn nfs_rs::Mount>,
}

impl Deleting {
    async fn new() -> Self {
        Self::keeping_for(Duration::from_secs(3600)).await
    }

    /// The same, emptying the trash after this time.
    async fn keeping_for(trash_retention: Duration) -> Self {
        let config = ControllerConfig { delete_root_directory: true, trash_retention, ..config() };
        let bed = Bed::with_files(config).await;
        let fs = bed.mountable_file_system().await;
        let files = bed.files(&fs).await;
        Self { bed, fs, files }
    }
}

fn directory(name: &str, fs: &str, at: &str) -> csi_proto::csi::CreateVolumeRequest {
    let parameters = [("provisioningMode", "efs-dir"), ("subPathPattern", at), ("ensureUniqueDirectory", "false")];
    request(name, fs, &parameters)
}

fn point(name: &str, fs: &str, at: &str) -> csi_proto::csi::CreateVolumeRequest {
    request(name, fs, &[("subPathPattern", at), ("ensureUniqueDirectory", "false")])
}

/// Makes a directory with those around it, and a file in it.
async fn precious(files: &dyn nfs_rs::Mount, at: &str) {
    let mut path = String::new();
    for part in at.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
        drop(files.mkdir_path(&path, 0o755).await);
    }
    let file = files.create_path(&format!("{at}/precious"), Some(0o644)).await.unwrap();
    files.close(file.fh).await.unwrap();
}

async fn is_there(files: &dyn nfs_rs::Mount, at: &str) -> bool {
    files.lookup_path(&format!("{at}/precious")).await.is_ok()
}

/// The names in the trash.
async fn in_trash(files: &dyn nfs_rs::Mount) -> Vec<String> {
    let listed = files.readdir_path("/.efs-csi-deleted").await.unwrap();
    listed.map_ok(|entry| entry.file_name).try_collect().await.unwrap()
}

fn denied() -> Effect {
    Effect::Error { name: "AccessDeniedException".into(), status: Some(403), message: None }
}
