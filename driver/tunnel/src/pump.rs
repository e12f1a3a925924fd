//! Moves bytes between the kernel's NFS client and the mount target, with fixed memory and backpressure.
//!
//! One task per connection, one buffer per direction. A direction reads until nothing more is there or its buffer is full, then
//! writes all of it: one system call for much costs less than many for little. It reads only when its buffer is empty, so a
//! slow reader makes the writer wait and nothing queues up here. The two directions take turns, a buffer each, so that answers don't wait for
//! a stream of calls to pause. Buffers start small, because most connections of a node are
//! idle, double while reads fill them, and shrink again after a pause.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::record::RecordError;

pub use crate::buffer::IDLE_BUFFER;
/// Size that a busy direction's buffer grows to.
pub const BUSY_BUFFER: usize = 256 * 1024;
/// A grown buffer shrinks after this long without a byte.
pub(crate) const SHRINK_AFTER: Duration = Duration::from_secs(5);
/// After one side has finished, the other has this long to finish too.
pub(crate) const LINGER: Duration = Duration::from_secs(15);

/// Bytes moved, per direction.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes from the kernel to the mount target.
    pub sent: AtomicU64,
    /// Bytes from the mount target to the kernel.
    pub received: AtomicU64,
}

/// Which side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The kernel's NFS client.
    Local,
    /// The mount target.
    Upstream,
}

/// Why a pump stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// One of the two sides failed.
    #[error("{side:?} side: {}", in_short(source))]
    Side {
        /// The side that failed.
        side: Side,
        /// What the system or the TLS library said.
        source: io::Error,
    },
    /// One side sends what are no RPC records.
    #[error("{side:?} side: {error}")]
    Record {
        /// The side that sends it.
        side: Side,
        /// What is wrong.
        #[source]
        error: RecordError,
    },
    /// One side finished, the other didn't follow.
    #[error("connection was still half open {} s after one side had finished", LINGER.as_secs())]
    HalfOpen,
}

/// The TLS library's words for an end without a farewell are about its protocol, not about what happened.
fn in_short(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the other end closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// Pumps until both sides have finished; returns the side that finished first.
pub async fn pump<L, U>(mut local: L, mut upstream: U, traffic: &Traffic) -> Result<Side, PumpError>
where
    L: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut outward = Direction::new(Side::Local);
    let mut inward = Direction::new(Side::Upstream);
    let mut first: Option<Side> = None;
    let mut timer: Pin<Box<Sleep>> = Box::pin(sleep_until(Instant::now() + SHRINK_AFTER));
    poll_fn(|cx| {
        loop {
            let out = outward.poll(cx, &mut local, &mut upstream, &traffic.sent)?;
            let back = match inward.poll(cx, &mut upstream, &mut local, &traffic.received) {
                // The kernel has closed its side: how the server ends its own is no trouble of the tunnel's, which others may use.
                Poll::Ready(Err(_)) if outward.stage == Stage::Finished => return Poll::Ready(Ok(Side::Local)),
                back => back?,
            };
            match (out, back) {
                (Poll::Ready(Turn::Done), Poll::Ready(Turn::Done)) => {
                    return Poll::Ready(Ok(first.unwrap_or(Side::Upstream)));
                }
                (Poll::Ready(Turn::More), _) | (_, Poll::Ready(Turn::More)) => {}
                _ => break,
            }
        }
        if first.is_none() && (outward.finished() || inward.finished()) {
            first = Some(if outward.finished() { Side::Local } else { Side::Upstream });
            timer.as_mut().reset(Instant::now() + LINGER);
        }
        // The timer runs only while there is something to wait for: a grown buffer or a half-open connection.
        while (first.is_some() || outward.grown() || inward.grown()) && timer.as_mut().poll(cx).is_ready() {
            if first.is_some() {
                return Poll::Ready(Err(PumpError::HalfOpen));
            }
            outward.shrink_if_quiet();
            inward.shrink_if_quiet();
            timer.as_mut().reset(Instant::now() + SHRINK_AFTER);
        }
        Poll::Pending
    })
    .await
}

/// One direction of a connection, named after the side it reads from.
struct Direction {
    from: Side,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    stage: Stage,
    /// How reading ended, to be told when what came before has been written.
    broken: Option<io::Error>,
    unflushed: bool,
    active: bool,
}

/// How a turn of a direction that needs not wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Everything is through, and its end.
    Done,
    /// There may be more to read.
    More,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copying,
    Finishing,
    Finished,
}

impl Direction {
    fn new(from: Side) -> Self {
        Self {
            from,
            buffer: vec![0; IDLE_BUFFER],
            start: 0,
            end: 0,
            stage: Stage::Copying,
            broken: None,
            unflushed: false,
            active: false,
        }
    }

    fn finished(&self) -> bool {
        self.stage != Stage::Copying && self.start == self.end
    }

    fn grown(&self) -> bool {
        self.buffer.len() > IDLE_BUFFER
    }

    fn shrink_if_quiet(&mut self) {
        if !std::mem::take(&mut self.active) && self.start == self.end {
            self.buffer.truncate(IDLE_BUFFER);
            self.buffer.shrink_to_fit();
        }
    }

    /// Takes a turn: what is in the buffer is written, and the buffer filled and written once.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        moved: &AtomicU64,
    ) -> Poll<Result<Turn, PumpError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (reading, writing) = match self.from {
            Side::Local => (Side::Local, Side::Upstream),
            Side::Upstream => (Side::Upstream, Side::Local),
        };
        let failed = |side| move |source| PumpError::Side { side, source };
        let mut has_read = false;
        loop {
            while self.start < self.end {
                let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.buffer[self.start..self.end]))
                    .map_err(failed(writing))?;
                if written == 0 {
                    return Poll::Ready(Err(failed(writing)(io::ErrorKind::WriteZero.into())));
                }
                self.start += written;
                self.unflushed = true;
                moved.fetch_add(written as u64, Ordering::Relaxed);
            }
            match self.stage {
                Stage::Finished => return Poll::Ready(Ok(Turn::Done)),
                Stage::Finishing => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(failed(writing))?;
                    self.stage = Stage::Finished;
                }
                Stage::Copying if has_read => return Poll::Ready(Ok(Turn::More)),
                Stage::Copying => match self.fill(cx, reader) {
                    Poll::Ready(filled) => {
                        filled.map_err(failed(reading))?;
                        has_read = true;
                    }
                    Poll::Pending => {
                        if self.unflushed {
                            ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(failed(writing))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Reads into the empty buffer what is there, up to [`BUSY_BUFFER`]. Pending when there is nothing.
    fn fill<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, reader: &mut R) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        (self.start, self.end) = (0, 0);
        loop {
            if self.end == self.buffer.len() {
                if self.end >= BUSY_BUFFER {
                    return Poll::Ready(Ok(()));
                }
                self.buffer.resize(self.end * 2, 0);
            }
            let mut space = ReadBuf::new(&mut self.buffer[self.end..]);
            match Pin::new(&mut *reader).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => {
                    let read = space.filled().len();
                    if read == 0 {
                        self.stage = Stage::Finishing;
                        return Poll::Ready(Ok(()));
                    }
                    self.end += read;
                    self.active = true;
                }
                Poll::Ready(Err(error)) if self.end > 0 => {
                    self.broken = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if self.end > 0 => return Poll::Ready(Ok(())),
                nothing => return nothing,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    /// A side that always has more to say, takes everything, and notes what it is given.
    #[derive(Default)]
    struct Talker {
        /// What it says before it waits.
        left: usize,
        taken: usize,
    }

    impl AsyncRead for Talker {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if self.left == 0 {
                return Poll::Pending;
            }
            let count = space.remaining().min(self.left);
            space.initialize_unfilled_to(count);
            space.advance(count);
            self.left -= count;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Talker {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.taken += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A side that has nothing to say and whose end is an error, as a server's that closes without TLS's farewell.
    struct Rude(Talker);

    impl AsyncRead for Rude {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    impl AsyncWrite for Rude {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The kernel closes a connection after an unmount, and another mount goes on through the same tunnel.
    #[tokio::test]
    async fn how_a_server_ends_a_connection_that_the_kernel_has_closed_is_no_trouble() {
        let ended = pump(tokio::io::empty(), Rude(Talker::default()), &Traffic::default()).await;
        assert_eq!(ended.unwrap(), Side::Local);
        let (_kernel, local) = duplex(100);
        let lost = pump(local, Rude(Talker::default()), &Traffic::default()).await;
        assert!(matches!(lost, Err(PumpError::Side { side: Side::Upstream, .. })), "{lost:?}");
    }

    /// An answer must not wait until a stream of calls pauses.
    #[test]
    fn the_two_directions_take_turns() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut outward, mut inward) = (Direction::new(Side::Local), Direction::new(Side::Upstream));
        let (mut local, mut upstream) = (Talker { left: usize::MAX, taken: 0 }, Talker { left: 100, taken: 0 });
        let moved = AtomicU64::new(0);
        for _ in 0..3 {
            let turn = outward.poll(&mut cx, &mut local, &mut upstream, &moved);
            assert!(matches!(turn, Poll::Ready(Ok(Turn::More))), "a turn ends while there is more");
            let _ = inward.poll(&mut cx, &mut upstream, &mut local, &moved);
        }
        assert_eq!(local.taken, 100, "the answer");
        assert!(upstream.taken <= 3 * BUSY_BUFFER, "{} bytes in three turns", upstream.taken);
    }

    #[tokio::test]
    async fn bytes_arrive_in_both_directions_and_a_half_close_is_passed_on() {
        let (mut kernel, local) = duplex(1000);
        let (upstream, mut server) = duplex(70_000);
        let traffic = Traffic::default();
        let question: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let answer: Vec<u8> = (0..2_000_000_u32).map(|i| (i % 241) as u8).collect();
        let client = async {
            let (mut read, mut write) = tokio::io::split(&mut kernel);
            let send = async {
                write.write_all(&question).await.expect("write");
                write.shutdown().await.expect("shutdown");
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(send, read.read_to_end(&mut got));
            read.expect("read");
            got
        };
        let service = async {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.expect("read");
            server.write_all(&answer).await.expect("write");
            server.shutdown().await.expect("shutdown");
            got
        };
        let (end, at_client, at_server) = tokio::join!(pump(local, upstream, &traffic), client, service);
        assert_eq!(end.expect("clean end"), Side::Local);
        assert!(at_client == answer && at_server == question);
        assert_eq!(traffic.sent.load(Ordering::Relaxed), 3_000_000);
        assert_eq!(traffic.received.load(Ordering::Relaxed), 2_000_000);
    }

    #[tokio::test]
    async fn a_server_that_does_not_read_stops_the_client_instead_of_filling_memory() {
        let (mut kernel, local) = duplex(1000);
        let (upstream, _server) = duplex(1000);
        let traffic = Traffic::default();
        let write = async {
            let mut written = 0;
            loop {
                written += kernel.write(&[0; 1000]).await.expect("write");
                if written > 10_000_000 {
                    return;
                }
            }
        };
        let stuck = async {
            // Everything that can move has moved when both are pending.
            for _ in 0..100_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = write => panic!("the client was never stopped"),
            _ = pump(local, upstream, &traffic) => panic!("the pump ended"),
            () = stuck => {}
        }
        assert_eq!(traffic.sent.load(Ordering::Relaxed), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_never_finishes_is_cut_off() {
        let (kernel, local) = duplex(1000);
        let (upstream, _server) = duplex(1000);
        drop(kernel);
        let end = pump(local, upstream, &Traffic::default()).await;
        assert!(matches!(end, Err(PumpError::HalfOpen)), "{end:?}");
    }

    /// Gives its pieces one after another and then what `last` says.
    struct Pieces(VecDeque<Vec<u8>>, fn() -> Poll<io::Result<()>>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Some(mut piece) = self.0.pop_front() else { return (self.1)() };
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Keeps each write apart.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Polls a direction until it has to wait or is done; what it said and what it wrote.
    fn moved(pieces: &[Vec<u8>], last: fn() -> Poll<io::Result<()>>) -> (Poll<Result<(), PumpError>>, Vec<Vec<u8>>) {
        let (mut reader, mut writer) = (Pieces(pieces.iter().cloned().collect(), last), Writes::default());
        let mut cx = Context::from_waker(Waker::noop());
        let mut direction = Direction::new(Side::Upstream);
        loop {
            match direction.poll(&mut cx, &mut reader, &mut writer, &AtomicU64::new(0)) {
                Poll::Ready(Ok(Turn::More)) => {}
                said => return (said.map_ok(drop), writer.0),
            }
        }
    }

    #[test]
    fn what_comes_in_pieces_is_written_at_once_up_to_the_largest_buffer() {
        let pieces: Vec<Vec<u8>> = (0..20).map(|number| vec![number; 16_384]).collect();
        let (said, writes) = moved(&pieces, || Poll::Pending);
        assert!(said.is_pending(), "{said:?}");
        assert_eq!(writes.iter().map(Vec::len).collect::<Vec<_>>(), [BUSY_BUFFER, 4 * 16_384]);
        assert!(writes.concat() == pieces.concat());
    }

    #[test]
    fn what_came_before_an_error_or_an_end_is_written() {
        let (said, writes) =
            moved(&[vec![7; 10], vec![8; 10]], || Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())));
        assert_eq!(writes, [[[7; 10], [8; 10]].concat()]);
        assert!(matches!(said, Poll::Ready(Err(PumpError::Side { side: Side::Upstream, .. }))), "{said:?}");
        let (said, writes) = moved(&[vec![7; 10]], || Poll::Ready(Ok(())));
        assert_eq!(writes, [[7; 10]]);
        assert!(matches!(said, Poll::Ready(Ok(()))), "{said:?}");
    }

    /// Holds back what it is given until it is flushed, as TLS does; a flush has to wait once before it is done.
    #[derive(Default)]
    struct Holding {
        held: usize,
        sent: usize,
        is_waiting: bool,
    }

    impl AsyncWrite for Holding {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.held += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_waiting = !self.is_waiting && self.held > 0;
            if self.is_waiting {
                return Poll::Pending;
            }
            self.sent += std::mem::take(&mut self.held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[test]
    fn nothing_is_held_back_when_a_direction_waits() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut reader = Pieces([vec![7; 100]].into(), || Poll::Pending);
        let (mut writer, mut direction) = (Holding::default(), Direction::new(Side::Local));
        for _ in 0..3 {
            while direction.poll(&mut cx, &mut reader, &mut writer, &AtomicU64::new(0)).is_ready() {}
        }
        assert_eq!((writer.held, writer.sent), (0, 100));
        // An end is passed on behind the bytes.
        let (mut reader, mut direction) =
            (Pieces([vec![7; 100]].into(), || Poll::Ready(Ok(()))), Direction::new(Side::Local));
        let mut writer = Holding::default();
        for _ in 0..9 {
            let _ = direction.poll(&mut cx, &mut reader, &mut writer, &AtomicU64::new(0));
        }
        assert_eq!((writer.held, writer.sent), (0, 100));
        assert!(direction.stage == Stage::Finished);
    }

    /// Has something to say and fails in one of the things that are asked of it.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Failing {
        Read,
        Write,
        /// Takes nothing, and doesn't call that an error.
        Take,
        Flush,
        Shutdown,
    }

    impl Failing {
        fn answer(self, asked: Self) -> io::Result<()> {
            if self == asked { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        }
    }

    impl AsyncRead for Failing {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if *self == Self::Read { Poll::Ready(self.answer(Self::Read)) } else { Poll::Pending }
        }
    }

    impl AsyncWrite for Failing {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = if *self == Self::Take { 0 } else { bytes.len() };
            Poll::Ready(self.answer(Self::Write).map(|()| taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(self.answer(Self::Flush))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(self.answer(Self::Shutdown))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_failure_ends_the_connection_and_names_its_side() {
        for failing in [Failing::Read, Failing::Write, Failing::Take, Failing::Flush, Failing::Shutdown] {
            for side in [Side::Local, Side::Upstream] {
                let (mut far, near) = duplex(100);
                far.write_all(b"words").await.expect("write");
                if failing == Failing::Shutdown {
                    far.shutdown().await.expect("shutdown");
                }
                let traffic = Traffic::default();
                let ended = match side {
                    Side::Local => timeout(LINGER * 2, pump(failing, near, &traffic)).await,
                    Side::Upstream => timeout(LINGER * 2, pump(near, failing, &traffic)).await,
                };
                let ended = ended.unwrap_or_else(|_| panic!("{failing:?} of {side:?} is swallowed"));
                let named = matches!(&ended, Err(PumpError::Side { side: found, .. }) if *found == side);
                assert!(named, "{failing:?} of {side:?}: {ended:?}");
            }
        }
    }

    /// Says a word, then an error, and from then on that it has come to its end, as sockets do.
    struct Breaking(u8);

    impl AsyncRead for Breaking {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.0 += 1;
            match self.0 {
                1 => space.put_slice(b"word"),
                2 => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                _ => {}
            }
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn an_error_that_is_told_once_is_not_taken_for_an_end() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut reader, mut writer, mut direction) = (Breaking(0), Writes::default(), Direction::new(Side::Upstream));
        let said = loop {
            match direction.poll(&mut cx, &mut reader, &mut writer, &AtomicU64::new(0)) {
                Poll::Ready(Ok(Turn::More)) => {}
                said => break said,
            }
        };
        assert_eq!(writer.0, [b"word"]);
        assert!(matches!(said, Poll::Ready(Err(PumpError::Side { side: Side::Upstream, .. }))), "{said:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_grown_buffer_shrinks_when_the_connection_is_quiet() {
        let mut direction = Direction::new(Side::Local);
        direction.buffer.resize(BUSY_BUFFER, 0);
        direction.active = true;
        direction.shrink_if_quiet();
        assert!(direction.grown());
        direction.shrink_if_quiet();
        assert!(!direction.grown() && direction.buffer.capacity() == IDLE_BUFFER);
    }

    #[test]
    fn an_end_without_a_farewell_is_told_in_plain_words() {
        let source =
            io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed connection without sending TLS close_notify");
        let error = PumpError::Side { side: Side::Upstream, source };
        assert_eq!(error.to_string(), "Upstream side: the other end closed the connection");
    }
}
