//! CQL's types and what they are in Spark.
//!
//! In: types as the driver tells them. Out: [`CqlType`], its text in CQL and its Arrow type. The mapping is the Spark
//! connector's: no type of CQL is left out, and what has no counterpart becomes a text or the nearest wider type.

use std::fmt;

use arrow::datatypes::DataType;
use scylla::frame::response::result::{CollectionType, ColumnType, NativeType};

use crate::types;
use crate::{Error, Result};

/// Digits and scale of the DECIMAL that CQL's `decimal` becomes.
pub(crate) const DECIMAL: (u8, i8) = (38, 18);
/// Digits and scale of the DECIMAL that CQL's `varint` becomes.
pub(crate) const VARINT: (u8, i8) = (38, 0);

/// A type of CQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CqlType {
    Ascii,
    Text,
    Blob,
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Counter,
    Float,
    Double,
    Decimal,
    Varint,
    Timestamp,
    Date,
    Time,
    Uuid,
    Timeuuid,
    Inet,
    Duration,
    List(Box<CqlType>),
    Set(Box<CqlType>),
    Map(Box<CqlType>, Box<CqlType>),
    /// A user's type, or a tuple, whose fields are called `0`, `1`, ...
    Struct {
        name: Option<String>,
        fields: Vec<(String, CqlType)>,
    },
    Vector(Box<CqlType>, usize),
}

impl CqlType {
    /// The type that the driver tells.
    ///
    /// # Errors
    /// A type that this version does not know.
    pub(crate) fn of(told: &ColumnType<'_>) -> Result<CqlType> {
        Ok(match told {
            ColumnType::Native(native) => native_type(native)?,
            ColumnType::Collection { typ, .. } => collection(typ)?,
            ColumnType::Vector { typ, dimensions } => CqlType::Vector(boxed(typ)?, usize::from(*dimensions)),
            ColumnType::UserDefinedType { definition, .. } => {
                let field = |(name, told): &(std::borrow::Cow<'_, str>, _)| Ok((name.to_string(), CqlType::of(told)?));
                let fields = definition.field_types.iter().map(field).collect::<Result<_>>()?;
                CqlType::Struct { name: Some(definition.name.to_string()), fields }
            }
            ColumnType::Tuple(parts) => {
                let field = |(n, told): (usize, &ColumnType<'_>)| Ok((n.to_string(), CqlType::of(told)?));
                CqlType::Struct { name: None, fields: parts.iter().enumerate().map(field).collect::<Result<_>>()? }
            }
            other => return Err(unknown(other)),
        })
    }

    /// What it is in Spark.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            CqlType::Ascii | CqlType::Text | CqlType::Uuid | CqlType::Timeuuid | CqlType::Inet | CqlType::Duration => {
                DataType::Utf8
            }
            CqlType::Blob => DataType::Binary,
            CqlType::Boolean => DataType::Boolean,
            CqlType::TinyInt => DataType::Int8,
            CqlType::SmallInt => DataType::Int16,
            CqlType::Int => DataType::Int32,
            CqlType::BigInt | CqlType::Counter | CqlType::Time => DataType::Int64,
            CqlType::Float => DataType::Float32,
            CqlType::Double => DataType::Float64,
            CqlType::Decimal => DataType::Decimal128(DECIMAL.0, DECIMAL.1),
            CqlType::Varint => DataType::Decimal128(VARINT.0, VARINT.1),
            CqlType::Timestamp => types::timestamp(),
            CqlType::Date => DataType::Date32,
            CqlType::List(item) | CqlType::Set(item) | CqlType::Vector(item, _) => types::list(item.data_type()),
            CqlType::Map(key, value) => types::map(key.data_type(), value.data_type()),
            CqlType::Struct { fields, .. } => {
                types::structure(fields.iter().map(|(name, field)| (name.as_str(), field.data_type())))
            }
        }
    }

    /// Bytes of a value inside of a vector, if all values have the same number of them there.
    pub(crate) fn size_in_vector(&self) -> Option<usize> {
        match self {
            CqlType::Boolean => Some(1),
            CqlType::Int | CqlType::Float => Some(4),
            CqlType::BigInt | CqlType::Double | CqlType::Timestamp => Some(8),
            CqlType::Uuid | CqlType::Timeuuid => Some(16),
            CqlType::Vector(item, dimensions) => item.size_in_vector()?.checked_mul(*dimensions),
            _ => None,
        }
    }
}

fn native_type(told: &NativeType) -> Result<CqlType> {
    Ok(match told {
        NativeType::Ascii => CqlType::Ascii,
        NativeType::Text => CqlType::Text,
        NativeType::Blob => CqlType::Blob,
        NativeType::Boolean => CqlType::Boolean,
        NativeType::TinyInt => CqlType::TinyInt,
        NativeType::SmallInt => CqlType::SmallInt,
        NativeType::Int => CqlType::Int,
        NativeType::BigInt => CqlType::BigInt,
        NativeType::Counter => CqlType::Counter,
        NativeType::Float => CqlType::Float,
        NativeType::Double => CqlType::Double,
        NativeType::Decimal => CqlType::Decimal,
        NativeType::Varint => CqlType::Varint,
        NativeType::Timestamp => CqlType::Timestamp,
        NativeType::Date => CqlType::Date,
        NativeType::Time => CqlType::Time,
        NativeType::Uuid => CqlType::Uuid,
        NativeType::Timeuuid => CqlType::Timeuuid,
        NativeType::Inet => CqlType::Inet,
        NativeType::Duration => CqlType::Duration,
        other => return Err(unknown(other)),
    })
}

fn collection(told: &CollectionType<'_>) -> Result<CqlType> {
    Ok(match told {
        CollectionType::List(item) => CqlType::List(boxed(item)?),
        CollectionType::Set(item) => CqlType::Set(boxed(item)?),
        CollectionType::Map(key, value) => CqlType::Map(boxed(key)?, boxed(value)?),
        other => return Err(unknown(other)),
    })
}

fn boxed(told: &ColumnType<'_>) -> Result<Box<CqlType>> {
    Ok(Box::new(CqlType::of(told)?))
}

fn unknown(told: &impl fmt::Debug) -> Error {
    Error::unsupported(format!("the CQL type {told:?} is not known"))
}

impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CqlType::List(item) => write!(f, "list<{item}>"),
            CqlType::Set(item) => write!(f, "set<{item}>"),
            CqlType::Map(key, value) => write!(f, "map<{key}, {value}>"),
            CqlType::Vector(item, dimensions) => write!(f, "vector<{item}, {dimensions}>"),
            CqlType::Struct { name: Some(name), .. } => f.write_str(name),
            CqlType::Struct { name: None, fields } => {
                let parts: Vec<String> = fields.iter().map(|(_, part)| part.to_string()).collect();
                write!(f, "tuple<{}>", parts.join(", "))
            }
            simple => f.write_str(&format!("{simple:?}").to_lowercase()),
        }
    }
}
