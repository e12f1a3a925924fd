//! The volumes that could not be published: the kubelet asks for the health of those, too.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use efs_tunnel::plane::FailureKind;
use tonic::Code;

use crate::conditions::{Condition, Reason};
use crate::node::errors::NodeError;
use crate::node::pod_errors::PodError;

/// Failures that are remembered; the oldest goes first. A node has some hundred pods.
const MOST: usize = 1024;

/// The last failure of each target.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<VecDeque<Failure>>);

#[derive(Debug)]
struct Failure {
    volume: String,
    target: PathBuf,
    condition: Condition,
}

impl Failures {
    fn list(&self) -> std::sync::MutexGuard<'_, VecDeque<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what is wrong with a volume at a target.
    pub(super) fn note(&self, volume: &str, target: &Path, condition: Condition) {
        let mut list = self.list();
        list.retain(|it| it.volume != volume || it.target != target);
        if list.len() == MOST {
            list.pop_front();
        }
        list.push_back(Failure { volume: volume.to_owned(), target: target.to_owned(), condition });
    }

    /// Forgets what was wrong with a volume at a target.
    pub(super) fn forget(&self, volume: &str, target: &Path) {
        self.list().retain(|it| it.volume != volume || it.target != target);
    }

    /// What is wrong with a volume at a target where it is published. What failed elsewhere is of no concern there: the volume may be another
    /// tenant's, too.
    pub(super) fn at(&self, volume: &str, target: &Path) -> Vec<Condition> {
        let list = self.list();
        let here = list.iter().filter(|it| it.volume == volume && it.target == target);
        here.map(|it| it.condition.clone()).collect()
    }

    /// What is wrong with a volume: at this target if it has failed there, at all of them otherwise.
    pub(super) fn of(&self, volume: &str, target: Option<&Path>) -> Vec<Condition> {
        let list = self.list();
        let here = |it: &&Failure| it.volume == volume && target.is_some_and(|target| it.target == target);
        if let Some(failure) = list.iter().find(here) {
            return vec![failure.condition.clone()];
        }
        list.iter().filter(|it| it.volume == volume).map(|it| it.condition.clone()).collect()
    }
}

/// What a failed NodePublishVolume says of the volume; nothing when it says only that it must be repeated.
pub(super) fn condition_of(error: &NodeError) -> Option<Condition> {
    let reason = match error {
        NodeError::InProgress(_) | NodeError::TooManyMounts(_) => return None,
        NodeError::Tunnel(failure) => reason_of(failure.kind),
        NodeError::AsPod { source, .. } => condition_of(source)?.reason,
        NodeError::Pod(_) if error.code() == Code::PermissionDenied => Reason::AccessDenied,
        NodeError::Pod(PodError::NoCredentials(_)) => Reason::CredentialsMissing,
        NodeError::NoAccessPoint { .. } => Reason::AccessPointMissing,
        NodeError::Mount { .. } if error.code() == Code::PermissionDenied => Reason::AccessDenied,
        _ => Reason::PublishFailed,
    };
    Some(Condition::new(reason, error.to_string()))
}

/// What it means for a volume that its tunnel has this trouble.
pub(super) fn reason_of(kind: FailureKind) -> Reason {
    match kind {
        FailureKind::NoPort | FailureKind::Port => Reason::PortTaken,
        FailureKind::Files => Reason::TooManyOpenFiles,
        FailureKind::Missing => Reason::MountTargetMissing,
        FailureKind::Unreachable => Reason::MountTargetUnreachable,
        FailureKind::NotTheServer => Reason::NotTheServer,
        FailureKind::Refused => Reason::AccessDenied,
        FailureKind::Credentials => Reason::CredentialsMissing,
        FailureKind::Away | FailureKind::DiskFull | FailureKind::ReadOnlyDisk => Reason::TunnelDown,
        FailureKind::Internal => Reason::TunnelBroken,
    }
}

#[cfg(test)]
mod tests {
    use efs_tunnel::{IamSource, PodAuthority, PodIdentity};

    use super::*;

    #[test]
    fn the_failure_of_the_target_counts_and_without_one_those_of_the_volume() {
        let (failures, a, b) = (Failures::default(), Path::new("/a"), Path::new("/b"));
        let condition = |seen: &str| Condition::new(Reason::PublishFailed, seen);
        failures.note("v", a, condition("old"));
        failures.note("v", a, condition("at a"));
        failures.note("v", b, condition("at b"));
        failures.note("w", b, condition("another volume"));
        assert_eq!(failures.of("v", Some(a)), [condition("at a")]);
        assert_eq!(failures.of("v", None), [condition("at a"), condition("at b")]);
        assert_eq!(failures.of("v", Some(Path::new("/c"))), [condition("at a"), condition("at b")]);
        assert_eq!((failures.at("v", a), failures.at("v", Path::new("/c"))), (vec![condition("at a")], vec![]));
        failures.forget("v", a);
        assert_eq!(failures.of("v", Some(a)), [condition("at b")]);
        assert_eq!(failures.of("x", None), []);
    }

    #[test]
    fn the_oldest_failures_are_dropped() {
        let failures = Failures::default();
        for n in 0..=MOST {
            failures.note(&format!("v{n}"), Path::new("/t"), Condition::new(Reason::PublishFailed, ""));
        }
        assert_eq!((failures.of("v0", None).len(), failures.of("v1", None).len(), failures.list().len()), (0, 1, MOST));
    }

    #[test]
    fn a_failure_has_the_reason_of_its_cause() {
        let failed = |kind| NodeError::Tunnel(efs_tunnel::plane::Failure::new(kind, "x"));
        let reason = |error: NodeError| condition_of(&error).map(|condition| condition.reason);
        assert_eq!(reason(failed(FailureKind::Refused)), Some(Reason::AccessDenied));
        assert_eq!(reason(failed(FailureKind::NoPort)), Some(Reason::PortTaken));
        assert_eq!(reason(NodeError::InProgress("/t".into())), None, "nothing is known of it yet");
        let identity =
            PodIdentity { namespace: "team-a".to_owned(), service_account: "app".to_owned(), by: PodAuthority::Agent };
        let as_pod = failed(FailureKind::Refused).of(Some(&IamSource::Pod(identity)));
        assert_eq!(reason(as_pod), Some(Reason::AccessDenied), "whoever it is");
        let gone = NodeError::NoAccessPoint { access_point: "fsap-1".into(), refusal: String::new() };
        assert_eq!(reason(gone), Some(Reason::AccessPointMissing));
        assert_eq!(reason(NodeError::request("volume_context", "is wrong")), Some(Reason::PublishFailed));
    }
}
