//! Bodies of requests to S3: read completely, objects into the room that buckets have.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use s3s::{S3Error, S3ErrorCode};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::chunks;
use crate::buckets::{Buckets, Room};
use crate::rest::PATIENCE;
use crate::rest::signature::{Pieces, UNSIGNED};

/// Largest body that is no object, in bytes: the names of a thousand keys.
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// Largest object that S3 takes at once, in bytes.
const LARGEST_OBJECT: u64 = 5 << 30;
/// Says how long the object is within a body in pieces.
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
pub(super) const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// A body.
pub(super) struct Sent {
    pub(super) bytes: Bytes,
    /// What an object's bytes take.
    pub(super) room: Option<Room>,
}

pub(super) fn text(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads the body and takes its pieces apart; what the trailers say is put among the headers. Whatever the answer is, the body is read
/// to its end: clients send all of it before they look at the answer. Pieces must have the signatures that are given, if any are.
pub(super) async fn read(
    parts: &mut Parts,
    body: Body,
    buckets: &Buckets,
    signatures: Option<Pieces>,
) -> Result<Sent, S3Error> {
    let length = text(&parts.headers, http::header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    // What is put may be an object or a part of one. A short document takes room, too, until it is read.
    let room = if parts.method == Method::PUT { room(parts, length, buckets).map(Some) } else { Ok(None) };
    let most = match (&room, length) {
        (Ok(Some(_)), Some(length)) => length,
        (Ok(None), _) => LARGEST_DOCUMENT,
        _ => 0,
    };
    if room.is_err() && parts.headers.contains_key(http::header::EXPECT) {
        // The client has asked whether to send it at all.
        return room.map(|room| Sent { bytes: Bytes::new(), room });
    }
    let kept = keep(body, most, length.unwrap_or(0)).await?;
    let mut room = room?;
    let Some(kept) = kept else {
        let words = format!("Your request was too big: its body may have {LARGEST_DOCUMENT} bytes.");
        return Err(S3Error::with_message(S3ErrorCode::MaxMessageLengthExceeded, words));
    };
    let hash = text(&parts.headers, CONTENT_SHA256).unwrap_or(UNSIGNED).to_owned();
    let bytes =
        if chunks::are_pieces(&hash) { take_apart(parts, kept, signatures)? } else { whole(kept, hash).await? };
    if let Some(room) = &mut room {
        room.shrink(bytes.len() as u64);
    }
    Ok(Sent { bytes, room })
}

/// Takes room for an object of the length that is announced.
fn room(parts: &Parts, length: Option<u64>, buckets: &Buckets) -> Result<Room, S3Error> {
    let Some(length) = length else {
        if parts.headers.contains_key(http::header::TRANSFER_ENCODING) {
            let words = "You must provide the Content-Length HTTP header.";
            return Err(S3Error::with_message(S3ErrorCode::MissingContentLength, words));
        }
        return Ok(buckets.room(0)?);
    };
    if length > LARGEST_OBJECT {
        let words = "Your proposed upload exceeds the maximum allowed size";
        return Err(S3Error::with_message(S3ErrorCode::EntityTooLarge, words));
    }
    Ok(buckets.room(length)?)
}

/// Reads a body; none if it is longer than that.
async fn keep(mut body: Body, most: u64, announced: u64) -> Result<Option<BytesMut>, S3Error> {
    // What is announced is known to fit, so that it is allocated once.
    let mut kept = BytesMut::with_capacity(usize::try_from(announced.min(most)).unwrap_or_default());
    let mut length = 0u64;
    loop {
        let frame = timeout(PATIENCE, body.frame()).await.map_err(|_| {
            let words =
                "Your socket connection to the server was not read from or written to within the timeout period.";
            S3Error::with_message(S3ErrorCode::RequestTimeout, words)
        })?;
        let Some(frame) = frame else { break };
        let cut_off =
            |_| S3Error::with_message(S3ErrorCode::IncompleteBody, "The request body terminated unexpectedly");
        let Ok(data) = frame.map_err(cut_off)?.into_data() else { continue };
        length = length.saturating_add(data.len() as u64);
        if length <= most {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
    }
    Ok((length <= most).then_some(kept))
}

/// Takes pieces apart, and turns the head into that of a whole body.
fn take_apart(parts: &mut Parts, body: BytesMut, signatures: Option<Pieces>) -> Result<Bytes, S3Error> {
    let whole = chunks::join(body, signatures)?;
    let announced = text(&parts.headers, DECODED_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_none_or(|announced| announced != whole.bytes.len()) {
        let words = "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header";
        return Err(S3Error::with_message(S3ErrorCode::IncompleteBody, words));
    }
    for (name, value) in whole.trailers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(&value)) {
            parts.headers.insert(name, value);
        }
    }
    let codings = text(&parts.headers, http::header::CONTENT_ENCODING).unwrap_or_default();
    let others: Vec<_> = codings.split(',').map(str::trim).filter(|c| !c.is_empty() && *c != "aws-chunked").collect();
    match HeaderValue::from_str(&others.join(",")) {
        Ok(others) if !others.is_empty() => parts.headers.insert(http::header::CONTENT_ENCODING, others),
        _ => parts.headers.remove(http::header::CONTENT_ENCODING),
    };
    parts.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(whole.bytes.len()));
    Ok(whole.bytes)
}

/// Compares a body with the hash that its head states.
async fn whole(body: BytesMut, hash: String) -> Result<Bytes, S3Error> {
    let body = body.freeze();
    if hash == UNSIGNED {
        return Ok(body);
    }
    let hashed = body.clone();
    let found = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&hashed))).await;
    if found.is_ok_and(|found| found == hash) {
        return Ok(body);
    }
    let words = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    Err(super::errors::named(400, "XAmzContentSHA256Mismatch", words.to_owned()))
}
