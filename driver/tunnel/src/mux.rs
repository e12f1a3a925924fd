//! One connection of the kernel's over several connections to the mount target.
//!
//! EFS serves a connection at some 500 MiB/s, and a client with several connections to one of its partitions at three times that. A
//! session of NFSv4.1 may use any of its connections for any call (RFC 8881 §2.10.3), and what makes a call happen once, the slot
//! and its number, belongs to the session. So whole calls go to the connection with the fewest unanswered bytes, and whole replies
//! come back in the order in which they are there.
//!
//! When one of several connections dies, the calls that it has not answered are sent again on the others: that is what the kernel
//! would do after the loss of its only one (§2.10.6.2), with the same slot and number, so the server does each once. Copies of
//! calls are kept for that, up to [`KEPT_MAX`]; large writes are not. If one of those is lost, or half a reply, the kernel's own
//! connection is cut, and the kernel sends everything again.
//!
//! With one connection, bytes are passed on as they come and nothing is held back; only the beginnings of records are looked at.
//!
//! - [`lane`]: one connection to the mount target
//! - [`calls`]: what is not answered yet
//! - [`counts`]: what is told of all this

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use self::calls::{Calls, Record};
pub use self::counts::{Counts, UpstreamReport};
use self::lane::{Lane, LaneId};
use crate::buffer::{Buffer, Filled};
use crate::pump::{BUSY_BUFFER, LINGER, PumpError, SHRINK_AFTER, Side, Traffic};
use crate::record::{Cutter, Event, Head, Kind};

mod calls;
mod counts;
mod lane;
#[cfg(test)]
mod tests;

/// Bytes that wait for connections which don't take them, all together. A connection that stalls can hold one record, so the others
/// go on as long as there is room for one more.
const WAITING_MAX: usize = 3 * 1024 * 1024;
/// Replies of all connections that wait for their turn. Five of the largest READ's that come at once, each some way through, are half of that
/// on the average: so no connection waits until another's reply has come to its end.
const REPLIES_SHARED: usize = 3 * 1024 * 1024;
/// A single connection's: they wait for the kernel only.
const REPLIES_SINGLE: usize = 512 * 1024;
/// A connection is given no new call while so much waits for it.
const LANE_WAITING_MAX: usize = 64 * 1024;
/// Copies of unanswered calls, all together. A READ's call is some 200 bytes, and a session has at most some hundred slots; most
/// writes of 1 MiB don't fit, and needn't: the kernel has them.
const KEPT_MAX: usize = 1024 * 1024;
/// Calls that are not answered. The kernel's sessions have at most 1,024 slots, and several mounts share a connection.
const UNANSWERED_MAX: usize = 16 * 1024;

/// What to do with the set of connections.
#[derive(Debug)]
pub enum Order<U> {
    /// Use this one too.
    Add(U),
    /// Use one less, when it has answered what it was given.
    Retire,
}

/// Carries calls and replies between `local` and its connections to the mount target, beginning with `first`, until one of the two
/// sides has ended; which one. `connections` tells how many there are.
pub async fn multiplex<L, U>(
    local: L,
    first: U,
    mut orders: mpsc::Receiver<Order<U>>,
    traffic: &Traffic,
    counts: &Counts,
    connections: &AtomicUsize,
) -> Result<Side, PumpError>
where
    L: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut mux = Mux::new(local, first, traffic, counts, connections);
    let mut timer: Pin<Box<Sleep>> = Box::pin(sleep_until(Instant::now() + SHRINK_AFTER));
    let mut ending: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        while let Poll::Ready(Some(order)) = orders.poll_recv(cx) {
            mux.obey(order);
        }
        let ended = mux.poll(cx);
        if ended.is_ready() {
            return ended;
        }
        if mux.local_ended {
            let ending = ending.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER)));
            if ending.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(PumpError::HalfOpen));
            }
        }
        // The timer runs only while there is something to give back.
        while mux.is_grown() && timer.as_mut().poll(cx).is_ready() {
            mux.shrink_if_quiet();
            timer.as_mut().reset(Instant::now() + SHRINK_AFTER);
        }
        Poll::Pending
    })
    .await
}

struct Mux<'a, L, U> {
    local: L,
    local_unflushed: bool,
    local_ended: bool,
    /// What the kernel has sent and no connection has taken. Its first bytes have been looked at (`scanned`), and of those the first
    /// ones (`ready`) are for the connection `to`; the rest is the beginning of a record of which it isn't known yet what it is.
    input: Buffer,
    scanned: usize,
    ready: usize,
    to: LaneId,
    cutter: Cutter,
    /// A record whose connection is still to be chosen.
    waiting: Option<Head>,
    /// The record that is being passed on.
    record: Option<Record>,
    calls: Calls,
    /// Calls to be sent again that no connection can take before the record that is being passed on has ended.
    again: VecDeque<(u32, Bytes)>,
    lanes: Vec<Lane<U>>,
    /// The connection that was the last to give the kernel something.
    last_served: LaneId,
    next_id: u32,
    traffic: &'a Traffic,
    counts: &'a Counts,
    connections: &'a AtomicUsize,
}

/// Whether something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Moved,
    Idle,
}

impl<'a, L, U> Mux<'a, L, U>
where
    L: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn new(local: L, first: U, traffic: &'a Traffic, counts: &'a Counts, connections: &'a AtomicUsize) -> Self {
        let mut mux = Self {
            local,
            local_unflushed: false,
            local_ended: false,
            input: Buffer::default(),
            scanned: 0,
            ready: 0,
            to: LaneId(0),
            cutter: Cutter::default(),
            waiting: None,
            record: None,
            calls: Calls::default(),
            again: VecDeque::new(),
            lanes: Vec::new(),
            last_served: LaneId(0),
            next_id: 0,
            traffic,
            counts,
            connections,
        };
        mux.obey(Order::Add(first));
        mux
    }

    fn obey(&mut self, order: Order<U>) {
        match order {
            Order::Add(stream) => {
                if !self.lanes.is_empty() {
                    self.counts.added.fetch_add(1, Ordering::Relaxed);
                }
                let lane = Lane::new(LaneId(self.next_id), stream);
                self.counts.opened(&lane.carried);
                self.lanes.push(lane);
                self.next_id += 1;
            }
            Order::Retire => {
                if self.lanes.iter().filter(|lane| lane.takes_calls()).count() > 1
                    && let Some(lane) = self.lanes.iter_mut().rfind(|lane| lane.takes_calls())
                {
                    lane.is_retiring = true;
                }
            }
        }
        self.count();
    }

    fn count(&self) {
        let (now, before) = (self.lanes.len(), self.connections.swap(self.lanes.len(), Ordering::Relaxed));
        if now > before {
            self.counts.connections.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.counts.connections.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Whether bytes may be passed on as they come: there is one connection, and nothing to be put between two records.
    fn is_single(&self) -> bool {
        self.lanes.len() == 1 && self.again.is_empty()
    }

    /// Whether a part of what has been looked at belongs behind what its connection has got.
    fn is_in_the_middle(&self) -> bool {
        self.ready > 0 || self.record.is_some()
    }

    fn is_grown(&self) -> bool {
        self.input.is_grown() || self.lanes.iter().any(Lane::is_grown)
    }

    fn shrink_if_quiet(&mut self) {
        self.input.shrink_if_quiet();
        self.lanes.iter_mut().for_each(Lane::shrink_if_quiet);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Side, PumpError>> {
        loop {
            // Calls and replies take turns, so that neither waits for a pause in the other's stream.
            let calls = self.take_calls(cx)?;
            let replies = self.give_replies(cx)?;
            let gone = self.bury(cx)?;
            if self.lanes.is_empty() {
                return Poll::Ready(Ok(Side::Upstream));
            }
            if [calls, replies, gone] == [Turn::Idle; 3] {
                break;
            }
        }
        self.flush(cx)?;
        if self.local_ended && self.input.is_empty() {
            return self.finish(cx);
        }
        Poll::Pending
    }

    // Calls: from the kernel to the mount target.

    /// Moves on what the kernel has sent, as far as that goes without waiting, and reads once.
    fn take_calls(&mut self, cx: &mut Context<'_>) -> Result<Turn, PumpError> {
        let mut turn = Turn::Idle;
        for lane in &mut self.lanes {
            if lane.write_waiting(cx) {
                turn = Turn::Moved;
            }
        }
        let mut has_read = false;
        loop {
            if !self.again.is_empty() && !self.is_in_the_middle() {
                turn = Turn::Moved;
                for (xid, record) in std::mem::take(&mut self.again) {
                    self.send_again(xid, &record, None);
                }
            }
            // With one connection, records that came together are passed on together. With several, each may go elsewhere.
            let is_due = self.scanned == self.input.len() || (!self.is_single() && self.is_between());
            if self.ready > 0 && is_due {
                match self.pass_on(cx) {
                    Turn::Moved => turn = Turn::Moved,
                    Turn::Idle => return Ok(turn),
                }
            } else if let Some(head) = self.waiting {
                if !self.choose(head) {
                    return Ok(turn);
                }
            } else if self.scanned < self.input.len() {
                self.look()?;
            } else if has_read || self.local_ended {
                return Ok(turn);
            } else {
                match self.input.fill(cx, &mut self.local, BUSY_BUFFER) {
                    Poll::Pending => return Ok(turn),
                    Poll::Ready(Ok(Filled::Bytes)) => (has_read, turn) = (true, Turn::Moved),
                    Poll::Ready(Ok(Filled::End)) => self.local_ended = true,
                    Poll::Ready(Err(source)) => return Err(PumpError::Side { side: Side::Local, source }),
                }
            }
        }
    }

    /// Whether what is ready ends a record.
    fn is_between(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.has_ended)
    }

    /// Looks for the next place where a record begins or ends.
    fn look(&mut self) -> Result<(), PumpError> {
        let rest = &self.input.data()[self.scanned..];
        let (seen, event) = self.cutter.next(rest).map_err(|error| PumpError::Record { side: Side::Local, error })?;
        self.scanned += seen;
        match event {
            Some(Event::Head(head)) => self.waiting = Some(head),
            Some(Event::End) => {
                self.ready = self.scanned;
                let is_single = self.is_single();
                if let Some(record) = &mut self.record {
                    record.has_ended = true;
                }
                if is_single {
                    self.end_record();
                }
            }
            None if self.record.is_some() => self.ready = self.scanned,
            None => {}
        }
        Ok(())
    }

    /// Chooses the connection for the record that begins; false while none has room.
    fn choose(&mut self, head: Head) -> bool {
        if head.kind == Kind::Call && self.calls.len() >= UNANSWERED_MAX {
            return false;
        }
        let is_single = self.is_single();
        let waiting = self.waiting_bytes();
        let has_room = |lane: &&Lane<U>| {
            lane.takes_calls() && (is_single || (lane.waiting() < LANE_WAITING_MAX && waiting < WAITING_MAX))
        };
        let asked = match head.kind {
            Kind::Reply => self.calls.take_asked(head.xid).filter(|id| self.lanes.iter().any(|lane| lane.id == *id)),
            Kind::Call => self.calls.lane_of(head.xid),
        };
        let idlest = || self.lanes.iter().filter(has_room).min_by_key(|lane| (lane.unanswered_bytes, lane.id));
        let Some(to) = asked.or_else(|| idlest().map(|lane| lane.id)) else { return false };
        let length = head.length.unwrap_or(BUSY_BUFFER);
        let is_kept = !is_single && head.kind == Kind::Call && self.calls.kept_bytes() + length <= KEPT_MAX;
        if head.kind == Kind::Call {
            self.calls.begin(head.xid, to, length, &mut self.lanes);
        }
        let xid = (head.kind == Kind::Call).then_some(head.xid);
        self.record = Some(Record { xid, kept: is_kept.then(Vec::new), has_ended: false });
        (self.to, self.ready, self.waiting) = (to, self.scanned, None);
        true
    }

    fn waiting_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::waiting).sum()
    }

    /// Gives what is ready to the connection that it is for.
    fn pass_on(&mut self, cx: &mut Context<'_>) -> Turn {
        // What a connection doesn't take waits here, so that the others go on; a single one makes the kernel wait.
        let room = if self.is_single() { 0 } else { (WAITING_MAX + BUSY_BUFFER).saturating_sub(self.waiting_bytes()) };
        let data = &self.input.data()[..self.ready];
        // One that has broken is gone after this turn, and there is another for the record then.
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == self.to) else { return Turn::Idle };
        let Poll::Ready(taken) = lane.give(cx, data, room) else { return Turn::Idle };
        if let Some(kept) = self.record.as_mut().and_then(|record| record.kept.as_mut()) {
            kept.extend_from_slice(&data[..taken]);
        }
        self.traffic.sent.fetch_add(taken as u64, Ordering::Relaxed);
        self.input.consume(taken);
        self.scanned -= taken;
        self.ready -= taken;
        if self.ready == 0 && self.record.as_ref().is_some_and(|record| record.has_ended) {
            self.end_record();
        }
        Turn::Moved
    }

    fn end_record(&mut self) {
        if let Some(Record { xid: Some(xid), kept: Some(kept), .. }) = self.record.take() {
            self.calls.keep(xid, kept);
        }
    }

    // Replies: from the mount target to the kernel.

    /// Reads once from every connection, and gives the kernel what it takes.
    fn give_replies(&mut self, cx: &mut Context<'_>) -> Result<Turn, PumpError> {
        let mut turn = Turn::Idle;
        for index in 0..self.lanes.len() {
            let free = self.free();
            let (read, answered) = self.lanes[index].read(cx, self.counts, free);
            if read {
                turn = Turn::Moved;
            }
            for head in answered {
                match head.kind {
                    Kind::Reply => self.calls.answered(head.xid, &mut self.lanes),
                    Kind::Call => self.calls.ask(head.xid, self.lanes[index].id),
                }
            }
        }
        while let Some(index) = self.next_to_serve() {
            let (is_single, free) = (self.is_single(), self.free());
            let lane = &mut self.lanes[index];
            let data = lane.deliverable(is_single, free);
            match Pin::new(&mut self.local).poll_write(cx, data) {
                Poll::Pending => return Ok(turn),
                Poll::Ready(Ok(0)) => {
                    return Err(PumpError::Side { side: Side::Local, source: io::ErrorKind::WriteZero.into() });
                }
                Poll::Ready(Ok(written)) => {
                    lane.delivered(written);
                    self.last_served = lane.id;
                    self.local_unflushed = true;
                    self.traffic.received.fetch_add(written as u64, Ordering::Relaxed);
                    turn = Turn::Moved;
                }
                Poll::Ready(Err(source)) => return Err(PumpError::Side { side: Side::Local, source }),
            }
        }
        Ok(turn)
    }

    /// What is free of the room that all connections share.
    fn free(&self) -> usize {
        let room = if self.lanes.len() == 1 { REPLIES_SINGLE } else { REPLIES_SHARED };
        room.saturating_sub(self.lanes.iter().map(Lane::held).sum())
    }

    /// The connection whose bytes the kernel gets next: the one whose record is half told, or the next in turn that has a whole one,
    /// or more of one than can be held.
    fn next_to_serve(&self) -> Option<usize> {
        let (is_single, free) = (self.is_single(), self.free());
        let has_some = |index: &usize| !self.lanes[*index].deliverable(is_single, free).is_empty();
        if let Some(index) = self.lanes.iter().position(Lane::is_inside) {
            return Some(index).filter(has_some);
        }
        let after = self.lanes.iter().position(|lane| lane.id > self.last_served).unwrap_or(0);
        let in_turn = || (after..self.lanes.len()).chain(0..after);
        // Whole records first: half a one makes all others wait until the rest of it has come.
        in_turn().find(|index| self.lanes[*index].whole() > 0).or_else(|| in_turn().find(has_some))
    }

    // The end of a connection.

    /// Lets go of connections that have ended or have done their part.
    fn bury(&mut self, cx: &mut Context<'_>) -> Result<Turn, PumpError> {
        let mut turn = Turn::Idle;
        let mut index = 0;
        while index < self.lanes.len() {
            let (is_single, free) = (self.is_single(), self.free());
            let busy = self.to == self.lanes[index].id && self.is_in_the_middle();
            let lane = &mut self.lanes[index];
            if lane.has_ended() && lane.deliverable(is_single, free).is_empty() {
                let mut lane = self.lanes.remove(index);
                self.counts.closed(&lane.carried);
                self.lose(&mut lane)?;
            } else if lane.is_retiring && !busy && lane.is_done() && lane.poll_close(cx).is_ready() {
                let lane = self.lanes.remove(index);
                self.counts.closed(&lane.carried);
            } else {
                index += 1;
                continue;
            }
            turn = Turn::Moved;
            self.count();
        }
        Ok(turn)
    }

    /// Sends again elsewhere what a connection has not answered. Where that can't be done, the error that ended it.
    fn lose(&mut self, lane: &mut Lane<U>) -> Result<(), PumpError> {
        let fatal = |error: Option<io::Error>| {
            Err(PumpError::Side {
                side: Side::Upstream,
                source: error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            })
        };
        let error = lane.take_error();
        if self.lanes.is_empty() {
            // The end of the only one is the end.
            return if error.is_some() { fatal(error) } else { Ok(()) };
        }
        let is_current = self.to == lane.id && self.is_in_the_middle();
        let current = self.record.take_if(|_| is_current);
        if lane.is_inside() || (is_current && current.as_ref().is_none_or(|record| record.kept.is_none())) {
            return fatal(error);
        }
        let unfinished = current.as_ref().and_then(|record| record.xid);
        let Some(unanswered) = self.calls.left_by(lane.id, unfinished) else { return fatal(error) };
        if !self.lanes.iter().any(Lane::takes_calls) {
            return fatal(error);
        }
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
        // Where a record is being passed on, nothing can be put in the middle of it.
        let busy = (!is_current && self.is_in_the_middle()).then_some(self.to);
        for (xid, record) in unanswered {
            self.send_again(xid, &record, busy);
        }
        if let Some(Record { xid: Some(xid), kept: Some(kept), .. }) = &current {
            // The rest follows the part that the lost one had.
            if let Some(to) = self.send_again(*xid, &Bytes::copy_from_slice(kept), None) {
                self.to = to;
            }
            self.record = current;
        }
        Ok(())
    }

    /// Gives a call to the idlest connection but `busy`; which that was. Later, if there is none.
    fn send_again(&mut self, xid: u32, record: &Bytes, busy: Option<LaneId>) -> Option<LaneId> {
        let fits = |lane: &&mut Lane<U>| lane.takes_calls() && Some(lane.id) != busy;
        let Some(to) = self.lanes.iter_mut().filter(fits).min_by_key(|lane| (lane.unanswered_bytes, lane.id)) else {
            self.again.push_back((xid, record.clone()));
            return None;
        };
        to.put_aside(record);
        let to = to.id;
        self.calls.moved(xid, to, &mut self.lanes);
        self.counts.resent.fetch_add(1, Ordering::Relaxed);
        Some(to)
    }

    // Turns without anything to move.

    /// What the TLS library or anybody else holds back is sent when there is a pause.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), PumpError> {
        self.lanes.iter_mut().for_each(|lane| lane.flush(cx));
        if self.local_unflushed {
            match Pin::new(&mut self.local).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.local_unflushed = false,
                Poll::Ready(Err(source)) => return Err(PumpError::Side { side: Side::Local, source }),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// The kernel has closed its side: nobody waits for replies any more.
    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<Side, PumpError>> {
        // How the server ends its side is no trouble of the tunnel's, which others may use.
        let counts = self.counts;
        self.lanes.retain_mut(|lane| {
            let stays = lane.waiting() > 0 || lane.poll_close(cx).is_pending();
            if !stays {
                counts.closed(&lane.carried);
            }
            stays
        });
        self.count();
        if self.lanes.is_empty() { Poll::Ready(Ok(Side::Local)) } else { Poll::Pending }
    }
}

impl<L, U> Drop for Mux<'_, L, U> {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| self.counts.closed(&lane.carried));
        self.counts.connections.fetch_sub(self.connections.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}
