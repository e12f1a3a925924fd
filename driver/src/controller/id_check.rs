//! Ids that clusters on one file system give out at the same time.
//!
//! EFS refuses no id that another access point has, so a driver can only look afterwards. Whoever makes an access point and looks then
//! sees every one that was there before its own; of two at once, one at least sees the other. The one that sees it takes another id, as
//! long as it has not told anybody of its volume. The other one must be looking, too: a driver that is alone doesn't, but reads the access
//! points at least every [`MOST_AGE`] while it gives out ids. So a cluster that comes to a file system where others are waits once, until
//! they must have seen its first access point.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::gid_pool::MOST_AGE;
use super::parameters::CreateParameters;
use super::{Controller, ControllerError};
use crate::efs::{AccessPoint, EfsApi};
use crate::volume::{AccessPointId, FileSystemId};

/// Added to [`MOST_AGE`]: the longest that a call of another driver may be on its way between its look and its access point.
const ON_THE_WAY: Duration = Duration::from_secs(2);

impl Controller {
    /// Whether an access point that was just made has an id that another one has, too.
    pub(super) async fn is_doubled(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        made: &AccessPoint,
    ) -> Result<bool, ControllerError> {
        let company = self.pools.company(file_system);
        let first_look = !company.looked;
        if !first_look && !self.has_company(file_system).await? {
            return Ok(false);
        }
        if first_look {
            self.look(api, file_system).await?;
            if !self.has_company(file_system).await? {
                return Ok(false);
            }
        }
        let seen_from = company.present_since.unwrap_or_else(Instant::now) + MOST_AGE + ON_THE_WAY;
        sleep_until(seen_from).await;
        let points = self.neighbours.points(api, file_system).await;
        let points =
            points.map_err(ControllerError::efs(format!("cannot see which ids are in use on {file_system}")))?;
        let Some(user) = &made.posix_user else { return Ok(false) };
        let own = [user.uid, user.gid];
        let is_doubled = points
            .iter()
            .filter(|it| it.id != made.id)
            .filter_map(|it| it.ids)
            .any(|(uid, gid)| own.contains(&uid) || own.contains(&gid));
        if is_doubled {
            self.pools.distrust(file_system);
        }
        Ok(is_doubled)
    }

    /// Whether an access point that an earlier call made for this volume has an id that another one has, too, and nobody uses it yet: that call
    /// was cut off before it had looked.
    pub(super) async fn lost_its_id(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        parameters: &CreateParameters,
        it: &AccessPoint,
    ) -> Result<bool, ControllerError> {
        let is_fixed = parameters.uid.is_some() && parameters.gid.is_some();
        if is_fixed
            || parameters.reuse
            || !self.is_doubled(api, file_system, it).await.map_err(ControllerError::unfinished)?
        {
            return Ok(false);
        }
        // Outside a cluster nobody tells whether it is in use.
        let Some(claimants) = self.cluster.claimants().await? else { return Ok(false) };
        Ok(!claimants.iter().any(|volume| volume.has(&it.id)))
    }

    async fn look(&self, api: &dyn EfsApi, file_system: &FileSystemId) -> Result<(), ControllerError> {
        let own = self.cluster_id().await;
        let points = self.neighbours.points(api, file_system).await;
        let points = points.map_err(ControllerError::efs(format!("cannot see who else works on {file_system}")))?;
        let others = points.into_iter().filter(|it| it.is_anothers(own.as_deref())).map(|it| it.id);
        self.pools.looked(file_system, others);
        Ok(())
    }

    /// Whether drivers of other clusters work on a file system. What a PersistentVolume of this cluster names is this cluster's,
    /// whatever tags AWS lets it have.
    async fn has_company(&self, file_system: &FileSystemId) -> Result<bool, ControllerError> {
        if !self.pools.company(file_system).has_others {
            return Ok(false);
        }
        if let Some(claimants) = self.cluster.claimants().await? {
            let own: Vec<AccessPointId> = claimants
                .iter()
                .filter_map(|volume| volume.uses.as_ref())
                .filter(|used| used.file_system == *file_system)
                .filter_map(|used| used.access_point.clone())
                .collect();
            self.pools.are_own(file_system, &own);
        }
        Ok(self.pools.company(file_system).has_others)
    }
}
