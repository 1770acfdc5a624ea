//! One value as the columns of one row, without builders: what a sender of single records does for each of them.
//!
//! In: a struct whose fields are numbers, booleans, texts, enums without data, or options and newtypes of these; or one such value. Out: its
//! columns. What always holds: they are what serde_arrow makes of it. Where that is not certain (other types, a value beyond its column's
//! range, fields in another order than the columns) there are none, and serde_arrow decides.

use std::fmt::{self, Display};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit,
};
use serde::Serialize;
use serde::ser::{Error, Impossible, SerializeStruct, Serializer};

/// The columns of one value, if they are certain. `single`: the value is no struct, but the only column.
pub(super) fn columns<T: Serialize>(item: &T, fields: &Fields, single: bool) -> Option<Vec<ArrayRef>> {
    match (single, fields.as_ref()) {
        (true, [only]) => Some(vec![item.serialize(Cell(only)).ok()?]),
        (true, _) => None,
        (false, _) => item.serialize(Row { fields, columns: Vec::with_capacity(fields.len()) }).ok(),
    }
}

/// Somebody else has to decide.
#[derive(Debug)]
struct Unsure;

type Sure<T> = Result<T, Unsure>;

impl Display for Unsure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this value needs a builder")
    }
}

impl std::error::Error for Unsure {}

impl Error for Unsure {
    fn custom<T: Display>(_: T) -> Self {
        Unsure
    }
}

/// A struct on its way to its columns.
struct Row<'a> {
    fields: &'a Fields,
    columns: Vec<ArrayRef>,
}

impl SerializeStruct for Row<'_> {
    type Ok = Vec<ArrayRef>;
    type Error = Unsure;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Sure<()> {
        let field = self.fields.get(self.columns.len()).filter(|field| field.name() == name).ok_or(Unsure)?;
        self.columns.push(value.serialize(Cell(field))?);
        Ok(())
    }

    fn end(self) -> Sure<Vec<ArrayRef>> {
        if self.columns.len() == self.fields.len() { Ok(self.columns) } else { Err(Unsure) }
    }
}

/// A value on its way into a column.
struct Cell<'a>(&'a Field);

impl Cell<'_> {
    fn whole(self, value: i64) -> Sure<ArrayRef> {
        match self.0.data_type() {
            DataType::Int8 => number::<Int8Type>(value.try_into()),
            DataType::Int16 => number::<Int16Type>(value.try_into()),
            DataType::Int32 => number::<Int32Type>(value.try_into()),
            DataType::Int64 => number::<Int64Type>(Ok::<_, Unsure>(value)),
            _ => Err(Unsure),
        }
    }

    fn text(self, value: &str) -> Sure<ArrayRef> {
        match self.0.data_type() {
            DataType::Utf8 => Ok(Arc::new(StringArray::from_iter_values([value]))),
            _ => Err(Unsure),
        }
    }

    /// Whether a null is certain.
    fn may_be_null(&self) -> bool {
        use DataType as D;
        let known = match self.0.data_type() {
            D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Utf8 => true,
            D::Timestamp(TimeUnit::Microsecond, zone) => is_known(zone.as_deref()),
            _ => false,
        };
        known && self.0.is_nullable()
    }
}

/// The zones that serde_arrow knows, written as Spark's types have them.
fn is_known(zone: Option<&str>) -> bool {
    zone.is_none_or(|zone| zone == "UTC")
}

fn number<T: ArrowPrimitiveType>(value: Result<T::Native, impl Sized>) -> Sure<ArrayRef> {
    let value = value.map_err(|_| Unsure)?;
    Ok(Arc::new(PrimitiveArray::<T>::from_value(value, 1)))
}

/// Kinds of values that are not certain.
macro_rules! unsure {
    ($($kind:ident($($type:ty),*) $(-> $made:ty)?;)*) => {$(
        unsure!(@one $kind($($type),*) $(-> $made)?);
    )*};
    (@one $kind:ident($($type:ty),*)) => {
        fn $kind(self, $(_: $type),*) -> Sure<Self::Ok> {
            Err(Unsure)
        }
    };
    (@one $kind:ident($($type:ty),*) -> $made:ty) => {
        fn $kind(self, $(_: $type),*) -> Sure<$made> {
            Err(Unsure)
        }
    };
}

/// What neither a row nor a value of a column may be: sequences, maps, enums with data, bytes.
macro_rules! nested {
    () => {
        type SerializeSeq = Impossible<Self::Ok, Unsure>;
        type SerializeTuple = Impossible<Self::Ok, Unsure>;
        type SerializeTupleStruct = Impossible<Self::Ok, Unsure>;
        type SerializeTupleVariant = Impossible<Self::Ok, Unsure>;
        type SerializeMap = Impossible<Self::Ok, Unsure>;
        type SerializeStructVariant = Impossible<Self::Ok, Unsure>;

        unsure! {
            serialize_char(char);
            serialize_bytes(&[u8]);
            serialize_unit();
            serialize_unit_struct(&'static str);
            serialize_seq(Option<usize>) -> Self::SerializeSeq;
            serialize_tuple(usize) -> Self::SerializeTuple;
            serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
            serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
            serialize_map(Option<usize>) -> Self::SerializeMap;
            serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Sure<Self::Ok> {
            value.serialize(self)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Sure<Self::Ok> {
            Err(Unsure)
        }
    };
}

impl<'a> Serializer for Row<'a> {
    type Ok = Vec<ArrayRef>;
    type Error = Unsure;
    type SerializeStruct = Row<'a>;

    nested!();

    fn serialize_struct(self, _: &'static str, _: usize) -> Sure<Row<'a>> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Sure<Self::Ok> {
        Err(Unsure)
    }

    unsure! {
        serialize_none();
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_str(&str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }
}

impl Serializer for Cell<'_> {
    type Ok = ArrayRef;
    type Error = Unsure;
    type SerializeStruct = Impossible<ArrayRef, Unsure>;

    nested!();

    unsure! { serialize_struct(&'static str, usize) -> Self::SerializeStruct; }

    fn serialize_none(self) -> Sure<ArrayRef> {
        if self.may_be_null() { Ok(new_null_array(self.0.data_type(), 1)) } else { Err(Unsure) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Sure<ArrayRef> {
        value.serialize(self)
    }

    fn serialize_bool(self, value: bool) -> Sure<ArrayRef> {
        if *self.0.data_type() == DataType::Boolean {
            Ok(Arc::new(BooleanArray::from(vec![value])))
        } else {
            Err(Unsure)
        }
    }

    fn serialize_i8(self, value: i8) -> Sure<ArrayRef> {
        self.whole(value.into())
    }

    fn serialize_i16(self, value: i16) -> Sure<ArrayRef> {
        self.whole(value.into())
    }

    fn serialize_i32(self, value: i32) -> Sure<ArrayRef> {
        self.whole(value.into())
    }

    fn serialize_i64(self, value: i64) -> Sure<ArrayRef> {
        match self.0.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) if is_known(zone.as_deref()) => {
                Ok(Arc::new(TimestampMicrosecondArray::from_value(value, 1).with_timezone_opt(zone.clone())))
            }
            _ => self.whole(value),
        }
    }

    fn serialize_u8(self, value: u8) -> Sure<ArrayRef> {
        self.whole(value.into())
    }

    fn serialize_u16(self, value: u16) -> Sure<ArrayRef> {
        self.whole(value.into())
    }

    fn serialize_u32(self, value: u32) -> Sure<ArrayRef> {
        self.whole(value.into())
    }

    fn serialize_u64(self, value: u64) -> Sure<ArrayRef> {
        self.whole(value.try_into().map_err(|_| Unsure)?)
    }

    fn serialize_f32(self, value: f32) -> Sure<ArrayRef> {
        if *self.0.data_type() == DataType::Float32 {
            number::<Float32Type>(Ok::<_, Unsure>(value))
        } else {
            Err(Unsure)
        }
    }

    fn serialize_f64(self, value: f64) -> Sure<ArrayRef> {
        if *self.0.data_type() == DataType::Float64 {
            number::<Float64Type>(Ok::<_, Unsure>(value))
        } else {
            Err(Unsure)
        }
    }

    fn serialize_str(self, value: &str) -> Sure<ArrayRef> {
        self.text(value)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Sure<ArrayRef> {
        self.text(variant)
    }
}
