//! Bytes on their way from a read to a write: little memory while idle, much while busy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Size of an idle buffer: one TLS record.
pub const IDLE_BUFFER: usize = 16 * 1024;

/// How a read has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is something.
    Bytes,
    /// Nothing will come any more.
    End,
}

/// A buffer that doubles while reads fill it.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// How reading ended, to be told when what came before has been taken.
    broken: Option<io::Error>,
    has_ended: bool,
    active: bool,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; IDLE_BUFFER], start: 0, end: 0, broken: None, has_ended: false, active: false }
    }
}

impl Buffer {
    /// What has been read and not been taken.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first bytes out.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "more is taken than there is");
    }

    /// Whether it holds more memory than an idle one.
    pub(crate) fn is_grown(&self) -> bool {
        self.bytes.len() > IDLE_BUFFER
    }

    /// Gives memory back if nothing has been read since the last time.
    pub(crate) fn shrink_if_quiet(&mut self) {
        if !std::mem::take(&mut self.active) && self.is_empty() {
            self.bytes.truncate(IDLE_BUFFER);
            self.bytes.shrink_to_fit();
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads what is there, until it holds `most` bytes. Pending when nothing came. An error or the end is told by the next call
    /// if something came before it.
    pub(crate) fn fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        most: usize,
    ) -> Poll<io::Result<Filled>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        if self.has_ended {
            return Poll::Ready(Ok(Filled::End));
        }
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        let before = self.len();
        loop {
            if self.len() >= most {
                return Poll::Ready(Ok(Filled::Bytes));
            }
            if self.end == self.bytes.len() {
                self.make_room(most);
            }
            let limit = self.bytes.len().min(self.start + most);
            let mut space = ReadBuf::new(&mut self.bytes[self.end..limit]);
            match Pin::new(&mut *reader).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => {
                    let read = space.filled().len();
                    if read == 0 {
                        self.has_ended = true;
                        let said = if self.len() > before { Filled::Bytes } else { Filled::End };
                        return Poll::Ready(Ok(said));
                    }
                    self.end += read;
                    self.active = true;
                }
                Poll::Ready(Err(error)) if self.len() > before => {
                    self.broken = Some(error);
                    return Poll::Ready(Ok(Filled::Bytes));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.len() > before => return Poll::Ready(Ok(Filled::Bytes)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn make_room(&mut self, most: usize) {
        if self.start > 0 && self.len() <= self.bytes.len() / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
        } else if self.bytes.len() < most {
            self.bytes.resize((self.bytes.len() * 2).min(most), 0);
            return;
        } else {
            self.bytes.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, self.len());
    }
}
