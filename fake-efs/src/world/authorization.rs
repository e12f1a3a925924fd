//! What a call is about, for the policies of IAM principals: a resource, its tags, and the tags that are asked for.

use serde_json::{Map, Value};

use super::model::Tag;
use super::scope::Requester;
use super::{State, World};

/// Members of inputs that name a resource, the more particular ones first.
const NAMES: [&str; 9] = [
    "AccessPointId",
    "MountTargetId",
    "ResourceId",
    "FileSystemId",
    "SourceFileSystemId",
    "accessPointId",
    "mountTargetId",
    "resourceId",
    "fileSystemId",
];

/// A call as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// ARN of the resource; `*` if it is about none, or about one that does not exist.
    pub(crate) resource: String,
    resource_tags: Vec<Tag>,
    request_tags: Vec<Tag>,
    /// Keys of tags that the request removes.
    removed: Vec<String>,
    principal: String,
    /// The operation that makes something with tags.
    creates: Option<&'static str>,
}

impl Subject {
    /// Whether something is made that has tags from the beginning.
    pub(crate) fn makes_tags(&self) -> bool {
        self.creates.is_some()
    }

    /// What a condition's key stands for. Only the keys of the request's tags can be several.
    pub(crate) fn facts(&self, key: &str) -> Vec<String> {
        if key == "aws:tagkeys" {
            let given = self.request_tags.iter().map(|tag| &tag.key);
            return given.chain(&self.removed).cloned().collect();
        }
        self.fact(key).into_iter().collect()
    }

    /// Tag keys in conditions don't care about case.
    fn fact(&self, key: &str) -> Option<String> {
        let tag = |tags: &[Tag], key: &str| {
            tags.iter().find(|tag| tag.key.eq_ignore_ascii_case(key)).map(|tag| tag.value.clone())
        };
        if let Some(key) = key.strip_prefix("aws:resourcetag/") {
            return tag(&self.resource_tags, key);
        }
        if let Some(key) = key.strip_prefix("aws:requesttag/") {
            return tag(&self.request_tags, key);
        }
        match key {
            "s3files:createaction" => self.creates.map(str::to_owned),
            "aws:principalarn" => Some(self.principal.clone()),
            "aws:principalaccount" => self.principal.split(':').nth(4).map(str::to_owned),
            _ => None,
        }
    }
}

impl State {
    /// ARN and tags of a resource that the caller may see. A mount target counts as its file system.
    fn resource(&self, requester: &Requester, text: &str) -> Option<(String, Vec<Tag>)> {
        if let Ok(point) = self.access_point(requester, text) {
            return Some((point.arn(), point.tags.clone()));
        }
        let target = self.mount_target(requester, text).ok();
        let text = target.map_or(text, |target| target.file_system.as_str());
        let fs = self.file_system(requester, text).ok()?;
        Some((fs.arn(), fs.tags.clone()))
    }
}

impl World {
    /// What a call with such an input is about.
    pub(crate) fn subject(
        &self,
        requester: &Requester,
        operation: &'static str,
        input: &Map<String, Value>,
    ) -> Subject {
        let named = NAMES.iter().find_map(|name| input.get(*name)?.as_str());
        let found = named.and_then(|text| self.step(|state, _| state.resource(requester, text)));
        let (resource, resource_tags) = found.unwrap_or_else(|| ("*".to_owned(), Vec::new()));
        let member = |names: [&str; 2]| names.iter().find_map(|name| input.get(*name)).cloned().unwrap_or_default();
        let request_tags: Vec<Tag> = serde_json::from_value(member(["Tags", "tags"])).unwrap_or_default();
        let removed = member(["TagKeys", "tagKeys"]);
        Subject {
            resource,
            resource_tags,
            creates: Some(operation).filter(|name| name.starts_with("Create") && !request_tags.is_empty()),
            request_tags,
            removed: serde_json::from_value(removed).unwrap_or_default(),
            principal: requester.principal.clone(),
        }
    }
}
