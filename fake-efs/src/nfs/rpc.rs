//! ONC RPC version 2 (RFC 5531): call headers, AUTH_SYS credentials, reply headers.

use super::xdr::{Decoder, Encoder, Malformed};

/// NFS, version 4.
pub const NFS_PROGRAM: u32 = 100_003;

/// The security flavours that are understood.
pub const AUTH_NONE: u32 = 0;
/// Numeric user and groups, believed as they are.
pub const AUTH_SYS: u32 = 1;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const MAX_AUTH: usize = 400;

/// Who a call says it is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Nobody in particular.
    None,
    /// AUTH_SYS.
    Sys {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Up to 16 further groups.
        gids: Vec<u32>,
    },
}

/// Who is behind a call as far as records of clients are concerned: the user of AUTH_SYS, or nobody in particular.
pub type Principal = Option<u32>;

impl Credential {
    /// The user in whose name the call is made.
    pub fn principal(&self) -> Principal {
        match self {
            Self::None => None,
            Self::Sys { uid, .. } => Some(*uid),
        }
    }
}

/// Header of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Chosen by the client; repeated in the reply.
    pub xid: u32,
    /// Program number.
    pub program: u32,
    /// Program version.
    pub version: u32,
    /// Procedure number.
    pub procedure: u32,
    /// Who calls.
    pub credential: Credential,
}

/// Why a record is not answered by a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// Not even a call header: the connection is closed.
    NotACall,
    /// The RPC version is not 2.
    RpcVersion(u32),
    /// Credential of an unknown kind, or malformed.
    Credential(u32),
}

impl From<Malformed> for Unanswerable {
    fn from(_: Malformed) -> Self {
        Self::NotACall
    }
}

/// Reads a call's header; the decoder stays at the arguments.
pub fn decode_call(decoder: &mut Decoder<'_>) -> Result<Call, Unanswerable> {
    let xid = decoder.u32()?;
    if decoder.u32()? != CALL {
        return Err(Unanswerable::NotACall);
    }
    if decoder.u32()? != RPC_VERSION {
        return Err(Unanswerable::RpcVersion(xid));
    }
    let (program, version, procedure) = (decoder.u32()?, decoder.u32()?, decoder.u32()?);
    let (flavour, body) = (decoder.u32()?, decoder.opaque(MAX_AUTH)?);
    let (_, _) = (decoder.u32()?, decoder.opaque(MAX_AUTH)?);
    let credential = match flavour {
        AUTH_NONE => Credential::None,
        AUTH_SYS => decode_sys(body).map_err(|_| Unanswerable::Credential(xid))?,
        _ => return Err(Unanswerable::Credential(xid)),
    };
    Ok(Call { xid, program, version, procedure, credential })
}

fn decode_sys(body: &[u8]) -> Result<Credential, Malformed> {
    let mut decoder = Decoder::new(body);
    decoder.u32()?;
    decoder.opaque(255)?;
    let (uid, gid) = (decoder.u32()?, decoder.u32()?);
    Ok(Credential::Sys { uid, gid, gids: decoder.words(16)? })
}

/// Outcome of a call as far as RPC is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The procedure's result follows.
    Success,
    /// No such program here.
    ProgramUnavailable,
    /// The program exists in this one version only.
    ProgramMismatch(u32),
    /// No such procedure.
    ProcedureUnavailable,
    /// The arguments don't decode.
    GarbageArguments,
}

/// Writes the header of a reply to a call that was understood.
pub fn encode_accepted(encoder: &mut Encoder, xid: u32, outcome: Accepted) {
    encoder.u32(xid).u32(REPLY).u32(0).u32(AUTH_NONE).u32(0);
    match outcome {
        Accepted::Success => encoder.u32(0),
        Accepted::ProgramUnavailable => encoder.u32(1),
        Accepted::ProgramMismatch(version) => encoder.u32(2).u32(version).u32(version),
        Accepted::ProcedureUnavailable => encoder.u32(3),
        Accepted::GarbageArguments => encoder.u32(4),
    };
}

/// Writes the refusal of a record that was not understood; false when there is nothing to answer.
pub fn encode_refusal(encoder: &mut Encoder, problem: Unanswerable) -> bool {
    match problem {
        Unanswerable::NotACall => return false,
        Unanswerable::RpcVersion(xid) => encoder.u32(xid).u32(REPLY).u32(1).u32(0).u32(RPC_VERSION).u32(RPC_VERSION),
        // AUTH_ERROR, AUTH_BADCRED.
        Unanswerable::Credential(xid) => encoder.u32(xid).u32(REPLY).u32(1).u32(1).u32(1),
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(flavour: u32, body: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.u32(7).u32(0).u32(2).u32(NFS_PROGRAM).u32(4).u32(1).u32(flavour).opaque(body).u32(0).u32(0).u32(99);
        encoder.buffer
    }

    #[test]
    fn an_auth_sys_call_is_read_with_its_groups() {
        let mut body = Encoder::default();
        body.u32(1).opaque(b"host").u32(1000).u32(1001).words(&[5, 6]);
        let data = call(AUTH_SYS, &body.buffer);
        let mut decoder = Decoder::new(&data);
        let call = decode_call(&mut decoder).unwrap();
        assert_eq!(call.credential, Credential::Sys { uid: 1000, gid: 1001, gids: vec![5, 6] });
        assert_eq!((call.xid, call.program, call.version, call.procedure), (7, NFS_PROGRAM, 4, 1));
        assert_eq!(decoder.u32(), Ok(99));
    }

    #[test]
    fn seventeen_groups_and_unknown_flavours_are_bad_credentials() {
        let mut body = Encoder::default();
        body.u32(1).opaque(b"host").u32(1000).u32(1001).words(&[0; 17]);
        for data in [call(AUTH_SYS, &body.buffer), call(6, b""), call(AUTH_SYS, b"short...")] {
            assert_eq!(decode_call(&mut Decoder::new(&data)), Err(Unanswerable::Credential(7)));
        }
    }

    #[test]
    fn a_cut_header_or_a_reply_is_not_a_call() {
        let data = call(AUTH_NONE, b"");
        for cut in 0..data.len() - 4 {
            assert!(decode_call(&mut Decoder::new(&data[..cut])).is_err());
        }
        let mut reply = data.clone();
        reply[7] = 1;
        assert_eq!(decode_call(&mut Decoder::new(&reply)), Err(Unanswerable::NotACall));
        let mut old = data;
        old[11] = 3;
        assert_eq!(decode_call(&mut Decoder::new(&old)), Err(Unanswerable::RpcVersion(7)));
    }
}
