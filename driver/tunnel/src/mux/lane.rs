//! One connection to the mount target, among several that carry one of the kernel's.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::counts::{Carried, Counts, Silence};
use crate::buffer::{Buffer, Filled};
use crate::record::{Cutter, Event, Head};

/// Each connection may hold so much of replies that wait for their turn, however much the others hold.
const REPLIES_OWN: usize = 256 * 1024;
/// With what nobody else holds, a connection may hold a whole reply of the largest READ, 1 MiB and its headers. A longer record is given to the
/// kernel while it comes, and the others wait.
const REPLIES_MAX: usize = 1024 * 1024 + 64 * 1024;
/// A buffer for what waits that has been larger is given back when it is empty.
const USUAL_WAITING: usize = 16 * 1024;

/// Which connection; the later, the higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId(pub(super) u32);

/// A connection and what is on its way there and back.
#[derive(Debug)]
pub(super) struct Lane<U> {
    pub(super) id: LaneId,
    stream: U,
    pub(super) carried: Arc<Carried>,
    silence: Silence,
    /// Of calls that it was given, replies to which have not come.
    pub(super) unanswered_bytes: usize,
    /// Whether it gets no new calls and goes when it has answered all.
    pub(super) is_retiring: bool,
    waiting: VecDeque<u8>,
    unflushed: bool,
    replies: Buffer,
    cutter: Cutter,
    scanned: usize,
    /// The record that is coming.
    coming: Option<Head>,
    /// Where the records end that have come whole, counted from the connection's beginning.
    ends: VecDeque<u64>,
    delivered: u64,
    /// Where the last record ended that the kernel has got whole.
    boundary: u64,
    /// Whether it has ended, and what the error was.
    end: Option<Option<io::Error>>,
}

impl<U> Lane<U> {
    /// A call of this length is its to answer.
    pub(super) fn ask(&mut self, length: usize) {
        if self.unanswered_bytes == 0 {
            self.silence.begin();
        }
        self.unanswered_bytes += length;
    }
}

impl<U: AsyncRead + AsyncWrite + Unpin> Lane<U> {
    pub(super) fn new(id: LaneId, stream: U) -> Self {
        Self {
            id,
            stream,
            carried: Arc::default(),
            silence: Silence::default(),
            unanswered_bytes: 0,
            is_retiring: false,
            waiting: VecDeque::new(),
            unflushed: false,
            replies: Buffer::default(),
            cutter: Cutter::default(),
            scanned: 0,
            coming: None,
            ends: VecDeque::new(),
            delivered: 0,
            boundary: 0,
            end: None,
        }
    }

    /// Whether new calls may go to it.
    pub(super) fn takes_calls(&self) -> bool {
        self.end.is_none() && !self.is_retiring
    }

    /// Bytes that it has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the kernel has got the first part of a record from it, and not the rest.
    pub(super) fn is_inside(&self) -> bool {
        self.delivered != self.boundary
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether nothing is on its way, there or back.
    pub(super) fn is_done(&self) -> bool {
        self.unanswered_bytes == 0 && self.waiting.is_empty() && self.replies.is_empty() && !self.is_inside()
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.end.take().flatten()
    }

    pub(super) fn is_grown(&self) -> bool {
        self.replies.is_grown() || self.waiting.capacity() > USUAL_WAITING
    }

    pub(super) fn shrink_if_quiet(&mut self) {
        self.replies.shrink_if_quiet();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(USUAL_WAITING);
        }
    }

    // Calls.

    /// Takes bytes, writes them or puts up to `room` of them aside; how many. Nothing is taken while it doesn't take any and there is
    /// no room, or when it has ended.
    pub(super) fn give(&mut self, cx: &mut Context<'_>, data: &[u8], room: usize) -> Poll<usize> {
        if self.end.is_some() {
            return Poll::Pending;
        }
        if self.waiting.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, data) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.carried.sent.fetch_add(written as u64, Relaxed);
                    self.unflushed = true;
                    return Poll::Ready(written);
                }
                Poll::Ready(Ok(_)) => self.end = Some(Some(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => self.end = Some(Some(error)),
                Poll::Pending => {}
            }
        }
        let count = data.len().min(room);
        if count == 0 || self.end.is_some() {
            return Poll::Pending;
        }
        self.put_aside(&data[..count]);
        Poll::Ready(count)
    }

    /// To be written when it takes something again.
    pub(super) fn put_aside(&mut self, data: &[u8]) {
        self.waiting.extend(data);
    }

    /// Writes what waits; whether some was taken.
    pub(super) fn write_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_moved = false;
        while !self.waiting.is_empty() && self.end.is_none() {
            match Pin::new(&mut self.stream).poll_write(cx, self.waiting.as_slices().0) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.waiting.drain(..written);
                    self.carried.sent.fetch_add(written as u64, Relaxed);
                    self.unflushed = true;
                    has_moved = true;
                }
                Poll::Ready(Ok(_)) => self.end = Some(Some(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => self.end = Some(Some(error)),
                Poll::Pending => break,
            }
        }
        has_moved
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if !self.unflushed || self.end.is_some() {
            return;
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => self.unflushed = false,
            // What ended it is found by the next read.
            Poll::Ready(Err(error)) => {
                self.end = Some(Some(error));
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
    }

    /// Says farewell; ready when that is done or can't be.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.stream).poll_shutdown(cx).map(drop)
    }

    // Replies.

    /// Bytes of replies that wait for their turn.
    pub(super) fn held(&self) -> usize {
        self.replies.len()
    }

    /// How much it may hold, when `free` of what all share is free.
    fn most(&self, free: usize) -> usize {
        (self.replies.len() + free).clamp(REPLIES_OWN, REPLIES_MAX)
    }

    /// Reads what is there, as far as it may hold it; whether something came, and the heads of the records that are whole now.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, counts: &Counts, free: usize) -> (bool, Vec<Head>) {
        let most = self.most(free);
        if self.end.is_some() || self.replies.len() >= most {
            return (false, Vec::new());
        }
        let before = self.replies.len();
        match self.replies.fill(cx, &mut self.stream, most) {
            Poll::Pending => return (false, Vec::new()),
            Poll::Ready(Ok(Filled::Bytes)) => {
                self.carried.received.fetch_add((self.replies.len() - before) as u64, Relaxed);
                self.silence.end(counts, self.unanswered_bytes > 0);
            }
            Poll::Ready(Ok(Filled::End)) => self.end = Some(None),
            Poll::Ready(Err(error)) => self.end = Some(Some(error)),
        }
        (true, self.scan())
    }

    fn scan(&mut self) -> Vec<Head> {
        let mut whole = Vec::new();
        while self.scanned < self.replies.len() {
            match self.cutter.next(&self.replies.data()[self.scanned..]) {
                Ok((seen, event)) => {
                    self.scanned += seen;
                    match event {
                        Some(Event::Head(head)) => self.coming = Some(head),
                        Some(Event::End) => {
                            self.ends.push_back(self.delivered + self.scanned as u64);
                            whole.extend(self.coming.take());
                        }
                        None => {}
                    }
                }
                Err(error) => {
                    self.end = Some(Some(io::Error::new(io::ErrorKind::InvalidData, error)));
                    break;
                }
            }
        }
        whole
    }

    /// Bytes of the records that have come whole.
    pub(super) fn whole(&self) -> usize {
        self.ends.back().map_or(0, |end| usize::try_from(end - self.delivered).unwrap_or(0))
    }

    /// What may be given to the kernel now. A connection that is `alone` has nobody to wait for; another gives half a record when it may hold no
    /// more of it.
    pub(super) fn deliverable(&self, alone: bool, free: usize) -> &[u8] {
        let data = &self.replies.data()[..self.scanned];
        let whole = self.whole();
        // Half a record of a connection that has ended is of no use to anybody.
        let may_be_half = self.end.is_none()
            && (alone || (whole == 0 && (self.is_inside() || self.replies.len() >= self.most(free))));
        if may_be_half { data } else { &data[..whole] }
    }

    /// So much has been given to the kernel.
    pub(super) fn delivered(&mut self, count: usize) {
        self.replies.consume(count);
        self.scanned -= count;
        self.delivered += count as u64;
        while let Some(end) = self.ends.front().filter(|end| **end <= self.delivered) {
            self.boundary = *end;
            self.ends.pop_front();
        }
    }
}
