//! Connections that are not many: one more ends the one that has been silent longest.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Those who are there.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    inner: Arc<Mutex<Inner>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Inner {
    seats: HashMap<u64, Seat>,
    /// Counts connections and what they say: the greatest is the last.
    clock: u64,
}

#[derive(Debug)]
struct Seat {
    /// When it has said something for the last time.
    heard: u64,
    /// Whether it has to go.
    ended: bool,
    waker: Option<Waker>,
}

impl Guests {
    pub(super) fn new(most: usize) -> Self {
        Self { inner: Arc::default(), most }
    }

    /// Makes room if there is none.
    pub(super) fn let_in<S>(&self, stream: S) -> Guest<S> {
        let mut inner = self.lock();
        let staying = inner.seats.values().filter(|seat| !seat.ended).count();
        if staying >= self.most
            && let Some(silent) = inner.seats.values_mut().filter(|seat| !seat.ended).min_by_key(|seat| seat.heard)
        {
            silent.ended = true;
            silent.waker.take().into_iter().for_each(Waker::wake);
        }
        inner.clock += 1;
        let number = inner.clock;
        inner.seats.insert(number, Seat { heard: number, ended: false, waker: None });
        drop(inner);
        Guest { stream, number, guests: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that may have to make room. Then it reads as one whose other side has closed it.
#[derive(Debug)]
pub struct Guest<S> {
    stream: S,
    number: u64,
    guests: Guests,
}

impl<S> Drop for Guest<S> {
    fn drop(&mut self) {
        self.guests.lock().seats.remove(&self.number);
    }
}

impl<S: Connected> Connected for Guest<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guest<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let mut inner = this.guests.lock();
        inner.clock += 1;
        let now = inner.clock;
        let Some(seat) = inner.seats.get_mut(&this.number) else { return read };
        if buf.filled().len() > before {
            seat.heard = now;
        }
        match read {
            Poll::Pending if seat.ended => Poll::Ready(Ok(())),
            Poll::Pending => {
                seat.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            ready @ Poll::Ready(_) => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guest<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn the_one_that_has_been_silent_longest_makes_room() {
        let guests = Guests::new(2);
        let (mut a, one) = duplex(64);
        let (_b, two) = duplex(64);
        let (_c, three) = duplex(64);
        let (mut first, mut second) = (guests.let_in(one), guests.let_in(two));
        a.write_all(b"x").await.expect("write");
        assert_eq!(first.read(&mut [0; 4]).await.expect("read"), 1);
        let waits = tokio::spawn(async move { second.read(&mut [0; 4]).await.map(|count| (count, second)) });
        tokio::task::yield_now().await;
        let third = guests.let_in(three);
        let (count, second) = waits.await.expect("task").expect("read");
        assert_eq!(count, 0, "it ends");
        drop(second);
        a.write_all(b"y").await.expect("write");
        assert_eq!(first.read(&mut [0; 4]).await.expect("read"), 1, "the others stay");
        drop((first, third));
        assert!(guests.lock().seats.is_empty());
    }
}
