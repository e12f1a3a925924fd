//! `aws-chunked`: bodies whose pieces have heads of their own, with a checksum behind the last.

use bytes::{Bytes, BytesMut};
use s3s::{S3Error, S3ErrorCode};

use crate::rest::signature::{Pieces, SignatureError};

/// Signs what follows the last piece.
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";
/// Longest head of a piece, or trailer: its size, or a checksum, and a signature.
const LONGEST_LINE: usize = 4096;
/// Most trailers. SDKs send one, and its signature.
const MOST_TRAILERS: usize = 16;

/// A body put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    /// What follows the last piece: headers.
    pub(super) trailers: Vec<(String, String)>,
}

/// Whether a body with this hash is in pieces.
pub(super) fn are_pieces(content_sha256: &str) -> bool {
    content_sha256.starts_with("STREAMING-")
}

/// Whether each piece has a signature of its own.
pub(super) fn are_signed(content_sha256: &str) -> bool {
    content_sha256.starts_with("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
}

/// Puts the pieces together, in the place where they are, and checks their signatures where that is asked for.
pub(super) fn join(mut body: BytesMut, mut signatures: Option<Pieces>) -> Result<Whole, S3Error> {
    let (mut read, mut written) = (0, 0);
    loop {
        let (head, next) = line(&body, read)?;
        let (size, extension) = head.split_once(';').unwrap_or((head, ""));
        let signature = extension.trim().strip_prefix("chunk-signature=").unwrap_or_default().to_owned();
        let size = usize::from_str_radix(size.trim(), 16);
        let size = size.map_err(|_| malformed("a piece's size is no hexadecimal number"))?;
        if size == 0 {
            check(signatures.as_mut(), b"", &signature)?;
            let mut trailers = trailers(&body, next)?;
            check_trailers(signatures.as_mut(), &mut trailers)?;
            body.truncate(written);
            return Ok(Whole { bytes: body.freeze(), trailers });
        }
        let end = next.checked_add(size).filter(|end| *end <= body.len());
        let end = end.ok_or_else(|| malformed("a piece is shorter than its size"))?;
        check(signatures.as_mut(), &body[next..end], &signature)?;
        body.copy_within(next..end, written);
        written += size;
        if body.get(end..end + 2) != Some(b"\r\n".as_slice()) {
            return Err(malformed("a piece is longer than its size"));
        }
        read = end + 2;
    }
}

fn check(signatures: Option<&mut Pieces>, piece: &[u8], signature: &str) -> Result<(), S3Error> {
    if signatures.is_none_or(|signatures| signatures.verify(piece, signature)) { Ok(()) } else { Err(mismatch()) }
}

/// Checks the signature of the trailers, and takes it away from them. Without trailers there is none.
fn check_trailers(signatures: Option<&mut Pieces>, trailers: &mut Vec<(String, String)>) -> Result<(), S3Error> {
    let at = trailers.iter().position(|(name, _)| name == TRAILER_SIGNATURE);
    let signature = at.map(|at| trailers.remove(at).1).unwrap_or_default();
    let text: String = trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let Some(signatures) = signatures.filter(|_| !trailers.is_empty()) else { return Ok(()) };
    if signatures.verify_trailer(&text, &signature) { Ok(()) } else { Err(mismatch()) }
}

fn mismatch() -> S3Error {
    super::errors::of_signature(&SignatureError::Mismatch)
}

/// The line that begins there, and where the next one begins.
fn line(body: &[u8], begin: usize) -> Result<(&str, usize), S3Error> {
    let rest = &body[begin..];
    let rest = &rest[..rest.len().min(LONGEST_LINE)];
    let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or_else(|| malformed("a line has no end"))?;
    let text = std::str::from_utf8(&rest[..end]).map_err(|_| malformed("a line is not UTF-8"))?;
    Ok((text, begin + end + 2))
}

fn trailers(body: &[u8], mut begin: usize) -> Result<Vec<(String, String)>, S3Error> {
    let mut trailers = Vec::new();
    while begin < body.len() {
        let (text, next) = line(body, begin)?;
        begin = next;
        if text.is_empty() {
            continue;
        }
        let (name, value) = text.split_once(':').ok_or_else(|| malformed("a trailer has no colon"))?;
        if trailers.len() == MOST_TRAILERS {
            return Err(malformed("there are too many trailers"));
        }
        trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(trailers)
}

fn malformed(why: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::IncompleteBody, format!("The body is not aws-chunked: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(body: &str) -> Result<Whole, String> {
        join(BytesMut::from(body), None).map_err(|error| error.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn pieces_are_joined_and_trailers_read() {
        let whole =
            joined("5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n").unwrap();
        assert_eq!(whole.bytes, "hello!");
        assert_eq!(whole.trailers, [("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned())]);
        assert_eq!(joined("0\r\n\r\n").unwrap(), Whole { bytes: Bytes::new(), trailers: vec![] });
        assert_eq!(joined("0\r\n").unwrap().bytes, "");
    }

    #[test]
    fn what_is_not_in_pieces_is_refused() {
        for (body, why) in [
            ("", "no end"),
            ("hello", "no end"),
            ("zz\r\nhello\r\n", "hexadecimal"),
            ("5\r\nhel", "shorter"),
            ("3\r\nhello\r\n0\r\n", "longer"),
            ("5\r\nhello", "longer"),
            ("5\r\nhello\r\n", "no end"),
            ("ffffffffffffffff\r\nhello\r\n", "shorter"),
            ("0\r\nnonsense\r\n", "colon"),
        ] {
            let error = joined(body).unwrap_err();
            assert!(error.contains(why), "{body:?}: {error}");
        }
        let many = format!("0\r\n{}", "a:b\r\n".repeat(17));
        assert!(joined(&many).unwrap_err().contains("too many"));
    }
}
