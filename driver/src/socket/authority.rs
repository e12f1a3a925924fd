//! Callers that take the socket's path for an authority.
//!
//! What a gRPC library sends as `:authority` over a Unix socket is its own choice: Go and Rust say `localhost`, C and its
//! children (Python, Ruby, C#) send the path percent-encoded, Java and old versions of Go the path as it is. h2 answers
//! PROTOCOL_ERROR to everything that the `http` crate does not accept as an authority, and has no switch for it
//! (hyperium/h2#487). So the header blocks of callers are read on their way in, and an authority that h2 would refuse becomes
//! `localhost`. Nothing here depends on the authority, and a malformed frame still ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use http::uri::Authority;
use loona_hpack::{Decoder, Encoder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// The client's first bytes (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// A frame's header: length, type, flags, stream (§4.1).
const FRAME_HEADER: usize = 9;
/// The longest payload that h2's server lets clients send, and we may pass on (§6.5.2, the default).
const FRAME_MAX: usize = 16_384;
/// No header block is longer; h2 takes 16 KiB of headers.
const BLOCK_MAX: usize = 64 * 1024;
/// The headers of a request are never more than this, by the size that RFC 9113 §6.5.2 gives them: a byte of a block may stand for a whole
/// field of the table, so that a block of 64 KiB could become 256 MiB.
pub(crate) const LIST_MAX: u32 = 64 * 1024;
/// What each field counts for besides its name and value (RFC 7541 §4.1).
const FIELD_OVERHEAD: usize = 32;
/// The largest table of header fields (RFC 7541 §4.2) that h2's server lets clients use.
const TABLE_MAX: usize = 4096;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection on which every request has an authority that h2 accepts.
pub struct AnyAuthority<S> {
    inner: S,
    rewriter: Rewriter,
    /// Rewritten and not read yet.
    rewritten: BytesMut,
}

impl<S> AnyAuthority<S> {
    /// Looks after what comes from `inner`, from the first byte on.
    pub fn new(inner: S) -> Self {
        Self { inner, rewriter: Rewriter::new(), rewritten: BytesMut::new() }
    }
}

impl<S: Connected> Connected for AnyAuthority<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AnyAuthority<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut space = [0; 4096];
        while this.rewritten.is_empty() {
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.rewriter.feed(read.filled(), &mut this.rewritten)?;
        }
        let count = buf.remaining().min(this.rewritten.len());
        buf.put_slice(&this.rewritten.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AnyAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Rewrites the bytes of one connection. Header blocks are decoded and encoded afresh, each side with a table of its own.
struct Rewriter {
    /// Bytes to pass on as they are.
    passing: usize,
    /// Received and not complete enough to be passed on.
    pending: BytesMut,
    /// A header block whose end has not come yet.
    block: Option<Block>,
    decoder: Decoder<'static>,
    encoder: Encoder<'static>,
}

struct Block {
    stream: u32,
    end_stream: u8,
    fragments: BytesMut,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: BytesMut,
}

impl Rewriter {
    fn new() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(TABLE_MAX);
        Self { passing: PREFACE, pending: BytesMut::new(), block: None, decoder, encoder: Encoder::new() }
    }

    /// Takes what was received and appends what may be passed on to `out`.
    fn feed(&mut self, received: &[u8], out: &mut BytesMut) -> io::Result<()> {
        self.pending.extend_from_slice(received);
        loop {
            let count = self.passing.min(self.pending.len());
            out.extend_from_slice(&self.pending.split_to(count));
            self.passing -= count;
            if self.passing > 0 || self.pending.len() < FRAME_HEADER {
                return Ok(());
            }
            let (length, kind) =
                (usize::try_from((&self.pending[..]).get_uint(3)).unwrap_or(usize::MAX), self.pending[3]);
            if self.block.is_none() && kind != HEADERS {
                self.passing = FRAME_HEADER + length;
                continue;
            }
            if length > FRAME_MAX {
                return Err(malformed("a frame of headers is too long"));
            }
            if self.pending.len() < FRAME_HEADER + length {
                return Ok(());
            }
            let frame = self.take_frame(length);
            self.add_headers(frame, out)?;
        }
    }

    fn take_frame(&mut self, length: usize) -> Frame {
        let mut header = self.pending.split_to(FRAME_HEADER);
        header.advance(3);
        let (kind, flags, stream) = (header.get_u8(), header.get_u8(), header.get_u32());
        Frame { kind, flags, stream, payload: self.pending.split_to(length) }
    }

    /// Adds a frame to the header block, and passes the block on if it is complete.
    fn add_headers(&mut self, frame: Frame, out: &mut BytesMut) -> io::Result<()> {
        let Frame { kind, flags, stream, payload } = frame;
        let mut block = match self.block.take() {
            None => Block { stream, end_stream: flags & END_STREAM, fragments: fragment(flags, payload)? },
            Some(mut block) if kind == CONTINUATION && stream == block.stream => {
                block.fragments.unsplit(payload);
                block
            }
            Some(_) => return Err(malformed("a block of headers is interrupted")),
        };
        if block.fragments.len() > BLOCK_MAX {
            return Err(malformed("a block of headers is too long"));
        }
        if flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        let mut headers = Vec::new();
        let mut room = usize::try_from(LIST_MAX).ok();
        let decoded = self.decoder.decode_with_cb(&block.fragments, |name, value| {
            room = room.and_then(|room| room.checked_sub(name.len() + value.len() + FIELD_OVERHEAD));
            if room.is_some() {
                headers.push((name.into_owned(), value.into_owned()));
            }
        });
        decoded.map_err(|error| malformed(&format!("a block of headers: {error}")))?;
        if room.is_none() {
            return Err(malformed("a block of headers stands for too many bytes"));
        }
        for (name, value) in &mut headers {
            if name == b":authority" && Authority::try_from(&value[..]).is_err() {
                *value = b"localhost".to_vec();
            }
        }
        block.fragments.clear();
        let headers = headers.iter().map(|(name, value)| (&name[..], &value[..]));
        self.encoder.encode_into(headers, &mut (&mut block.fragments).writer())?;
        let mut kind = HEADERS;
        let mut flags = block.end_stream;
        loop {
            let part = block.fragments.split_to(block.fragments.len().min(FRAME_MAX));
            if block.fragments.is_empty() {
                flags |= END_HEADERS;
            }
            out.put_uint(part.len() as u64, 3);
            out.put_u8(kind);
            out.put_u8(flags);
            out.put_u32(block.stream);
            out.extend_from_slice(&part);
            if block.fragments.is_empty() {
                return Ok(());
            }
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

/// A HEADERS frame's part of the block: without padding and priority (RFC 9113 §6.2).
fn fragment(flags: u8, mut payload: BytesMut) -> io::Result<BytesMut> {
    let too_short = || malformed("a frame of headers is too short");
    if flags & PADDED != 0 {
        let padding = usize::from(payload.try_get_u8().map_err(|_| too_short())?);
        let length = payload.len().checked_sub(padding).ok_or_else(too_short)?;
        payload.truncate(length);
    }
    if flags & PRIORITY != 0 {
        const DEPENDENCY_AND_WEIGHT: usize = 5;
        if payload.len() < DEPENDENCY_AND_WEIGHT {
            return Err(too_short());
        }
        payload.advance(DEPENDENCY_AND_WEIGHT);
    }
    Ok(payload)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed HTTP/2: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Headers = Vec<(Vec<u8>, Vec<u8>)>;

    /// A request's headers.
    fn request(authority: &str, extra: usize) -> Headers {
        let mut headers: Headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/csi.v1.Identity/Probe"),
            (":authority", authority),
            ("te", "trailers"),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
        headers.push((b"x-extra".to_vec(), vec![b'x'; extra]));
        headers
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.put_uint(payload.len() as u64, 3);
        frame.put_u8(kind);
        frame.put_u8(flags);
        frame.put_u32(stream);
        frame.put_slice(payload);
        frame
    }

    /// What a client may send: each request on a stream of its own, its block in frames of `size`, padded, with data after it.
    fn conversation(requests: &[Headers], size: usize) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        for (index, headers) in requests.iter().enumerate() {
            let stream = u32::try_from(index).expect("few") * 2 + 1;
            let block = encoder.encode(headers.iter().map(|(name, value)| (&name[..], &value[..])));
            let mut parts = block.chunks(size).peekable();
            let (mut kind, mut flags) = (HEADERS, PADDED | PRIORITY);
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    flags |= END_HEADERS;
                }
                let payload = match kind {
                    HEADERS => [&[3, 0, 0, 0, 0, 15], part, &[0; 3]].concat(),
                    _ => part.to_vec(),
                };
                sent.extend(frame(kind, flags, stream, &payload));
                (kind, flags) = (CONTINUATION, 0);
            }
            sent.extend(frame(0, END_STREAM, stream, &[index.to_le_bytes().as_slice(), &[7; 40_000]].concat()));
        }
        sent
    }

    /// Rewrites in pieces of `piece` bytes.
    fn rewrite(sent: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let (mut rewriter, mut out) = (Rewriter::new(), BytesMut::new());
        for piece in sent.chunks(piece) {
            rewriter.feed(piece, &mut out)?;
        }
        Ok(out.to_vec())
    }

    /// The headers of every stream, and the other frames.
    fn read(bytes: &[u8]) -> (Vec<Headers>, Vec<Vec<u8>>) {
        let mut decoder = Decoder::new();
        let (mut headers, mut others, mut block) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = &bytes[PREFACE..];
        while !bytes.is_empty() {
            let length = usize::try_from(bytes.get_uint(3)).expect("short");
            let (kind, flags, stream) = (bytes.get_u8(), bytes.get_u8(), bytes.get_u32());
            let payload = &bytes[..length];
            bytes.advance(length);
            if kind != HEADERS && kind != CONTINUATION {
                others.push(frame(kind, flags, stream, payload));
                continue;
            }
            assert!(payload.len() <= FRAME_MAX && (kind == HEADERS) == block.is_empty());
            block.extend_from_slice(payload);
            if flags & END_HEADERS != 0 {
                headers.push(decoder.decode(&std::mem::take(&mut block)).expect("a block"));
            }
        }
        (headers, others)
    }

    fn with_authorities(authorities: &[&str], extra: usize) -> Vec<Headers> {
        authorities.iter().map(|authority| request(authority, extra)).collect()
    }

    #[test]
    fn only_what_h2_would_refuse_is_replaced() {
        let sent = ["%2Fcsi%2Fcsi.sock", "localhost", "/csi/csi.sock", "10.0.0.1:80", "%2Fcsi%2Fcsi.sock", "[::1]:1"];
        let kept = ["localhost", "localhost", "localhost", "10.0.0.1:80", "localhost", "[::1]:1"];
        let conversation = conversation(&with_authorities(&sent, 3), 10_000);
        let (headers, others) = read(&rewrite(&conversation, 10_000).expect("well-formed"));
        assert_eq!(headers, with_authorities(&kept, 3));
        assert_eq!(others, read_others(&conversation));
    }

    /// The frames of a client that are no headers.
    fn read_others(conversation: &[u8]) -> Vec<Vec<u8>> {
        let mut others = Vec::new();
        let mut bytes = &conversation[PREFACE..];
        while !bytes.is_empty() {
            let length = FRAME_HEADER + usize::try_from((&mut &bytes[..3]).get_uint(3)).expect("short");
            if bytes[3] != HEADERS && bytes[3] != CONTINUATION {
                others.push(bytes[..length].to_vec());
            }
            bytes.advance(length);
        }
        others
    }

    /// One field of nearly 4 KiB in the table, and then one byte for each time it is sent.
    #[test]
    fn a_block_that_stands_for_many_bytes_is_refused_before_they_are_made() {
        let field = (&b"x-large"[..], &[b'x'; 3900][..]);
        let mut block = Encoder::new().encode([field]);
        // The first of the dynamic table (RFC 7541 §2.3.3) as an indexed field (§6.1).
        block.extend(std::iter::repeat_n(0x80 | 62, 10_000));
        let mut rewriter = Rewriter::new();
        let mut received = vec![0; PREFACE];
        received.put_uint(block.len() as u64, 3);
        received.extend_from_slice(&[HEADERS, END_HEADERS, 0, 0, 0, 1]);
        received.extend_from_slice(&block);
        let mut out = BytesMut::new();
        let refused = rewriter.feed(&received, &mut out).unwrap_err();
        assert!(refused.to_string().contains("too many bytes"), "{refused}");
        assert!(out.len() <= PREFACE);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn neither_frames_nor_pieces_matter(size in 1_usize..9000, piece in 1_usize..5000, extra in 0_usize..30_000) {
            let conversation = conversation(&with_authorities(&["/a", "b", "%63"], extra), size);
            let (headers, others) = read(&rewrite(&conversation, piece).expect("well-formed"));
            prop_assert_eq!(headers, with_authorities(&["localhost", "b", "localhost"], extra));
            prop_assert_eq!(others, read_others(&conversation));
        }

        #[test]
        fn noise_is_no_crash(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let preface = [0; PREFACE];
            drop(rewrite(&[&preface[..], &noise].concat(), 64));
            drop(rewrite(&[&preface[..], &frame(HEADERS, END_HEADERS, 1, &noise)].concat(), 64));
        }
    }

    #[test]
    fn malformed_blocks_end_the_connection() {
        let preface = [0; PREFACE];
        let interrupted = [frame(HEADERS, 0, 1, b""), frame(0, 0, 1, b"")].concat();
        let other_stream = [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 3, b"")].concat();
        let endless = [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, &[0; FRAME_MAX]).repeat(5)].concat();
        for (wrong, sent) in [
            ("interrupted", interrupted),
            ("interrupted", other_stream),
            ("too long", endless),
            ("too long", frame(HEADERS, 0, 1, &[0; FRAME_MAX + 1])),
            ("too short", frame(HEADERS, PADDED | END_HEADERS, 1, &[9, 0])),
            ("too short", frame(HEADERS, PRIORITY | END_HEADERS, 1, &[0; 4])),
            ("block of headers", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff])),
        ] {
            let error = rewrite(&[&preface[..], &sent].concat(), 999).expect_err(wrong).to_string();
            assert!(error.contains(wrong), "{error}, not {wrong}");
        }
    }
}
