//! CQL's values → Arrow columns.
//!
//! In: the cells of rows, one column's after the other's. Out: arrays of the types that [`CqlType::data_type`] names. What all
//! others rely on: a cell is read without allocation, and bytes that do not fit are an error that names the column, never a panic.
//!
//! A value without bytes, which CQL allows for numbers and times too, is null.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, Decimal128Builder, ListArray, MapArray,
    NullBufferBuilder, PrimitiveBuilder, StringBuilder, StructArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use super::duration::CqlDuration;
use super::numbers::{rescale, take_unsigned_vint, varint};
use super::types::{CqlType, DECIMAL, VARINT};
use crate::{Error, Result, types};

/// Why a cell is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bytes are no value of the type.
    Malformed,
    /// The value does not fit the column's type.
    OutOfRange,
}

type Taken = std::result::Result<(), Refusal>;
type Finished = std::result::Result<ArrayRef, Refusal>;

/// One column of a table, being filled.
pub(crate) struct ColumnReader {
    name: String,
    cql: CqlType,
    values: Box<dyn Values>,
}

impl ColumnReader {
    /// For a column of this name and type.
    pub(crate) fn new(name: &str, cql: &CqlType) -> ColumnReader {
        ColumnReader { name: name.to_owned(), cql: cql.clone(), values: values(cql) }
    }

    /// Takes the next cell; `None` is null.
    ///
    /// # Errors
    /// A value that does not fit; bytes that are no value.
    pub(crate) fn push(&mut self, cell: Option<&[u8]>) -> Result<()> {
        self.values.push(cell).map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> Error {
        let (name, cql) = (&self.name, &self.cql);
        match refusal {
            Refusal::Malformed => Error::outside(format!("column '{name}' holds bytes that are no {cql}")),
            Refusal::OutOfRange => Error::data(
                "NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION",
                format!("a {cql} in column '{name}' does not fit {}", types::sql_name(&cql.data_type())),
            )
            .hint("Leave the column out with select(...)."),
        }
    }

    /// The cells so far; the reader is empty afterwards.
    ///
    /// # Errors
    /// A map with an empty key.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        self.values.finish().map_err(|refusal| self.refused(refusal))
    }
}

/// Values of one type, being collected.
trait Values: Send {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken;
    fn finish(&mut self) -> Finished;
}

fn values(cql: &CqlType) -> Box<dyn Values> {
    match cql {
        CqlType::Ascii | CqlType::Text => Box::new(Text { builder: StringBuilder::new(), write: text }),
        CqlType::Uuid | CqlType::Timeuuid => Box::new(Text { builder: StringBuilder::new(), write: uuid }),
        CqlType::Inet => Box::new(Text { builder: StringBuilder::new(), write: inet }),
        CqlType::Duration => Box::new(Text { builder: StringBuilder::new(), write: duration }),
        CqlType::Blob => Box::new(BinaryBuilder::new()),
        CqlType::Boolean => Box::new(BooleanBuilder::new()),
        CqlType::TinyInt => number::<Int8Type, 1>(|bytes| Some(i8::from_be_bytes(bytes))),
        CqlType::SmallInt => number::<Int16Type, 2>(|bytes| Some(i16::from_be_bytes(bytes))),
        CqlType::Int => number::<Int32Type, 4>(|bytes| Some(i32::from_be_bytes(bytes))),
        CqlType::BigInt | CqlType::Counter | CqlType::Time => {
            number::<Int64Type, 8>(|bytes| Some(i64::from_be_bytes(bytes)))
        }
        CqlType::Float => number::<Float32Type, 4>(|bytes| Some(f32::from_be_bytes(bytes))),
        CqlType::Double => number::<Float64Type, 8>(|bytes| Some(f64::from_be_bytes(bytes))),
        CqlType::Date => number::<Date32Type, 4>(|bytes| Some(i32::from_be_bytes(bytes).wrapping_add(i32::MIN))),
        CqlType::Timestamp => Box::new(Number::<TimestampMicrosecondType, 8> {
            builder: PrimitiveBuilder::new().with_data_type(types::timestamp()),
            value: |bytes| i64::from_be_bytes(bytes).checked_mul(1000),
        }),
        CqlType::Decimal => Box::new(Decimals { builder: decimals(DECIMAL), value: decimal }),
        CqlType::Varint => Box::new(Decimals { builder: decimals(VARINT), value: whole }),
        CqlType::List(item) | CqlType::Set(item) => Box::new(Lists::new(item, Layout::Counted)),
        CqlType::Vector(item, dimensions) => {
            Box::new(Lists::new(item, Layout::Fixed { count: *dimensions, size: item.size_in_vector() }))
        }
        CqlType::Map(key, value) => Box::new(Maps::new(key, value)),
        CqlType::Struct { fields, .. } => Box::new(Structs::new(cql, fields)),
    }
}

/// Texts, each written by a function.
struct Text {
    builder: StringBuilder,
    write: fn(&[u8], &mut StringBuilder) -> Option<()>,
}

impl Values for Text {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        match cell {
            None => self.builder.append_null(),
            Some(bytes) => (self.write)(bytes, &mut self.builder).ok_or(Refusal::Malformed)?,
        }
        Ok(())
    }

    fn finish(&mut self) -> Finished {
        Ok(Arc::new(self.builder.finish()))
    }
}

fn text(bytes: &[u8], out: &mut StringBuilder) -> Option<()> {
    out.append_value(std::str::from_utf8(bytes).ok()?);
    Some(())
}

fn uuid(bytes: &[u8], out: &mut StringBuilder) -> Option<()> {
    if bytes.is_empty() {
        out.append_null();
        return Some(());
    }
    let mut buffer = uuid::Uuid::encode_buffer();
    out.append_value(uuid::Uuid::from_slice(bytes).ok()?.hyphenated().encode_lower(&mut buffer));
    Some(())
}

fn inet(bytes: &[u8], out: &mut StringBuilder) -> Option<()> {
    match bytes.len() {
        0 => {
            out.append_null();
            return Some(());
        }
        4 => write!(out, "{}", Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => write!(out, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    }
    .ok()?;
    out.append_value("");
    Some(())
}

fn duration(bytes: &[u8], out: &mut StringBuilder) -> Option<()> {
    write!(out, "{}", CqlDuration::read(bytes)?).ok()?;
    out.append_value("");
    Some(())
}

impl Values for BinaryBuilder {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        self.append_option(cell);
        Ok(())
    }

    fn finish(&mut self) -> Finished {
        Ok(Arc::new(BinaryBuilder::finish(self)))
    }
}

impl Values for BooleanBuilder {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        match cell {
            None | Some([]) => self.append_null(),
            Some([byte]) => self.append_value(*byte != 0),
            Some(_) => return Err(Refusal::Malformed),
        }
        Ok(())
    }

    fn finish(&mut self) -> Finished {
        Ok(Arc::new(BooleanBuilder::finish(self)))
    }
}

/// Values of `SIZE` bytes each.
struct Number<T: ArrowPrimitiveType, const SIZE: usize> {
    builder: PrimitiveBuilder<T>,
    /// `None` if it does not fit.
    value: fn([u8; SIZE]) -> Option<T::Native>,
}

fn number<T: ArrowPrimitiveType, const SIZE: usize>(value: fn([u8; SIZE]) -> Option<T::Native>) -> Box<dyn Values> {
    Box::new(Number::<T, SIZE> { builder: PrimitiveBuilder::new(), value })
}

impl<T: ArrowPrimitiveType, const SIZE: usize> Values for Number<T, SIZE> {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        match cell {
            None | Some([]) => self.builder.append_null(),
            Some(bytes) => {
                let bytes = bytes.try_into().map_err(|_| Refusal::Malformed)?;
                self.builder.append_value((self.value)(bytes).ok_or(Refusal::OutOfRange)?);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Finished {
        Ok(Arc::new(self.builder.finish()))
    }
}

/// `decimal` and `varint`.
struct Decimals {
    builder: Decimal128Builder,
    value: fn(&[u8]) -> std::result::Result<i128, Refusal>,
}

fn decimals((precision, scale): (u8, i8)) -> Decimal128Builder {
    Decimal128Builder::new().with_data_type(DataType::Decimal128(precision, scale))
}

impl Values for Decimals {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        match cell {
            None | Some([]) => self.builder.append_null(),
            Some(bytes) => self.builder.append_value((self.value)(bytes)?),
        }
        Ok(())
    }

    fn finish(&mut self) -> Finished {
        Ok(Arc::new(self.builder.finish()))
    }
}

fn decimal(bytes: &[u8]) -> std::result::Result<i128, Refusal> {
    let (scale, digits) = bytes.split_first_chunk().ok_or(Refusal::Malformed)?;
    let unscaled = varint(digits).ok_or(if digits.is_empty() { Refusal::Malformed } else { Refusal::OutOfRange })?;
    rescale(unscaled, i32::from_be_bytes(*scale), i32::from(DECIMAL.1)).ok_or(Refusal::OutOfRange)
}

fn whole(bytes: &[u8]) -> std::result::Result<i128, Refusal> {
    rescale(varint(bytes).ok_or(Refusal::OutOfRange)?, 0, 0).ok_or(Refusal::OutOfRange)
}

/// Takes a length of four bytes off the front.
fn take_length(bytes: &mut &[u8]) -> Option<i32> {
    let (length, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*length))
}

/// Takes a value with its length off the front; a negative length is null.
fn take_cell<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match usize::try_from(take_length(bytes)?) {
        Err(_) => Some(None),
        Ok(length) => {
            let (cell, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(Some(cell))
        }
    }
}

/// How the elements of a list lie.
#[derive(Clone, Copy)]
enum Layout {
    /// Their number, then each with its length.
    Counted,
    /// A known number, each of a known size or with its length as a vint.
    Fixed { count: usize, size: Option<usize> },
}

/// Lists, sets and vectors.
struct Lists {
    items: Box<dyn Values>,
    item: DataType,
    layout: Layout,
    ends: Ends,
}

impl Lists {
    fn new(item: &CqlType, layout: Layout) -> Lists {
        Lists { items: values(item), item: item.data_type(), layout, ends: Ends::default() }
    }

    fn elements(&mut self, mut bytes: &[u8]) -> std::result::Result<usize, Refusal> {
        let count = match self.layout {
            Layout::Counted => take_length(&mut bytes).and_then(|count| usize::try_from(count).ok()),
            Layout::Fixed { count, .. } => Some(count),
        };
        let count = count.ok_or(Refusal::Malformed)?;
        for _ in 0..count {
            let cell = take_element(self.layout, &mut bytes).ok_or(Refusal::Malformed)?;
            self.items.push(cell)?;
        }
        Ok(count)
    }
}

fn take_element<'a>(layout: Layout, bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let size = match layout {
        Layout::Counted => return take_cell(bytes),
        Layout::Fixed { size: Some(size), .. } => size,
        Layout::Fixed { size: None, .. } => usize::try_from(take_unsigned_vint(bytes)?).ok()?,
    };
    let (cell, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(Some(cell))
}

impl Values for Lists {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        let count = match cell {
            Some(bytes) => self.elements(bytes)?,
            None => 0,
        };
        self.ends.push(count, cell.is_some())
    }

    fn finish(&mut self) -> Finished {
        let (offsets, nulls) = self.ends.finish();
        let lists = ListArray::try_new(types::list_item(self.item.clone()), offsets, self.items.finish()?, nulls);
        Ok(Arc::new(lists.map_err(|_| Refusal::Malformed)?))
    }
}

/// Where the elements of each list end.
#[derive(Default)]
struct Ends {
    ends: Vec<i32>,
    valid: Option<NullBufferBuilder>,
}

impl Ends {
    fn push(&mut self, count: usize, valid: bool) -> Taken {
        let last = self.ends.last().copied().unwrap_or(0);
        let end = i32::try_from(count).ok().and_then(|count| last.checked_add(count)).ok_or(Refusal::OutOfRange)?;
        self.ends.push(end);
        self.valid.get_or_insert_with(|| NullBufferBuilder::new(0)).append(valid);
        Ok(())
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Option<arrow::buffer::NullBuffer>) {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends.drain(..)).collect();
        let nulls = self.valid.take().and_then(|mut valid| valid.finish());
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), nulls)
    }
}

struct Maps {
    keys: Box<dyn Values>,
    values: Box<dyn Values>,
    types: (DataType, DataType),
    ends: Ends,
}

impl Maps {
    fn new(key: &CqlType, value: &CqlType) -> Maps {
        Maps {
            keys: values(key),
            values: values(value),
            types: (key.data_type(), value.data_type()),
            ends: Ends::default(),
        }
    }

    fn entries(&mut self, mut bytes: &[u8]) -> std::result::Result<usize, Refusal> {
        let count = take_length(&mut bytes).and_then(|count| usize::try_from(count).ok()).ok_or(Refusal::Malformed)?;
        for _ in 0..count {
            // A key is never null in CQL.
            let key = take_cell(&mut bytes).flatten().ok_or(Refusal::Malformed)?;
            self.keys.push(Some(key))?;
            self.values.push(take_cell(&mut bytes).ok_or(Refusal::Malformed)?)?;
        }
        Ok(count)
    }
}

impl Values for Maps {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        let count = match cell {
            Some(bytes) => self.entries(bytes)?,
            None => 0,
        };
        self.ends.push(count, cell.is_some())
    }

    fn finish(&mut self) -> Finished {
        let (offsets, nulls) = self.ends.finish();
        let field = types::map_entries(self.types.0.clone(), self.types.1.clone());
        let columns = vec![self.keys.finish()?, self.values.finish()?];
        let DataType::Struct(fields) = field.data_type() else { return Err(Refusal::Malformed) };
        let entries = StructArray::try_new(fields.clone(), columns, None).map_err(|_| Refusal::Malformed)?;
        let maps = MapArray::try_new(field, offsets, entries, nulls, false);
        Ok(Arc::new(maps.map_err(|_| Refusal::Malformed)?))
    }
}

/// Users' types and tuples.
struct Structs {
    fields: Vec<Box<dyn Values>>,
    data_type: DataType,
    valid: NullBufferBuilder,
}

impl Structs {
    fn new(cql: &CqlType, fields: &[(String, CqlType)]) -> Structs {
        let fields = fields.iter().map(|(_, field)| values(field)).collect();
        Structs { fields, data_type: cql.data_type(), valid: NullBufferBuilder::new(0) }
    }
}

impl Values for Structs {
    fn push(&mut self, cell: Option<&[u8]>) -> Taken {
        let mut bytes = cell.unwrap_or_default();
        for field in &mut self.fields {
            // Fields that were added to the type later are not there.
            let part = if bytes.is_empty() { None } else { take_cell(&mut bytes).ok_or(Refusal::Malformed)? };
            field.push(part)?;
        }
        self.valid.append(cell.is_some());
        Ok(())
    }

    fn finish(&mut self) -> Finished {
        let length = self.valid.len();
        let columns = self.fields.iter_mut().map(|field| field.finish()).collect::<std::result::Result<_, _>>()?;
        let DataType::Struct(fields) = &self.data_type else { return Err(Refusal::Malformed) };
        let structs = StructArray::try_new_with_length(fields.clone(), columns, self.valid.finish(), length);
        Ok(Arc::new(structs.map_err(|_| Refusal::Malformed)?))
    }
}
