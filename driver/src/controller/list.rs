//! ListVolumes and GetCapacity.
//!
//! A listing goes through the access points of the driver's own account, then through those of each other account that the controller
//! has a role for, then through the directory volumes of each file system that may have some. Its tokens say where it goes on. A part
//! that can't be listed fails the call: a list without it would say that its volumes are gone.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use csi_proto::csi;
use efs_directories::DirectoryPath;

use super::capacity::UNLIMITED;
use super::create_volume::ZONE_KEY;
use super::directories::directory_handle;
use super::existing::capacity_of;
use super::get::condition;
use super::health;
use super::known::Facts;
use super::parameters::{CreateParameters, ProvisioningMode, ZoneAffinity};
use super::paths::sha256_hex;
use super::tagging::CLUSTER_TAG;
use super::{Controller, ControllerError};
use crate::efs::api::LARGEST_PAGE;
use crate::efs::{AccessPoint, AccessPointPage, EfsErrorKind, Role};
use crate::volume::{FileSystemId, FileSystemKind, VolumeId};

/// EFS calls for one page of a listing. Where other people's access points fill the pages, an answer may have fewer
/// volumes than asked for, and a token to go on.
const MOST_CALLS_A_PAGE: usize = 10;

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// With access points: of the account whose role has this mark, or of the driver's own; after the page that gave EFS's token.
    AccessPoints { account: Option<String>, token: Option<String> },
    /// With access points of S3 Files, which lists them by file system: of this one or the first behind it, after the page that gave AWS's
    /// token.
    BucketAccessPoints { from: Option<FileSystemId>, token: Option<String> },
    /// With directory volumes: after this directory on this file system.
    Directories { after: Option<(FileSystemId, DirectoryPath)> },
}

const START: Place = Place::AccessPoints { account: None, token: None };

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessPoints { account: None, token } => write!(f, "efs:{}", token.as_deref().unwrap_or_default()),
            Self::AccessPoints { account: Some(account), token } => {
                write!(f, "role:{account}:{}", token.as_deref().unwrap_or_default())
            }
            Self::BucketAccessPoints { from, token } => {
                let from = from.as_ref().map(FileSystemId::as_str).unwrap_or_default();
                write!(f, "s3files:{from}:{}", token.as_deref().unwrap_or_default())
            }
            Self::Directories { after: None } => f.write_str("dir:"),
            Self::Directories { after: Some((file_system, path)) } => write!(f, "dir:{file_system}:{path}"),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match text.split_once(':') {
            None if text.is_empty() => Ok(START),
            Some(("efs", token)) if !token.is_empty() => Ok(Self::AccessPoints { account: None, token: filled(token) }),
            Some(("role", rest)) => {
                let (account, token) = rest.split_once(':').ok_or(())?;
                Ok(Self::AccessPoints { account: Some(filled(account).ok_or(())?), token: filled(token) })
            }
            Some(("s3files", rest)) => {
                let (from, token) = rest.split_once(':').ok_or(())?;
                let from = filled(from).map(|from| from.parse::<FileSystemId>()).transpose().map_err(|_| ())?;
                let from = from.map(|from| from.of(FileSystemKind::S3Files));
                Ok(Self::BucketAccessPoints { from, token: filled(token) })
            }
            Some(("dir", "")) => Ok(Self::Directories { after: None }),
            Some(("dir", rest)) => {
                let (file_system, path) = rest.split_once(':').ok_or(())?;
                let after = (file_system.parse().map_err(|_| ())?, path.parse().map_err(|_| ())?);
                Ok(Self::Directories { after: Some(after) })
            }
            _ => Err(()),
        }
    }
}

/// What stands for a role in a token.
fn mark(role: &Role) -> String {
    let mut digest = sha256_hex(&format!("{}\n{}", role.arn, role.external_id.as_deref().unwrap_or_default()));
    digest.truncate(16);
    digest
}

/// The entries of one answer.
struct Page {
    entries: Vec<csi::list_volumes_response::Entry>,
    /// Most entries; 0 for no limit.
    most: usize,
    calls: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.most > 0 && (self.entries.len() >= self.most || self.calls >= MOST_CALLS_A_PAGE)
    }

    fn left(&self) -> usize {
        if self.most == 0 { usize::MAX } else { self.most - self.entries.len() }
    }
}

impl Controller {
    pub(crate) async fn list_volumes(
        &self,
        request: csi::ListVolumesRequest,
    ) -> Result<csi::ListVolumesResponse, ControllerError> {
        let most = usize::try_from(request.max_entries).map_err(|_| {
            ControllerError::Invalid(format!("max_entries: {} must not be negative", request.max_entries))
        })?;
        let not_ours = || ControllerError::Token(request.starting_token.clone());
        let mut place: Place = request.starting_token.parse().map_err(|()| not_ours())?;
        self.survey().await?;
        let mut page = Page { entries: Vec::new(), most, calls: 0 };
        let next = loop {
            let next = match place {
                Place::AccessPoints { account, token } => {
                    self.list_access_points(&mut page, account, token, not_ours).await?
                }
                Place::BucketAccessPoints { from, token } => {
                    self.list_bucket_access_points(&mut page, from, token, not_ours).await?
                }
                Place::Directories { after } => self.list_directories(&mut page, after).await?,
            };
            match next {
                Some(next) if !page.is_full() => place = next,
                next => break next,
            }
        };
        let next_token = next.map(|place| place.to_string()).unwrap_or_default();
        Ok(csi::ListVolumesResponse { entries: page.entries, next_token })
    }

    /// Adds one page of an account's access points; gives where to go on.
    async fn list_access_points(
        &self,
        page: &mut Page,
        account: Option<String>,
        token: Option<String>,
        not_ours: impl Fn() -> ControllerError,
    ) -> Result<Option<Place>, ControllerError> {
        let roles = self.known.roles();
        let role = match &account {
            None => None,
            Some(account) => Some(roles.iter().find(|role| mark(role) == *account).ok_or_else(&not_ours)?),
        };
        let api = self.api_of(FileSystemKind::Efs, role).await?;
        let limit = u16::try_from(page.left()).unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE);
        page.calls += 1;
        let points = api.access_points(None, limit, token.as_deref()).await.map_err(|error| {
            let whose = role.map(|role| format!(" with role {}", role.arn)).unwrap_or_default();
            match error.kind {
                EfsErrorKind::BadRequest if token.is_some() => not_ours(),
                _ => ControllerError::efs(format!("cannot list access points{whose}"))(error),
            }
        })?;
        page.entries.extend(points.access_points.iter().filter(|it| it.tags.contains_key(CLUSTER_TAG)).map(entry));
        if points.next_token.is_some() {
            return Ok(Some(Place::AccessPoints { account, token: points.next_token }));
        }
        let mut following = roles.iter().skip_while(|it| role.is_some_and(|role| *it != role));
        let next = if role.is_some() { following.nth(1) } else { following.next() };
        Ok(match next {
            Some(role) => Some(Place::AccessPoints { account: Some(mark(role)), token: None }),
            None => self.first_bucket_file_system(),
        })
    }

    /// Adds one page of access points of a file system of S3 Files; gives where to go on. Lists tell no tags there, so that all access points
    /// of the file systems that classes, PersistentVolumes and earlier calls name are volumes: each can be one.
    async fn list_bucket_access_points(
        &self,
        page: &mut Page,
        from: Option<FileSystemId>,
        token: Option<String>,
        not_ours: impl Fn() -> ControllerError,
    ) -> Result<Option<Place>, ControllerError> {
        let all = self.known.all().into_iter().filter(|(id, _)| id.kind() == FileSystemKind::S3Files);
        let mut rest = all.skip_while(|(id, _)| from.as_ref().is_some_and(|from| id < from));
        let Some((id, facts)) = rest.next() else { return Ok(self.first_directories()) };
        // A token belongs to the file system that gave it, which may be known no more.
        let token = token.filter(|_| from.as_ref() == Some(&id));
        let next = rest.next().map(|(id, _)| id);
        let api = self.api(&id, facts.role.as_ref()).await?;
        let limit = u16::try_from(page.left()).unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE);
        page.calls += 1;
        let points = match api.access_points(Some(&id), limit, token.as_deref()).await {
            Ok(points) => points,
            Err(error) if error.is_not_found() => AccessPointPage::default(),
            Err(error) if error.kind == EfsErrorKind::BadRequest && token.is_some() => return Err(not_ours()),
            Err(error) => return Err(ControllerError::efs(format!("cannot list the access points of {id}"))(error)),
        };
        page.entries.extend(points.access_points.iter().map(entry));
        Ok(match (points.next_token, next) {
            (Some(token), _) => Some(Place::BucketAccessPoints { from: Some(id), token: Some(token) }),
            (None, Some(next)) => Some(Place::BucketAccessPoints { from: Some(next), token: None }),
            (None, None) => self.first_directories(),
        })
    }

    /// Where a listing goes on behind the access points of EFS.
    fn first_bucket_file_system(&self) -> Option<Place> {
        let is_known = self.known.all().iter().any(|(id, _)| id.kind() == FileSystemKind::S3Files);
        let first = is_known.then_some(Place::BucketAccessPoints { from: None, token: None });
        first.or_else(|| self.first_directories())
    }

    fn first_directories(&self) -> Option<Place> {
        (!self.directory_file_systems().is_empty()).then_some(Place::Directories { after: None })
    }

    /// The file systems that may hold directory volumes.
    fn directory_file_systems(&self) -> Vec<(FileSystemId, Facts)> {
        if self.sessions.is_none() {
            return Vec::new();
        }
        self.known.all().into_iter().filter(|(_, facts)| facts.directories).collect()
    }

    /// Adds directory volumes until the page is full; gives where to go on.
    async fn list_directories(
        &self,
        page: &mut Page,
        after: Option<(FileSystemId, DirectoryPath)>,
    ) -> Result<Option<Place>, ControllerError> {
        for (id, facts) in self.directory_file_systems() {
            let from = match &after {
                Some((file_system, _)) if id < *file_system => continue,
                Some((file_system, path)) if id == *file_system => Bound::Excluded(path.clone()),
                _ => Bound::Unbounded,
            };
            let api = self.api(&id, facts.role.as_ref()).await?;
            match self.file_system(api.as_ref(), &id).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(ControllerError::efs(format!("cannot look up {id}"))(error)),
            }
            let claims = self.directory_claims(api.as_ref(), &id, facts.role.as_ref()).await?;
            for (path, capacity) in claims.range::<DirectoryPath, _>((from, Bound::Unbounded)) {
                page.entries.push(directory_entry(&id, path, *capacity));
                if page.left() == 0 {
                    return Ok(Some(Place::Directories { after: Some((id, path.clone())) }));
                }
            }
        }
        Ok(None)
    }

    pub(crate) async fn get_capacity(
        &self,
        request: csi::GetCapacityRequest,
    ) -> Result<csi::GetCapacityResponse, ControllerError> {
        let answer = |bytes| csi::GetCapacityResponse { available_capacity: bytes, ..Default::default() };
        if !request.volume_capabilities.is_empty() {
            super::create_volume::check_capabilities(&request.volume_capabilities)?;
        }
        if request.parameters.is_empty() {
            return Ok(answer(UNLIMITED));
        }
        let parameters =
            CreateParameters::parse(&request.parameters, self.config.unknown_parameters, self.tags.has_flag_tags())?;
        let id = self.resolve(&parameters.file_system, parameters.mode.service()).await?;
        let api = self.api(&id, self.role_of(&id).await?.as_ref()).await?;
        let zone = request.accessible_topology.as_ref().and_then(|topology| topology.segments.get(ZONE_KEY));
        if let (ZoneAffinity::Always, Some(zone)) = (parameters.zone_affinity, zone) {
            let found = self.zone(api.as_ref(), &id).await;
            let its = found.map_err(ControllerError::efs(format!("cannot look up the zone of {id}")))?;
            if its.is_some_and(|its| its != *zone) {
                return Ok(answer(0));
            }
        }
        if parameters.mode == ProvisioningMode::Directory {
            return Ok(answer(UNLIMITED));
        }
        let own = self.cluster_id().await;
        let count = self.pools.count(api.as_ref(), &id, own.as_deref()).await;
        let count = count.map_err(ControllerError::efs(format!("cannot count the access points of {id}")))?;
        let quota = usize::try_from(self.config.access_point_quota).unwrap_or(usize::MAX);
        Ok(answer(if count < quota { UNLIMITED } else { 0 }))
    }
}

fn entry(access_point: &AccessPoint) -> csi::list_volumes_response::Entry {
    let id = VolumeId::of_access_point(access_point.file_system.clone(), access_point.id.clone());
    listed(
        id.to_string(),
        capacity_of(access_point).unwrap_or_default(),
        condition(health::access_point_wrong(&access_point.id, access_point.state)),
    )
}

fn directory_entry(
    file_system: &FileSystemId,
    path: &DirectoryPath,
    capacity: i64,
) -> csi::list_volumes_response::Entry {
    let id = directory_handle(file_system.clone(), &path.to_string());
    listed(id, capacity, condition(None))
}

fn listed(
    volume_id: String,
    capacity_bytes: i64,
    condition: csi::VolumeCondition,
) -> csi::list_volumes_response::Entry {
    csi::list_volumes_response::Entry {
        volume: Some(csi::Volume { volume_id, capacity_bytes, ..Default::default() }),
        status: Some(csi::list_volumes_response::VolumeStatus {
            volume_condition: Some(condition),
            ..Default::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_lead_back_to_where_a_listing_was() {
        for place in [
            Place::AccessPoints { account: None, token: Some("a:b==".into()) },
            Place::AccessPoints { account: Some("0123".into()), token: None },
            Place::AccessPoints { account: Some("0123".into()), token: Some("x:y".into()) },
            Place::BucketAccessPoints { from: None, token: None },
            Place::BucketAccessPoints {
                from: Some("fs-01234567".parse::<FileSystemId>().unwrap().of(FileSystemKind::S3Files)),
                token: Some("a:b==".into()),
            },
            Place::Directories { after: None },
            Place::Directories { after: Some(("fs-01234567".parse().unwrap(), "/a/b".parse().unwrap())) },
        ] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert_eq!("".parse(), Ok(START));
        for bad in ["efs:", "efs", "role:", "role::x", "dir:fs-1:x", "dir:fs-01234567", "other:x"] {
            assert_eq!(bad.parse::<Place>(), Err(()), "{bad}");
        }
    }
}
