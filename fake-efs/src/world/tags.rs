//! Tags of file systems and access points, by today's operations and by the deprecated ones.

use std::ops::RangeBounds;

use serde::Deserialize;

use super::errors::{EfsError, Result};
use super::ids::{self, AccessPointId, FileSystemId};
use super::model::Tag;
use super::paging::{MOST_ROWS, Page, PageRequest};
use super::scope::Requester;
use super::{Entity, State, World};

/// Input of ListTagsForResource, and of DescribeTags with `FileSystemId` in place of `ResourceId`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTags {
    /// Id or ARN.
    #[serde(alias = "FileSystemId")]
    pub resource_id: String,
    /// Which page.
    #[serde(flatten)]
    pub page: PageRequest,
}

/// Checks a list of tags of one request: no key twice, not too many.
pub(super) fn check(tags: &[Tag], limit: usize) -> Result<()> {
    if tags.len() > limit {
        return Err(EfsError::bad_request(format!("A resource can have at most {limit} tags.")));
    }
    for (i, tag) in tags.iter().enumerate() {
        if tags[..i].iter().any(|t| t.key == tag.key) {
            return Err(EfsError::bad_request(format!("The tag key '{}' is given more than once.", tag.key)));
        }
    }
    Ok(())
}

/// Something with tags.
enum Tagged {
    FileSystem(FileSystemId),
    AccessPoint(AccessPointId),
}

impl State {
    /// Finds a resource with tags by id or ARN, and its tags.
    fn tagged(&self, requester: &Requester, text: &str) -> Result<(Tagged, &Vec<Tag>)> {
        let bare = ids::bare(text, &requester.scope).unwrap_or(text);
        if bare.starts_with(AccessPointId::PREFIX) || text.contains(":access-point/") {
            let point = self.access_point(requester, text)?;
            return Ok((Tagged::AccessPoint(point.id.clone()), &point.tags));
        }
        let fs = self.file_system(requester, text)?;
        Ok((Tagged::FileSystem(fs.id.clone()), &fs.tags))
    }

    fn set_tags(&mut self, of: Tagged, tags: Vec<Tag>) {
        match of {
            Tagged::FileSystem(id) => self.change_file_system(&id, |fs| fs.tags = tags),
            Tagged::AccessPoint(id) => {
                if let Some(point) = self.access_points.get_mut(&id) {
                    point.tags = tags;
                    self.dirty.insert(Entity::AccessPoint(id));
                }
            }
        }
    }
}

impl World {
    /// TagResource and CreateTags: adds tags, and overwrites those whose keys exist.
    pub fn tag_resource(&self, requester: &Requester, resource: &str, tags: Vec<Tag>) -> Result<()> {
        self.step(|state, _| {
            let (of, old) = state.tagged(requester, resource)?;
            check(&tags, usize::MAX)?;
            let mut merged = old.clone();
            for tag in tags {
                match merged.iter_mut().find(|t| t.key == tag.key) {
                    Some(known) => known.value = tag.value,
                    None => merged.push(tag),
                }
            }
            check(&merged, state.limits.tags)?;
            state.set_tags(of, merged);
            Ok(())
        })
    }

    /// UntagResource and DeleteTags: removes tags; keys that don't exist don't matter.
    pub fn untag_resource(&self, requester: &Requester, resource: &str, keys: &[String]) -> Result<()> {
        self.step(|state, _| {
            let (of, tags) = state.tagged(requester, resource)?;
            let kept = tags.iter().filter(|tag| !keys.contains(&tag.key)).cloned().collect();
            state.set_tags(of, kept);
            Ok(())
        })
    }

    /// ListTagsForResource and DescribeTags: one page in the order of the keys, and the next one's token. A token names the
    /// last key that was shown, so that tags which come and go meanwhile neither hide nor repeat others.
    pub fn list_tags(&self, requester: &Requester, input: &ListTags) -> Result<(Vec<Tag>, Option<String>)> {
        self.step(|state, _| {
            let (_, tags) = state.tagged(requester, &input.resource_id)?;
            let page = Page::<String>::new(&input.page, "tags", MOST_ROWS)?;
            let mut rows: Vec<&Tag> = tags.iter().filter(|tag| page.range().contains(&tag.key)).collect();
            rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(page.take(rows.into_iter().map(|tag| (tag.key.clone(), tag.clone()))))
        })
    }
}
