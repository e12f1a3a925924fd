//! Operations on access points.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::errors::{EfsError, ErrorName, Result};
use super::ids::{self, AccessPointId};
use super::lifecycle::Timer;
use super::model::{AccessPoint, LifeCycleState, PosixUser, RootDirectory, Tag};
use super::paging::{MOST_ROWS, Page, PageRequest};
use super::scope::{Requester, Service};
use super::{Entity, State, World, tags};

/// Input of CreateAccessPoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAccessPoint {
    /// 1 to 64 characters.
    pub client_token: String,
    /// Id or ARN.
    pub file_system_id: String,
    /// At most 50.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Identity forced on clients.
    pub posix_user: Option<PosixUser>,
    /// What clients see as `/`.
    pub root_directory: Option<RootDirectory>,
}

/// Input of DescribeAccessPoints.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAccessPoints {
    /// Only this one; excludes `file_system_id`.
    pub access_point_id: Option<String>,
    /// Only those of this file system.
    pub file_system_id: Option<String>,
    /// Which page.
    #[serde(flatten)]
    pub page: PageRequest,
}

impl World {
    /// CreateAccessPoint. A token that is taken is refused by EFS; S3 Files answers the same request with what it made before.
    pub fn create_access_point(&self, requester: &Requester, input: CreateAccessPoint) -> Result<AccessPoint> {
        match (requester.scope.service, self.seed_access_point(requester, input.clone(), None)) {
            (Service::S3Files, Err(error)) => self.step(|state, _| state.made_before(&error, &input).ok_or(error)),
            (_, made) => made,
        }
    }

    /// Makes an access point with a given id, for the seed.
    pub fn seed_access_point(
        &self,
        requester: &Requester,
        input: CreateAccessPoint,
        id: Option<AccessPointId>,
    ) -> Result<AccessPoint> {
        self.step(|state, now| {
            // AWS looks at the token before anything else, whatever the other parameters are.
            let token = (requester.scope.clone(), input.client_token.clone());
            if let Some(id) = state.client_tokens.get(&token) {
                return Err(EfsError::access_point_exists(id));
            }
            if let Some(id) = id.as_ref().filter(|id| state.access_points.get(*id).is_some()) {
                return Err(EfsError::access_point_exists(id));
            }
            let file_system = state.available_file_system(requester, &input.file_system_id)?.id.clone();
            check_path(input.root_directory.as_ref())?;
            tags::check(&input.tags, state.limits.tags)?;
            if state.points_of.get(&file_system).map_or(0, BTreeMap::len) >= state.limits.access_points {
                return Err(EfsError::new(
                    ErrorName::AccessPointLimitExceeded,
                    format!(
                        "You have reached the maximum number of access points ({}) for file system '{file_system}'.",
                        state.limits.access_points
                    ),
                ));
            }
            let point = AccessPoint {
                id: id.unwrap_or_else(|| state.ids.access_point()),
                scope: requester.scope.clone(),
                seq: state.access_points.next_seq(),
                client_token: input.client_token,
                file_system: file_system.clone(),
                state: LifeCycleState::Creating,
                posix_user: input.posix_user,
                root_directory: input.root_directory.unwrap_or_default(),
                tags: input.tags,
            };
            state.client_tokens.insert(token, point.id.clone());
            state.points_of.entry(file_system).or_default().insert(point.seq, point.id.clone());
            state.access_points.insert(point.id.clone(), point.clone());
            state.dirty.insert(Entity::AccessPoint(point.id.clone()));
            state.schedule(now, state.delays.access_point_create, Timer::AccessPointReady(point.id.clone()));
            Ok(point)
        })
    }

    /// DescribeAccessPoints: one page, and the next one's token.
    pub fn describe_access_points(
        &self,
        requester: &Requester,
        input: &DescribeAccessPoints,
    ) -> Result<(Vec<Arc<AccessPoint>>, Option<String>)> {
        self.step(|state, _| match (&input.access_point_id, &input.file_system_id) {
            (Some(_), Some(_)) => {
                Err(EfsError::bad_request("Specify either an AccessPointId or a FileSystemId, not both."))
            }
            (Some(text), None) => Ok((vec![Arc::clone(state.access_point(requester, text)?)], None)),
            (None, Some(text)) => {
                let fs = state.file_system(requester, text)?;
                let page = Page::new(&input.page, "access-points", MOST_ROWS)?;
                Ok(State::page_of(state.points_of.get(&fs.id), &state.access_points, &page))
            }
            (None, None) => {
                let page = Page::new(&input.page, "access-points", MOST_ROWS)?;
                let index = state.access_points.index(&requester.scope);
                Ok(State::page_of(index, &state.access_points, &page))
            }
        })
    }

    /// DeleteAccessPoint. Its directory, its data and its living connections stay.
    pub fn delete_access_point(&self, requester: &Requester, text: &str) -> Result<()> {
        self.step(|state, now| {
            let id = state.access_point(requester, text)?.id.clone();
            let Some(point) = state.access_points.get_mut(&id) else { return Ok(()) };
            if point.state == LifeCycleState::Deleting {
                return Ok(());
            }
            point.state = LifeCycleState::Deleting;
            state.dirty.insert(Entity::AccessPoint(id.clone()));
            state.schedule(now, state.delays.access_point_delete, Timer::AccessPointGone(id));
            Ok(())
        })
    }
}

impl State {
    /// The access point that a refused request has made before, if it is that which was asked for.
    fn made_before(&self, refusal: &EfsError, input: &CreateAccessPoint) -> Option<AccessPoint> {
        let (_, id) = refusal.existing.as_ref().filter(|_| !self.limits.repeats_conflict)?;
        let point = self.access_points.get(&AccessPointId::parse(id)?)?;
        let asked_for = AccessPoint {
            posix_user: input.posix_user.clone(),
            root_directory: input.root_directory.clone().unwrap_or_default(),
            tags: input.tags.clone(),
            ..(**point).clone()
        };
        let same_system = ids::bare(&input.file_system_id, &point.scope) == Some(point.file_system.as_str());
        (same_system && asked_for == **point).then_some(asked_for)
    }
}

/// Longest name of a file, in bytes.
const LONGEST_NAME: usize = 255;

/// Refuses a root directory that the file server could not make, or could make and nobody remove: the model's pattern lets some pass.
fn check_path(root: Option<&RootDirectory>) -> Result<()> {
    let names = root.map_or("", |root| &*root.path).split('/');
    match names.into_iter().find(|name| name.len() > LONGEST_NAME || name.contains('\0')) {
        Some(name) => Err(EfsError::bad_request(format!(
            "RootDirectory.Path: {name:?} can't be the name of a directory: names have at most {LONGEST_NAME} bytes, none of them zero."
        ))),
        None => Ok(()),
    }
}
