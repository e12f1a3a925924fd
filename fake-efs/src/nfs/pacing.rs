//! How fast one connection may be: so many bytes a second in each direction, however they are cut into requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::admission::Rate;

/// What a connection may send at once after a pause, in bytes.
const BURST: u64 = 64 * 1024;
/// What fast connections may send at once: what comes in so many parts of a second. The timer is good to a millisecond or
/// two; with less than that in store, a connection could not be as fast as it may be.
const BURST_PARTS: u64 = 100;
/// How much is worth waiting for: what comes in so many parts of a second.
const LEAST_PARTS: u64 = 500;
/// Shortest sleep: what the timer can do.
const TICK: Duration = Duration::from_millis(1);
/// Longest sleep; then the rate is looked at again, for it may have been changed.
const NAP: Duration = Duration::from_millis(100);

/// Bytes that may pass now.
#[derive(Debug)]
struct Bucket {
    bytes: f64,
    /// When that was so; `None` at first, when it is full.
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Bucket {
    fn full() -> Self {
        Self { bytes: 0.0, at: None, sleep: None }
    }

    /// Lets come in what has come in until now.
    fn fill(&mut self, rate: u64, now: Instant) {
        let most = BURST.max(rate / BURST_PARTS) as f64;
        let came = self.at.map_or(most, |at| now.duration_since(at).as_secs_f64() * rate as f64);
        self.bytes = (self.bytes + came).min(most);
        self.at = Some(now);
    }

    /// How many of the wanted bytes may pass: all, or so many that it was worth waking up for.
    fn poll_some(&mut self, context: &mut Context<'_>, rate: u64, wanted: usize) -> Poll<usize> {
        let least = (wanted as f64).min((rate / LEAST_PARTS).max(1) as f64);
        loop {
            self.fill(rate, Instant::now());
            if self.bytes >= least {
                self.sleep = None;
                return Poll::Ready(wanted.min(self.bytes as usize));
            }
            let wait = Duration::from_secs_f64((least - self.bytes) / rate as f64).clamp(TICK, NAP);
            let sleep = self.sleep.insert(Box::pin(sleep(wait)));
            ready!(sleep.as_mut().poll(context));
        }
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes -= bytes as f64;
    }
}

/// A stream whose directions are paced, each by itself. Without a rate it costs a look at the number.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    rate: Rate,
    input: Bucket,
    output: Bucket,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, rate: Rate) -> Self {
        Self { stream, rate, input: Bucket::full(), output: Bucket::full() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, rate, input, .. } = self.get_mut();
        let Some(rate) = rate.get() else { return Pin::new(stream).poll_read(context, buffer) };
        // Only what may pass is taken from the socket: the peer feels the rest as a network that is full.
        let some = ready!(input.poll_some(context, rate, buffer.remaining()));
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(some));
        ready!(Pin::new(stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        input.spend(read);
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, rate, output, .. } = self.get_mut();
        let Some(rate) = rate.get() else { return Pin::new(stream).poll_write(context, data) };
        let some = ready!(output.poll_some(context, rate, data.len()));
        let written = ready!(Pin::new(stream).poll_write(context, &data[..some]))?;
        output.spend(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    /// Seconds that it takes to send so many bytes, and to receive them, in pieces of this size at most.
    async fn seconds(rate: &Rate, bytes: usize, piece: usize) -> (f64, f64) {
        let (near, far) = duplex(2 * bytes);
        let (mut near, mut far) = (Paced::new(near, rate.clone()), far);
        let data = vec![7; bytes];
        let start = Instant::now();
        for piece in data.chunks(piece) {
            near.write_all(piece).await.unwrap();
        }
        let sent = start.elapsed().as_secs_f64();
        far.write_all(&data).await.unwrap();
        let (start, mut buffer) = (Instant::now(), vec![0; bytes]);
        for piece in buffer.chunks_mut(piece) {
            near.read_exact(piece).await.unwrap();
        }
        assert!(buffer == data, "bytes were changed");
        (sent, start.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn a_direction_is_as_fast_as_its_rate_however_its_bytes_are_cut() {
        // The first 64 KiB are a burst; the timer is good to a millisecond.
        for (rate, bytes, piece) in [
            (64 * KIB, MIB, MIB),
            (64 * KIB, MIB, 4 * KIB),
            (64 * KIB, MIB, 100),
            (MIB, 8 * MIB, MIB),
            (1000, 80_000, 80_000),
            (500 * MIB, 500 * MIB, MIB),
        ] {
            let burst = (64 * KIB).max(rate / 100);
            let expected = (bytes - burst) as f64 / rate as f64;
            let (sent, received) = seconds(&Rate::new(rate as u64), bytes, piece).await;
            for took in [sent, received] {
                let near = (took - expected).abs() < 0.01 + 0.01 * expected;
                assert!(near, "{bytes} at {rate} in pieces of {piece}: {took} s and not {expected}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        assert_eq!(seconds(&Rate::default(), 4 * MIB, 100).await, (0.0, 0.0));
        assert_eq!(seconds(&Rate::new(KIB as u64), 64 * KIB, 100).await, (0.0, 0.0), "a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_earns_one_burst_and_no_more() {
        let (near, _far) = duplex(MIB);
        let mut near = Paced::new(near, Rate::new(64 * KIB as u64));
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            let start = Instant::now();
            near.write_all(&[0; 128 * KIB]).await.unwrap();
            let took = start.elapsed().as_secs_f64();
            assert!((0.99..1.01).contains(&took), "{took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_is_changed_counts_at_once() {
        let (near, _far) = duplex(MIB);
        let rate = Rate::new(1);
        let mut near = Paced::new(near, rate.clone());
        let start = Instant::now();
        let write = tokio::spawn(async move {
            near.write_all(&[0; 512 * KIB]).await.unwrap();
            near
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!write.is_finished());
        rate.set(448 * KIB as u64);
        let mut near = write.await.unwrap();
        assert!((60.89..61.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
        rate.set(0);
        let start = Instant::now();
        near.write_all(&[0; 256 * KIB]).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
