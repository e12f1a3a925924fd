//! AWS's private RPC program, by which its proxy learns that several connections lead to the same server.
//!
//! The proxy names itself, is given a partition, opens more connections until enough of them are given the same partition,
//! and then spreads its requests over them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::partition;
use super::rpc::{self, Accepted, Call};
use super::xdr::{Decoder, Encoder, Malformed};
use crate::store::Instance;

/// The only version.
const VERSION: u32 = 1;
const NULL: u32 = 0;

/// The program and its procedure BIND_CLIENT_TO_PARTITION: of efs-utils since 3.0, and of 2.x.
const PROGRAMS: [(u32, u32); 2] = [(400_123, 2), (100_200, 1)];

const RETRY: u32 = 0;
const RETRY_LATER: u32 = 1;
const PREFERRED: u32 = 2;
const READY: u32 = 3;
const ERROR: u32 = 4;
/// No type of answer.
const UNKNOWN: u32 = 99;

/// When a client is to use more connections. The defaults are those that AWS's proxy has itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleUp {
    /// Most connections of a client; its proxy of version 3.2.0 dies of less than 3.
    pub max_connections: i32,
    /// Bytes a second, both directions together, from which more than one is worth while; negative: never, 0: at once.
    pub threshold_bytes_per_second: i32,
    /// For how long the threshold must be passed. No proxy is known to care.
    pub breached_seconds: i32,
    /// The time that is looked at. No proxy is known to care, and those before 3.0 don't know of it.
    pub lookback_seconds: i32,
}

impl ScaleUp {
    /// What AWS's proxy assumes.
    pub(crate) const DEFAULT: Self = Self {
        max_connections: 5,
        threshold_bytes_per_second: 300 * 1024 * 1024,
        breached_seconds: 1,
        lookback_seconds: 1,
    };
}

impl Default for ScaleUp {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Who a client says it is when it binds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// Of the client's process.
    pub uuid: Uuid,
    /// Counts the connections that the process has served itself; all that it opens for one of them carry the same number.
    pub incarnation: i64,
}

/// An answer that clients must be ready for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindAnswer {
    /// The partition's name, as one that would be better than another.
    Preferred,
    /// Try again.
    Retry,
    /// Try again, but not now.
    RetryLater,
    /// An error with this text.
    Error(String),
    /// A type that nobody knows.
    UnknownType,
    /// There is no such program.
    ProgUnavail,
    /// The arguments don't decode.
    GarbageArgs,
    /// None; the connection goes on.
    Silence,
    /// READY without the fourth of its numbers, as older clients have it.
    ThreeInts,
    /// READY to another call.
    WrongXid,
    /// A record of 2 GiB that comes for as long as the client reads.
    EndlessRecord,
    /// READY and 4 MiB of zeros in the same record.
    OversizedRecord,
    /// READY with this as the most connections.
    MaxConnections(i32),
    /// READY with a number of connections that changes from one connection to the next: 3, 4 or 5.
    ChangingMax,
}

/// What follows READY in [`BindAnswer::OversizedRecord`]: more than any record of NFS has.
const OVERSIZE: usize = 4 << 20;

/// What an answer depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) instance: &'a Instance,
    pub(super) partition: u32,
    /// The connection's number.
    pub(super) connection: u64,
    pub(super) scale_up: ScaleUp,
}

/// Whether it is the program's number.
pub(super) fn is_program(program: u32) -> bool {
    PROGRAMS.iter().any(|(number, _)| *number == program)
}

/// Whether a record is a call of BIND_CLIENT_TO_PARTITION, by the first words of its head. This is asked for every request
/// while there are faults.
pub(super) fn is_bind(record: &[u8]) -> bool {
    let word = |index: usize| record.get(4 * index..4 * index + 4)?.try_into().ok().map(u32::from_be_bytes);
    let (Some(program), Some(procedure)) = (word(3), word(5)) else { return false };
    word(1) == Some(0) && word(4) == Some(VERSION) && PROGRAMS.contains(&(program, procedure))
}

/// Answers a call of the program: writes the whole reply, and says who asks to be bound.
pub(super) fn answer(
    place: &Place<'_>,
    call: &Call,
    arguments: &mut Decoder<'_>,
    encoder: &mut Encoder,
) -> Option<Binding> {
    let outcome = match call.procedure {
        _ if call.version != VERSION => Accepted::ProgramMismatch(VERSION),
        NULL => Accepted::Success,
        procedure if PROGRAMS.contains(&(call.program, procedure)) => match decode(arguments) {
            Ok(binding) => {
                rpc::encode_accepted(encoder, call.xid, Accepted::Success);
                ready(READY, place, place.scale_up, encoder);
                return Some(binding);
            }
            Err(Malformed) => Accepted::GarbageArguments,
        },
        _ => Accepted::ProcedureUnavailable,
    };
    rpc::encode_accepted(encoder, call.xid, outcome);
    None
}

/// Answers a call of BIND_CLIENT_TO_PARTITION in another way: writes the whole reply, or nothing. A record without end is
/// the connection's business.
pub(super) fn answer_with(wanted: &BindAnswer, place: &Place<'_>, xid: u32, encoder: &mut Encoder) {
    let (outcome, xid) = match wanted {
        BindAnswer::Silence => return,
        BindAnswer::ProgUnavail => (Accepted::ProgramUnavailable, xid),
        BindAnswer::GarbageArgs => (Accepted::GarbageArguments, xid),
        BindAnswer::WrongXid => (Accepted::Success, !xid),
        _ => (Accepted::Success, xid),
    };
    rpc::encode_accepted(encoder, xid, outcome);
    if outcome != Accepted::Success {
        return;
    }
    let with_max = |max_connections| ScaleUp { max_connections, ..place.scale_up };
    match wanted {
        BindAnswer::Preferred => ready(PREFERRED, place, place.scale_up, encoder),
        BindAnswer::Retry => told(RETRY, "try again", place, encoder),
        BindAnswer::RetryLater => told(RETRY_LATER, "try again later", place, encoder),
        BindAnswer::Error(text) => told(ERROR, text, place, encoder),
        BindAnswer::UnknownType => {
            encoder.u32(UNKNOWN);
            numbers(place.scale_up, encoder);
        }
        BindAnswer::MaxConnections(max) => ready(READY, place, with_max(*max), encoder),
        BindAnswer::ChangingMax => ready(READY, place, with_max(3 + (place.connection % 3) as i32), encoder),
        _ => ready(READY, place, place.scale_up, encoder),
    }
    match wanted {
        BindAnswer::ThreeInts => encoder.buffer.truncate(encoder.buffer.len() - 4),
        BindAnswer::OversizedRecord => encoder.buffer.resize(encoder.buffer.len() + OVERSIZE, 0),
        _ => {}
    }
}

/// Who asks, if a record is a call that decodes.
pub(super) fn who(record: &[u8]) -> Option<Binding> {
    let mut decoder = Decoder::new(record);
    rpc::decode_call(&mut decoder).ok()?;
    decode(&mut decoder).ok()
}

fn ready(kind: u32, place: &Place<'_>, scale_up: ScaleUp, encoder: &mut Encoder) {
    // Of fixed length, so that its length does not stand before it.
    encoder.u32(kind).fixed(&partition::name(place.instance, place.partition));
    numbers(scale_up, encoder);
}

fn told(kind: u32, text: &str, place: &Place<'_>, encoder: &mut Encoder) {
    encoder.u32(kind).opaque(text.as_bytes());
    numbers(place.scale_up, encoder);
}

fn numbers(scale_up: ScaleUp, encoder: &mut Encoder) {
    let ScaleUp { max_connections, threshold_bytes_per_second, breached_seconds, lookback_seconds } = scale_up;
    for number in [max_connections, threshold_bytes_per_second, breached_seconds, lookback_seconds] {
        encoder.fixed(&number.to_be_bytes());
    }
}

fn decode(arguments: &mut Decoder<'_>) -> Result<Binding, Malformed> {
    let uuid = arguments.opaque(16)?.try_into().map_err(|_| Malformed)?;
    let incarnation = arguments.opaque(8)?.try_into().map_err(|_| Malformed)?;
    Ok(Binding { uuid: Uuid::from_bytes(uuid), incarnation: i64::from_be_bytes(incarnation) })
}
