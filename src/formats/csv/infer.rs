//! Guessing the schema of CSV files, by Spark's rules.
//!
//! In: records. Out: names from the header (else `_c0`, `_c1`, ...) and, with `inferSchema`, for each column the narrowest of
//! INT, BIGINT, DECIMAL (whole numbers beyond 64 bits), DOUBLE, DATE, TIMESTAMP, BOOLEAN, STRING; otherwise STRING.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::Csv;
use super::decode::header_names;
use super::options::{ReadOptions, Texts};
use super::split::{Fields, Unreadable, is_idle};
use crate::conf::Conf;
use crate::formats::sample::{Sampling, for_each_chunk, unable};
use crate::options::Options;
use crate::types::number_text::{decimal_shape, parse_floating, parse_integer};
use crate::types::{field, timestamp};
use crate::{Error, Result};

/// Collects what the records tell.
pub(crate) struct Inference {
    options: ReadOptions,
    /// Look at the values.
    by_value: bool,
    prefer_date: bool,
    names: Option<Vec<String>>,
    types: Vec<DataType>,
}

impl Inference {
    pub(crate) fn new(options: &Options, conf: &Conf) -> Result<Inference> {
        Ok(Inference {
            options: ReadOptions::of(options, conf)?,
            by_value: options.flag("inferSchema", false)?,
            prefer_date: options.flag("preferDate", true)?,
            names: None,
            types: Vec::new(),
        })
    }

    /// Makes the values count whatever option `inferSchema` says.
    pub(crate) fn by_value(mut self) -> Inference {
        self.by_value = true;
        self
    }

    /// Takes one record; the first one of all gives the names.
    pub(crate) fn add(&mut self, text: &[u8]) -> Result<(), Unreadable> {
        let (mut buffer, mut fields) = (Vec::new(), Vec::new());
        Fields::new(text, &self.options.syntax, &mut buffer).next_record(&mut fields)?;
        if self.names.is_none() {
            self.names = Some((0..fields.len()).map(|at| format!("_c{at}")).collect());
        }
        self.types.resize(self.names.as_ref().map_or(0, Vec::len), DataType::Null);
        for (known, field) in self.types.iter_mut().zip(&fields) {
            let value = Fields::value(*field, text, &buffer, &self.options.texts.empty);
            let value = value.filter(|value| !value.is_empty() && **value != *self.options.texts.null);
            if let Some(value) = value.filter(|_| self.by_value) {
                *known = merge(known, &value_type(known, value, &self.options.texts, self.prefer_date));
            }
        }
        Ok(())
    }

    fn set_header(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        let names = header_names(line, &self.options)?;
        self.names = Some(unique(names));
        Ok(())
    }

    /// The schema so far; `None` if there was no record at all.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        let names = self.names.as_ref()?;
        let types = self.types.iter().chain(std::iter::repeat(&DataType::Null));
        let columns = names.iter().zip(types).map(|(name, data_type)| match data_type {
            DataType::Null => field(name.clone(), DataType::Utf8),
            known => field(name.clone(), known.clone()),
        });
        Some(Arc::new(Schema::new(columns.collect::<Vec<_>>())))
    }
}

/// Names as Spark makes them unique: empty ones by position, repeated ones with their position behind them.
fn unique(names: Vec<String>) -> Vec<String> {
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let is_repeated = |name: &String| lower.iter().filter(|other| **other == name.to_lowercase()).count() > 1;
    let numbered = names.iter().enumerate().map(|(at, name)| match name.as_str() {
        "" => format!("_c{at}"),
        _ if is_repeated(name) => format!("{name}{at}"),
        _ => name.clone(),
    });
    numbered.collect()
}

/// The schema of all records of the files.
pub(crate) fn infer_schema(format: &Csv, files: &[PathBuf], options: &Options, conf: &Conf) -> Result<SchemaRef> {
    let mut inference = Inference::new(options, conf)?;
    let mut sampling = Sampling::of(options)?;
    let mut header_due = false;
    for_each_chunk(format, files, options, |frames| {
        header_due |= frames.first_line == 1 && inference.options.header;
        for i in 0..frames.len() {
            let place = |Unreadable(reason)| Error::data("MALFORMED_CSV_RECORD", reason).at(frames.position(i));
            let text = frames.record(i);
            for piece in records(text, &inference.options).map_err(place)? {
                if std::mem::take(&mut header_due) {
                    if inference.names.is_none() {
                        inference.set_header(piece).map_err(place)?;
                    }
                } else if sampling.takes_next() {
                    inference.add(piece).map_err(place)?;
                }
            }
        }
        Ok(())
    })?;
    inference.schema().ok_or_else(|| unable(format))
}

/// The records of a frame: one, none if it is idle, several with `multiLine`.
fn records<'a>(text: &'a [u8], options: &ReadOptions) -> Result<Vec<&'a [u8]>, Unreadable> {
    if !options.syntax.line_ends {
        return Ok(if is_idle(text, &options.syntax) { Vec::new() } else { vec![text] });
    }
    let (mut buffer, mut fields, mut found) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = Fields::new(text, &options.syntax, &mut buffer);
    while let Some((start, end)) = all.next_record(&mut fields)? {
        found.push(&text[start..end]);
    }
    Ok(found)
}

/// The type of a value, not narrower than what the column is known to need.
fn value_type(known: &DataType, value: &[u8], texts: &Texts, prefer_date: bool) -> DataType {
    let level = match known {
        DataType::Null | DataType::Int32 => 0,
        DataType::Int64 => 1,
        DataType::Decimal128(..) => 2,
        DataType::Float64 => 3,
        DataType::Date32 => 4,
        DataType::Timestamp(..) => 5,
        DataType::Boolean => 6,
        _ => return DataType::Utf8,
    };
    let text = std::str::from_utf8(value).unwrap_or_default();
    let special = [&texts.nan, &texts.positive_infinity, &texts.negative_infinity];
    if level == 0 && parse_integer::<i32>(value).is_some() {
        DataType::Int32
    } else if level <= 1 && parse_integer::<i64>(value).is_some() {
        DataType::Int64
    } else if let Some((precision @ 1..=38, 0)) = decimal_shape(value).filter(|_| level <= 2) {
        DataType::Decimal128(precision as u8, 0)
    } else if level <= 3 && (parse_floating::<f64>(value).is_some() || special.iter().any(|s| ***s == *value)) {
        DataType::Float64
    } else if level <= 4 && (prefer_date || level == 4) && is_date(text, texts) {
        DataType::Date32
    } else if level <= 5 && texts.times.read_timestamp(text).is_some() {
        timestamp()
    } else if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        DataType::Boolean
    } else {
        DataType::Utf8
    }
}

/// Without a pattern only `yyyy-MM-dd` is a date here.
fn is_date(text: &str, texts: &Texts) -> bool {
    let shaped = texts.times.has_date_pattern() || (text.len() == 10 && text.as_bytes().get(4) == Some(&b'-'));
    shaped && texts.times.read_date(text).is_some()
}

fn merge(known: &DataType, found: &DataType) -> DataType {
    use DataType::{Decimal128, Float64, Int32, Int64, Null};
    match (known, found) {
        (a, b) if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Int32 | Int64 | Decimal128(..), Float64) | (Float64, Int32 | Int64 | Decimal128(..)) => Float64,
        (Int32 | Int64, Decimal128(p, _)) | (Decimal128(p, _), Int32 | Int64) => Decimal128((*p).max(20), 0),
        (Decimal128(p, _), Decimal128(q, _)) => Decimal128(*p.max(q), 0),
        _ => DataType::Utf8,
    }
}
