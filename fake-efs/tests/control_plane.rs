//! The control plane as the AWS SDK sees it, over a socket.

#[path = "control_plane/support.rs"]
mod support;

#[path = "control_plane/access_points.rs"]
mod access_points;
#[path = "control_plane/admin.rs"]
mod admin;
#[path = "control_plane/admission.rs"]
mod admission;
#[path = "control_plane/credentials.rs"]
mod credentials;
#[path = "control_plane/faults.rs"]
mod faults;
#[path = "control_plane/file_systems.rs"]
mod file_systems;
#[path = "control_plane/mount_targets.rs"]
mod mount_targets;
#[path = "control_plane/restart.rs"]
mod restart;
#[path = "control_plane/s3.rs"]
mod s3;
#[path = "control_plane/s3files.rs"]
mod s3files;
#[path = "control_plane/seed.rs"]
mod seed;
