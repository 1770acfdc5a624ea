//! Spark's hashes of whole values: `hash` (Murmur3) and `xxhash64`, both with seed 42, over columns of every type but MAP.
//!
//! In: any number of columns. Out: INT or BIGINT, never null. The hash of one value is the seed of the next; a null leaves
//! the seed as it is. Arrays and structs hash their parts in order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::functions::crypto;
use datafusion::logical_expr::{Expr, cast};
use datafusion_spark::function::hash as spark_hash;

use super::arguments::{coerced, reuse};
use super::rows::{Rows, over_rows};
use super::{Call, Function, function};
use crate::{Error, Result, types};

const BINARY: DataType = DataType::Binary;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["md5"], md5),
    function(&["sha1", "sha"], |call| reuse(call, spark_hash::sha1(), &[BINARY])),
    function(&["sha2"], |call| reuse(call, spark_hash::sha2(), &[BINARY, DataType::Int32])),
    function(&["crc32"], |call| reuse(call, spark_hash::crc32(), &[BINARY])),
    function(&["hash"], |call| hash_columns::<Murmur3>(call, "hash", DataType::Int32)),
    function(&["xxhash64"], |call| hash_columns::<XxHash64>(call, "xxhash64", DataType::Int64)),
];

fn md5(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[BINARY])?;
    Ok(cast(crypto::md5().call(args), DataType::Utf8))
}

/// A hash function with the previous hash as seed.
trait Algorithm: 'static {
    type Output: ArrowPrimitiveType;
    const SEED: <Self::Output as ArrowPrimitiveType>::Native;
    fn int(value: i32, seed: Native<Self>) -> Native<Self>;
    fn long(value: i64, seed: Native<Self>) -> Native<Self>;
    fn bytes(value: &[u8], seed: Native<Self>) -> Native<Self>;
}

type Native<H> = <<H as Algorithm>::Output as ArrowPrimitiveType>::Native;

/// Spark's variant of 32-bit Murmur3: each byte after the last whole word is mixed in as a word of its own.
struct Murmur3;

impl Murmur3 {
    fn mix(hash: u32, word: u32) -> u32 {
        let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    }

    fn finish(hash: u32, length: u32) -> i32 {
        let hash = hash ^ length;
        let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        (hash ^ hash >> 16) as i32
    }
}

impl Algorithm for Murmur3 {
    type Output = Int32Type;
    const SEED: i32 = 42;

    fn int(value: i32, seed: i32) -> i32 {
        Self::finish(Self::mix(seed as u32, value as u32), 4)
    }

    fn long(value: i64, seed: i32) -> i32 {
        let low = Self::mix(seed as u32, value as u32);
        Self::finish(Self::mix(low, (value >> 32) as u32), 8)
    }

    fn bytes(value: &[u8], seed: i32) -> i32 {
        let (words, tail) = value.as_chunks::<4>();
        let hash = words.iter().fold(seed as u32, |hash, word| Self::mix(hash, u32::from_le_bytes(*word)));
        let hash = tail.iter().fold(hash, |hash, byte| Self::mix(hash, i32::from(*byte as i8) as u32));
        Self::finish(hash, value.len() as u32)
    }
}

/// 64-bit xxHash.
struct XxHash64;

impl Algorithm for XxHash64 {
    type Output = Int64Type;
    const SEED: i64 = 42;

    fn int(value: i32, seed: i64) -> i64 {
        Self::bytes(&value.to_le_bytes(), seed)
    }

    fn long(value: i64, seed: i64) -> i64 {
        Self::bytes(&value.to_le_bytes(), seed)
    }

    fn bytes(value: &[u8], seed: i64) -> i64 {
        twox_hash::XxHash64::oneshot(seed as u64, value) as i64
    }
}

fn hash_columns<H: Algorithm>(mut call: Call<'_>, name: &'static str, result: DataType) -> Result<Expr> {
    let args = call.values(1..=usize::MAX)?;
    for arg in &args {
        refuse_maps(&call.type_of(arg)?, name)?;
    }
    Ok(over_rows(name, result, hash_rows::<H>).call(args))
}

fn refuse_maps(data_type: &DataType, name: &str) -> Result<()> {
    match data_type {
        DataType::Map(..) => Err(Error::query(
            "DATATYPE_MISMATCH.HASH_MAP_TYPE",
            format!("function '{name}' cannot hash a MAP, whose entries have no order"),
        )),
        variant if crate::types::is_variant(variant) => {
            Err(Error::query("DATATYPE_MISMATCH.HASH_VARIANT_TYPE", format!("function '{name}' cannot hash a VARIANT")))
        }
        DataType::List(item) => refuse_maps(item.data_type(), name),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| refuse_maps(field.data_type(), name)),
        _ => Ok(()),
    }
}

fn hash_rows<H: Algorithm>(rows: &Rows<'_>) -> Result<ArrayRef> {
    let columns = (0..rows.arity()).map(|i| rows.array(i)).collect::<Result<Vec<_>>>()?;
    let hashers = columns.iter().map(|column| hasher::<H>(column)).collect::<Result<Vec<_>>>()?;
    let hash = |row| hashers.iter().fold(H::SEED, |seed, hasher| hasher(row, seed));
    Ok(Arc::new(PrimitiveArray::<H::Output>::from_iter_values((0..rows.len()).map(hash))))
}

/// Hashes the value at a row onto a seed; made once for a column, so that no row looks at types.
type Hasher<'a, H> = Box<dyn Fn(usize, Native<H>) -> Native<H> + 'a>;

fn hasher<H: Algorithm>(array: &ArrayRef) -> Result<Hasher<'_, H>> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, seed| seed),
        DataType::Boolean => {
            let values = array.as_boolean();
            valid::<H>(array, move |row, seed| H::int(i32::from(values.value(row)), seed))
        }
        DataType::Int8 => ints::<H, Int8Type>(array, i32::from),
        DataType::Int16 => ints::<H, Int16Type>(array, i32::from),
        DataType::Int32 => ints::<H, Int32Type>(array, |value| value),
        DataType::Date32 => ints::<H, Date32Type>(array, |value| value),
        DataType::Interval(IntervalUnit::YearMonth) => ints::<H, IntervalYearMonthType>(array, |value| value),
        DataType::Int64 => longs::<H, Int64Type>(array, |value| value),
        DataType::Timestamp(TimeUnit::Microsecond, _) => longs::<H, TimestampMicrosecondType>(array, |value| value),
        DataType::Duration(TimeUnit::Microsecond) => longs::<H, DurationMicrosecondType>(array, |value| value),
        DataType::Time64(TimeUnit::Microsecond) => longs::<H, Time64MicrosecondType>(array, |value| value * 1000),
        DataType::Float32 => ints::<H, Float32Type>(array, float_bits),
        DataType::Float64 => longs::<H, Float64Type>(array, double_bits),
        DataType::Decimal128(precision, _) => decimals::<H>(array, *precision),
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            valid::<H>(array, move |row, seed| H::bytes(values.value(row).as_bytes(), seed))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            valid::<H>(array, move |row, seed| H::bytes(values.value(row), seed))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => calendar_intervals::<H>(array),
        DataType::List(_) => lists::<H>(array)?,
        DataType::Struct(_) => structs::<H>(array)?,
        other => return Err(Error::unsupported(format!("hashing values of type {}", types::simple_name(other)))),
    })
}

fn valid<'a, H: Algorithm>(array: &'a ArrayRef, hash: impl Fn(usize, Native<H>) -> Native<H> + 'a) -> Hasher<'a, H> {
    match array.nulls() {
        None => Box::new(hash),
        Some(nulls) => Box::new(move |row, seed| if nulls.is_null(row) { seed } else { hash(row, seed) }),
    }
}

fn ints<H: Algorithm, T: ArrowPrimitiveType>(array: &ArrayRef, value: fn(T::Native) -> i32) -> Hasher<'_, H> {
    let values = array.as_primitive::<T>();
    valid::<H>(array, move |row, seed| H::int(value(values.value(row)), seed))
}

fn longs<H: Algorithm, T: ArrowPrimitiveType>(array: &ArrayRef, value: fn(T::Native) -> i64) -> Hasher<'_, H> {
    let values = array.as_primitive::<T>();
    valid::<H>(array, move |row, seed| H::long(value(values.value(row)), seed))
}

/// -0.0 hashes as 0.0, and all NaN alike.
fn float_bits(value: f32) -> i32 {
    match value {
        value if value.is_nan() => 0x7fc0_0000,
        0.0 => 0,
        value => value.to_bits() as i32,
    }
}

fn double_bits(value: f64) -> i64 {
    match value {
        value if value.is_nan() => 0x7ff8_0000_0000_0000,
        0.0 => 0,
        value => value.to_bits() as i64,
    }
}

/// Up to 18 digits hash as a BIGINT, more as the shortest big-endian bytes.
fn decimals<H: Algorithm>(array: &ArrayRef, precision: u8) -> Hasher<'_, H> {
    let values = array.as_primitive::<Decimal128Type>();
    if precision <= 18 {
        return valid::<H>(array, move |row, seed| H::long(values.value(row) as i64, seed));
    }
    valid::<H>(array, move |row, seed| {
        let value = values.value(row);
        let redundant = if value < 0 { (!value).leading_zeros() } else { value.leading_zeros() };
        let skipped = (redundant.saturating_sub(1) / 8) as usize;
        H::bytes(&value.to_be_bytes()[skipped.min(15)..], seed)
    })
}

fn calendar_intervals<H: Algorithm>(array: &ArrayRef) -> Hasher<'_, H> {
    let values = array.as_primitive::<IntervalMonthDayNanoType>();
    valid::<H>(array, move |row, seed| {
        let value = values.value(row);
        H::int(value.months, H::int(value.days, H::long(value.nanoseconds / 1000, seed)))
    })
}

fn lists<H: Algorithm>(array: &ArrayRef) -> Result<Hasher<'_, H>> {
    let list = array.as_list::<i32>();
    let element = hasher::<H>(list.values())?;
    Ok(valid::<H>(array, move |row, seed| {
        let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
        (start..end).fold(seed, |seed, i| element(i, seed))
    }))
}

fn structs<H: Algorithm>(array: &ArrayRef) -> Result<Hasher<'_, H>> {
    let fields = array.as_struct().columns().iter().map(hasher::<H>).collect::<Result<Vec<_>>>()?;
    Ok(valid::<H>(array, move |row, seed| fields.iter().fold(seed, |seed, field| field(row, seed))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sparks() {
        assert_eq!(Murmur3::bytes(b"Spark", 42), 228_093_765);
        assert_eq!(Murmur3::long(1, 42), -1_712_319_331);
        assert_eq!(Murmur3::int(1, 42), -559_580_957);
        assert_eq!(XxHash64::int(1, 42), -6_698_625_589_789_238_999);
        assert_eq!(XxHash64::bytes(b"Spark", 42), -4_294_468_057_691_064_905);
    }
}
