//! AWS's private RPC program, by which its proxy learns that several connections lead to the same server.
//!
//! The proxy names itself, is given a partition, opens more connections until enough of them are given the same partition,
//! and then spreads its requests over them.

use super::rpc::Accepted;
use super::xdr::{Decoder, Encoder, Malformed};
use crate::store::Instance;

/// Program number.
pub(super) const PROGRAM: u32 = 400_123;
/// The only version.
pub(super) const VERSION: u32 = 1;

const NULL: u32 = 0;
const BIND_CLIENT_TO_PARTITION: u32 = 2;
const READY: u32 = 3;
const PARTITION_LENGTH: usize = 64;

/// Results are a name for the partition, and when to use more connections (numbers as EFS's own client has them by default).
const MAX_CONNECTIONS: u32 = 5;
const THRESHOLD_BYTES_PER_SECOND: u32 = 300 * 1024 * 1024;
const BREACHED_SECONDS: u32 = 1;
const LOOKBACK_SECONDS: u32 = 10;

/// Answers a procedure: writes the result and says how RPC has to introduce it.
pub(super) fn answer(
    instance: &Instance,
    procedure: u32,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> Accepted {
    match procedure {
        NULL => Accepted::Success,
        BIND_CLIENT_TO_PARTITION => match decode_bind(arguments) {
            Ok(()) => {
                let mut partition = [0; PARTITION_LENGTH];
                partition[..8].copy_from_slice(&instance.id);
                result.u32(READY).opaque(&partition);
                result.u32(MAX_CONNECTIONS).u32(THRESHOLD_BYTES_PER_SECOND);
                result.u32(BREACHED_SECONDS).u32(LOOKBACK_SECONDS);
                Accepted::Success
            }
            Err(Malformed) => Accepted::GarbageArguments,
        },
        _ => Accepted::ProcedureUnavailable,
    }
}

fn decode_bind(arguments: &mut Decoder<'_>) -> Result<(), Malformed> {
    arguments.opaque(16)?;
    arguments.opaque(8).map(|_| ())
}
