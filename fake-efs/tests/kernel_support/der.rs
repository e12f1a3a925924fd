//! The few kinds of DER values that EFS's extensions are made of.

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=127 => vec![short as u8],
        long @ 128..=255 => vec![0x81, long as u8],
        longer => [&[0x82][..], &u16::try_from(longer).expect("not that long").to_be_bytes()].concat(),
    };
    [&[tag], &length[..], content].concat()
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    value(0x0C, text.as_bytes())
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    value(0x04, bytes)
}

/// `YYMMDDHHMMSSZ`
pub(crate) fn utc_time(text: &str) -> Vec<u8> {
    value(0x17, text.as_bytes())
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

/// An explicit tag of the context.
pub(crate) fn tagged(number: u8, inner: &[u8]) -> Vec<u8> {
    value(0xA0 | number, inner)
}
