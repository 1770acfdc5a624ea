//! A single-pass scanner of JSON text: finds where values start and end, checks the grammar, builds nothing.
//!
//! In: the bytes of one record. Out: [`Token`]s, i.e. kind and place of a value; the content of an object or array is
//! checked completely before its token is given out, so whoever holds a token can walk into it without meeting a syntax
//! error. Nothing allocates. Nesting is bounded by [`MAX_DEPTH`].

use crate::types::number_text::eight_digits;

/// Deepest nesting of a record; deeper ones are malformed.
pub(crate) const MAX_DEPTH: usize = 128;

/// Which departures from strict JSON are let through (Spark's reader options).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) comments: bool,
    pub(crate) unquoted_names: bool,
    pub(crate) single_quotes: bool,
    pub(crate) leading_zeros: bool,
    pub(crate) non_numeric: bool,
    pub(crate) any_escape: bool,
    pub(crate) control_characters: bool,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No value at all.
    Absent,
    Null,
    True,
    False,
    /// Digits with an optional minus.
    Integer,
    /// A number with a point or an exponent.
    Float,
    /// `NaN`, `Infinity`, `-Infinity`, `+INF`, ...
    NonNumeric,
    /// A string without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    Object,
    Array,
}

/// A value's kind and place: of a string without its quotes, of others with everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The value of an integer of up to 18 digits: it is found while the digits are counted.
    pub(crate) number: Option<i64>,
}

impl Token {
    /// The absent value.
    pub(crate) const ABSENT: Token = Token { kind: Kind::Absent, start: 0, end: 0, number: None };

    /// The token's bytes within the record it came from.
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// True for strings.
    pub(crate) fn is_string(&self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Escaped)
    }
}

/// Why a record is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) type Scan<T> = Result<T, Malformed>;

/// Reads values one after the other.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    syntax: Syntax,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of a record.
    pub(crate) fn new(bytes: &'a [u8], syntax: Syntax) -> Scanner<'a> {
        Scanner { bytes, at: 0, syntax }
    }

    /// A scanner at the start of a value that was found before.
    pub(crate) fn within(bytes: &'a [u8], token: Token, syntax: Syntax) -> Scanner<'a> {
        Scanner { bytes, at: token.start, syntax }
    }

    /// The record's value; `None` if it is blank. What stands behind it is not looked at, as in Spark.
    pub(crate) fn root(&mut self) -> Scan<Option<Token>> {
        self.blanks()?;
        if self.at == self.bytes.len() { Ok(None) } else { self.value(0).map(Some) }
    }

    /// Goes to the record's value; true if that is an object.
    pub(crate) fn at_object(&mut self) -> Scan<bool> {
        self.blanks()?;
        Ok(self.peek() == Some(b'{'))
    }

    /// Calls `visit(name, value)` for each member of the object that starts here.
    pub(crate) fn members(&mut self, depth: usize, mut visit: impl FnMut(Token, Token)) -> Scan<()> {
        let mut goes_on = self.enter_object()?;
        while goes_on {
            let name = self.member_name()?;
            self.blanks()?;
            let value = self.value(depth + 1)?;
            visit(name, value);
            goes_on = self.next_member()?;
        }
        Ok(())
    }

    /// Goes into the object that starts here; true if it has a member.
    #[inline]
    pub(super) fn enter_object(&mut self) -> Scan<bool> {
        self.at += 1;
        self.blanks()?;
        Ok(!self.take(b'}'))
    }

    /// Reads a name and its colon.
    #[inline]
    pub(super) fn member_name(&mut self) -> Scan<Token> {
        let name = self.name()?;
        self.blanks()?;
        if self.take(b':') { Ok(name) } else { Err(Malformed("a name without a colon")) }
    }

    /// Goes on behind a member's value; false if the object ends.
    #[inline]
    pub(super) fn next_member(&mut self) -> Scan<bool> {
        self.blanks()?;
        if self.take(b',') {
            self.blanks()?;
            return Ok(true);
        }
        if self.take(b'}') { Ok(false) } else { Err(Malformed("an object that does not go on or end")) }
    }

    /// Goes on if the next bytes are these; says whether they were.
    #[inline]
    pub(super) fn take_text(&mut self, text: &Expectation) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| text.begins(rest));
        self.at += if found { text.length } else { 0 };
        found
    }

    /// The bytes from a place to the next byte.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Calls `visit` for each element of the array that starts here, until it returns false.
    pub(crate) fn elements(&mut self, depth: usize, mut visit: impl FnMut(Token) -> bool) -> Scan<()> {
        self.at += 1;
        self.blanks()?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            let value = self.value(depth + 1)?;
            if !visit(value) {
                return Ok(());
            }
            self.blanks()?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Malformed("an array that does not go on or end"));
            }
            self.blanks()?;
        }
    }

    /// The next byte.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes on if the next byte is this one; says whether it was.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Where the next byte stands.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Leaves out bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at = self.bytes.len().min(self.at + bytes);
    }

    /// Leaves out a byte and what is left of the word it begins.
    pub(super) fn skip_word(&mut self) {
        self.skip(1);
        while self.peek().is_some_and(|byte| byte == b'_' || byte == b'$' || byte.is_ascii_alphanumeric()) {
            self.at += 1;
        }
    }

    /// True for the bytes that begin and end a string.
    pub(super) fn is_quote(&self, byte: u8) -> bool {
        byte == b'"' || byte == b'\'' && self.syntax.single_quotes
    }

    /// The value that starts here, checked to its end.
    pub(super) fn value(&mut self, depth: usize) -> Scan<Token> {
        if depth > MAX_DEPTH {
            return Err(Malformed("nesting deeper than 128 levels"));
        }
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string(b'"'),
            Some(b'{') => self.members(depth, |_, _| {}).map(|()| self.token(Kind::Object, start)),
            Some(b'[') => self.elements(depth, |_| true).map(|()| self.token(Kind::Array, start)),
            Some(b'0'..=b'9') => self.number(start),
            Some(b'-') => self.negative(start),
            Some(b't') => self.word(b"true", Kind::True),
            Some(b'f') => self.word(b"false", Kind::False),
            Some(b'n') => self.word(b"null", Kind::Null),
            Some(b'\'') if self.syntax.single_quotes => self.string(b'\''),
            Some(_) => self.odd_value(),
            None => Err(Malformed("the end instead of a value")),
        }
    }

    fn token(&self, kind: Kind, start: usize) -> Token {
        Token { kind, start, end: self.at, number: None }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Scan<Token> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let ends = rest.get(word.len()).is_none_or(|next| !is_name_byte(*next));
        if !rest.starts_with(word) || !ends {
            return Err(Malformed("an unknown word"));
        }
        self.at += word.len();
        Ok(self.token(kind, start))
    }

    fn negative(&mut self, start: usize) -> Scan<Token> {
        self.at += 1;
        match self.peek() {
            Some(b'0'..=b'9') => self.number(start),
            Some(b'I') if self.syntax.non_numeric => self.infinity(start),
            _ => Err(Malformed("a minus without a number")),
        }
    }

    fn odd_value(&mut self) -> Scan<Token> {
        let start = self.at;
        if !self.syntax.non_numeric {
            return Err(Malformed("an unknown word"));
        }
        if self.take(b'+') || self.peek() == Some(b'I') {
            return self.infinity(start);
        }
        self.word(b"NaN", Kind::NonNumeric)
    }

    fn infinity(&mut self, start: usize) -> Scan<Token> {
        let found = self.word(b"Infinity", Kind::NonNumeric).or_else(|_| self.word(b"INF", Kind::NonNumeric))?;
        Ok(Token { start, ..found })
    }

    fn number(&mut self, start: usize) -> Scan<Token> {
        let first = self.at;
        let digits = self.digits();
        if self.bytes[first] == b'0' && digits.count > 1 && !self.syntax.leading_zeros {
            return Err(Malformed("a number with leading zeros"));
        }
        let mut kind = Kind::Integer;
        if self.take(b'.') {
            kind = Kind::Float;
            self.some_digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            kind = Kind::Float;
            let _sign = self.take(b'+') || self.take(b'-');
            self.some_digits()?;
        }
        let number = if kind == Kind::Integer { digits.value(start < first) } else { None };
        Ok(Token { number, ..self.token(kind, start) })
    }

    #[inline]
    fn digits(&mut self) -> Digits {
        let digits = Digits::of(self.bytes.get(self.at..).unwrap_or_default());
        self.at += digits.count;
        digits
    }

    fn some_digits(&mut self) -> Scan<()> {
        if self.digits().count > 0 { Ok(()) } else { Err(Malformed("a number that breaks off")) }
    }

    /// The name of a member that starts here.
    #[inline]
    pub(super) fn name(&mut self) -> Scan<Token> {
        match self.peek() {
            Some(b'"') => self.string(b'"'),
            Some(b'\'') if self.syntax.single_quotes => self.string(b'\''),
            Some(byte) if self.syntax.unquoted_names && is_name_byte(byte) => Ok(self.bare_name()),
            _ => Err(Malformed("something else where a name is due")),
        }
    }

    fn bare_name(&mut self) -> Token {
        let start = self.at;
        while self.peek().is_some_and(is_name_byte) {
            self.at += 1;
        }
        self.token(Kind::Plain, start)
    }

    /// A string from its opening to its closing quote; all escapes in it are checked.
    pub(super) fn string(&mut self, quote: u8) -> Scan<Token> {
        let start = self.at + 1;
        let mut kind = Kind::Plain;
        self.at = start;
        loop {
            self.at += plain_run(self.bytes.get(self.at..).unwrap_or_default(), quote);
            match self.peek() {
                Some(byte) if byte == quote => break,
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                Some(_) if self.syntax.control_characters => self.at += 1,
                Some(_) => return Err(Malformed("a control character in a string")),
                None => return Err(Malformed("a string that does not end")),
            }
        }
        self.at += 1;
        Ok(Token { kind, start, end: self.at - 1, number: None })
    }

    fn escape(&mut self) -> Scan<()> {
        match self.bytes.get(self.at + 1) {
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Malformed("a broken \\u escape"));
                }
                self.at += 6;
            }
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'\'') if self.syntax.single_quotes => self.at += 2,
            Some(_) if self.syntax.any_escape => self.at += 2,
            _ => return Err(Malformed("an unknown escape")),
        }
        Ok(())
    }

    /// Leaves out white space and, where they are allowed, comments. Mostly there is none.
    #[inline]
    pub(super) fn blanks(&mut self) -> Scan<()> {
        match self.peek() {
            Some(byte) if byte > b' ' && byte != b'/' => Ok(()),
            _ => self.some_blanks(),
        }
    }

    fn some_blanks(&mut self) -> Scan<()> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') if self.syntax.comments => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Scan<()> {
        let rest = self.bytes.get(self.at + 2..).unwrap_or_default();
        let length = match self.bytes.get(self.at + 1) {
            Some(b'/') => Some(memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())),
            Some(b'*') => memchr::memmem::find(rest, b"*/").map(|end| end + 2),
            _ => None,
        };
        self.at += 2 + length.ok_or(Malformed("a broken comment"))?;
        Ok(())
    }
}

/// A text that is looked for often: its first eight bytes as a number, and all of it.
#[derive(Debug)]
pub(super) struct Expectation {
    head: u64,
    /// Ones where the text has bytes.
    mask: u64,
    length: usize,
    text: Box<[u8]>,
}

impl Expectation {
    pub(super) fn new(text: &[u8]) -> Expectation {
        let mut head = [0; 8];
        head.iter_mut().zip(text).for_each(|(byte, known)| *byte = *known);
        let mask = if text.len() < 8 { (1 << (8 * text.len())) - 1 } else { u64::MAX };
        Expectation { head: u64::from_le_bytes(head), mask, length: text.len(), text: text.into() }
    }

    /// Whether the bytes begin with the text: short ones are compared in one step.
    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk::<8>() {
            Some(first) if (u64::from_le_bytes(*first) ^ self.head) & self.mask != 0 => false,
            Some(_) if self.length <= 8 => true,
            _ => bytes.starts_with(&self.text),
        }
    }
}

/// A one in each byte, and the highest bit of each.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'_' | b'$' | b'@' | b'#' | b'*' | b'-' | b'+')
}

/// The digits that bytes begin with.
#[derive(Debug, Clone, Copy)]
struct Digits {
    count: usize,
    /// Their value, beyond 18 digits of no meaning.
    value: u64,
}

impl Digits {
    /// Most digits whose value always fits 64 bits with a sign.
    const MOST: usize = 18;

    /// Eight bytes are looked at in one step.
    #[inline]
    fn of(bytes: &[u8]) -> Digits {
        let mut digits = Digits { count: 0, value: 0 };
        let mut rest = bytes;
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            rest = behind;
            // Digits become 0 to 9: with 0x76 added they alone have no high bit. What a byte carries into the next stands behind it.
            let numbers = word ^ (ONES * u64::from(b'0'));
            let others = (numbers.wrapping_add(ONES * 0x76) | numbers) & HIGH;
            if others != 0 {
                return digits.then(word, others.trailing_zeros() as usize / 8);
            }
            digits = digits.then(word, 8);
        }
        let few = rest.iter().take_while(|byte| byte.is_ascii_digit());
        few.fold(digits, |digits, byte| Digits {
            count: digits.count + 1,
            value: digits.value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
        })
    }

    /// With the first `count` bytes of a word, which are digits.
    #[inline]
    fn then(self, word: u64, count: usize) -> Digits {
        const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
        if count == 0 {
            return self;
        }
        // The digits move to the end of the word, zeros before them.
        let zeros = (ONES * u64::from(b'0')).checked_shr(8 * count as u32).unwrap_or(0);
        let (value, _) = eight_digits(word << (64 - 8 * count) | zeros);
        Digits {
            count: self.count + count,
            value: self.value.wrapping_mul(POWERS[count]).wrapping_add(value.unsigned_abs()),
        }
    }

    /// The value, unless it may be too large.
    fn value(self, negative: bool) -> Option<i64> {
        let value = i64::try_from(self.value).ok().filter(|_| self.count <= Digits::MOST)?;
        Some(if negative { -value } else { value })
    }
}

/// How many bytes stand before the first quote, backslash or control character; eight bytes are looked at in one step.
fn plain_run(bytes: &[u8], quote: u8) -> usize {
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quotes = zero_byte(word ^ (ONES * u64::from(quote)));
        let found = (control | quotes | zero_byte(word ^ (ONES * u64::from(b'\\')))) & HIGH;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let tail = words.len() * 8;
    let is_special = |byte: &u8| *byte == quote || *byte == b'\\' || *byte < 0x20;
    tail + bytes[tail..].iter().position(is_special).unwrap_or(bytes.len() - tail)
}

/// Appends the text of a string with escapes; `text` was checked by the scanner. Half a surrogate pair becomes `?`.
pub(crate) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = unescape_one(&rest[at + 1..], out);
    }
    out.extend_from_slice(rest);
}

/// Appends the character behind a backslash; returns what follows it.
fn unescape_one<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((&byte, behind)) = rest.split_first() else { return rest };
    match byte {
        b'b' => out.push(0x08),
        b'f' => out.push(0x0c),
        b'n' => out.push(b'\n'),
        b'r' => out.push(b'\r'),
        b't' => out.push(b'\t'),
        b'u' => return unescape_unicode(behind, out),
        other => out.push(other),
    }
    behind
}

fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((first, mut behind)) = hex_unit(rest) else { return rest };
    let mut character = char::from_u32(first);
    if (0xd800..0xdc00).contains(&first)
        && let Some((second, after)) = behind.strip_prefix(b"\\u").and_then(hex_unit)
        && (0xdc00..0xe000).contains(&second)
    {
        character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        behind = after;
    }
    out.extend_from_slice(character.unwrap_or('?').encode_utf8(&mut [0; 4]).as_bytes());
    behind
}

fn hex_unit(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, behind) = bytes.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u32::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Syntax = Syntax {
        comments: false,
        unquoted_names: false,
        single_quotes: true,
        leading_zeros: false,
        non_numeric: true,
        any_escape: false,
        control_characters: false,
    };

    fn accepts(text: &str, syntax: Syntax) -> bool {
        Scanner::new(text.as_bytes(), syntax).root().is_ok()
    }

    #[test]
    fn d02_the_grammar_is_strict_by_default() {
        for good in [
            "{}",
            "[]",
            r#"{"a":[1,-2.5e+3,{"b":null}], "c" : true}"#,
            "{'a':'b\"'}",
            r#"{"a":"\u00e9\n\/\'"}"#,
            r#"{"a":NaN,"b":-Infinity,"c":+INF}"#,
            "{\"a\":4}{\"a\":5}",
            "0",
            "",
        ] {
            assert!(accepts(good, DEFAULT), "{good}");
        }
        for bad in [
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            "[1,]",
            "[1 2]",
            r#"{"a" 1}"#,
            r#"{a:1}"#,
            r#"{"a":004}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":tru}"#,
            r#"{"a":"x}"#,
            "{\"a\":\"x\ty\"}",
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12"}"#,
            "-",
            r#"{"a":1e}"#,
            "{/*c*/}",
            "nullx",
        ] {
            assert!(!accepts(bad, DEFAULT), "{bad}");
        }
    }

    #[test]
    fn options_loosen_the_grammar() {
        assert!(accepts("{/*c*/\"a\"://x\n1}", Syntax { comments: true, ..DEFAULT }));
        assert!(!accepts("{/*c", Syntax { comments: true, ..DEFAULT }));
        assert!(accepts("{a_1:1}", Syntax { unquoted_names: true, ..DEFAULT }));
        assert!(!accepts("{'a':1}", Syntax { single_quotes: false, ..DEFAULT }));
        assert!(accepts("[007]", Syntax { leading_zeros: true, ..DEFAULT }));
        assert!(!accepts("[NaN]", Syntax { non_numeric: false, ..DEFAULT }));
        assert!(accepts(r#"["\x"]"#, Syntax { any_escape: true, ..DEFAULT }));
        assert!(accepts("[\"\t\"]", Syntax { control_characters: true, ..DEFAULT }));
    }

    #[test]
    fn d03_deep_nesting_is_malformed_and_not_a_stack_overflow() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(&nested(MAX_DEPTH), DEFAULT));
        assert!(!accepts(&nested(10_000), DEFAULT));
    }

    #[test]
    fn runs_end_at_any_position() {
        for length in 0..40 {
            for special in *b"\"\\\n" {
                let mut bytes = vec![b'a'; length];
                bytes.extend([special, 0xff, b'"']);
                assert_eq!(plain_run(&bytes, b'"'), length);
            }
            assert_eq!(plain_run(&vec![0xc3; length], b'"'), length);
        }
    }

    #[test]
    fn integers_have_their_value_at_any_length_and_place() {
        for length in 1..=20 {
            for tail in ["", "}", ",\"a\":12345678901"] {
                let digits: String = "12345678901234567890".chars().take(length).collect();
                for text in [format!("{digits}{tail}"), format!("-{digits}{tail}")] {
                    let token = Scanner::new(text.as_bytes(), DEFAULT).root().unwrap().unwrap();
                    let known = text[..token.end].parse::<i64>().ok().filter(|_| length <= 18);
                    assert_eq!((token.kind, token.number), (Kind::Integer, known), "{text}");
                }
            }
        }
        assert_eq!(Scanner::new(b"1.5", DEFAULT).root().unwrap().unwrap().number, None);
    }

    #[test]
    fn escapes_become_characters() {
        let mut out = Vec::new();
        unescape(br#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx"#, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\"\\/\u{8}\u{c}\n\r\té😀?x");
    }

    proptest::proptest! {
        #[test]
        fn d01_never_panics(bytes in proptest::collection::vec(proptest::prelude::prop_oneof![
            proptest::sample::select(&b"{}[]:,\"'\\/u01e-+.tfnNI *"[..]), proptest::prelude::any::<u8>()], 0..60)) {
            let loose = Syntax { comments: true, unquoted_names: true, leading_zeros: true, any_escape: true, ..DEFAULT };
            for syntax in [DEFAULT, loose] {
                if let Ok(Some(token)) = Scanner::new(&bytes, syntax).root() {
                    unescape(token.of(&bytes), &mut Vec::new());
                }
            }
        }
    }
}
