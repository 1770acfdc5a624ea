//! Character encodings of text files: everything is turned into UTF-8 before records are cut.
//!
//! In: blocks of bytes as they come from a file or socket, cut anywhere. Out: the same text in UTF-8. UTF-8 input passes
//! through untouched (invalid bytes are replaced later, where strings are built); characters that the declared encoding
//! cannot hold become U+FFFD.

use crate::options::Options;
use crate::{Error, Result};

/// An encoding that readers understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, the default.
    Utf8,
    /// One byte a character, the first 256 of Unicode.
    Latin1,
    /// Seven bits; other bytes become U+FFFD.
    Ascii,
    /// Windows' Western European code page.
    Windows1252,
    /// Two or four bytes a character, byte order by the mark at the start, else big-endian.
    Utf16,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// Four bytes a character, byte order by the mark at the start, else big-endian.
    Utf32,
    /// UTF-32, low byte first.
    Utf32Le,
    /// UTF-32, high byte first.
    Utf32Be,
}

/// What the bytes 0x80..0x9F mean in Windows-1252.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}', '\u{fffd}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

impl Encoding {
    /// The encoding of this name, in any case.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE.CHARSET` for names that are not known.
    pub fn parse(name: &str) -> Result<Encoding> {
        Ok(match name.to_ascii_uppercase().replace('_', "-").as_str() {
            "UTF-8" | "UTF8" => Encoding::Utf8,
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" => Encoding::Latin1,
            "US-ASCII" | "ASCII" => Encoding::Ascii,
            "WINDOWS-1252" | "CP1252" => Encoding::Windows1252,
            "UTF-16" => Encoding::Utf16,
            "UTF-16LE" => Encoding::Utf16Le,
            "UTF-16BE" => Encoding::Utf16Be,
            "UTF-32" => Encoding::Utf32,
            "UTF-32LE" => Encoding::Utf32Le,
            "UTF-32BE" => Encoding::Utf32Be,
            _ => return Err(unknown(name)),
        })
    }

    /// The encoding that option `encoding` (or `charset`) names; UTF-8 if neither is set.
    pub fn of(options: &Options) -> Result<Encoding> {
        options.get("encoding").or(options.get("charset")).map_or(Ok(Encoding::Utf8), Encoding::parse)
    }
}

fn unknown(name: &str) -> Error {
    Error::query("INVALID_PARAMETER_VALUE.CHARSET", format!("encoding '{name}' is not known")).hint(
        "Use UTF-8, ISO-8859-1, US-ASCII, windows-1252, UTF-16, UTF-16LE, UTF-16BE, UTF-32, UTF-32LE or UTF-32BE.",
    )
}

/// Turns a byte stream into UTF-8, block by block.
#[derive(Debug)]
pub struct Transcoder {
    encoding: Encoding,
    /// Bytes of a character whose end has not come yet.
    rest: Vec<u8>,
}

impl Transcoder {
    /// A transcoder at the start of a stream.
    pub fn new(encoding: Encoding) -> Transcoder {
        Transcoder { encoding, rest: Vec::new() }
    }

    /// Whether the bytes are UTF-8 as they come.
    pub fn passes(&self) -> bool {
        self.encoding == Encoding::Utf8
    }

    /// Appends the text of `block` to `out` in UTF-8.
    pub fn push(&mut self, block: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Utf8 => out.extend_from_slice(block),
            Encoding::Latin1 => block.iter().for_each(|&byte| push_char(char::from(byte), out)),
            Encoding::Ascii => block.iter().for_each(|&byte| push_char(ascii(byte), out)),
            Encoding::Windows1252 => block.iter().for_each(|&byte| push_char(windows_1252(byte), out)),
            _ => self.push_wide(block, out),
        }
    }

    /// Ends the stream: half a character becomes U+FFFD.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            self.rest.clear();
            push_char(char::REPLACEMENT_CHARACTER, out);
        }
    }

    fn push_wide(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(block);
        self.detect_order(&bytes);
        let used = match self.encoding {
            Encoding::Utf16Le => push_utf16(&bytes, u16::from_le_bytes, out),
            Encoding::Utf16Be => push_utf16(&bytes, u16::from_be_bytes, out),
            Encoding::Utf32Le => push_utf32(&bytes, u32::from_le_bytes, out),
            Encoding::Utf32Be => push_utf32(&bytes, u32::from_be_bytes, out),
            _ => 0,
        };
        self.rest = bytes.split_off(used);
    }

    /// Settles the byte order once enough bytes are there.
    fn detect_order(&mut self, bytes: &[u8]) {
        self.encoding = match (self.encoding, bytes) {
            (Encoding::Utf16, [0xff, 0xfe, ..]) => Encoding::Utf16Le,
            (Encoding::Utf16, [_, _, ..]) => Encoding::Utf16Be,
            (Encoding::Utf32, [0xff, 0xfe, 0, 0, ..]) => Encoding::Utf32Le,
            (Encoding::Utf32, [_, _, _, _, ..]) => Encoding::Utf32Be,
            (settled, _) => settled,
        };
    }
}

fn push_char(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn ascii(byte: u8) -> char {
    if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER }
}

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// Returns how many bytes were used: all whole characters.
fn push_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut Vec<u8>) -> usize {
    let mut units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    // A leading half of a pair waits for the other half.
    if units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
        units.pop();
    }
    for character in char::decode_utf16(units.iter().copied()) {
        push_char(character.unwrap_or(char::REPLACEMENT_CHARACTER), out);
    }
    units.len() * 2
}

fn push_utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32, out: &mut Vec<u8>) -> usize {
    let whole = bytes.chunks_exact(4);
    let used = whole.len() * 4;
    for four in whole {
        let character = char::from_u32(unit([four[0], four[1], four[2], four[3]]));
        push_char(character.unwrap_or(char::REPLACEMENT_CHARACTER), out);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcoded(encoding: &str, blocks: &[&[u8]]) -> String {
        let mut transcoder = Transcoder::new(Encoding::parse(encoding).unwrap());
        let mut out = Vec::new();
        blocks.iter().for_each(|block| transcoder.push(block, &mut out));
        transcoder.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn d04_other_encodings_become_utf8() {
        assert_eq!(transcoded("iso-8859-1", &[b"\xfc\xe9"]), "üé");
        assert_eq!(transcoded("US-ASCII", &[b"a\xfc"]), "a\u{fffd}");
        assert_eq!(transcoded("cp1252", &[b"\x80"]), "€");
        assert_eq!(transcoded("UTF-16LE", &[b"a\0", b"\x3d", b"\xd8", b"\x00\xde"]), "a😀");
        assert_eq!(transcoded("UTF-16", &[b"\xff", b"\xfea", b"\0"]), "\u{feff}a");
        assert_eq!(transcoded("UTF-16", &[b"\0a\0"]), "a\u{fffd}");
        assert_eq!(transcoded("UTF-32BE", &[b"\0\x01\xf6", b"\0"]), "😀");
    }

    #[test]
    fn unknown_encodings_are_refused() {
        assert_eq!(Encoding::parse("klingon").unwrap_err().condition(), Some("INVALID_PARAMETER_VALUE.CHARSET"));
    }
}
