//! Asking the server which of its partitions a connection has led to, in the words of AWS's own proxy.
//!
//! A mount target fronts several servers. A session of NFSv4.1 can be used over several connections only if all of them lead to the
//! same one, and which one a connection leads to is chance. So the first thing on every connection is a call of a private RPC
//! program that is answered with the name of a partition, and with when more connections are welcome.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

const PROGRAM: u32 = 400_123;
const VERSION: u32 = 1;
const BIND_CLIENT_TO_PARTITION: u32 = 2;
const LAST_FRAGMENT: u32 = 1 << 31;
/// An answer is some 110 bytes, or a text. Whatever is longer isn't one.
const ANSWER_MAX: usize = 4096;
/// An answer has one fragment. Empty ones are legal; a row of them without end is not.
const FRAGMENTS_MAX: usize = 16;
const PARTITION_LENGTH: usize = 64;
/// More connections than this are never opened for one of the kernel's, whatever a server says.
pub const CONNECTIONS_MAX: usize = 16;
/// Searches of a process at a time.
const SEARCHES: usize = 4;
/// What AWS's proxy takes until a server tells: so many connections, above so many bytes a second.
const DEFAULT: ScaleUp = ScaleUp { connections: 5, threshold: Some(300 * 1024 * 1024) };

/// Whether tunnels ask for partitions, and how many connections they may use for one of the kernel's.
#[derive(Clone, Debug)]
pub struct Binding {
    pub(crate) most: usize,
    client: Client,
    pub(crate) searches: Arc<Semaphore>,
}

impl Binding {
    /// At most so many; with one, nothing is asked.
    pub fn up_to(most: usize) -> Self {
        let most = most.clamp(1, CONNECTIONS_MAX);
        Self { most, client: Client::default(), searches: Arc::new(Semaphore::new(SEARCHES)) }
    }

    /// The same with another number, if one is given.
    pub(crate) fn with(&self, most: Option<u8>) -> Self {
        let most = most.map_or(self.most, |most| usize::from(most).clamp(1, CONNECTIONS_MAX));
        Self { most, ..self.clone() }
    }

    /// One connection for each of the kernel's.
    pub fn off() -> Self {
        Self::up_to(1)
    }

    /// Whether connections ask for their partition.
    pub(crate) fn is_on(&self) -> bool {
        self.most > 1
    }

    /// Who asks.
    pub(crate) fn client(&self) -> Client {
        self.client
    }
}

/// The name of a partition. Between processes it is written in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Partition([u8; PARTITION_LENGTH]);

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        hex::encode(partition.0)
    }
}

impl TryFrom<String> for Partition {
    type Error = hex::FromHexError;

    fn try_from(digits: String) -> Result<Self, Self::Error> {
        let mut name = [0; PARTITION_LENGTH];
        hex::decode_to_slice(digits, &mut name).map(|()| Self(name))
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest is told apart by its first bytes.
        write!(f, "{}", hex::encode(&self.0[..8]))
    }
}

/// When more connections are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleUp {
    /// So many share a partition.
    pub connections: usize,
    /// From so many bytes a second in both directions; never, if `None`.
    pub threshold: Option<u64>,
}

impl Default for ScaleUp {
    fn default() -> Self {
        DEFAULT
    }
}

impl ScaleUp {
    /// What a server sends is bounded: at least the connection that there is, and no fleet.
    fn told(connections: i32, threshold: i32) -> Self {
        Self {
            connections: usize::try_from(connections).unwrap_or(0).clamp(1, CONNECTIONS_MAX),
            threshold: u64::try_from(threshold).ok().filter(|threshold| *threshold > 0),
        }
    }
}

/// What a server makes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It leads to this partition.
    Ready(Partition),
    /// It may be used, but another one should be tried for more.
    Elsewhere,
    /// It may be used, and there should be no more of them for a while.
    Later,
}

/// A server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Where the connection leads.
    pub place: Place,
    /// When there should be more, if the server says so.
    pub scale_up: Option<ScaleUp>,
}

/// No answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The server doesn't know the call. The connection is as good as any.
    #[error("the server does not know partitions")]
    Unknown,
    /// What came was no answer to the call. The connection can't be trusted any more.
    #[error("the answer to the question for the partition is malformed: {0}")]
    Malformed(&'static str),
    /// Nothing came.
    #[error("no answer to the question for the partition within {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection has failed.
    #[error(transparent)]
    Connection(#[from] io::Error),
}

/// Who asks: one of these for each process.
#[derive(Clone, Copy, Debug)]
pub struct Client(Uuid);

impl Default for Client {
    fn default() -> Self {
        Self(Uuid::new_v4())
    }
}

/// Asks. `incarnation` is the same for all connections that are to carry the same session.
pub async fn bind<S>(stream: &mut S, client: Client, incarnation: i64, limit: Duration) -> Result<Bound, BindError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let xid = rand::random();
        stream.write_all(&request(xid, client, incarnation)).await?;
        stream.flush().await?;
        answer(&read_record(stream).await?, xid)
    };
    timeout(limit, exchange).await.unwrap_or(Err(BindError::Silent(limit)))
}

/// Record mark; transaction id, CALL, RPC version 2; program, version, procedure; no credential, no verifier; the client's name and
/// the incarnation, each with its length.
fn request(xid: u32, client: Client, incarnation: i64) -> Vec<u8> {
    let words = [xid, 0, 2, PROGRAM, VERSION, BIND_CLIENT_TO_PARTITION, 0, 0, 0, 0, 16];
    let mut call: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    call.extend(client.0.as_bytes());
    call.extend(8_u32.to_be_bytes());
    call.extend(incarnation.to_be_bytes());
    let mark = LAST_FRAGMENT | u32::try_from(call.len()).unwrap_or_default();
    [&mark.to_be_bytes()[..], &call].concat()
}

async fn read_record<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, BindError> {
    let mut record = Vec::new();
    for _ in 0..FRAGMENTS_MAX {
        let mark = stream.read_u32().await?;
        let length = (mark & !LAST_FRAGMENT) as usize;
        if record.len() + length > ANSWER_MAX {
            return Err(BindError::Malformed("it is too long"));
        }
        let start = record.len();
        record.resize(start + length, 0);
        stream.read_exact(&mut record[start..]).await?;
        if mark & LAST_FRAGMENT != 0 {
            return Ok(record);
        }
    }
    Err(BindError::Malformed("it has too many fragments"))
}

/// Reads XDR (RFC 4506): words of four bytes, and opaque data with its length, filled up to words.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    const CUT: BindError = BindError::Malformed("it is cut short");

    fn word(&mut self) -> Result<u32, BindError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(Self::CUT)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*word))
    }

    fn opaque(&mut self) -> Result<&'a [u8], BindError> {
        let length = self.word()? as usize;
        let padded = length.checked_next_multiple_of(4).filter(|padded| *padded <= self.0.len()).ok_or(Self::CUT)?;
        let (data, rest) = self.0.split_at(padded);
        self.0 = rest;
        Ok(&data[..length])
    }

    /// When more connections are welcome. Older servers leave out the last of four numbers, the newest may leave out all.
    fn scale_up(&mut self) -> Option<ScaleUp> {
        let (connections, threshold) = (self.word().ok()?, self.word().ok()?);
        Some(ScaleUp::told(connections.cast_signed(), threshold.cast_signed()))
    }
}

fn answer(record: &[u8], xid: u32) -> Result<Bound, BindError> {
    const REPLY: u32 = 1;
    const ACCEPTED: u32 = 0;
    const SUCCESS: u32 = 0;
    let mut words = Words(record);
    if words.word()? != xid {
        return Err(BindError::Malformed("it is the answer to something else"));
    }
    if words.word()? != REPLY {
        return Err(BindError::Malformed("it is not an answer"));
    }
    if words.word()? != ACCEPTED {
        return Err(BindError::Unknown);
    }
    words.word()?;
    words.opaque()?;
    if words.word()? != SUCCESS {
        return Err(BindError::Unknown);
    }
    let place = match words.word()? {
        2 => {
            words.partition()?;
            Place::Elsewhere
        }
        3 => Place::Ready(words.partition()?),
        0 => {
            words.opaque()?;
            Place::Elsewhere
        }
        1 | 4 => {
            words.opaque()?;
            Place::Later
        }
        _ => Place::Later,
    };
    Ok(Bound { place, scale_up: words.scale_up() })
}

impl Words<'_> {
    fn partition(&mut self) -> Result<Partition, BindError> {
        let (name, rest) = self.0.split_first_chunk().ok_or(Self::CUT)?;
        self.0 = rest;
        Ok(Partition(*name))
    }
}
