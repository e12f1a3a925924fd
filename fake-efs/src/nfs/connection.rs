//! One connection: reads records, answers them in order, writes the replies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::compound::Request;
use super::connections::{ConnectionView, Entry};
use super::faults::{Faults, WireEffect, delay};
use super::peer::Peer;
use super::record::{self, Assembler, Progress};
use super::rpc::{self, Accepted, Call, NFS_PROGRAM};
use super::xdr::{Decoder, Encoder};
use super::{MAX_RECORD, compound, partition};

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
    /// Whether AWS's private program is answered.
    pub(super) partition_program: bool,
}

/// What to do after a request.
enum Next {
    GoOn,
    Close,
}

impl Connection {
    /// Serves until the peer closes, misbehaves, or is silent in the middle of a record.
    pub(super) async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
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
                    if matches!(next, Next::Close) {
                        self.flush(&mut stream, &mut output).await?;
                        return Ok(());
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

    async fn answer(&self, request: Bytes, output: &mut Vec<u8>) -> Next {
        self.entry.calls.fetch_add(1, Ordering::Relaxed);
        let effect = if self.faults.any() { self.faults.strike_request(&self.view) } else { None };
        match effect {
            Some(WireEffect::Reset) => return Next::Close,
            Some(WireEffect::Stall) => std::future::pending().await,
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
    async fn compute(&self, request: Bytes, output: &mut Vec<u8>) -> Next {
        let (peer, partition_program) = (Arc::clone(&self.peer), self.partition_program);
        if !peer.admission.store.blocks() {
            return answer_record(&peer, partition_program, &request, output);
        }
        let mut taken = std::mem::take(output);
        let work = tokio::task::spawn_blocking(move || {
            let next = answer_record(&peer, partition_program, &request, &mut taken);
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

fn answer_record(peer: &Peer, partition_program: bool, request: &[u8], output: &mut Vec<u8>) -> Next {
    let start = record::start(output);
    let mut encoder = Encoder::after(std::mem::take(output));
    let mut decoder = Decoder::new(request);
    let answered = match rpc::decode_call(&mut decoder) {
        Ok(call) => answer_call(peer, partition_program, &call, decoder, request.len(), &mut encoder),
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
fn answer_call(
    peer: &Peer,
    partition_program: bool,
    call: &Call,
    mut arguments: Decoder<'_>,
    length: usize,
    encoder: &mut Encoder,
) -> bool {
    let outcome = match (call.program, call.version, call.procedure) {
        (NFS_PROGRAM, 4, 0) => Accepted::Success,
        (NFS_PROGRAM, 4, 1) => {
            return compound::answer(peer, call, Request { arguments: arguments.rest(), length }, encoder);
        }
        (NFS_PROGRAM, 4, _) => Accepted::ProcedureUnavailable,
        (NFS_PROGRAM, _, _) => Accepted::ProgramMismatch(4),
        (partition::PROGRAM, partition::VERSION, procedure) if partition_program => {
            let mut result = Encoder::default();
            let instance = &peer.volume.file_system.instance;
            let outcome = partition::answer(instance, procedure, &mut arguments, &mut result);
            rpc::encode_accepted(encoder, call.xid, outcome);
            if outcome == Accepted::Success {
                encoder.buffer.extend_from_slice(&result.buffer);
            }
            return true;
        }
        (partition::PROGRAM, _, _) if partition_program => Accepted::ProgramMismatch(partition::VERSION),
        _ => Accepted::ProgramUnavailable,
    };
    rpc::encode_accepted(encoder, call.xid, outcome);
    true
}
