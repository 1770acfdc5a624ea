//! Types and values: what each CQL type is in Spark, and that its values come back as they went.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type, IntervalMonthDayNano, TimeUnit};
use scylla::frame::response::result::{CollectionType, ColumnType, NativeType, UserDefinedType};

use super::convert::{cells, fits};
use super::decode::ColumnReader;
use super::types::CqlType;
use crate::types::{self, sql_name};

/// Writes a column as cells of this type and reads them again.
fn through(array: ArrayRef, cql: &CqlType) -> crate::Result<ArrayRef> {
    assert!(fits(array.data_type(), cql), "{} does not fit {cql}", array.data_type());
    let cells = cells(&array, cql, "c")?;
    let mut reader = ColumnReader::new("c", cql);
    for row in 0..array.len() {
        let mut bytes = Vec::new();
        if !cells.is_null(row) {
            cells.put(row, &mut bytes);
        }
        reader.push((!cells.is_null(row)).then_some(bytes.as_slice()))?;
    }
    reader.finish()
}

fn comes_back(array: impl Array + 'static, cql: &CqlType) {
    let array: ArrayRef = Arc::new(array);
    assert_eq!(*array.data_type(), cql.data_type());
    assert_eq!(&through(array.clone(), cql).unwrap(), &array, "{cql}");
}

fn becomes(array: impl Array + 'static, cql: &CqlType, expected: impl Array + 'static) {
    let expected: ArrayRef = Arc::new(expected);
    assert_eq!(&through(Arc::new(array), cql).unwrap(), &expected, "{cql}");
}

fn list(item: CqlType) -> CqlType {
    CqlType::List(Box::new(item))
}

#[test]
fn every_type_of_the_driver_is_mapped() {
    use NativeType as N;
    let cases = [
        (N::Ascii, "ascii", "STRING"),
        (N::Text, "text", "STRING"),
        (N::Blob, "blob", "BINARY"),
        (N::Boolean, "boolean", "BOOLEAN"),
        (N::TinyInt, "tinyint", "TINYINT"),
        (N::SmallInt, "smallint", "SMALLINT"),
        (N::Int, "int", "INT"),
        (N::BigInt, "bigint", "BIGINT"),
        (N::Counter, "counter", "BIGINT"),
        (N::Float, "float", "FLOAT"),
        (N::Double, "double", "DOUBLE"),
        (N::Decimal, "decimal", "DECIMAL(38,18)"),
        (N::Varint, "varint", "DECIMAL(38,0)"),
        (N::Timestamp, "timestamp", "TIMESTAMP"),
        (N::Date, "date", "DATE"),
        (N::Time, "time", "BIGINT"),
        (N::Uuid, "uuid", "STRING"),
        (N::Timeuuid, "timeuuid", "STRING"),
        (N::Inet, "inet", "STRING"),
        (N::Duration, "duration", "STRING"),
    ];
    let docs = include_str!("../../docs/connectors/cassandra.md");
    for (told, cql, spark) in cases {
        let found = CqlType::of(&ColumnType::Native(told)).unwrap();
        assert_eq!((found.to_string().as_str(), sql_name(&found.data_type()).as_str()), (cql, spark));
        let row = docs.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{cql}`")));
        assert!(row.is_some_and(|row| row.contains(spark)), "the docs' table lacks {cql} as {spark}: {row:?}");
    }
}

#[test]
fn types_made_of_others_are_mapped() {
    let int = || Box::new(ColumnType::Native(NativeType::Int));
    let text = || Box::new(ColumnType::Native(NativeType::Text));
    let of = |told: ColumnType<'_>| {
        let found = CqlType::of(&told).unwrap();
        (found.to_string(), sql_name(&found.data_type()))
    };
    let collection = |typ| ColumnType::Collection { frozen: false, typ };
    let pair = |cql: &str, spark: &str| (cql.to_owned(), spark.to_owned());
    assert_eq!(of(collection(CollectionType::List(int()))), pair("list<int>", "ARRAY<INT>"));
    assert_eq!(of(collection(CollectionType::Set(text()))), pair("set<text>", "ARRAY<STRING>"));
    assert_eq!(of(collection(CollectionType::Map(text(), int()))), pair("map<text, int>", "MAP<STRING, INT>"));
    let vector = ColumnType::Vector { typ: Box::new(ColumnType::Native(NativeType::Float)), dimensions: 3 };
    assert_eq!(of(vector), pair("vector<float, 3>", "ARRAY<FLOAT>"));
    assert_eq!(of(ColumnType::Tuple(vec![*int(), *text()])).0, "tuple<int, text>");
    let fields = vec![("street".into(), *text()), ("no".into(), *int())];
    let definition = UserDefinedType { name: "address".into(), keyspace: "ks".into(), field_types: fields };
    let udt = ColumnType::UserDefinedType { frozen: true, definition: Arc::new(definition) };
    assert_eq!(of(udt), pair("address", "STRUCT<street: STRING, no: INT>"));
}

#[test]
fn simple_values_come_back() {
    comes_back(StringArray::from(vec![Some("ä"), None, Some("")]), &CqlType::Text);
    comes_back(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b"")]), &CqlType::Blob);
    comes_back(BooleanArray::from(vec![Some(true), None, Some(false)]), &CqlType::Boolean);
    comes_back(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)]), &CqlType::TinyInt);
    comes_back(Int16Array::from(vec![Some(i16::MIN), None]), &CqlType::SmallInt);
    comes_back(Int32Array::from(vec![Some(i32::MIN), None]), &CqlType::Int);
    comes_back(Int64Array::from(vec![Some(i64::MIN), None]), &CqlType::BigInt);
    comes_back(Float32Array::from(vec![Some(1.5), None, Some(f32::INFINITY)]), &CqlType::Float);
    comes_back(Float64Array::from(vec![Some(-0.0), None, Some(1e300)]), &CqlType::Double);
    comes_back(Date32Array::from(vec![Some(-719_162), None, Some(20_000)]), &CqlType::Date);
    comes_back(Int64Array::from(vec![Some(86_399_999_999_999), None]), &CqlType::Time);
    let times = vec![Some(-1_000), None, Some(1_700_000_000_123_000)];
    comes_back(TimestampMicrosecondArray::from(times).with_timezone("UTC"), &CqlType::Timestamp);
    comes_back(StringArray::from(vec![Some("1b4e28ba-2fa1-11d2-883f-0016d3cca427"), None]), &CqlType::Timeuuid);
    comes_back(StringArray::from(vec![Some("127.0.0.1"), None, Some("2001:db8::1")]), &CqlType::Inet);
    comes_back(StringArray::from(vec![Some("1y2mo3d4h"), None, Some("-3ns")]), &CqlType::Duration);
    let digits = vec![Some(10i128.pow(38) - 1), None, Some(-1), Some(0)];
    let decimals = |scale| Decimal128Array::from(digits.clone()).with_precision_and_scale(38, scale).unwrap();
    comes_back(decimals(18), &CqlType::Decimal);
    comes_back(decimals(0), &CqlType::Varint);
}

#[test]
fn values_made_of_others_come_back() {
    let numbers = vec![Some(vec![Some(1), Some(2)]), None, Some(vec![])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
    comes_back(lists.clone(), &list(CqlType::Int));
    comes_back(lists.slice(1, 2), &CqlType::Set(Box::new(CqlType::Int)));
    let pairs = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), Some(2)]), None]);
    comes_back(pairs, &CqlType::Vector(Box::new(CqlType::Int), 2));
    let words = ListArray::new(
        types::list_item(DataType::Utf8),
        OffsetBuffer::from_lengths([2]),
        Arc::new(StringArray::from(vec!["a", "a longer one"])),
        None,
    );
    comes_back(words, &CqlType::Vector(Box::new(CqlType::Text), 2));
    let named = |name: &str, cql| (name.to_owned(), cql);
    let fields = vec![named("a", CqlType::Int), named("b", list(CqlType::Int))];
    let udt = CqlType::Struct { name: Some("udt".into()), fields };
    let DataType::Struct(parts) = udt.data_type() else { panic!("a struct") };
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![Some(1), None, None])), Arc::new(lists)];
    comes_back(StructArray::new(parts, columns, Some(vec![true, true, false].into())), &udt);
}

#[test]
fn maps_come_back() {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    maps.keys().append_value("k");
    maps.values().append_value(7);
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.append(true).unwrap();
    let maps = maps.finish();
    let cql = CqlType::Map(Box::new(CqlType::Text), Box::new(CqlType::Int));
    let DataType::Map(field, _) = cql.data_type() else { panic!("a map") };
    let DataType::Struct(fields) = field.data_type() else { panic!("entries") };
    let entries = StructArray::new(fields.clone(), maps.entries().columns().to_vec(), None);
    comes_back(MapArray::new(field.clone(), maps.offsets().clone(), entries, maps.nulls().cloned(), false), &cql);
}

#[test]
fn wider_and_finer_types_are_converted() {
    becomes(Int64Array::from(vec![300]), &CqlType::SmallInt, Int16Array::from(vec![300]));
    becomes(Int32Array::from(vec![3]), &CqlType::Double, Float64Array::from(vec![3.0]));
    let decimal = |value: i128, scale| Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
    becomes(decimal(125, 2), &CqlType::Decimal, decimal(1_250_000_000_000_000_000, 18));
    becomes(Int64Array::from(vec![-5]), &CqlType::Varint, decimal(-5, 0));
    let micros = |value| TimestampMicrosecondArray::from(vec![value]);
    becomes(micros(-1), &CqlType::Timestamp, micros(-1000).with_timezone("UTC"));
    becomes(Date32Array::from(vec![1]), &CqlType::Timestamp, micros(86_400_000_000).with_timezone("UTC"));
    let upper = StringArray::from(vec![" 1B4E28BA-2FA1-11D2-883F-0016D3CCA427 "]);
    becomes(upper, &CqlType::Uuid, StringArray::from(vec!["1b4e28ba-2fa1-11d2-883f-0016d3cca427"]));
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(14, 1, 2_000)]);
    becomes(interval, &CqlType::Duration, StringArray::from(vec!["1y2mo1d2us"]));
    becomes(NullArray::new(1), &CqlType::Int, Int32Array::from(vec![None]));
}

#[test]
fn d06_values_that_do_not_fit_are_errors_that_name_the_column() {
    let error = |array: ArrayRef, cql: CqlType, condition: &str| {
        let error = through(array, &cql).expect_err("refused");
        assert_eq!(error.condition(), Some(condition), "{error}");
        assert!(error.message().contains("'c'"), "{error}");
    };
    error(Arc::new(Int32Array::from(vec![128])), CqlType::TinyInt, "CAST_OVERFLOW");
    error(Arc::new(StringArray::from(vec!["x"])), CqlType::Uuid, "CAST_INVALID_INPUT");
    error(Arc::new(StringArray::from(vec!["1.2.3"])), CqlType::Inet, "CAST_INVALID_INPUT");
    error(Arc::new(Int64Array::from(vec![-1])), CqlType::Time, "CAST_INVALID_INPUT");
    let out_of_range = "NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION";
    let large = Decimal128Array::from(vec![10i128.pow(30)]).with_precision_and_scale(38, 0).unwrap();
    error(Arc::new(large), CqlType::Decimal, out_of_range);
    let one_null = || ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    error(Arc::new(one_null()), list(CqlType::Int), "NULL_IN_COLLECTION");
    let three = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), Some(2), Some(3)])]);
    error(Arc::new(three), CqlType::Vector(Box::new(CqlType::Int), 2), "CAST_INVALID_INPUT");
}

#[test]
fn o04_types_that_would_lose_something_do_not_fit() {
    for (from, to) in [
        (DataType::Utf8, CqlType::Int),
        (DataType::Float64, CqlType::Int),
        (DataType::Int32, CqlType::Text),
        (DataType::Boolean, CqlType::Int),
        (DataType::Decimal128(10, 2), CqlType::Varint),
        (DataType::Timestamp(TimeUnit::Microsecond, None), CqlType::Date),
        (types::list(DataType::Utf8), list(CqlType::Int)),
        (types::structure([("x", DataType::Int32)]), CqlType::Struct { name: None, fields: vec![] }),
    ] {
        assert!(!fits(&from, &to), "{from} to {to}");
    }
}

#[test]
fn d01_bytes_that_are_no_value_are_errors() {
    let udt = CqlType::Struct { name: None, fields: vec![("0".into(), CqlType::Int)] };
    let pairs: [(CqlType, &[u8]); 9] = [
        (CqlType::Int, &[1, 2, 3]),
        (CqlType::Boolean, &[1, 2]),
        (CqlType::Text, &[0xff]),
        (CqlType::Uuid, &[1]),
        (CqlType::Inet, &[1, 2]),
        (CqlType::Decimal, &[0, 0]),
        (CqlType::Duration, &[0]),
        (list(CqlType::Int), &[0, 0, 0, 9]),
        (udt, &[0, 0, 0, 4, 1]),
    ];
    for (cql, bytes) in pairs {
        let error = ColumnReader::new("c", &cql).push(Some(bytes)).expect_err("refused").to_string();
        assert!(error.contains("'c'"), "{cql}: {error}");
    }
    // No bytes at all are CQL's empty value, here null.
    let mut reader = ColumnReader::new("c", &CqlType::Int);
    reader.push(Some(&[])).unwrap();
    assert!(reader.finish().unwrap().is_null(0));
    // A key of a map can't be empty in Spark.
    let map = CqlType::Map(Box::new(CqlType::Int), Box::new(CqlType::Int));
    let mut reader = ColumnReader::new("c", &map);
    reader.push(Some(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1])).unwrap();
    assert!(reader.finish().is_err());
}
