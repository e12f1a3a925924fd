//! The last moments of a connection that another process is to carry on: what the kernel asks from now on waits for that process,
//! and what it has asked is still answered.
//!
//! The kernel sends unanswered calls again over its next connection. A server that is still busy with the first copy of one puts it off
//! (`NFS4ERR_DELAY`, RFC 8881 §2.10.6.2), and the kernel then waits far longer than the answer would have taken.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::pump::Traffic;

/// Without a byte from the server for so long, everything is taken for answered. Answers to what is under way follow each other closely.
const QUIET: Duration = Duration::from_millis(10);
/// A server that never falls silent (a long read) or answers late is not waited for any longer.
const AT_MOST: Duration = Duration::from_millis(200);

/// The kernel's side of a connection, from which nothing more is read after `stop`.
pub(crate) struct Hushed<L> {
    inner: L,
    stop: CancellationToken,
}

impl<L> Hushed<L> {
    pub(crate) fn new(inner: L, stop: CancellationToken) -> Self {
        Self { inner, stop }
    }
}

impl<L: AsyncRead + Unpin> AsyncRead for Hushed<L> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stop.is_cancelled() {
            // Nobody needs waking: the connection ends soon, see `drained`.
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, space)
    }
}

impl<L: AsyncWrite + Unpin> AsyncWrite for Hushed<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Ends when `stop` has come and the answers to what was under way have passed, or are not to be expected.
pub(crate) async fn drained(stop: &CancellationToken, traffic: &Traffic) {
    stop.cancelled().await;
    let begin = Instant::now();
    let mut received = traffic.received.load(Ordering::Relaxed);
    while begin.elapsed() < AT_MOST {
        sleep(QUIET).await;
        let before = std::mem::replace(&mut received, traffic.received.load(Ordering::Relaxed));
        if before == received {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::pump::pump;

    /// Two calls are under way; the server answers them one after the other. A third one comes too late.
    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_answered_and_nothing_more_is_taken() {
        let (mut kernel, local) = duplex(1000);
        let (upstream, mut server) = duplex(1000);
        let (stop, traffic) = (CancellationToken::new(), Traffic::default());
        let carry = async {
            tokio::select! {
                () = drained(&stop, &traffic) => {}
                ended = pump(Hushed::new(local, stop.clone()), upstream, &traffic) => panic!("{ended:?}"),
            }
        };
        let ends = async {
            kernel.write_all(b"onetwo").await.expect("calls");
            let mut calls = [0; 6];
            server.read_exact(&mut calls).await.expect("calls");
            stop.cancel();
            kernel.write_all(b"three").await.expect("a late call");
            for answer in [b"1", b"2"] {
                sleep(QUIET / 2).await;
                server.write_all(answer).await.expect("answer");
            }
            let mut answers = Vec::new();
            kernel.read_to_end(&mut answers).await.expect("answers, and the end");
            let mut more = Vec::new();
            server.read_to_end(&mut more).await.expect("the end");
            (answers, more)
        };
        let ((), (answers, more)) = tokio::join!(carry, ends);
        assert_eq!((answers, more), (b"12".to_vec(), Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_falls_silent_is_not_waited_for() {
        let (stop, traffic) = (CancellationToken::new(), Traffic::default());
        stop.cancel();
        let talking = async {
            loop {
                traffic.received.fetch_add(1, Ordering::Relaxed);
                sleep(QUIET / 3).await;
            }
        };
        tokio::select! {
            ended = timeout(AT_MOST * 2, drained(&stop, &traffic)) => ended.expect("ends"),
            () = talking => {}
        }
    }
}
