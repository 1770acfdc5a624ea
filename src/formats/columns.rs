//! Growing columns that can take back their last rows: what the text decoders write values into.
//!
//! In: one value at a time, chosen by the decoder to fit the column's type. Out: an Arrow array. Unlike Arrow's builders
//! a [`Column`] can be cut back to an earlier length, so a record that turns out malformed leaves nothing behind.
//! Strings may be given any bytes: what is not UTF-8 becomes U+FFFD, as in Spark. Offsets fit 32 bits because decoders
//! refuse chunks above [`MAX_CHUNK_BYTES`].

use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, ListArray, MapArray, NullArray,
    PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{self as types, DataType, FieldRef, Fields, IntervalUnit, TimeUnit};

use super::condition::Found;
use crate::types::{map_types, simple_name};
use crate::{Error, Result};

/// Most bytes one call of a decoder may get, so that 32-bit offsets hold even if every byte is replaced by U+FFFD.
pub(crate) const MAX_CHUNK_BYTES: usize = i32::MAX as usize / 3;

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    data_type: DataType,
    validity: NullBufferBuilder,
    /// The values; for null rows a placeholder.
    pub(crate) values: Values,
}

/// The values of a [`Column`], by how they are stored.
#[derive(Debug)]
pub(crate) enum Values {
    Null,
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    /// INT, DATE and year-month intervals.
    Int32(Vec<i32>),
    /// BIGINT, times, timestamps and day-time intervals.
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    /// STRING and BINARY.
    Bytes(Bytes),
    Struct(Fields, Vec<Column>),
    List(FieldRef, Ends, Box<Column>),
    Map(FieldRef, Ends, Box<Column>, Box<Column>),
}

/// Where each list ends among its elements.
pub(crate) type Ends = Vec<i32>;

/// Values of varying length, one after the other.
#[derive(Debug)]
pub(crate) struct Bytes {
    /// All bytes; a value in the making may be appended here before [`Column::end_bytes`].
    pub(crate) bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Column {
    /// An empty column of this type.
    ///
    /// # Errors
    /// `UNSUPPORTED_DATATYPE` for types that text cannot hold.
    pub(crate) fn new(data_type: &DataType) -> Result<Column> {
        Ok(Column { data_type: data_type.clone(), validity: NullBufferBuilder::new(0), values: values_of(data_type)? })
    }

    /// The last value, as conditions see it.
    pub(super) fn last(&self) -> Found<'_> {
        let Some(row) = self.len().checked_sub(1) else { return Found::Other };
        if !self.validity.is_valid(row) {
            return Found::Null;
        }
        match &self.values {
            Values::Int8(values) => Found::Whole(values[row].into()),
            Values::Int16(values) => Found::Whole(values[row].into()),
            Values::Int32(values) => Found::Whole(values[row].into()),
            Values::Int64(values) => Found::Whole(values[row]),
            Values::Bytes(values) => Found::Text(values.last()),
            _ => Found::Other,
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.validity.len()
    }

    /// The type, and the values to append to.
    pub(crate) fn parts(&mut self) -> (&DataType, &mut Values) {
        (&self.data_type, &mut self.values)
    }

    /// Appends a null.
    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(values) => values.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Bytes(values) => values.end(),
            Values::Struct(_, children) => children.iter_mut().for_each(Column::push_null),
            Values::List(_, ends, child) => ends.push(child.len() as i32),
            Values::Map(_, ends, keys, _) => ends.push(keys.len() as i32),
        }
        self.validity.append_null();
    }

    /// Marks the value just written into `values` as valid; for bytes it also ends the value.
    pub(crate) fn accept(&mut self) {
        match &mut self.values {
            Values::Bytes(values) => values.end(),
            Values::List(_, ends, child) => ends.push(child.len() as i32),
            Values::Map(_, ends, keys, _) => ends.push(keys.len() as i32),
            _ => {}
        }
        self.validity.append_non_null();
    }

    /// Cuts the column back to `rows`, forgetting also a value that was begun and never accepted.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(values) => values.truncate(rows),
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) => values.truncate(rows),
            Values::Int64(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal(values) => values.truncate(rows),
            Values::Bytes(values) => values.truncate(rows),
            Values::Struct(_, children) => children.iter_mut().for_each(|child| child.truncate(rows)),
            Values::List(_, ends, child) => child.truncate(cut_ends(ends, rows)),
            Values::Map(_, ends, keys, values) => {
                let entries = cut_ends(ends, rows);
                keys.truncate(entries);
                values.truncate(entries);
            }
        }
        if rows < self.validity.len() {
            self.validity.truncate(rows);
        }
    }

    /// Appends bytes as one value of a STRING or BINARY column.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) {
        if let Values::Bytes(values) = &mut self.values {
            values.bytes.extend_from_slice(value);
        }
        self.accept();
    }

    /// The finished array; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let rows = self.validity.len();
        let nulls = self.validity.finish();
        Ok(match &mut self.values {
            Values::Null => Arc::new(NullArray::new(rows)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int8(values) => numbers::<types::Int8Type>(values, nulls, &self.data_type),
            Values::Int16(values) => numbers::<types::Int16Type>(values, nulls, &self.data_type),
            Values::Int32(values) => finish_int32(values, nulls, &self.data_type),
            Values::Int64(values) => finish_int64(values, nulls, &self.data_type),
            Values::Float32(values) => numbers::<types::Float32Type>(values, nulls, &self.data_type),
            Values::Float64(values) => numbers::<types::Float64Type>(values, nulls, &self.data_type),
            Values::Decimal(values) => numbers::<types::Decimal128Type>(values, nulls, &self.data_type),
            Values::Bytes(values) => values.finish(nulls, &self.data_type)?,
            Values::Struct(fields, children) => finish_struct(fields, children, rows, nulls)?,
            Values::List(item, ends, child) => {
                Arc::new(ListArray::try_new(item.clone(), offsets(ends), child.finish()?, nulls)?)
            }
            Values::Map(entries, ends, keys, values) => finish_map(entries, ends, keys, values, nulls)?,
        })
    }
}

impl Bytes {
    fn new() -> Bytes {
        Bytes { bytes: Vec::new(), offsets: vec![0] }
    }

    fn end(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
    }

    fn last(&self) -> &[u8] {
        let start = self.offsets.len().checked_sub(2).map_or(0, |at| self.offsets[at] as usize);
        self.bytes.get(start..).unwrap_or_default()
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.bytes.truncate(end as usize);
    }

    fn finish(&mut self, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(hand_over(&mut self.offsets).into());
        self.offsets.push(0);
        let values = Buffer::from_vec(hand_over(&mut self.bytes));
        let bytes = BinaryArray::try_new(offsets, values, nulls)?;
        Ok(if *data_type == DataType::Binary { Arc::new(bytes) } else { Arc::new(strings(&bytes)) })
    }
}

/// Bytes as strings, with U+FFFD in place of what is not UTF-8. Copies nothing where all is.
pub(crate) fn strings(values: &BinaryArray) -> StringArray {
    let lossy = |_| values.iter().map(|value| value.map(String::from_utf8_lossy)).collect();
    StringArray::try_from_binary(values.clone()).unwrap_or_else(lossy)
}

fn cut_ends(ends: &mut Ends, rows: usize) -> usize {
    ends.truncate(rows);
    ends.last().copied().unwrap_or(0) as usize
}

fn offsets(ends: &mut Ends) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(offsets.into())
}

/// The values; in their place an empty vector with room for as many, since chunks are of similar sizes.
fn hand_over<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn numbers<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(hand_over(values).into(), nulls);
    Arc::new(array.with_data_type(data_type.clone()))
}

fn finish_int32(values: &mut Vec<i32>, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Date32 => numbers::<types::Date32Type>(values, nulls, data_type),
        DataType::Interval(_) => numbers::<types::IntervalYearMonthType>(values, nulls, data_type),
        _ => numbers::<types::Int32Type>(values, nulls, data_type),
    }
}

fn finish_int64(values: &mut Vec<i64>, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Timestamp(..) => numbers::<types::TimestampMicrosecondType>(values, nulls, data_type),
        DataType::Duration(_) => numbers::<types::DurationMicrosecondType>(values, nulls, data_type),
        DataType::Time64(_) => numbers::<types::Time64MicrosecondType>(values, nulls, data_type),
        _ => numbers::<types::Int64Type>(values, nulls, data_type),
    }
}

fn finish_struct(fields: &Fields, children: &mut [Column], rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let arrays: Vec<ArrayRef> = children.iter_mut().map(Column::finish).collect::<Result<_>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows)?))
}

fn finish_map(
    entries: &FieldRef,
    ends: &mut Ends,
    keys: &mut Column,
    values: &mut Column,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Error::internal("the entries of a map are not a struct"));
    };
    let rows = keys.len();
    let entry_arrays =
        StructArray::try_new_with_length(fields.clone(), vec![keys.finish()?, values.finish()?], None, rows)?;
    Ok(Arc::new(MapArray::try_new(entries.clone(), offsets(ends), entry_arrays, nulls, false)?))
}

fn values_of(data_type: &DataType) -> Result<Values> {
    Ok(match data_type {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
        DataType::Int8 => Values::Int8(Vec::new()),
        DataType::Int16 => Values::Int16(Vec::new()),
        DataType::Int32 | DataType::Date32 | DataType::Interval(IntervalUnit::YearMonth) => Values::Int32(Vec::new()),
        DataType::Int64 => Values::Int64(Vec::new()),
        DataType::Timestamp(TimeUnit::Microsecond, _)
        | DataType::Duration(TimeUnit::Microsecond)
        | DataType::Time64(TimeUnit::Microsecond) => Values::Int64(Vec::new()),
        DataType::Float32 => Values::Float32(Vec::new()),
        DataType::Float64 => Values::Float64(Vec::new()),
        DataType::Decimal128(..) => Values::Decimal(Vec::new()),
        DataType::Utf8 | DataType::Binary => Values::Bytes(Bytes::new()),
        nested => return nested_values_of(nested),
    })
}

fn nested_values_of(data_type: &DataType) -> Result<Values> {
    match data_type {
        DataType::Struct(fields) => {
            let children: Result<Vec<_>> = fields.iter().map(|field| Column::new(field.data_type())).collect();
            Ok(Values::Struct(fields.clone(), children?))
        }
        DataType::List(item) => Ok(Values::List(item.clone(), Vec::new(), Box::new(Column::new(item.data_type())?))),
        DataType::Map(entries, _) => match map_types(data_type) {
            Some((key, value)) => {
                let (keys, values) = (Column::new(key.data_type())?, Column::new(value.data_type())?);
                Ok(Values::Map(entries.clone(), Vec::new(), Box::new(keys), Box::new(values)))
            }
            None => Err(unsupported(data_type)),
        },
        other => Err(unsupported(other)),
    }
}

/// The error for a type that a text format cannot read or write.
pub(crate) fn unsupported(data_type: &DataType) -> Error {
    Error::query("UNSUPPORTED_DATATYPE", format!("unsupported data type \"{}\"", simple_name(data_type).to_uppercase()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::types::parse_type;

    #[test]
    fn truncating_takes_back_nested_values() {
        let mut column = Column::new(&parse_type("array<string>").unwrap()).unwrap();
        for word in ["a", "b"] {
            let Values::List(_, _, child) = &mut column.values else { panic!() };
            child.push_bytes(word.as_bytes());
            column.accept();
        }
        let Values::List(_, _, child) = &mut column.values else { panic!() };
        child.push_bytes(b"never accepted");
        column.truncate(1);
        column.push_null();
        let array = column.finish().unwrap();
        let list = array.as_list::<i32>();
        assert_eq!((list.len(), list.null_count(), list.values().len()), (2, 1, 1));
        assert_eq!(column.len(), 0);
    }

    #[test]
    fn d04_bytes_that_are_not_utf8_become_replacement_characters() {
        let mut column = Column::new(&DataType::Utf8).unwrap();
        column.push_bytes(b"ok");
        column.push_bytes(b"a\xffb");
        let array = column.finish().unwrap();
        assert_eq!(array.as_string::<i32>().value(1), "a\u{fffd}b");
    }
}
