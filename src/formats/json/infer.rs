//! Guessing the schema of JSON records, by Spark's rules.
//!
//! In: records. Out: the narrowest type that holds all of them: BIGINT, DOUBLE, DECIMAL beyond 64 bits, BOOLEAN, STRING, and
//! structs (fields sorted by name) and lists of these. Fields that are always null become STRING.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::Json;
use super::options::ReadOptions;
use super::scan::{Kind, Malformed, Scanner, Token, unescape};
use crate::conf::Conf;
use crate::formats::mode::{Mode, malformed};
use crate::formats::sample::{Sampling, for_each_chunk};
use crate::options::Options;
use crate::types::number_text::{decimal_shape, parse_integer};
use crate::types::{field, list, timestamp};
use crate::{Error, Result};

const MAX_PRECISION: u64 = 38;

/// How to guess.
pub(crate) struct InferOptions {
    read: ReadOptions,
    primitives_as_string: bool,
    prefers_decimal: bool,
    infer_timestamp: bool,
    drop_all_null: bool,
}

impl InferOptions {
    pub(crate) fn of(options: &Options, conf: &Conf) -> Result<InferOptions> {
        Ok(InferOptions {
            read: ReadOptions::of(options, conf)?,
            primitives_as_string: options.flag("primitivesAsString", false)?,
            prefers_decimal: options.flag("prefersDecimal", false)?,
            infer_timestamp: options.flag("inferTimestamp", false)?,
            drop_all_null: options.flag("dropFieldIfAllNull", false)?,
        })
    }
}

/// The schema of all records of the files.
pub(crate) fn infer_schema(format: &Json, files: &[PathBuf], options: &Options, conf: &Conf) -> Result<SchemaRef> {
    let infer = InferOptions::of(options, conf)?;
    let mut sampling = Sampling::of(options)?;
    let mut root = DataType::Struct(Fields::empty());
    for_each_chunk(format, files, options, |frames| {
        for i in (0..frames.len()).filter(|_| sampling.takes_next()) {
            match record_type(frames.record(i), &infer) {
                Ok(found) => root = merge_root(root.clone(), found, &infer)?,
                Err(Malformed(reason)) if infer.read.mode == Mode::FailFast => {
                    return Err(malformed(frames.record(i), frames.position(i), reason));
                }
                Err(_) if infer.read.mode == Mode::Permissive => root = with_corrupt_field(root.clone(), &infer),
                Err(_) => {}
            }
        }
        Ok(())
    })?;
    match finished(&root, &infer) {
        Some(DataType::Struct(fields)) => Ok(Arc::new(Schema::new(fields))),
        _ => Err(crate::formats::sample::unable(format)),
    }
}

/// The type of one record, with VOID where it has only nulls.
pub(crate) fn record_type(record: &[u8], options: &InferOptions) -> Result<DataType, Malformed> {
    match Scanner::new(record, options.read.syntax).root()? {
        Some(root) => Ok(token_type(record, root, options)),
        None => Ok(DataType::Null),
    }
}

fn token_type(record: &[u8], token: Token, options: &InferOptions) -> DataType {
    match token.kind {
        Kind::Absent | Kind::Null => DataType::Null,
        Kind::Plain | Kind::Escaped => string_type(token.of(record), options),
        Kind::Object => object_type(record, token, options),
        Kind::Array => {
            let mut element = DataType::Null;
            let _ = Scanner::within(record, token, options.read.syntax).elements(0, |value| {
                element = merge(element.clone(), token_type(record, value, options));
                true
            });
            list(element)
        }
        _ if options.primitives_as_string => DataType::Utf8,
        Kind::True | Kind::False => DataType::Boolean,
        Kind::Integer if parse_integer::<i64>(token.of(record)).is_some() => DataType::Int64,
        Kind::Float if !options.prefers_decimal => DataType::Float64,
        Kind::Integer | Kind::Float | Kind::NonNumeric => decimal_or_double(token.of(record)),
    }
}

fn decimal_or_double(text: &[u8]) -> DataType {
    match decimal_shape(text) {
        Some((precision, scale)) if scale >= 0 && precision.max(scale.unsigned_abs()) <= MAX_PRECISION => {
            DataType::Decimal128(precision.max(scale.unsigned_abs()) as u8, scale as i8)
        }
        _ => DataType::Float64,
    }
}

fn string_type(text: &[u8], options: &InferOptions) -> DataType {
    if text.is_empty() {
        return DataType::Null;
    }
    if options.prefers_decimal
        && let decimal @ DataType::Decimal128(..) = decimal_or_double(text)
    {
        return decimal;
    }
    let is_timestamp = || std::str::from_utf8(text).is_ok_and(|text| options.read.times.read_timestamp(text).is_some());
    if options.infer_timestamp && is_timestamp() { timestamp() } else { DataType::Utf8 }
}

fn object_type(record: &[u8], token: Token, options: &InferOptions) -> DataType {
    let mut fields = BTreeMap::new();
    let _ = Scanner::within(record, token, options.read.syntax).members(0, |name, value| {
        let mut plain = Vec::new();
        match name.kind {
            Kind::Escaped => unescape(name.of(record), &mut plain),
            _ => plain.extend_from_slice(name.of(record)),
        }
        fields.insert(String::from_utf8_lossy(&plain).into_owned(), token_type(record, value, options));
    });
    struct_of(fields)
}

fn struct_of(fields: BTreeMap<String, DataType>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, data_type)| field(name, data_type)).collect())
}

/// Merges the type of a record into that of all; arrays at the root stand for their elements.
fn merge_root(all: DataType, found: DataType, options: &InferOptions) -> Result<DataType> {
    match found {
        DataType::List(item) => merge_root(all, item.data_type().clone(), options),
        DataType::Null => Ok(all),
        DataType::Struct(_) => Ok(merge(all, found)),
        _ => match options.read.mode {
            Mode::Permissive => Ok(with_corrupt_field(all, options)),
            Mode::DropMalformed => Ok(all),
            Mode::FailFast => Err(Error::data(
                "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION",
                "a record is neither an object nor an array, so no schema can be inferred",
            )),
        },
    }
}

fn with_corrupt_field(all: DataType, options: &InferOptions) -> DataType {
    merge(all, DataType::Struct(vec![field(options.read.corrupt_column.clone(), DataType::Utf8)].into()))
}

/// The narrowest type that holds both.
fn merge(left: DataType, right: DataType) -> DataType {
    use DataType::{Decimal128, Float64, Int64, List, Null, Struct};
    match (left, right) {
        (left, right) if left == right => left,
        (Null, other) | (other, Null) => other,
        (Int64 | Decimal128(..), Float64) | (Float64, Int64 | Decimal128(..)) => Float64,
        (Int64, Decimal128(p, s)) | (Decimal128(p, s), Int64) => wider((20, 0), (p, s)),
        (Decimal128(p1, s1), Decimal128(p2, s2)) => wider((p1, s1), (p2, s2)),
        (Struct(left), Struct(right)) => merge_structs(&left, &right),
        (List(left), List(right)) => list(merge(left.data_type().clone(), right.data_type().clone())),
        _ => DataType::Utf8,
    }
}

fn wider((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let scale = s1.max(s2);
    let range = (p1 as i8 - s1).max(p2 as i8 - s2);
    match u8::try_from(range + scale) {
        Ok(precision) if u64::from(precision) <= MAX_PRECISION => DataType::Decimal128(precision, scale),
        _ => DataType::Float64,
    }
}

fn merge_structs(left: &Fields, right: &Fields) -> DataType {
    let by_name = |field: &Arc<Field>| (field.name().clone(), field.data_type().clone());
    let mut fields: BTreeMap<String, DataType> = left.iter().map(by_name).collect();
    for (name, data_type) in right.iter().map(by_name) {
        let known = fields.remove(&name).unwrap_or(DataType::Null);
        fields.insert(name, merge(known, data_type));
    }
    struct_of(fields)
}

/// The type with nothing but usable parts: empty structs go, VOID becomes STRING (or goes). `None` if nothing remains.
pub(crate) fn finished(data_type: &DataType, options: &InferOptions) -> Option<DataType> {
    match data_type {
        DataType::List(item) => finished(item.data_type(), options).map(list),
        DataType::Struct(fields) => {
            let named = fields.iter().filter(|field| !field.name().is_empty());
            let kept: Vec<Field> =
                named.filter_map(|f| Some(field(f.name().clone(), finished(f.data_type(), options)?))).collect();
            if kept.is_empty() { None } else { Some(DataType::Struct(kept.into())) }
        }
        DataType::Null if options.drop_all_null => None,
        DataType::Null => Some(DataType::Utf8),
        other => Some(other.clone()),
    }
}
