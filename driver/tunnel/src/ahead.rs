//! Reading ahead: the TLS library reads one record at a time, and a new one in pieces of 4 KiB. With this between it and the
//! socket, one system call brings several records.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Most that is read at once: four TLS records.
const AHEAD: usize = 64 * 1024;

/// A stream that is read in large pieces. It holds memory only while there is something to read, so that idle connections,
/// which most are, have none for it.
#[derive(Debug)]
pub struct ReadAhead<T> {
    inner: T,
    ahead: BytesMut,
}

impl<T> ReadAhead<T> {
    /// Nothing is read yet.
    pub fn new(inner: T) -> Self {
        Self { inner, ahead: BytesMut::new() }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, ahead } = self.get_mut();
        if ahead.is_empty() {
            ahead.reserve(AHEAD);
            let read = poll_read_buf(Pin::new(inner), cx, ahead);
            if ahead.is_empty() {
                *ahead = BytesMut::new();
            }
            ready!(read)?;
        }
        let count = ahead.len().min(buffer.remaining());
        buffer.put_slice(&ahead[..count]);
        ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn one_read_serves_many_and_what_is_quiet_holds_nothing() {
        let (mut far, near) = duplex(1 << 20);
        let sent: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8).collect();
        far.write_all(&sent).await.expect("write");
        let mut stream = ReadAhead::new(near);
        let mut got = vec![0; 5];
        stream.read_exact(&mut got).await.expect("read");
        assert_eq!(stream.ahead.len(), sent.len() - 5, "all of it was read at once");
        let mut piece = vec![0; 4096];
        while got.len() < sent.len() {
            let count = stream.read(&mut piece).await.expect("read");
            got.extend(&piece[..count]);
        }
        assert!(got == sent);
        assert!(stream.read(&mut piece).now_or_never().is_none());
        assert_eq!(stream.ahead.capacity(), 0);
    }

    #[tokio::test]
    async fn an_end_is_passed_on() {
        let (far, near) = duplex(100);
        drop(far);
        let mut stream = ReadAhead::new(near);
        assert_eq!(stream.read(&mut [0; 10]).await.expect("read"), 0);
        assert_eq!(stream.ahead.capacity(), 0);
    }
}
