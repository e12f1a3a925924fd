//! The AWS side: the APIs of EFS and S3 Files as a narrow trait, the AWS SDKs behind it, and what its errors mean.

pub mod api;
mod attempts;
mod authorities;
pub mod aws;
pub mod clients;
mod credentials;
pub mod endpoint_urls;
pub mod errors;
mod hosts;
pub mod http_client;
pub mod metadata;
pub mod mount_credentials;
pub mod mount_targets;
mod patient;
pub mod pod_identity;
mod profiles;
mod refusal;
pub mod region;
pub mod s3files;

pub use api::{
    AccessPoint, AccessPointPage, EfsApi, FileSystem, LifeCycle, MountTarget, NewAccessPoint, Owner, PosixUser,
};
pub use clients::{AwsClients, EfsClients, Role};
pub use errors::{EfsError, EfsErrorKind};
