//! Texts of types: the short name (`array<int>`), the SQL name (`ARRAY<INT>`), the catalog name in schema trees.
//!
//! In: any Arrow type. Out: Spark's text for it; for Arrow types that Spark lacks (unsigned numbers, views, other
//! units) the text of the Spark type that holds them, else Arrow's own.

use std::fmt::Write;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema};

use super::{is_variant, map_types};

/// A column's type as [`simple_name`] gives it, but of an interval with the fields that its metadata names.
pub fn column_type_name(field: &Field) -> String {
    match (field.data_type(), field.metadata().get(crate::functions::interval::INTERVAL_FIELDS)) {
        (DataType::Interval(_) | DataType::Duration(_), Some(fields)) => format!("interval {fields}"),
        (data_type, _) => simple_name(data_type),
    }
}

/// Spark's `simpleString`: `bigint`, `decimal(10,2)`, `array<int>`, `map<string,int>`, `struct<a:int,b:string>`.
pub fn simple_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array<{}>", simple_name(item.data_type()))
        }
        DataType::Map(..) => simple_map(data_type),
        DataType::Struct(_) if is_variant(data_type) => "variant".into(),
        DataType::Struct(fields) => simple_struct(fields),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Dictionary(_, value) => simple_name(value),
        plain => plain_name(plain).map_or_else(|| plain.to_string(), str::to_owned),
    }
}

fn simple_map(data_type: &DataType) -> String {
    match map_types(data_type) {
        Some((key, value)) => format!("map<{},{}>", simple_name(key.data_type()), simple_name(value.data_type())),
        None => data_type.to_string(),
    }
}

fn simple_struct(fields: &Fields) -> String {
    let inner: Vec<_> = fields.iter().map(|f| format!("{}:{}", f.name(), simple_name(f.data_type()))).collect();
    format!("struct<{}>", inner.join(","))
}

/// Names of types without parameters.
fn plain_name(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Null => "void",
        DataType::Boolean => "boolean",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "binary",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(_, Some(_)) => "timestamp",
        DataType::Timestamp(_, None) => "timestamp_ntz",
        DataType::Time32(_) | DataType::Time64(_) => "time(6)",
        DataType::Duration(_) => "interval day to second",
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month",
        DataType::Interval(_) => "interval",
        number => return number_name(number),
    })
}

fn number_name(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Int8 => "tinyint",
        DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "int",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "decimal(20,0)",
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        _ => return None,
    })
}

/// Spark's `sql` text, as DDL accepts it: `BIGINT`, `ARRAY<INT>`, `STRUCT<a: INT, b: STRING>`.
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("ARRAY<{}>", sql_name(item.data_type()))
        }
        DataType::Map(..) => sql_map(data_type),
        DataType::Struct(_) if is_variant(data_type) => "VARIANT".into(),
        DataType::Struct(fields) => sql_struct(fields),
        DataType::Dictionary(_, value) => sql_name(value),
        other => simple_name(other).to_uppercase(),
    }
}

fn sql_map(data_type: &DataType) -> String {
    match map_types(data_type) {
        Some((key, value)) => format!("MAP<{}, {}>", sql_name(key.data_type()), sql_name(value.data_type())),
        None => data_type.to_string(),
    }
}

fn sql_struct(fields: &Fields) -> String {
    let inner: Vec<_> = fields.iter().map(|f| format!("{}: {}", quoted(f.name()), sql_name(f.data_type()))).collect();
    format!("STRUCT<{}>", inner.join(", "))
}

/// The name as DDL needs it: in backquotes unless it is made of letters, digits and `_`.
pub(crate) fn quoted(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return name.to_owned();
    }
    format!("`{}`", name.replace('`', "``"))
}

/// Spark's `typeName`, as schema trees show it: `integer`, `long`, `array`, `struct`, `decimal(10,2)`.
pub fn catalog_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int8 => "byte".into(),
        DataType::Int16 => "short".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "long".into(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "array".into(),
        DataType::Map(..) => "map".into(),
        DataType::Struct(_) if !is_variant(data_type) => "struct".into(),
        other => simple_name(other),
    }
}

/// What `print_schema` shows: `root`, then one line per field, nested fields indented; ends with a line end.
pub fn tree_string(schema: &Schema) -> String {
    let mut out = String::from("root\n");
    tree_fields(schema.fields(), " |", &mut out);
    out
}

fn tree_fields(fields: &Fields, prefix: &str, out: &mut String) {
    for field in fields {
        tree_line(prefix, field.name(), field, Some("nullable"), out);
    }
}

fn tree_line(prefix: &str, name: &str, field: &Field, null_word: Option<&str>, out: &mut String) {
    let note = null_word.map_or(String::new(), |word| format!(" ({word} = {})", field.is_nullable()));
    writeln!(out, "{prefix}-- {name}: {}{note}", catalog_name(field.data_type())).expect("strings take all text");
    tree_children(field.data_type(), &format!("{prefix}    |"), out);
}

fn tree_children(data_type: &DataType, prefix: &str, out: &mut String) {
    match data_type {
        DataType::Struct(fields) if !is_variant(data_type) => tree_fields(fields, prefix, out),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            tree_line(prefix, "element", item, Some("containsNull"), out);
        }
        DataType::Map(..) => tree_map(data_type, prefix, out),
        _ => {}
    }
}

fn tree_map(data_type: &DataType, prefix: &str, out: &mut String) {
    if let Some((key, value)) = map_types(data_type) {
        tree_line(prefix, "key", key, None, out);
        tree_line(prefix, "value", value, Some("valueContainsNull"), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{parse_ddl, parse_type};

    #[test]
    fn simple_names_read_back_as_the_same_type() {
        for name in [
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "float",
            "double",
            "decimal(10,2)",
            "string",
            "binary",
            "boolean",
            "date",
            "timestamp",
            "timestamp_ntz",
            "void",
            "variant",
            "interval",
            "interval day to second",
            "time(6)",
            "interval year to month",
            "array<int>",
            "map<string,array<int>>",
            "struct<a:int,b:struct<c:string>>",
        ] {
            let data_type = parse_type(name).unwrap();
            assert_eq!(simple_name(&data_type), name);
            assert_eq!(parse_type(&sql_name(&data_type)).unwrap(), data_type);
        }
    }

    #[test]
    fn sql_names_quote_odd_names() {
        let data_type = parse_type("struct<`a b`: int, c: map<string, int>>").unwrap();
        assert_eq!(sql_name(&data_type), "STRUCT<`a b`: INT, c: MAP<STRING, INT>>");
    }

    #[test]
    fn trees_look_like_print_schema() {
        let schema = parse_ddl("a INT, l ARRAY<STRUCT<x: BIGINT>>, m MAP<STRING, DOUBLE>").unwrap();
        let expected = "root
 |-- a: integer (nullable = true)
 |-- l: array (nullable = true)
 |    |-- element: struct (containsNull = true)
 |    |    |-- x: long (nullable = true)
 |-- m: map (nullable = true)
 |    |-- key: string
 |    |-- value: double (valueContainsNull = true)
";
        assert_eq!(tree_string(&schema), expected);
    }
}
