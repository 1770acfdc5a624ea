//! Serde structs as rows, and rows as serde structs: one struct a row, field names are column names.
//!
//! In: a type of the program. Out: its columns ([`schema_of`]), and codecs between slices of it and record batches. A type
//! that is no struct (a number, a text) is one column named `value`, as in Spark. Columns are found whatever their case;
//! columns that the type does not name are left alone.
//!
//! | Rust | column |
//! |---|---|
//! | `i8` `i16` `i32` `i64` | TINYINT, SMALLINT, INT, BIGINT |
//! | `u8` `u16` `u32` `u64` | the next wider of these; a `u64` above BIGINT's range is an error |
//! | `f32` `f64` `bool` `String` | FLOAT, DOUBLE, BOOLEAN, STRING |
//! | enums without data | STRING with the variant's name |
//! | `Vec<T>`, maps, structs, tuples | ARRAY, MAP, STRUCT |
//! | `Option<T>` | that of `T`; null is `None`. A null for any other type is an error |
//!
//! Times cannot be seen in a Rust type: give the columns by hand (`.schema("ts TIMESTAMP, k STRING")`). The field is then an
//! `i64` of microseconds since 1970 or anything that serde writes as an ISO 8601 text.

mod alone;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_arrow::ArrayBuilder;
use serde_arrow::schema::{SchemaLike, TracingOptions};

use crate::options::nearest;
use crate::{Error, Result, types};

/// How many times serde_arrow may look at a type while it finds out what it consists of.
const BUDGET: usize = 1000;

/// The column of a value that is no struct, as serde finds it.
const SINGLE: &str = "value";

/// A value that is no struct, as a row; the field's name is [`SINGLE`].
#[derive(Serialize, Deserialize)]
struct Single<T> {
    value: T,
}

/// What a type looks like as a row.
struct Shape {
    fields: Fields,
    /// The type is no struct: it is the one column.
    single: bool,
}

impl Shape {
    /// Finds out what a type consists of.
    fn of<T: DeserializeOwned>() -> Result<Shape> {
        let options = TracingOptions::default()
            .map_as_struct(false)
            .enums_without_data_as_strings(true)
            .allow_null_fields(true)
            .from_type_budget(BUDGET);
        let traced = Vec::<FieldRef>::from_type::<Single<T>>(options).map_err(|cause| untraceable::<T>(cause))?;
        let value = traced.first().ok_or_else(|| Error::internal("a type was traced to no column"))?;
        match value.data_type() {
            DataType::Struct(fields) if !value.is_nullable() && value.metadata().is_empty() => {
                Ok(Shape { fields: fields.clone(), single: false })
            }
            _ => Ok(Shape { fields: traced.into(), single: true }),
        }
    }

    /// The columns in Spark's types.
    fn schema(&self) -> Result<SchemaRef> {
        let fields = self.fields.iter().map(|field| spark_field(field)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }
}

fn untraceable<T>(cause: serde_arrow::Error) -> Error {
    let name = short_name::<T>();
    let text = first_line(&cause);
    Error::invalid(format!("the columns of type '{name}' cannot be told from the type: {text}"))
        .hint("Give them, as in .schema(\"ts TIMESTAMP, k STRING\") or with the variant that takes a schema.")
        .caused_by(cause)
}

fn first_line(cause: &serde_arrow::Error) -> String {
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A type's name without its modules.
pub(crate) fn short_name<T: ?Sized>() -> String {
    let name = std::any::type_name::<T>();
    name.split_inclusive(['<', '>', ',', '(', ')', ' ']).map(|part| part.rsplit("::").next().unwrap_or(part)).collect()
}

/// The metadata stays: it tells serde_arrow which structs are tuples.
fn spark_field(field: &Field) -> Result<FieldRef> {
    let data_type = spark_type(field.data_type()).map_err(|error| error.at(format!("field '{}'", field.name())))?;
    Ok(Arc::new(Field::new(field.name(), data_type, true).with_metadata(field.metadata().clone())))
}

fn spark_type(data_type: &DataType) -> Result<DataType> {
    use DataType as D;
    Ok(match data_type {
        D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 | D::UInt64 => D::Int64,
        D::Float16 => D::Float32,
        D::LargeUtf8 | D::Dictionary(..) => D::Utf8,
        D::LargeBinary => D::Binary,
        D::List(item) | D::LargeList(item) => types::list(spark_type(item.data_type())?),
        D::Struct(fields) => D::Struct(fields.iter().map(|field| spark_field(field)).collect::<Result<_>>()?),
        D::Map(..) => spark_map(data_type)?,
        D::Union(..) => return Err(Error::unsupported("an enum with data is no column").hint("Use a struct.")),
        other => other.clone(),
    })
}

fn spark_map(data_type: &DataType) -> Result<DataType> {
    let (key, value) = types::map_types(data_type).ok_or_else(|| Error::internal("a map has no key and value"))?;
    Ok(types::map(spark_type(key.data_type())?, spark_type(value.data_type())?))
}

/// The columns of a type, in Spark's types.
///
/// # Errors
/// If they cannot be told from the type (times, flattened structs, enums with data).
pub fn schema_of<T: DeserializeOwned>() -> Result<SchemaRef> {
    Shape::of::<T>()?.schema()
}

/// What the values of a type consist of, as a text that changes when they do.
pub(crate) fn describe<T: DeserializeOwned>() -> String {
    match Shape::of::<T>() {
        Ok(shape) => DataType::Struct(shape.fields).to_string(),
        Err(_) => short_name::<T>(),
    }
}

/// Writes values as rows.
pub(crate) struct Encoder<T> {
    schema: SchemaRef,
    single: bool,
    /// What makes the columns, without rows; none while somebody uses it. Making it costs more than a row does.
    spare: Mutex<Option<ArrayBuilder>>,
    item: PhantomData<fn(&T)>,
}

impl<T> Clone for Encoder<T> {
    fn clone(&self) -> Self {
        Encoder { schema: self.schema.clone(), single: self.single, spare: Mutex::default(), item: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Encoder<T> {
    /// Writes columns as in `schema`, or as the type itself says.
    ///
    /// # Errors
    /// As [`schema_of`], if there is no schema.
    pub fn new(schema: Option<SchemaRef>) -> Result<Self> {
        let shape = Shape::of::<T>();
        let single = shape.as_ref().is_ok_and(|shape| shape.single);
        let schema = schema.map_or_else(|| shape?.schema(), Ok)?;
        Ok(Encoder { schema, single, spare: Mutex::default(), item: PhantomData })
    }
}

impl<T: Serialize> Encoder<T> {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The values as rows.
    ///
    /// # Errors
    /// A value that does not fit its column.
    pub fn rows(&self, items: &[T]) -> Result<RecordBatch> {
        let columns = self.columns(items).map_err(|cause| {
            let name = short_name::<T>();
            Error::invalid(format!("values of '{name}' do not fit the columns: {}", first_line(&cause)))
                .caused_by(cause)
        })?;
        let options = RecordBatchOptions::new().with_row_count(Some(items.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn columns(&self, items: &[T]) -> serde_arrow::Result<Vec<ArrayRef>> {
        let alone = |item| alone::columns(item, self.schema.fields(), self.single);
        match items {
            [item] => alone(item).map_or_else(|| self.built(items), Ok),
            _ => self.built(items),
        }
    }

    /// The columns under the names by which serde finds them: the only one takes a value that is no struct, whatever it is called.
    fn layout(&self) -> Fields {
        match (self.single, self.schema.fields().as_ref()) {
            (true, [only]) => [only.as_ref().clone().with_name(SINGLE)].into_iter().collect(),
            _ => self.schema.fields().clone(),
        }
    }

    /// As serde_arrow has it; for one row that costs ten times as much as the row.
    fn built(&self, items: &[T]) -> serde_arrow::Result<Vec<ArrayRef>> {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().take();
        let mut builder = kept.map_or_else(|| ArrayBuilder::from_arrow(&self.layout()), Ok)?;
        match self.single {
            true => builder.extend(Singles(items))?,
            false => builder.extend(items)?,
        }
        let columns = builder.to_arrow()?;
        *spare() = Some(builder);
        Ok(columns)
    }
}

/// Values that are no structs, each as a row of one column.
struct Singles<'a, T>(&'a [T]);

impl<T: Serialize> Serialize for Singles<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| Single { value }))
    }
}

/// Reads rows as values.
pub(crate) struct Decoder<T> {
    /// Column and field, for each field of the type; none if the type cannot be looked into.
    columns: Option<Vec<(String, FieldRef)>>,
    single: bool,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Decoder<T> {
    /// Reads rows of these columns.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN.WITH_SUGGESTION` for a field without a column (an `Option` may lack its column);
    /// `AMBIGUOUS_REFERENCE`.
    pub fn new(schema: &Schema) -> Result<Self> {
        let Ok(shape) = Shape::of::<T>() else {
            return Ok(Decoder { columns: None, single: false, item: PhantomData });
        };
        let find = |field: &FieldRef| match column_of(field, schema, shape.single) {
            Ok(Some(column)) => Some(Ok((column, field.clone()))),
            Ok(None) => None,
            Err(error) => Some(Err(error.at(format!("type '{}'", short_name::<T>())))),
        };
        let columns = shape.fields.iter().filter_map(find).collect::<Result<_>>()?;
        Ok(Decoder { columns: Some(columns), single: shape.single, item: PhantomData })
    }

    /// The columns that are read, if they are known.
    pub fn columns(&self) -> Option<Vec<String>> {
        Some(self.columns.as_ref()?.iter().map(|(column, _)| column.clone()).collect())
    }

    /// The rows as values.
    ///
    /// # Errors
    /// Columns or values that don't fit the type.
    pub fn items(&self, rows: &RecordBatch) -> Result<Vec<T>> {
        let rows = &self.fields_of(rows)?;
        let items = match self.single {
            true => serde_arrow::from_record_batch::<Vec<Single<T>>>(rows)
                .map(|items| items.into_iter().map(|item| item.value).collect()),
            false => serde_arrow::from_record_batch(rows),
        };
        items.map_err(|cause| {
            let name = short_name::<T>();
            Error::invalid(format!("rows do not fit type '{name}': {}", first_line(&cause))).caused_by(cause)
        })
    }

    /// The columns that the type has, under the names of its fields.
    fn fields_of(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(columns) = &self.columns else { return Ok(rows.clone()) };
        let schema = rows.schema_ref();
        let places = columns.iter().map(|(column, _)| schema.index_of(column)).collect::<Result<Vec<_>, _>>()?;
        let rows = rows.project(&places)?;
        let named = |(field, (_, wanted)): (&FieldRef, &(String, FieldRef))| {
            Arc::new(field.as_ref().clone().with_name(wanted.name()).with_metadata(wanted.metadata().clone()))
        };
        let fields: Fields = rows.schema_ref().fields().iter().zip(columns).map(named).collect();
        let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), rows.columns().to_vec(), &count)?)
    }
}

/// The column of a field; none for an optional field without one.
fn column_of(field: &Field, schema: &Schema, single: bool) -> Result<Option<String>> {
    let fits = |column: &&FieldRef| column.name().eq_ignore_ascii_case(field.name());
    let mut columns = schema.fields().iter().filter(fits);
    match (columns.next(), columns.next(), schema.fields().as_ref()) {
        (Some(column), None, _) => Ok(Some(column.name().clone())),
        (Some(_), Some(_), _) => {
            Err(Error::query("AMBIGUOUS_REFERENCE", format!("several columns are named '{}'", field.name())))
        }
        (None, _, [only]) if single => Ok(Some(only.name().clone())),
        _ if field.is_nullable() => Ok(None),
        _ => Err(no_column(field.name(), schema)),
    }
}

fn no_column(name: &str, schema: &Schema) -> Error {
    let error = Error::query("UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("there is no column for field '{name}'"));
    match nearest(name, schema.fields().iter().map(|field| field.name().as_str())) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Side {
        Buy,
        Sell,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Order {
        id: u64,
        side: Side,
        price: f64,
        note: Option<String>,
        tags: Vec<String>,
    }

    fn orders() -> Vec<Order> {
        let order = |id, side, note: Option<&str>| Order {
            id,
            side,
            price: 1.5,
            note: note.map(Into::into),
            tags: vec!["a".into(), "b".into()],
        };
        vec![order(1, Side::Buy, Some("x")), order(2, Side::Sell, None)]
    }

    #[test]
    fn structs_travel_as_rows() {
        let encoder = Encoder::<Order>::new(None).unwrap();
        let shown: Vec<String> =
            encoder.schema().fields().iter().map(|field| types::simple_name(field.data_type())).collect();
        assert_eq!(shown, ["bigint", "string", "double", "string", "array<string>"]);
        let rows = encoder.rows(&orders()).unwrap();
        assert_eq!(Decoder::<Order>::new(rows.schema_ref()).unwrap().items(&rows).unwrap(), orders());
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Metres(f32);

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Flat {
        id: u64,
        small: i8,
        wide: u32,
        side: Side,
        on: bool,
        length: Metres,
        name: Option<String>,
        price: Option<f64>,
        at: i64,
    }

    fn flat() -> impl Strategy<Value = Flat> {
        let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
        let numbers = (any::<u64>(), any::<i8>(), any::<u32>(), any::<f32>().prop_map(Metres), any::<i64>());
        (numbers, side, any::<bool>(), any::<Option<String>>(), any::<Option<f64>>()).prop_map(
            |((id, small, wide, length, at), side, on, name, price)| Flat {
                id,
                small,
                wide,
                side,
                on,
                length,
                name,
                price,
                at,
            },
        )
    }

    /// A value that is sent alone, and the same among others.
    fn alone_and_built<T: Serialize + DeserializeOwned + Clone>(
        schema: Option<&SchemaRef>,
        item: &T,
    ) -> [Result<RecordBatch>; 2] {
        let encoder = Encoder::<T>::new(schema.cloned()).unwrap();
        let two = encoder.rows(&[item.clone(), item.clone()]);
        [encoder.rows(std::slice::from_ref(item)), two.map(|rows| rows.slice(0, 1))]
    }

    proptest! {
        /// NaNs and zeros have bits, so rows are compared as they print.
        #[test]
        fn a_value_alone_is_the_row_that_it_is_among_others(item in flat()) {
            let given = types::parse_ddl(
                "id BIGINT, small INT, wide BIGINT, side STRING, on BOOLEAN, length FLOAT, name STRING, price DOUBLE, at TIMESTAMP",
            )
            .unwrap();
            for schema in [None, Some(&given)] {
                match alone_and_built(schema, &item) {
                    [Ok(alone), Ok(built)] => prop_assert_eq!(format!("{alone:?}"), format!("{built:?}")),
                    [Err(alone), Err(built)] => prop_assert_eq!(alone.to_string(), built.to_string()),
                    [alone, built] => prop_assert!(false, "{alone:?} {built:?}"),
                }
            }
            prop_assert_eq!(Encoder::<Flat>::new(None).unwrap().rows(std::slice::from_ref(&item)).is_ok(), i64::try_from(item.id).is_ok());
        }
    }

    #[test]
    fn what_is_not_flat_or_lies_elsewhere_comes_to_the_same_alone() {
        let [alone, built] = alone_and_built(None, &orders()[0]);
        assert_eq!(alone.unwrap(), built.unwrap(), "a list");
        let turned = types::parse_ddl("val STRING, key BIGINT").unwrap();
        #[derive(Clone, Serialize, Deserialize)]
        struct Pair {
            key: i64,
            val: String,
        }
        let [alone, built] = alone_and_built(Some(&turned), &Pair { key: 1, val: "x".into() });
        assert_eq!(alone.unwrap(), built.unwrap(), "another order");
        let days = types::parse_ddl("value DATE").unwrap();
        let [alone, built] = alone_and_built(Some(&days), &"2026-01-02".to_owned());
        assert_eq!(alone.unwrap(), built.unwrap(), "a date as a text");
        for (ddl, at) in [("ts TIMESTAMP", 7_i64), ("VALUE BIGINT", 8)] {
            let [alone, built] = alone_and_built(Some(&types::parse_ddl(ddl).unwrap()), &at);
            assert_eq!(alone.as_ref().unwrap(), built.as_ref().unwrap(), "{ddl}");
            assert_eq!(alone.unwrap().column(0).null_count(), 0, "{ddl}");
        }
        let months = types::parse_ddl("value INTERVAL YEAR TO MONTH").unwrap();
        let [alone, built] = alone_and_built(Some(&months), &None::<i32>);
        assert_eq!(alone.map_err(|error| error.to_string()), built.map_err(|error| error.to_string()), "an interval");
        let narrow = types::parse_ddl("value TINYINT").unwrap();
        let [alone, built] = alone_and_built(Some(&narrow), &300_i64);
        assert_eq!(alone.unwrap_err().to_string(), built.unwrap_err().to_string(), "too large");
        assert_eq!(alone::columns(&7_i64, narrow.fields(), true).unwrap()[0].data_type(), &DataType::Int8);
    }

    #[test]
    fn plain_values_are_one_column() {
        let rows = Encoder::<i32>::new(None).unwrap().rows(&[3, 4]).unwrap();
        assert_eq!(rows.schema_ref().field(0).name(), "value");
        let renamed = Schema::new(vec![Field::new("n", DataType::Int32, true)]);
        let rows = RecordBatch::try_new(Arc::new(renamed), rows.columns().to_vec()).unwrap();
        assert_eq!(Decoder::<i32>::new(rows.schema_ref()).unwrap().items(&rows).unwrap(), [3, 4]);
    }

    #[test]
    fn times_come_with_a_schema() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Event {
            ts: i64,
        }
        let schema = types::parse_ddl("ts TIMESTAMP").unwrap();
        let rows = Encoder::<Event>::new(Some(schema.clone())).unwrap().rows(&[Event { ts: 7 }]).unwrap();
        assert_eq!(rows.schema(), schema);
        assert_eq!(Decoder::<Event>::new(&schema).unwrap().items(&rows).unwrap(), [Event { ts: 7 }]);
    }

    #[test]
    fn a_field_without_a_column_is_refused_before_anything_runs() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Wanted {
            prise: f64,
            gone: Option<i64>,
        }
        let error = Decoder::<Wanted>::new(&schema_of::<Order>().unwrap()).err().unwrap();
        assert_eq!(error.condition(), Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"));
        assert!(error.to_string().contains("Did you mean 'price'?"), "{error}");
    }

    #[test]
    fn names_lose_their_modules() {
        assert_eq!(short_name::<Option<std::string::String>>(), "Option<String>");
    }
}
