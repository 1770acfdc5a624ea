//! Arrow columns → cells of CQL.
//!
//! In: a column of a query's rows and the CQL type of the table's column. Out: [`Cells`], which append the bytes of any row's
//! value. [`fits`] says before anything runs which types go where: nothing is converted that could lose more than it says,
//! texts become numbers only by a CAST of the user. Whole columns are converted at once; a value that does not fit is found
//! here, so that appending cannot fail.

use std::net::IpAddr;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, BooleanArray, ListArray, MapArray,
    PrimitiveArray, StringArray, new_null_array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit, TimestampMicrosecondType,
};

use super::duration::CqlDuration;
use super::numbers::{put_unsigned_vint, put_varint};
use super::types::CqlType;
use crate::{Error, Result, types};

/// The values of a column, ready to be sent.
pub(crate) trait Cells: Send + Sync {
    /// True if the row's value is null.
    fn is_null(&self, row: usize) -> bool;
    /// Appends the bytes of the row's value, which is not null.
    fn put(&self, row: usize, out: &mut Vec<u8>);
}

/// True if values of this type can be written to a column of that CQL type.
pub(crate) fn fits(from: &DataType, to: &CqlType) -> bool {
    use DataType as D;
    match (to, from) {
        (_, D::Null) => true,
        (CqlType::Ascii | CqlType::Text | CqlType::Uuid | CqlType::Timeuuid | CqlType::Inet, from) => is_text(from),
        (CqlType::Blob, from) => is_text(from) || matches!(from, D::Binary | D::LargeBinary | D::BinaryView),
        (CqlType::Boolean, from) => *from == D::Boolean,
        (CqlType::TinyInt | CqlType::SmallInt | CqlType::Int | CqlType::BigInt | CqlType::Counter, from) => {
            is_whole(from)
        }
        (CqlType::Float | CqlType::Double, from) => {
            is_whole(from) || matches!(from, D::Float32 | D::Float64 | D::Decimal128(..))
        }
        (CqlType::Decimal, from) => is_whole(from) || matches!(from, D::Decimal128(..)),
        (CqlType::Varint, from) => is_whole(from) || matches!(from, D::Decimal128(_, 0)),
        (CqlType::Timestamp, from) => matches!(from, D::Timestamp(..) | D::Date32),
        (CqlType::Date, from) => *from == D::Date32,
        (CqlType::Time, from) => matches!(from, D::Int64 | D::Time64(_)),
        (CqlType::Duration, from) => is_text(from) || matches!(from, D::Interval(_) | D::Duration(_)),
        (CqlType::List(item) | CqlType::Set(item) | CqlType::Vector(item, _), D::List(from)) => {
            fits(from.data_type(), item)
        }
        (CqlType::Map(key, value), from) => {
            types::map_types(from).is_some_and(|(k, v)| fits(k.data_type(), key) && fits(v.data_type(), value))
        }
        (CqlType::Struct { .. }, D::Struct(_)) => parts(from, to).is_some(),
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_whole(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// For each field of a user's type or tuple the struct's field that it is given, if they all find one another.
fn parts(from: &DataType, to: &CqlType) -> Option<Vec<Option<usize>>> {
    let (DataType::Struct(given), CqlType::Struct { name, fields }) = (from, to) else { return None };
    if name.is_none() {
        let fit = |(given, (_, cql)): (&arrow::datatypes::FieldRef, &(String, CqlType))| fits(given.data_type(), cql);
        return (given.len() == fields.len() && given.iter().zip(fields).all(fit))
            .then(|| (0..given.len()).map(Some).collect());
    }
    let place = |name: &str| fields.iter().position(|(field, _)| field.eq_ignore_ascii_case(name));
    if !given.iter().all(|field| place(field.name()).is_some_and(|n| fits(field.data_type(), &fields[n].1))) {
        return None;
    }
    let find = |(name, _): &(String, CqlType)| given.iter().position(|field| field.name().eq_ignore_ascii_case(name));
    Some(fields.iter().map(find).collect())
}

/// The cells of a column, `name` being for errors.
///
/// # Errors
/// A value that does not fit or is none of the type; a null inside a collection.
pub(crate) fn cells(array: &ArrayRef, cql: &CqlType, name: &str) -> Result<Box<dyn Cells>> {
    if *array.data_type() == DataType::Null {
        return Ok(Box::new(BytesCells(new_null_array(&DataType::Binary, array.len()).as_binary().clone())));
    }
    match cql {
        CqlType::Ascii | CqlType::Text => Ok(Box::new(TextCells(texts(array)?))),
        CqlType::Blob => Ok(Box::new(BytesCells(cast(array, &DataType::Binary)?.as_binary().clone()))),
        CqlType::Boolean => Ok(Box::new(array.as_boolean().clone())),
        CqlType::TinyInt => numbers::<Int8Type>(array, cql, name, |value, out| out.extend(value.to_be_bytes())),
        CqlType::SmallInt => numbers::<Int16Type>(array, cql, name, |value, out| out.extend(value.to_be_bytes())),
        CqlType::Int => numbers::<Int32Type>(array, cql, name, |value, out| out.extend(value.to_be_bytes())),
        CqlType::BigInt | CqlType::Counter => numbers::<Int64Type>(array, cql, name, put_long),
        CqlType::Float => numbers::<Float32Type>(array, cql, name, |value, out| out.extend(value.to_be_bytes())),
        CqlType::Double => numbers::<Float64Type>(array, cql, name, |value, out| out.extend(value.to_be_bytes())),
        CqlType::Date => numbers::<Date32Type>(array, cql, name, |days, out| {
            out.extend(days.wrapping_add(i32::MIN).to_be_bytes());
        }),
        CqlType::Decimal | CqlType::Varint => Ok(Box::new(decimals(array, cql)?)),
        CqlType::Timestamp => Ok(Box::new(NumberCells { array: millis(array)?, put: put_long })),
        CqlType::Time => Ok(Box::new(NumberCells { array: nanos_of_day(array, name)?, put: put_long })),
        CqlType::Uuid | CqlType::Timeuuid => parsed(array, cql, name, |text, out| {
            out.extend_from_slice(uuid::Uuid::try_parse(text).ok()?.as_bytes());
            Some(())
        }),
        CqlType::Inet => parsed(array, cql, name, put_address),
        CqlType::Duration => durations(array, cql, name),
        CqlType::List(item) | CqlType::Set(item) | CqlType::Vector(item, _) => lists(array, cql, item, name),
        CqlType::Map(key, value) => maps(array, key, value, name),
        CqlType::Struct { fields, .. } => structs(array, cql, fields, name),
    }
}

fn texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(cast(array, &DataType::Utf8)?.as_string().clone())
}

fn put_long(value: i64, out: &mut Vec<u8>) {
    out.extend(value.to_be_bytes());
}

/// Numbers as Arrow casts them, an overflow being an error.
fn numbers<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    cql: &CqlType,
    name: &str,
    put: fn(T::Native, &mut Vec<u8>),
) -> Result<Box<dyn Cells>> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let array = cast_with_options(array, &T::DATA_TYPE, &options).map_err(|cause| {
        Error::data("CAST_OVERFLOW", format!("a value does not fit column '{name}', which is {cql}")).caused_by(cause)
    })?;
    Ok(Box::new(NumberCells::<T> { array: array.as_primitive().clone(), put }))
}

fn decimals(array: &ArrayRef, cql: &CqlType) -> Result<DecimalCells> {
    let array = match array.data_type() {
        DataType::Decimal128(..) => array.clone(),
        _ => cast(array, &DataType::Decimal128(38, 0))?,
    };
    let array: PrimitiveArray<Decimal128Type> = array.as_primitive().clone();
    let scale = (*cql == CqlType::Decimal).then(|| i32::from(array.scale()));
    Ok(DecimalCells { array, scale })
}

/// CQL's timestamps are milliseconds; what is finer is cut off downwards.
fn millis(array: &ArrayRef) -> Result<PrimitiveArray<Int64Type>> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(micros.as_primitive::<TimestampMicrosecondType>().unary(|micros| micros.div_euclid(1000)))
}

fn nanos_of_day(array: &ArrayRef, name: &str) -> Result<PrimitiveArray<Int64Type>> {
    const DAY: i64 = 86_400_000_000_000;
    let nanos = match array.data_type() {
        DataType::Time64(_) => cast(&cast(array, &DataType::Time64(TimeUnit::Nanosecond))?, &DataType::Int64)?,
        _ => array.clone(),
    };
    let nanos: PrimitiveArray<Int64Type> = nanos.as_primitive().clone();
    match nanos.iter().flatten().find(|nanos| !(0..DAY).contains(nanos)) {
        Some(wrong) => Err(not_a(&wrong.to_string(), "time of day in nanoseconds", name)),
        None => Ok(nanos),
    }
}

fn not_a(value: &str, what: &str, name: &str) -> Error {
    Error::data("CAST_INVALID_INPUT", format!("'{value}' in column '{name}' is no {what}"))
}

/// Texts that a function makes bytes of.
fn parsed(
    array: &ArrayRef,
    cql: &CqlType,
    name: &str,
    parse: fn(&str, &mut Vec<u8>) -> Option<()>,
) -> Result<Box<dyn Cells>> {
    let (texts, mut bytes) = (texts(array)?, Vec::new());
    let mut found = BinaryBuilder::with_capacity(texts.len(), texts.len() * 16);
    for text in &texts {
        let Some(text) = text else {
            found.append_null();
            continue;
        };
        bytes.clear();
        parse(text.trim(), &mut bytes).ok_or_else(|| not_a(text, &cql.to_string(), name))?;
        found.append_value(&bytes);
    }
    Ok(Box::new(BytesCells(found.finish())))
}

fn put_address(text: &str, out: &mut Vec<u8>) -> Option<()> {
    match text.parse().ok()? {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => out.extend(address.octets()),
    }
    Some(())
}

fn durations(array: &ArrayRef, cql: &CqlType, name: &str) -> Result<Box<dyn Cells>> {
    let values: Vec<Option<CqlDuration>> = match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = array.as_primitive::<IntervalYearMonthType>();
            months.iter().map(|months| Some(CqlDuration { months: months?, ..CqlDuration::default() })).collect()
        }
        DataType::Interval(_) => {
            let parts = cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            let whole = |parts: arrow::datatypes::IntervalMonthDayNano| CqlDuration {
                months: parts.months,
                days: parts.days,
                nanos: parts.nanoseconds,
            };
            parts.as_primitive::<IntervalMonthDayNanoType>().iter().map(|parts| parts.map(whole)).collect()
        }
        DataType::Duration(_) => {
            let micros = cast(&cast(array, &DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?;
            let whole = |micros: i64| {
                let nanos = micros.mul_checked(1000).map_err(|_| not_a(&micros.to_string(), &cql.to_string(), name))?;
                Ok::<_, Error>(CqlDuration { nanos, ..CqlDuration::default() })
            };
            let micros = micros.as_primitive::<Int64Type>();
            micros.iter().map(|micros| micros.map(whole).transpose()).collect::<Result<_>>()?
        }
        _ => return parsed(array, cql, name, |text, out| CqlDuration::parse(text).map(|value| value.write(out))),
    };
    let mut bytes = Vec::new();
    let mut found = BinaryBuilder::new();
    for value in values {
        bytes.clear();
        match value {
            Some(value) if value.has_one_sign() => {
                value.write(&mut bytes);
                found.append_value(&bytes);
            }
            Some(_) => return Err(not_a("an interval with parts of different signs", &cql.to_string(), name)),
            None => found.append_null(),
        }
    }
    Ok(Box::new(BytesCells(found.finish())))
}

fn lists(array: &ArrayRef, cql: &CqlType, item: &CqlType, name: &str) -> Result<Box<dyn Cells>> {
    let array = array.as_list::<i32>().clone();
    let items = cells(array.values(), item, name)?;
    let no_nulls = |row: usize| {
        let offsets = array.value_offsets();
        array.is_null(row) || (offsets[row]..offsets[row + 1]).all(|n| !items.is_null(n as usize))
    };
    if array.values().null_count() > 0 && !(0..array.len()).all(no_nulls) {
        return Err(null_inside(cql, name));
    }
    let layout = match cql {
        CqlType::Vector(item, dimensions) => {
            let wrong = |row: &usize| array.is_valid(*row) && array.value_length(*row) as usize != *dimensions;
            if let Some(row) = (0..array.len()).find(wrong) {
                let found = array.value_length(row);
                return Err(not_a(&format!("an array of {found} elements"), &cql.to_string(), name));
            }
            ListLayout::Vector { sized: item.size_in_vector().is_some() }
        }
        _ => ListLayout::Counted,
    };
    Ok(Box::new(ListCells { array, items, layout }))
}

fn null_inside(cql: &CqlType, name: &str) -> Error {
    Error::data(
        "NULL_IN_COLLECTION",
        format!("column '{name}', which is {cql}, can't hold a collection with a null inside"),
    )
    .hint("Leave nulls out with filter(array, x -> x IS NOT NULL).")
}

fn maps(array: &ArrayRef, key: &CqlType, value: &CqlType, name: &str) -> Result<Box<dyn Cells>> {
    let array = array.as_map().clone();
    if array.values().null_count() > 0 {
        return Err(null_inside(&CqlType::Map(Box::new(key.clone()), Box::new(value.clone())), name));
    }
    let (keys, values) = (cells(array.keys(), key, name)?, cells(array.values(), value, name)?);
    Ok(Box::new(MapCells { array, keys, values }))
}

fn structs(array: &ArrayRef, cql: &CqlType, fields: &[(String, CqlType)], name: &str) -> Result<Box<dyn Cells>> {
    let places = parts(array.data_type(), cql)
        .ok_or_else(|| Error::internal(format!("column '{name}' was not checked against {cql}")))?;
    let parts = array.as_struct();
    let part = |(place, (_, field)): (Option<usize>, &(String, CqlType))| {
        place.map(|place| cells(parts.column(place), field, name)).transpose()
    };
    let fields = places.into_iter().zip(fields).map(part).collect::<Result<_>>()?;
    Ok(Box::new(StructCells { array: array.clone(), fields }))
}

struct TextCells(StringArray);

impl Cells for TextCells {
    fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.value(row).as_bytes());
    }
}

struct BytesCells(BinaryArray);

impl Cells for BytesCells {
    fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.value(row));
    }
}

impl Cells for BooleanArray {
    fn is_null(&self, row: usize) -> bool {
        Array::is_null(self, row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        out.push(u8::from(self.value(row)));
    }
}

struct NumberCells<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    put: fn(T::Native, &mut Vec<u8>),
}

impl<T: ArrowPrimitiveType> Cells for NumberCells<T> {
    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        (self.put)(self.array.value(row), out);
    }
}

/// `decimal`, with a scale, and `varint`, without.
struct DecimalCells {
    array: PrimitiveArray<Decimal128Type>,
    scale: Option<i32>,
}

impl Cells for DecimalCells {
    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        if let Some(scale) = self.scale {
            out.extend(scale.to_be_bytes());
        }
        put_varint(self.array.value(row), out);
    }
}

/// Appends a value with its length before it, or null.
pub(crate) fn put_cell(cells: &dyn Cells, row: usize, out: &mut Vec<u8>) {
    if cells.is_null(row) {
        return out.extend((-1i32).to_be_bytes());
    }
    let start = out.len();
    out.extend([0; 4]);
    cells.put(row, out);
    // A longer one than 2 GiB would be refused by the frame it goes into.
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.extend(i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

#[derive(Clone, Copy)]
enum ListLayout {
    Counted,
    Vector { sized: bool },
}

struct ListCells {
    array: ListArray,
    items: Box<dyn Cells>,
    layout: ListLayout,
}

impl Cells for ListCells {
    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        let offsets = self.array.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        if let ListLayout::Counted = self.layout {
            put_count(range.len(), out);
        }
        for item in range {
            match self.layout {
                ListLayout::Counted => put_cell(self.items.as_ref(), item, out),
                ListLayout::Vector { sized: true } => self.items.put(item, out),
                ListLayout::Vector { sized: false } => {
                    let mut value = Vec::new();
                    self.items.put(item, &mut value);
                    put_unsigned_vint(value.len() as u64, out);
                    out.extend(value);
                }
            }
        }
    }
}

struct MapCells {
    array: MapArray,
    keys: Box<dyn Cells>,
    values: Box<dyn Cells>,
}

impl Cells for MapCells {
    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        let offsets = self.array.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        put_count(range.len(), out);
        for entry in range {
            put_cell(self.keys.as_ref(), entry, out);
            put_cell(self.values.as_ref(), entry, out);
        }
    }
}

/// Users' types and tuples; fields that the rows do not have are null.
struct StructCells {
    array: ArrayRef,
    fields: Vec<Option<Box<dyn Cells>>>,
}

impl Cells for StructCells {
    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        for field in &self.fields {
            match field {
                Some(cells) => put_cell(cells.as_ref(), row, out),
                None => out.extend((-1i32).to_be_bytes()),
            }
        }
    }
}
