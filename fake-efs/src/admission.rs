//! The seam between the two front doors: what the NFS server asks the control plane when a connection arrives, and what it
//! is told.
//!
//! The NFS server knows sockets, certificates and files; the [world](crate::world) knows file systems, access points, mount
//! targets and policies. Neither looks into the other: the server hands over a [`Caller`], and gets back an [`Admission`]
//! that holds everything it needs for the life of the connection, or a [`Refusal`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Who connects, from where, to which address.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The address that was connected to. A mount target is an address, so this says which one was meant.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// What the TLS client certificate claims; `None` for a plain connection, which is anonymous.
    pub certificate: Option<CertificateClaims>,
}

/// The EFS extensions of a client certificate, parsed but not yet believed.
///
/// The certificate is self-signed: possession of its key is proven by TLS, and only an [`IamClaim`] whose signature covers
/// that key's hash ties it to an AWS principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateClaims {
    /// Extension 1.3.6.1.4.1.4843.7.3: the file system's id, `fs-…`.
    pub file_system_id: String,
    /// Extension 1.3.6.1.4.1.4843.7.1: the access point's id, `fsap-…`, if the mount names one.
    pub access_point_id: Option<String>,
    /// Extension 1.3.6.1.4.1.4843.7.2: a SigV4 signature by an IAM principal, for mounts with `iam`.
    pub iam: Option<IamClaim>,
    /// Extension 1.3.6.1.4.1.4843.7.4: the client software's name, e.g. `k8s`, and version.
    pub client_info: Option<(String, String)>,
    /// Lowercase hex SHA-1 of the public key (the content of the subjectPublicKey bit string).
    pub public_key_hash: String,
}

/// The IAM part of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamClaim {
    /// The access key that signed.
    pub access_key_id: String,
    /// 64 lowercase hex digits.
    pub signature: String,
    /// When it was signed, to the second.
    pub signed_at: jiff::Timestamp,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

/// A user and its groups, replacing what the client says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PosixUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Up to 16 further groups.
    pub secondary_gids: Vec<u32>,
}

/// How to make an access point's root directory if it is missing at the first connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationInfo {
    /// Owner of the new directory.
    pub owner_uid: u32,
    /// Group of the new directory.
    pub owner_gid: u32,
    /// Permission bits, e.g. 0o755.
    pub permissions: u32,
}

/// What the connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// `elasticfilesystem:ClientWrite`: without it every change answers NFS4ERR_ROFS.
    pub write: bool,
    /// `elasticfilesystem:ClientRootAccess`: without it uid 0 is squashed to 65534.
    pub root: bool,
}

/// A number of bytes a second, shared with whoever may change it.
#[derive(Clone, Debug, Default)]
pub struct Rate(Arc<AtomicU64>);

impl Rate {
    /// So many bytes a second; 0 for any number.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes_per_second)))
    }

    /// Changes it for all who share it.
    pub fn set(&self, bytes_per_second: u64) {
        self.0.store(bytes_per_second, Ordering::Relaxed);
    }

    /// The rate now, if there is one.
    pub(crate) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }
}

/// What a file system speaks: NFS as the service that it belongs to offers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// EFS: NFSv4.0 and 4.1.
    #[default]
    Efs,
    /// S3 Files: NFSv4.1 and 4.2, without hard links, for an object has one key.
    S3Files,
}

impl Dialect {
    /// Whether requests of that minor version are answered.
    pub(crate) fn has_minor_version(self, minor_version: u32) -> bool {
        match self {
            Self::Efs => minor_version <= 1,
            Self::S3Files => (1..=2).contains(&minor_version),
        }
    }

    /// Whether a file can have several names.
    pub(crate) fn has_hard_links(self) -> bool {
        self == Self::Efs
    }
}

/// Leave to use one file system over one connection.
#[derive(Clone)]
pub struct Admission {
    /// What is spoken.
    pub dialect: Dialect,
    /// The file system.
    pub file_system_id: String,
    /// The access point whose root the connection sees as `/`.
    pub access_point_id: Option<String>,
    /// The ARN of the IAM principal, or `anonymous`.
    pub principal: String,
    /// The mount target that the address stands for.
    pub mount_target_id: Option<String>,
    /// Absolute path of the directory that is `/` for this connection; `/` without an access point.
    pub root_path: String,
    /// How to make `root_path` if it is missing; `None` means that the mount is refused then.
    pub creation_info: Option<CreationInfo>,
    /// Replaces the caller's AUTH_SYS identity for every operation.
    pub posix_user: Option<PosixUser>,
    /// What the file-system policy grants.
    pub rights: Rights,
    /// Where the files are.
    pub store: Arc<dyn Store>,
    /// How fast the connection may be in each direction. It may be changed while the connection lives.
    pub rate: Rate,
    /// Cancelled when the mount target or the file system goes away: the connection must be closed at once.
    pub revoked: CancellationToken,
}

impl Admission {
    /// What makes two connections the same client to the server: file system, access point and principal.
    ///
    /// A server must give different client ids and server owners to different identities, because Linux merges mounts whose
    /// server owners and client ids are equal and would send one volume's traffic over another volume's connection.
    pub fn identity(&self) -> String {
        format!("{}/{}/{}", self.file_system_id, self.access_point_id.as_deref().unwrap_or("-"), self.principal)
    }
}

/// Why a caller is turned away. EFS answers with NFS4ERR_ACCESS, which the kernel reports as "access denied by server".
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// No such file system, or the address belongs to another one.
    #[error("file system {0} is not served at this address")]
    FileSystem(String),
    /// No such access point on that file system.
    #[error("access point {0} does not exist on file system {1}")]
    AccessPoint(String, String),
    /// What the certificate says of EFS can't be read. It is not taken for one that says nothing: who names an access point must not
    /// get the whole file system.
    #[error("client certificate refused: {0}")]
    Certificate(String),
    /// The signature does not match, has expired, or the key is unknown.
    #[error("IAM authorisation failed: {0}")]
    Signature(String),
    /// The file-system policy does not allow the action, which is the service's `ClientMount`.
    #[error("the file-system policy denies {action} to {principal}")]
    Policy {
        /// As policies write it, e.g. `elasticfilesystem:ClientMount`.
        action: String,
        /// Who has signed, or `anonymous`.
        principal: String,
    },
    /// No principal has signed, where the service lets nobody in without.
    #[error("{0} is a file system of S3 Files: a client needs TLS and an IAM signature")]
    Unsigned(String),
    /// A plain connection to an address that stands for more than one file system.
    #[error("address {0} stands for several file systems; a connection without TLS can't say which it means")]
    Ambiguous(SocketAddr),
    /// The address is no mount target of an available file system.
    #[error("no mount target at {0}")]
    NoMountTarget(SocketAddr),
}

/// Decides who may connect.
pub trait Admit: Send + Sync + 'static {
    /// Admits or refuses a connection. Called once a connection, before its first RPC is answered.
    fn admit(&self, caller: &Caller) -> Result<Admission, Refusal>;

    /// What the file system speaks that a caller means, also if the caller is turned away: it has to be told so in its own language.
    fn dialect(&self, _caller: &Caller) -> Dialect {
        Dialect::default()
    }
}
