//! The few operations of EFS and S3 Files that the driver needs, with plain types, so that handlers can be tested without the SDKs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;

use super::errors::EfsError;
use crate::volume::{AccessPointId, FileSystemId};

/// The largest page that DescribeAccessPoints gives (EFS API, `MaxResults`).
pub const LARGEST_PAGE: u16 = 1000;

/// The state of an EFS resource, by the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeCycle {
    /// Being made; not usable yet.
    Creating,
    /// Usable.
    Available,
    /// Usable while it is being changed.
    Updating,
    /// Going away.
    Deleting,
    /// Gone, still listed.
    Deleted,
    /// Broken; AWS names no way back.
    Error,
    /// S3 Files can't get at the bucket, or at something else that it needs.
    Misconfigured,
    /// A word that this driver does not know.
    Unknown,
}

impl LifeCycle {
    /// Reads the API's word.
    pub fn from_word(word: &str) -> Self {
        match word {
            "creating" => Self::Creating,
            "available" => Self::Available,
            "updating" => Self::Updating,
            "deleting" => Self::Deleting,
            "deleted" => Self::Deleted,
            "error" => Self::Error,
            "misconfigured" => Self::Misconfigured,
            _ => Self::Unknown,
        }
    }

    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Updating => "updating",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Error => "error",
            Self::Misconfigured => "misconfigured",
            Self::Unknown => "unknown",
        }
    }
}

/// The POSIX identity that an access point forces on every operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PosixUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further group ids, at most 16.
    pub secondary_gids: Vec<u32>,
}

/// Owner and mode that EFS gives to a root directory that it has to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Owning user id.
    pub uid: u32,
    /// Owning group id.
    pub gid: u32,
    /// Permission bits as 3 or 4 octal digits.
    pub permissions: String,
}

/// What CreateAccessPoint is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccessPoint {
    /// Idempotency token, 1 to 64 characters, unique per account and region.
    pub client_token: String,
    /// The file system to make it on.
    pub file_system: FileSystemId,
    /// The identity to enforce, if any.
    pub posix_user: Option<PosixUser>,
    /// The root directory, absolute, 1 to 100 bytes.
    pub root: String,
    /// Owner and mode of the root directory, should EFS have to make it.
    pub root_owner: Option<Owner>,
    /// Tags, at most 50.
    pub tags: BTreeMap<String, String>,
}

/// An access point as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    /// Its id.
    pub id: AccessPointId,
    /// The file system that it belongs to.
    pub file_system: FileSystemId,
    /// The token that it was made with. Empty when AWS does not tell.
    pub client_token: String,
    /// The enforced identity; statically made access points may have none.
    pub posix_user: Option<PosixUser>,
    /// The root directory, `/` by default.
    pub root: String,
    /// Owner and mode given for the root directory.
    pub root_owner: Option<Owner>,
    /// Its state.
    pub state: LifeCycle,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether AWS has told token and tags: the lists of S3 Files do not.
    pub tags_told: bool,
}

impl AccessPoint {
    /// Whether it has a tag, or may have it.
    pub fn may_have_tag(&self, key: &str) -> bool {
        !self.tags_told || self.tags.contains_key(key)
    }
}

/// One page of access points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessPointPage {
    /// The access points, in no particular order.
    pub access_points: Vec<AccessPoint>,
    /// The token of the next page; `None` on the last one.
    pub next_token: Option<String>,
}

/// A file system as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Its id.
    pub id: FileSystemId,
    /// Its state.
    pub state: LifeCycle,
    /// The zone of a One Zone file system; `None` for a regional one.
    pub availability_zone: Option<String>,
    /// Metered size in bytes at the last measurement; 0 where AWS tells none.
    pub size_bytes: u64,
    /// What AWS says about a state that is no good one.
    pub status_message: Option<String>,
}

/// A mount target as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountTarget {
    /// Its id, `fsmt-…`.
    pub id: String,
    /// Its state.
    pub state: LifeCycle,
    /// The zone's name in the account of the file system, such as `us-east-1a`.
    pub availability_zone: Option<String>,
    /// The zone's id, which means the same zone in every account, such as `use1-az1`.
    pub availability_zone_id: Option<String>,
    /// The IPv4 address and the IPv6 address, as far as it has them.
    pub addresses: Vec<IpAddr>,
}

/// The control plane of a service, EFS or S3 Files. Implementations retry by themselves; an error is the answer after the last attempt.
///
/// Every method fails with an [`EfsError`] that names the operation, the AWS error and the AWS request id.
#[async_trait]
pub trait EfsApi: std::fmt::Debug + Send + Sync + 'static {
    /// CreateAccessPoint. A token that is already taken is [`super::EfsErrorKind::AccessPointAlreadyExists`] with the id.
    async fn create_access_point(&self, request: &NewAccessPoint) -> Result<AccessPoint, EfsError>;

    /// DescribeAccessPoints by id; exactly one. `file_system` is where it should be, which helps where only lists are allowed.
    async fn access_point(&self, file_system: &FileSystemId, id: &AccessPointId) -> Result<AccessPoint, EfsError>;

    /// One page of DescribeAccessPoints, of one file system or (EFS only) of the account.
    /// `limit` is 1 to [`LARGEST_PAGE`]; `token` comes from the page before.
    async fn access_points(
        &self,
        file_system: Option<&FileSystemId>,
        limit: u16,
        token: Option<&str>,
    ) -> Result<AccessPointPage, EfsError>;

    /// DeleteAccessPoint.
    async fn delete_access_point(&self, id: &AccessPointId) -> Result<(), EfsError>;

    /// DescribeFileSystems by id; exactly one.
    async fn file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError>;

    /// DescribeMountTargets, all pages.
    async fn mount_targets(&self, file_system: &FileSystemId) -> Result<Vec<MountTarget>, EfsError>;

    /// TagResource on an access point: adds or overwrites, leaves other tags alone.
    async fn tag(&self, id: &AccessPointId, tags: &BTreeMap<String, String>) -> Result<(), EfsError>;
}

/// All pages of DescribeAccessPoints, of one file system or of the account.
///
/// # Errors
/// Those of a page.
pub async fn all_access_points(
    api: &dyn EfsApi,
    file_system: Option<&FileSystemId>,
) -> Result<Vec<AccessPoint>, EfsError> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = api.access_points(file_system, LARGEST_PAGE, token.as_deref()).await?;
        all.extend(page.access_points);
        match page.next_token {
            Some(next) => token = Some(next),
            None => return Ok(all),
        }
    }
}
