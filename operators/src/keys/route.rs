//! Hashes that are the same in every process and in Spark: `xxhash64`.
//!
//! In: columns, or single values. Out: 64-bit hashes with Spark's results (nulls leave the hash as it was, floats are
//! normalised), so that they also serve sketches. What always holds: equal keys have equal hashes, in every process and
//! every run, whatever chunk they came in.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray, OffsetSizeTrait};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, BinaryType, ByteArrayType, DataType, Date32Type, Date64Type, Decimal128Type,
    DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalYearMonthType, LargeBinaryType, LargeUtf8Type, TimestampMicrosecondType, Utf8Type,
};

use super::normalize::{canonical_f32, canonical_f64, normalize_floats};
use super::rows::RowCodec;
use crate::Result;

/// The seed of Spark's `xxhash64` and `hash`.
pub const SPARK_SEED: u64 = 42;

/// Sets `out` to a stable hash of each of the `rows` rows of `columns`; no columns give the same hash to all.
///
/// # Errors
/// A type that has no equality.
pub fn route(columns: &[ArrayRef], rows: usize, out: &mut Vec<u64>) -> Result<()> {
    out.clear();
    out.resize(rows, SPARK_SEED);
    columns.iter().try_for_each(|column| hash_column(column, out))
}

/// Folds the values of a column into the hashes; nulls leave them.
pub(crate) fn hash_column(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    match column.data_type() {
        DataType::Null => {}
        DataType::Boolean => hash_booleans(column, hashes),
        DataType::Int8 => hash_primitive::<Int8Type>(column, hashes, |v, h| xxhash64_int(v.into(), h)),
        DataType::Int16 => hash_primitive::<Int16Type>(column, hashes, |v, h| xxhash64_int(v.into(), h)),
        DataType::Int32 => hash_primitive::<Int32Type>(column, hashes, xxhash64_int),
        DataType::Date32 => hash_primitive::<Date32Type>(column, hashes, xxhash64_int),
        DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth) => {
            hash_primitive::<IntervalYearMonthType>(column, hashes, xxhash64_int);
        }
        DataType::Int64 => hash_primitive::<Int64Type>(column, hashes, xxhash64_long),
        DataType::Date64 => hash_primitive::<Date64Type>(column, hashes, xxhash64_long),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
            hash_primitive::<TimestampMicrosecondType>(column, hashes, xxhash64_long);
        }
        DataType::Duration(arrow::datatypes::TimeUnit::Microsecond) => {
            hash_primitive::<DurationMicrosecondType>(column, hashes, xxhash64_long);
        }
        DataType::Float32 => hash_primitive::<Float32Type>(column, hashes, hash_f32),
        DataType::Float64 => hash_primitive::<Float64Type>(column, hashes, hash_f64),
        DataType::Decimal128(precision, _) if *precision <= 18 => {
            hash_primitive::<Decimal128Type>(column, hashes, |v, h| xxhash64_long(v as i64, h));
        }
        DataType::Decimal128(_, _) => hash_primitive::<Decimal128Type>(column, hashes, hash_wide_decimal),
        DataType::Utf8 => hash_values(column.as_bytes::<Utf8Type>(), hashes, xxhash64_within),
        DataType::LargeUtf8 => hash_values(column.as_bytes::<LargeUtf8Type>(), hashes, xxhash64_within),
        DataType::Utf8View => hash_bytes(column.as_string_view().iter().map(|v| v.map(str::as_bytes)), hashes),
        DataType::Binary => hash_values(column.as_bytes::<BinaryType>(), hashes, xxhash64_within),
        DataType::LargeBinary => hash_values(column.as_bytes::<LargeBinaryType>(), hashes, xxhash64_within),
        DataType::BinaryView => hash_bytes(column.as_binary_view().iter(), hashes),
        DataType::Dictionary(_, values) => hash_column(&cast(column, values)?, hashes)?,
        DataType::Struct(_) => hash_struct(column, hashes)?,
        DataType::List(_) => hash_list::<i32>(column, hashes)?,
        DataType::LargeList(_) => hash_list::<i64>(column, hashes)?,
        _ => hash_encoded(column, hashes)?,
    }
    Ok(())
}

fn hash_primitive<T: ArrowPrimitiveType>(column: &ArrayRef, hashes: &mut [u64], hash: impl Fn(T::Native, u64) -> u64) {
    let column = column.as_primitive::<T>();
    match column.nulls() {
        None => hashes.iter_mut().zip(column.values()).for_each(|(h, v)| *h = hash(*v, *h)),
        Some(nulls) => {
            for row in nulls.valid_indices() {
                hashes[row] = hash(column.value(row), hashes[row]);
            }
        }
    }
}

fn hash_booleans(column: &ArrayRef, hashes: &mut [u64]) {
    for (value, hash) in column.as_boolean().iter().zip(hashes) {
        if let Some(value) = value {
            *hash = xxhash64_int(value.into(), *hash);
        }
    }
}

/// Folds bytes into the hashes by a function of all of them, where a value begins and ends, and the hash so far.
pub(super) fn hash_values<T: ByteArrayType>(
    column: &GenericByteArray<T>,
    hashes: &mut [u64],
    within: impl Fn(&[u8], usize, usize, u64) -> u64,
) {
    let (values, offsets) = (column.value_data(), column.value_offsets());
    let fold = |row: usize, hash: &mut u64| {
        *hash = within(values, offsets[row].as_usize(), offsets[row + 1].as_usize(), *hash);
    };
    match column.nulls() {
        None => hashes.iter_mut().enumerate().for_each(|(row, hash)| fold(row, hash)),
        Some(nulls) => nulls.valid_indices().for_each(|row| fold(row, &mut hashes[row])),
    }
}

fn hash_bytes<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, hashes: &mut [u64]) {
    for (value, hash) in values.zip(hashes) {
        if let Some(value) = value {
            *hash = xxhash64_bytes(value, *hash);
        }
    }
}

fn hash_struct(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    let before = column.nulls().map(|nulls| (nulls, hashes.to_vec()));
    column.as_struct().columns().iter().try_for_each(|child| hash_column(child, hashes))?;
    if let Some((nulls, before)) = before {
        let restore = (0..nulls.len()).filter(|&row| nulls.is_null(row));
        restore.for_each(|row| hashes[row] = before[row]);
    }
    Ok(())
}

fn hash_list<O: OffsetSizeTrait>(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    let list = column.as_list::<O>();
    for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
        let items = list.value(row);
        for item in 0..items.len() {
            hash_column(&items.slice(item, 1), &mut hashes[row..=row])?;
        }
    }
    Ok(())
}

/// Types that Spark does not hash this way (maps, calendar intervals and foreign ones): by their row encoding.
fn hash_encoded(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    let column = normalize_floats(column)?;
    let rows = RowCodec::new(&[column.data_type().clone()])?.encode(std::slice::from_ref(&column))?;
    for row in (0..column.len()).filter(|&row| column.is_valid(row)) {
        hashes[row] = xxhash64_bytes(rows.row(row).data(), hashes[row]);
    }
    Ok(())
}

fn hash_f32(value: f32, seed: u64) -> u64 {
    xxhash64_int(canonical_f32(value).to_bits() as i32, seed)
}

fn hash_f64(value: f64, seed: u64) -> u64 {
    xxhash64_long(canonical_f64(value).to_bits() as i64, seed)
}

/// As the shortest big-endian two's complement, like Java's `BigInteger.toByteArray`.
fn hash_wide_decimal(value: i128, seed: u64) -> u64 {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let redundant = bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    xxhash64_bytes(&bytes[redundant..], seed)
}

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// XXH64 of a 32-bit value as Spark computes it.
#[inline]
pub fn xxhash64_int(value: i32, seed: u64) -> u64 {
    let hash = seed.wrapping_add(PRIME_5).wrapping_add(4);
    avalanche(mix_4(hash, value as u32))
}

/// XXH64 of a 64-bit value as Spark computes it.
#[inline]
pub fn xxhash64_long(value: i64, seed: u64) -> u64 {
    let hash = seed.wrapping_add(PRIME_5).wrapping_add(8);
    avalanche(mix_8(hash, value as u64))
}

/// XXH64 of bytes.
pub fn xxhash64_bytes(bytes: &[u8], seed: u64) -> u64 {
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = match stripes {
        [] => seed.wrapping_add(PRIME_5),
        stripes => hash_stripes(stripes, seed),
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let (longs, rest) = rest.as_chunks::<8>();
    hash = longs.iter().fold(hash, |hash, long| mix_8(hash, u64::from_le_bytes(*long)));
    let (ints, rest) = rest.as_chunks::<4>();
    hash = ints.iter().fold(hash, |hash, int| mix_4(hash, u32::from_le_bytes(*int)));
    avalanche(rest.iter().fold(hash, |hash, byte| mix_1(hash, *byte)))
}

/// XXH64 of what lies here in a column's bytes.
#[inline]
fn xxhash64_within(column: &[u8], start: usize, end: usize, seed: u64) -> u64 {
    let bytes = &column[start..end];
    match column[start..].as_chunks::<8>().0 {
        [first, second, ..] if bytes.len() < 16 => {
            xxhash64_short([u64::from_le_bytes(*first), u64::from_le_bytes(*second)], bytes.len(), seed)
        }
        _ => xxhash64_bytes(bytes, seed),
    }
}

/// XXH64 of the first `length` of 16 bytes, fewer than all. Lengths of words cannot be predicted, so each step is done, and taken if the length
/// has it.
#[inline]
fn xxhash64_short([first, second]: [u64; 2], length: usize, seed: u64) -> u64 {
    let hash = seed.wrapping_add(PRIME_5).wrapping_add(length as u64);
    let (has_8, has_4, bytes) = (length & 8 != 0, length & 4 != 0, length & 3);
    let mut hash = choose(has_8, mix_8(hash, first), hash);
    let rest = choose(has_8, second, first);
    hash = choose(has_4, mix_4(hash, rest as u32), hash);
    let rest = choose(has_4, rest >> 32, rest);
    for at in 0..3 {
        hash = choose(at < bytes, mix_1(hash, (rest >> (8 * at)) as u8), hash);
    }
    avalanche(hash)
}

/// `if yes { one } else { other }`, without a branch.
#[inline]
fn choose(yes: bool, one: u64, other: u64) -> u64 {
    let mask = u64::from(yes).wrapping_neg();
    one & mask | other & !mask
}

fn hash_stripes(stripes: &[[u8; 32]], seed: u64) -> u64 {
    let start = seed.wrapping_add(PRIME_1);
    let mut lanes = [start.wrapping_add(PRIME_2), seed.wrapping_add(PRIME_2), seed, seed.wrapping_sub(PRIME_1)];
    for stripe in stripes {
        for (lane, long) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*long));
        }
    }
    let turns = [1, 7, 12, 18];
    let joined = lanes.iter().zip(turns).fold(0u64, |sum, (lane, turn)| sum.wrapping_add(lane.rotate_left(turn)));
    lanes.iter().fold(joined, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
}

#[inline]
fn round(lane: u64, value: u64) -> u64 {
    lane.wrapping_add(value.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

#[inline]
fn mix_8(hash: u64, value: u64) -> u64 {
    (hash ^ round(0, value)).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4)
}

#[inline]
fn mix_4(hash: u64, value: u32) -> u64 {
    (hash ^ u64::from(value).wrapping_mul(PRIME_1)).rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3)
}

#[inline]
fn mix_1(hash: u64, value: u8) -> u64 {
    (hash ^ u64::from(value).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1)
}

#[inline]
fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_does_not_depend_on_what_lies_around_the_value() {
        let text: Vec<u8> = (0..60u8).map(|at| at.wrapping_mul(89).wrapping_add(7)).collect();
        for (start, end) in (0..text.len()).flat_map(|start| (start..=text.len()).map(move |end| (start, end))) {
            assert_eq!(xxhash64_within(&text, start, end, SPARK_SEED), xxhash64_bytes(&text[start..end], SPARK_SEED));
        }
    }
}
