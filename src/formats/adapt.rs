//! Columns of a file to the columns a query declares: by name, with the casts that lose nothing.
//!
//! In: batches in a columnar file's own schema. Out: batches in exactly the declared schema. Names match exactly, else
//! ignoring case; a declared column that the file lacks is null; a column whose type cannot become the declared one without
//! loss is an error that names both. Structs are matched field by field, inside lists and maps too.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::types::{field, list, map, map_types, simple_name, timestamp, timestamp_ntz};
use crate::{Error, Result};

/// Where the field of this name is: the exact name first, then the first that differs in case only.
pub(crate) fn find(fields: &Fields, name: &str) -> Option<usize> {
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| fields.iter().position(|field| field.name().eq_ignore_ascii_case(name)))
}

/// The batch in the declared schema.
///
/// # Errors
/// `FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH` if a column's type does not fit.
pub(crate) fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let fields = batch.schema().fields().clone();
    let columns = adapt_fields(&fields, batch.columns(), schema.fields(), batch.num_rows())?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn adapt_fields(from: &Fields, columns: &[ArrayRef], to: &Fields, rows: usize) -> Result<Vec<ArrayRef>> {
    let adapted = to.iter().map(|wanted| match find(from, wanted.name()).and_then(|at| columns.get(at)) {
        Some(column) => adapt_column(column, wanted),
        None => Ok(new_null_array(wanted.data_type(), rows)),
    });
    adapted.collect()
}

pub(super) fn adapt_column(column: &ArrayRef, wanted: &FieldRef) -> Result<ArrayRef> {
    let (from, to) = (column.data_type(), wanted.data_type());
    if from == to {
        return Ok(column.clone());
    }
    match (from, to) {
        (DataType::Struct(_), DataType::Struct(fields)) => adapt_struct(column, fields),
        (DataType::List(_), DataType::List(item)) => adapt_list(column, item),
        (DataType::LargeList(item), DataType::List(_)) => {
            let as_list = DataType::List(item.clone());
            adapt_column(&strict_cast(column, &as_list)?, wanted)
        }
        (DataType::Map(..), DataType::Map(entries, _)) => adapt_map(column, entries),
        (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_))) => {
            Ok(strict_cast(&strict_cast(column, &timestamp_ntz())?, to)?)
        }
        _ if fits(from, to) => Ok(strict_cast(column, to)?),
        _ => Err(mismatch(wanted, from)),
    }
}

fn strict_cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn mismatch(wanted: &FieldRef, from: &DataType) -> Error {
    let (name, to) = (wanted.name(), simple_name(wanted.data_type()));
    Error::data(
        "FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH",
        format!("column '{name}' is declared as {to} but the file has {}", simple_name(from)),
    )
}

/// Whether every value of `from` is a value of `to`.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Null, _) | (Dictionary(..), _) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | Binary) => true,
        (Binary | LargeBinary | BinaryView | FixedSizeBinary(_), Binary | Utf8) => true,
        (Float16 | Float32, Float64) | (Float16, Float32) | (Int8 | Int16 | Int32 | UInt8 | UInt16, Float64) => true,
        (Date32 | Date64, Date32 | Timestamp(..)) => true,
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() == to.is_some(),
        (Time32(_) | Time64(_), Time64(_)) | (Duration(_), Duration(_)) => true,
        (Decimal128(p1, s1) | Decimal32(p1, s1) | Decimal64(p1, s1) | Decimal256(p1, s1), Decimal128(p2, s2)) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (integer, Decimal128(p, s)) => digits(integer).is_some_and(|digits| i16::from(*p) - i16::from(*s) >= digits),
        (integer, wider) => {
            matches!((digits(integer), digits(wider)), (Some(a), Some(b)) if a <= b) && !is_unsigned(to)
        }
    }
}

/// Decimal digits of a whole-number type.
fn digits(data_type: &DataType) -> Option<i16> {
    Some(match data_type {
        DataType::Int8 => 3,
        DataType::UInt8 => 4,
        DataType::Int16 => 5,
        DataType::UInt16 => 6,
        DataType::Int32 => 10,
        DataType::UInt32 => 11,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        _ => return None,
    })
}

fn is_unsigned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64)
}

fn adapt_struct(column: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
    let structs = column.as_struct();
    let columns = adapt_fields(structs.fields(), structs.columns(), fields, structs.len())?;
    let nulls = structs.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, structs.len())?))
}

fn adapt_list(column: &ArrayRef, item: &FieldRef) -> Result<ArrayRef> {
    let list = column.as_list::<i32>();
    let values = adapt_column(list.values(), item)?;
    Ok(Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?))
}

fn adapt_map(column: &ArrayRef, entries: &FieldRef) -> Result<ArrayRef> {
    let map = column.as_map();
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Error::internal("the entries of a map are not a struct"));
    };
    let [key, value] = fields.as_ref() else {
        return Err(Error::internal("the entries of a map have not two fields"));
    };
    let columns = vec![adapt_column(map.keys(), key)?, adapt_column(map.values(), value)?];
    let structs = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(entries.clone(), map.offsets().clone(), structs, map.nulls().cloned(), false)?))
}

/// The type Spark reads a file's column as.
pub(crate) fn spark_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, Some(_)) => timestamp(),
        DataType::Timestamp(_, None) => timestamp_ntz(),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Interval(IntervalUnit::DayTime) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Dictionary(_, value) => spark_type(value),
        nested => spark_nested_type(nested),
    }
}

fn spark_nested_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            list(spark_type(item.data_type()))
        }
        DataType::Map(..) => match map_types(data_type) {
            Some((key, value)) => map(spark_type(key.data_type()), spark_type(value.data_type())),
            None => data_type.clone(),
        },
        DataType::Struct(fields) => DataType::Struct(spark_fields(fields)),
        other => other.clone(),
    }
}

fn spark_fields(fields: &Fields) -> Fields {
    fields.iter().map(|each| field(each.name().clone(), spark_type(each.data_type()))).collect()
}

/// The schema Spark reads a file as.
pub(crate) fn spark_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(spark_fields(schema.fields())))
}

/// The schema that holds the columns of both; common ones get the wider type.
///
/// # Errors
/// `CANNOT_MERGE_SCHEMAS` if neither type of a common column holds the other.
pub(crate) fn merge(left: &Schema, right: &Schema) -> Result<SchemaRef> {
    Ok(Arc::new(Schema::new(merge_fields(left.fields(), right.fields())?)))
}

fn merge_fields(left: &Fields, right: &Fields) -> Result<Fields> {
    let mut merged: Vec<FieldRef> = left.iter().cloned().collect();
    for new in right {
        match find(left, new.name()) {
            None => merged.push(new.clone()),
            Some(at) => {
                let known: &Field = &left[at];
                let data_type = merge_types(known.name(), known.data_type(), new.data_type())?;
                merged[at] = Arc::new(field(known.name().clone(), data_type));
            }
        }
    }
    Ok(merged.into())
}

fn merge_types(name: &str, left: &DataType, right: &DataType) -> Result<DataType> {
    match (left, right) {
        (left, right) if left == right || fits(right, left) => Ok(left.clone()),
        (DataType::Struct(left), DataType::Struct(right)) => Ok(DataType::Struct(merge_fields(left, right)?)),
        (DataType::List(left), DataType::List(right)) => {
            Ok(list(merge_types(name, left.data_type(), right.data_type())?))
        }
        (left, right) if fits(left, right) => Ok(right.clone()),
        _ => Err(Error::query(
            "CANNOT_MERGE_SCHEMAS",
            format!("column '{name}' is {} in one file and {} in another", simple_name(left), simple_name(right)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Conf;
    use crate::formats::json::{FromJson, ToJson};
    use crate::options::Options;
    use crate::types::{parse_ddl, sql_name};

    /// A batch of these columns with this one row, read as the other columns.
    fn adapted(from: &str, row: &str, to: &str) -> Result<String> {
        let data_type = DataType::Struct(parse_ddl(from)?.fields().clone());
        let reader = FromJson::new(&data_type, &Options::default(), &Conf::default())?;
        let structs = reader.convert(&arrow::array::StringArray::from(vec![row]))?;
        let batch = adapt(&RecordBatch::from(structs.as_struct()), &parse_ddl(to)?)?;
        assert_eq!(batch.schema(), parse_ddl(to)?);
        let result: ArrayRef = Arc::new(StructArray::from(batch));
        let mut options = Options::default();
        options.set("ignoreNullFields", false);
        let texts = ToJson::new(result.data_type(), &options, &Conf::default())?.convert(&result)?;
        Ok(texts.value(0).to_owned())
    }

    #[test]
    fn d08_columns_go_by_name_and_missing_ones_are_null() {
        assert_eq!(
            adapted("a INT, b STRING", r#"{"a":1,"b":"x"}"#, "B STRING, c DATE").unwrap(),
            r#"{"B":"x","c":null}"#
        );
        assert_eq!(
            adapted(
                "s ARRAY<STRUCT<x: INT, y: INT>>",
                r#"{"s":[{"x":1,"y":2}]}"#,
                "s ARRAY<STRUCT<y: BIGINT, z: INT>>"
            )
            .unwrap(),
            r#"{"s":[{"y":2,"z":null}]}"#
        );
        assert_eq!(
            adapted("m MAP<STRING, INT>", r#"{"m":{"k":1}}"#, "m MAP<STRING, DOUBLE>").unwrap(),
            r#"{"m":{"k":1.0}}"#
        );
    }

    #[test]
    fn d07_only_casts_that_lose_nothing() {
        assert_eq!(
            adapted("a INT, b FLOAT", r#"{"a":1,"b":1.5}"#, "a DECIMAL(12,2), b DOUBLE").unwrap(),
            r#"{"a":1.00,"b":1.5}"#
        );
        assert_eq!(
            adapted("a TIMESTAMP_NTZ", r#"{"a":"2024-01-01 00:00:00"}"#, "a TIMESTAMP").unwrap(),
            r#"{"a":"2024-01-01T00:00:00.000Z"}"#
        );
        for (from, to) in
            [("BIGINT", "INT"), ("STRING", "INT"), ("DOUBLE", "FLOAT"), ("INT", "DECIMAL(5,0)"), ("INT", "STRING")]
        {
            let error = adapted(&format!("a {from}"), "{}", &format!("a {to}")).unwrap_err();
            assert_eq!(error.condition(), Some("FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH"), "{from} to {to}");
        }
    }

    #[test]
    fn schemas_merge_to_the_wider_types() {
        let merged = merge(
            &parse_ddl("a INT, s STRUCT<x: INT>").unwrap(),
            &parse_ddl("A BIGINT, s STRUCT<y: INT>, c DATE").unwrap(),
        );
        let merged = DataType::Struct(merged.unwrap().fields().clone());
        assert_eq!(sql_name(&merged), "STRUCT<a: BIGINT, s: STRUCT<x: INT, y: INT>, c: DATE>");
        assert!(merge(&parse_ddl("a INT").unwrap(), &parse_ddl("a STRING").unwrap()).is_err());
    }
}
