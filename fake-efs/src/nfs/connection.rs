//! One connection: reads records, answers them in order, writes the replies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::bind::{self, BindAnswer, Place, ScaleUp};
use super::compound::Request;
use super::connections::{ConnectionView, Entry};
use super::faults::{Faults, WireEffect, delay};
use super::peer::Peer;
use super::record::{self, Assembler, Progress};
use super::rpc::{self, Accepted, Call, NFS_PROGRAM};
use super::xdr::{Decoder, Encoder};
use super::{MAX_RECORD, compound};

/// How long the rest of a record, or room for a reply, may take to come.
const STALLED: Duration = Duration::from_secs(120);
/// Replies are sent together up to about this size.
const BATCH: usize = 64 * 1024;
/// Room that is made for requests; most are shorter.
const USUAL_REQUEST: usize = 4 * 1024;
/// After this time without a request, buffers are given back.
const IDLE: Duration = Duration::from_secs(5);

/// What a connection works with.
pub(super) struct Connection {
    pub(super) peer: Arc<Peer>,
    pub(super) entry: Arc<Entry>,
    pub(super) faults: Arc<Faults>,
    pub(super) view: ConnectionView,
    /// What AWS's private program answers, if it does.
    pub(super) scale_up: Option<ScaleUp>,
}

/// What to do after a request.
enum Next {
    GoOn,
    Close,
    /// Send a record that doesn't end.
    Pour,
}

impl Connection {
    /// Serves until the peer closes, misbehaves, or is silent in the middle of a record.
    pub(super) async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (mut input, mut output) = (BytesMut::new(), Vec::new());
        let mut assembler = Assembler::default();
        loop {
            let progress = match assembler.take(&mut input, MAX_RECORD) {
                Ok(progress) => progress,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            match progress {
                Progress::Record(request) => {
                    self.entry.bytes_in.fetch_add(request.len() as u64 + 4, Ordering::Relaxed);
                    let next = self.answer(request, &mut output).await;
                    match next {
                        Next::GoOn => {}
                        Next::Close => return self.flush(&mut stream, &mut output).await,
                        Next::Pour => return self.pour(&mut stream, &mut output).await,
                    }
                    if output.len() >= BATCH {
                        self.flush(&mut stream, &mut output).await?;
                    }
                }
                Progress::Missing(count) => {
                    self.flush(&mut stream, &mut output).await?;
                    let between = input.is_empty() && !assembler.has_begun();
                    if !fill(&mut stream, &mut input, &mut output, count, between).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn flush(&self, stream: &mut (impl AsyncWrite + Unpin), output: &mut Vec<u8>) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        self.entry.bytes_out.fetch_add(output.len() as u64, Ordering::Relaxed);
        let mut rest = &output[..];
        while !rest.is_empty() {
            let written = timeout(STALLED, stream.write(rest)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        timeout(STALLED, stream.flush()).await??;
        output.clear();
        Ok(())
    }

    /// Sends a record that goes on for as long as the peer reads.
    async fn pour(&self, stream: &mut (impl AsyncWrite + Unpin), output: &mut Vec<u8>) -> io::Result<()> {
        output.extend_from_slice(&u32::MAX.to_be_bytes());
        loop {
            self.flush(stream, output).await?;
            output.resize(BATCH, 0);
        }
    }

    async fn answer(self: &Arc<Self>, request: Bytes, output: &mut Vec<u8>) -> Next {
        self.entry.calls.fetch_add(1, Ordering::Relaxed);
        let struck = || self.faults.strike_request(&self.view, bind::is_bind(&request));
        let effect = if self.faults.any() { struck() } else { None };
        match effect {
            Some(WireEffect::Reset) => return Next::Close,
            Some(WireEffect::Stall) => std::future::pending().await,
            Some(WireEffect::BindAnswer { answer }) => return self.answer_bind(&answer, &request, output),
            _ => {}
        }
        let (before, received) = (output.len(), request.len());
        let next = self.compute(request, output).await;
        let Some(effect) = effect else { return next };
        if effect == WireEffect::DropReply {
            output.truncate(before);
            return Next::Close;
        }
        if let Some(wait) = delay(&effect, (received + output.len() - before) as u64) {
            tokio::time::sleep(wait).await;
        }
        next
    }

    /// Does a request. With a store that waits for a disk, not on this thread.
    async fn compute(self: &Arc<Self>, request: Bytes, output: &mut Vec<u8>) -> Next {
        if !self.peer.admission.store.blocks() {
            return self.answer_record(&request, output);
        }
        let (connection, mut taken) = (Arc::clone(self), std::mem::take(output));
        let work = tokio::task::spawn_blocking(move || {
            let next = connection.answer_record(&request, &mut taken);
            (next, taken)
        });
        match work.await {
            Ok((next, taken)) => {
                *output = taken;
                next
            }
            // The worker panicked or the runtime is going down.
            Err(_) => Next::Close,
        }
    }

    fn answer_record(&self, request: &[u8], output: &mut Vec<u8>) -> Next {
        let start = record::start(output);
        let mut encoder = Encoder::after(std::mem::take(output));
        let mut decoder = Decoder::new(request);
        let answered = match rpc::decode_call(&mut decoder) {
            Ok(call) => self.answer_call(&call, decoder, request.len(), &mut encoder),
            Err(problem) => rpc::encode_refusal(&mut encoder, problem),
        };
        *output = encoder.buffer;
        if !answered {
            output.truncate(start - 4);
            return Next::Close;
        }
        record::finish(output, start);
        Next::GoOn
    }

    /// False when there is nothing to answer.
    fn answer_call(&self, call: &Call, mut arguments: Decoder<'_>, length: usize, encoder: &mut Encoder) -> bool {
        let outcome = match (call.program, call.version, call.procedure) {
            (NFS_PROGRAM, 4, 0) => Accepted::Success,
            (NFS_PROGRAM, 4, 1) => {
                let request = Request { arguments: arguments.rest(), length };
                let outline = compound::answer(&self.peer, call, request, encoder);
                outline.inspect(|outline| self.entry.recent.note(self.entry.calls.load(Ordering::Relaxed), *outline));
                return outline.is_some();
            }
            (NFS_PROGRAM, 4, _) => Accepted::ProcedureUnavailable,
            (NFS_PROGRAM, _, _) => Accepted::ProgramMismatch(4),
            (program, _, _) if bind::is_program(program) && self.scale_up.is_some() => {
                self.entry.bound(bind::answer(&self.place(), call, &mut arguments, encoder));
                return true;
            }
            _ => Accepted::ProgramUnavailable,
        };
        rpc::encode_accepted(encoder, call.xid, outcome);
        true
    }

    /// Answers a call that binds the connection as a fault says.
    fn answer_bind(&self, answer: &BindAnswer, request: &[u8], output: &mut Vec<u8>) -> Next {
        self.entry.bound(bind::who(request));
        if *answer == BindAnswer::EndlessRecord {
            return Next::Pour;
        }
        let start = record::start(output);
        let mut encoder = Encoder::after(std::mem::take(output));
        let xid = request.first_chunk().map_or(0, |xid| u32::from_be_bytes(*xid));
        bind::answer_with(answer, &self.place(), xid, &mut encoder);
        *output = encoder.buffer;
        if output.len() == start {
            output.truncate(start - 4);
        } else {
            record::finish(output, start);
        }
        Next::GoOn
    }

    fn place(&self) -> Place<'_> {
        Place {
            instance: &self.peer.volume.file_system.instance,
            partition: self.peer.partition,
            connection: self.view.number,
            scale_up: self.scale_up.unwrap_or_default(),
        }
    }
}

/// Reads until at least `count` more bytes are there; false when the peer has closed between two records, where this may be.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    output: &mut Vec<u8>,
    count: usize,
    between: bool,
) -> io::Result<bool> {
    let target = input.len() + count;
    input.reserve(count.max(USUAL_REQUEST));
    while input.len() < target {
        let read = if between && input.is_empty() {
            match timeout(IDLE, stream.read_buf(input)).await {
                Ok(read) => read?,
                Err(_) => {
                    (*input, *output) = (BytesMut::new(), Vec::new());
                    // The next record's head wakes the connection up, and nothing but room for that is kept.
                    let mut head = [0; 4];
                    let read = stream.read(&mut head).await?;
                    input.reserve(count.max(USUAL_REQUEST));
                    input.extend_from_slice(&head[..read]);
                    read
                }
            }
        } else {
            timeout(STALLED, stream.read_buf(input)).await??
        };
        if read == 0 {
            return if between && input.is_empty() { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
    Ok(true)
}
