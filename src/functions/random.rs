//! Random numbers and texts: `rand`, `randn`, `randstr`, `uniform`.
//!
//! In: bounds and lengths that are constant, and perhaps a seed. Out: a new value for each row. With a seed the sequence is the
//! one that Spark's generator gives for it in its first partition; without one it is another each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Float64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};

use super::arguments::{constant, not_foldable};
use super::coerce::{is_integral, unexpected};
use super::kernel::Kernel;
use super::{Call, Function, function};
use crate::{Error, Result};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["rand", "random"], |call| numbers(call, "rand", Generator::double)),
    function(&["randn"], |call| numbers(call, "randn", Generator::gaussian)),
    function(&["randstr"], randstr),
    function(&["uniform"], uniform),
];

/// An xorshift generator over 64 bits, seeded through a hash so that near seeds give far sequences.
struct Generator(u64);

impl Generator {
    fn seeded(seed: u64) -> Self {
        const ARRAY_SEED: u32 = 0x3c07_4a61;
        let bytes = seed.to_be_bytes();
        let low = murmur3(&bytes, ARRAY_SEED);
        let high = murmur3(&bytes, low);
        Self(u64::from(high) << 32 | u64::from(low))
    }

    fn bits(&mut self, count: u32) -> u32 {
        self.0 ^= self.0 << 21;
        self.0 ^= self.0 >> 35;
        self.0 ^= self.0 << 4;
        (self.0 & ((1 << count) - 1)) as u32
    }

    /// From 0 (included) to 1.
    fn double(&mut self) -> f64 {
        let high = u64::from(self.bits(26)) << 27;
        (high + u64::from(self.bits(27))) as f64 / (1u64 << 53) as f64
    }

    /// Of the normal distribution with mean 0 and deviation 1, by the polar method; the second value of each pair is dropped.
    fn gaussian(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.double() - 1.0, 2.0 * self.double() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// A digit, or a letter of either case.
    fn character(&mut self) -> char {
        const CHARACTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let number = (self.bits(32) as i32 % 62).unsigned_abs();
        char::from(CHARACTERS[number as usize])
    }
}

/// MurmurHash3 of whole words, for 32 bits.
fn murmur3(bytes: &[u8; 8], seed: u32) -> u32 {
    let words = bytes.chunks_exact(4).map(|word| word.iter().rev().fold(0u32, |all, byte| all << 8 | u32::from(*byte)));
    let mixed = words.fold(seed, |hash, word| {
        let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let hash = mixed ^ bytes.len() as u32;
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// The sequence of one call in a query: each chunk of rows goes on where the last one ended.
struct Sequence(AtomicU64);

impl Sequence {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(Generator::seeded(seed).0))
    }

    fn next<T>(&self, take: impl FnOnce(&mut Generator) -> T) -> T {
        let mut generator = Generator(self.0.load(Ordering::Relaxed));
        let taken = take(&mut generator);
        self.0.store(generator.0, Ordering::Relaxed);
        taken
    }
}

/// The seed in argument `at`, or one of chance.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`, `SEED_EXPRESSION_IS_UNFOLDABLE`.
fn seed(call: &Call<'_>, args: &[Expr], at: usize) -> Result<u64> {
    let Some(arg) = args.get(at) else { return Ok(uuid::Uuid::new_v4().as_u128() as u64) };
    let data_type = call.type_of(arg)?;
    if !is_integral(&data_type) && data_type != DataType::Null {
        return Err(unexpected(arg, &data_type, "\"INT\" or \"BIGINT\""));
    }
    match constant(&call.cast(arg.clone(), &DataType::Int64)?)? {
        Some(ScalarValue::Int64(seed)) => Ok(seed.unwrap_or(0) as u64),
        _ => Err(Error::query(
            "SEED_EXPRESSION_IS_UNFOLDABLE",
            format!("the seed of '{}' must be a constant", call.name),
        )),
    }
}

/// `rand([seed])`, `randn([seed])`.
fn numbers(mut call: Call<'_>, name: &'static str, draw: fn(&mut Generator) -> f64) -> Result<Expr> {
    let args = call.values(0..=1)?;
    Ok(drawn(name, seed(&call, &args, 0)?, draw))
}

fn drawn(name: &'static str, seed: u64, draw: fn(&mut Generator) -> f64) -> Expr {
    let sequence = Sequence::new(seed);
    let kernel = Kernel::columns(name, DataType::Float64, move |_, rows| {
        let numbers = sequence.next(|generator| Float64Array::from_iter_values((0..rows).map(|_| draw(generator))));
        Ok(Arc::new(numbers))
    });
    kernel.key(seed).volatile().call(Vec::new())
}

/// `randstr(length[, seed])`: digits and letters.
fn randstr(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=2)?;
    let length = args.first().map(|arg| call.implicit(arg.clone(), &DataType::Int32)).transpose()?;
    let length = match length.as_ref().map(constant).transpose()?.flatten() {
        Some(ScalarValue::Int32(Some(length))) => usize::try_from(length).map_err(|_| negative_length(length))?,
        _ => return Err(not_foldable(&call, "length")),
    };
    let seed = seed(&call, &args, 1)?;
    let sequence = Sequence::new(seed);
    let kernel = Kernel::columns("randstr", DataType::Utf8, move |_, rows| {
        let text = |generator: &mut Generator| (0..length).map(|_| generator.character()).collect::<String>();
        let texts = sequence.next(|generator| StringArray::from_iter_values((0..rows).map(|_| text(generator))));
        Ok(Arc::new(texts))
    });
    Ok(kernel.key(format!("{length} {seed}")).volatile().call(Vec::new()))
}

fn negative_length(length: i32) -> Error {
    Error::query("INVALID_PARAMETER_VALUE.LENGTH", format!("the length should not be negative but is {length}"))
}

/// `uniform(low, high[, seed])`: a number from `low` (included) to `high`, a whole one if the bounds are whole.
fn uniform(mut call: Call<'_>) -> Result<Expr> {
    let mut bounds = call.values(2..=3)?;
    let seed = seed(&call, &bounds, 2)?;
    bounds.truncate(2);
    let (mut bounds, common) = call.context().to_common(bounds)?;
    let (Some(high), Some(low)) = (bounds.pop(), bounds.pop()) else {
        return Err(Error::internal("the number of arguments was checked"));
    };
    if constant(&low)?.is_none() || constant(&high)?.is_none() {
        return Err(not_foldable(&call, "min"));
    }
    let (low, high) = (call.cast(low, &DataType::Float64)?, call.cast(high, &DataType::Float64)?);
    let span = binary_expr(high, Operator::Minus, low.clone());
    let part = binary_expr(span, Operator::Multiply, drawn("rand", seed, Generator::double));
    let number = binary_expr(low, Operator::Plus, part);
    if common == DataType::Null { Ok(lit(ScalarValue::Null)) } else { call.cast(number, &common) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_sparks_sequence() {
        let mut generator = Generator::seeded(0);
        let text: String = (0..3).map(|_| generator.character()).collect();
        assert_eq!(text, "ceV");
        let first = Generator::seeded(0).double();
        assert!((first - 0.760_495_375_828_591_5).abs() < 1e-15, "{first}");
    }

    #[test]
    fn values_keep_their_range_and_differ() {
        let mut generator = Generator::seeded(7);
        let numbers: Vec<f64> = (0..1000).map(|_| generator.double()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = (0..10_000).map(|_| generator.gaussian()).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
    }
}
