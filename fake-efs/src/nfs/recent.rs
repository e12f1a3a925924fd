//! The last requests of a connection, for people who want to see what a client does.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Requests that are kept for each connection. There may be thousands of connections.
const KEPT: usize = 32;
/// Operations that are kept of a request; Linux sends no more than ten.
const OPERATIONS: usize = 12;

/// The operations from number 3 on (RFC 8881 §16.2.2).
const NAMES: [&str; 56] = [
    "ACCESS",
    "CLOSE",
    "COMMIT",
    "CREATE",
    "DELEGPURGE",
    "DELEGRETURN",
    "GETATTR",
    "GETFH",
    "LINK",
    "LOCK",
    "LOCKT",
    "LOCKU",
    "LOOKUP",
    "LOOKUPP",
    "NVERIFY",
    "OPEN",
    "OPENATTR",
    "OPEN_CONFIRM",
    "OPEN_DOWNGRADE",
    "PUTFH",
    "PUTPUBFH",
    "PUTROOTFH",
    "READ",
    "READDIR",
    "READLINK",
    "REMOVE",
    "RENAME",
    "RENEW",
    "RESTOREFH",
    "SAVEFH",
    "SECINFO",
    "SETATTR",
    "SETCLIENTID",
    "SETCLIENTID_CONFIRM",
    "VERIFY",
    "WRITE",
    "RELEASE_LOCKOWNER",
    "BACKCHANNEL_CTL",
    "BIND_CONN_TO_SESSION",
    "EXCHANGE_ID",
    "CREATE_SESSION",
    "DESTROY_SESSION",
    "FREE_STATEID",
    "GET_DIR_DELEGATION",
    "GETDEVICEINFO",
    "GETDEVICELIST",
    "LAYOUTCOMMIT",
    "LAYOUTGET",
    "LAYOUTRETURN",
    "SECINFO_NO_NAME",
    "SEQUENCE",
    "SET_SSV",
    "TEST_STATEID",
    "WANT_DELEGATION",
    "DESTROY_CLIENTID",
    "RECLAIM_COMPLETE",
];

/// What a COMPOUND was about, gathered while it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// 0 or 1.
    pub minor_version: u32,
    /// The status of the whole.
    pub status: u32,
    /// Whether the answer was one from before.
    pub repeated: bool,
    /// How many operations were done.
    pub(super) count: u32,
    pub(super) operations: [u16; OPERATIONS],
}

impl Outline {
    /// Adds an operation.
    pub(super) fn push(&mut self, number: u32) {
        if let Some(place) = self.operations.get_mut(self.count as usize) {
            *place = u16::try_from(number).unwrap_or(u16::MAX);
        }
        self.count += 1;
    }

    /// The same, for a reply that was kept: its first word is the status.
    pub(super) fn repetition(self, reply: &[u8]) -> Self {
        let status = reply.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        Self { status, repeated: true, ..self }
    }

    /// How many operations were done, the last of which may have failed.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The names of the first of them.
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.operations.iter().take(self.count as usize).map(|number| name(*number))
    }
}

fn name(number: u16) -> &'static str {
    usize::from(number).checked_sub(3).and_then(|at| NAMES.get(at)).unwrap_or(&"ILLEGAL")
}

/// A request of a connection.
#[derive(Clone, Copy, Debug)]
pub struct RecentCall {
    /// Its number on the connection, counting from 1. A time would cost a system call where the kernel has no faster way, as in the lab.
    pub number: u64,
    /// What it was.
    pub outline: Outline,
}

/// The last requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<RecentCall>>);

impl Recent {
    /// Notes a request that was just answered.
    pub(super) fn note(&self, number: u64, outline: Outline) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == KEPT {
            calls.pop_front();
        }
        calls.push_back(RecentCall { number, outline });
    }

    /// The newest first.
    pub(super) fn list(&self) -> Vec<RecentCall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_requests_are_kept_and_the_first_operations_of_each() {
        let recent = Recent::default();
        for count in 0..KEPT as u32 + 3 {
            let mut outline = Outline::default();
            (0..count).for_each(|number| outline.push(number));
            recent.note(u64::from(count), outline);
        }
        let calls = recent.list();
        assert_eq!((calls.len(), calls[0].number, calls[0].outline.count()), (KEPT, KEPT as u64 + 2, KEPT as u32 + 2));
        assert_eq!(calls[0].outline.operations().count(), OPERATIONS);
        let first: Vec<_> = calls[KEPT - 1].outline.operations().collect();
        assert_eq!(first, ["ILLEGAL"; 3], "0 to 2 are no operations");
        let mut outline = Outline::default();
        [3, 24, 53, 58, 59, 10_044].into_iter().for_each(|number| outline.push(number));
        let names: Vec<_> = outline.operations().collect();
        assert_eq!(names, ["ACCESS", "PUTROOTFH", "SEQUENCE", "RECLAIM_COMPLETE", "ILLEGAL", "ILLEGAL"]);
    }
}
