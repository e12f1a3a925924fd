//! The calls that no connection has answered yet.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::lane::{Lane, LaneId};

/// Calls of the server's that the kernel has not answered. EFS makes none: it gives no delegations.
const ASKED_MAX: usize = 64;

/// The record that is being passed on.
#[derive(Debug)]
pub(super) struct Record {
    /// Of which call; `None` for an answer to the server.
    pub(super) xid: Option<u32>,
    /// What has been passed on of it, if it is to be kept.
    pub(super) kept: Option<Vec<u8>>,
    /// Whether its last byte has been seen.
    pub(super) has_ended: bool,
}

#[derive(Debug)]
struct Unanswered {
    lane: LaneId,
    length: usize,
    /// A copy, if there is one.
    record: Option<Bytes>,
}

/// By transaction id, which connection is to answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    unanswered: HashMap<u32, Unanswered>,
    kept_bytes: usize,
    asked: VecDeque<(u32, LaneId)>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.unanswered.len()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The connection that has a call already, if the kernel repeats one.
    pub(super) fn lane_of(&self, xid: u32) -> Option<LaneId> {
        self.unanswered.get(&xid).map(|call| call.lane)
    }

    /// A call begins to go to `lane`.
    pub(super) fn begin<U>(&mut self, xid: u32, lane: LaneId, length: usize, lanes: &mut [Lane<U>]) {
        self.answered(xid, lanes);
        self.unanswered.insert(xid, Unanswered { lane, length, record: None });
        load(lanes, lane, |it| it.ask(length));
    }

    /// The whole of a call has been passed on; this is a copy.
    pub(super) fn keep(&mut self, xid: u32, record: Vec<u8>) {
        if !can_be_repeated(&record) {
            return;
        }
        if let Some(call) = self.unanswered.get_mut(&xid) {
            self.kept_bytes += record.len();
            call.record = Some(record.into());
        }
    }

    /// A reply has come. Whose it is doesn't matter, and an unknown one is the kernel's to ignore.
    pub(super) fn answered<U>(&mut self, xid: u32, lanes: &mut [Lane<U>]) {
        if let Some(call) = self.unanswered.remove(&xid) {
            self.kept_bytes -= call.record.map_or(0, |record| record.len());
            load(lanes, call.lane, |it| it.unanswered_bytes -= call.length);
        }
    }

    /// The calls that a lost connection has not answered, but for one that is not through yet; `None` if there is no copy of one.
    pub(super) fn left_by(&self, lane: LaneId, unfinished: Option<u32>) -> Option<Vec<(u32, Bytes)>> {
        let left = self.unanswered.iter().filter(|(xid, call)| call.lane == lane && Some(**xid) != unfinished);
        left.map(|(xid, call)| Some((*xid, call.record.clone()?))).collect()
    }

    /// Another connection is to answer a call.
    pub(super) fn moved<U>(&mut self, xid: u32, lane: LaneId, lanes: &mut [Lane<U>]) {
        if let Some(call) = self.unanswered.get_mut(&xid) {
            call.lane = lane;
            load(lanes, lane, |it| it.unanswered_bytes += call.length);
        }
    }

    /// The server has called the kernel.
    pub(super) fn ask(&mut self, xid: u32, lane: LaneId) {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((xid, lane));
    }

    /// The connection that waits for the kernel's answer.
    pub(super) fn take_asked(&mut self, xid: u32) -> Option<LaneId> {
        let index = self.asked.iter().position(|(asked, _)| *asked == xid)?;
        self.asked.remove(index).map(|(_, lane)| lane)
    }
}

fn load<U>(lanes: &mut [Lane<U>], id: LaneId, change: impl FnOnce(&mut Lane<U>)) {
    if let Some(lane) = lanes.iter_mut().find(|lane| lane.id == id) {
        change(lane);
    }
}

/// Whether a server does a call once however often it comes: in NFSv4.1, one that begins with SEQUENCE (RFC 8881 §2.10.6.1), or is
/// made for being repeated because it comes before there is a session. NFSv4.0 has nothing of the kind that would hold on another
/// connection.
fn can_be_repeated(record: &[u8]) -> bool {
    minor_and_first_operation(record).is_some_and(|(minor, operation)| {
        const EXCHANGE_ID: u32 = 42;
        const CREATE_SESSION: u32 = 43;
        const SEQUENCE: u32 = 53;
        minor >= 1 && matches!(operation, EXCHANGE_ID | CREATE_SESSION | SEQUENCE)
    })
}

/// The beginning of a message without the marks of its fragments.
fn beginning(mut record: &[u8], most: usize) -> Vec<u8> {
    let mut message = Vec::new();
    while message.len() < most
        && let Some((mark, rest)) = record.split_first_chunk()
    {
        // Without the bit of the last fragment.
        let length = (u32::from_be_bytes(*mark) << 1 >> 1) as usize;
        let (fragment, rest) = rest.split_at(length.min(rest.len()));
        message.extend_from_slice(&fragment[..fragment.len().min(most)]);
        record = rest;
    }
    message
}

/// Of a COMPOUND: the minor version and the first operation.
fn minor_and_first_operation(record: &[u8]) -> Option<(u32, u32)> {
    const NFS: u32 = 100_003;
    // Credential and verifier have at most 400 bytes each (RFC 5531 §8.2), and tags are empty.
    const ENOUGH: usize = 1024;
    let message = beginning(record, ENOUGH);
    let mut rest = &message[..];
    let mut word = |skipped: usize| {
        let (word, left) = rest.get(skipped..)?.split_first_chunk()?;
        rest = left;
        Some(u32::from_be_bytes(*word))
    };
    let padded = |length: u32| (length as usize).checked_next_multiple_of(4).filter(|length| *length <= ENOUGH);
    // Behind xid, kind and RPC version: program, version 4, procedure 1.
    if (word(12)?, word(0)?, word(0)?) != (NFS, 4, 1) {
        return None;
    }
    let credential = word(4)?;
    let verifier = word(padded(credential)? + 4)?;
    let tag = word(padded(verifier)?)?;
    let minor = word(padded(tag)?)?;
    // Behind the number of operations.
    Some((minor, word(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_does_once_is_repeated() {
        let call = |minor: u32, operation: u32| {
            let mut words = vec![0x8000_0000 | 100, 7, 0, 2, 100_003, 4, 1, 1, 24, 0, 4];
            words.extend([0x686f_7374, 0, 0, 0, 0, 0, 0, minor, 2, operation, 0]);
            words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect::<Vec<u8>>()
        };
        for (minor, operation, want) in [(1, 53, true), (2, 53, true), (1, 42, true), (0, 53, false), (1, 24, false)] {
            assert_eq!(can_be_repeated(&call(minor, operation)), want, "{minor} {operation}");
        }
        let whole = call(1, 53);
        for cut in 0..whole.len() - 4 {
            assert!(!can_be_repeated(&whole[..cut]), "{cut}");
        }
        let mut null = whole;
        null[27] = 0;
        assert!(!can_be_repeated(&null));
    }
}
