//! What can be wrong with a volume, or with a node's way to EFS, in the words of CSI 1.13.
//!
//! The reasons are a closed list: callers compare them, count them in metrics, and write a status anew when the set of them changes. So
//! what changes from call to call (seconds, addresses) stands in the message, and a reason has one status, which makes the pairs unique.
//! docs/health.md holds the list.

use std::collections::BTreeMap;

use csi_proto::csi::node_get_storage_health_response::StorageBackendHealth;
use csi_proto::csi::volume_health::VolumeHealthEntry;
use csi_proto::csi::{StorageHealthErrorType, VolumeHealth, VolumeHealthErrorType};

/// Longest message, in bytes: Kubernetes stores no longer one.
const MESSAGE: usize = 1024;

/// Declares a list of reasons: word, status, what to do.
macro_rules! reasons {
    ($(#[$about:meta])* $name:ident, $status:ident { $($(#[$doc:meta])* $reason:ident = $severity:ident, $advice:literal;)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $reason,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$reason,)*];

            /// The word that callers get.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$reason => stringify!($reason),)*
                }
            }

            /// How bad it is.
            pub fn status(self) -> $status {
                match self {
                    $(Self::$reason => $status::$severity,)*
                }
            }

            /// What an operator should do.
            pub fn advice(self) -> &'static str {
                match self {
                    $(Self::$reason => $advice,)*
                }
            }
        }
    };
}

reasons! {
    /// Why a volume is not well.
    Reason, VolumeHealthErrorType {
        /// The controller: AWS has no such access point, and a PersistentVolume names it.
        AccessPointMissing = Inaccessible,
            "the files are still on the file system; make an access point on their directory and a volume of it, or delete the claim";
        /// The controller: the access point is in state error, or is being made or deleted.
        AccessPointNotAvailable = Inaccessible,
            "see `aws efs describe-access-points`; one in state error must be deleted and made anew";
        /// The controller: AWS has no such file system.
        FileSystemMissing = DataLoss,
            "restore it from a backup, or correct the file system id, the region and the account that the driver asks";
        /// The controller: the file system is in another state than available.
        FileSystemNotAvailable = Inaccessible,
            "see `aws efs describe-file-systems`; pods that start now wait";
        /// The controller: the directory of a directory volume is gone, or another one is in its place.
        DirectoryMissing = DataLoss,
            "look for it on the file system (somebody may have moved it), or restore it from a backup";
        /// The controller: an earlier driver made the directory where another volume has its own.
        DirectoryShared = Degraded,
            "both volumes see the same files; move the files of one to a new volume";
        /// No mount target can be used: none is available, or none is in the node's network.
        MountTargetMissing = Inaccessible,
            "create a mount target in the nodes' VPC and wait until it is available";
        /// The node: nothing is mounted at the target any more.
        MountMissing = Inaccessible,
            "somebody unmounted it behind the driver; delete the pod, so that its successor gets it mounted";
        /// The node: the tunnel's local port can't be had.
        PortTaken = Inaccessible,
            "see with `efs-csi-driver debug` and `ss -ltnp` which program has the port, and end it; the driver takes the port within a second";
        /// The node: the data plane, which has all tunnels, does not answer.
        TunnelDown = Inaccessible,
            "see the log of the tunnel container; its keeper or the kubelet starts it again";
        /// The node: something is broken within the tunnel.
        TunnelBroken = Inaccessible,
            "see the log of the tunnel container, and report it if it is not clear";
        /// The node: no connection to the mount target.
        MountTargetUnreachable = Inaccessible,
            "check the mount target, its security group, the routes and the DNS of this node";
        /// The node: what answers is not the mount target.
        NotTheServer = Inaccessible,
            "check the address of the mount target, and --tls-ca-file if this is not AWS";
        /// The node: the mount target refuses this identity.
        AccessDenied = Inaccessible,
            "check that the access point exists and that the file system's policy lets this identity mount; for a pod's identity also the trust policy of its role, or its pod identity association";
        /// The node: there are no credentials for a new connection.
        CredentialsMissing = Inaccessible,
            "check the service account's role, and the way to STS";
        /// The node: too many files are open for a new connection.
        TooManyOpenFiles = Inaccessible,
            "raise the limit that the message names";
        /// The node: the kernel has sent calls and hears nothing.
        ServerNotAnswering = Inaccessible,
            "reads and writes wait and go on when it answers; see the file system's metrics and AWS's status of EFS";
        /// The node: the last attempt to publish the volume failed.
        PublishFailed = Inaccessible,
            "the pod can't start before that is put right; the kubelet tries again by itself";
        /// The node: new connections fail, while others go on.
        ConnectionsFailing = Degraded,
            "check the mount target and its security group before the remaining connections end";
        /// The node: the client certificate can't be renewed.
        CertificateNotRenewed = Degraded,
            "check the service account's role, and the way to STS; connections that start after its end are refused";
        /// The node: the volume holds more than `--volume-usage-soft-limit`.
        UsageOverSoftLimit = Degraded,
            "nothing is refused; delete files, or raise --volume-usage-soft-limit";
    }
}

reasons! {
    /// Why a node's way to EFS is not well.
    StorageReason, StorageHealthErrorType {
        /// The data plane, which has all tunnels, does not answer.
        DataPlaneDown = StorageUnreachable,
            "see the log of the tunnel container; its keeper or the kubelet starts it again";
        /// No tunnel reaches its server.
        NoServerReached = StorageUnreachable,
            "check this node's network, its DNS and the security groups of the mount targets";
        /// No certificate with IAM credentials can be renewed.
        CredentialsNotRenewed = StorageDegraded,
            "check the service account's role, and the way to STS; connections that start after the certificates' end are refused";
    }
}

/// One thing that is wrong with a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Why.
    pub reason: Reason,
    /// What was seen, without what to do.
    pub seen: String,
}

impl Condition {
    /// Something that was seen.
    pub fn new(reason: Reason, seen: impl Into<String>) -> Self {
        Self { reason, seen: seen.into() }
    }
}

/// A volume with all that is wrong with it, each reason once: the first that was seen of it.
pub fn volume(volume_id: &str, conditions: impl IntoIterator<Item = Condition>) -> VolumeHealth {
    let mut by_reason = BTreeMap::new();
    for condition in conditions {
        by_reason.entry(condition.reason).or_insert(condition.seen);
    }
    let entry = |(reason, seen): (Reason, String)| VolumeHealthEntry {
        status: reason.status().into(),
        reason: reason.word().to_owned(),
        message: message(seen, reason.advice()),
    };
    VolumeHealth { volume_id: volume_id.to_owned(), health_statuses: by_reason.into_iter().map(entry).collect() }
}

/// Something that is wrong with the way to EFS.
pub fn storage(reason: StorageReason, seen: impl Into<String>) -> StorageBackendHealth {
    StorageBackendHealth {
        status: reason.status().into(),
        reason: reason.word().to_owned(),
        message: message(seen.into(), reason.advice()),
        volume_capability: None,
    }
}

/// What was seen and what to do. The advice is never cut off.
fn message(seen: String, advice: &str) -> String {
    const BETWEEN: &str = "; ";
    let room = MESSAGE - advice.len() - BETWEEN.len();
    format!("{}{BETWEEN}{advice}", shortened(seen, room))
}

/// A text as long as Kubernetes stores it.
pub fn cut_message(text: &str) -> String {
    shortened(text.to_owned(), MESSAGE)
}

fn shortened(mut text: String, room: usize) -> String {
    const CUT: &str = "…";
    if text.len() > room {
        text.truncate(text.floor_char_boundary(room - CUT.len()));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest reason that Kubernetes stores, in bytes.
    const REASON: usize = 256;

    #[test]
    fn reasons_are_camel_case_words_of_at_most_256_bytes_and_unique() {
        let words = Reason::ALL.iter().map(|it| it.word()).chain(StorageReason::ALL.iter().map(|it| it.word()));
        let words: Vec<_> = words.collect();
        for word in &words {
            let camel = word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(char::is_alphanumeric);
            assert!(camel && word.len() <= REASON, "{word}");
        }
        assert_eq!(words.iter().collect::<std::collections::BTreeSet<_>>().len(), words.len());
    }

    #[test]
    fn a_volume_has_each_reason_once_and_messages_end_with_what_to_do() {
        let long = Condition::new(Reason::AccessDenied, "é".repeat(2000));
        let health = volume(
            "v",
            [long, Condition::new(Reason::MountMissing, "first"), Condition::new(Reason::MountMissing, "second")],
        );
        assert_eq!(health.volume_id, "v");
        let told: Vec<_> = health.health_statuses.iter().map(|it| (it.reason.as_str(), it.status())).collect();
        use VolumeHealthErrorType::Inaccessible;
        assert_eq!(told, [("MountMissing", Inaccessible), ("AccessDenied", Inaccessible)]);
        assert!(health.health_statuses[0].message.starts_with("first; "), "{health:?}");
        let cut = &health.health_statuses[1].message;
        assert!(cut.len() <= MESSAGE && cut.ends_with(Reason::AccessDenied.advice()), "{} {cut}", cut.len());
    }

    /// Like the other tables of the documents: the page must hold these lines.
    #[test]
    fn the_document_of_health_holds_the_tables() {
        let row = |word: &str, status: &str, advice: &str| format!("| `{word}` | {status} | {advice} |");
        let volumes = Reason::ALL.iter().map(|it| row(it.word(), it.status().as_str_name(), it.advice()));
        let storage = StorageReason::ALL.iter().map(|it| row(it.word(), it.status().as_str_name(), it.advice()));
        let page = include_str!("../../docs/health.md");
        let missing: Vec<String> = volumes.chain(storage).filter(|row| !page.contains(row.as_str())).collect();
        assert!(missing.is_empty(), "docs/health.md lacks\n{}", missing.join("\n"));
        let told = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
        let words = Reason::ALL.len() + StorageReason::ALL.len();
        assert_eq!(
            told.filter(|line| ["DEGRADED", "INACCESSIBLE", "DATA_LOSS", "UNREACHABLE"]
                .iter()
                .any(|status| line.contains(status)))
                .count(),
            words
        );
    }
}
