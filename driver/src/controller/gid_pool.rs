//! Ids for access points: no two volumes of a file system get the same one, at any concurrency.
//!
//! The Go driver lists all access points for every volume and picks the first free id, without keeping it until the
//! access point exists; concurrent calls get the same id. Here one listing fills a table, an id is reserved before the
//! access point is made, and the table follows what this controller makes and deletes. It is read again when it may be out
//! of date: after a conflict, and when it is older than [`MOST_AGE`].
//!
//! Another cluster may work on the same file system and give out ids at the same time. Where its access points are seen, an id counts as
//! taken only after another look, and a volume that lost the race gets another one before it is told to anybody
//! ([`super::id_check`]). A cluster that is alone pays one look more, after its first volume.
//!
//! The volume's name decides in which order ids are tried. A repeated call so gets the same id, two controllers at once rarely
//! the same one for different volumes, and an id that was given back is not used again at once.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ControllerError;
use super::id_order::scattered;
use super::paths::is_hashed;
use super::tagging::{CLUSTER_TAG, clusters_of};
use crate::efs::{AccessPoint, EfsApi, EfsError, PosixUser};
use crate::metrics::Metrics;
use crate::volume::{AccessPointId, FileSystemId};

/// Age at which the table is read again before an id is given out. Another replica leads after 15 s without a leader (csi-provisioner's
/// lease), so a new leader always reads; and another cluster's access points are seen this soon.
pub(super) const MOST_AGE: Duration = Duration::from_secs(10);

/// Age at which the table is read again before it is believed that no id is free.
const DOUBTED_AGE: Duration = Duration::from_secs(5);

/// How long an id rests after its access point was deleted, because its directory may still be there.
const REST: Duration = Duration::from_secs(10 * 60);

/// So many ids are tried before one that rests is taken.
const REST_TRIES: usize = 256;

/// Resting ids are not tidied up before there are so many.
const RESTING_LIMIT: usize = 1024;

/// How long a listing of EFS may not show an access point that was just made.
const LISTING_LAG: Duration = Duration::from_secs(60);

/// Access points that are remembered for a file system whose access points nobody has asked for yet.
const MOST_UNLISTED: usize = 4096;

/// The ids of one access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
}

/// What is remembered of one access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    ids: Option<Ids>,
    /// Its token is a hash, as that of one that several claims may share.
    may_be_shared: bool,
}

impl Member {
    fn of(access_point: &AccessPoint) -> Self {
        let user = access_point.posix_user.as_ref();
        Self {
            ids: user.map(|user| Ids { uid: user.uid, gid: user.gid }),
            may_be_shared: is_hashed(&access_point.client_token),
        }
    }
}

/// Who made an access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// No driver.
    Nobody,
    /// A driver of this cluster, says its tag.
    Own,
    /// A driver, of another cluster or of nobody knows which.
    Driver,
}

impl Maker {
    pub(super) fn of(it: &AccessPoint, own: Option<&str>) -> Self {
        if !it.may_have_tag(CLUSTER_TAG) {
            Self::Nobody
        } else if own.is_some_and(|own| clusters_of(&it.tags).contains(&own)) {
            Self::Own
        } else {
            Self::Driver
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Access points by id, as listed and as changed since.
    known: HashMap<AccessPointId, Member>,
    /// How many access points use an id.
    used: HashMap<u32, u32>,
    /// Ids given out for access points that are being made.
    reserved: HashSet<u32>,
    /// Ids of deleted access points, until this time.
    resting: HashMap<u32, Instant>,
    /// At this number of them, those that have rested are forgotten.
    resting_limit: usize,
    /// Ids of calls whose outcome is unknown, and since when. They may be in use until a listing that can't lag behind shows that
    /// they are not, however few others are free.
    uncertain: HashMap<u32, Instant>,
    /// Access points that this controller made since the last listing began, and when.
    made: HashMap<AccessPointId, (Member, Instant)>,
    /// At this number of them, while nothing is listed, those that a listing shows by now are forgotten.
    made_limit: usize,
    /// Access points that this controller deleted since the last listing began.
    deleted: HashSet<AccessPointId>,
    /// Access points that drivers of other clusters have made, as far as tags and memory tell.
    others: HashSet<AccessPointId>,
    /// Access points that this process has made.
    mine: HashSet<AccessPointId>,
    /// Access points that PersistentVolumes of this cluster name. Unlike its own, they are looked at before they are deleted.
    named: HashSet<AccessPointId>,
    /// Since when others could see an access point of this cluster.
    present_since: Option<Instant>,
    /// Whether somebody has looked for others after an access point of this cluster was there.
    looked: bool,
    listed_at: Option<Instant>,
    stale: bool,
}

impl State {
    /// Whether an access point is this cluster's, whatever its tag says.
    fn is_ours(&self, id: &AccessPointId) -> bool {
        self.mine.contains(id) || self.named.contains(id)
    }

    fn learn(&mut self, id: AccessPointId, member: Member) {
        self.forget(&id);
        for id in member.ids.iter().flat_map(|ids| [ids.uid, ids.gid]) {
            *self.used.entry(id).or_default() += 1;
            self.uncertain.remove(&id);
        }
        self.known.insert(id, member);
    }

    fn forget(&mut self, id: &AccessPointId) -> Option<Ids> {
        let ids = self.known.remove(id)?.ids?;
        for id in [ids.uid, ids.gid] {
            if let Some(count) = self.used.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    self.used.remove(&id);
                }
            }
        }
        Some(ids)
    }

    fn needs_listing(&self, now: Instant) -> bool {
        let older = |at: Option<Instant>, age| at.is_none_or(|at| now.duration_since(at) >= age);
        self.stale || older(self.listed_at, MOST_AGE)
    }

    /// The first free id in `order`. One that rests is taken only where no other is near.
    fn take(&mut self, order: impl Iterator<Item = u32>, now: Instant) -> Option<u32> {
        let mut resting = None;
        let mut found = None;
        for (tried, id) in order.enumerate() {
            // A range that is all but exhausted is better served with a resting id than searched for every volume.
            if tried >= REST_TRIES && resting.is_some() {
                break;
            }
            if self.used.contains_key(&id) || self.reserved.contains(&id) || self.uncertain.contains_key(&id) {
                continue;
            }
            if self.resting.get(&id).is_none_or(|until| *until <= now) {
                found = Some(id);
                break;
            }
            resting.get_or_insert(id);
        }
        let id = found.or(resting)?;
        self.reserved.insert(id);
        Some(id)
    }

    /// Has the ids of a deleted access point rest, and forgets about those that have rested.
    fn rest(&mut self, ids: Ids, now: Instant) {
        if self.resting.len() >= self.resting_limit {
            self.resting.retain(|_, until| *until > now);
            self.resting_limit = (self.resting.len() * 2).max(RESTING_LIMIT);
        }
        for id in [ids.uid, ids.gid] {
            if !self.used.contains_key(&id) {
                self.resting.insert(id, now + REST);
            }
        }
    }
}

/// The ids of one file system.
#[derive(Debug, Default)]
struct Pool {
    state: Mutex<State>,
    /// Held while the access points are listed, so that concurrent calls share one listing.
    listing: tokio::sync::Mutex<()>,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, order: impl Iterator<Item = u32>) -> Option<u32> {
        self.state().take(order, Instant::now())
    }

    /// Calls for another listing, unless the last one is too young to be worth one.
    fn doubt(&self) -> bool {
        let mut state = self.state();
        let old = state.listed_at.is_none_or(|at| at.elapsed() >= DOUBTED_AGE);
        state.stale |= old;
        old
    }

    fn is_listing(&self) -> bool {
        self.listing.try_lock().is_err()
    }

    async fn refresh(&self, api: &dyn EfsApi, file_system: &FileSystemId, own: Option<&str>) -> Result<(), EfsError> {
        if !self.state().needs_listing(Instant::now()) {
            return Ok(());
        }
        let _listing = self.listing.lock().await;
        let began = Instant::now();
        {
            let mut state = self.state();
            if !state.needs_listing(began) {
                return Ok(());
            }
            state.deleted.clear();
            state.made.retain(|_, (_, at)| began.duration_since(*at) < LISTING_LAG);
        }
        let mut listed = Vec::new();
        let mut token = None;
        loop {
            let page = api.access_points(Some(file_system), crate::efs::api::LARGEST_PAGE, token.as_deref()).await?;
            listed
                .extend(page.access_points.into_iter().map(|it| (it.id.clone(), Member::of(&it), Maker::of(&it, own))));
            match page.next_token {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        let mut state = self.state();
        state.known.clear();
        state.used.clear();
        state.others.clear();
        for (id, member, maker) in listed {
            if state.deleted.contains(&id) {
                continue;
            }
            match maker {
                Maker::Nobody => {}
                Maker::Driver if state.is_ours(&id) => {}
                Maker::Driver => {
                    state.others.insert(id.clone());
                }
                // One of an earlier process, which has been there for long.
                Maker::Own => state.present_since = state.present_since.or_else(|| began.checked_sub(MOST_AGE)),
            }
            state.learn(id, member);
        }
        for (id, (member, _)) in state.made.clone() {
            if !state.deleted.contains(&id) {
                state.learn(id, member);
            }
        }
        state.uncertain.retain(|_, since| began.duration_since(*since) < LISTING_LAG);
        state.stale = false;
        state.listed_at = Some(began);
        Ok(())
    }
}

/// Who else works on a file system.
#[derive(Debug, Clone)]
pub(super) struct Company {
    /// Whether drivers that are not this cluster's have access points there, as far as is known.
    pub(super) has_others: bool,
    /// Since when others could see an access point of this cluster.
    pub(super) present_since: Option<Instant>,
    /// Whether others were looked for after that.
    pub(super) looked: bool,
}

/// The pools of all file systems.
#[derive(Debug)]
pub struct GidPools {
    pools: Mutex<HashMap<FileSystemId, Arc<Pool>>>,
    metrics: Metrics,
}

/// Ids for one access point that is being made. Dropped without a word (the call was cut off, the outcome is unknown),
/// its id is not given out before a listing has shown that it is free.
#[derive(Debug)]
pub struct Reservation {
    pool: Arc<Pool>,
    id: Option<u32>,
}

impl Reservation {
    /// The id.
    pub fn id(&self) -> u32 {
        self.id.expect("the id is taken out only by release and drop")
    }

    /// Gives the id back: nothing was made with it.
    pub fn release(mut self) {
        if let Some(id) = self.id.take() {
            self.pool.state().reserved.remove(&id);
        }
    }

    /// Gives the id back because the volume exists already. When it has other ids than this one, another replica or a call
    /// of long ago made it, and the table may be out of date.
    pub fn release_for(self, existing: &AccessPoint) {
        let user = existing.posix_user.as_ref();
        if user.is_none_or(|user| user.uid != self.id() && user.gid != self.id()) {
            self.pool.state().stale = true;
        }
        self.release();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let mut state = self.pool.state();
            state.reserved.remove(&id);
            if !state.used.contains_key(&id) {
                state.uncertain.insert(id, Instant::now());
            }
        }
    }
}

impl GidPools {
    /// Empty pools; each is filled when it is first needed.
    pub fn new(metrics: Metrics) -> Self {
        Self { pools: Mutex::default(), metrics }
    }

    fn pool(&self, file_system: &FileSystemId) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pools.entry(file_system.clone()).or_default())
    }

    /// Reserves an id of `range` that no access point of the file system uses as user or group id, for the volume `name`. `own` is the
    /// cluster's id.
    ///
    /// # Errors
    /// When the access points can't be listed, or no id is free.
    pub async fn reserve(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        range: &RangeInclusive<u32>,
        name: &str,
        own: Option<&str>,
    ) -> Result<Reservation, ControllerError> {
        let pool = self.pool(file_system);
        let listing =
            || ControllerError::efs(format!("cannot list the access points of {file_system} to find a free id"));
        pool.refresh(api, file_system, own).await.map_err(listing())?;
        let order = scattered(range, name);
        let mut id = pool.take(order.clone());
        if id.is_none() && pool.doubt() {
            pool.refresh(api, file_system, own).await.map_err(listing())?;
            id = pool.take(order);
        }
        {
            let state = pool.state();
            self.metrics.ids_used(file_system.as_str(), state.used.len() + state.reserved.len());
        }
        match id {
            Some(id) => Ok(Reservation { pool, id: Some(id) }),
            None => Err(ControllerError::IdsExhausted {
                file_system: file_system.clone(),
                start: *range.start(),
                end: *range.end(),
                size: u64::from(*range.end()) - u64::from(*range.start()) + 1,
            }),
        }
    }

    /// Notes an access point that was made or found.
    pub fn made(&self, access_point: &AccessPoint) {
        let pool = self.pool(&access_point.file_system);
        let mut state = pool.state();
        let member = Member::of(access_point);
        let now = Instant::now();
        if state.listed_at.is_none() && state.made.len() >= state.made_limit.max(MOST_UNLISTED) {
            state.made.retain(|_, (_, at)| now.duration_since(*at) < LISTING_LAG);
            // Not at each of the next calls, when all of them are young.
            state.made_limit = state.made.len() * 2;
        }
        state.made.insert(access_point.id.clone(), (member, now));
        state.mine.insert(access_point.id.clone());
        state.present_since.get_or_insert(now);
        state.deleted.remove(&access_point.id);
        if state.listed_at.is_some() {
            state.learn(access_point.id.clone(), member);
        }
    }

    /// What is known of other clusters on a file system.
    pub(super) fn company(&self, file_system: &FileSystemId) -> Company {
        let pool = self.pool(file_system);
        let state = pool.state();
        Company { has_others: !state.others.is_empty(), present_since: state.present_since, looked: state.looked }
    }

    /// Notes that these access points are of this cluster after all.
    pub(super) fn are_own(&self, file_system: &FileSystemId, ids: &[AccessPointId]) {
        let pool = self.pool(file_system);
        let mut state = pool.state();
        for id in ids {
            state.others.remove(id);
            state.named.insert(id.clone());
        }
    }

    /// Notes that others were looked for, now that this cluster has an access point there, and whom that look has shown.
    pub(super) fn looked(&self, file_system: &FileSystemId, shown: impl IntoIterator<Item = AccessPointId>) {
        let pool = self.pool(file_system);
        let mut state = pool.state();
        state.looked = true;
        for id in shown {
            if !state.is_ours(&id) {
                state.others.insert(id);
            }
        }
    }

    /// The table is out of date.
    pub(super) fn distrust(&self, file_system: &FileSystemId) {
        self.pool(file_system).state().stale = true;
    }

    /// Whether this process has made the access point for a single volume, so that it can be deleted without being looked at first.
    pub fn is_sole(&self, file_system: &FileSystemId, id: &AccessPointId) -> bool {
        let pool = self.pool(file_system);
        let state = pool.state();
        let member = state.known.get(id).or_else(|| state.made.get(id).map(|(member, _)| member));
        state.mine.contains(id) && member.is_some_and(|member| !member.may_be_shared)
    }

    /// Notes that an access point was deleted; its ids rest.
    pub fn deleted(&self, file_system: &FileSystemId, id: &AccessPointId, user: Option<&PosixUser>) {
        let pool = self.pool(file_system);
        let mut state = pool.state();
        let known = state.forget(id).or_else(|| user.map(|user| Ids { uid: user.uid, gid: user.gid }));
        state.made.remove(id);
        state.mine.remove(id);
        state.named.remove(id);
        state.others.remove(id);
        if state.listed_at.is_none() && !pool.is_listing() {
            return;
        }
        state.deleted.insert(id.clone());
        if let Some(ids) = known {
            state.rest(ids, Instant::now());
        }
    }

    /// How many access points the file system has, from the table or by listing them.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn count(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        own: Option<&str>,
    ) -> Result<usize, EfsError> {
        let pool = self.pool(file_system);
        pool.refresh(api, file_system, own).await?;
        let count = pool.state().known.len();
        Ok(count)
    }
}
