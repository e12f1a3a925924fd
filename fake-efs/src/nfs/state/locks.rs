//! Byte-range locks: the states by which clients hold them.

use super::super::status::Status;
use super::ranges::Ranges;
use super::stateid::following;
use super::{Access, Conflict, MAX_LOCKS, MAX_LOCKS_PER_FILE, Range, State, Stateid};
use crate::store::FileId;

/// What one lock owner holds of one file.
#[derive(Debug)]
pub(super) struct LockState {
    pub(super) client: u64,
    pub(super) owner: Vec<u8>,
    pub(super) file: FileId,
    /// Number of the open state under which it was locked first.
    pub(super) open: u64,
    pub(super) seqid: u32,
}

/// By which name the caller of LOCK goes.
#[derive(Clone, Debug)]
pub(in super::super) enum Locker {
    /// An owner that may be new to the file, under an open file.
    New { open: Stateid, owner: Vec<u8> },
    /// A lock state.
    Known(Stateid),
}

/// Arguments of LOCK.
#[derive(Clone, Debug)]
pub(in super::super) struct LockRequest {
    pub(in super::super) file: FileId,
    pub(in super::super) range: Range,
    pub(in super::super) exclusive: bool,
    pub(in super::super) locker: Locker,
}

/// The owner of a lock that is in the way, as LOCK and LOCKT report it.
pub(in super::super) type ConflictOwner = (u64, Vec<u8>);

impl State {
    /// Locks a range. The inner result is the conflict if there is one.
    pub(in super::super) fn lock(
        &mut self,
        request: &LockRequest,
        client: Option<u64>,
    ) -> Result<Result<Stateid, (Conflict, ConflictOwner)>, Status> {
        let id = match &request.locker {
            Locker::Known(stateid) => self.find_lock(*stateid, client, request.file)?,
            Locker::New { open, owner } => {
                let (open, found) = self.find_open(*open, client)?;
                if found.file != request.file {
                    return Err(Status::BadStateId);
                }
                self.lock_state(open, owner)?
            }
        };
        match self.try_lock(id, request) {
            Ok(Ok(stateid)) => Ok(Ok(stateid)),
            refused => {
                self.forget_lock_if_new(id);
                refused
            }
        }
    }

    fn try_lock(
        &mut self,
        id: u64,
        request: &LockRequest,
    ) -> Result<Result<Stateid, (Conflict, ConflictOwner)>, Status> {
        let lock = self.locks.get(&id).ok_or(Status::BadStateId)?;
        let wanted = if request.exclusive { Access::WRITE } else { Access::READ };
        if !self.opens.get(&lock.open).is_some_and(|open| open.access.includes(wanted)) {
            return Err(Status::OpenMode);
        }
        let client = lock.client;
        if let Some(conflict) = self.conflict(request.file, id, request.range, request.exclusive) {
            return Ok(Err(conflict));
        }
        let of_client = self.clients.get(&client).map_or(0, |client| client.locked);
        let of_file = self.ranges.get(&request.file).map_or(0, Ranges::len);
        if of_file >= MAX_LOCKS_PER_FILE || of_client >= MAX_LOCKS {
            return Err(Status::DQuot);
        }
        self.change_ranges(client, id, request.file, |ranges| ranges.lock(id, request.range, request.exclusive));
        Ok(Ok(self.advance_lock(id)))
    }

    /// Changes what a lock state holds of a file, and keeps count.
    fn change_ranges(&mut self, client: u64, id: u64, file: FileId, change: impl FnOnce(&mut Ranges)) {
        let ranges = self.ranges.entry(file).or_default();
        let before = ranges.count(id);
        change(ranges);
        let after = ranges.count(id);
        if ranges.is_empty() {
            self.ranges.remove(&file);
        }
        if let Some(client) = self.clients.get_mut(&client) {
            client.locked = (client.locked + after).saturating_sub(before);
        }
    }

    /// A lock that is in the way, after those of clients that have been silent too long are dropped.
    fn conflict(
        &mut self,
        file: FileId,
        holder: u64,
        range: Range,
        exclusive: bool,
    ) -> Option<(Conflict, ConflictOwner)> {
        loop {
            let conflict = self.ranges.get(&file)?.conflict(holder, range, exclusive)?;
            let lock = self.locks.get(&conflict.holder)?;
            if !self.is_expired(lock.client) {
                return Some((conflict, (lock.client, lock.owner.clone())));
            }
            let client = lock.client;
            self.forget_client(client);
        }
    }

    /// LOCKT: the lock that would be in the way.
    pub(in super::super) fn test_lock(
        &mut self,
        client: u64,
        owner: &[u8],
        file: FileId,
        range: Range,
        exclusive: bool,
    ) -> Result<Option<(Conflict, ConflictOwner)>, Status> {
        let record = self.clients.get(&client).ok_or(Status::StaleClientId)?;
        // 0 is never the number of a lock state.
        let holder = record.locks.get(&(owner.to_vec(), file)).copied().unwrap_or(0);
        Ok(self.conflict(file, holder, range, exclusive))
    }

    /// LOCKU.
    pub(in super::super) fn unlock(
        &mut self,
        stateid: Stateid,
        client: Option<u64>,
        file: FileId,
        range: Range,
    ) -> Result<Stateid, Status> {
        let id = self.find_lock(stateid, client, file)?;
        if let Some(owner) = self.locks.get(&id).map(|lock| lock.client) {
            self.change_ranges(owner, id, file, |ranges| ranges.unlock(id, range));
        }
        Ok(self.advance_lock(id))
    }

    /// RELEASE_LOCKOWNER of NFSv4.0: forgets an owner that holds nothing.
    pub(in super::super) fn release_lock_owner(&mut self, client: u64, owner: &[u8]) -> Result<(), Status> {
        let record = self.clients.get(&client).ok_or(Status::StaleClientId)?;
        let states: Vec<u64> = record.locks.iter().filter(|((name, _), _)| name == owner).map(|(_, id)| *id).collect();
        let holds = |id: &u64| {
            let lock = self.locks.get(id);
            lock.and_then(|lock| self.ranges.get(&lock.file)).is_some_and(|ranges| ranges.count(*id) > 0)
        };
        if states.iter().any(holds) {
            return Err(Status::LocksHeld);
        }
        states.into_iter().for_each(|id| self.forget_lock(id));
        Ok(())
    }

    fn find_lock(&self, stateid: Stateid, client: Option<u64>, file: FileId) -> Result<u64, Status> {
        let id = stateid.id(self.boot)?;
        let lock = self.locks.get(&id).filter(|lock| client.is_none_or(|client| lock.client == client));
        let lock = lock.filter(|lock| lock.file == file).ok_or(Status::BadStateId)?;
        stateid.check_seqid(lock.seqid)?;
        Ok(id)
    }

    /// The lock state of an owner for the file of an open state.
    fn lock_state(&mut self, open: u64, owner: &[u8]) -> Result<u64, Status> {
        let (client, file) = self.opens.get(&open).map(|open| (open.client, open.file)).ok_or(Status::BadStateId)?;
        let key = (owner.to_vec(), file);
        if let Some(id) = self.clients.get(&client).and_then(|client| client.locks.get(&key)) {
            return Ok(*id);
        }
        let id = self.next_id();
        self.locks.insert(id, LockState { client, owner: owner.to_vec(), file, open, seqid: 0 });
        if let Some(client) = self.clients.get_mut(&client) {
            client.locks.insert(key, id);
        }
        Ok(id)
    }

    fn advance_lock(&mut self, id: u64) -> Stateid {
        let seqid = self.locks.get_mut(&id).map_or(1, |lock| {
            lock.seqid = following(lock.seqid);
            lock.seqid
        });
        Stateid::new(self.boot, id, seqid)
    }

    fn forget_lock_if_new(&mut self, id: u64) {
        if self.locks.get(&id).is_some_and(|lock| lock.seqid == 0) {
            self.forget_lock(id);
        }
    }

    /// Removes a lock state from its client too.
    pub(super) fn forget_lock(&mut self, id: u64) {
        if let Some(lock) = self.locks.get(&id) {
            let key = (lock.owner.clone(), lock.file);
            if let Some(client) = self.clients.get_mut(&lock.client) {
                client.locks.remove(&key);
                client.forget_idle_locker(&key.0);
            }
        }
        self.drop_lock(id);
    }

    /// Removes a lock state and what it holds.
    pub(super) fn drop_lock(&mut self, id: u64) {
        if let Some(lock) = self.locks.remove(&id) {
            self.change_ranges(lock.client, id, lock.file, |ranges| ranges.release(id));
        }
    }
}
