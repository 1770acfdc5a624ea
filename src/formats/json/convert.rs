//! `from_json`, `to_json` and `schema_of_json` over columns of strings: the format's own decoder and encoder.
//!
//! In: a column. Out: a column of the same length. A null or blank text gives null; a malformed one gives a struct of
//! nulls (null for lists and maps) or, under FAILFAST, ends the query.

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::broken::kept;
use super::encode::{Cells, WriteOptions};
use super::infer;
use super::options::ReadOptions;
use super::scan::{Kind, Malformed, Scanner, Token};
use super::shape::{Outcome, Reading, Shape};
use crate::conf::Conf;
use crate::formats::columns::{Column, Values};
use crate::formats::mode::{Mode, corrupt_column, malformed};
use crate::options::Options;
use crate::types::{is_variant, sql_name};
use crate::{Error, Result};

/// `from_json`: reads strings as values of one type (a struct, a list or a map).
#[derive(Debug, Clone)]
pub struct FromJson {
    data_type: DataType,
    options: ReadOptions,
    /// Where a struct has its field for malformed texts.
    corrupt_at: Option<usize>,
}

impl FromJson {
    /// Reads `data_type` under the options of format `json`.
    ///
    /// # Errors
    /// Another type than struct, list or map; a parse mode other than PERMISSIVE and FAILFAST; a wrong option.
    pub fn new(data_type: &DataType, options: &Options, conf: &Conf) -> Result<FromJson> {
        let read = ReadOptions::of(options, conf)?;
        if read.mode == Mode::DropMalformed {
            return Err(Error::query(
                "PARSE_MODE_UNSUPPORTED",
                "the function `from_json` doesn't support the DROPMALFORMED mode",
            )
            .hint("Use PERMISSIVE or FAILFAST."));
        }
        let corrupt_at = match data_type {
            DataType::Struct(_) if is_variant(data_type) => None,
            DataType::Struct(fields) => corrupt_column(&Schema::new(fields.clone()), options, conf)?,
            DataType::List(_) | DataType::Map(..) => None,
            other => return Err(invalid_schema(other)),
        };
        Shape::new(&without(data_type, corrupt_at))?;
        Ok(FromJson { data_type: data_type.clone(), options: read, corrupt_at })
    }

    /// The type of the result.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Reads each text.
    ///
    /// # Errors
    /// A malformed text under FAILFAST.
    pub fn convert(&self, texts: &StringArray) -> Result<ArrayRef> {
        let inner = without(&self.data_type, self.corrupt_at);
        let mut shape = Shape::new(&inner)?;
        let mut column = Column::new(&inner)?;
        let mut corrupt = Column::new(&DataType::Utf8)?;
        let mut scratch = Vec::new();
        for text in texts.iter() {
            let is_malformed = match text {
                Some(text) => self.append(&mut shape, &mut column, text.as_bytes(), &mut scratch)?,
                None => {
                    column.push_null();
                    false
                }
            };
            match text {
                Some(text) if is_malformed => corrupt.push_bytes(text.as_bytes()),
                _ => corrupt.push_null(),
            }
        }
        match self.corrupt_at {
            Some(at) => with_corrupt(column.finish()?, corrupt.finish()?, at, &self.data_type),
            None => column.finish(),
        }
    }

    /// Appends the value of one text; true if it was malformed.
    fn append(&self, shape: &mut Shape, column: &mut Column, text: &[u8], scratch: &mut Vec<u8>) -> Result<bool> {
        let reason = match self.value(shape, column, text, scratch) {
            Ok(Outcome::Good) => return Ok(false),
            Ok(Outcome::Partial) => "a value does not fit the type of its field",
            Ok(Outcome::Bad) => {
                push_malformed(shape, column);
                "the value does not fit the type"
            }
            Err(Malformed(reason)) => {
                if !self.append_kept(shape, column, text, scratch) {
                    push_malformed(shape, column);
                }
                reason
            }
        };
        if self.options.mode == Mode::FailFast {
            return Err(malformed(text, "from_json".into(), reason));
        }
        Ok(true)
    }

    /// Appends what is kept of a broken object; false if that is nothing.
    fn append_kept(&self, shape: &mut Shape, column: &mut Column, text: &[u8], scratch: &mut Vec<u8>) -> bool {
        let members = match shape {
            Shape::Struct(members) => members,
            Shape::List(item) => match &**item {
                Shape::Struct(members) => members,
                _ => return false,
            },
            _ => return false,
        };
        let Some(kept) = kept(text, members, self.options.syntax) else { return false };
        matches!(self.value(shape, column, &kept, scratch), Ok(Outcome::Good | Outcome::Partial))
    }

    fn value(
        &self,
        shape: &mut Shape,
        column: &mut Column,
        text: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Outcome, Malformed> {
        let Some(root) = Scanner::new(text, self.options.syntax).root()? else {
            column.push_null();
            return Ok(Outcome::Good);
        };
        let mut reading = Reading { bytes: text, syntax: self.options.syntax, times: &self.options.times, scratch };
        Ok(match (&mut *shape, root.kind) {
            (Shape::Variant(_), Kind::Null) => shape.append(column, root, &mut reading),
            (_, Kind::Null) => Outcome::Bad,
            (Shape::List(item), Kind::Object) => append_single(item, column, root, &mut reading),
            _ => shape.append(column, root, &mut reading),
        })
    }
}

/// An object where a list of structs is due is a list of one.
fn append_single(item: &mut Shape, column: &mut Column, root: Token, reading: &mut Reading<'_>) -> Outcome {
    let Values::List(_, _, child) = &mut column.values else { return Outcome::Bad };
    if !matches!(item, Shape::Struct(_)) {
        return Outcome::Bad;
    }
    let outcome = item.append(child, root, reading);
    if outcome != Outcome::Bad {
        column.accept();
    }
    outcome
}

/// A malformed text is a struct of nulls, or null.
fn push_malformed(shape: &Shape, column: &mut Column) {
    match (shape, &mut column.values) {
        (Shape::Struct(_), Values::Struct(_, children)) => {
            children.iter_mut().for_each(Column::push_null);
            column.accept();
        }
        _ => column.push_null(),
    }
}

/// The type without the field for malformed texts.
fn without(data_type: &DataType, corrupt_at: Option<usize>) -> DataType {
    match (data_type, corrupt_at) {
        (DataType::Struct(fields), Some(at)) => {
            let kept = fields.iter().enumerate().filter(|(index, _)| *index != at);
            DataType::Struct(kept.map(|(_, field)| field.clone()).collect())
        }
        _ => data_type.clone(),
    }
}

/// Puts the malformed texts into their field of the structs.
fn with_corrupt(structs: ArrayRef, corrupt: ArrayRef, at: usize, data_type: &DataType) -> Result<ArrayRef> {
    use arrow::array::{AsArray, StructArray};
    let DataType::Struct(fields) = data_type else { return Ok(structs) };
    let (_, mut arrays, nulls) = structs.as_struct().clone().into_parts();
    arrays.insert(at, corrupt);
    Ok(std::sync::Arc::new(StructArray::try_new(fields.clone(), arrays, nulls)?))
}

fn invalid_schema(data_type: &DataType) -> Error {
    Error::query(
        "DATATYPE_MISMATCH.INVALID_JSON_SCHEMA",
        format!("the schema must be a STRUCT, an ARRAY or a MAP but is \"{}\"", sql_name(data_type)),
    )
}

/// `to_json`: writes structs, lists and maps as strings.
#[derive(Debug, Clone)]
pub struct ToJson {
    options: WriteOptions,
}

impl ToJson {
    /// Writes `data_type` under the options of format `json`.
    ///
    /// # Errors
    /// Another type than struct, list or map; a wrong option.
    pub fn new(data_type: &DataType, options: &Options, conf: &Conf) -> Result<ToJson> {
        match data_type {
            DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => {}
            other => return Err(invalid_schema(other)),
        }
        Ok(ToJson { options: WriteOptions::of(options, conf)? })
    }

    /// Writes each value; null stays null.
    ///
    /// # Errors
    /// A type inside that JSON cannot hold.
    pub fn convert(&self, values: &ArrayRef) -> Result<StringArray> {
        let cells = Cells::new(values)?;
        let mut texts = arrow::array::StringBuilder::with_capacity(values.len(), 16 * values.len());
        let mut text = String::new();
        for row in 0..values.len() {
            text.clear();
            cells.write_root(row, &self.options, &mut text);
            texts.append_option(values.is_valid(row).then_some(text.as_str()));
        }
        Ok(texts.finish())
    }
}

/// The type that `schema_of_json` tells of one text.
///
/// # Errors
/// A malformed text (under PERMISSIVE it is a struct with the corrupt-record column).
pub fn schema_of_json(text: &str, options: &Options, conf: &Conf) -> Result<DataType> {
    let options = infer::InferOptions::of(options, conf)?;
    let inferred = infer::record_type(text.as_bytes(), &options)
        .map_err(|Malformed(reason)| malformed(text.as_bytes(), "schema_of_json".into(), reason))?;
    Ok(infer::finished(&inferred, &options).unwrap_or_else(|| empty(&inferred)))
}

fn empty(inferred: &DataType) -> DataType {
    match inferred {
        DataType::List(item) => DataType::List(Field::new(item.name(), DataType::Utf8, true).into()),
        DataType::Struct(_) => DataType::Struct(Fields::empty()),
        _ => DataType::Utf8,
    }
}
