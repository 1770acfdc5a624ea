//! Partition columns: values that stand in folder names (`year=2024/month=2/`) instead of in the files.
//!
//! In: paths of files and the base folders. Out: the columns (types from the user's schema, else inferred over all values seen)
//! and, per file, their values as constant columns behind those of the data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;

use super::listing::Found;
use crate::conf::Conf;
use crate::filepath::{NULL_PARTITION, unescape_partition};
use crate::formats::{Decoder, Frames};
use crate::types::datetime_text::{parse_date_text, parse_timestamp_ntz_text, parse_timestamp_text};
use crate::types::zone::Zone;
use crate::types::{field, timestamp};
use crate::{Error, Result};

/// The name and value (none for null) of each `name=value` folder between a base folder and the file.
fn values(path: &Path, bases: &[PathBuf]) -> Vec<(String, Option<String>)> {
    let below =
        bases.iter().filter_map(|base| path.strip_prefix(base).ok()).min_by_key(|rest| rest.components().count());
    let folders = below.and_then(Path::parent).map(Path::components).into_iter().flatten();
    let named = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let value = (value != NULL_PARTITION).then(|| unescape_partition(value));
        Some((unescape_partition(name), value))
    };
    folders.filter_map(|folder| named(&folder.as_os_str().to_string_lossy())).collect()
}

/// The partition columns of these files; `given` is the user's schema.
///
/// # Errors
/// `CONFLICTING_PARTITION_COLUMN_NAMES`: folders that don't agree.
pub(super) fn infer(files: &[Found], bases: &[PathBuf], given: Option<&Schema>, conf: &Conf) -> Result<Vec<Field>> {
    let infer_types = conf.flag("spark.sql.sources.partitionColumnTypeInference.enabled", true)?;
    let zone = Zone::parse(conf.time_zone())?;
    let mut columns: Option<Vec<(String, Kind)>> = None;
    for file in files {
        let found = values(&file.path, bases);
        let columns = columns.get_or_insert_with(|| found.iter().map(|(name, _)| (name.clone(), Kind::Null)).collect());
        if !columns.iter().map(|(name, _)| name).eq(found.iter().map(|(name, _)| name)) {
            return Err(conflict(&file.path));
        }
        for ((_, kind), (_, value)) in columns.iter_mut().zip(&found) {
            *kind = kind.with(value.as_ref().map_or(Kind::Null, |value| Kind::of(value, infer_types, &zone)));
        }
    }
    let data_type = |name: &str, kind: Kind| {
        let declared = given.and_then(|schema| schema.fields().iter().find(|field| same(field.name(), name)));
        declared.map_or_else(
            || field(name, kind.data_type()),
            |declared| field(declared.name(), declared.data_type().clone()),
        )
    };
    Ok(columns.unwrap_or_default().into_iter().map(|(name, kind)| data_type(&name, kind)).collect())
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn conflict(path: &Path) -> Error {
    Error::query("CONFLICTING_PARTITION_COLUMN_NAMES", "folders do not agree about the partition columns")
        .at(path.display().to_string())
        .hint("Give each file the same name=value folders, or set basePath or recursiveFileLookup.")
}

/// What a column's values look like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Int,
    Long,
    Double,
    Date,
    Timestamp,
    Text,
}

impl Kind {
    fn of(value: &str, infer: bool, zone: &Zone) -> Kind {
        match value {
            _ if !infer => Kind::Text,
            _ if value.parse::<i32>().is_ok() => Kind::Int,
            _ if value.parse::<i64>().is_ok() => Kind::Long,
            _ if value.parse::<f64>().is_ok_and(f64::is_finite) => Kind::Double,
            _ if is_whole_date(value) => Kind::Date,
            _ if value.contains(':') && parse_timestamp_text(value, zone).is_some() => Kind::Timestamp,
            _ => Kind::Text,
        }
    }

    /// The narrowest kind that takes both.
    fn with(self, other: Kind) -> Kind {
        use Kind::{Date, Double, Int, Long, Null, Text, Timestamp};
        match (self, other) {
            (one, other) if one == other => one,
            (Null, kind) | (kind, Null) => kind,
            (Int, Long) | (Long, Int) => Long,
            (Int | Long, Double) | (Double, Int | Long) => Double,
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
            _ => Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Int => DataType::Int32,
            Kind::Long => DataType::Int64,
            Kind::Double => DataType::Float64,
            Kind::Date => DataType::Date32,
            Kind::Timestamp => timestamp(),
            Kind::Null | Kind::Text => DataType::Utf8,
        }
    }
}

/// `2024-02-29`, nothing shorter: `2024-02` stays text.
fn is_whole_date(value: &str) -> bool {
    value.len() == 10 && parse_date_text(value).is_some()
}

/// Adds the wanted partition columns to rows of one file.
#[derive(Debug, Clone)]
pub(super) struct Appender {
    columns: Vec<Field>,
    bases: Arc<[PathBuf]>,
    /// Data columns, then partition columns.
    schema: SchemaRef,
    zone: Zone,
    /// The file that `constants` belong to.
    place: Arc<str>,
    constants: Vec<ScalarValue>,
}

impl Appender {
    /// For these partition columns, behind the columns of `data`.
    pub(super) fn new(data: &Schema, columns: Vec<Field>, bases: Arc<[PathBuf]>, conf: &Conf) -> Result<Appender> {
        let fields: Vec<_> = data.fields().iter().cloned().chain(columns.iter().cloned().map(Arc::new)).collect();
        let zone = Zone::parse(conf.time_zone())?;
        Ok(Appender {
            columns,
            bases,
            schema: Arc::new(Schema::new(fields)),
            zone,
            place: "".into(),
            constants: Vec::new(),
        })
    }

    /// The rows with the values of the file at `place`.
    pub(super) fn append(&mut self, rows: RecordBatch, place: &Arc<str>) -> Result<RecordBatch> {
        if self.columns.is_empty() {
            return Ok(rows);
        }
        if self.place != *place || self.constants.is_empty() {
            self.constants = self.constants(Path::new(&**place))?;
            self.place = Arc::clone(place);
        }
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        for constant in &self.constants {
            columns.push(constant.to_array_of_size(count)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn constants(&self, path: &Path) -> Result<Vec<ScalarValue>> {
        let found = values(path, &self.bases);
        let constant = |column: &Field| {
            let value =
                found.iter().find(|(name, _)| same(name, column.name())).and_then(|(_, value)| value.as_deref());
            let array = cast(value, column.data_type(), &self.zone)?;
            if value.is_some() && array.is_null(0) {
                let text =
                    format!("'{}' is no {}", value.unwrap_or_default(), crate::types::sql_name(column.data_type()));
                return Err(Error::data("INVALID_PARTITION_VALUE", text).at(path.display().to_string()));
            }
            Ok(ScalarValue::try_from_array(&array, 0)?)
        };
        self.columns.iter().map(constant).collect()
    }
}

/// A folder's text as a value of a type; null if it is none.
fn cast(value: Option<&str>, data_type: &DataType, zone: &Zone) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Date32 => Arc::new(Date32Array::from(vec![value.and_then(parse_date_text)])),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let micros = value.and_then(|value| parse_timestamp_text(value, zone));
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Arc::new(TimestampMicrosecondArray::from(vec![value.and_then(parse_timestamp_ntz_text)]))
        }
        other => arrow::compute::cast(&StringArray::from(vec![value]), other)?,
    })
}

/// A decoder that also adds partition columns, by the frames' place.
pub(super) struct PartitionDecoder {
    pub(super) inner: Box<dyn Decoder>,
    pub(super) appender: Appender,
}

impl Decoder for PartitionDecoder {
    fn decode(&mut self, frames: &Frames) -> Result<RecordBatch> {
        self.appender.append(self.inner.decode(frames)?, &frames.place)
    }

    fn left_out(&mut self) -> usize {
        self.inner.left_out()
    }
}
