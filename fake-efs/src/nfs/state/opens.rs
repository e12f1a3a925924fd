//! Open files.

use super::super::rpc::Principal;
use super::super::status::Status;
use super::stateid::following;
use super::{MAX_OPENS, State, Stateid};
use crate::store::FileId;

/// Most principals that are remembered of one open file; real clients have an owner for each.
const MAX_OPENERS: usize = 16;

/// What an open file may be used for: bits 1 (read) and 2 (write).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Access(u32);

impl Access {
    pub(in super::super) const READ: Self = Self(1);
    pub(in super::super) const WRITE: Self = Self(2);

    /// From `share_access`. Since 4.1 it also says which delegation the client would like, in one of six ways, and when it wants to
    /// be told of one (RFC 8881 §18.16.3); nobody gets any.
    pub(in super::super) fn from_share(word: u32, minor_version: u32) -> Option<Self> {
        const WANTED: u32 = 0xff00;
        const MOST_WANTED: u32 = 0x0500;
        const TOLD: u32 = 0x0003_0000;
        let access = if minor_version == 0 { word } else { word & !(WANTED | TOLD) };
        let known = minor_version == 0 || word & WANTED <= MOST_WANTED;
        (known && (1..=3).contains(&access)).then_some(Self(access))
    }

    pub(in super::super) fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// In whose name a file is opened.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Opener {
    /// Whose permissions were looked at: the caller, or the access point's user in its place.
    pub(in super::super) user: u32,
    /// The caller.
    pub(in super::super) principal: Principal,
}

/// A file that a client's owner has open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) client: u64,
    pub(super) owner: Vec<u8>,
    pub(super) file: FileId,
    pub(super) access: Access,
    /// Who opened it, if it was always the same user: others have no right by it.
    user: Option<u32>,
    /// In whose names it was opened. In 4.0 nobody else changes or ends it, but for who introduced the client.
    openers: Vec<Principal>,
    pub(super) seqid: u32,
    /// Whether the owner's numbers are believed; always so since 4.1. Nothing can be done with the file before.
    pub(super) confirmed: bool,
    /// Bit n is set if it was opened with access n, for OPEN_DOWNGRADE.
    opened_with: u32,
}

/// On what grounds a read or write is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum IoRight {
    /// The user has the file open for it.
    Open,
    /// No state, or that of another user: permissions must be looked at.
    Permissions,
}

impl State {
    /// Opens a file, or adds to what an owner has open already.
    pub(in super::super) fn open(
        &mut self,
        client: u64,
        owner: &[u8],
        file: FileId,
        access: Access,
        opener: Opener,
    ) -> Result<Stateid, Status> {
        let record = self.clients.get(&client).ok_or(Status::Expired)?;
        let key = (owner.to_vec(), file);
        if let Some(id) = record.opens.get(&key).copied() {
            let open = self.opens.get_mut(&id).ok_or(Status::ServerFault)?;
            open.access = Access(open.access.0 | access.0);
            open.opened_with |= 1 << access.0;
            open.user = open.user.filter(|user| *user == opener.user);
            if open.openers.len() < MAX_OPENERS && !open.openers.contains(&opener.principal) {
                open.openers.push(opener.principal);
            }
            open.seqid = following(open.seqid);
            return Ok(Stateid::new(self.boot, id, open.seqid));
        }
        if record.opens.len() >= MAX_OPENS {
            return Err(Status::DQuot);
        }
        let confirmed = record.is_confirmed_opener(owner);
        let (record, principal) = (record.owner(), record.principal);
        self.store.upgrade().ok_or(Status::Stale)?.pin(file)?;
        self.record_owner(record, principal);
        let id = self.next_id();
        let owner = owner.to_vec();
        let (user, openers, opened_with) = (Some(opener.user), vec![opener.principal], 1 << access.0);
        self.opens.insert(id, Open { client, owner, file, access, user, openers, seqid: 1, confirmed, opened_with });
        if let Some(record) = self.clients.get_mut(&client) {
            record.opens.insert(key, id);
        }
        Ok(Stateid::new(self.boot, id, 1))
    }

    /// The open state that a state id names.
    pub(super) fn find_open(&self, stateid: Stateid, client: Option<u64>) -> Result<(u64, &Open), Status> {
        let id = stateid.id(self.boot)?;
        let open = self.opens.get(&id).filter(|open| client.is_none_or(|client| open.client == client));
        let open = open.ok_or(Status::BadStateId)?;
        stateid.check_seqid(open.seqid)?;
        Ok((id, open))
    }

    /// Whether a principal has the file open.
    pub(super) fn is_opener(&self, open: u64, principal: Principal) -> bool {
        self.opens.get(&open).is_some_and(|open| open.openers.contains(&principal))
    }

    /// Narrows what a file is open for, to something that it was opened with.
    pub(in super::super) fn downgrade(
        &mut self,
        stateid: Stateid,
        client: Option<u64>,
        file: FileId,
        access: Access,
    ) -> Result<Stateid, Status> {
        let (id, open) = self.find_open(stateid, client)?;
        if open.file != file {
            return Err(Status::BadStateId);
        }
        // What is left must be what some of the opens asked for together (RFC 8881 §18.18.3).
        let asked = |mode: &u32| open.opened_with & 1 << mode != 0 && access.includes(Access(*mode));
        if (1..=3).filter(asked).fold(0, |all, mode| all | mode) != access.0 {
            return Err(Status::Inval);
        }
        let kept = (1..=3).filter(asked).fold(0, |all, mode| all | 1 << mode);
        let boot = self.boot;
        let open = self.opens.get_mut(&id).ok_or(Status::BadStateId)?;
        open.access = access;
        open.opened_with = kept;
        open.seqid = following(open.seqid);
        Ok(Stateid::new(boot, id, open.seqid))
    }

    /// Closes a file; locks under the open go with it.
    pub(in super::super) fn close(
        &mut self,
        stateid: Stateid,
        client: Option<u64>,
        file: FileId,
    ) -> Result<Stateid, Status> {
        let (id, open) = self.find_open(stateid, client)?;
        if open.file != file {
            return Err(Status::BadStateId);
        }
        let seqid = following(open.seqid);
        self.forget_open(id);
        Ok(Stateid::new(self.boot, id, seqid))
    }

    /// Ends an open, and the locks under it.
    pub(super) fn forget_open(&mut self, id: u64) {
        let Some(open) = self.opens.remove(&id) else { return };
        let of_file = self.clients.get(&open.client).into_iter().flat_map(|client| &client.locks);
        let of_file = of_file.filter(|((_, locked), _)| *locked == open.file).map(|(_, lock)| *lock);
        let under: Vec<u64> = of_file.filter(|lock| self.locks.get(lock).is_some_and(|lock| lock.open == id)).collect();
        for lock in under {
            self.forget_lock(lock);
        }
        if let Some(record) = self.clients.get_mut(&open.client) {
            record.opens.remove(&(open.owner, open.file));
        }
        self.unpin(open.file);
    }

    /// Decides whether a state id allows a user to read or write a file.
    pub(in super::super) fn check_io(
        &self,
        stateid: Stateid,
        client: Option<u64>,
        file: FileId,
        wanted: Access,
        user: u32,
    ) -> Result<IoRight, Status> {
        if stateid.is_special() {
            return Ok(IoRight::Permissions);
        }
        let id = stateid.id(self.boot)?;
        let (open, seqid) = match self.locks.get(&id) {
            Some(lock) => (self.opens.get(&lock.open), lock.seqid),
            None => (self.opens.get(&id), self.opens.get(&id).map_or(0, |open| open.seqid)),
        };
        let open = open.filter(|open| client.is_none_or(|client| open.client == client)).ok_or(Status::BadStateId)?;
        stateid.check_seqid(seqid)?;
        if open.file != file || !open.confirmed {
            return Err(Status::BadStateId);
        }
        if !open.access.includes(wanted) {
            return Err(Status::OpenMode);
        }
        Ok(if open.user == Some(user) { IoRight::Open } else { IoRight::Permissions })
    }

    /// TEST_STATEID for one state id.
    pub(in super::super) fn test_stateid(&self, stateid: Stateid, client: u64) -> Result<(), Status> {
        // A state id of an earlier life is just as bad as any other that is not known.
        let id = stateid.id(self.boot).map_err(|_| Status::BadStateId)?;
        let open = self.opens.get(&id).map(|open| (open.client, open.seqid));
        let state = open.or_else(|| self.locks.get(&id).map(|lock| (lock.client, lock.seqid)));
        let (_, seqid) = state.filter(|(owner, _)| *owner == client).ok_or(Status::BadStateId)?;
        stateid.check_seqid(seqid)
    }

    /// FREE_STATEID: only of locks that hold no bytes.
    pub(in super::super) fn free_stateid(&mut self, stateid: Stateid, client: u64) -> Result<(), Status> {
        self.test_stateid(stateid, client)?;
        let id = stateid.id(self.boot)?;
        let held = self
            .locks
            .get(&id)
            .is_none_or(|lock| self.ranges.get(&lock.file).is_some_and(|ranges| ranges.count(id) > 0));
        if held {
            return Err(Status::LocksHeld);
        }
        self.forget_lock(id);
        Ok(())
    }
}
