//! Tags of access points, within what the controller's IAM policy allows.
//!
//! AWS's managed policy for EFS CSI drivers lets a request carry only the key `efs.csi.aws.com/cluster`. The tags for capacity and
//! cluster are therefore left out when AWS refuses them, and tried again later; the volume then works as with the Go driver, which
//! remembers neither.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ControllerError;
use super::capacity::CAPACITY_TAG;
use crate::volume::tags::{MOST_TAGS, check_tag};

/// The tag that marks access points of this driver and of the Go driver.
pub(crate) const CLUSTER_TAG: &str = "efs.csi.aws.com/cluster";

/// The tag that names the clusters whose volumes have an access point: uids of kube-system, separated by spaces. There are several where
/// a claim of another cluster has taken the access point up.
pub(crate) const CLUSTER_ID_TAG: &str = "efs.csi.aws.com/cluster-id";

/// Prefix of the mutable parameters that carry a tag, `tagSpecification_1: key=value`.
pub(crate) const TAG_PARAMETER: &str = "tagSpecification_";

/// How long the capacity tag is left out after AWS refused it.
const REFUSAL_AGE: Duration = Duration::from_secs(10 * 60);

/// Which tags new access points get.
#[derive(Debug)]
pub(crate) struct TagPolicy {
    flag: BTreeMap<String, String>,
    refused_at: Mutex<Option<Instant>>,
}

impl TagPolicy {
    pub(crate) fn new(flag: BTreeMap<String, String>) -> Self {
        Self { flag, refused_at: Mutex::default() }
    }

    pub(crate) fn has_flag_tags(&self) -> bool {
        !self.flag.is_empty()
    }

    /// The tags of a new access point: the cluster tag, those of `--tags`, and those of the claim's attributes class.
    pub(crate) fn base(&self, mutable: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ControllerError> {
        let mut tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), "true".to_owned())]);
        tags.extend(self.flag.clone());
        tags.extend(mutable.clone());
        // Two places stay free for what the driver remembers.
        if tags.len() + 2 > MOST_TAGS {
            return Err(ControllerError::Invalid(format!("{} tags are more than EFS keeps (50)", tags.len() + 2)));
        }
        Ok(tags)
    }

    /// The tags for what the driver remembers, capacity and cluster, unless AWS refused them lately.
    pub(crate) fn memory(&self, bytes: i64, cluster: Option<&str>) -> BTreeMap<String, String> {
        let refused = *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_some_and(|at| at.elapsed() < REFUSAL_AGE) {
            return BTreeMap::new();
        }
        let capacity = (bytes > 0).then(|| (CAPACITY_TAG.to_owned(), bytes.to_string()));
        let cluster = cluster.map(|id| (CLUSTER_ID_TAG.to_owned(), id.to_owned()));
        capacity.into_iter().chain(cluster).collect()
    }

    /// Notes that AWS refuses tags beyond the cluster tag.
    pub(crate) fn refused(&self) {
        tracing::warn!(
            tags = %format_args!("{CAPACITY_TAG}, {CLUSTER_ID_TAG}"),
            "the IAM policy allows no tags for capacity and cluster; they are not remembered. Allow the keys in aws:TagKeys of \
             elasticfilesystem:CreateAccessPoint and elasticfilesystem:TagResource"
        );
        *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// The clusters that a tag names. None where there is no tag.
pub(crate) fn clusters_of(tags: &BTreeMap<String, String>) -> Vec<&str> {
    tags.get(CLUSTER_ID_TAG).map(|ids| ids.split_whitespace().collect()).unwrap_or_default()
}

/// Reads the mutable parameters of a VolumeAttributesClass: `tagSpecification_NAME: key=value`.
///
/// # Errors
/// Any other parameter, a value without `=`, a tag against EFS's rules, or one of the driver's own tags.
pub(crate) fn mutable_tags(parameters: &HashMap<String, String>) -> Result<BTreeMap<String, String>, ControllerError> {
    let mut problems = Vec::new();
    let mut tags = BTreeMap::new();
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        if !name.starts_with(TAG_PARAMETER) {
            problems
                .push(format!("mutable parameter {name:?} is not known; known is {TAG_PARAMETER}NAME with key=value"));
            continue;
        }
        match value.split_once('=') {
            None => problems.push(format!("mutable parameter {name}={value:?} must be key=value")),
            Some((key, _)) if [CLUSTER_TAG, CLUSTER_ID_TAG, CAPACITY_TAG].contains(&key) => {
                problems.push(format!("mutable parameter {name}: tag {key} is the driver's own"));
            }
            Some((key, text)) => match check_tag(key, text) {
                Ok(()) => {
                    tags.insert(key.to_owned(), text.to_owned());
                }
                Err(error) => problems.push(format!("mutable parameter {name}: {error}")),
            },
        }
    }
    if problems.is_empty() { Ok(tags) } else { Err(ControllerError::Invalid(problems.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn an_attributes_class_gives_tags() {
        let tags = mutable_tags(&parameters(&[("tagSpecification_1", "env=prod=x"), ("tagSpecification_b", "lone=")]));
        let want = [("env", "prod=x"), ("lone", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(tags.unwrap(), BTreeMap::from(want));
    }

    #[test]
    fn all_wrong_mutable_parameters_are_named() {
        let wrong = [
            ("XXX_FakeKey", "XXX_FakeValue"),
            ("tagSpecification_1", "novalue"),
            ("tagSpecification_2", "aws:x=y"),
            ("tagSpecification_3", "efs.csi.aws.com/cluster=false"),
        ];
        let message = mutable_tags(&parameters(&wrong)).unwrap_err().to_string();
        for (name, _) in wrong {
            assert!(message.contains(name), "{name}: {message}");
        }
    }

    #[test]
    fn flag_tags_may_replace_the_cluster_tag() {
        let policy = TagPolicy::new(BTreeMap::from([(CLUSTER_TAG.to_owned(), "blue".to_owned())]));
        assert_eq!(policy.base(&BTreeMap::new()).unwrap()[CLUSTER_TAG], "blue");
        let many = (0..49).map(|n| (n.to_string(), String::new())).collect();
        assert!(TagPolicy::new(many).base(&BTreeMap::new()).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_tags_are_left_out_for_a_while() {
        let policy = TagPolicy::new(BTreeMap::new());
        assert_eq!(policy.memory(5, Some("uid")).len(), 2);
        assert!(policy.memory(0, None).is_empty());
        policy.refused();
        assert!(policy.memory(5, Some("uid")).is_empty());
        tokio::time::advance(REFUSAL_AGE).await;
        assert_eq!(policy.memory(5, None)[CAPACITY_TAG], "5");
    }
}
