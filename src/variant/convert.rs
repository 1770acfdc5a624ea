//! VARIANT to other types, a column at a time.
//!
//! In: values, null where there is none. Out: a column of the wanted type. Values of one kind are gathered and go through the
//! CAST of that kind, so a column costs a few casts and not one for each row. Arrays, structs and maps go part by part: a
//! field that an object lacks is null, the null of JSON is null. What does not fit is an error, or null for `try_`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array,
    ListArray, MapArray, StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, FieldRef, Fields};

use super::{Item, Value, VariantColumn, json_text, malformed};
use crate::functions::cast::{Mode, cast_array};
use crate::types::zone::Zone;
use crate::types::{self, sql_name};
use crate::{Error, Result};

/// What values are turned into.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The type.
    pub(crate) data_type: DataType,
    /// Null instead of an error for what does not fit.
    pub(crate) null_if_bad: bool,
    /// The zone of times.
    pub(crate) zone: Zone,
}

/// The column of these values.
///
/// # Errors
/// `INVALID_VARIANT_CAST` for a value that does not fit; `MALFORMED_VARIANT`.
pub(crate) fn extract(values: &[Option<Value<'_>>], target: &Target) -> Result<ArrayRef> {
    if types::is_variant(&target.data_type) {
        let mut column = VariantColumn::default();
        values.iter().for_each(|value| column.push(value.as_ref()));
        return column.finish();
    }
    let items = values.iter().map(|value| value.map(|value| value.item().ok_or_else(malformed)).transpose());
    let items: Vec<Option<Item<'_>>> = items.collect::<Result<_>>()?;
    match &target.data_type {
        DataType::List(item) => lists(values, &items, item, target),
        DataType::Struct(fields) => structs(values, &items, fields, target),
        DataType::Map(entries, _) => maps(values, &items, entries, target),
        _ => plain(values, &items, target),
    }
}

impl Target {
    fn part(&self, data_type: &DataType) -> Target {
        Target { data_type: data_type.clone(), ..self.clone() }
    }

    /// The error for a value that does not fit; nothing if null stands for it.
    fn refuse(&self, value: &Value<'_>) -> Result<()> {
        if self.null_if_bad {
            return Ok(());
        }
        let mut text = String::new();
        json_text(value, &self.zone, &mut text).ok_or_else(malformed)?;
        let message = format!("the variant value `{text}` cannot be cast into \"{}\"", sql_name(&self.data_type));
        Err(Error::data("INVALID_VARIANT_CAST", message).hint("Use try_variant_get to get null instead."))
    }

    /// Marks the rows whose items `fits`; the others must be null, or are refused.
    fn validity(
        &self,
        values: &[Option<Value<'_>>],
        items: &[Option<Item<'_>>],
        fits: fn(&Item<'_>) -> bool,
    ) -> Result<NullBuffer> {
        let valid = values.iter().zip(items).map(|(value, item)| match (value, item) {
            (_, None | Some(Item::Null)) | (None, _) => Ok(false),
            (_, Some(item)) if fits(item) => Ok(true),
            (Some(value), _) => self.refuse(value).map(|()| false),
        });
        Ok(valid.collect::<Result<Vec<bool>>>()?.into())
    }
}

fn lists(
    values: &[Option<Value<'_>>],
    items: &[Option<Item<'_>>],
    field: &FieldRef,
    target: &Target,
) -> Result<ArrayRef> {
    let nulls = target.validity(values, items, |item| matches!(item, Item::Array(_)))?;
    let arrays = || items.iter().map(|item| if let Some(Item::Array(array)) = item { Some(array) } else { None });
    let offsets = OffsetBuffer::from_lengths(arrays().map(|array| array.map_or(0, |array| array.len())));
    let parts: Vec<Option<Value<'_>>> = arrays()
        .flatten()
        .flat_map(|array| array.iter())
        .map(|part| part.ok_or_else(malformed).map(Some))
        .collect::<Result<_>>()?;
    let parts = extract(&parts, &target.part(field.data_type()))?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, parts, Some(nulls))?))
}

fn structs(
    values: &[Option<Value<'_>>],
    items: &[Option<Item<'_>>],
    fields: &Fields,
    target: &Target,
) -> Result<ArrayRef> {
    let nulls = target.validity(values, items, |item| matches!(item, Item::Object(_)))?;
    let column = |field: &FieldRef| {
        let parts = items.iter().map(|item| match item {
            Some(Item::Object(object)) => object.find(field.name()),
            _ => None,
        });
        extract(&parts.collect::<Vec<_>>(), &target.part(field.data_type()))
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(nulls), values.len())?))
}

fn maps(
    values: &[Option<Value<'_>>],
    items: &[Option<Item<'_>>],
    entries: &FieldRef,
    target: &Target,
) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Error::internal("the entries of a map are structs"));
    };
    let nulls = target.validity(values, items, |item| matches!(item, Item::Object(_)))?;
    let objects = || items.iter().map(|item| if let Some(Item::Object(object)) = item { Some(object) } else { None });
    let offsets = OffsetBuffer::from_lengths(objects().map(|object| object.map_or(0, |object| object.len())));
    let (mut keys, mut parts) = (Vec::new(), Vec::new());
    for (name, value) in objects().flatten().flat_map(|object| object.iter()) {
        keys.push(name.ok_or_else(malformed)?);
        parts.push(Some(value.ok_or_else(malformed)?));
    }
    let value_type = fields.get(1).ok_or_else(|| Error::internal("the entries of a map have two fields"))?.data_type();
    let parts = extract(&parts, &target.part(value_type))?;
    let pairs = StructArray::try_new(fields.clone(), vec![Arc::new(StringArray::from(keys)), parts], None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, Some(nulls), false)?))
}

/// Values of one kind that wait for their cast, and the rows they belong to.
struct Group<'a> {
    rows: Vec<usize>,
    items: Items<'a>,
}

/// Values of one kind.
enum Items<'a> {
    Boolean(Vec<bool>),
    Integer(Vec<i64>),
    Double(Vec<f64>),
    Float(Vec<f32>),
    Decimal(u8, Vec<i128>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    TimestampNtz(Vec<i64>),
    Binary(Vec<&'a [u8]>),
    Text(Vec<&'a str>),
    /// Arrays and objects as JSON.
    Json(Vec<String>),
}

impl<'a> Items<'a> {
    /// Appends the item if it is of this kind.
    fn push(&mut self, item: &Item<'a>) -> bool {
        match (self, item) {
            (Items::Boolean(values), Item::Boolean(value)) => values.push(*value),
            (Items::Integer(values), Item::Integer(value)) => values.push(*value),
            (Items::Double(values), Item::Double(value)) => values.push(*value),
            (Items::Float(values), Item::Float(value)) => values.push(*value),
            (Items::Decimal(scale, values), Item::Decimal(value, of)) if scale == of => values.push(*value),
            (Items::Date(values), Item::Date(value)) => values.push(*value),
            (Items::Timestamp(values), Item::Timestamp(value)) => values.push(*value),
            (Items::TimestampNtz(values), Item::TimestampNtz(value)) => values.push(*value),
            (Items::Binary(values), Item::Binary(value)) => values.push(value),
            (Items::Text(values), Item::Text(value)) => values.push(value),
            _ => return false,
        }
        true
    }

    /// No values of the item's kind; `None` for null and containers.
    fn like(item: &Item<'a>) -> Option<Items<'a>> {
        Some(match item {
            Item::Boolean(_) => Items::Boolean(Vec::new()),
            Item::Integer(_) => Items::Integer(Vec::new()),
            Item::Double(_) => Items::Double(Vec::new()),
            Item::Float(_) => Items::Float(Vec::new()),
            Item::Decimal(_, scale) => Items::Decimal(*scale, Vec::new()),
            Item::Date(_) => Items::Date(Vec::new()),
            Item::Timestamp(_) => Items::Timestamp(Vec::new()),
            Item::TimestampNtz(_) => Items::TimestampNtz(Vec::new()),
            Item::Binary(_) => Items::Binary(Vec::new()),
            Item::Text(_) => Items::Text(Vec::new()),
            Item::Null | Item::Object(_) | Item::Array(_) => return None,
        })
    }

    fn array(self) -> Result<ArrayRef> {
        Ok(match self {
            Items::Boolean(values) => Arc::new(BooleanArray::from(values)),
            Items::Integer(values) => Arc::new(Int64Array::from(values)),
            Items::Double(values) => Arc::new(Float64Array::from(values)),
            Items::Float(values) => Arc::new(Float32Array::from(values)),
            Items::Decimal(scale, values) => {
                Arc::new(Decimal128Array::from(values).with_precision_and_scale(DECIMAL128_MAX_PRECISION, scale as i8)?)
            }
            Items::Date(values) => Arc::new(Date32Array::from(values)),
            Items::Timestamp(values) => Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")),
            Items::TimestampNtz(values) => Arc::new(TimestampMicrosecondArray::from(values)),
            Items::Binary(values) => Arc::new(BinaryArray::from(values)),
            Items::Text(values) => Arc::new(StringArray::from(values)),
            Items::Json(values) => Arc::new(StringArray::from(values)),
        })
    }
}

/// Values of a type without parts.
fn plain(values: &[Option<Value<'_>>], items: &[Option<Item<'_>>], target: &Target) -> Result<ArrayRef> {
    let groups = grouped(values, items, target)?;
    // Row 0 of the first array is the null.
    let mut columns = vec![new_null_array(&target.data_type, 1)];
    let mut places = vec![(0, 0); values.len()];
    for Group { rows, items } in groups {
        let cast = cast_group(items.array()?, target)?;
        for (at, row) in rows.into_iter().enumerate() {
            match (cast.is_null(at), &values[row]) {
                (true, Some(value)) => target.refuse(value)?,
                _ => places[row] = (columns.len(), at),
            }
        }
        columns.push(cast);
    }
    let columns: Vec<&dyn arrow::array::Array> = columns.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&columns, &places)?)
}

/// The values of one kind as the wanted type, null where they do not fit.
fn cast_group(array: ArrayRef, target: &Target) -> Result<ArrayRef> {
    match cast_array(&array, &target.data_type, Mode::Try, &target.zone) {
        Err(error) if error.condition().is_some_and(|condition| condition.starts_with("DATATYPE_MISMATCH")) => {
            Ok(new_null_array(&target.data_type, array.len()))
        }
        cast => cast,
    }
}

fn grouped<'a>(values: &[Option<Value<'a>>], items: &[Option<Item<'a>>], target: &Target) -> Result<Vec<Group<'a>>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut json = Group { rows: Vec::new(), items: Items::Json(Vec::new()) };
    for (row, item) in items.iter().enumerate() {
        let (Some(item), Some(value)) = (item, &values[row]) else { continue };
        if let Item::Object(_) | Item::Array(_) = item {
            json.add(row, value, target)?;
        } else if let Some(group) = groups.iter_mut().find_map(|group| group.items.push(item).then_some(group)) {
            group.rows.push(row);
        } else if let Some(mut first) = Items::like(item) {
            first.push(item);
            groups.push(Group { rows: vec![row], items: first });
        }
    }
    groups.push(json);
    Ok(groups)
}

impl Group<'_> {
    /// Adds an object or array, which only a STRING can hold.
    fn add(&mut self, row: usize, value: &Value<'_>, target: &Target) -> Result<()> {
        if target.data_type != DataType::Utf8 {
            return target.refuse(value);
        }
        let mut text = String::new();
        json_text(value, &target.zone, &mut text).ok_or_else(malformed)?;
        if let Items::Json(texts) = &mut self.items {
            texts.push(text);
            self.rows.push(row);
        }
        Ok(())
    }
}
