//! Replies in words that do not depend on the server: no handles, state ids, cookies, change counters and verifiers.

use std::fmt::Write as _;

use anyhow::{Context as _, bail, ensure};
use fake_efs::nfs::Status;
use fake_efs::nfs::xdr::Decoder;

use crate::client::OK;

/// One operation's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) operation: u32,
    pub(crate) status: u32,
    /// Its values, as far as they are the same on every server.
    pub(crate) shown: String,
    /// What may be used in later requests.
    pub(crate) learnt: Option<Learnt>,
}

impl Answer {
    /// Whether it is an OPEN that has to be confirmed.
    pub(crate) fn confirms(&self) -> bool {
        self.shown.contains("confirm true")
    }
}

/// What a client keeps of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    Handle(Vec<u8>),
    State([u8; 16]),
}

/// A whole reply: its status and its results, or how RPC refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Compound {
        status: u32,
        answers: Vec<Answer>,
    },
    Refused(String),
    /// Not what the protocol says.
    Garbled(String),
    Closed,
    Silence,
}

/// A status in words.
pub(crate) fn named(status: u32) -> String {
    match Status::from_number(status) {
        _ if status == OK => "OK".to_owned(),
        Some(known) => format!("{known:?}"),
        None => status.to_string(),
    }
}

/// Takes a reply behind its transaction id apart.
pub(crate) fn read(reply: &[u8]) -> anyhow::Result<Reply> {
    let mut decoder = Decoder::new(reply);
    let head: Vec<u32> = (0..2).map(|_| decoder.u32()).collect::<Result<_, _>>()?;
    ensure!(head[0] == 1, "not a reply");
    if head[1] != 0 {
        return Ok(Reply::Refused(format!("denied {:?}", decoder.rest())));
    }
    decoder.u32()?;
    decoder.opaque(400)?;
    let accepted = decoder.u32()?;
    if accepted != 0 {
        return Ok(Reply::Refused(format!("accept status {accepted}")));
    }
    let status = decoder.u32()?;
    decoder.opaque(1024)?;
    let count = decoder.u32()?;
    let answers: Vec<Answer> = (0..count)
        .map(|index| answer(&mut decoder).with_context(|| format!("result {index} of {count}, status {status}")))
        .collect::<anyhow::Result<_>>()?;
    ensure!(decoder.rest().is_empty(), "{} bytes behind the last result", decoder.rest().len());
    ensure!(answers.last().is_none_or(|last| last.status == status), "the status is not the last result's");
    Ok(Reply::Compound { status, answers })
}

fn answer(decoder: &mut Decoder<'_>) -> anyhow::Result<Answer> {
    let (operation, status) = (decoder.u32()?, decoder.u32()?);
    let (mut shown, mut learnt) = (String::new(), None);
    match (operation, status) {
        (34, _) => shown = format!("set {:?}", bits(decoder)?),
        (12 | 13, status) if status == Status::Denied as u32 => {
            let (offset, length, kind) = (decoder.u64()?, decoder.u64()?, decoder.u32()?);
            decoder.u64()?;
            let owner = String::from_utf8_lossy(decoder.opaque(1024)?).into_owned();
            shown = format!("held {offset}+{length} as {kind} by {owner}");
        }
        (_, status) if status != OK => {}
        // What is closed has no state id any more, and what stands in its place means nothing.
        (4, _) => learnt = Some(state(decoder, &mut String::new())?),
        (12 | 14 | 20 | 21, _) => learnt = Some(state(decoder, &mut shown)?),
        (3, _) => shown = format!("supported {:#x}, granted {:#x}", decoder.u32()?, decoder.u32()?),
        (5, _) => drop(decoder.u64()?),
        (6, _) => {
            change(decoder)?;
            shown = format!("set {:?}", bits(decoder)?);
        }
        (9, _) => shown = attributes(decoder)?,
        (10, _) => learnt = Some(Learnt::Handle(decoder.opaque(128)?.to_vec())),
        (11 | 28, _) => change(decoder)?,
        (29, _) => {
            change(decoder)?;
            change(decoder)?;
        }
        (18, _) => {
            learnt = Some(state(decoder, &mut shown)?);
            change(decoder)?;
            // Bit 4 says that locks are those of POSIX, bit 8 that an unlinked file is preserved, bit 32 that a delegation may come.
            let (flags, set, delegation) = (decoder.u32()?, bits(decoder)?, decoder.u32()?);
            let _ = write!(shown, ", confirm {}, set {set:?}", flags & 2 != 0);
            match delegation {
                0 => {}
                3 => match decoder.u32()? {
                    1 | 2 => drop(decoder.u32()?),
                    _ => {}
                },
                other => bail!("delegation of type {other}"),
            }
        }
        (25, _) => {
            let end = decoder.u32()?;
            let data = decoder.opaque(1 << 20)?;
            shown =
                format!("end {end}, {} bytes {:?}", data.len(), String::from_utf8_lossy(&data[..data.len().min(40)]));
        }
        (26, _) => shown = entries(decoder)?,
        (27, _) => shown = String::from_utf8_lossy(decoder.opaque(8192)?).into_owned(),
        (33, _) => shown = format!("{} flavours", decoder.words(16)?.len()),
        (38, _) => {
            shown = format!("{} bytes", decoder.u32()?);
            decoder.u32()?;
            decoder.u64()?;
        }
        (53, _) => {
            decoder.fixed(16)?;
            let (number, slot) = (decoder.u32()?, decoder.u32()?);
            shown = format!("number {number} of slot {slot}");
            decoder.fixed(12)?;
        }
        (55, _) => {
            let statuses = decoder.words(16)?;
            shown = statuses.into_iter().map(named).collect::<Vec<_>>().join(" ");
        }
        // No results of their own.
        (13 | 15 | 16 | 17 | 22 | 24 | 30 | 31 | 32 | 37 | 39 | 45 | 58, _) => {}
        other => bail!("operation {} has results that are not known here", other.0),
    }
    Ok(Answer { operation, status, shown, learnt })
}

/// A state id; how often it has changed is the same everywhere.
fn state(decoder: &mut Decoder<'_>, shown: &mut String) -> anyhow::Result<Learnt> {
    let state: [u8; 16] = decoder.array()?;
    let _ = write!(shown, "version {}", u32::from_be_bytes([state[0], state[1], state[2], state[3]]));
    Ok(Learnt::State(state))
}

fn change(decoder: &mut Decoder<'_>) -> anyhow::Result<()> {
    decoder.u32()?;
    decoder.u64()?;
    decoder.u64()?;
    Ok(())
}

fn bits(decoder: &mut Decoder<'_>) -> anyhow::Result<Vec<u32>> {
    let words = decoder.words(8)?;
    Ok((0..32 * words.len() as u32).filter(|bit| words[(bit / 32) as usize] & 1 << (bit % 32) != 0).collect())
}

/// Of the attributes that requests ask for. How large a directory is, and how often it is linked, is the file system's matter.
fn attributes(decoder: &mut Decoder<'_>) -> anyhow::Result<String> {
    let (which, values) = (bits(decoder)?, decoder.opaque(4096)?);
    let mut values = Decoder::new(values);
    let (mut shown, mut directory) = (String::new(), false);
    for bit in which {
        let (name, value) = match bit {
            1 => {
                let kind = values.u32()?;
                directory = kind == 2;
                ("type", kind.to_string())
            }
            4 => ("size", values.u64()?.to_string()),
            33 => ("mode", format!("{:o}", values.u32()?)),
            35 => ("links", values.u32()?.to_string()),
            36 => ("owner", String::from_utf8_lossy(values.opaque(64)?).into_owned()),
            37 => ("group", String::from_utf8_lossy(values.opaque(64)?).into_owned()),
            other => bail!("attribute {other} was not asked for"),
        };
        if !(directory && matches!(bit, 4 | 35)) {
            let _ = write!(shown, "{name} {value} ");
        }
    }
    Ok(shown)
}

/// The names, in an order of their own.
fn entries(decoder: &mut Decoder<'_>) -> anyhow::Result<String> {
    decoder.u64()?;
    let mut names = Vec::new();
    while decoder.u32()? == 1 {
        decoder.u64()?;
        let name = String::from_utf8_lossy(decoder.opaque(255)?).into_owned();
        names.push(format!("{name}: {}", attributes(decoder)?));
    }
    names.sort();
    Ok(format!("{names:?} end {}", decoder.u32()?))
}
