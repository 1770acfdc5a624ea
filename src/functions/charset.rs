//! The character sets of `encode` and `decode`: US-ASCII, ISO-8859-1, UTF-8, UTF-16, UTF-16BE, UTF-16LE, UTF-32.
//!
//! In: a text or bytes. Out: written to the column. What cannot be written or read is an error, as in Spark 4.

use arrow::array::{BinaryBuilder, StringBuilder};

use super::rows::{put, put_bytes, put_char};
use crate::{Error, Result};

/// A character set and the function that asked for it (named in errors).
#[derive(Debug, Clone)]
pub struct Charset {
    kind: Kind,
    name: String,
    function: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ascii,
    Latin1,
    Utf8,
    /// Two bytes a unit; the flag says whether a byte order mark is written and read.
    Utf16 {
        big: bool,
        mark: bool,
    },
    Utf32,
}

impl Charset {
    /// The character set of this name, in any case.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE.CHARSET`.
    pub fn named(name: &str, function: &'static str) -> Result<Self> {
        let kind = match name.to_ascii_uppercase().as_str() {
            "US-ASCII" => Kind::Ascii,
            "ISO-8859-1" => Kind::Latin1,
            "UTF-8" => Kind::Utf8,
            "UTF-16" => Kind::Utf16 { big: true, mark: true },
            "UTF-16BE" => Kind::Utf16 { big: true, mark: false },
            "UTF-16LE" => Kind::Utf16 { big: false, mark: false },
            "UTF-32" => Kind::Utf32,
            _ => {
                let message = format!(
                    "function '{function}' expects one of the character sets 'iso-8859-1', 'us-ascii', 'utf-16', 'utf-16be', 'utf-16le', 'utf-32', 'utf-8' but got '{name}'"
                );
                return Err(Error::data("INVALID_PARAMETER_VALUE.CHARSET", message));
            }
        };
        Ok(Charset { kind, name: name.to_string(), function })
    }

    fn malformed(&self) -> Error {
        let message = format!("function '{}' found a character that '{}' cannot hold", self.function, self.name);
        Error::data("MALFORMED_CHARACTER_CODING", message)
    }

    /// Writes the bytes of `text`.
    pub fn encode(&self, text: &str, out: &mut BinaryBuilder) -> Result<()> {
        match self.kind {
            Kind::Utf8 => put_bytes(out, text.as_bytes()),
            Kind::Ascii => self.encode_narrow(text, 0x7f, out)?,
            Kind::Latin1 => self.encode_narrow(text, 0xff, out)?,
            Kind::Utf16 { big, mark } => encode_utf16(text, big, mark, out),
            Kind::Utf32 => text.chars().for_each(|character| put_bytes(out, &u32::from(character).to_be_bytes())),
        }
        Ok(())
    }

    fn encode_narrow(&self, text: &str, highest: u32, out: &mut BinaryBuilder) -> Result<()> {
        for character in text.chars() {
            let code = u32::from(character);
            if code > highest {
                return Err(self.malformed());
            }
            put_bytes(out, &[code as u8]);
        }
        Ok(())
    }

    /// Writes the text of `bytes`.
    pub fn decode(&self, bytes: &[u8], out: &mut StringBuilder) -> Result<()> {
        match self.kind {
            Kind::Utf8 => put(out, std::str::from_utf8(bytes).map_err(|_| self.malformed())?),
            Kind::Ascii if !bytes.is_ascii() => return Err(self.malformed()),
            Kind::Ascii | Kind::Latin1 => bytes.iter().for_each(|byte| put_char(out, char::from(*byte))),
            Kind::Utf16 { big, mark } => self.decode_utf16(bytes, big, mark, out)?,
            Kind::Utf32 => self.decode_utf32(bytes, out)?,
        }
        Ok(())
    }

    fn decode_utf16(&self, bytes: &[u8], big: bool, mark: bool, out: &mut StringBuilder) -> Result<()> {
        let (bytes, big) = match bytes {
            [0xfe, 0xff, rest @ ..] if mark => (rest, true),
            [0xff, 0xfe, rest @ ..] if mark => (rest, false),
            _ => (bytes, big),
        };
        if bytes.len() % 2 == 1 {
            return Err(self.malformed());
        }
        let pairs = bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let units = pairs.map(|pair| if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) });
        for character in char::decode_utf16(units) {
            put_char(out, character.map_err(|_| self.malformed())?);
        }
        Ok(())
    }

    fn decode_utf32(&self, bytes: &[u8], out: &mut StringBuilder) -> Result<()> {
        if !bytes.len().is_multiple_of(4) {
            return Err(self.malformed());
        }
        for word in bytes.chunks_exact(4) {
            let code = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
            put_char(out, char::from_u32(code).ok_or_else(|| self.malformed())?);
        }
        Ok(())
    }
}

fn encode_utf16(text: &str, big: bool, mark: bool, out: &mut BinaryBuilder) {
    if mark && !text.is_empty() {
        put_bytes(out, &[0xfe, 0xff]);
    }
    for unit in text.encode_utf16() {
        put_bytes(out, &if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
    }
}
