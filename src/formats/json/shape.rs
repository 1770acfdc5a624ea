//! The wanted fields of a record, and how their values go into columns.
//!
//! In: a token of a checked JSON value and the bytes it lies in. Out: one value appended to a [`Column`], or [`Outcome::Bad`]
//! and nothing appended. Fields that are not wanted are never built. An object is read in two steps: first the places of
//! the wanted members are noted (so the last of equal names wins), then their values are built in the columns' order.

use arrow::datatypes::{DataType, Fields};
use hashbrown::HashMap;

use super::scan::{Expectation, Kind, MAX_DEPTH, Malformed, Scanner, Syntax, Token, unescape};
use crate::formats::columns::{Column, Values, unsupported};
use crate::formats::times::Times;
use crate::types::number_text::{parse_decimal, parse_floating, parse_integer};
use crate::types::{is_variant, map_types};
use crate::variant::{Builder, parse_token};
use crate::{Error, Result};

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was appended.
    Good,
    /// It was appended, but something inside it could not be read and became null.
    Partial,
    /// It does not fit the type; nothing was appended.
    Bad,
}

/// What reading a value needs besides its column.
pub(crate) struct Reading<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) syntax: Syntax,
    pub(crate) times: &'a Times,
    /// Room for a string without its escapes.
    pub(crate) scratch: &'a mut Vec<u8>,
}

/// How to read a type.
#[derive(Debug)]
pub(crate) enum Shape {
    Scalar,
    /// A STRING, which takes any value.
    Text,
    /// A VARIANT, which takes any value too.
    Variant(Builder),
    Struct(Members),
    List(Box<Shape>),
    Map(Box<Shape>),
}

impl Shape {
    /// The shape of a type.
    ///
    /// # Errors
    /// `UNSUPPORTED_DATATYPE` for types that JSON does not hold; `INVALID_JSON_MAP_KEY_TYPE` for maps without string keys.
    pub(crate) fn new(data_type: &DataType) -> Result<Shape> {
        Ok(match data_type {
            data_type if is_variant(data_type) => Shape::Variant(Builder::default()),
            DataType::Struct(fields) => Shape::Struct(Members::new(fields)?),
            DataType::List(item) => Shape::List(Box::new(Shape::new(item.data_type())?)),
            DataType::Map(..) => Shape::Map(Box::new(map_value(data_type)?)),
            DataType::Utf8 => Shape::Text,
            DataType::Duration(_) | DataType::Interval(_) | DataType::Time64(_) => return Err(unsupported(data_type)),
            _ => Shape::Scalar,
        })
    }

    /// Appends the value of `token` to `column`, which has this shape's type.
    pub(crate) fn append(&mut self, column: &mut Column, token: Token, reading: &mut Reading<'_>) -> Outcome {
        if let Shape::Variant(builder) = self {
            return append_variant(builder, column, token, reading);
        }
        if token.kind == Kind::Null {
            column.push_null();
            return Outcome::Good;
        }
        match self {
            Shape::Scalar | Shape::Text | Shape::Variant(_) => scalar(column, token, reading),
            Shape::Struct(members) => members.append(column, token, reading),
            Shape::List(item) => append_list(item, column, token, reading),
            Shape::Map(value) => append_map(value, column, token, reading),
        }
    }
}

fn map_value(data_type: &DataType) -> Result<Shape> {
    match map_types(data_type) {
        Some((key, value)) if *key.data_type() == DataType::Utf8 => Shape::new(value.data_type()),
        _ => Err(Error::query("INVALID_JSON_MAP_KEY_TYPE", "JSON reads only maps with STRING keys")),
    }
}

/// The column of a member, if it is wanted.
type Slot = Option<usize>;

/// The names of the last objects, as they are written: most objects have the same ones in the same order, and bytes that are equal to
/// those of a name that was read before need not be read again.
#[derive(Debug, Default)]
struct Expected {
    /// From the first byte of a name to its colon.
    names: Vec<(Expectation, Slot)>,
    misses: usize,
}

impl Expected {
    /// Names that are remembered.
    const MOST: usize = 1024;
    /// After how many other names one is remembered in place of the one expected.
    const PATIENCE: usize = 16;

    /// Takes the name that is expected at `place`, or the one behind it if a member is left out.
    #[inline]
    fn take(&self, scanner: &mut Scanner<'_>, place: &mut usize) -> Option<Slot> {
        let (text, slot) = self.names.get(*place)?;
        if scanner.take_text(text) {
            return Some(*slot);
        }
        let (text, slot) = self.names.get(*place + 1)?;
        if !scanner.take_text(text) {
            return None;
        }
        *place += 1;
        Some(*slot)
    }

    /// Remembers a name that stood at `place`.
    fn learn(&mut self, place: usize, text: &[u8], slot: Slot) {
        self.misses += 1;
        let known = self.names.len();
        match self.names.get_mut(place) {
            None if place == known && place < Expected::MOST => self.names.push((Expectation::new(text), slot)),
            Some(name) if self.misses.is_multiple_of(Expected::PATIENCE) => *name = (Expectation::new(text), slot),
            _ => {}
        }
    }
}

/// The wanted members of an object; by default none.
#[derive(Debug, Default)]
pub(crate) struct Members {
    names: HashMap<Box<[u8]>, usize>,
    /// The names in the columns' order.
    order: Vec<Box<[u8]>>,
    shapes: Vec<Shape>,
    expected: Expected,
    /// By their place, members of objects in this one that nobody wants: their names are expected, too.
    unwanted: Vec<Option<Box<Members>>>,
    /// Where the values of the current object stand.
    slots: Vec<Token>,
}

impl Members {
    pub(crate) fn new(fields: &Fields) -> Result<Members> {
        let order: Vec<Box<[u8]>> = fields.iter().map(|field| field.name().as_bytes().into()).collect();
        let shapes: Result<Vec<_>> = fields.iter().map(|field| Shape::new(field.data_type())).collect();
        Ok(Members {
            names: order.iter().cloned().zip(0..).collect(),
            slots: vec![Token::ABSENT; order.len()],
            order,
            shapes: shapes?,
            expected: Expected::default(),
            unwanted: Vec::new(),
        })
    }

    /// The wanted member of this name, with its plain name.
    pub(crate) fn named(&self, name: Token, bytes: &[u8]) -> Option<(&[u8], &Shape)> {
        let mut scratch = Vec::new();
        let at = *self.names.get(plain_name(name, bytes, &mut scratch))?;
        Some((self.order.get(at)?, self.shapes.get(at)?))
    }

    fn append(&mut self, column: &mut Column, token: Token, reading: &mut Reading<'_>) -> Outcome {
        let Values::Struct(_, children) = &mut column.values else { return Outcome::Bad };
        if token.kind != Kind::Object {
            return Outcome::Bad;
        }
        let outcome = self.fill(children, token, reading);
        if outcome != Outcome::Bad {
            column.accept();
        }
        outcome
    }

    /// Appends the struct whose members were noted last.
    fn append_located(&mut self, column: &mut Column, reading: &mut Reading<'_>) -> Outcome {
        let Values::Struct(_, children) = &mut column.values else { return Outcome::Bad };
        let outcome = self.build(children, reading);
        if outcome != Outcome::Bad {
            column.accept();
        }
        outcome
    }

    /// Appends one row to `columns` from an object that was checked before.
    pub(crate) fn fill(&mut self, columns: &mut [Column], object: Token, reading: &mut Reading<'_>) -> Outcome {
        let mut scanner = Scanner::within(reading.bytes, object, reading.syntax);
        match self.locate(&mut scanner, reading, 0) {
            Ok(()) => self.build(columns, reading),
            Err(_) => Outcome::Bad,
        }
    }

    /// Checks the object that starts at the scanner and notes where its wanted members stand, also those of objects in it.
    pub(crate) fn locate(
        &mut self,
        scanner: &mut Scanner<'_>,
        reading: &mut Reading<'_>,
        depth: usize,
    ) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("nesting deeper than 128 levels"));
        }
        self.slots.fill(Token::ABSENT);
        let mut goes_on = scanner.enter_object()?;
        let mut place = 0;
        while goes_on {
            let slot = match self.expected.take(scanner, &mut place) {
                Some(slot) => slot,
                None => self.read_name(scanner, reading, place)?,
            };
            scanner.blanks()?;
            self.locate_value((place, slot), scanner, reading, depth + 1)?;
            goes_on = scanner.next_member()?;
            place += 1;
        }
        Ok(())
    }

    fn read_name(
        &mut self,
        scanner: &mut Scanner<'_>,
        reading: &mut Reading<'_>,
        place: usize,
    ) -> Result<Slot, Malformed> {
        let start = scanner.place();
        let name = scanner.member_name()?;
        let slot = self.names.get(plain_name(name, reading.bytes, reading.scratch)).copied();
        self.expected.learn(place, scanner.since(start), slot);
        Ok(slot)
    }

    fn locate_value(
        &mut self,
        (place, slot): (usize, Slot),
        scanner: &mut Scanner<'_>,
        reading: &mut Reading<'_>,
        depth: usize,
    ) -> Result<(), Malformed> {
        let Some(slot) = slot else { return self.pass(place, scanner, reading, depth) };
        self.slots[slot] = match &mut self.shapes[slot] {
            Shape::Struct(members) if scanner.peek() == Some(b'{') => {
                let start = scanner.place();
                members.locate(scanner, reading, depth)?;
                Token { kind: Kind::Object, start, end: scanner.place(), number: None }
            }
            _ => scanner.value(depth)?,
        };
        Ok(())
    }

    /// Objects that nobody wants are read by expected names down to this depth and up to this place; a bound of what is remembered.
    const UNWANTED_DEPTH: usize = 4;
    const UNWANTED_PLACES: usize = 16;

    /// Checks a value that nobody wants.
    fn pass(
        &mut self,
        place: usize,
        scanner: &mut Scanner<'_>,
        reading: &mut Reading<'_>,
        depth: usize,
    ) -> Result<(), Malformed> {
        if scanner.peek() != Some(b'{') || place >= Self::UNWANTED_PLACES || depth > Self::UNWANTED_DEPTH {
            return scanner.value(depth).map(|_| ());
        }
        if self.unwanted.len() <= place {
            self.unwanted.resize_with(place + 1, || None);
        }
        self.unwanted[place].get_or_insert_default().locate(scanner, reading, depth)
    }

    /// Where the members of the object noted last stand.
    pub(super) fn places(&self) -> &[Token] {
        &self.slots
    }

    /// Appends one row to `columns` from the members noted last.
    pub(crate) fn build(&mut self, columns: &mut [Column], reading: &mut Reading<'_>) -> Outcome {
        let mut outcome = Outcome::Good;
        for ((shape, column), slot) in self.shapes.iter_mut().zip(columns).zip(&self.slots) {
            if slot.kind == Kind::Absent {
                column.push_null();
                continue;
            }
            let appended = match shape {
                Shape::Struct(members) if slot.kind == Kind::Object => members.append_located(column, reading),
                _ => shape.append(column, *slot, reading),
            };
            match appended {
                Outcome::Good => {}
                Outcome::Partial => outcome = Outcome::Partial,
                Outcome::Bad => {
                    column.push_null();
                    outcome = Outcome::Partial;
                }
            }
        }
        outcome
    }
}

fn plain_name<'a>(name: Token, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if name.kind == Kind::Plain {
        return name.of(bytes);
    }
    scratch.clear();
    unescape(name.of(bytes), scratch);
    scratch
}

/// Any value is a VARIANT, also the null of JSON; only two fields of one name are not.
fn append_variant(builder: &mut Builder, column: &mut Column, token: Token, reading: &Reading<'_>) -> Outcome {
    let Values::Struct(_, children) = &mut column.values else { return Outcome::Bad };
    let [metadata, value] = children.as_mut_slice() else { return Outcome::Bad };
    builder.clear();
    if parse_token(reading.bytes, token, reading.syntax, builder).is_err() {
        return Outcome::Bad;
    }
    metadata.push_bytes(&builder.metadata());
    value.push_bytes(builder.value());
    column.accept();
    Outcome::Good
}

/// One element that does not fit makes the whole list null.
fn append_list(item: &mut Shape, column: &mut Column, token: Token, reading: &mut Reading<'_>) -> Outcome {
    let Values::List(_, _, child) = &mut column.values else { return Outcome::Bad };
    if token.kind != Kind::Array {
        return Outcome::Bad;
    }
    let (before, mut outcome) = (child.len(), Outcome::Good);
    let _ = Scanner::within(reading.bytes, token, reading.syntax).elements(0, |element| {
        match item.append(child, element, reading) {
            Outcome::Good => {}
            Outcome::Partial => outcome = Outcome::Partial,
            Outcome::Bad => outcome = Outcome::Bad,
        }
        outcome != Outcome::Bad
    });
    if outcome == Outcome::Bad {
        child.truncate(before);
        return Outcome::Bad;
    }
    column.accept();
    outcome
}

/// One value that does not fit makes the whole map null.
fn append_map(value: &mut Shape, column: &mut Column, token: Token, reading: &mut Reading<'_>) -> Outcome {
    let Values::Map(_, _, keys, values) = &mut column.values else { return Outcome::Bad };
    if token.kind != Kind::Object {
        return Outcome::Bad;
    }
    let (before, mut outcome) = (keys.len(), Outcome::Good);
    let _ = Scanner::within(reading.bytes, token, reading.syntax).members(0, |name, member| {
        if outcome == Outcome::Bad {
            return;
        }
        match value.append(values, member, reading) {
            Outcome::Good => {}
            other => outcome = other,
        }
        if outcome != Outcome::Bad {
            keys.push_bytes(plain_name(name, reading.bytes, reading.scratch));
        }
    });
    if outcome == Outcome::Bad {
        keys.truncate(before);
        values.truncate(before);
        return Outcome::Bad;
    }
    column.accept();
    outcome
}

fn scalar(column: &mut Column, token: Token, reading: &mut Reading<'_>) -> Outcome {
    let (data_type, values) = column.parts();
    if matches!(values, Values::Null) {
        column.push_null();
        return Outcome::Good;
    }
    if fill(data_type, values, token, reading).is_none() {
        return Outcome::Bad;
    }
    column.accept();
    Outcome::Good
}

/// Writes a value behind the others; `None` and nothing written if it does not fit.
fn fill(data_type: &DataType, values: &mut Values, token: Token, reading: &mut Reading<'_>) -> Option<()> {
    match values {
        Values::Boolean(values) => values.append(boolean(token)?),
        Values::Int8(values) => values.push(integer(token, reading)?),
        Values::Int16(values) => values.push(integer(token, reading)?),
        Values::Int32(values) => values.push(int32(data_type, token, reading)?),
        Values::Int64(values) => values.push(int64(data_type, token, reading)?),
        Values::Float32(values) => values.push(floating(token, reading)?),
        Values::Float64(values) => values.push(floating(token, reading)?),
        Values::Decimal(values) => values.push(decimal(data_type, token, reading)?),
        Values::Bytes(values) if *data_type == DataType::Binary => binary(token, reading, &mut values.bytes)?,
        Values::Bytes(values) => string(token, reading, &mut values.bytes),
        Values::Null | Values::Struct(..) | Values::List(..) | Values::Map(..) => return None,
    }
    Some(())
}

fn boolean(token: Token) -> Option<bool> {
    match token.kind {
        Kind::True => Some(true),
        Kind::False => Some(false),
        _ => None,
    }
}

fn integer<T: TryFrom<i64>>(token: Token, reading: &Reading<'_>) -> Option<T> {
    match token.number {
        Some(number) => T::try_from(number).ok(),
        None if token.kind == Kind::Integer => parse_integer(token.of(reading.bytes)),
        None => None,
    }
}

fn int32(data_type: &DataType, token: Token, reading: &mut Reading<'_>) -> Option<i32> {
    match data_type {
        DataType::Date32 => {
            let times = reading.times;
            times.read_date(text(token, reading)?)
        }
        _ => integer(token, reading),
    }
}

fn int64(data_type: &DataType, token: Token, reading: &mut Reading<'_>) -> Option<i64> {
    let times = reading.times;
    match data_type {
        DataType::Timestamp(_, Some(_)) if token.kind == Kind::Integer => {
            Some(integer::<i64>(token, reading)?.wrapping_mul(1_000_000))
        }
        DataType::Timestamp(_, Some(_)) => times.read_timestamp(text(token, reading)?),
        DataType::Timestamp(_, None) => times.read_timestamp_ntz(text(token, reading)?),
        _ => integer(token, reading),
    }
}

/// The text of a string that is not empty.
fn text<'a>(token: Token, reading: &'a mut Reading<'_>) -> Option<&'a str> {
    if !token.is_string() || token.start == token.end {
        return None;
    }
    std::str::from_utf8(plain_name(token, reading.bytes, reading.scratch)).ok()
}

fn floating<T: std::str::FromStr>(token: Token, reading: &Reading<'_>) -> Option<T> {
    let bytes = token.of(reading.bytes);
    match token.kind {
        Kind::Integer | Kind::Float => parse_floating(bytes),
        Kind::NonNumeric => non_numeric(bytes),
        Kind::Plain if reading.syntax.non_numeric => non_numeric(bytes),
        _ => None,
    }
}

fn non_numeric<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let name = match text {
        b"NaN" => "NaN",
        b"+INF" | b"INF" | b"+Infinity" | b"Infinity" => "inf",
        b"-INF" | b"-Infinity" => "-inf",
        _ => return None,
    };
    name.parse().ok()
}

fn decimal(data_type: &DataType, token: Token, reading: &mut Reading<'_>) -> Option<i128> {
    let DataType::Decimal128(precision, scale) = *data_type else { return None };
    match token.kind {
        Kind::Integer | Kind::Float => parse_decimal(token.of(reading.bytes), precision, scale),
        Kind::Plain if !token.of(reading.bytes).contains(&b',') => {
            parse_decimal(token.of(reading.bytes), precision, scale)
        }
        Kind::Plain | Kind::Escaped => {
            let without_commas: Vec<u8> = text(token, reading)?.bytes().filter(|byte| *byte != b',').collect();
            parse_decimal(&without_commas, precision, scale)
        }
        _ => None,
    }
}

/// Anything can be a string: numbers keep their spelling, objects and arrays their raw text.
fn string(token: Token, reading: &Reading<'_>, out: &mut Vec<u8>) {
    match token.kind {
        Kind::Escaped => unescape(token.of(reading.bytes), out),
        _ => out.extend_from_slice(token.of(reading.bytes)),
    }
}

fn binary(token: Token, reading: &mut Reading<'_>, out: &mut Vec<u8>) -> Option<()> {
    if !token.is_string() {
        return None;
    }
    let before = out.len();
    let decoded = decode_base64(plain_name(token, reading.bytes, reading.scratch), out);
    if decoded.is_none() {
        out.truncate(before);
    }
    decoded
}

/// Standard base64 with padding; blanks between groups are skipped.
fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut count, mut padding) = (0u32, 0, 0);
    for &byte in text.iter().filter(|byte| **byte > b' ') {
        if byte == b'=' {
            padding += 1;
        } else if padding > 0 {
            return None;
        } else {
            bits = bits << 6 | base64_digit(byte)?;
            count += 1;
            if count % 4 == 0 {
                out.extend_from_slice(&bits.to_be_bytes()[1..]);
            }
        }
    }
    match (count % 4, padding) {
        (0, 0) => {}
        (2, 2) => out.push((bits >> 4) as u8),
        (3, 1) => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(())
}

fn base64_digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_reads_whole_groups_only() {
        let decoded = |text: &str| {
            let mut out = Vec::new();
            decode_base64(text.as_bytes(), &mut out).map(|()| out)
        };
        assert_eq!(decoded("aGk="), Some(b"hi".to_vec()));
        assert_eq!(decoded("aGkh"), Some(b"hi!".to_vec()));
        assert_eq!(decoded("aA=="), Some(b"h".to_vec()));
        assert_eq!(decoded(""), Some(vec![]));
        for bad in ["a", "aG", "aGk", "aGk=x", "a-==", "===="] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
